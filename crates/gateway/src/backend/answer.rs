//! What the backend answers, read once into types that cannot be wrong.
//!
//! Fields that are not named here are ignored, as backends are made for other gateways too; but what would leave a client with more than
//! the backend meant makes the whole answer a failure. Invariant: payloads are compact JSON.

use std::collections::BTreeMap;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use protocol::{Channel, ChannelError, CommandError};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::question::Event;
use crate::config::ERROR_CODES;
use crate::disconnect::Disconnect;
use crate::grant::{self, Grant, Overrides};

/// What the backend wants.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict<T> {
    /// It may be, like this.
    Granted(T),
    /// The backend has nothing to say (`{}`). When a client connects: it has not said who it is. When something ends: it ends. Otherwise it
    /// may be, as the channel's rule says.
    Nothing,
    /// It may not be.
    Refused(CommandError),
    /// The connection has to end.
    Disconnect(Disconnect),
}

/// What is granted, for each event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reply {
    Connect(Box<Connection>),
    Refresh(Renewal),
    Subscribe(Box<Subscription>),
    Publish(Box<Publication>),
    SubRefresh(Renewal),
    /// What the method answers; JSON, empty when it answers nothing.
    Rpc(Bytes),
}

/// A client that may connect.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Connection {
    /// Who it is; "" is nobody in particular.
    pub(crate) user: String,
    /// When it is asked about again; `None` is never.
    pub(crate) expires: Option<SystemTime>,
    /// What others may see of the client.
    pub(crate) info: Option<Bytes>,
    /// What the client is told when it has connected.
    pub(crate) data: Option<Bytes>,
    /// What only backends may see.
    pub(crate) meta: Option<Bytes>,
    /// What it is subscribed to from the start.
    pub(crate) channels: BTreeMap<Channel, Subscription>,
}

/// A client that may be in a channel.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Subscription {
    /// When it is asked about again; `None` is never.
    pub(crate) expires: Option<SystemTime>,
    /// What comes with it.
    pub(crate) grant: Grant,
}

/// Whether something that would end goes on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Renewal {
    /// It ends.
    Expired,
    /// It goes on.
    Kept {
        /// Until when; `None` is for good.
        expires: Option<SystemTime>,
        /// What others may see from now on, if it changes.
        info: Option<Bytes>,
        /// What only backends may see from now on, if it changes. Never with a subscription.
        meta: Option<Bytes>,
    },
}

/// A publication that may be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Publication {
    /// What is published instead of what the client sent, if something is.
    pub(crate) data: Option<Bytes>,
    /// What filters can ask about.
    pub(crate) tags: BTreeMap<String, String>,
    /// Whether the history leaves it out.
    pub(crate) skips_history: bool,
    /// Makes another one with the same key be passed over; empty for none.
    pub(crate) idempotency_key: String,
    /// Whether it may be sent as the difference to the one before.
    pub(crate) is_delta: bool,
    /// Makes older versions be passed over; 0 for none.
    pub(crate) version: u64,
    /// What `version` counts in.
    pub(crate) version_epoch: String,
}

/// What is wrong with an answer. Contains nothing of it but names of fields.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// Not a JSON object, or not of the form of an answer.
    #[error("it is no JSON object with a result, an error or a disconnect")]
    NotAnAnswer,
    /// A code that no error may have.
    #[error("the code {0} of its error is not from 1 to 1999")]
    ErrorCode(i64),
    /// The result of another event, or broken.
    #[error("its result is not of the form that {0} has")]
    Result(&'static str),
    /// A payload that is not JSON.
    #[error("its {0} is not JSON, or nested too deep")]
    Payload(&'static str),
    /// A name that no channel can have.
    #[error("a channel of its result cannot be: {0}")]
    Channel(#[from] ChannelError),
    /// A restriction that this release cannot keep.
    #[error("its server_tags_filter cannot be kept by this release")]
    Filter,
}

/// Reads the answer to a question about `event`. Of several parts the strictest counts.
pub(super) fn decode(event: Event, body: &[u8]) -> Result<Verdict<Reply>, Malformed> {
    #[derive(Deserialize)]
    struct Wire {
        result: Option<Box<RawValue>>,
        error: Option<Box<RawValue>>,
        disconnect: Option<Box<RawValue>>,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct WireError {
        code: i64,
        message: String,
        temporary: bool,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct WireDisconnect {
        code: i64,
        reason: String,
    }
    let text = std::str::from_utf8(body).map_err(|_| Malformed::NotAnAnswer)?;
    let wire: Wire = object(text).ok_or(Malformed::NotAnAnswer)?;
    if let Some(disconnect) = wire.disconnect {
        let WireDisconnect { code, reason } = object(disconnect.get()).ok_or(Malformed::NotAnAnswer)?;
        return Ok(Verdict::Disconnect(Disconnect::new(code, &reason)));
    }
    if let Some(error) = wire.error {
        let WireError {
            code,
            message,
            temporary,
        } = object(error.get()).ok_or(Malformed::NotAnAnswer)?;
        let known = u32::try_from(code).ok().filter(|code| ERROR_CODES.contains(code));
        return Ok(Verdict::Refused(CommandError::Application {
            code: known.ok_or(Malformed::ErrorCode(code))?,
            message,
            is_temporary: temporary,
        }));
    }
    match wire.result {
        None => Ok(Verdict::Nothing),
        Some(result) => reply(event, result.get()).map(Verdict::Granted),
    }
}

/// Every field that a result can have.
#[derive(Deserialize, Default)]
#[serde(default)]
struct WireResult {
    user: String,
    expired: bool,
    expire_at: f64,
    info: Option<Box<RawValue>>,
    b64info: String,
    data: Option<Box<RawValue>>,
    b64data: String,
    meta: Option<Box<RawValue>>,
    channels: Option<Vec<String>>,
    subs: Option<BTreeMap<String, Option<Options>>>,
    r#override: Option<Overrides>,
    skip_history: bool,
    tags: Option<BTreeMap<String, String>>,
    idempotency_key: String,
    delta: bool,
    version: u64,
    version_epoch: String,
}

/// What a subscription of a connection can have.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Options {
    expire_at: f64,
    info: Option<Box<RawValue>>,
    b64info: String,
    data: Option<Box<RawValue>>,
    b64data: String,
    r#override: Option<Overrides>,
    server_tags_filter: Option<Box<RawValue>>,
}

fn reply(event: Event, result: &str) -> Result<Reply, Malformed> {
    let wire: WireResult = object(result).ok_or(Malformed::Result(event.label()))?;
    Ok(match event {
        Event::Connect => Reply::Connect(Box::new(connection(wire)?)),
        Event::Refresh => Reply::Refresh(renewal(wire)?),
        Event::Subscribe => Reply::Subscribe(Box::new(Subscription {
            expires: expires(wire.expire_at),
            grant: grant_of(wire.info, wire.b64info, wire.data, wire.b64data, wire.r#override)?,
        })),
        Event::Publish => Reply::Publish(Box::new(Publication {
            // Here, and only here, the JSON wins over the base64.
            data: match wire.data {
                Some(data) => payload("data", Some(data), String::new())?,
                None => payload("b64data", None, wire.b64data)?,
            },
            tags: wire.tags.unwrap_or_default(),
            skips_history: wire.skip_history,
            idempotency_key: wire.idempotency_key,
            is_delta: wire.delta,
            version: wire.version,
            version_epoch: wire.version_epoch,
        })),
        Event::SubRefresh => Reply::SubRefresh(renewal(WireResult { meta: None, ..wire })?),
        Event::Rpc => Reply::Rpc(payload("data", wire.data, wire.b64data)?.unwrap_or_default()),
    })
}

fn connection(wire: WireResult) -> Result<Connection, Malformed> {
    let mut channels = BTreeMap::new();
    for name in wire.channels.unwrap_or_default() {
        channels.insert(Channel::parse(&name)?, Subscription::default());
    }
    for (name, options) in wire.subs.unwrap_or_default() {
        let options = options.unwrap_or_default();
        if options.server_tags_filter.is_some() {
            return Err(Malformed::Filter);
        }
        let subscription = Subscription {
            expires: expires(options.expire_at),
            grant: grant_of(
                options.info,
                options.b64info,
                options.data,
                options.b64data,
                options.r#override,
            )?,
        };
        channels.insert(Channel::parse(&name)?, subscription);
    }
    Ok(Connection {
        user: wire.user,
        expires: expires(wire.expire_at),
        info: payload("info", wire.info, wire.b64info)?,
        data: payload("data", wire.data, wire.b64data)?,
        meta: payload("meta", wire.meta, String::new())?,
        channels,
    })
}

fn renewal(wire: WireResult) -> Result<Renewal, Malformed> {
    match wire.expired {
        true => Ok(Renewal::Expired),
        false => Ok(Renewal::Kept {
            expires: expires(wire.expire_at),
            info: payload("info", wire.info, wire.b64info)?,
            meta: payload("meta", wire.meta, String::new())?,
        }),
    }
}

fn grant_of(
    info: Option<Box<RawValue>>,
    b64info: String,
    data: Option<Box<RawValue>>,
    b64data: String,
    overrides: Option<Overrides>,
) -> Result<Grant, Malformed> {
    Ok(Grant {
        info: payload("info", info, b64info)?,
        data: payload("data", data, b64data)?,
        overrides: overrides.unwrap_or_default(),
    })
}

/// A payload that is given in base64, or else as JSON; it is JSON in either case.
fn payload(name: &'static str, json: Option<Box<RawValue>>, base64: String) -> Result<Option<Bytes>, Malformed> {
    let malformed = || Malformed::Payload(name);
    if !base64.is_empty() {
        let bytes = STANDARD.decode(base64).map_err(|_| malformed())?;
        let text = String::from_utf8(bytes).map_err(|_| malformed())?;
        let compact = protocol::json::compact(text.into(), grant::DEEPEST);
        return compact.map(Some).map_err(|_| malformed());
    }
    json.map(grant::compact).transpose().map_err(|_| malformed())
}

/// When something ends; 0 stands for never.
fn expires(seconds: f64) -> Option<SystemTime> {
    (seconds != 0.0).then(|| grant::time(seconds))
}

/// A value that is an object; a list would be taken for one as well.
fn object<T: DeserializeOwned>(text: &str) -> Option<T> {
    let is_object = text.trim_start().starts_with('{');
    is_object.then(|| serde_json::from_str(text).ok()).flatten()
}
