//! What nodes tell each other, as JSON.
//!
//! Two releases talk while one is rolled out: fields that are not known are passed over, and so is a message that is not.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use protocol::event::Unsubscribed;
use protocol::frame::{Kind, Message as Frame};
use protocol::{ApplicationReason, Channel, ChannelError, Close, ReasonError};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::client::Order;
use crate::grant::{Grant, Overrides};
use crate::token::revocation::Revocation;

/// One thing that a node tells.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Message {
    /// Your connections of these are to obey.
    Order { whom: Whom, order: Wish },
    /// Your connection of that name has said this.
    Commands { session: Uuid, data: Said },
    /// Do not believe these tokens.
    Revoke(Revocation),
    /// Tell me this.
    Ask { number: u64, question: Question },
    /// You have asked for this.
    Answer { number: u64, reply: Reply },
}

/// Whose connections something is for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Whom {
    /// All of this user; "" is everybody of whom nobody has said who it is.
    pub(crate) user: String,
    /// Only this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client: Option<Uuid>,
    /// Only the one with this session, which clients have whose commands come apart from their connection, or that only hear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<Uuid>,
    /// Not these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) except: Vec<Uuid>,
}

/// A question to every node.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Question {
    /// Which channels that match have how many subscribers?
    Channels { pattern: Option<String> },
    /// How are you?
    Node,
}

/// What one node answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    /// Subscribers by channel.
    Channels(BTreeMap<String, u64>),
    /// How the node is.
    Node(NodeReport),
}

/// How a node is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NodeReport {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Seconds since it was started.
    pub(crate) uptime: u64,
    /// Connections that are known by who they are.
    pub(crate) clients: u64,
    /// Different users behind them.
    pub(crate) users: u64,
    pub(crate) channels: u64,
    pub(crate) subscriptions: u64,
    /// What it takes of its machine, where that can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) process: Option<ProcessReport>,
}

/// What a process takes of its machine.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ProcessReport {
    /// Percent of one core, since it was asked last.
    pub(crate) cpu: f64,
    /// Bytes in memory.
    pub(crate) rss: u64,
}

/// An order as it is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Wish {
    Subscribe {
        channel: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        info: Option<Box<RawValue>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        data: Option<Box<RawValue>>,
        #[serde(default)]
        overrides: Overrides,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires: Option<f64>,
    },
    Unsubscribe {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        channel: Option<String>,
        code: u16,
        reason: String,
    },
    Refresh {
        is_over: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires: Option<f64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        info: Option<Box<RawValue>>,
    },
    Close {
        code: u16,
        reason: String,
    },
}

/// What a client has said, by the kind of its frame.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Said {
    Text(String),
    /// In base64.
    Binary(String),
}

impl TryFrom<Said> for Frame {
    type Error = base64::DecodeError;

    fn try_from(said: Said) -> Result<Self, base64::DecodeError> {
        Ok(match said {
            Said::Text(text) => Self {
                kind: Kind::Text,
                data: text.into(),
            },
            Said::Binary(text) => Self {
                kind: Kind::Binary,
                data: STANDARD.decode(text)?.into(),
            },
        })
    }
}

/// Why an order cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum WishError {
    #[error("no channel can be called that: {0}")]
    Channel(#[from] ChannelError),
    #[error(transparent)]
    Reason(#[from] ReasonError),
}

impl Message {
    pub(super) fn order(whom: Whom, order: Order) -> Self {
        Self::Order {
            whom,
            order: order.into(),
        }
    }

    pub(super) fn commands(session: Uuid, message: Frame) -> Self {
        let data = match (message.kind, String::from_utf8(message.data.to_vec())) {
            (Kind::Text, Ok(text)) => Said::Text(text),
            _ => Said::Binary(STANDARD.encode(&message.data)),
        };
        Self::Commands { session, data }
    }

    pub(super) fn encode(&self) -> Bytes {
        serde_json::to_vec(self)
            .expect("names are texts, and payloads are JSON")
            .into()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

impl From<Order> for Wish {
    fn from(order: Order) -> Self {
        match order {
            Order::Subscribe {
                channel,
                grant,
                expires,
            } => Self::Subscribe {
                channel: channel.to_string(),
                info: grant.info.and_then(json),
                data: grant.data.and_then(json),
                overrides: grant.overrides,
                expires: expires.map(seconds),
            },
            Order::Unsubscribe { channel, why } => Self::Unsubscribe {
                channel: channel.map(|channel| channel.to_string()),
                code: why.code(),
                reason: why.reason().to_owned(),
            },
            Order::Refresh { is_over, expires, info } => Self::Refresh {
                is_over,
                expires: expires.map(seconds),
                info: info.and_then(json),
            },
            Order::Close(close) => {
                let (code, reason) = close.centrifuge().unwrap_or((3503, "force disconnect"));
                Self::Close {
                    code,
                    reason: reason.to_owned(),
                }
            }
        }
    }
}

impl TryFrom<Wish> for Order {
    type Error = WishError;

    fn try_from(wish: Wish) -> Result<Self, WishError> {
        Ok(match wish {
            Wish::Subscribe {
                channel,
                info,
                data,
                overrides,
                expires,
            } => Self::Subscribe {
                channel: Channel::parse(&channel)?,
                grant: Grant {
                    info: info.map(bytes),
                    data: data.map(bytes),
                    overrides,
                },
                expires: expires.map(time),
            },
            Wish::Unsubscribe { channel, code, reason } => Self::Unsubscribe {
                channel: channel.as_deref().map(Channel::parse).transpose()?,
                why: match code {
                    2000 => Unsubscribed::ByServer,
                    code => Unsubscribed::Application(ApplicationReason::new(code, &reason)?),
                },
            },
            Wish::Refresh { is_over, expires, info } => Self::Refresh {
                is_over,
                expires: expires.map(time),
                info: info.map(bytes),
            },
            Wish::Close { code: 3503, .. } => Self::Close(Close::ByServer),
            Wish::Close { code, reason } => Self::Close(Close::Application(ApplicationReason::new(code, &reason)?)),
        })
    }
}

/// A payload in JSON as it stands.
fn json(bytes: Bytes) -> Option<Box<RawValue>> {
    RawValue::from_string(String::from_utf8(bytes.to_vec()).ok()?).ok()
}

fn bytes(json: Box<RawValue>) -> Bytes {
    String::from(Box::<str>::from(json)).into()
}

/// Seconds since 1970.
fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn time(seconds: f64) -> SystemTime {
    UNIX_EPOCH + Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(order: Order) {
        let message = Message::order(Whom::default(), order.clone()).encode();
        match Message::decode(&message).expect("its own words") {
            Message::Order { order: wish, .. } => assert_eq!(Order::try_from(wish).expect("an order"), order),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_order_arrives_as_it_was_given() {
        let channel = Channel::parse("news").expect("valid");
        check(Order::Subscribe {
            channel: channel.clone(),
            grant: Grant {
                info: Some("{\"a\":[1,2.50]}".into()),
                data: None,
                overrides: Overrides {
                    presence: Some(true),
                    join_leave: Some(false),
                    ..Overrides::default()
                },
            },
            expires: Some(UNIX_EPOCH + Duration::from_secs(1_900_000_000)),
        });
        check(Order::Unsubscribe {
            channel: Some(channel),
            why: Unsubscribed::ByServer,
        });
        check(Order::Unsubscribe {
            channel: None,
            why: Unsubscribed::Application(ApplicationReason::new(2600, "moved").expect("valid")),
        });
        check(Order::Refresh {
            is_over: false,
            expires: None,
            info: Some("1".into()),
        });
        check(Order::Close(Close::ByServer));
        check(Order::Close(Close::Application(
            ApplicationReason::new(4500, "spam").expect("valid"),
        )));
    }

    #[test]
    fn what_a_newer_release_says_besides_is_passed_over() {
        let known =
            r#"{"order":{"whom":{"user":"anna","of":"tomorrow"},"order":{"close":{"code":3503,"reason":"x","a":1}}}}"#;
        assert!(matches!(Message::decode(known.as_bytes()), Ok(Message::Order { .. })));
        assert!(Message::decode(br#"{"sing":{}}"#).is_err());
    }
}
