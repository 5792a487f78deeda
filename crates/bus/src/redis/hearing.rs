//! What Redis says on the subscribing connection, and what of it concerns the listener.
//!
//! Nothing that comes from Redis is trusted: what is not a reply of a subscribing connection ends it, and a publication that nobody can
//! read is counted and passed over.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use protocol::PublicationKind;
use uuid::Uuid;

use super::keys::Named;
use super::link::Link;
use super::resp::{Reply, Value};
use super::trouble::{Trouble, words};
use super::wire::{Verb, Wire};
use super::wishes::Wishes;
use crate::Incoming;
use crate::envelope::{Envelope, Kind};

/// What a reply means on a subscribing connection.
pub(crate) enum Heard<'a> {
    /// Somebody published; `None` if it was over the bound and passed over.
    Message { name: &'a [u8], payload: Option<&'a [u8]> },
    /// A subscription was changed.
    Answer { verb: Verb, name: &'a [u8] },
    /// The answer to PING.
    Pong,
    /// A command was refused.
    Refusal(String),
}

/// What is said to this node.
pub(crate) enum Word {
    /// It said so itself, and wants to know whether it hears.
    LoopBack(u64),
    /// A node tells it something.
    Told { from: Uuid, message: Bytes },
}

pub(crate) fn read_reply<'a>(reply: &Reply<&'a [u8]>) -> Result<Heard<'a>, Trouble> {
    match reply {
        Reply::One(Value::Status(b"PONG")) => Ok(Heard::Pong),
        Reply::One(Value::Error(reason)) => Ok(Heard::Refusal(words(reason))),
        Reply::Many {
            items: [Value::Bulk(b"pong"), ..],
            len: 2,
        } => Ok(Heard::Pong),
        Reply::Many {
            items: [Value::Bulk(b"message"), Value::Bulk(name), payload, _],
            len: 3,
        } => match payload {
            Value::Bulk(payload) => Ok(Heard::Message {
                name,
                payload: Some(payload),
            }),
            Value::TooLong(_) => Ok(Heard::Message { name, payload: None }),
            _ => Err(Trouble::Unexpected),
        },
        Reply::Many {
            items: [Value::Bulk(verb), Value::Bulk(name), Value::Integer(_), _],
            len: 3,
        } => match *verb {
            b"subscribe" => Ok(Heard::Answer {
                verb: Verb::Subscribe,
                name,
            }),
            b"unsubscribe" => Ok(Heard::Answer {
                verb: Verb::Unsubscribe,
                name,
            }),
            _ => Err(Trouble::Unexpected),
        },
        _ => Err(Trouble::Unexpected),
    }
}

impl Link {
    /// What a message on a channel is for the listener: nothing, if nobody wants it or nobody could read it.
    pub(crate) fn publication(&self, wishes: &Wishes, name: &[u8], payload: Option<&[u8]>) -> Option<Incoming> {
        let named = self.keys.read(name)?;
        let (Named::Bare(text) | Named::Channel(text)) = named;
        let channel = wishes.heard(text)?.clone();
        self.status.stats.received.add(1);
        let incoming = payload.and_then(|payload| match named {
            Named::Bare(_) => {
                std::str::from_utf8(payload).ok()?;
                Some(Incoming {
                    kind: PublicationKind::Publication,
                    channel,
                    data: Bytes::copy_from_slice(payload),
                    attributes: None,
                    published_at: None,
                })
            }
            Named::Channel(_) => {
                let envelope = Envelope::decode(payload).ok()?;
                let kind = envelope.kind.publication()?;
                let says_who = envelope.attributes.as_ref().is_some_and(|it| it.publisher.is_some());
                if kind != PublicationKind::Publication && !(says_who && envelope.payload.is_empty()) {
                    return None;
                }
                let published_at = Some(envelope.published_at).filter(|it| *it > UNIX_EPOCH);
                Some(Incoming {
                    kind,
                    channel,
                    data: Bytes::copy_from_slice(envelope.payload),
                    attributes: envelope.attributes,
                    published_at,
                })
            }
        });
        if incoming.is_none() {
            self.status.stats.malformed.add(1);
        }
        incoming
    }

    /// What a message to this node, or to every node, says; nothing if nobody could read it.
    pub(crate) fn word(&self, payload: Option<&[u8]>) -> Option<Word> {
        let envelope = payload.and_then(|payload| Envelope::decode(payload).ok());
        let word = envelope.and_then(|envelope| match envelope.kind {
            Kind::LoopBack if envelope.origin == self.node => {
                let number = envelope.payload.try_into().ok()?;
                Some(Word::LoopBack(u64::from_be_bytes(number)))
            }
            Kind::Told => Some(Word::Told {
                from: envelope.origin,
                message: Bytes::copy_from_slice(envelope.payload),
            }),
            _ => None,
        });
        if word.is_none() {
            self.status.stats.malformed.add(1);
        }
        word
    }

    pub(crate) fn heard(&self, took: Duration, channels: usize) {
        if let Some(outage) = self.status.heard(took) {
            tracing::info!(?outage, channels, "the link to Redis is up");
        }
    }

    pub(crate) fn refused(&self, wire: &Wire, reason: &str) {
        let Some(channel) = wire.denied().iter().next() else {
            return;
        };
        let problem = format!("Redis refuses the subscription of {channel} and perhaps others: {reason}");
        if self.status.denied(Some(problem.clone())) {
            tracing::warn!(
                problem,
                "some channels are not heard; they are tried again every few seconds"
            );
        }
    }
}
