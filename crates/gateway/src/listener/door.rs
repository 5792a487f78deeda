//! Who may come in: handshake, origin, channel, room. In that order, so that what costs most is asked last.
//!
//! Ordinary request handling: takes a request, answers with a [`Pass`] or a [`Refusal`]. Neither transport lets anybody in without a pass.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_http::ws::{HandshakeError, verify_handshake};
use actix_web::http::header::HeaderValue;
use actix_web::http::{StatusCode, Version, header};
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use protocol::dialect::{Carrier, Format};
use protocol::frame::{Kind, Message};
use protocol::{Channel, Dialect};

use crate::admission::Full;
use crate::backend::RealHeaders;
use crate::client::{Client, Origin, Session, Talk};
use crate::config::Carriage;
use crate::lane::pass::Pass;
use crate::metrics::Rejected;
use crate::node::Node;
use crate::token::TokenError;

mod raw;

/// How long a handshake waits for Redis to confirm the subscription.
const CONFIRMATION: Duration = Duration::from_secs(1);

/// What somebody knocks for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose<'a> {
    /// A plain WebSocket in a channel.
    Raw(&'a str),
    /// A conversation of the Centrifuge protocol, over a WebSocket.
    Centrifuge,
    /// To hear, by the Centrifuge protocol, over a WebSocket.
    OneWay,
    /// The same without a WebSocket; the body of the answer carries it.
    Stream(Stream),
}

/// A conversation whose one side is the body of an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stream {
    pub(crate) format: Format,
    pub(crate) carrier: Carrier,
    pub(crate) is_one_way: bool,
}

impl Stream {
    fn carriage(self) -> Carriage {
        match (self.carrier, self.is_one_way) {
            (Carrier::Events, false) => Carriage::Sse,
            (Carrier::Events, true) => Carriage::UniSse,
            (_, false) => Carriage::HttpStream,
            (_, true) => Carriage::UniHttpStream,
        }
    }
}

/// Why a request gets no pass.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0}")]
    Handshake(#[from] HandshakeError),
    #[error("a WebSocket handshake needs HTTP/1.1")]
    HttpVersion,
    #[error("this address is for WebSocket connections")]
    NotAWebSocket,
    #[error("a handshake has no body")]
    Body,
    #[error("this origin is not allowed")]
    Origin,
    #[error("there is no such channel")]
    UnknownChannel,
    #[error("this channel is not open")]
    Forbidden,
    #[error("this channel needs a token")]
    NoToken,
    #[error("the token is refused")]
    Token(#[source] TokenError),
    #[error("{0}")]
    Full(#[from] Full),
    #[error("this node is leaving")]
    Draining,
    #[error("the bus does not answer")]
    Bus,
    #[error("the application does not answer")]
    Backend,
}

impl Refusal {
    fn reason(&self) -> Rejected {
        match self {
            Self::Handshake(_) | Self::HttpVersion | Self::NotAWebSocket | Self::Body => Rejected::BadRequest,
            Self::Origin => Rejected::Origin,
            Self::UnknownChannel | Self::Forbidden | Self::NoToken => Rejected::Channel,
            Self::Token(_) => Rejected::Token,
            Self::Full(full) => (*full).into(),
            Self::Draining => Rejected::Draining,
            Self::Bus => Rejected::Bus,
            Self::Backend => Rejected::Backend,
        }
    }
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Handshake(HandshakeError::GetMethodRequired) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Handshake(HandshakeError::NoWebsocketUpgrade | HandshakeError::UnsupportedVersion) => {
                StatusCode::UPGRADE_REQUIRED
            }
            Self::NotAWebSocket => StatusCode::UPGRADE_REQUIRED,
            Self::Handshake(_) | Self::HttpVersion | Self::Body => StatusCode::BAD_REQUEST,
            Self::Origin | Self::Forbidden => StatusCode::FORBIDDEN,
            // Its key may be known in a moment.
            Self::Token(TokenError::UnknownKey { .. }) => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoToken | Self::Token(_) => StatusCode::UNAUTHORIZED,
            Self::UnknownChannel => StatusCode::NOT_FOUND,
            Self::Full(Full::Address) => StatusCode::TOO_MANY_REQUESTS,
            Self::Full(Full::Node) | Self::Draining | Self::Bus | Self::Backend => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        match self.status_code() {
            StatusCode::UPGRADE_REQUIRED => {
                response
                    .insert_header((header::UPGRADE, "websocket"))
                    .insert_header((header::SEC_WEBSOCKET_VERSION, "13"));
            }
            StatusCode::UNAUTHORIZED => {
                response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
            }
            StatusCode::METHOD_NOT_ALLOWED => {
                response.insert_header((header::ALLOW, "GET"));
            }
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                response.insert_header((header::RETRY_AFTER, "1"));
            }
            _ => {}
        }
        response
            .content_type("text/plain; charset=utf-8")
            .body(format!("{self}\n"))
    }
}

/// Asks for a pass on `lane`.
pub(crate) async fn knock(
    node: &Node,
    request: &HttpRequest,
    purpose: Purpose<'_>,
    lane: usize,
) -> Result<Pass, Refusal> {
    let began = Instant::now();
    let pass = judge(node, request, purpose, lane).await;
    match &pass {
        Ok(_) => node.metrics.handshake_duration.observe(began.elapsed().as_secs_f64()),
        Err(refusal) => {
            tracing::debug!(remote = %address(node, request), %refusal, "refused a connection");
            node.metrics.reject(refusal.reason());
        }
    }
    pass
}

async fn judge(node: &Node, request: &HttpRequest, purpose: Purpose<'_>, lane: usize) -> Result<Pass, Refusal> {
    if node.is_closed() {
        return Err(Refusal::Draining);
    }
    if !matches!(purpose, Purpose::Stream(_)) {
        check_handshake(request)?;
    }
    if !is_allowed_origin(node, request) {
        return Err(Refusal::Origin);
    }
    match purpose {
        Purpose::Raw(channel) => plain(node, request, channel, lane).await,
        Purpose::Centrifuge => centrifuge(node, request, lane),
        Purpose::OneWay => {
            let dialect = Dialect::OneWay(Carrier::Frames);
            let mut pass = converse(node, request, lane, dialect, Carriage::UniWebSocket)?;
            pass.first = query(request, "cf_connect").map(|said| Message {
                kind: Kind::Text,
                data: said.into(),
            });
            Ok(pass)
        }
        Purpose::Stream(stream) => {
            let dialect = match stream.is_one_way {
                false => Dialect::Centrifuge(stream.format, stream.carrier),
                true => Dialect::OneWay(stream.carrier),
            };
            converse(node, request, lane, dialect, stream.carriage())
        }
    }
}

async fn plain(node: &Node, request: &HttpRequest, channel: &str, lane: usize) -> Result<Pass, Refusal> {
    let channel = Channel::parse(channel).map_err(|_| Refusal::UnknownChannel)?;
    let right = node.rules.right(&channel).ok_or(Refusal::UnknownChannel)?;
    let plain = raw::admit(node, request, &channel, &right).await?;
    let admitted = node.admission.admit(address(node, request))?;
    let mut interest = node.interests.hold(&channel, Some(lane), right.rule().window);
    if tokio::time::timeout(CONFIRMATION, interest.confirmed()).await.is_err() {
        return Err(Refusal::Bus);
    }
    Ok(Pass {
        lane,
        client: client(node, Dialect::Raw { channel }, Talk::Plain(plain)),
        admitted,
        interest: Some(interest),
        first: None,
        // Clients that offer subprotocols fail unless one is chosen; a plain WebSocket speaks them all.
        protocol: offered_protocols(request)
            .next()
            .and_then(|first| HeaderValue::from_str(first).ok()),
    })
}

/// What of a request's headers the backend is told.
fn headers(node: &Node, request: &HttpRequest) -> Arc<RealHeaders> {
    let Some(backend) = &node.terms.backend else {
        return Arc::default();
    };
    let headers = request.headers().iter();
    Arc::new(backend.keep_headers(headers.map(|(name, value)| (name.as_str(), value.as_bytes()))))
}

fn centrifuge(node: &Node, request: &HttpRequest, lane: usize) -> Result<Pass, Refusal> {
    let protocol = offered_protocols(request).find_map(|offered| match offered {
        "centrifuge-json" => Some((Format::Json, "centrifuge-json")),
        "centrifuge-protobuf" => Some((Format::Protobuf, "centrifuge-protobuf")),
        _ => None,
    });
    let asks_for_protobuf = |parameter| matches!(parameter, "cf_protocol=protobuf" | "format=protobuf");
    let format = match protocol {
        _ if request.query_string().split('&').any(asks_for_protobuf) => Format::Protobuf,
        Some((format, _)) => format,
        None => Format::Json,
    };
    let dialect = Dialect::Centrifuge(format, Carrier::Frames);
    let mut pass = converse(node, request, lane, dialect, Carriage::WebSocket)?;
    pass.protocol = protocol.map(|(_, name)| HeaderValue::from_static(name));
    Ok(pass)
}

/// A pass for a client that talks in commands, or at least in one.
fn converse(
    node: &Node,
    request: &HttpRequest,
    lane: usize,
    dialect: Dialect,
    carriage: Carriage,
) -> Result<Pass, Refusal> {
    if !node.terms.settings.transports.contains(&carriage) {
        return Err(Refusal::UnknownChannel);
    }
    let origin = match &node.terms.backend {
        None => Arc::clone(&node.terms.untold),
        Some(_) => Arc::new(Origin {
            transport: carriage.word(),
            protocol: match dialect {
                Dialect::Centrifuge(Format::Protobuf, _) => "protobuf",
                _ => "json",
            },
            headers: headers(node, request),
        }),
    };
    let mut session = Session::new(Arc::clone(&node.terms), origin);
    if carriage != Carriage::WebSocket {
        session = session.apart(matches!(dialect, Dialect::OneWay(_)));
    } else if request
        .query_string()
        .split('&')
        .any(|it| it == "cf_ws_frame_ping_pong=true")
    {
        session = session.with_native_pings();
    }
    Ok(Pass {
        lane,
        admitted: node.admission.admit(address(node, request))?,
        client: client(node, dialect, Talk::Session(Box::new(session))),
        interest: None,
        first: None,
        protocol: None,
    })
}

/// A parameter of a request's query, decoded.
pub(crate) fn query(request: &HttpRequest, name: &str) -> Option<String> {
    let parameters = web::Query::<Vec<(String, String)>>::from_query(request.query_string()).ok()?;
    let mut parameters = parameters.into_inner().into_iter();
    parameters.find_map(|(found, value)| (found == name).then_some(value))
}

fn client(node: &Node, dialect: Dialect, talk: Talk) -> Client {
    Client::new(
        dialect,
        talk,
        node.message_limit,
        node.config.limits.json_depth,
        Instant::now(),
    )
}

/// The subprotocols that the client offers; what is not a token of HTTP may not come back in our answer.
fn offered_protocols(request: &HttpRequest) -> impl Iterator<Item = &str> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let offered = request.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
    offered
        .and_then(|offered| offered.to_str().ok())
        .into_iter()
        .flat_map(|offered| offered.split(','))
        .map(str::trim)
        .take_while(move |offered| !offered.is_empty() && offered.bytes().all(is_allowed))
}

/// Whether a request is a handshake at all.
pub(crate) fn check_handshake(request: &HttpRequest) -> Result<(), Refusal> {
    verify_handshake(request.head())?;
    if request.version() != Version::HTTP_11 {
        return Err(Refusal::HttpVersion);
    }
    match has_body(request) {
        true => Err(Refusal::Body),
        false => Ok(()),
    }
}

fn has_body(request: &HttpRequest) -> bool {
    let headers = request.headers();
    headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0")
}

/// Without an Origin it is no browser; with one it must be our own host or listed.
pub(crate) fn is_allowed_origin(node: &Node, request: &HttpRequest) -> bool {
    let mut origins = request.headers().get_all(header::ORIGIN);
    let Some(origin) = origins.next() else { return true };
    let allowed = &node.config.listener.allowed_origins;
    if allowed.iter().any(|allowed| allowed == "*") {
        return true;
    }
    let (Ok(origin), None) = (origin.to_str(), origins.next()) else {
        return false;
    };
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let own = origin.split_once("://").map(|(_, host)| host);
    own.is_some() && own.zip(host).is_some_and(|(own, host)| own.eq_ignore_ascii_case(host))
        || allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
}

fn address(node: &Node, request: &HttpRequest) -> IpAddr {
    let peer = request
        .peer_addr()
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip().to_canonical());
    let forwarded: Vec<&str> = request
        .headers()
        .get_all(header::X_FORWARDED_FOR)
        .filter_map(|value| value.to_str().ok())
        .collect();
    node.admission.client_address(peer, forwarded.into_iter())
}
