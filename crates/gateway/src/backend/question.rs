//! What the backend is asked: the values, and their form on the wire.
//!
//! Invariant: what a client sent is only ever text or JSON inside of the JSON of a question, so it cannot change what is asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use protocol::Channel;
use serde::Serialize;
use serde_json::value::RawValue;

use super::headers::RealHeaders;

/// What happened on a connection, so that the backend is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// A client connects without a token.
    Connect,
    /// What was granted to a connection ends.
    Refresh,
    /// A client wants to subscribe.
    Subscribe,
    /// A client wants to publish.
    Publish,
    /// What was granted to a subscription ends.
    SubRefresh,
    /// A client calls a method.
    Rpc,
}

impl Event {
    /// In the order of [`crate::config::Backend::urls`].
    pub(super) const ALL: [Self; 6] = [
        Self::Connect,
        Self::Refresh,
        Self::Subscribe,
        Self::Publish,
        Self::SubRefresh,
        Self::Rpc,
    ];

    /// Its name in settings, metrics and logs.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Refresh => "refresh",
            Self::Subscribe => "subscribe",
            Self::Publish => "publish",
            Self::SubRefresh => "sub_refresh",
            Self::Rpc => "rpc",
        }
    }

    /// Whether being asked twice changes nothing at the backend.
    pub(super) fn is_decision(self) -> bool {
        !matches!(self, Self::Publish | Self::Rpc)
    }
}

/// One question about one connection.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    /// Whose connection it is.
    pub(crate) caller: Caller,
    /// What is asked.
    pub(crate) question: Question,
}

/// The connection that a question is about.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Caller {
    /// The connection's id.
    pub(crate) client: String,
    /// Who it is; not told when a client connects.
    pub(crate) user: String,
    /// What only backends may see of it, as JSON; told if the settings say so.
    pub(crate) meta: Option<Bytes>,
    /// How it came, such as `websocket`.
    pub(crate) transport: &'static str,
    /// `json` or `protobuf`.
    pub(crate) protocol: &'static str,
    /// Of its request, what [`super::Backend::keep_headers`] kept.
    pub(crate) headers: Arc<RealHeaders>,
    /// What it sent as headers in its protocol.
    pub(crate) emulated: Arc<BTreeMap<String, String>>,
}

/// What is asked. Every `data` is JSON, or empty when the client sent none.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Question {
    /// Who is this, and may it connect?
    Connect {
        /// The name of the client's library.
        name: String,
        /// The version of the application.
        version: String,
        /// Channels that the client was in before.
        channels: Vec<Channel>,
        /// What the client sent along.
        data: Bytes,
    },
    /// May the connection go on?
    Refresh,
    /// May the client subscribe to this channel?
    Subscribe {
        /// Which channel.
        channel: Channel,
        /// The token that the client sent; empty when there was none.
        token: String,
        /// What the client sent along.
        data: Bytes,
    },
    /// May the client publish this?
    Publish {
        /// In which channel.
        channel: Channel,
        /// What.
        data: Bytes,
    },
    /// May the subscription go on?
    SubRefresh {
        /// To which channel.
        channel: Channel,
    },
    /// What does this method answer?
    Rpc {
        /// Which one.
        method: String,
        /// What it is given.
        data: Bytes,
    },
}

impl Question {
    /// What has to have happened for this to be asked.
    pub(crate) fn event(&self) -> Event {
        match self {
            Self::Connect { .. } => Event::Connect,
            Self::Refresh => Event::Refresh,
            Self::Subscribe { .. } => Event::Subscribe,
            Self::Publish { .. } => Event::Publish,
            Self::SubRefresh { .. } => Event::SubRefresh,
            Self::Rpc { .. } => Event::Rpc,
        }
    }
}

/// A question as it is sent. What is `None` or empty is left out.
#[derive(Serialize, Default)]
struct Wire<'a> {
    client: &'a str,
    transport: &'a str,
    protocol: &'a str,
    encoding: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    channels: Vec<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    channel: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    method: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
}

impl Call {
    /// The question in the form that backends read. An error: a payload is not JSON.
    pub(super) fn encode(&self, includes_meta: bool) -> Result<Bytes, serde_json::Error> {
        let Caller {
            client,
            user,
            meta,
            transport,
            protocol,
            ..
        } = &self.caller;
        let is_known = self.question.event() != Event::Connect;
        let meta = meta.as_ref().filter(|_| includes_meta && is_known);
        let mut wire = Wire {
            client,
            transport,
            protocol,
            encoding: "json",
            user: is_known.then_some(user),
            meta: meta.map(|meta| serde_json::from_slice(meta)).transpose()?,
            ..Wire::default()
        };
        let mut payload: &[u8] = &[];
        match &self.question {
            Question::Connect {
                name,
                version,
                channels,
                data,
            } => {
                (wire.name, wire.version, payload) = (name, version, data);
                wire.channels = channels.iter().map(Channel::as_str).collect();
            }
            Question::Refresh => {}
            Question::Subscribe { channel, token, data } => {
                (wire.channel, wire.token, payload) = (channel.as_str(), token, data);
            }
            Question::Publish { channel, data } => (wire.channel, payload) = (channel.as_str(), data),
            Question::SubRefresh { channel } => wire.channel = channel.as_str(),
            Question::Rpc { method, data } => (wire.method, payload) = (method, data),
        }
        if !payload.is_empty() {
            wire.data = Some(serde_json::from_slice(payload)?);
        }
        serde_json::to_vec(&wire).map(Bytes::from)
    }
}
