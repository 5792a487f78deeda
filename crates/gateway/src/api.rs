//! The server API: what the application's servers ask of all nodes, with POST under `/api` on the admin listener.
//!
//! Owns how requests and answers look in HTTP: the key, the body, and which status. What calls do stands in the files below. Invariant: without
//! a key of the settings nothing is read but the head.

use std::sync::Arc;
use std::time::Instant;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{HttpServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use actix_web::middleware::{Next, from_fn};
use actix_web::{Error, HttpMessage, HttpRequest, HttpResponse, web};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::timeout;

use crate::config::Call;
use crate::metrics::Outcome;
use crate::node::Node;

mod calls;
mod connections;
mod error;
mod keys;
pub(crate) mod openapi;
mod payload;
mod publish;
mod questions;
mod requests;
mod results;
mod tokens;

use calls::Command;
use error::{ApiError, Fault, Refusal};
use keys::{Key, Keys};
use requests::BatchRequest;
use results::ErrorObject;

/// The header by which a request asks for errors as statuses.
const ERROR_MODE: &str = "X-Centrifugo-Error-Mode";

/// What every request shares.
pub(crate) struct Api {
    node: Arc<Node>,
    keys: Keys,
}

impl Api {
    pub(crate) fn new(node: &Arc<Node>) -> Self {
        Self {
            node: Arc::clone(node),
            keys: Keys::new(&node.config),
        }
    }

    /// The key that came with a request.
    fn key(&self, headers: &HeaderMap, query: &str) -> Option<Arc<Key>> {
        let in_headers = match headers.get("X-API-Key") {
            Some(key) => Some(key.as_bytes()),
            None => headers.get("Authorization").and_then(|value| {
                let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
                scheme.eq_ignore_ascii_case("apikey").then_some(key.as_bytes())
            }),
        };
        let found = in_headers.and_then(|key| self.keys.find(key));
        if found.is_some() || !self.node.config.api.key_in_url {
            return found;
        }
        let query = web::Query::<InUrl>::from_query(query).ok()?;
        self.keys.find(query.api_key.as_bytes())
    }
}

#[derive(serde::Deserialize)]
struct InUrl {
    api_key: String,
}

/// Everything under `/api`.
pub(crate) fn routes(api: web::Data<Api>) -> impl HttpServiceFactory {
    web::scope("/api")
        .app_data(api)
        .wrap(from_fn(demand_key))
        .service(
            web::resource("/{call}")
                .route(web::post().to(serve))
                .default_service(web::to(|| async { Fault::Method.answer() })),
        )
        .default_service(web::to(|| async { Fault::NoSuchCall.answer() }))
}

/// The description of the API. It says nothing that this source does not, so it needs no key.
pub(crate) async fn description() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/json"))
        .body(openapi::text())
}

/// Lets only those in who have a key, and nobody without one in the settings.
async fn demand_key(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let api = request.app_data::<web::Data<Api>>().cloned();
    let key = api
        .as_ref()
        .and_then(|api| api.key(request.headers(), request.query_string()));
    if let Some(key) = key {
        request.extensions_mut().insert(key);
        return next.call(request).await.map(ServiceResponse::map_into_boxed_body);
    }
    if let Some(api) = api {
        let name = request.path().rsplit('/').next().unwrap_or_default();
        api.node.metrics.api.refuse(Call::named(name));
    }
    Ok(request.into_response(HttpResponse::Unauthorized().finish()))
}

/// Why there is no result, in whichever words.
enum Trouble {
    Fault(Fault),
    Refusal(Refusal),
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Self::Refusal(refusal)
    }
}

async fn serve(request: HttpRequest, name: web::Path<String>, body: web::Payload, api: web::Data<Api>) -> HttpResponse {
    let call = Call::named(&name);
    let key = request.extensions().get::<Arc<Key>>().cloned();
    let result = match (call, key) {
        (Some(call), Some(key)) => answer(&api, call, &key, &request, body).await,
        (None, _) => Err(Fault::NoSuchCall.into()),
        (_, None) => Err(Fault::Forbidden.into()),
    };
    match result {
        Ok(answer) => answer,
        Err(Trouble::Fault(fault)) => {
            api.node.metrics.api.refuse(call);
            fault.answer()
        }
        Err(Trouble::Refusal(Refusal::Malformed)) => HttpResponse::BadRequest()
            .insert_header((CONTENT_TYPE, "text/plain; charset=utf-8"))
            .body("Bad Request"),
        Err(Trouble::Refusal(Refusal::Error(error))) => refused(error, &request),
    }
}

/// The answer to a call of one who has `key`.
async fn answer(
    api: &Api,
    call: Call,
    key: &Key,
    request: &HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, Trouble> {
    if !key.is_for(call) {
        return Err(forbid(key, call));
    }
    let length = request.headers().get(CONTENT_LENGTH);
    let announced = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let limits = &api.node.config.api;
    let body = read(body, announced.unwrap_or_default(), limits.body_size);
    let body = timeout(limits.body_timeout, body).await.map_err(|_| Fault::TooSlow)??;
    if call == Call::Batch {
        return batch(&api.node, key, &body).await;
    }
    let result = calls::make(&api.node, call, &body).await?;
    Ok(in_json(StatusCode::OK, &Success { result }))
}

/// The answer to a batch. Nothing in it is done if the key is not for all of it.
async fn batch(node: &Node, key: &Key, body: &[u8]) -> Result<HttpResponse, Trouble> {
    let began = Instant::now();
    let count = |outcome| node.metrics.api.count(Call::Batch, outcome, began.elapsed());
    let request = calls::read::<BatchRequest>(body);
    let commands = request.and_then(|request| Ok(calls::commands(request)?));
    let (commands, is_parallel) = commands.inspect_err(|_| count(Outcome::Error))?;
    for command in &commands {
        match command {
            Command::Call(call, _) if !key.is_for(*call) => return Err(forbid(key, *call)),
            _ => {}
        }
    }
    let response = calls::batch(node, commands, is_parallel).await;
    count(Outcome::Ok);
    Ok(in_json(StatusCode::OK, &response))
}

fn forbid(key: &Key, call: Call) -> Trouble {
    tracing::debug!(
        key = key.name,
        call = call.name(),
        "a key was used for a call that it is not for"
    );
    Fault::Forbidden.into()
}

/// The whole body, if it is not larger than `most`.
async fn read(mut body: web::Payload, announced: usize, most: usize) -> Result<Bytes, Trouble> {
    if announced > most {
        return Err(Fault::TooLarge.into());
    }
    let mut whole = BytesMut::with_capacity(announced);
    while let Some(piece) = body.next().await {
        // Whoever sends half a body is gone, or has lost count.
        let piece = piece.map_err(|_| Refusal::Malformed)?;
        if whole.len() + piece.len() > most {
            return Err(Fault::TooLarge.into());
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

#[derive(Serialize)]
struct Success {
    result: Box<RawValue>,
}

#[derive(Serialize)]
struct Failure {
    error: ErrorObject,
}

/// The answer for an error of the API: in the body, or as a status if the request says so.
fn refused(error: ApiError, request: &HttpRequest) -> HttpResponse {
    let mode = request.headers().get(ERROR_MODE);
    match mode.is_some_and(|mode| mode.as_bytes() == b"transport") {
        true => in_json(error.status(), &error.object()),
        false => in_json(StatusCode::OK, &Failure { error: error.object() }),
    }
}

fn in_json(status: StatusCode, body: &impl Serialize) -> HttpResponse {
    let body = serde_json::to_vec(body).expect("results have texts for names, and numbers and JSON for values");
    HttpResponse::build(status)
        .insert_header((CONTENT_TYPE, "application/json"))
        .body(body)
}
