//! Clients that have no WebSocket: what they hear is the body of an answer, what they say comes in requests of its own, to any node.
//!
//! Decides nothing about what is said; a request with commands goes to the node that has the connection. Invariant: a stream is a connection
//! like any other, on a lane of the worker that took its request.

use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{Error, HttpRequest, HttpResponse, HttpResponseBuilder, web};
use bytes::Bytes;
use protocol::dialect::{Carrier, Emulation, Format};
use protocol::frame::{Kind, Message};
use uuid::Uuid;

use crate::admission::Handshake;
use crate::lane::attached::Worker;
use crate::listener::door::{Purpose, Stream, is_allowed_origin, knock, query};
use crate::node::Node;

/// The worker whose lane has the streams of its requests.
#[derive(Clone)]
pub(crate) struct Streams(pub(crate) Worker);

/// `/connection/http_stream`
pub(crate) async fn http_stream(
    request: HttpRequest,
    node: web::Data<Node>,
    body: web::Payload,
) -> Result<HttpResponse, Error> {
    let format = format(&request);
    open(&request, &node, body, format, Carrier::Stream, false).await
}

/// `/connection/sse`
pub(crate) async fn sse(
    request: HttpRequest,
    node: web::Data<Node>,
    body: web::Payload,
) -> Result<HttpResponse, Error> {
    open(&request, &node, body, Format::Json, Carrier::Events, false).await
}

/// `/connection/uni_http_stream`
pub(crate) async fn uni_http_stream(
    request: HttpRequest,
    node: web::Data<Node>,
    body: web::Payload,
) -> Result<HttpResponse, Error> {
    open(&request, &node, body, Format::Json, Carrier::Stream, true).await
}

/// `/connection/uni_sse`
pub(crate) async fn uni_sse(
    request: HttpRequest,
    node: web::Data<Node>,
    body: web::Payload,
) -> Result<HttpResponse, Error> {
    open(&request, &node, body, Format::Json, Carrier::Events, true).await
}

/// `/emulation`: commands for a connection, wherever it is.
pub(crate) async fn emulation(
    request: HttpRequest,
    node: web::Data<Node>,
    body: web::Payload,
) -> Result<HttpResponse, Error> {
    if let Some(answer) = answer_options(&request, &node, "POST") {
        return Ok(answer);
    }
    let respond = |status| with_origin(&request, HttpResponse::build(status)).finish();
    if request.method() != Method::POST {
        return Ok(respond(StatusCode::METHOD_NOT_ALLOWED));
    }
    if !is_allowed_origin(&node, &request) {
        return Ok(respond(StatusCode::FORBIDDEN));
    }
    let body = match read(&node, body).await {
        Ok(body) => body,
        Err(status) => return Ok(respond(status)),
    };
    let Ok(Emulation {
        session,
        node: to,
        message,
    }) = Emulation::decode(format(&request), &body)
    else {
        return Ok(respond(StatusCode::BAD_REQUEST));
    };
    let (Ok(session), Ok(to)) = (Uuid::parse_str(&session), Uuid::parse_str(&to)) else {
        return Ok(respond(StatusCode::NOT_FOUND));
    };
    Ok(respond(match node.cluster.pass_commands(to, session, message).await {
        Ok(true) => StatusCode::NO_CONTENT,
        Ok(false) => StatusCode::NOT_FOUND,
        Err(error) => {
            tracing::debug!(%error, "commands did not reach their connection");
            StatusCode::SERVICE_UNAVAILABLE
        }
    }))
}

async fn open(
    request: &HttpRequest,
    node: &web::Data<Node>,
    body: web::Payload,
    format: Format,
    carrier: Carrier,
    is_one_way: bool,
) -> Result<HttpResponse, Error> {
    let methods = if carrier == Carrier::Events {
        "GET, POST"
    } else {
        "POST"
    };
    if let Some(answer) = answer_options(request, node, methods) {
        return Ok(answer);
    }
    let respond = |status| with_origin(request, HttpResponse::build(status)).finish();
    let said: Bytes = match *request.method() {
        Method::POST => match read(node, body).await {
            Ok(body) => body,
            Err(status) => return Ok(respond(status)),
        },
        // An EventSource sends nothing but its URL.
        Method::GET if carrier == Carrier::Events => query(request, "cf_connect").unwrap_or_default().into(),
        _ => return Ok(respond(StatusCode::METHOD_NOT_ALLOWED)),
    };
    if said.is_empty() && !is_one_way {
        return Ok(respond(StatusCode::BAD_REQUEST));
    }
    // A request that asks for a WebSocket besides comes by a way where there is none.
    let Some(Streams(worker)) = request.app_data::<Streams>() else {
        return Ok(respond(StatusCode::BAD_REQUEST));
    };
    let stream = Stream {
        format,
        carrier,
        is_one_way,
    };
    let mut pass = knock(node, request, Purpose::Stream(stream), worker.number()).await?;
    pass.first = Some(Message {
        kind: match format {
            Format::Json => Kind::Text,
            Format::Protobuf => Kind::Binary,
        },
        data: said,
    });
    let (content_type, head): (_, &[u8]) = match (carrier, format) {
        // Lets the client know that the stream is there, before there is an event.
        (Carrier::Events, _) => ("text/event-stream; charset=utf-8", b"\r\n"),
        (_, Format::Protobuf) => ("application/octet-stream", b""),
        (_, Format::Json) => ("text/plain; charset=utf-8", b""),
    };
    // It is a connection now, and counted as one.
    if let Some(handshake) = request.conn_data::<Handshake>() {
        handshake.finish();
    }
    let body = worker.stream(request, pass, head).await;
    let mut response = with_origin(request, HttpResponse::Ok());
    response
        .content_type(content_type)
        // Whatever stands between must not wait for the end.
        .insert_header(("X-Accel-Buffering", "no"))
        .insert_header((
            header::CACHE_CONTROL,
            "private, no-cache, no-store, must-revalidate, max-age=0",
        ))
        .insert_header((header::PRAGMA, "no-cache"));
    Ok(response.body(body))
}

/// How the bodies of a request and of its answer are written.
fn format(request: &HttpRequest) -> Format {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    match content_type.is_some_and(|it| it.as_bytes().starts_with(b"application/octet-stream")) {
        true => Format::Protobuf,
        false => Format::Json,
    }
}

/// The body of a request. It has as long as a handshake: until it is there, the connection holds a place among the unfinished ones.
async fn read(node: &Node, body: web::Payload) -> Result<Bytes, StatusCode> {
    let limits = &node.config.limits;
    let body = body.to_bytes_limited(limits.message_size);
    match tokio::time::timeout(limits.handshake_timeout, body).await {
        Ok(Ok(Ok(body))) => Ok(body),
        Ok(Ok(Err(_))) => Err(StatusCode::BAD_REQUEST),
        Ok(Err(_)) => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}

/// What a browser is told that asks first whether a page of another origin may.
fn answer_options(request: &HttpRequest, node: &Node, methods: &'static str) -> Option<HttpResponse> {
    if request.method() != Method::OPTIONS {
        return None;
    }
    if !is_allowed_origin(node, request) {
        return Some(HttpResponse::Forbidden().finish());
    }
    let mut response = with_origin(request, HttpResponse::NoContent());
    response
        .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, methods))
        .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, "content-type"))
        .insert_header((header::ACCESS_CONTROL_MAX_AGE, "300"));
    Some(response.finish())
}

/// Lets the page read the answer that asked for it; whether it may was asked before.
fn with_origin(request: &HttpRequest, mut response: HttpResponseBuilder) -> HttpResponseBuilder {
    if let Some(origin) = request.headers().get(header::ORIGIN) {
        response
            .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::clone(origin)))
            .insert_header((header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true"))
            .insert_header((header::VARY, "Origin"));
    }
    response
}
