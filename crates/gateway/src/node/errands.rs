//! What the node does for clients that takes a while, each in a task of its own: looking who is where, asking the backend.
//!
//! Owned by whoever serves the lanes, and ended with it. Invariant: there is a bound on what is under way, and whoever asks for more is told
//! to try again.

use std::future::pending;
use std::sync::Arc;

use bus::{Bus, StoreError};
use protocol::event::Answer;
use protocol::{Channel, CommandError};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::backend::{Backend, Call, Failure};
use crate::lane::Lane;
use crate::lane::ask::{Asker, Reading};
use crate::lane::inbox::Item;
use crate::node::Node;

/// Most questions about presence at a time.
const READS: usize = 64;
/// Most members that one client is told of.
const MEMBERS: usize = 10_000;

/// What is under way.
pub(crate) struct Errands {
    tasks: JoinSet<()>,
    bus: Arc<dyn Bus>,
    backend: Option<Arc<Backend>>,
    lanes: Vec<Lane>,
    reads: Arc<Semaphore>,
}

impl Errands {
    /// Of `node`.
    pub(crate) fn new(node: &Node) -> Self {
        Self {
            tasks: JoinSet::new(),
            bus: Arc::clone(&node.bus),
            backend: node.terms.backend.clone(),
            lanes: node.lanes.clone(),
            reads: Arc::new(Semaphore::new(READS)),
        }
    }

    /// Looks who is in `channel`, and answers `from`.
    pub(crate) fn read(&mut self, channel: Channel, what: Reading, from: Asker) {
        let lane = self.lanes[from.lane].clone();
        let Ok(place) = Arc::clone(&self.reads).try_acquire_owned() else {
            return tell(&lane, from, Err(CommandError::TooManyRequests));
        };
        let bus = Arc::clone(&self.bus);
        self.tasks.spawn(async move {
            let answer = read(&*bus, &channel, what).await;
            drop(place);
            tell(
                &lane,
                from,
                answer.map_err(|error| {
                    tracing::debug!(%error, "presence could not be read");
                    CommandError::Internal
                }),
            );
        });
    }

    /// Asks the backend, and brings `from` its word.
    pub(crate) fn consult(&mut self, call: Call, from: Asker) {
        let lane = self.lanes[from.lane].clone();
        let backend = self.backend.clone();
        self.tasks.spawn(async move {
            let outcome = match backend {
                Some(backend) => backend.call(call).await,
                None => Err(Failure::NoEndpoint),
            };
            lane.inbox.push(Item::Consulted(Box::new((from, outcome))));
        });
    }

    /// Waits for the end of one errand; for ever, if there is none.
    pub(crate) async fn ended(&mut self) {
        match self.tasks.join_next().await {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::error!(%error, "an errand has failed"),
            None => pending().await,
        }
    }
}

async fn read(bus: &dyn Bus, channel: &Channel, what: Reading) -> Result<Answer, StoreError> {
    let presence = bus.presence();
    match what {
        Reading::Members => {
            let members = presence.members(channel, MEMBERS).await?;
            Ok(Answer::Presence(members.clients))
        }
        Reading::Count => {
            let count = presence.count(channel).await?;
            let bounded = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
            Ok(Answer::PresenceStats {
                clients: bounded(count.clients),
                users: bounded(count.users),
            })
        }
    }
}

fn tell(lane: &Lane, asker: Asker, result: Result<Answer, CommandError>) {
    lane.inbox.push(Item::Answer(Box::new((asker, result))));
}
