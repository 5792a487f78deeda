//! RFC 6455 frames: an incremental parser that refuses from the header, and the writing of frames.
//!
//! The parser holds no socket and no limits of its own: it is fed bytes as they come, and whatever is wrong with a frame is known at
//! its header, before any payload is kept. A server's parser expects masked frames; so that load tests and tests can be clients in the
//! same words, a client's parser expects unmasked ones.

use bytes::Bytes;

mod guard;
mod parser;
mod write;

pub use guard::Guard;
pub use parser::Parser;
pub use write::{binary, boundary, client, close, ping, pong, text};

use crate::Close;

/// What kind of data a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8, checked as it arrived.
    Text,
    /// Any bytes.
    Binary,
}

/// One message: its fragments assembled and unmasked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Text or binary.
    pub kind: Kind,
    /// The payload.
    pub data: Bytes,
}

/// What the parser finds in the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A complete message.
    Message(Message),
    /// A ping, to be answered by a pong with the same payload (at most 125 bytes).
    Ping(Bytes),
    /// A pong.
    Pong(Bytes),
    /// The peer closes. Nothing that follows is looked at.
    Close {
        /// The code, when one was given; one that may stand on the wire.
        code: Option<u16>,
        /// The reason, possibly empty.
        reason: String,
    },
}

/// Which end of the connection the parser reads for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Reads frames of a client: masked.
    Server,
    /// Reads frames of a server: unmasked.
    Client,
}

/// What is refused from the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest message after assembly, in bytes.
    pub message_size: usize,
    /// The most frames one message may be cut into.
    pub fragments: u32,
}

/// Why the stream cannot go on, each with its close code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame breaks the protocol: 1002.
    #[error("{0}")]
    Protocol(&'static str),
    /// A text message or a close reason is not UTF-8: 1007.
    #[error("text that is not UTF-8")]
    InvalidUtf8,
    /// A message is larger than the limit: 1009.
    #[error("a message larger than the limit")]
    TooLarge,
    /// A message has more fragments than the limit: 1008.
    #[error("a message of too many fragments")]
    TooManyFragments,
}

impl FrameError {
    /// How the connection is closed for it.
    pub fn close(self) -> Close {
        match self {
            Self::Protocol(_) => Close::Protocol,
            Self::InvalidUtf8 => Close::InvalidUtf8,
            Self::TooLarge => Close::TooLarge,
            Self::TooManyFragments => Close::Policy,
        }
    }
}

/// Applies `mask` to `data` in place, which both masks and unmasks.
fn mask_in_place(data: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = data.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= key;
    }
}
