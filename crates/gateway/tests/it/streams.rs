//! Clients without a WebSocket: what they hear is the body of an answer, what they say comes to any gateway; and clients that only hear.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use gateway::config::{Carriage, Config, Transport};
use gateway::config::{ChannelRule, Publish, Subscribe};
use protocol::frame::client;
use serde_json::{Value, json};

use crate::support::{Answer, MASK, PATIENCE, Redis, Server, ask, config, config_on, on_both_transports};

fn open(mut config: Config) -> Config {
    config.centrifuge.anonymous = true;
    config.centrifuge.transports = Carriage::ALL.to_vec();
    config.channels = vec![ChannelRule {
        r#match: "room-*".parse().expect("a pattern"),
        subscribe: Subscribe::Anyone,
        publish: Publish::Subscribers,
        ..ChannelRule::default()
    }];
    config
}

/// The body of an answer that does not end by itself, piece by piece.
pub(crate) struct Stream {
    reader: BufReader<TcpStream>,
    head: String,
    /// What of the current chunk is still to come.
    left: usize,
}

impl Stream {
    #[track_caller]
    pub(crate) fn open(address: SocketAddr, request: &str) -> Self {
        let mut stream = TcpStream::connect(address).expect("a listener");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).expect("a head") > 0, "{head}");
        }
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        Self { reader, head, left: 0 }
    }

    /// The next byte of the body; `None` at its end.
    fn byte(&mut self) -> Option<u8> {
        if self.left == 0 {
            let mut size = String::new();
            while size.trim().is_empty() {
                if self.reader.read_line(&mut size).expect("a chunk") == 0 {
                    return None;
                }
            }
            self.left = usize::from_str_radix(size.trim(), 16).expect("a size");
            if self.left == 0 {
                return None;
            }
        }
        let mut byte = [0];
        self.reader.read_exact(&mut byte).expect("a chunk");
        self.left -= 1;
        Some(byte[0])
    }

    /// The next line that is not empty; `None` at the end.
    fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        loop {
            match self.byte() {
                Some(b'\n') if line.iter().all(u8::is_ascii_whitespace) => line.clear(),
                Some(b'\n') => return Some(String::from_utf8(line).expect("text")),
                Some(byte) => line.push(byte),
                None => return None,
            }
        }
    }

    /// The next message, on a line or as an event.
    #[track_caller]
    pub(crate) fn told(&mut self) -> Value {
        self.told_or_end().expect("a message")
    }

    /// The same; `None` at the end.
    #[track_caller]
    pub(crate) fn told_or_end(&mut self) -> Option<Value> {
        let line = self.line()?;
        Some(serde_json::from_str(line.strip_prefix("data: ").unwrap_or(&line)).expect("JSON"))
    }
}

pub(crate) fn post(path: &str, content_type: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: gateway.test\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
}

/// Says something for a connection that is a stream.
#[track_caller]
pub(crate) fn says(address: SocketAddr, welcome: &Value, commands: &[Value]) -> Answer {
    let data: Vec<String> = commands.iter().map(Value::to_string).collect();
    let body = json!({
        "session": welcome["session"], "node": welcome["node"], "data": data.join("\n")
    });
    ask(address, post("/emulation", "application/json", &body.to_string()))
}

const CONNECT: &str = r#"{"id":1,"connect":{}}"#;
/// The same, as a part of a URL.
const CONNECT_ENCODED: &str = "%7B%22id%22%3A1%2C%22connect%22%3A%7B%7D%7D";

on_both_transports! {
    a_conversation_by_streams
    who_only_hears
    requests_that_are_none
    a_drain_ends_streams_with_a_word
    who_does_not_answer_pings_is_gone
}

fn a_conversation_by_streams(transport: Transport) {
    let server = Server::start(open(config(transport)));
    let lines = Stream::open(
        server.address(),
        &post("/connection/http_stream", "application/json", CONNECT),
    );
    assert!(lines.head.contains("x-accel-buffering: no"), "{}", lines.head);
    let events = Stream::open(
        server.address(),
        &get(&format!("/connection/sse?cf_connect={CONNECT_ENCODED}")),
    );
    assert!(events.head.contains("text/event-stream"), "{}", events.head);
    let mut raw = server.client_of("/raw/room-1");
    let mut streams = [lines, events];
    for stream in &mut streams {
        let welcome = stream.told()["connect"].take();
        assert_eq!(welcome["pong"], json!(true));
        let subscribe = json!({"id": 2, "subscribe": {"channel": "room-1"}});
        let answer = says(server.address(), &welcome, &[subscribe]);
        assert_eq!((answer.status, answer.body.as_str()), (204, ""));
        assert_eq!(stream.told(), json!({"id": 2, "subscribe": {}}));
        let publish = json!({"id": 3, "publish": {"channel": "room-1", "data": {"a": 1}}});
        says(server.address(), &welcome, &[publish]);
        raw.expect(r#"{"a":1}"#);
        let both = [stream.told(), stream.told()];
        assert!(
            both.iter().any(|told| *told == json!({"id": 3, "publish": {}})),
            "{both:?}"
        );
        assert!(
            both.iter().any(|told| told["push"]["pub"]["data"] == json!({"a": 1})),
            "{both:?}"
        );
        if stream.head.contains("event-stream") {
            continue;
        }
        // The next stream publishes in the same channel.
        says(
            server.address(),
            &welcome,
            &[json!({"id": 4, "unsubscribe": {"channel": "room-1"}})],
        );
        assert_eq!(stream.told(), json!({"id": 4, "unsubscribe": {}}));
    }
    drop(streams);
    server.wait_for_metric("fanfare_connections", 1.0);
}

fn who_only_hears(transport: Transport) {
    let server = Server::start(open(config(transport)));
    // Whoever only hears is subscribed by its token; here by nobody.
    let mut lines = Stream::open(
        server.address(),
        &post("/connection/uni_http_stream", "application/json", "{}"),
    );
    let mut events = Stream::open(server.address(), &get("/connection/uni_sse"));
    for stream in [&mut lines, &mut events] {
        let connect = stream.told()["connect"].take();
        assert!(
            connect["session"].is_string() && connect.get("pong").is_none(),
            "{connect}"
        );
    }
    for path in [
        "/connection/uni_websocket?cf_connect=%7B%7D",
        "/connection/uni_websocket",
    ] {
        let mut socket = server.client_of(path);
        if !path.contains('?') {
            socket.send("{}");
        }
        let connect: Value = serde_json::from_str(&socket.text()).expect("JSON");
        assert!(connect["connect"]["client"].is_string(), "{connect}");
        // What it says further is not listened to.
        socket.send(r#"{"id":2,"subscribe":{"channel":"room-1"}}"#);
        socket.write(client::ping(b"1", MASK));
        assert!(
            socket
                .next()
                .is_some_and(|item| format!("{item:?}").starts_with("Pong"))
        );
        socket.leave();
    }
    let refused = post("/connection/uni_http_stream", "application/json", r#"{"token":"x"}"#);
    let mut refused = Stream::open(server.address(), &refused);
    assert_eq!(
        refused.told(),
        json!({"disconnect": {"code": 3500, "reason": "invalid token"}})
    );
    assert_eq!(refused.line(), None);
    let mut refused = server.client_of("/connection/uni_websocket");
    refused.send("[]");
    assert_eq!(refused.text(), r#"{"disconnect":{"code":3501,"reason":"bad request"}}"#);
    assert_eq!(refused.close().0, Some(3501));
}

fn requests_that_are_none(transport: Transport) {
    let server = Server::start(open(config(transport)));
    let long = "x".repeat(70_000);
    let nobody = r#"{"session":"00000000-0000-4000-8000-000000000000","node":"00000000-0000-4000-8000-000000000001","data":"{}"}"#;
    let json = "application/json";
    for (request, status) in [
        (post("/connection/http_stream", json, ""), 400),
        (post("/connection/http_stream", json, &long), 413),
        (get("/connection/http_stream"), 405),
        (get("/connection/sse"), 400),
        (get("/connection/uni_http_stream"), 405),
        (get("/emulation"), 405),
        (post("/emulation", json, "{"), 400),
        (post("/emulation", json, &long), 413),
        (post("/emulation", json, nobody), 404),
        (post("/emulation", json, &nobody.replace("-4000-8000-", "")), 404),
        (post("/emulation", "application/octet-stream", "\x09"), 400),
    ] {
        assert_eq!(ask(server.address(), &request).status, status, "{}", &request[..60]);
    }
    let options = "OPTIONS /emulation HTTP/1.1\r\nHost: gateway.test\r\nOrigin: http://gateway.test\r\n\r\n";
    let answer = ask(server.address(), options);
    assert_eq!(answer.status, 204);
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some("http://gateway.test")
    );
    let foreign = options.replace("Origin: http://gateway.test", "Origin: http://elsewhere.test");
    assert_eq!(ask(server.address(), foreign).status, 403);
    let foreign = post("/connection/http_stream", json, CONNECT)
        .replace("Content-Type", "Origin: http://elsewhere.test\r\nContent-Type");
    assert_eq!(ask(server.address(), foreign).status, 403);

    // Nothing of it is there unless the settings say so.
    let server = Server::start(config(transport));
    for path in ["/connection/http_stream", "/connection/uni_http_stream"] {
        assert_eq!(ask(server.address(), post(path, json, CONNECT)).status, 404, "{path}");
    }
}

fn a_drain_ends_streams_with_a_word(transport: Transport) {
    let mut config = open(config(transport));
    config.drain.delay = std::time::Duration::ZERO;
    config.drain.window = std::time::Duration::from_millis(100);
    let server = Server::start(config);
    let mut lines = Stream::open(
        server.address(),
        &post("/connection/http_stream", "application/json", CONNECT),
    );
    lines.told();
    let draining = server.drain();
    assert_eq!(
        lines.told(),
        json!({"push": {"disconnect": {"code": 3001, "reason": "shutdown"}}})
    );
    assert_eq!(lines.line(), None);
    draining.wait();
}

fn who_does_not_answer_pings_is_gone(transport: Transport) {
    let mut config = open(config(transport));
    config.centrifuge.ping_interval = std::time::Duration::from_secs(1);
    config.centrifuge.pong_timeout = std::time::Duration::from_millis(500);
    let server = Server::start(config);
    let mut lines = Stream::open(
        server.address(),
        &post("/connection/http_stream", "application/json", CONNECT),
    );
    let welcome = lines.told()["connect"].take();
    let mut silent = Stream::open(
        server.address(),
        &post("/connection/uni_http_stream", "application/json", "{}"),
    );
    silent.told();
    assert_eq!(lines.told(), json!({}));
    assert_eq!(says(server.address(), &welcome, &[json!({})]).status, 204);
    assert_eq!(lines.told(), json!({}));
    assert_eq!(lines.told()["push"]["disconnect"]["code"], json!(3012));
    assert_eq!(lines.line(), None);
    // Who only hears is not asked for an answer.
    for _ in 0..3 {
        assert_eq!(silent.told(), json!({}));
    }
}

#[test]
fn commands_may_come_to_any_gateway() {
    let redis = Redis::start();
    let servers = [Transport::Reactor, Transport::Attached].map(|kind| Server::start(open(config_on(&redis, kind))));
    for (home, other) in [(0, 1), (1, 0)] {
        let mut lines = Stream::open(
            servers[home].address(),
            &post("/connection/http_stream", "application/json", CONNECT),
        );
        let welcome = lines.told()["connect"].take();
        let subscribe = json!({"id": 2, "subscribe": {"channel": "room-1"}});
        let publish = json!({"id": 3, "publish": {"channel": "room-1", "data": home}});
        assert_eq!(says(servers[other].address(), &welcome, &[subscribe]).status, 204);
        assert_eq!(lines.told(), json!({"id": 2, "subscribe": {}}));
        assert_eq!(says(servers[other].address(), &welcome, &[publish]).status, 204);
        let both = [lines.told(), lines.told()];
        assert!(
            both.iter().any(|told| told["push"]["pub"]["data"] == json!(home)),
            "{both:?}"
        );
    }
}
