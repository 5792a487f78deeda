//! Carries publications between processes, knows who is in which channel over all of them, and keeps notices that all of them read.
//!
//! A [`Bus`] is either the memory of one process or Redis; both keep the same promises, checked by one suite. Knows neither sockets nor
//! dialects, and decides nothing about who may do what.
//!
//! Promised: publications of one [`Bus::publish`] caller arrive everywhere in the order of its calls; a subscriber of a channel hears
//! everything that the bus accepts there between [`BusEvent::Subscribed`] and [`Bus::unsubscribe`], except while the link is lost; the
//! loss of the link is told before anything that comes after it. The publisher's own process hears its publications by the same road as
//! every other. The same holds for what one [`Bus::tell`] caller tells a node. Not promised: anything published or told while the link is lost.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use protocol::{Attributes, Channel, ClientInfo, PublicationKind};
use uuid::Uuid;

pub mod envelope;
mod memory;
pub mod notices;
mod once;
pub mod presence;
mod queue;
pub mod redis;
mod vital;

pub use memory::MemoryBus;
pub use notices::{Notice, NoticeError, Notices};
pub use presence::Presence;
pub use queue::{Events, QueueLimits};
pub use redis::{RedisBus, RedisConfig, RedisConfigError, Resolve, SystemResolver};
pub use vital::vital;

/// Joins the processes that share one channel space.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Wants to hear `channel`. Returns at once; [`BusEvent::Subscribed`] with the returned generation follows when it is confirmed, and
    /// again, with the same generation, after each loss of the link. Asking for a channel that is already wanted returns its generation.
    fn subscribe(&self, channel: &Channel) -> Generation;

    /// No longer wants to hear `channel`. Returns at once; publications already under way may still arrive.
    fn unsubscribe(&self, channel: &Channel);

    /// Publishes in the order given; the answer at an index belongs to the publication at that index. Never waits for a lost Redis to come
    /// back: it fails with [`PublishError::Unavailable`] instead. It may wait until [`Events`] has room, so the task that empties
    /// [`Events`] must not wait for it.
    async fn publish(&self, batch: Vec<Outgoing>) -> Vec<Result<(), PublishError>>;

    /// Who this process is on the bus; no other has the same id, nor has it after it was started again.
    fn node(&self) -> Uuid;

    /// Tells nodes something that is not for a channel; they hear [`BusEvent::Told`]. A node that tells itself, or everyone, hears it by the
    /// same road as the others. Taken says nothing about whether anybody heard it. Waits and fails as [`publish`](Self::publish) does.
    async fn tell(&self, to: Addressee, message: Bytes) -> Result<(), PublishError>;

    /// Who is in which channel.
    fn presence(&self) -> &dyn Presence;

    /// What every process is to know for a time.
    fn notices(&self) -> &dyn Notices;

    /// How the bus is, now.
    fn health(&self) -> Health;

    /// What the bus has counted since it was started.
    fn stats(&self) -> &Stats;

    /// Ends every task and connection of the bus, and takes this process' members out of all channels. Nothing is heard afterwards.
    async fn close(&self);
}

/// Whom to tell something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressee {
    /// Every node, the one that tells among them.
    Everyone,
    /// This node.
    Node(Uuid),
}

/// Tells one wish for a channel from an earlier wish for the same channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(pub u64);

/// Something to publish. Start from [`Outgoing::new`] and change what differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// What it tells. A bare channel has words for [`PublicationKind::Publication`] only, so all else is refused there.
    pub kind: PublicationKind,
    /// Where to.
    pub channel: Channel,
    /// The payload.
    pub data: Bytes,
    /// What travels with it, if anything does. A bare channel has no place for it.
    pub attributes: Option<Box<Attributes>>,
    /// Publishes once: within five minutes another publication with the same key in the same channel, by whichever process, is taken and not
    /// published. The key may be of any length.
    pub once: Option<String>,
}

impl Outgoing {
    /// `data` for `channel`, with nothing else.
    pub fn new(channel: Channel, data: Bytes) -> Self {
        Self {
            kind: PublicationKind::Publication,
            channel,
            data,
            attributes: None,
            once: None,
        }
    }

    /// That `client` subscribed to `channel`.
    pub fn join(channel: Channel, client: ClientInfo) -> Self {
        Self::about(PublicationKind::Join, channel, client)
    }

    /// That `client` is no longer a subscriber of `channel`.
    pub fn leave(channel: Channel, client: ClientInfo) -> Self {
        Self::about(PublicationKind::Leave, channel, client)
    }

    fn about(kind: PublicationKind, channel: Channel, client: ClientInfo) -> Self {
        let attributes = Attributes {
            publisher: Some(client),
            ..Attributes::default()
        };
        Self {
            kind,
            attributes: Some(Box::new(attributes)),
            ..Self::new(channel, Bytes::new())
        }
    }
}

/// Something that was published, here or elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// What it tells. A join or a leave always says who, and has no payload.
    pub kind: PublicationKind,
    /// Where.
    pub channel: Channel,
    /// The payload.
    pub data: Bytes,
    /// What came with it, if anything did.
    pub attributes: Option<Box<Attributes>>,
    /// When the publishing node gave it to the bus, by that node's clock. Unknown on a bare channel.
    pub published_at: Option<SystemTime>,
}

/// One thing heard from the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusEvent {
    /// Somebody published in a wanted channel.
    Publication(Incoming),
    /// From here on, everything published in the channel is heard.
    Subscribed {
        /// The channel.
        channel: Channel,
        /// Which wish for it this confirms.
        generation: Generation,
    },
    /// A node told this one something, or everyone.
    Told {
        /// Which node says so; whoever may publish on Redis can say so too.
        from: Uuid,
        /// What, in words that the bus does not know.
        message: Bytes,
    },
    /// A process ended without a word, and these members with it. One process is told of each of them, and of none again.
    Vanished {
        /// Where they were.
        channel: Channel,
        /// Who.
        members: Vec<ClientInfo>,
    },
    /// The link to the other processes is gone; what is published until the next [`BusEvent::Subscribed`] of a channel is not heard.
    LinkLost,
}

/// Why a publication was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// There is no connection; it was not published.
    #[error("Redis is not reachable")]
    Unavailable,
    /// The connection was lost, or the answer did not come in time; it may have been published, or may be even after this answer.
    #[error("no answer from Redis, the publication may or may not have happened")]
    Unknown,
    /// Redis refused; it was not published.
    #[error("Redis refused the publication: {reason}")]
    Refused {
        /// The words of Redis, without payload.
        reason: String,
    },
}

/// Why what is kept for all processes cannot be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no connection, or no answer on it in time; trying again later helps.
    #[error("Redis is not reachable")]
    Unavailable,
    /// Redis refused.
    #[error("Redis refused: {reason}")]
    Refused {
        /// The words of Redis.
        reason: String,
    },
}

/// How the bus is at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// `memory` or `redis`.
    pub kind: &'static str,
    /// Whether publications of other processes are heard: the last loop-back came back in time.
    pub link_up: bool,
    /// Whether publications are taken.
    pub publisher_up: bool,
    /// Whether a loop-back has ever come back since the start, and other processes could learn of this one.
    pub was_up: bool,
    /// Since when the link is in its state.
    pub since: SystemTime,
    /// How long the last loop-back took.
    pub loop_back: Option<Duration>,
    /// What is wrong, for a person; no secrets.
    pub problem: Option<String>,
}

/// Counters of the bus, each a number since the start.
#[derive(Debug, Default)]
pub struct Stats {
    /// Publications heard.
    pub received: Counter,
    /// What was heard or read and was not in a form that can be passed on: a bad envelope, bare text that is not UTF-8, a member that is none.
    pub malformed: Counter,
    /// Times the link was established again after a loss.
    pub reconnects: Counter,
    /// Milliseconds without a link, up to the last time it came back.
    pub gap_millis: Counter,
    /// Channels subscribed now; it goes up and down.
    pub subscriptions: Counter,
    /// Pool connections in use now; it goes up and down.
    pub pool_in_use: Counter,
    /// Pool connections idle now; it goes up and down.
    pub pool_idle: Counter,
}

/// One number that any thread may read while others add to it.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Takes `n` away, for the values that also go down.
    pub fn subtract(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    /// Replaces the value.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
