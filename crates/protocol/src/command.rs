//! What a client asks of the gateway, in no dialect's words.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{Channel, CommandError, Filter, StreamPosition};

/// One request of a client.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Names the request in its answer; 0 when the client expects none.
    pub id: u32,
    /// What is asked for, or what is wrong with it: an answer, not the end of the connection.
    pub command: Result<Command, CommandError>,
}

/// What one request asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Say who this is. The first request of a dialect that has it.
    Connect(Box<Connect>),
    /// Hear what is published in a channel from now on.
    Subscribe(Box<Subscribe>),
    /// Hear no more of a channel.
    Unsubscribe {
        /// The channel to leave.
        channel: Channel,
    },
    /// Send `data` to every subscriber of `channel`.
    Publish {
        /// Where to.
        channel: Channel,
        /// What; already in the form that goes on the bus.
        data: Bytes,
    },
    /// Who subscribes to the channel, everywhere.
    Presence {
        /// Which channel.
        channel: Channel,
    },
    /// How many subscribe to the channel, everywhere.
    PresenceStats {
        /// Which channel.
        channel: Channel,
    },
    /// What was published in a channel.
    History(History),
    /// Have the application's backend do something and answer.
    Rpc {
        /// What to do.
        method: String,
        /// JSON text; may be empty.
        data: Bytes,
    },
    /// Tell the application's backend something, without an answer.
    Send {
        /// JSON text; may be empty.
        data: Bytes,
    },
    /// A new token for the connection.
    Refresh {
        /// The token, not checked yet.
        token: String,
    },
    /// A new token for a subscription.
    SubRefresh {
        /// The subscription's channel.
        channel: Channel,
        /// The token, not checked yet.
        token: String,
    },
    /// The answer to a ping.
    Pong,
}

/// Who a client says it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Connect {
    /// The connection token, not checked yet; empty when there is none.
    pub token: String,
    /// Data for the application's backend; JSON text, may be empty.
    pub data: Bytes,
    /// The name of the client's library.
    pub name: String,
    /// The version of the application.
    pub version: String,
    /// What a browser cannot send as HTTP headers. As trustworthy as the client.
    pub headers: BTreeMap<String, String>,
    /// Subscriptions that the server had made, and how far the client had read them.
    pub positions: BTreeMap<Channel, StreamPosition>,
}

/// A wish to hear a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscribe {
    /// The channel to join.
    pub channel: Channel,
    /// The subscription token, not checked yet; empty when there is none.
    pub token: String,
    /// Data for the application's backend; JSON text, may be empty.
    pub data: Bytes,
    /// Hear first what was published after this position.
    pub recover: Option<StreamPosition>,
    /// An answer without recovery is worse than an error.
    pub must_recover: bool,
    /// Watch that nothing is lost on the way.
    pub positioned: bool,
    /// Be able to recover later.
    pub recoverable: bool,
    /// Hear who comes and goes.
    pub join_leave: bool,
    /// Publications may come as differences to the one before.
    pub delta: bool,
    /// Hear only publications whose tags match.
    pub filter: Option<Filter>,
}

impl Subscribe {
    /// The plain wish to hear `channel` from now on.
    pub fn to(channel: Channel) -> Self {
        Self {
            channel,
            token: String::new(),
            data: Bytes::new(),
            recover: None,
            must_recover: false,
            positioned: false,
            recoverable: false,
            join_leave: false,
            delta: false,
            filter: None,
        }
    }
}

/// A wish to read what was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// Which channel.
    pub channel: Channel,
    /// At most so many publications; below zero as many as there may be, and with zero only the position is told.
    pub limit: i32,
    /// Only what follows this position, or precedes it when `reverse`.
    pub since: Option<StreamPosition>,
    /// Newest first.
    pub reverse: bool,
}
