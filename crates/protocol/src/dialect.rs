//! A dialect is a client protocol: it turns messages into commands, and events into frames.
//!
//! Each dialect is one file under `dialect/`, and no other file knows its wire format. What all of them share (who may do what,
//! delivery, limits) is the gateway's.

use bytes::Bytes;

use crate::frame::Message;
use crate::{Channel, Command, Event};

mod raw;

/// How an event is spelled. Subscribers with the same encoding share the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// The published JSON text, alone, in one text frame.
    Raw = 0,
}

/// The protocol that one connection speaks, with what the connection's URL has already settled.
#[derive(Debug, Clone)]
pub enum Dialect {
    /// Plain WebSocket: one connection is one channel, and every message is a publication.
    Raw {
        /// The channel that the URL named.
        channel: Channel,
    },
}

/// Why a message is not a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The message is not a JSON text, or nests too deep. It is dropped and the connection stays.
    #[error("not a JSON text: {0}")]
    Json(#[from] crate::json::JsonError),
    /// A binary message that is not text. It is dropped and the connection stays.
    #[error("a binary message that is not UTF-8")]
    Binary,
}

impl Encoding {
    /// How many encodings there are.
    pub const COUNT: usize = 1;

    /// The whole WebSocket frame that tells `event`.
    pub fn encode(self, event: &Event<'_>) -> Bytes {
        match self {
            Self::Raw => raw::encode(event),
        }
    }
}

impl Dialect {
    /// How events are spelled for this connection.
    pub fn encoding(&self) -> Encoding {
        match self {
            Self::Raw { .. } => Encoding::Raw,
        }
    }

    /// What opening the connection asks for by itself.
    pub fn opening(&self) -> Option<Command> {
        match self {
            Self::Raw { channel } => Some(Command::Subscribe {
                channel: channel.clone(),
            }),
        }
    }

    /// What `message` asks for. JSON that nests deeper than `max_depth` is an error.
    pub fn decode(&self, message: Message, max_depth: usize) -> Result<Command, DecodeError> {
        match self {
            Self::Raw { channel } => raw::decode(channel, message, max_depth),
        }
    }
}
