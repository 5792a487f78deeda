//! Who may come to a channel as a plain WebSocket, and what it may do there.
//!
//! Such a client says nothing but its request: a token in a header or the query, or nothing at all. Invariant: the rule of its channel holds
//! for it as for the clients of every other dialect.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use actix_web::HttpRequest;
use actix_web::http::header;
use bytes::Bytes;
use protocol::{Channel, ClientInfo};
use uuid::Uuid;

use super::{Refusal, headers};
use crate::allowance::Allowance;
use crate::backend::{Call, Caller, Event, Question, Reply, Verdict};
use crate::channel_rules::{Entry, Right, Standing};
use crate::client::{Approval, Bearing, Mode, Plain, Who};
use crate::grant::Grant;
use crate::lane::ask::Attendance;
use crate::node::Node;
use crate::token::Origin;

/// Who comes.
struct Visitor {
    id: Uuid,
    /// "" is nobody in particular.
    user: String,
    /// What others may see of it; JSON, may be empty.
    info: Bytes,
    /// When it has to go.
    expires: Option<SystemTime>,
    /// What a token or the backend lets it have in the channel.
    grant: Option<Grant>,
    /// The token that it has brought.
    token: Option<Origin>,
}

/// Lets a client come to `channel`, or not.
pub(super) async fn admit(
    node: &Node,
    request: &HttpRequest,
    channel: &Channel,
    right: &Right<'_>,
) -> Result<Plain, Refusal> {
    // The query of the bare channel is the application's own.
    let token = token(request).filter(|_| !right.is_bare);
    let mut visitor = visitor(node, token, channel)?;
    let standing = match right.entry(channel, &visitor.user) {
        Entry::Closed => return Err(Refusal::Forbidden),
        _ if visitor.grant.is_some() => Standing::ByToken,
        Entry::Open => Standing::Subscribed,
        Entry::Backend if node.terms.asks(Event::Subscribe) => {
            ask_backend(node, request, channel, &mut visitor).await?;
            Standing::Subscribed
        }
        Entry::Token | Entry::Backend if visitor.token.is_some() => return Err(Refusal::Forbidden),
        Entry::Token | Entry::Backend => return Err(Refusal::NoToken),
    };
    let asks = node.terms.asks(Event::Publish);
    let mode = match right.may_publish(standing) {
        _ if node.echoes && right.is_bare => Mode::Echoes,
        Some(true) => Mode::Publishes,
        None if asks => Mode::Asks,
        Some(false) | None => Mode::Listens,
    };
    let mut plain = Plain::new(mode);
    if mode == Mode::Asks {
        plain.approval = Some(Box::new(Approval {
            caller: caller(node, request, &visitor),
            waiting: VecDeque::new(),
            channel: channel.clone(),
        }));
    }
    limit(&mut plain, right);
    place(&mut plain, node, right, channel, visitor);
    Ok(plain)
}

fn visitor(node: &Node, token: Option<&str>, channel: &Channel) -> Result<Visitor, Refusal> {
    let mut visitor = Visitor {
        id: Uuid::new_v4(),
        user: String::new(),
        info: Bytes::new(),
        expires: None,
        grant: None,
        token: None,
    };
    if let Some(token) = token {
        let bearer = node.terms.tokens.bearer(token, channel, SystemTime::now());
        let bearer = bearer.map_err(Refusal::Token)?;
        visitor.user = bearer.user;
        visitor.info = bearer.info.unwrap_or_default();
        (visitor.expires, visitor.grant) = (bearer.expires, bearer.grant);
        visitor.token = Some(bearer.origin);
    }
    Ok(visitor)
}

/// Asks whether the visitor may come, and what it gets there.
async fn ask_backend(
    node: &Node,
    request: &HttpRequest,
    channel: &Channel,
    visitor: &mut Visitor,
) -> Result<(), Refusal> {
    let Some(backend) = &node.terms.backend else {
        return Err(Refusal::Forbidden);
    };
    let question = Question::Subscribe {
        channel: channel.clone(),
        token: String::new(),
        data: Bytes::new(),
    };
    let caller = caller(node, request, visitor);
    match backend.call(Call { caller, question }).await {
        Ok(Verdict::Granted(Reply::Subscribe(granted))) => {
            if granted.expires.is_some_and(|expires| expires <= SystemTime::now()) {
                return Err(Refusal::Forbidden);
            }
            visitor.expires = [visitor.expires, granted.expires].into_iter().flatten().min();
            visitor.grant = Some(granted.grant);
            Ok(())
        }
        Ok(Verdict::Granted(_) | Verdict::Nothing) => Ok(()),
        Ok(Verdict::Refused(_) | Verdict::Disconnect(_)) => Err(Refusal::Forbidden),
        Err(failure) => {
            tracing::debug!(%failure, "the backend did not answer");
            Err(Refusal::Backend)
        }
    }
}

fn caller(node: &Node, request: &HttpRequest, visitor: &Visitor) -> Caller {
    Caller {
        client: visitor.id.to_string(),
        user: visitor.user.clone(),
        meta: None,
        transport: "websocket",
        protocol: "raw",
        headers: headers(node, request),
        emulated: Arc::default(),
    }
}

/// Sets the limits of the channel's rule.
fn limit(plain: &mut Plain, right: &Right<'_>) {
    let rule = right.rule();
    plain.message_size = rule.message_size;
    plain.allowance = rule
        .publish_rate()
        .map(|rate| Box::new(Allowance::new(rate, Instant::now())));
}

/// Sets how others see the visitor, and how long it may stay.
fn place(plain: &mut Plain, node: &Node, right: &Right<'_>, channel: &Channel, visitor: Visitor) {
    let grant = visitor.grant.unwrap_or_default();
    let is_present = grant.overrides.presence.unwrap_or(right.rule().presence);
    let is_announced = grant.overrides.join_leave.unwrap_or(right.rule().join_leave);
    let is_seen = is_present || is_announced;
    if right.is_bare || !is_seen && visitor.token.is_none() {
        return;
    }
    plain.expires = visitor
        .expires
        .map(|expires| Instant::now() + expires.duration_since(SystemTime::now()).unwrap_or_default());
    plain.who = Some(Box::new(Who {
        client: visitor.id,
        user: visitor.user.as_str().into(),
        bearing: visitor.token.map(|token| {
            let revocations = Arc::clone(node.terms.tokens.revocations());
            Box::new(Bearing { token, revocations })
        }),
    }));
    plain.place = is_seen.then(|| {
        Box::new(Attendance {
            channel: channel.clone(),
            client: Box::new(ClientInfo {
                user: visitor.user,
                client: visitor.id.to_string(),
                connection: visitor.info,
                channel: grant.info.unwrap_or_default(),
            }),
            comes: true,
            is_present,
            is_announced,
        })
    });
}

/// The token that a request brings, in a header or, for browsers, in its query.
fn token(request: &HttpRequest) -> Option<&str> {
    let header = request.headers().get(header::AUTHORIZATION);
    let of_header = header.and_then(|header| header.to_str().ok()?.split_once(' '));
    let of_header = of_header
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    let of_query = || {
        let mut parameters = request.query_string().split('&');
        parameters.find_map(|part| part.strip_prefix("token="))
    };
    of_header.or_else(of_query)
}
