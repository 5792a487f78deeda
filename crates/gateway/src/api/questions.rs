//! `presence`, `presence_stats`, `history`, `history_remove`, `channels`, `info` and `rpc`: what is asked and not changed.
//!
//! Invariant: an answer that may lack something says so.

use std::collections::BTreeMap;

use bytes::Bytes;
use globset::Glob;
use protocol::{Channel, ClientInfo};
use serde_json::value::RawValue;

use super::error::ApiError;
use super::requests::{
    ChannelsRequest, HistoryRemoveRequest, HistoryRequest, InfoRequest, PresenceRequest, RpcRequest,
};
use super::results::{
    ChannelObject, ChannelsResult, ClientObject, Done, HistoryResult, InfoResult, NodeObject, PresenceResult,
    PresenceStatsResult, ProcessObject, RpcResult,
};
use crate::channel_rules::Right;
use crate::cluster::{NodeReport, Question, Reply};
use crate::node::Node;

pub(super) async fn presence(node: &Node, request: PresenceRequest) -> Result<PresenceResult, ApiError> {
    let (channel, right) = known(node, request.channel.as_deref())?;
    if !right.rule().presence {
        return Err(ApiError::NotAvailable);
    }
    let most = node.config.api.presence_members;
    let members = node.bus.presence().members(&channel, most).await?;
    Ok(PresenceResult {
        presence: members
            .clients
            .into_iter()
            .map(|client| (client.client.clone(), client.into()))
            .collect(),
        is_partial: !members.is_complete,
    })
}

pub(super) async fn presence_stats(node: &Node, request: PresenceRequest) -> Result<PresenceStatsResult, ApiError> {
    let (channel, right) = known(node, request.channel.as_deref())?;
    if !right.rule().presence {
        return Err(ApiError::NotAvailable);
    }
    let count = node.bus.presence().count(&channel).await?;
    Ok(PresenceStatsResult {
        num_clients: count.clients,
        num_users: count.users,
    })
}

/// No channel keeps a history.
pub(super) fn history(node: &Node, request: &HistoryRequest) -> Result<HistoryResult, ApiError> {
    known(node, request.channel.as_deref())?;
    Err(ApiError::NotAvailable)
}

/// No channel keeps a history.
pub(super) fn history_remove(node: &Node, request: &HistoryRemoveRequest) -> Result<Done, ApiError> {
    known(node, request.channel.as_deref())?;
    Err(ApiError::NotAvailable)
}

pub(super) async fn channels(node: &Node, request: ChannelsRequest) -> Result<ChannelsResult, ApiError> {
    let pattern = request.pattern.filter(|pattern| !pattern.is_empty());
    if pattern.as_deref().is_some_and(|pattern| Glob::new(pattern).is_err()) {
        return Err(ApiError::BadRequest);
    }
    let survey = node.cluster.survey(Question::Channels { pattern }).await?;
    let mut channels = BTreeMap::new();
    for reply in survey.replies.into_values() {
        let Reply::Channels(counted) = reply else { continue };
        for (channel, count) in counted {
            channels
                .entry(channel)
                .or_insert(ChannelObject { num_clients: 0 })
                .num_clients += count;
        }
    }
    Ok(ChannelsResult {
        channels,
        is_partial: survey.is_partial,
    })
}

pub(super) async fn info(node: &Node, InfoRequest {}: InfoRequest) -> Result<InfoResult, ApiError> {
    let survey = node.cluster.survey(Question::Node).await?;
    let nodes = survey.replies.into_iter().filter_map(|(uid, reply)| match reply {
        Reply::Node(report) => Some(object(uid.to_string(), report)),
        Reply::Channels(_) => None,
    });
    Ok(InfoResult {
        nodes: nodes.collect(),
        is_partial: survey.is_partial,
    })
}

/// There is no method.
pub(super) fn rpc(request: &RpcRequest) -> Result<RpcResult, ApiError> {
    match request.method.as_deref() {
        None | Some("") => Err(ApiError::BadRequest),
        Some(_) => Err(ApiError::NotFound),
    }
}

/// A channel that a rule knows.
fn known<'a>(node: &'a Node, channel: Option<&str>) -> Result<(Channel, Right<'a>), ApiError> {
    let channel = Channel::parse(channel.unwrap_or_default()).map_err(|_| ApiError::BadRequest)?;
    let right = node.rules.right(&channel).ok_or(ApiError::UnknownChannel)?;
    Ok((channel, right))
}

fn object(uid: String, report: NodeReport) -> NodeObject {
    NodeObject {
        uid,
        name: report.name,
        version: report.version,
        num_clients: report.clients,
        num_users: report.users,
        num_channels: report.channels,
        num_subs: report.subscriptions,
        uptime: report.uptime,
        process: report.process.map(|process| ProcessObject {
            cpu: process.cpu,
            rss: process.rss,
        }),
    }
}

impl From<ClientInfo> for ClientObject {
    fn from(client: ClientInfo) -> Self {
        Self {
            user: client.user,
            client: client.client,
            conn_info: json(&client.connection),
            chan_info: json(&client.channel),
        }
    }
}

/// A JSON text; what is none, as it comes from other processes, is left out.
fn json(text: &Bytes) -> Option<Box<RawValue>> {
    serde_json::from_slice(text).ok()
}
