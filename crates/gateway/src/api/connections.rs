//! `subscribe`, `unsubscribe`, `disconnect` and `refresh`: orders for connections, wherever they are.
//!
//! Knows neither where connections are nor how they obey. Invariant: an answer means that the bus has taken the order; nodes carry it out
//! soon after, each connection in the order in which the bus heard.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use protocol::event::Unsubscribed;
use protocol::{ApplicationReason, Channel, Close};
use uuid::Uuid;

use super::error::ApiError;
use super::payload::payload;
use super::requests::{
    DisconnectReason, DisconnectRequest, Override, RefreshRequest, SubscribeRequest, UnsubscribeRequest,
};
use super::results::Done;
use crate::client::Order;
use crate::cluster::Whom;
use crate::grant::{Grant, Overrides};
use crate::node::Node;

/// What connections are told without a reason of one's own.
const REASON: &str = "force disconnect";
/// Later than this there is no time: the year 9999, which every format of dates can write.
const LATEST: u64 = 253_402_300_799;

pub(super) async fn subscribe(node: &Node, request: SubscribeRequest) -> Result<Done, ApiError> {
    let channel = parse(&request.channel.unwrap_or_default())?;
    let right = node.rules.right(&channel).ok_or(ApiError::UnknownChannel)?;
    if right.is_closed() {
        return Err(ApiError::NotAvailable);
    }
    let depth = node.config.limits.json_depth;
    let order = Order::Subscribe {
        channel,
        grant: Grant {
            info: payload(request.info.as_deref(), request.b64info.as_deref(), depth)?,
            data: payload(request.data.as_deref(), request.b64data.as_deref(), depth)?,
            overrides: request.overrides.map(Overrides::from).unwrap_or_default(),
        },
        expires: time(request.expire_at)?,
    };
    let whom = whom(request.user, request.client.as_deref(), request.session.as_deref());
    tell(node, whom, order).await
}

pub(super) async fn unsubscribe(node: &Node, request: UnsubscribeRequest) -> Result<Done, ApiError> {
    let channel = request.channel.filter(|channel| !channel.is_empty());
    let order = Order::Unsubscribe {
        channel: channel.as_deref().map(parse).transpose()?,
        why: Unsubscribed::ByServer,
    };
    let whom = whom(request.user, request.client.as_deref(), request.session.as_deref());
    tell(node, whom, order).await
}

pub(super) async fn disconnect(node: &Node, request: DisconnectRequest) -> Result<Done, ApiError> {
    let close = match &request.disconnect {
        None => Close::ByServer,
        Some(reason) => close(reason)?,
    };
    let whom = whom(request.user, request.client.as_deref(), request.session.as_deref());
    let except = request.whitelist.unwrap_or_default();
    let except = except.iter().filter_map(|client| client.parse().ok()).collect();
    let whom = whom.map(|whom| Whom { except, ..whom });
    tell(node, whom, Order::Close(close)).await
}

pub(super) async fn refresh(node: &Node, request: RefreshRequest) -> Result<Done, ApiError> {
    let order = Order::Refresh {
        is_over: request.expired.unwrap_or_default(),
        expires: time(request.expire_at)?,
        info: payload(request.info.as_deref(), None, node.config.limits.json_depth)?,
    };
    let whom = whom(request.user, request.client.as_deref(), request.session.as_deref());
    tell(node, whom, order).await
}

async fn tell(node: &Node, whom: Option<Whom>, order: Order) -> Result<Done, ApiError> {
    if let Some(whom) = whom {
        node.cluster.order(whom, order).await?;
    }
    Ok(Done {})
}

/// Whose connections are meant; `None`: nobody's.
fn whom(user: Option<String>, client: Option<&str>, session: Option<&str>) -> Option<Whom> {
    // Every id and every session is a UUID: nobody is called anything else.
    let id = |given: Option<&str>| match given.filter(|given| !given.is_empty()) {
        None => Some(None),
        Some(given) => given.parse::<Uuid>().ok().map(Some),
    };
    Some(Whom {
        user: user.unwrap_or_default(),
        client: id(client)?,
        session: id(session)?,
        except: Vec::new(),
    })
}

fn parse(channel: &str) -> Result<Channel, ApiError> {
    Channel::parse(channel).map_err(|_| ApiError::BadRequest)
}

/// `None`: never.
pub(super) fn time(seconds: Option<i64>) -> Result<Option<SystemTime>, ApiError> {
    match u64::try_from(seconds.unwrap_or_default()) {
        Ok(0) => Ok(None),
        Ok(seconds) if seconds <= LATEST => Ok(Some(UNIX_EPOCH + Duration::from_secs(seconds))),
        _ => Err(ApiError::BadRequest),
    }
}

fn close(DisconnectReason { code, reason }: &DisconnectReason) -> Result<Close, ApiError> {
    let reason = reason.as_deref().filter(|reason| !reason.is_empty()).unwrap_or(REASON);
    let code = u16::try_from(code.unwrap_or_default()).map_err(|_| ApiError::BadRequest)?;
    let reason = ApplicationReason::new(code, reason).map_err(|_| ApiError::BadRequest)?;
    Ok(Close::Application(reason))
}

impl From<Override> for Overrides {
    fn from(given: Override) -> Self {
        Self {
            presence: given.presence.map(|switch| switch.value),
            join_leave: given.join_leave.map(|switch| switch.value),
            force_recovery: given.force_recovery.map(|switch| switch.value),
            force_positioning: given.force_positioning.map(|switch| switch.value),
            force_push_join_leave: given.force_push_join_leave.map(|switch| switch.value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_connections_are_meant() {
        let id = Uuid::new_v4();
        let check = |client: Option<&str>, session: Option<&str>, expected: Option<Option<Uuid>>| {
            let found = whom(Some("anna".into()), client, session);
            assert!(found.iter().all(|whom| whom.user == "anna"));
            assert_eq!(found.map(|whom| whom.client), expected, "{client:?} {session:?}");
        };
        check(None, None, Some(None));
        check(Some(""), Some(""), Some(None));
        check(Some(&id.to_string()), None, Some(Some(id)));
        check(Some("somebody"), None, None);
        check(Some(&id.to_string()), Some("s"), None);
        assert_eq!(whom(None, None, None), Some(Whom::default()), "those without a user");
    }

    #[test]
    fn codes_and_times_have_bounds() {
        let check = |code: u32, reason: &str, is_right: bool| {
            let given = DisconnectReason {
                code: Some(code),
                reason: Some(reason.to_owned()),
            };
            assert_eq!(close(&given).is_ok(), is_right, "{code} {reason}");
        };
        check(3000, "", true);
        check(4999, "spam", true);
        check(2999, "spam", false);
        check(5000, "spam", false);
        check(65_536 + 4500, "spam", false);
        check(4500, "{}", false);
        check(4500, &"x".repeat(124), false);
        assert_eq!(close(&DisconnectReason::default()), Err(ApiError::BadRequest));

        assert_eq!(time(None), Ok(None));
        assert_eq!(time(Some(0)), Ok(None));
        assert_eq!(time(Some(7)), Ok(Some(UNIX_EPOCH + Duration::from_secs(7))));
        assert_eq!(time(Some(-1)), Err(ApiError::BadRequest));
        assert_eq!(time(Some(i64::MAX)), Err(ApiError::BadRequest));
    }
}
