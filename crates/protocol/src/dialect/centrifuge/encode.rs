//! From an event to the whole frame that tells it.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;

use super::{Format, wire};
use crate::dialect::Carrier;
use crate::event::{Answer, Connected, Published, Recovery, Subscribed};
use crate::{Channel, ClientInfo, CommandError, Event, Publication, PublicationKind, frame};

const VERSION: &str = concat!("fanfare ", env!("CARGO_PKG_VERSION"));

pub(crate) fn encode(format: Format, carrier: Carrier, event: &Event<'_>) -> Bytes {
    if let (Event::Closing(close), Carrier::Frames) = (event, carrier) {
        return frame::close(close.centrifuge());
    }
    let reply = reply(event);
    match format {
        // Nothing in the structs can fail to be JSON: keys are strings, and payloads are checked.
        Format::Json => carry(carrier, &serde_json::to_vec(&reply).unwrap_or_else(|_| b"{}".to_vec())),
        Format::Protobuf if carrier == Carrier::Frames => frame::binary(&reply.encode_length_delimited_to_vec()),
        Format::Protobuf => reply.encode_length_delimited_to_vec().into(),
    }
}

/// One message in JSON, for its way.
pub(super) fn carry(carrier: Carrier, json: &[u8]) -> Bytes {
    let (before, after): (&[u8], &[u8]) = match carrier {
        Carrier::Frames => return frame::text(json),
        Carrier::Stream => (b"", b"\n"),
        Carrier::Events => (b"data: ", b"\n\n"),
    };
    [before, json, after].concat().into()
}

/// What is said of an event.
pub(super) fn reply(event: &Event<'_>) -> wire::Reply {
    match event {
        Event::Publication(publication) => push(&publication.channel, |push| {
            let info = || publisher_of(publication);
            match publication.kind {
                PublicationKind::Publication => push.r#pub = Some(publication_of(publication)),
                PublicationKind::Join => push.join = Some(wire::Join { info: info() }),
                PublicationKind::Leave => push.leave = Some(wire::Leave { info: info() }),
            }
        }),
        Event::Subscribed { channel, subscribed } => push(channel, |push| {
            push.subscribe = Some(subscribe(subscribed));
        }),
        Event::Unsubscribed { channel, why } => push(channel, |push| {
            push.unsubscribe = Some(wire::Unsubscribe {
                code: why.code().into(),
                reason: why.reason().into(),
            });
        }),
        Event::Refreshed { expires } => wire::Reply {
            push: Some(wire::Push {
                refresh: Some(wire::Refresh {
                    expires: expires.is_some(),
                    ttl: seconds(*expires),
                }),
                ..Default::default()
            }),
            ..Default::default()
        },
        Event::Answer { id, result } => answer(*id, *result),
        Event::Ping => wire::Reply::default(),
        Event::Closing(close) => wire::Reply {
            push: close.centrifuge().map(|(code, reason)| wire::Push {
                disconnect: Some(wire::Disconnect {
                    code: code.into(),
                    reason: reason.into(),
                }),
                ..Default::default()
            }),
            ..Default::default()
        },
    }
}

fn push(channel: &Channel, fill: impl FnOnce(&mut wire::Push)) -> wire::Reply {
    let mut push = wire::Push {
        channel: channel.as_str().into(),
        ..Default::default()
    };
    fill(&mut push);
    wire::Reply {
        push: Some(push),
        ..Default::default()
    }
}

fn answer(id: u32, result: Result<&Answer, &CommandError>) -> wire::Reply {
    let mut reply = wire::Reply {
        id,
        ..Default::default()
    };
    match result {
        Err(error) => {
            reply.error = Some(wire::Error {
                code: error.code(),
                message: error.to_string(),
                temporary: error.is_temporary(),
            });
        }
        Ok(Answer::Connected(connected)) => reply.connect = Some(connect(connected)),
        Ok(Answer::Subscribed(subscribed)) => reply.subscribe = Some(subscribed_of(subscribed)),
        Ok(Answer::Unsubscribed) => reply.unsubscribe = Some(wire::UnsubscribeResult {}),
        Ok(Answer::Published) => reply.publish = Some(wire::PublishResult {}),
        Ok(Answer::Presence(clients)) => {
            let presence = clients.iter().map(|client| (client.client.clone(), info(client)));
            reply.presence = Some(wire::PresenceResult {
                presence: presence.collect(),
            });
        }
        Ok(Answer::PresenceStats { clients, users }) => {
            reply.presence_stats = Some(wire::PresenceStatsResult {
                num_clients: *clients,
                num_users: *users,
            });
        }
        Ok(Answer::History { publications, top }) => {
            reply.history = Some(wire::HistoryResult {
                publications: publications.iter().map(published).collect(),
                epoch: top.epoch.clone(),
                offset: top.offset,
            });
        }
        Ok(Answer::Rpc { data }) => reply.rpc = Some(wire::RpcResult { data: data.clone() }),
        Ok(Answer::Refreshed { expires }) => {
            reply.refresh = Some(wire::RefreshResult {
                expires: expires.is_some(),
                ttl: seconds(*expires),
                ..Default::default()
            });
        }
        Ok(Answer::SubRefreshed { expires }) => {
            reply.sub_refresh = Some(wire::SubRefreshResult {
                expires: expires.is_some(),
                ttl: seconds(*expires),
            });
        }
    }
    reply
}

fn connect(connected: &Connected) -> wire::ConnectResult {
    let subs = connected
        .subscriptions
        .iter()
        .map(|(channel, subscribed)| wire::ServerSubscription {
            channel: channel.as_str().into(),
            result: Some(subscribed_of(subscribed)),
        });
    wire::ConnectResult {
        client: connected.client.clone(),
        version: VERSION.into(),
        expires: connected.expires.is_some(),
        ttl: seconds(connected.expires),
        data: connected.data.clone(),
        subs: subs.collect(),
        ping: seconds(connected.ping),
        pong: connected.ping.is_some(),
        session: connected.session.clone(),
        node: connected.node.clone(),
    }
}

fn subscribed_of(subscribed: &Subscribed) -> wire::SubscribeResult {
    let position = subscribed.position.clone().unwrap_or_default();
    let publications = match &subscribed.recovery {
        Some(Recovery::Whole(missed)) => missed.iter().map(published).collect(),
        Some(Recovery::Lost) | None => Vec::new(),
    };
    wire::SubscribeResult {
        expires: subscribed.expires.is_some(),
        ttl: seconds(subscribed.expires),
        recoverable: subscribed.is_recoverable,
        epoch: position.epoch,
        publications,
        recovered: matches!(subscribed.recovery, Some(Recovery::Whole(_))),
        offset: position.offset,
        positioned: subscribed.position.is_some(),
        data: subscribed.data.clone(),
        was_recovering: subscribed.recovery.is_some(),
        delta: subscribed.delta,
    }
}

/// The push of a subscription that the server has made.
fn subscribe(subscribed: &Subscribed) -> wire::Subscribe {
    let position = subscribed.position.clone().unwrap_or_default();
    wire::Subscribe {
        recoverable: subscribed.is_recoverable,
        epoch: position.epoch,
        offset: position.offset,
        positioned: subscribed.position.is_some(),
        data: subscribed.data.clone(),
    }
}

fn publication_of(publication: &Publication) -> wire::Publication {
    let tags = publication
        .attributes
        .as_ref()
        .map(|attributes| attributes.tags.clone());
    wire::Publication {
        data: publication.data.clone(),
        info: publisher_of(publication),
        tags: tags.unwrap_or_default(),
        ..Default::default()
    }
}

fn publisher_of(publication: &Publication) -> Option<wire::ClientInfo> {
    let attributes = publication.attributes.as_ref()?;
    attributes.publisher.as_ref().map(info)
}

fn published(publication: &Published) -> wire::Publication {
    wire::Publication {
        data: publication.data.clone(),
        info: publication.info.as_ref().map(info),
        offset: publication.offset,
        tags: publication.tags.clone(),
        delta: false,
    }
}

fn info(client: &ClientInfo) -> wire::ClientInfo {
    wire::ClientInfo {
        user: client.user.clone(),
        client: client.client.clone(),
        conn_info: client.connection.clone(),
        chan_info: client.channel.clone(),
    }
}

/// Whole seconds, rounded up: what expires is never said to be over before it is, and a client that is told of an end needs a time.
fn seconds(duration: Option<Duration>) -> u32 {
    let Some(duration) = duration else { return 0 };
    u32::try_from(duration.as_millis().div_ceil(1000))
        .unwrap_or(u32::MAX)
        .max(1)
}
