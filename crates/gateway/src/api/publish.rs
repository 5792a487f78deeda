//! `publish` and `broadcast`.
//!
//! A rule closes a channel to clients, so servers may publish in every channel that a rule knows. Invariant: what one request publishes is
//! given to the bus in the order of the request.

use std::collections::BTreeMap;

use bus::Outgoing;
use bytes::Bytes;
use protocol::{Attributes, Channel};

use super::error::ApiError;
use super::payload::payload;
use super::requests::{BroadcastRequest, PublishRequest};
use super::results::{BroadcastResult, PublishResponse, PublishResult};
use crate::channel_rules::ChannelRules;
use crate::node::Node;

/// What is published, wherever.
struct Content {
    data: Bytes,
    tags: BTreeMap<String, String>,
    once: Option<String>,
}

pub(super) async fn publish(node: &Node, request: PublishRequest) -> Result<PublishResult, ApiError> {
    let data = payload(request.data.as_deref(), request.b64data.as_deref(), depth(node))?;
    let content = Content {
        data: data.ok_or(ApiError::BadRequest)?,
        tags: request.tags.unwrap_or_default(),
        once: request.idempotency_key.filter(|key| !key.is_empty()),
    };
    let channel = request.channel.unwrap_or_default();
    let outgoing = content.to(&channel, &node.rules)?;
    let taken = node.bus.publish(vec![outgoing]).await.pop();
    taken.ok_or(ApiError::Internal)??;
    Ok(PublishResult::default())
}

pub(super) async fn broadcast(node: &Node, request: BroadcastRequest) -> Result<BroadcastResult, ApiError> {
    let data = payload(request.data.as_deref(), request.b64data.as_deref(), depth(node))?;
    let content = Content {
        data: data.ok_or(ApiError::BadRequest)?,
        tags: request.tags.unwrap_or_default(),
        once: request.idempotency_key.filter(|key| !key.is_empty()),
    };
    let channels = request.channels.unwrap_or_default();
    if channels.is_empty() {
        return Err(ApiError::BadRequest);
    }
    let mut responses = Vec::with_capacity(channels.len());
    for channels in channels.chunks(most_at_once(node, content.data.len())) {
        let (mut batch, mut verdicts) = (Vec::with_capacity(channels.len()), Vec::new());
        for channel in channels {
            let outgoing = content.to(channel, &node.rules);
            verdicts.push(outgoing.as_ref().err().copied());
            batch.extend(outgoing);
        }
        let mut taken = node.bus.publish(batch).await.into_iter();
        responses.extend(verdicts.into_iter().map(|verdict| {
            let result = match verdict {
                Some(error) => Err(error),
                None => taken
                    .next()
                    .map_or(Err(ApiError::Internal), |taken| taken.map_err(ApiError::from)),
            };
            match result {
                Ok(()) => PublishResponse::Result(PublishResult::default()),
                Err(error) => PublishResponse::Error(error.object()),
            }
        }));
    }
    Ok(BroadcastResult { responses })
}

impl Content {
    /// This for the channel of that name, if it may be published there.
    fn to(&self, channel: &str, rules: &ChannelRules) -> Result<Outgoing, ApiError> {
        let channel = Channel::parse(channel).map_err(|_| ApiError::BadRequest)?;
        let right = rules.right(&channel).ok_or(ApiError::UnknownChannel)?;
        let mut outgoing = Outgoing {
            once: self.once.clone(),
            ..Outgoing::new(channel, self.data.clone())
        };
        if !self.tags.is_empty() {
            if right.is_bare {
                return Err(ApiError::BadRequest);
            }
            outgoing.attributes = Some(Box::new(Attributes {
                tags: self.tags.clone(),
                ..Attributes::default()
            }));
        }
        Ok(outgoing)
    }
}

/// So many publications of that size are given to the bus at once: one short request can name very many channels.
fn most_at_once(node: &Node, size: usize) -> usize {
    let limits = &node.config.limits;
    (limits.publish_queue_bytes / size.max(1)).clamp(1, limits.publish_queue)
}

fn depth(node: &Node) -> usize {
    node.config.limits.json_depth
}
