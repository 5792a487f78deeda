//! A dialect is a client protocol: it turns messages into commands, and events into frames.
//!
//! Each dialect is one file under `dialect/`, and no other file knows its wire format. What all of them share (who may do what,
//! delivery, limits) is the gateway's.

use std::sync::OnceLock;

use bytes::Bytes;

use crate::frame::Message;
use crate::{Channel, Event, Request};

mod centrifuge;
mod raw;

pub use centrifuge::{Emulation, Format};

/// How an event is spelled. Subscribers with the same encoding share the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// The published JSON text, alone, in one text frame.
    Raw = 0,
    /// Pushes and answers of the Centrifuge protocol, in JSON.
    CentrifugeJson = 1,
    /// The same in Protobuf.
    CentrifugeProtobuf = 2,
    /// The same as CentrifugeJson, not in frames but on lines, as the body of an HTTP response.
    CentrifugeLines = 3,
    /// The same as CentrifugeProtobuf, not in frames, as the body of an HTTP response.
    CentrifugeStream = 4,
    /// The same as CentrifugeJson, not in frames but as server-sent events.
    CentrifugeEvents = 5,
    /// Pushes alone, in JSON, for clients that only hear.
    OneWay = 6,
    /// The same on lines, as the body of an HTTP response.
    OneWayLines = 7,
    /// The same as server-sent events.
    OneWayEvents = 8,
    /// The same as CentrifugeJson, for subscribers that get differences: a payload is its text in a string.
    CentrifugeJsonWhole = 9,
    /// The same, and a payload is how it differs from the one before in its channel, where that is shorter.
    CentrifugeJsonPatch = 10,
    /// The same in Protobuf, where what is whole is as usual.
    CentrifugeProtobufPatch = 11,
}

/// What carries messages to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// The frames of a WebSocket.
    Frames,
    /// The body of an HTTP response.
    Stream,
    /// The body of an HTTP response, as server-sent events.
    Events,
}

/// The protocol that one connection speaks, with what the connection's URL has already settled.
#[derive(Debug, Clone)]
pub enum Dialect {
    /// Plain WebSocket: one connection is one channel, and every message is a publication.
    Raw {
        /// The channel that the URL named.
        channel: Channel,
    },
    /// The Centrifuge protocol: commands with answers, and any number of channels.
    Centrifuge(Format, Carrier),
    /// The Centrifuge protocol for a client that hears only: one command when it comes, and then pushes.
    OneWay(Carrier),
}

/// The requests in one message, in order. After an error there are no more.
#[derive(Debug)]
pub struct Requests(Source);

#[derive(Debug)]
enum Source {
    One(Option<Result<Request, DecodeError>>),
    Many(centrifuge::Commands),
}

impl Iterator for Requests {
    type Item = Result<Request, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Source::One(request) => request.take(),
            Source::Many(commands) => commands.next(),
        }
    }
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
    /// The message, or a command in it, is not of the dialect. The connection ends.
    #[error("not of this protocol: {0}")]
    Malformed(&'static str),
}

impl Encoding {
    /// The frame of [`Event::Ping`], the same bytes for everybody.
    #[expect(clippy::indexing_slicing, reason = "there is a place for each encoding")]
    pub fn ping(self) -> &'static Bytes {
        static PINGS: [OnceLock<Bytes>; Encoding::COUNT] = [const { OnceLock::new() }; Encoding::COUNT];
        PINGS[self as usize].get_or_init(|| self.encode(&Event::Ping))
    }

    /// How many encodings there are.
    pub const COUNT: usize = 12;

    /// The whole WebSocket frame that tells `event`; empty if the dialect has no words for it.
    pub fn encode(self, event: &Event<'_>) -> Bytes {
        match self {
            Self::Raw => raw::encode(event),
            Self::CentrifugeJson => centrifuge::encode(Format::Json, Carrier::Frames, event),
            Self::CentrifugeProtobuf => centrifuge::encode(Format::Protobuf, Carrier::Frames, event),
            Self::CentrifugeJsonWhole | Self::CentrifugeJsonPatch | Self::CentrifugeProtobufPatch => {
                centrifuge::encode_delta(self, event)
            }
            Self::CentrifugeLines => centrifuge::encode(Format::Json, Carrier::Stream, event),
            Self::CentrifugeStream => centrifuge::encode(Format::Protobuf, Carrier::Stream, event),
            Self::CentrifugeEvents => centrifuge::encode(Format::Json, Carrier::Events, event),
            Self::OneWay => centrifuge::encode_one_way(Carrier::Frames, event),
            Self::OneWayLines => centrifuge::encode_one_way(Carrier::Stream, event),
            Self::OneWayEvents => centrifuge::encode_one_way(Carrier::Events, event),
        }
    }

    /// How publications are spelled for a subscriber that gets differences: whole, and as a difference. `None`: it cannot.
    pub fn delta(self) -> Option<(Self, Self)> {
        match self {
            Self::CentrifugeJson => Some((Self::CentrifugeJsonWhole, Self::CentrifugeJsonPatch)),
            Self::CentrifugeProtobuf => Some((Self::CentrifugeProtobuf, Self::CentrifugeProtobufPatch)),
            _ => None,
        }
    }

    /// Whether it is the body of an HTTP response, which has no frames: neither pings of WebSocket nor a Close.
    pub fn is_stream(self) -> bool {
        match self {
            Self::Raw
            | Self::CentrifugeJson
            | Self::CentrifugeProtobuf
            | Self::OneWay
            | Self::CentrifugeJsonWhole
            | Self::CentrifugeJsonPatch
            | Self::CentrifugeProtobufPatch => false,
            Self::CentrifugeLines
            | Self::CentrifugeStream
            | Self::CentrifugeEvents
            | Self::OneWayLines
            | Self::OneWayEvents => true,
        }
    }
}

impl Dialect {
    /// How events are spelled for this connection.
    pub fn encoding(&self) -> Encoding {
        match self {
            Self::Raw { .. } => Encoding::Raw,
            Self::Centrifuge(Format::Json, Carrier::Frames) => Encoding::CentrifugeJson,
            Self::Centrifuge(Format::Protobuf, Carrier::Frames) => Encoding::CentrifugeProtobuf,
            Self::Centrifuge(Format::Json, Carrier::Stream) => Encoding::CentrifugeLines,
            Self::Centrifuge(Format::Protobuf, Carrier::Stream) => Encoding::CentrifugeStream,
            // Server-sent events are text.
            Self::Centrifuge(_, Carrier::Events) => Encoding::CentrifugeEvents,
            Self::OneWay(Carrier::Frames) => Encoding::OneWay,
            Self::OneWay(Carrier::Stream) => Encoding::OneWayLines,
            Self::OneWay(Carrier::Events) => Encoding::OneWayEvents,
        }
    }

    /// What `message` asks for, request by request. JSON that nests deeper than `max_depth` is an error.
    pub fn decode(&self, message: Message, max_depth: usize) -> Requests {
        Requests(match self {
            Self::Raw { channel } => Source::One(Some(raw::decode(channel, message, max_depth))),
            Self::Centrifuge(format, _) => Source::Many(centrifuge::Commands::new(*format, message, max_depth)),
            Self::OneWay(_) => Source::One(Some(centrifuge::decode_one_way(&message.data, max_depth))),
        })
    }
}
