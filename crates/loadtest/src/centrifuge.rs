//! The Centrifuge protocol as a client speaks it: commands as bytes, and replies found in bytes.
//!
//! One message carries one command or reply or more; each encoding is a file of its own. Reading happens once for every delivery, so it is
//! one pass over the bytes without building values; what is not of the protocol is still noticed. No I/O and no clock.

mod json;
mod protobuf;
mod session;

use bytes::Bytes;
use protocol::dialect::Format;
use protocol::{Channel, frame};

pub(crate) use session::{Arrival, Heard, Session};

/// What a client asks.
#[derive(Debug, Clone, Copy)]
enum Command<'a> {
    Connect {
        id: u32,
        token: Option<&'a str>,
    },
    Subscribe {
        id: u32,
        channel: &'a Channel,
    },
    /// `data` is a JSON text.
    Publish {
        id: u32,
        channel: &'a Channel,
        data: &'a [u8],
    },
    /// The answer to a ping.
    Pong,
}

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply<'a> {
    /// Wants to know whether the client is still there.
    Ping,
    /// The answer to command `id`.
    Answer { id: u32, result: Result<Answer, Refusal> },
    /// Somebody has published.
    Publication { channel: &'a [u8], data: &'a [u8] },
    /// The server has ended the subscription or the connection.
    Ended { code: u32 },
    /// A push that is of no use here.
    Other,
}

/// How a command succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// To connect; says whether pings want an answer.
    Connected { wants_pongs: bool },
    /// To subscribe.
    Subscribed,
    /// To publish.
    Published,
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error {code}: {message}")]
pub(crate) struct Refusal {
    pub(crate) code: u32,
    pub(crate) message: String,
}

/// What a server must not send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("sent {0}")]
pub(crate) struct Malformed(&'static str);

/// The masked frame of `commands`, all in one message.
fn write(format: Format, commands: &[Command<'_>]) -> Bytes {
    let mut message = Vec::new();
    for command in commands {
        match format {
            Format::Json => json::write(command, &mut message),
            Format::Protobuf => protobuf::write(command, &mut message),
        }
    }
    match format {
        Format::Json => frame::client::text(&message, rand::random()),
        Format::Protobuf => frame::client::binary(&message, rand::random()),
    }
}

/// The replies in one message, in order. After an error there are no more that mean anything.
pub(crate) fn replies(format: Format, message: &[u8]) -> Replies<'_> {
    Replies {
        format,
        rest: message,
        is_first: true,
    }
}

pub(crate) struct Replies<'a> {
    format: Format,
    rest: &'a [u8],
    is_first: bool,
}

impl<'a> Iterator for Replies<'a> {
    type Item = Result<Reply<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let is_first = std::mem::replace(&mut self.is_first, false);
        if self.rest.is_empty() {
            return is_first.then_some(Err(Malformed("an empty message")));
        }
        let reply = match self.format {
            Format::Json => json::read(&mut self.rest),
            Format::Protobuf => protobuf::read(&mut self.rest),
        };
        if reply.is_err() {
            self.rest = &[];
        }
        Some(reply)
    }
}

/// The parts of a reply, in whatever order they stood.
#[derive(Debug, Default)]
struct Parts<'a> {
    id: u32,
    answer: Option<Answer>,
    refusal: Option<Refusal>,
    push: Option<Push<'a>>,
}

/// The parts of a push.
#[derive(Debug, Default)]
struct Push<'a> {
    channel: &'a [u8],
    /// A publication, which must have data.
    publication: Option<Option<&'a [u8]>>,
    ended: Option<u32>,
}

impl<'a> Parts<'a> {
    fn into_reply(self) -> Result<Reply<'a>, Malformed> {
        match self {
            Self {
                id: 0,
                push: Some(push),
                ..
            } => push.into_reply(),
            Self { id: 0, .. } => Err(Malformed("a reply that is neither an answer nor a push")),
            Self {
                id,
                refusal: Some(refusal),
                ..
            } => Ok(Reply::Answer {
                id,
                result: Err(refusal),
            }),
            Self {
                id,
                answer: Some(answer),
                ..
            } => Ok(Reply::Answer { id, result: Ok(answer) }),
            _ => Err(Malformed("an answer without a result")),
        }
    }
}

impl<'a> Push<'a> {
    fn into_reply(self) -> Result<Reply<'a>, Malformed> {
        match self {
            Self {
                publication: Some(Some(data)),
                channel,
                ..
            } => Ok(Reply::Publication { channel, data }),
            Self {
                publication: Some(None),
                ..
            } => Err(Malformed("a publication without data")),
            Self { ended: Some(code), .. } => Ok(Reply::Ended { code }),
            _ => Ok(Reply::Other),
        }
    }
}
