//! Presence on Redis.
//!
//! The table of this process' own members is what is wanted; `keeper`, one task, keeps a lease for it and writes what differs, after an
//! outage, a change that failed, or a lease that ran out. Another task, `janitor`, removes what dead nodes have left. On Redis:
//!
//! | key | holds |
//! | --- | --- |
//! | `presence:lives` | each life of a node, by the time when its lease runs out |
//! | `presence:channels:{life}` | the channels in which the life has members; written before the members |
//! | `presence:members:{channel}:life` | client to value |
//! | `presence:counts:{channel}` | life to how many members it has there |
//! | `presence:users:{channel}` | user to connections over all lives |
//!
//! The last three change together, in one script. Invariant: `state` is held while its changes are written, so that Redis hears them in the
//! order of the table; a channel is in `dirty` while Redis may know something else than the table.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use protocol::Channel;
use tokio::sync::{Mutex, Notify, watch};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::answers::Answers;
use super::backoff::Backoff;
use super::keys::Keys;
use super::publish::Publisher;
use super::script::{Batch, Script};
use super::status::Status;
use crate::StoreError;
use crate::presence::{Change, Changed, Count, Members, Presence, Table};
use crate::queue::Queue;

mod janitor;
mod life;
mod member;
mod reading;

pub(crate) use life::Life;
use life::Lives;

static CHANGE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("presence/change.lua")));
static LEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("presence/lease.lua")));

/// So many changes go to Redis at once.
const BATCH: usize = 500;
/// So many channels are compared at once.
const COMPARED: usize = 100;

/// The presence of a bus.
pub(crate) struct RedisPresence {
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) keys: Keys,
    pub(crate) node: Uuid,
    pub(crate) lease: Duration,
    pub(crate) refresh: Duration,
    pub(crate) reconnect_max: Duration,
    pub(crate) queue: Arc<Queue>,
    pub(crate) status: Arc<Status>,
    pub(crate) state: Mutex<State>,
    /// Something could not be written.
    pub(crate) failed: Notify,
    /// Lives that were dead when last looked.
    pub(crate) dead: watch::Sender<Vec<Life>>,
}

/// What this process wants to be true, and how far it is.
#[derive(Default)]
pub(crate) struct State {
    table: Table,
    dirty: HashSet<Channel>,
    life: Option<Life>,
    /// Whether `life` was alive when last looked.
    is_alive: bool,
    is_closed: bool,
}

impl RedisPresence {
    /// The task `keeper`.
    pub(crate) async fn keep(self: Arc<Self>) {
        let mut backoff = Backoff::new(self.reconnect_max);
        let mut is_told = false;
        let mut looked: Option<Instant> = None;
        loop {
            let turned = self.turn(&mut *self.state.lock().await).await;
            if matches!(turned, Ok(_) | Err(StoreError::Refused { .. })) {
                self.status.known();
            }
            let pause = match turned {
                Ok(mut lives) => {
                    // A Redis that nobody could reach has let every lease run out, so the others get the time to say that they live.
                    let was_away = looked
                        .replace(Instant::now())
                        .is_none_or(|before| before.elapsed() >= self.lease - self.refresh);
                    lives.dead.retain(|life| life.node == self.node || !was_away);
                    if std::mem::take(&mut is_told) {
                        tracing::info!("Redis keeps presence again");
                    }
                    if !lives.dead.is_empty() {
                        self.dead.send_replace(lives.dead);
                    }
                    backoff.reset();
                    self.refresh
                }
                Err(error) => {
                    // That Redis is away is told by the link.
                    if matches!(error, StoreError::Refused { .. }) && !std::mem::replace(&mut is_told, true) {
                        tracing::warn!(%error, "presence is not what it should be, trying again until it is");
                    }
                    backoff.pause()
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = self.failed.notified() => {}
            }
        }
    }

    /// Takes this node's members and lease away, as far as Redis can be reached; the tasks have ended.
    pub(crate) async fn leave(&self) {
        let mut state = self.state.lock().await;
        let state = &mut *state;
        if std::mem::replace(&mut state.is_closed, true) {
            return;
        }
        let Some(life) = state.life else { return };
        state.dirty.extend(std::mem::take(&mut state.table).channels().cloned());
        if let Err(error) = self.mend(state, life).await {
            tracing::debug!(%error, "the members of this node stay until its lease runs out");
            return;
        }
        let mut batch = Batch::default();
        batch.command("DEL").arg(self.keys.channels_of(life));
        batch.command("ZREM").arg(self.keys.lives()).arg(life.to_string());
        let _ = self.ask(&batch).await;
    }

    /// Makes the lease longer, and makes up for what could not be written.
    async fn turn(&self, state: &mut State) -> Result<Lives, StoreError> {
        if let Some(life) = state.life.filter(|_| state.is_alive) {
            let (lives_on, lives) = self.extend(life, None).await?;
            if lives_on {
                self.mend(state, life).await?;
                return Ok(lives);
            }
            tracing::debug!(%life, "the lease of this node ran out, beginning another life");
        }
        self.begin(state).await
    }

    /// Begins a life and writes down everything. What the last life has left is left to `janitor`, which says nothing about it.
    async fn begin(&self, state: &mut State) -> Result<Lives, StoreError> {
        state.is_alive = false;
        state.dirty.extend(state.table.channels().cloned());
        let last = state.life;
        if let Some(last) = last {
            // What was written before the loss was noticed must be found, too.
            let channels: Vec<_> = state.dirty.iter().cloned().collect();
            for some in channels.chunks(BATCH) {
                self.list(some, "SADD", last, |_| true).await?;
            }
        }
        let life = Life {
            node: self.node,
            number: last.map_or(0, |last| last.number + 1),
        };
        let (_, lives) = self.extend(life, Some(last)).await?;
        state.life = Some(life);
        state.is_alive = true;
        self.mend(state, life).await?;
        Ok(lives)
    }

    /// Makes the lease of `life` longer, if it has not run out or is `new`. Whether it lives, and who else does.
    async fn extend(&self, life: Life, new: Option<Option<Life>>) -> Result<(bool, Lives), StoreError> {
        let mut batch = Batch::default();
        let last = new.flatten().map(|last| last.to_string()).unwrap_or_default();
        batch
            .run(&LEASE, &[&self.keys.lives()])
            .arg(life.to_string())
            .arg(u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX))
            .arg(u8::from(new.is_some()))
            .arg(last);
        Lives::ask(&mut batch, &self.keys);
        let mut answers = self.ask(&batch).await?;
        let lives_on: bool = answers.read()?;
        Ok((lives_on, self.lives(&mut answers)?))
    }

    /// Writes, channel by channel, what differs between Redis and the table.
    async fn mend(&self, state: &mut State, life: Life) -> Result<(), StoreError> {
        while !state.dirty.is_empty() {
            let channels: Vec<_> = state.dirty.iter().take(COMPARED).cloned().collect();
            self.list(&channels, "SADD", life, |channel| state.table.has(channel))
                .await?;
            let known = self.known(&channels, life).await?;
            let compared = channels.iter().zip(&known);
            let steps: Vec<_> = compared
                .flat_map(|(channel, known)| differences(&state.table, channel, known))
                .collect();
            for some in steps.chunks(BATCH) {
                let mut batch = Batch::default();
                some.iter().for_each(|step| self.step(&mut batch, life, step));
                self.ask(&batch).await?.check()?;
            }
            self.list(&channels, "SREM", life, |channel| !state.table.has(channel))
                .await?;
            channels.iter().for_each(|channel| _ = state.dirty.remove(channel));
        }
        Ok(())
    }

    /// Puts those of `channels` that `which` is true for into the set of the channels of `life`, or takes them out.
    async fn list(
        &self,
        channels: &[Channel],
        command: &str,
        life: Life,
        which: impl Fn(&Channel) -> bool,
    ) -> Result<(), StoreError> {
        let names: Vec<_> = channels
            .iter()
            .filter(|channel| which(channel))
            .map(Channel::as_str)
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::default();
        batch.command(command).arg(self.keys.channels_of(life)).arg(names);
        self.ask(&batch).await?.check()
    }

    /// Carries out `changes` in the table and on Redis.
    async fn write(&self, state: &mut State, life: Life, changes: &[Change]) -> Result<Vec<Changed>, StoreError> {
        let mut batch = Batch::default();
        let (mut places, mut doubted) = (Vec::new(), Vec::new());
        for change in changes {
            let channel = change.channel();
            let is_new = state.dirty.insert(channel.clone());
            if is_new {
                doubted.push(channel.clone());
            }
            let (was, client) = (state.table.has(channel), change.client());
            state.table.change(change);
            let is = state.table.has(channel);
            if is && !(was && (is_new || doubted.contains(channel))) {
                batch
                    .command("SADD")
                    .arg(self.keys.channels_of(life))
                    .arg(channel.as_str());
            }
            places.push(batch.len());
            let step = Step {
                channel,
                client: client.as_bytes(),
                value: state.table.client(channel, client).map(member::encode),
            };
            self.step(&mut batch, life, &step);
            if was && !is {
                batch
                    .command("SREM")
                    .arg(self.keys.channels_of(life))
                    .arg(channel.as_str());
            }
        }
        // Was it alive when Redis heard this? If not, all of it may be removed as what a dead node has left.
        batch.command("TIME");
        batch.command("ZSCORE").arg(self.keys.lives()).arg(life.to_string());
        let mut answers = self.ask(&batch).await?;
        let mut changed = Vec::with_capacity(changes.len());
        for at in 0..batch.len() - 2 {
            if places.get(changed.len()) == Some(&at) {
                let bits: u8 = answers.read()?;
                changed.push(Changed { is_edge: bits & 1 != 0 });
            } else {
                let _: u64 = answers.read()?;
            }
        }
        let (now, ends): (f64, Option<f64>) = (answers.time()?, answers.read()?);
        state.is_alive = ends.is_some_and(|ends| ends > now);
        doubted.iter().for_each(|channel| _ = state.dirty.remove(channel));
        Ok(changed)
    }

    fn step(&self, batch: &mut Batch, life: Life, step: &Step<'_>) {
        let channel = step.channel.as_str();
        let keys = [
            self.keys.members(channel, life),
            self.keys.counts(channel),
            self.keys.users(channel),
        ];
        batch
            .run(&CHANGE, &keys.each_ref().map(String::as_str))
            .arg(life.to_string())
            .arg(step.client)
            .arg(step.value.as_deref().unwrap_or_default());
    }

    async fn ask(&self, batch: &Batch) -> Result<Answers, StoreError> {
        Ok(Answers::new(self.publisher.ask(&batch.pipeline).await?))
    }

    fn lives(&self, answers: &mut Answers) -> Result<Lives, StoreError> {
        let lives = Lives::read(answers)?;
        self.malformed(lives.malformed);
        Ok(lives)
    }

    fn malformed(&self, count: u64) {
        self.publisher.status.stats.malformed.add(count);
    }
}

#[async_trait]
impl Presence for RedisPresence {
    async fn change(&self, changes: Vec<Change>) -> Result<Vec<Changed>, StoreError> {
        let mut state = self.state.lock().await;
        let state = &mut *state;
        if state.is_closed {
            return Err(StoreError::Unavailable);
        }
        let mut noted = Noted {
            state,
            failed: &self.failed,
            changes: &changes,
            is_written: false,
        };
        let mut changed = Vec::with_capacity(changes.len());
        if !noted.state.is_alive {
            self.begin(noted.state).await?;
        }
        let life = noted.state.life.ok_or(StoreError::Unavailable)?;
        while !noted.changes.is_empty() {
            let (some, rest) = noted.changes.split_at(BATCH.min(noted.changes.len()));
            noted.changes = rest;
            changed.extend(self.write(noted.state, life, some).await?);
        }
        if !noted.state.is_alive {
            self.begin(noted.state).await?;
        }
        noted.is_written = true;
        Ok(changed)
    }

    async fn members(&self, channel: &Channel, most: usize) -> Result<Members, StoreError> {
        self.read_members(channel, most).await
    }

    async fn count(&self, channel: &Channel) -> Result<Count, StoreError> {
        self.read_count(channel).await
    }

    async fn nodes(&self) -> Result<Vec<Uuid>, StoreError> {
        self.read_nodes().await
    }
}

/// One use of the script.
struct Step<'a> {
    channel: &'a Channel,
    client: &'a [u8],
    /// What to put there; `None` to take the client out.
    value: Option<bytes::Bytes>,
}

/// What Redis has to be told so that it knows of `channel` what the table has.
fn differences<'a>(table: &'a Table, channel: &'a Channel, known: &'a HashMap<Vec<u8>, Vec<u8>>) -> Vec<Step<'a>> {
    let wanted = table.clients(channel).filter_map(|client| {
        let (client, value) = (client.client.as_bytes(), member::encode(client));
        let is_known = known.get(client).is_some_and(|known| *known == value);
        (!is_known).then_some(Step {
            channel,
            client,
            value: Some(value),
        })
    });
    let is_wanted =
        |client: &[u8]| std::str::from_utf8(client).is_ok_and(|client| table.client(channel, client).is_some());
    let unwanted = known.keys().filter(|client| !is_wanted(client)).map(|client| Step {
        channel,
        client,
        value: None,
    });
    wanted.chain(unwanted).collect()
}

/// Changes that are not in the table yet. However their story ends, they get there, and the keeper writes what is not written.
struct Noted<'a> {
    state: &'a mut State,
    failed: &'a Notify,
    changes: &'a [Change],
    is_written: bool,
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        for change in self.changes {
            self.state.table.change(change);
            self.state.dirty.insert(change.channel().clone());
        }
        if !self.is_written {
            self.failed.notify_one();
        }
    }
}
