//! How a node learns which tokens are revoked, and has those go who are here with one.
//!
//! What is revoked is noted for all nodes first, and told to those that live then. A node that was not there, or was not heard, reads it in
//! the notices: before it lets anybody in, when the link to the others is back, and now and then. If they are gone, because the store was lost,
//! the nodes that know them note them again. Invariant: a revocation is in the table before the lanes are asked to look, so that whoever is
//! checked later finds it there.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bus::{Bus, Notice, NoticeError, PublishError, StoreError};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::lane::Lane;
use crate::lane::directory::Directory;
use crate::lane::inbox::{Item, Recheck};
use crate::token::revocation::{Revocation, Revocations};

/// How often the notices are read, whatever is heard.
const INTERVAL: Duration = Duration::from_secs(30);
/// How often it is looked whether the link was lost, and a read that failed is tried again.
const LOOK: Duration = Duration::from_secs(1);
/// The same as long as nothing was read yet.
const FIRST_LOOK: Duration = Duration::from_millis(50);
/// So long the lanes are left alone after they were asked to go through all connections.
const REST: Duration = Duration::from_millis(500);
/// So many notices are read into the table before others have their turn.
const BATCH: usize = 500;

/// Why tokens are not revoked, or not everywhere at once. Trying again is harmless.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RevokeError {
    /// Nothing is revoked, as far as is known.
    #[error("the revocation is not kept: {0}")]
    Notice(#[from] NoticeError),
    /// It is kept, so every node will know, but perhaps not before it reads the notices.
    #[error("the revocation is kept, but the nodes are not told: {0}")]
    Told(#[from] PublishError),
}

/// What this node does about revocations.
pub(crate) struct Keeper {
    bus: Arc<dyn Bus>,
    directory: Arc<Directory>,
    lanes: Vec<Lane>,
    revocations: Arc<Revocations>,
    /// Somebody may be here with a token that was revoked by its name.
    named: Notify,
    /// The notices were read once.
    is_loaded: watch::Sender<bool>,
}

impl Keeper {
    pub(crate) fn new(
        bus: Arc<dyn Bus>,
        directory: Arc<Directory>,
        lanes: Vec<Lane>,
        revocations: Arc<Revocations>,
    ) -> Self {
        Self {
            bus,
            directory,
            lanes,
            revocations,
            named: Notify::new(),
            is_loaded: watch::Sender::new(false),
        }
    }

    /// Has every node know of `revocation`, also those to come. Whether it says anything at all, at this time.
    pub(crate) async fn note(&self, revocation: &Revocation) -> Result<bool, NoticeError> {
        if revocation.until() <= SystemTime::now() {
            return Ok(false);
        }
        let notices = self.bus.notices();
        notices.post(&revocation.encode(), revocation.until()).await?;
        Ok(true)
    }

    /// From now on `revocation` holds here, also for those who are connected.
    pub(crate) fn enforce(&self, revocation: &Revocation) {
        if !self.revocations.add(revocation, SystemTime::now()) {
            return;
        }
        match revocation {
            Revocation::Token { .. } => self.named.notify_one(),
            Revocation::User { user, .. } => {
                for (_, place) in self.directory.find(user, None) {
                    let item = Item::Recheck(Recheck::One(place.connection));
                    self.lanes[place.lane].inbox.push(item);
                }
            }
        }
    }

    /// Waits until the notices were read.
    pub(crate) async fn loaded(&self) {
        // It ends only with this.
        let _ = self.is_loaded.subscribe().wait_for(|is_loaded| *is_loaded).await;
    }

    /// Reads the notices when it is time to, and has lanes look through their connections; a task of the node, which never ends.
    pub(crate) async fn keep(self: Arc<Self>) {
        let mut due = Due {
            next: Instant::now(),
            reconnects: None,
            is_failing: false,
        };
        let mut look = Instant::now();
        loop {
            tokio::select! {
                () = self.named.notified() => {
                    self.sweep();
                    // However many are revoked meanwhile, one look is enough for all.
                    sleep(REST).await;
                }
                () = sleep_until(look) => {
                    due.turn(&self).await;
                    look = Instant::now() + if *self.is_loaded.borrow() { LOOK } else { FIRST_LOOK };
                }
            }
        }
    }

    /// Has every lane look through its connections.
    fn sweep(&self) {
        for lane in &self.lanes {
            lane.inbox.push(Item::Recheck(Recheck::From(0)));
        }
    }

    /// Reads the notices, and gives them back.
    async fn load(&self) -> Result<Vec<Notice>, StoreError> {
        let all = self.bus.notices().all().await?;
        self.revocations.forget(SystemTime::now());
        for some in all.chunks(BATCH) {
            for notice in some {
                match serde_json::from_str(&notice.text) {
                    Ok(revocation) => self.enforce(&revocation),
                    // Another release may note more than this one knows.
                    Err(error) => tracing::debug!(%error, "a notice that cannot be read"),
                }
            }
            tokio::task::yield_now().await;
        }
        self.is_loaded.send_replace(true);
        Ok(all)
    }

    /// Notes again what is known here and not among `noted`, for those who come later.
    async fn restore(&self, noted: &[Notice]) -> Result<(), NoticeError> {
        let noted: HashSet<&str> = noted.iter().map(|notice| notice.text.as_str()).collect();
        for some in self.revocations.all().chunks(BATCH) {
            for revocation in some.iter().filter(|known| !noted.contains(known.encode().as_str())) {
                match self.note(revocation).await {
                    // What ends later is kept instead, as it was before.
                    Err(NoticeError::NoRoom) => return Ok(()),
                    noted => _ = noted?,
                }
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

/// When the notices are read.
struct Due {
    next: Instant,
    /// How often the link was back, when they were read last.
    reconnects: Option<u64>,
    /// The outage was told.
    is_failing: bool,
}

impl Due {
    /// Reads the notices if it is time, or if something may have been told that this node has not heard.
    async fn turn(&mut self, keeper: &Keeper) {
        let reconnects = keeper.bus.stats().reconnects.get();
        if Instant::now() < self.next && self.reconnects == Some(reconnects) {
            return;
        }
        match self.read(keeper, reconnects).await {
            Ok(()) => {
                self.next = Instant::now() + INTERVAL;
                self.reconnects = Some(reconnects);
                self.is_failing = false;
            }
            // That Redis is away is told by the link.
            Err(NoticeError::Store(StoreError::Unavailable)) => {}
            Err(error) if !std::mem::replace(&mut self.is_failing, true) => {
                tracing::warn!(%error, "which tokens are revoked cannot be read or kept, trying again until it can");
            }
            Err(_) => {}
        }
    }

    async fn read(&self, keeper: &Keeper, reconnects: u64) -> Result<(), NoticeError> {
        let noted = keeper.load().await?;
        // Only a store that was away can have lost something.
        match self.reconnects == Some(reconnects) {
            true => Ok(()),
            false => keeper.restore(&noted).await,
        }
    }
}

#[cfg(test)]
mod tests;
