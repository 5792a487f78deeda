//! The description of the API: OpenAPI 3.1, made of the types that calls take and answer.
//!
//! Knows no values but examples. Invariant: every call is in it, and every error.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::ToSchema;

use super::calls::MOST_COMMANDS;
use super::error::{ApiError, Fault, Problem};
use super::requests::{
    BatchRequest, BroadcastRequest, ChannelsRequest, DisconnectRequest, HistoryRemoveRequest, HistoryRequest,
    InfoRequest, InvalidateUserTokensRequest, PresenceRequest, PublishRequest, RefreshRequest, RevokeTokenRequest,
    RpcRequest, SubscribeRequest, UnsubscribeRequest,
};
use super::results::{
    BatchResponse, BroadcastResult, ChannelsResult, Done, ErrorObject, HistoryResult, InfoResult, PresenceResult,
    PresenceStatsResult, PublishResult, RpcResult,
};
use crate::config::Call;

const ABOUT: &str = "\
What the servers of an application ask of all nodes of Fanfare: to publish, to direct connections wherever they are, and to tell who is there.

Every call is a POST with a JSON object. Its answer has status 200 and either `result` or `error`, which is an object of `code` and `message`; \
with a header `X-Centrifugo-Error-Mode: transport` an error has a status of its own instead, and is the whole body. Members that are not known \
are passed over, and null is the same as nothing, except as a payload. What is wrong with a request before any call is made is told as problem \
details (RFC 9457), except a body that is not what the call takes, which is 400 with the text `Bad Request`, and a key that is missing or wrong, which is 401 without a body.

An answer to `publish` or to a call for connections says that the bus has taken it. Two such requests one after the other are carried out in that order; \
publications and orders for connections do not wait for each other.";

/// The description as a text.
pub(crate) fn text() -> String {
    let text = serde_json::to_string_pretty(&document()).expect("a value is JSON");
    text + "\n"
}

fn document() -> Value {
    let mut schemas = BTreeMap::new();
    let paths: BTreeMap<_, _> = Call::all()
        .map(|call| {
            (
                format!("/api/{}", call.name()),
                json!({ "post": operation(call, &mut schemas) }),
            )
        })
        .collect();
    let errors = errors(&mut schemas);
    let problems: BTreeMap<_, _> = Fault::ALL
        .into_iter()
        .map(|fault| problem(fault, &mut schemas))
        .collect();
    let mut responses = BTreeMap::from([
        (
            "Malformed".to_owned(),
            json!({
                "description": "The body is not what the call takes.",
                "content": {"text/plain": {"schema": {"type": "string", "const": "Bad Request"}}},
            }),
        ),
        (
            "NoKey".to_owned(),
            json!({"description": "The key is missing or wrong, or the server has none. There is no body."}),
        ),
    ]);
    responses.extend(problems);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Fanfare server API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "http://127.0.0.1:9000", "description": "The admin listener, 6000 above the public port unless admin.address says otherwise."}],
        "security": [{"header": []}, {"authorization": []}, {"query": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": responses,
            "examples": errors,
            "parameters": {
                "ErrorMode": {
                    "name": "X-Centrifugo-Error-Mode",
                    "in": "header",
                    "required": false,
                    "description": "`transport`: an error is told by the status, and is the whole body.",
                    "schema": {"type": "string"},
                },
            },
            "securitySchemes": {
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "authorization": {"type": "apiKey", "in": "header", "name": "Authorization", "description": "`apikey KEY`; asked for without X-API-Key."},
                "query": {"type": "apiKey", "in": "query", "name": "api_key", "description": "Taken only where api.key_in_url says so."},
            },
        },
    })
}

type Schemas = BTreeMap<String, Value>;

/// A reference to the schema of `T`, which is put among the others.
fn schema<T: ToSchema>(schemas: &mut Schemas) -> Value {
    let name = T::name().into_owned();
    let mut found = vec![(name.clone(), T::schema())];
    T::schemas(&mut found);
    for (name, schema) in found {
        let schema = serde_json::to_value(schema).expect("a schema is JSON");
        schemas.insert(name, schema);
    }
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// What is said of one call.
struct Description {
    takes: Value,
    /// In `result`, but for a batch.
    answers: Value,
    /// A request, and its answer.
    example: (Value, Value),
    about: &'static str,
}

fn operation(call: Call, schemas: &mut Schemas) -> Value {
    let Description {
        takes,
        answers,
        example: (request, response),
        about,
    } = describe(call, schemas);
    let error = schema::<ErrorObject>(schemas);
    let (answer, response) = match call {
        Call::Batch => (answers, response),
        _ => (
            json!({"type": "object", "required": ["result"], "properties": {"result": answers}}),
            json!({"result": response}),
        ),
    };
    let failure = json!({"type": "object", "required": ["error"], "properties": {"error": error}});
    let mut codes: BTreeMap<String, Vec<ApiError>> = BTreeMap::new();
    for error in ApiError::ALL {
        codes.entry(error.status().as_str().to_owned()).or_default().push(error);
    }
    let mut responses = json!({
        "200": {
            "description": "What came of it.",
            "content": {"application/json": {
                "schema": {"oneOf": [answer, failure]},
                "examples": {"answer": {"value": response}, "error": {"value": {"error": ApiError::BadRequest.object()}}},
            }},
        },
        "401": {"$ref": "#/components/responses/NoKey"},
    });
    for fault in Fault::ALL {
        let status = fault.status();
        responses[status.as_str()] = json!({"$ref": format!("#/components/responses/{}", problem_name(fault))});
    }
    // Statuses that an error of the API has only when the request asks for them, some besides other meanings.
    for (status, errors) in codes {
        let words: Vec<_> = errors.iter().map(|error| error.object().message).collect();
        let mut content = json!({"application/json": {"schema": error}});
        let mut description = format!("With `X-Centrifugo-Error-Mode: transport`: {}.", words.join(", "));
        match status.as_str() {
            "400" => {
                content["text/plain"] = json!({"schema": {"type": "string", "const": "Bad Request"}});
                description += " Otherwise: the body is not what the call takes.";
            }
            "404" => {
                content["application/problem+json"] = json!({"schema": schema::<Problem>(schemas)});
                description += " Otherwise: there is no such call.";
            }
            _ => {}
        }
        responses[&status] = json!({"description": description, "content": content});
    }
    json!({
        "operationId": call.name(),
        "summary": summary(call),
        "description": about,
        "parameters": [{"$ref": "#/components/parameters/ErrorMode"}],
        "requestBody": {
            "required": true,
            "content": {"application/json": {"schema": takes, "example": request}},
        },
        "responses": responses,
    })
}

fn summary(call: Call) -> &'static str {
    match call {
        Call::Publish => "Publishes in one channel",
        Call::Broadcast => "Publishes in many channels",
        Call::Subscribe => "Subscribes connections",
        Call::Unsubscribe => "Ends subscriptions of connections",
        Call::Disconnect => "Ends connections",
        Call::Refresh => "Changes how long connections last, and what others see of them",
        Call::RevokeToken => "Revokes a token",
        Call::InvalidateUserTokens => "Revokes the tokens of a user",
        Call::Presence => "Tells who is in a channel",
        Call::PresenceStats => "Tells how many are in a channel",
        Call::History => "Tells what was published in a channel",
        Call::HistoryRemove => "Forgets what was published in a channel",
        Call::Channels => "Tells which channels have subscribers",
        Call::Info => "Tells how the nodes are",
        Call::Rpc => "Calls an extension of the server",
        Call::Batch => "Makes several calls",
    }
}

fn describe(call: Call, schemas: &mut Schemas) -> Description {
    const ID: &str = "9336a229-2400-4ebc-8c50-0a643d22e8a0";
    let s = schemas;
    let (takes, answers, about, request, response) = match call {
        Call::Publish => (
            schema::<PublishRequest>(s),
            schema::<PublishResult>(s),
            "Also where a rule closes the channel to clients, and whether or not anybody hears it. 102 where no rule knows the channel.",
            json!({"channel": "room-1", "data": {"text": "hello"}, "idempotency_key": "order-7"}),
            json!({}),
        ),
        Call::Broadcast => (
            schema::<BroadcastRequest>(s),
            schema::<BroadcastResult>(s),
            "One that fails stops no other.",
            json!({"channels": ["room-1", "else"], "data": {"text": "hello"}}),
            json!({"responses": [{"result": {}}, {"error": ApiError::UnknownChannel.object()}]}),
        ),
        Call::Subscribe => (
            schema::<SubscribeRequest>(s),
            schema::<Done>(s),
            "They are told by a push. Those that have the channel already are left alone. 108 where a rule closes the channel to every client.",
            json!({"user": "anna", "channel": "room-1", "data": {"topic": "gardens"}}),
            json!({}),
        ),
        Call::Unsubscribe => (
            schema::<UnsubscribeRequest>(s),
            schema::<Done>(s),
            "They are told by a push with code 2000.",
            json!({"user": "anna", "channel": "room-1"}),
            json!({}),
        ),
        Call::Disconnect => (
            schema::<DisconnectRequest>(s),
            schema::<Done>(s),
            "Also succeeds when nobody was meant.",
            json!({"user": "anna", "whitelist": [ID], "disconnect": {"code": 4501, "reason": "signed in elsewhere"}}),
            json!({}),
        ),
        Call::Refresh => (
            schema::<RefreshRequest>(s),
            schema::<Done>(s),
            "Without `expire_at` they last for good.",
            json!({"user": "anna", "expire_at": 1_900_000_000}),
            json!({}),
        ),
        Call::RevokeToken => (
            schema::<RevokeTokenRequest>(s),
            schema::<Done>(s),
            "No node believes it from now on. Who is connected with it is closed with 3014, and its subscriptions end with 2502: client libraries \
             come back with a new token, if they can have one.",
            json!({"uid": "5f7b2a", "expire_at": 1_900_000_000}),
            json!({}),
        ),
        Call::InvalidateUserTokens => (
            schema::<InvalidateUserTokensRequest>(s),
            schema::<Done>(s),
            "As `revoke_token`, for all tokens that the user was given before.",
            json!({"user": "anna"}),
            json!({}),
        ),
        Call::Presence => (
            schema::<PresenceRequest>(s),
            schema::<PresenceResult>(s),
            "108 where the channel's rule keeps no presence.",
            json!({"channel": "room-1"}),
            json!({"presence": {ID: {"user": "anna", "client": ID, "conn_info": {"name": "Anna"}}}}),
        ),
        Call::PresenceStats => (
            schema::<PresenceRequest>(s),
            schema::<PresenceStatsResult>(s),
            "108 where the channel's rule keeps no presence.",
            json!({"channel": "room-1"}),
            json!({"num_clients": 2, "num_users": 1}),
        ),
        Call::History => (
            schema::<HistoryRequest>(s),
            schema::<HistoryResult>(s),
            "No channel keeps a history yet, so this is answered 108.",
            json!({"channel": "room-1", "limit": 10}),
            json!({"publications": [{"data": {"text": "hello"}, "offset": 4}], "epoch": "e1", "offset": 4}),
        ),
        Call::HistoryRemove => (
            schema::<HistoryRemoveRequest>(s),
            schema::<Done>(s),
            "No channel keeps a history yet, so this is answered 108.",
            json!({"channel": "room-1"}),
            json!({}),
        ),
        Call::Channels => (
            schema::<ChannelsRequest>(s),
            schema::<ChannelsResult>(s),
            "Asks every node, so it is nothing to do often.",
            json!({"pattern": "room-*"}),
            json!({"channels": {"room-1": {"num_clients": 2}}}),
        ),
        Call::Info => (
            schema::<InfoRequest>(s),
            schema::<InfoResult>(s),
            "Asks every node.",
            json!({}),
            json!({"nodes": [{
                "uid": ID, "name": "a", "version": "0.1.0", "num_clients": 2, "num_users": 1, "num_channels": 1, "num_subs": 2, "uptime": 60,
                "process": {"cpu": 1.5, "rss": 12_582_912},
            }]}),
        ),
        Call::Rpc => (
            schema::<RpcRequest>(s),
            schema::<RpcResult>(s),
            "There is no method yet, so this is answered 104.",
            json!({"method": "weather", "params": {"city": "Ulm"}}),
            json!({"data": {"degrees": 21}}),
        ),
        Call::Batch => (
            schema::<BatchRequest>(s),
            schema::<BatchResponse>(s),
            "A call that fails stops no other. The key must be for every call in it, or nothing is done. More than 1,000 commands are answered 107.",
            json!({"commands": [{"publish": {"channel": "room-1", "data": {}}}, {"foo": {}}]}),
            json!({"replies": [{"publish": {}}, {"error": ApiError::NotFound.object()}]}),
        ),
    };
    Description {
        takes,
        answers,
        example: (request, response),
        about,
    }
}

/// Every error of the API, as it stands on the wire.
fn errors(schemas: &mut Schemas) -> BTreeMap<String, Value> {
    let codes: Vec<_> = ApiError::ALL.iter().map(|error| error.object().code).collect();
    let name = ErrorObject::name().into_owned();
    if let Some(object) = schemas.get_mut(&name) {
        object["properties"]["code"]["enum"] = json!(codes);
    }
    let example = |error: ApiError| {
        let value = json!({"value": {"error": error.object()}});
        (format!("Error{}", error.object().code), value)
    };
    ApiError::ALL.into_iter().map(example).collect()
}

fn problem_name(fault: Fault) -> String {
    format!("Problem{}", fault.status().as_str())
}

fn problem(fault: Fault, schemas: &mut Schemas) -> (String, Value) {
    let (status, detail) = (fault.status(), fault.detail());
    let example = json!({
        "type": "about:blank", "title": status.canonical_reason(), "status": status.as_u16(), "detail": detail,
    });
    let response = json!({
        "description": format!("{}{}.", detail[..1].to_uppercase(), &detail[1..]),
        "content": {"application/problem+json": {"schema": schema::<Problem>(schemas), "example": example}},
    });
    (problem_name(fault), response)
}

const _: () = assert!(MOST_COMMANDS == 1000, "the description says how many");
