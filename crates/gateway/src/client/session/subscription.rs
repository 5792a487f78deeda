//! A channel that a client has, or has asked for: by whose word, until when, and what is still missing.

use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::{Channel, ClientInfo, Filter};

use crate::client::{Action, Moment};
use crate::lane::ask::Attendance;
use crate::token::Origin;

/// A channel that a client has, or will have.
pub(super) struct Subscription {
    pub(super) progress: Progress,
    pub(super) source: Source,
    /// When it has to have been shown that the client may stay; `None`: it may.
    pub(super) expires: Option<Expiry>,
    /// What others in the channel may see of it; JSON, may be empty.
    pub(super) info: Bytes,
    /// The token that it came with; `None`: none of its own.
    pub(super) token: Option<Box<Origin>>,
    /// It is counted as present.
    pub(super) is_present: bool,
    /// Others are told that it comes and goes.
    pub(super) is_announced: bool,
}

/// When something ends, unless somebody shows that it may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expiry {
    pub(super) at: Instant,
    /// The client does not know, and the server looks after it.
    pub(super) is_of_server: bool,
}

pub(super) enum Progress {
    /// The node does not hear the channel yet, or others that come with it.
    Asked(Box<Wish>),
    Active,
}

/// What came with the wish for a subscription.
pub(super) struct Wish {
    pub(super) why: Why,
    /// The backend has still to agree.
    pub(super) is_asked_about: bool,
    pub(super) is_heard: bool,
    /// The client wants to know what it missed.
    pub(super) recovers: bool,
    /// The token for it, if there was one.
    pub(super) token: Option<Box<Origin>>,
    pub(super) data: Bytes,
    /// The client asked to hear who comes and goes.
    pub(super) joins: bool,
    pub(super) delta: bool,
    pub(super) filter: Option<Filter>,
}

/// What a subscription was asked for with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// A request of the client.
    Request(u32),
    /// The client's coming, with that request.
    Connect(u32),
    /// The application's wish.
    Order,
}

/// By whose word a client is in a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The rule's.
    Rule,
    /// A token's for the subscription.
    Token,
    /// The backend's, asked for this subscription.
    Backend,
    /// The token's for the connection.
    Connection,
    /// The application's, by the server API.
    Server,
}

impl Expiry {
    /// The client is told, and has to bring a new token.
    pub(super) fn by_client(at: Instant) -> Self {
        let is_of_server = false;
        Self { at, is_of_server }
    }

    /// The client is not told.
    pub(super) fn by_server(at: Instant) -> Self {
        let is_of_server = true;
        Self { at, is_of_server }
    }

    /// How long there is, for a client that has to know.
    pub(super) fn told(self, at: Moment) -> Option<Duration> {
        (!self.is_of_server).then(|| self.at.saturating_duration_since(at.now))
    }

    /// When something has to be done about it; clients have some time more.
    pub(super) fn deadline(self, grace: Duration) -> Instant {
        if self.is_of_server { self.at } else { self.at + grace }
    }
}

impl Subscription {
    /// One that is not active yet, and that nobody sees.
    pub(super) fn new(source: Source, expires: Option<Expiry>, wish: Wish) -> Self {
        Self {
            progress: Progress::Asked(Box::new(wish)),
            source,
            expires,
            info: Bytes::new(),
            token: None,
            is_present: false,
            is_announced: false,
        }
    }

    /// How others see that `client` comes or leaves; `None` where nobody does.
    pub(super) fn attendance(&self, channel: Channel, client: ClientInfo, comes: bool) -> Option<Action> {
        (self.is_present || self.is_announced).then(|| {
            Action::Attend(Attendance {
                channel,
                client: Box::new(client),
                comes,
                is_present: self.is_present,
                is_announced: self.is_announced,
            })
        })
    }
}

impl Source {
    pub(super) fn is_server_side(self) -> bool {
        matches!(self, Self::Connection | Self::Server)
    }
}

impl Wish {
    /// A wish for nothing but to hear the channel, and with `recovers` what was missed.
    pub(super) fn new(why: Why, recovers: bool) -> Self {
        Self {
            why,
            is_asked_about: false,
            is_heard: false,
            recovers,
            token: None,
            data: Bytes::new(),
            joins: false,
            delta: false,
            filter: None,
        }
    }
}

impl Why {
    /// The number that the node answers to.
    pub(super) fn request(self) -> u32 {
        match self {
            Self::Request(id) | Self::Connect(id) => id,
            Self::Order => 0,
        }
    }
}
