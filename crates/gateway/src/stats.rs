//! What a lane has counted since it started, what it has now, and the reasons that it counts by.
//!
//! Invariant: only the lane itself writes its counters, but for the slowest turn, which a scrape begins anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bus::Counter;
use protocol::event::Answer;
use protocol::{Close, CommandError, Encoding};

mod conversation;

pub(crate) use conversation::{COMMANDS, ERRORS, Tongue};

/// Why a publication or a message was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// Not a JSON text.
    Malformed,
    /// The channel is not open to publications of clients.
    NotAllowed,
    /// Beyond the client's allowance.
    RateLimit,
    /// In an outbox that was full.
    SlowConsumer,
}

/// Why a connection ended. The set is closed, whatever reasons applications give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// By the client's Close.
    Client,
    /// The connection broke without a Close.
    Lost,
    /// Nothing was heard from the client for too long.
    PingTimeout,
    /// The client read too slowly.
    SlowConsumer,
    /// This process leaves.
    Drain,
    /// The client broke its protocol.
    Protocol,
    /// The client broke a rule.
    Policy,
    /// The gateway failed.
    Internal,
    /// The client's token was refused.
    Token,
    /// The client did not say who it is.
    Stale,
    /// It was to last so long.
    Expired,
    /// The application wanted it.
    Server,
    /// There were too many of something.
    Limit,
    /// Publications may have been lost.
    InsufficientState,
    /// Another process has more room.
    Reconnect,
}

/// What a lane has counted since it started, and what it has now.
#[derive(Debug)]
pub(crate) struct LaneStats {
    /// The number of the lane.
    pub(crate) lane: usize,
    /// Connections open now.
    pub(crate) connections: Counter,
    /// Channels with subscribers here now.
    pub(crate) channels: Counter,
    /// Subscriptions here now.
    pub(crate) subscriptions: Counter,
    /// Bytes in outboxes now.
    pub(crate) outbox_bytes: Counter,
    pub(crate) opened: Counter,
    pub(crate) received_messages: Counter,
    pub(crate) received_bytes: Counter,
    pub(crate) deliveries: Counter,
    pub(crate) writes: Counter,
    pub(crate) sent_bytes: Counter,
    pub(crate) panics: Counter,
    dropped: [Counter; Dropped::ALL.len()],
    ended: [Counter; Ended::ALL.len()],
    /// Connections open now, by what their clients talk in.
    tongues: [Counter; Tongue::ALL.len()],
    commands: [Counter; COMMANDS.len()],
    errors: [Counter; ERRORS.len()],
    /// The longest turn of the loop in microseconds, since it was last read.
    slowest_turn: Counter,
    /// Milliseconds from `start` to the last turn.
    ticked: Counter,
    /// It has ended because nothing was left for it to do.
    is_over: AtomicBool,
    start: Instant,
}

/// Notes the end of a lane when it is dropped.
pub(crate) struct UntilOver(pub(crate) Arc<LaneStats>);

impl Drop for UntilOver {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

impl Dropped {
    pub(crate) const ALL: [Self; 4] = [Self::Malformed, Self::NotAllowed, Self::RateLimit, Self::SlowConsumer];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NotAllowed => "not_allowed",
            Self::RateLimit => "rate_limit",
            Self::SlowConsumer => "slow_consumer",
        }
    }
}

impl Ended {
    pub(crate) const ALL: [Self; 15] = [
        Self::Client,
        Self::Lost,
        Self::PingTimeout,
        Self::SlowConsumer,
        Self::Drain,
        Self::Protocol,
        Self::Policy,
        Self::Internal,
        Self::Token,
        Self::Stale,
        Self::Expired,
        Self::Server,
        Self::Limit,
        Self::InsufficientState,
        Self::Reconnect,
    ];

    /// The reason as the metric and the log have it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Lost => "lost",
            Self::PingTimeout => "ping_timeout",
            Self::SlowConsumer => "slow_consumer",
            Self::Drain => "drain",
            Self::Protocol => "protocol",
            Self::Policy => "policy",
            Self::Internal => "internal",
            Self::Token => "token",
            Self::Stale => "stale",
            Self::Expired => "expired",
            Self::Server => "server",
            Self::Limit => "limit",
            Self::InsufficientState => "insufficient_state",
            Self::Reconnect => "reconnect",
        }
    }
}

impl From<&Close> for Ended {
    /// A Close that answers the client's is the client's doing.
    fn from(close: &Close) -> Self {
        match close {
            Close::Answer { .. } => Self::Client,
            Close::NoPong => Self::PingTimeout,
            Close::SlowConsumer => Self::SlowConsumer,
            Close::Shutdown => Self::Drain,
            Close::Protocol | Close::InvalidUtf8 | Close::TooLarge | Close::BadRequest => Self::Protocol,
            Close::Policy | Close::PermissionDenied | Close::NotAvailable | Close::TooManyErrors => Self::Policy,
            Close::Internal => Self::Internal,
            Close::InvalidToken => Self::Token,
            Close::Stale => Self::Stale,
            Close::Expired | Close::SubscriptionExpired => Self::Expired,
            Close::ByServer | Close::Application(_) | Close::StateInvalidated => Self::Server,
            Close::ConnectionLimit | Close::ChannelLimit => Self::Limit,
            Close::InsufficientState => Self::InsufficientState,
            Close::Reconnect => Self::Reconnect,
        }
    }
}

impl LaneStats {
    pub(crate) fn new(lane: usize) -> Self {
        Self {
            lane,
            connections: Counter::default(),
            channels: Counter::default(),
            subscriptions: Counter::default(),
            outbox_bytes: Counter::default(),
            opened: Counter::default(),
            received_messages: Counter::default(),
            received_bytes: Counter::default(),
            deliveries: Counter::default(),
            writes: Counter::default(),
            sent_bytes: Counter::default(),
            panics: Counter::default(),
            dropped: Default::default(),
            ended: Default::default(),
            tongues: Default::default(),
            commands: Default::default(),
            errors: Default::default(),
            slowest_turn: Counter::default(),
            ticked: Counter::default(),
            is_over: AtomicBool::new(false),
            start: Instant::now(),
        }
    }

    pub(crate) fn drop_some(&self, reason: Dropped, count: u64) {
        self.dropped[reason as usize].add(count);
    }

    pub(crate) fn dropped(&self, reason: Dropped) -> u64 {
        self.dropped[reason as usize].get()
    }

    pub(crate) fn end_one(&self, reason: Ended) {
        self.ended[reason as usize].add(1);
    }

    /// A connection opens or ends, whose client talks in this.
    pub(crate) fn talks(&self, encoding: Encoding, is_there: bool) {
        let count = &self.tongues[Tongue::from(encoding) as usize];
        match is_there {
            true => count.add(1),
            false => count.subtract(1),
        }
    }

    /// How many connections there are now, by what their clients talk in.
    pub(crate) fn tongues(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let labels = Tongue::ALL.into_iter().map(Tongue::label);
        labels.zip(self.tongues.iter().map(Counter::get))
    }

    /// A command was answered.
    pub(crate) fn answered(&self, result: Result<&Answer, &CommandError>) {
        match result {
            Ok(answer) => self.commands[conversation::command(answer)].add(1),
            Err(error) => self.errors[conversation::error(error)].add(1),
        }
    }

    /// How many commands were carried out, by command.
    pub(crate) fn commands(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        COMMANDS.into_iter().zip(self.commands.iter().map(Counter::get))
    }

    /// How many commands were not, by error.
    pub(crate) fn errors(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        ERRORS.into_iter().zip(self.errors.iter().map(Counter::get))
    }

    /// How many connections ended, and why: every reason is there.
    pub(crate) fn ended(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let labels = Ended::ALL.into_iter().map(Ended::label);
        labels.zip(self.ended.iter().map(Counter::get))
    }

    /// Notes a turn of the loop that began at `began` and ends at `now`.
    pub(crate) fn tick(&self, began: Instant, now: Instant) {
        self.ticked.set((micros(now - self.start) / 1000).max(1));
        let turn = micros(now - began);
        if turn > self.slowest_turn.get() {
            self.slowest_turn.set(turn);
        }
    }

    /// How long ago the last turn ended; a lane that is over, or has not begun, owes none.
    pub(crate) fn silence(&self) -> Duration {
        let has_begun = self.ticked.get() > 0;
        if !has_begun || self.is_over.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
        self.start
            .elapsed()
            .saturating_sub(Duration::from_millis(self.ticked.get()))
    }

    /// The longest turn since the last call.
    pub(crate) fn take_slowest_turn(&self) -> Duration {
        let slowest = self.slowest_turn.get();
        self.slowest_turn.set(0);
        Duration::from_micros(slowest)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
