//! What each call takes, as it stands on the wire.
//!
//! Every member may be left out or be null, which is the same; what a call cannot do without, it says itself. Members that are not known are
//! passed over. Does not know what a call does.

#![expect(
    dead_code,
    reason = "some members mean something only where there is a history or a method; they have to be of their type all the same"
)]

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// A publication, and the channel that it is for.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct PublishRequest {
    /// Where to publish.
    #[schema(required = true, value_type = String)]
    pub(super) channel: Option<String>,
    /// The payload, any JSON. It or `b64data` must be there.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Value>)]
    pub(super) data: Option<Box<RawValue>>,
    /// The payload in base64, instead of `data`; what it decodes to must be JSON.
    pub(super) b64data: Option<String>,
    /// Keep it out of the channel's history. No channel keeps one yet, so this changes nothing.
    pub(super) skip_history: Option<bool>,
    /// What subscribers can filter by. Not in the bare channel, which carries payloads only.
    pub(super) tags: Option<BTreeMap<String, String>>,
    /// Within 5 minutes, a second publication of the same key in the same channel is answered like the first and not published.
    pub(super) idempotency_key: Option<String>,
    /// Send it as a difference where a subscriber asked for that. Changes nothing yet.
    pub(super) delta: Option<bool>,
    /// Publications that are not newer than the last one in the channel's history are skipped. No channel keeps one yet.
    pub(super) version: Option<u64>,
    /// What `version` counts in.
    pub(super) version_epoch: Option<String>,
}

/// A publication, and the channels that it is for.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct BroadcastRequest {
    /// Where to publish, in this order.
    #[schema(required = true, value_type = Vec<String>)]
    pub(super) channels: Option<Vec<String>>,
    /// The payload, any JSON. It or `b64data` must be there.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Value>)]
    pub(super) data: Option<Box<RawValue>>,
    /// The payload in base64, instead of `data`; what it decodes to must be JSON.
    pub(super) b64data: Option<String>,
    /// As for `publish`.
    pub(super) skip_history: Option<bool>,
    /// As for `publish`.
    pub(super) tags: Option<BTreeMap<String, String>>,
    /// As for `publish`; each channel has keys of its own.
    pub(super) idempotency_key: Option<String>,
    /// As for `publish`.
    pub(super) delta: Option<bool>,
    /// As for `publish`.
    pub(super) version: Option<u64>,
    /// As for `publish`.
    pub(super) version_epoch: Option<String>,
}

/// Connections, and the channel that they are subscribed to.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct SubscribeRequest {
    /// All connections of this user; "" or nothing: of whom nobody has said who it is.
    pub(super) user: Option<String>,
    /// The channel.
    #[schema(required = true, value_type = String)]
    pub(super) channel: Option<String>,
    /// Of those, only the connection with this id.
    pub(super) client: Option<String>,
    /// Of those, only the one with this session, which clients without a WebSocket and those that only hear are given when they connect.
    pub(super) session: Option<String>,
    /// What others in the channel see of the client there.
    #[schema(value_type = Option<Value>)]
    pub(super) info: Option<Box<RawValue>>,
    /// The same in base64, instead of `info`.
    pub(super) b64info: Option<String>,
    /// What the client is told with the subscription.
    #[schema(value_type = Option<Value>)]
    pub(super) data: Option<Box<RawValue>>,
    /// The same in base64, instead of `data`.
    pub(super) b64data: Option<String>,
    /// When the subscription ends, in seconds since 1970; 0 or nothing: never.
    pub(super) expire_at: Option<i64>,
    /// From where on to send what was missed. No channel keeps a history yet, so this changes nothing.
    pub(super) recover_since: Option<StreamPosition>,
    /// What is otherwise than the channel's rule says.
    #[serde(rename = "override")]
    pub(super) overrides: Option<Override>,
}

/// A place in the history of a channel.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct StreamPosition {
    /// How many were published before.
    pub(super) offset: Option<u64>,
    /// Which history.
    pub(super) epoch: Option<String>,
}

/// What is otherwise for one subscription than the channel's rule says.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct Override {
    /// Whether the client is counted as present.
    pub(super) presence: Option<Switch>,
    /// Whether others are told that it came and went.
    pub(super) join_leave: Option<Switch>,
    /// Whether what it missed is sent when it comes back.
    pub(super) force_recovery: Option<Switch>,
    /// Whether losses are found.
    pub(super) force_positioning: Option<Switch>,
    /// Whether it is told who comes and goes.
    pub(super) force_push_join_leave: Option<Switch>,
}

/// Yes or no, where neither is said by leaving it out.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
pub(super) struct Switch {
    /// Yes or no.
    #[serde(default)]
    pub(super) value: bool,
}

/// Connections, and the channel that they no longer hear.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct UnsubscribeRequest {
    /// All connections of this user; "" or nothing: of whom nobody has said who it is.
    pub(super) user: Option<String>,
    /// The channel; "" or nothing: all that the connections have.
    pub(super) channel: Option<String>,
    /// Of those, only the connection with this id.
    pub(super) client: Option<String>,
    /// Of those, only the one with this session, which clients without a WebSocket and those that only hear are given when they connect.
    pub(super) session: Option<String>,
}

/// Connections to end.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct DisconnectRequest {
    /// All connections of this user; "" or nothing: of whom nobody has said who it is.
    pub(super) user: Option<String>,
    /// Of those, only the connection with this id.
    pub(super) client: Option<String>,
    /// Of those, only the one with this session, which clients without a WebSocket and those that only hear are given when they connect.
    pub(super) session: Option<String>,
    /// The ids of connections that stay.
    pub(super) whitelist: Option<Vec<String>>,
    /// What the connections are told; 3503 `force disconnect` without it.
    pub(super) disconnect: Option<DisconnectReason>,
}

/// The code and reason of a Close frame.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct DisconnectReason {
    /// From 3000 to 4999. Client libraries stay away after 3500 to 3999 and 4500 to 4999, and come back after all others.
    #[schema(required = true, value_type = u16, minimum = 3000, maximum = 4999)]
    pub(super) code: Option<u32>,
    /// At most 123 bytes, and no JSON; `force disconnect` without one.
    pub(super) reason: Option<String>,
}

/// Connections, and how long they last.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct RefreshRequest {
    /// All connections of this user; "" or nothing: of whom nobody has said who it is.
    pub(super) user: Option<String>,
    /// Of those, only the connection with this id.
    pub(super) client: Option<String>,
    /// Of those, only the one with this session, which clients without a WebSocket and those that only hear are given when they connect.
    pub(super) session: Option<String>,
    /// They are over now: closed with 3005.
    pub(super) expired: Option<bool>,
    /// When they are over, in seconds since 1970; 0 or nothing: never.
    pub(super) expire_at: Option<i64>,
    /// What others see of them from now on; nothing leaves it as it is.
    #[schema(value_type = Option<Value>)]
    pub(super) info: Option<Box<RawValue>>,
}

/// A token that is not believed any more.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct RevokeTokenRequest {
    /// Its name, the claim `jti`.
    #[schema(required = true, value_type = String)]
    pub(super) uid: Option<String>,
    /// When it would be over anyway, in seconds since 1970; 0 or nothing: it is remembered for a year.
    pub(super) expire_at: Option<i64>,
}

/// Tokens of a user that are not believed any more.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct InvalidateUserTokensRequest {
    /// Whose, the claim `sub`.
    #[schema(required = true, value_type = String)]
    pub(super) user: Option<String>,
    /// Those that were made before this, in seconds since 1970 (the claim `iat`), and those that do not say when; 0 or nothing: before now.
    pub(super) issued_before: Option<i64>,
    /// When the last of them would be over anyway, in seconds since 1970; 0 or nothing: it is remembered for a year.
    pub(super) expire_at: Option<i64>,
}

/// A channel to ask about.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct PresenceRequest {
    /// The channel.
    #[schema(required = true, value_type = String)]
    pub(super) channel: Option<String>,
}

/// A channel, and the part of its history that is wanted.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct HistoryRequest {
    /// The channel.
    #[schema(required = true, value_type = String)]
    pub(super) channel: Option<String>,
    /// Most publications; 0 or nothing: only where the history stands; less than 0: all.
    pub(super) limit: Option<i32>,
    /// From where on.
    pub(super) since: Option<StreamPosition>,
    /// The last first.
    pub(super) reverse: Option<bool>,
}

/// A channel whose history is to go.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct HistoryRemoveRequest {
    /// The channel.
    #[schema(required = true, value_type = String)]
    pub(super) channel: Option<String>,
}

/// Which channels to tell.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct ChannelsRequest {
    /// A pattern such as `news-*` that names must match; "" or nothing: all.
    pub(super) pattern: Option<String>,
}

/// Nothing.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct InfoRequest {}

/// A method, and what it takes.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct RpcRequest {
    /// The method.
    #[schema(required = true, value_type = String)]
    pub(super) method: Option<String>,
    /// What it takes.
    #[schema(value_type = Option<Value>)]
    pub(super) params: Option<Box<RawValue>>,
}

/// Several calls.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct BatchRequest {
    /// The calls, at most 1,000: each an object with one member, named after the call, whose value is what the call takes.
    #[schema(required = true, value_type = Vec<Value>)]
    pub(super) commands: Option<Vec<Box<RawValue>>>,
    /// They may be made at the same time; otherwise each begins when the one before has been answered.
    pub(super) parallel: Option<bool>,
}

/// A member that is there, and null as any other JSON.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(from).map(Some)
}
