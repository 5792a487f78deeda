//! What the gateway tells a client, in no dialect's words.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::reason::ApplicationReason;
use crate::{Channel, ClientInfo, Close, CommandError, Publication, StreamPosition};

/// One thing a client is told.
#[derive(Debug)]
pub enum Event<'a> {
    /// Somebody published in a channel that the client subscribed to, or came, or went, as its kind says.
    Publication(&'a Publication),
    /// The server has subscribed the client to a channel.
    Subscribed {
        /// Which channel.
        channel: &'a Channel,
        /// What the subscription is like.
        subscribed: &'a Subscribed,
    },
    /// The server has ended a subscription.
    Unsubscribed {
        /// Which channel.
        channel: &'a Channel,
        /// Why.
        why: &'a Unsubscribed,
    },
    /// The server has changed when the connection expires.
    Refreshed {
        /// How long from now; `None`: it does not.
        expires: Option<Duration>,
    },
    /// A request was carried out, or not.
    Answer {
        /// The request's id.
        id: u32,
        /// What came of it.
        result: Result<&'a Answer, &'a CommandError>,
    },
    /// Are you there?
    Ping,
    /// The connection ends, and why.
    Closing(&'a Close),
}

/// What a request that was carried out is answered with.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The client is known now.
    Connected(Box<Connected>),
    /// The client hears the channel now.
    Subscribed(Box<Subscribed>),
    /// The client does not hear the channel any more.
    Unsubscribed,
    /// It is published.
    Published,
    /// Who subscribes to the channel.
    Presence(Vec<ClientInfo>),
    /// How many subscribe to the channel.
    PresenceStats {
        /// Connections.
        clients: u32,
        /// Different users behind them.
        users: u32,
    },
    /// What was published in the channel.
    History {
        /// In the order that was asked for.
        publications: Vec<Published>,
        /// Where the channel is now.
        top: StreamPosition,
    },
    /// The backend's answer.
    Rpc {
        /// JSON text; may be empty.
        data: Bytes,
    },
    /// The connection lives on.
    Refreshed {
        /// How long from now; `None`: for ever.
        expires: Option<Duration>,
    },
    /// The subscription lives on.
    SubRefreshed {
        /// How long from now; `None`: for ever.
        expires: Option<Duration>,
    },
}

/// What a client learns when it is known.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Connected {
    /// The connection's id.
    pub client: String,
    /// When the client has to send a new token.
    pub expires: Option<Duration>,
    /// The application's data; JSON text, may be empty.
    pub data: Bytes,
    /// What the server has subscribed the client to.
    pub subscriptions: BTreeMap<Channel, Subscribed>,
    /// How often the server pings; `None`: not in this dialect's words.
    pub ping: Option<Duration>,
    /// Names the connection in requests that come by another way.
    pub session: String,
    /// The process that has the connection, for such requests.
    pub node: String,
}

/// What a subscription is like.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Subscribed {
    /// When the client has to send a new token.
    pub expires: Option<Duration>,
    /// The application's data; JSON text, may be empty.
    pub data: Bytes,
    /// Where in the channel the subscription begins; `None` in a channel without history.
    pub position: Option<StreamPosition>,
    /// The client may recover later.
    pub is_recoverable: bool,
    /// What came of the recovery that was asked for.
    pub recovery: Option<Recovery>,
    /// Publications may come as differences.
    pub delta: bool,
}

/// What came of a recovery.
#[derive(Debug, Clone, PartialEq)]
pub enum Recovery {
    /// This is everything that was missed, oldest first.
    Whole(Vec<Published>),
    /// What was missed is no longer known.
    Lost,
}

/// A publication of the past.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Published {
    /// What was published.
    pub data: Bytes,
    /// Who published it, if a client did.
    pub info: Option<ClientInfo>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Its place in the channel.
    pub offset: u64,
}

/// Why the server ended a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Unsubscribed {
    /// The application wanted it.
    ByServer,
    /// The application wanted it and says why; after a code from 2500 on, clients subscribe again.
    Application(ApplicationReason<2000, 2999>),
    /// Publications may have been lost; subscribing again recovers them.
    InsufficientState,
    /// It expired; subscribing again with a new token helps.
    Expired,
    /// What the client knows is no longer true: it has to subscribe again with a new token, and without its position.
    StateInvalidated,
}

impl Unsubscribed {
    /// The number that clients know it by; from 2500 on they subscribe again at once.
    pub fn code(&self) -> u16 {
        match self {
            Self::ByServer => 2000,
            Self::Application(reason) => reason.code(),
            Self::InsufficientState => 2500,
            Self::Expired => 2501,
            Self::StateInvalidated => 2502,
        }
    }

    /// In words.
    pub fn reason(&self) -> &str {
        match self {
            Self::ByServer => "server unsubscribe",
            Self::Application(reason) => reason.text(),
            Self::InsufficientState => "insufficient state",
            Self::Expired => "subscription expired",
            Self::StateInvalidated => "state invalidated",
        }
    }
}
