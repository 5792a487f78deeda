//! What each call answers, as it stands on the wire.
//!
//! A member without a value is left out, unless the call always has it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// Nothing more than that it was taken.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Done {}

/// Where the publication stands in the channel's history; nothing in channels without one.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct PublishResult {
    /// How many were published up to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) offset: Option<u64>,
    /// Which history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) epoch: Option<String>,
}

/// What came of each publication.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BroadcastResult {
    /// One for each channel, in the order of the request.
    pub(super) responses: Vec<PublishResponse>,
}

/// What came of one publication: a result, or an error.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum PublishResponse {
    /// It was published.
    Result(PublishResult),
    /// It was not.
    Error(ErrorObject),
}

/// Why a call did nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct ErrorObject {
    /// 100, 102, 104, 107 or 108.
    pub(super) code: u16,
    /// The same in words.
    pub(super) message: &'static str,
}

/// Who is in a channel.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PresenceResult {
    /// Clients by their ids.
    pub(super) presence: BTreeMap<String, ClientObject>,
    /// There are more than one answer may have.
    #[serde(skip_serializing_if = "is_false")]
    #[schema(required = false)]
    pub(super) is_partial: bool,
}

/// One client in a channel.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ClientObject {
    /// Who is behind it; "" when nobody has said.
    pub(super) user: String,
    /// Its id.
    pub(super) client: String,
    /// What is said of the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    pub(super) conn_info: Option<Box<RawValue>>,
    /// What is said of it in this channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    pub(super) chan_info: Option<Box<RawValue>>,
}

/// How many are in a channel.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PresenceStatsResult {
    /// Connections.
    pub(super) num_clients: u64,
    /// Different users behind them; all of whom nobody has said who they are count as one.
    pub(super) num_users: u64,
}

/// What was published in a channel.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HistoryResult {
    /// The publications.
    #[schema(value_type = Vec<Value>)]
    pub(super) publications: Vec<Box<RawValue>>,
    /// Which history.
    pub(super) epoch: String,
    /// How many were published in it.
    pub(super) offset: u64,
}

/// Channels that have subscribers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChannelsResult {
    /// Channels by their names.
    pub(super) channels: BTreeMap<String, ChannelObject>,
    /// A node did not answer in time, so some may be missing.
    #[serde(skip_serializing_if = "is_false")]
    #[schema(required = false)]
    pub(super) is_partial: bool,
}

/// One channel.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChannelObject {
    /// Subscribers on all nodes.
    pub(super) num_clients: u64,
}

/// How the nodes are.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InfoResult {
    /// Each node that answered.
    pub(super) nodes: Vec<NodeObject>,
    /// A node did not answer in time, and is missing.
    #[serde(skip_serializing_if = "is_false")]
    #[schema(required = false)]
    pub(super) is_partial: bool,
}

/// How one node is. Clients and subscriptions of several nodes add up; users and channels overlap.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NodeObject {
    /// Its id, another one after each start.
    pub(super) uid: String,
    /// Its name.
    pub(super) name: String,
    /// Its release.
    pub(super) version: String,
    /// Connections that are known by who they are.
    pub(super) num_clients: u64,
    /// Different users behind them.
    pub(super) num_users: u64,
    /// Channels with subscribers, summed over its lanes.
    pub(super) num_channels: u64,
    /// Subscriptions.
    pub(super) num_subs: u64,
    /// Seconds since it was started.
    pub(super) uptime: u64,
    /// What it takes of its machine, where that can be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) process: Option<ProcessObject>,
}

/// What a process takes of its machine.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProcessObject {
    /// Percent of one core, since it was asked last.
    pub(super) cpu: f64,
    /// Bytes in memory.
    pub(super) rss: u64,
}

/// What the method answers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RpcResult {
    /// Any JSON.
    #[schema(value_type = Value)]
    pub(super) data: Box<RawValue>,
}

/// What came of each call.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchResponse {
    /// One for each command, in the order of the request: an object with one member, the name of the call with its result, or `error`.
    #[schema(value_type = Vec<Value>)]
    pub(super) replies: Vec<BTreeMap<&'static str, Box<RawValue>>>,
}

fn is_false(value: &bool) -> bool {
    !value
}
