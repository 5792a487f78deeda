//! The server API, asked of one gateway and felt by real clients of another, over a real Redis.

use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gateway::config::{ChannelRule, Publish, Subscribe};
use gateway::config::{Config, Secret, Transport};
use serde_json::{Value, json};

use crate::support::{Answer, Redis, Server, Socket, ask, ask_on, config_on};
use crate::tokens::{SECRET, token};

mod description;
mod members;
mod orders;
mod publications;
mod refusals;
mod tokens;

pub(crate) const KEY: &str = "a key of the API, long enough";

/// Clients need tokens, `room-*` is open, `closed-*` is closed to them, and in `seats-*` it is known who is there.
fn with_rules(mut config: Config) -> Config {
    let rule = |pattern: &str, subscribe| ChannelRule {
        r#match: pattern.parse().expect("a pattern"),
        subscribe,
        publish: Publish::Nobody,
        ..ChannelRule::default()
    };
    config.admin.api_key = Some(Secret::new(KEY));
    config.tokens.hmac_secret = Some(Secret::new(SECRET));
    config.centrifuge.channels = 1000;
    config.channels = vec![
        rule("room-*", Subscribe::Anyone),
        rule("closed-*", Subscribe::Nobody),
        ChannelRule {
            presence: true,
            ..rule("seats-*", Subscribe::Anyone)
        },
    ];
    config
}

fn configured(redis: &Redis) -> Config {
    with_rules(config_on(redis, Transport::Reactor))
}

/// Two gateways on one Redis: one is asked, the other has the clients.
struct Pair {
    redis: Redis,
    asked: Server,
    other: Server,
}

impl Pair {
    #[track_caller]
    fn start() -> Self {
        let redis = Redis::start();
        let (asked, other) = (Server::start(configured(&redis)), Server::start(configured(&redis)));
        Self { redis, asked, other }
    }

    /// The result of a call.
    #[track_caller]
    fn call(&self, method: &str, takes: &Value) -> Value {
        result(&self.asked, method, takes)
    }

    /// Asks for the same until the answer is as expected: nodes hear of each other, and clients obey, a moment later.
    #[track_caller]
    fn call_until(&self, method: &str, takes: &Value, is_right: impl Fn(&Value) -> bool) -> Value {
        crate::support::wait_for(method, || Some(self.call(method, takes)).filter(&is_right))
    }
}

/// A request as it stands on the wire.
fn request(method: &str, headers: &[(&str, &str)], body: &str) -> String {
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let length = body.len();
    format!("POST /api/{method} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
}

#[track_caller]
fn post(server: &Server, method: &str, body: &str) -> Answer {
    ask(server.admin(), request(method, &[("X-API-Key", KEY)], body))
}

/// The body of an answer of status 200.
#[track_caller]
pub(crate) fn call(server: &Server, method: &str, takes: &Value) -> Value {
    json_of(&post(server, method, &takes.to_string()))
}

#[track_caller]
fn json_of(answer: &Answer) -> Value {
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/json")),
        "{answer:?}"
    );
    serde_json::from_str(&answer.body).expect("JSON")
}

#[track_caller]
fn result(server: &Server, method: &str, takes: &Value) -> Value {
    let mut body = call(server, method, takes);
    let members = body.as_object().expect("an object");
    assert_eq!(members.keys().collect::<Vec<_>>(), ["result"], "{body}");
    body["result"].take()
}

#[track_caller]
fn error_code(server: &Server, method: &str, takes: &Value) -> u64 {
    let body = call(server, method, takes);
    assert_eq!(body.as_object().map(serde_json::Map::len), Some(1), "{body}");
    body["error"]["code"].as_u64().unwrap_or_else(|| panic!("{body}"))
}

/// A Centrifuge client of a user, and its id.
#[track_caller]
fn client_of(server: &Server, user: &str) -> (Socket, String) {
    let mut socket = server.client_of("/connection/websocket");
    let connect = json!({"id": 1, "connect": {"token": token(600, json!({"sub": user}))}});
    socket.send(connect.to_string());
    let answer = told(&mut socket);
    let id = answer["connect"]["client"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer}"));
    (socket, id.to_owned())
}

#[track_caller]
fn subscribe(socket: &mut Socket, channel: &str) {
    socket.send(json!({"id": 2, "subscribe": {"channel": channel}}).to_string());
    assert_eq!(told(socket), json!({"id": 2, "subscribe": {}}));
}

#[track_caller]
fn told(socket: &mut Socket) -> Value {
    serde_json::from_str(&socket.text()).expect("JSON")
}

fn seconds_from_now(seconds: u64) -> u64 {
    let time = SystemTime::now() + Duration::from_secs(seconds);
    time.duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}
