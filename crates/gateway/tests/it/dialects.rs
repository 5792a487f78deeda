//! One channel, and clients of every dialect at two gateways: whoever publishes, everybody gets everything once, in the same order.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use gateway::config::{Carriage, Config, Secret, Transport};
use gateway::config::{ChannelRule, Publish, Subscribe};
use protocol::frame::{Item, client};
use serde_json::{Value, json};

use crate::streams::{Stream, post, says};
use crate::support::{MASK, Redis, Server, Socket, ask, config_on};

const KEY: &str = "a key of the API, long enough";

fn open(mut config: Config) -> Config {
    config.admin.api_key = Some(Secret::new(KEY));
    config.centrifuge.anonymous = true;
    config.centrifuge.transports = Carriage::ALL.to_vec();
    config.channels = vec![ChannelRule {
        r#match: "room".parse().expect("a pattern"),
        subscribe: Subscribe::Anyone,
        publish: Publish::Subscribers,
        ..ChannelRule::default()
    }];
    config
}

/// Somebody who hears the channel, and may publish there.
enum Listener {
    Raw(Socket),
    Json(Socket),
    Protobuf(Socket),
    Events(Box<Stream>, Value),
}

impl Listener {
    fn raw(server: &Server, channel: &str) -> Self {
        Self::Raw(server.client_of(&format!("/raw/{channel}")))
    }

    fn json(server: &Server, channel: &str) -> Self {
        let mut socket = server.client_of("/connection/websocket");
        let subscribe = json!({"id": 2, "subscribe": {"channel": channel}});
        socket.send(format!("{}\n{subscribe}", json!({"id": 1, "connect": {}})));
        assert!(socket.text().contains("\"connect\""));
        assert_eq!(socket.text(), r#"{"id":2,"subscribe":{}}"#);
        Self::Json(socket)
    }

    fn protobuf(server: &Server, channel: &str) -> Self {
        let mut socket = server.client_of("/connection/websocket?cf_protocol=protobuf");
        let name = u8::try_from(channel.len()).expect("short");
        let mut commands = vec![4, 8, 1, 0x22, 0, name + 6, 8, 2, 0x2a, name + 2, 0x0a, name];
        commands.extend_from_slice(channel.as_bytes());
        socket.write(client::binary(&commands, MASK));
        for _ in 0..2 {
            assert!(matches!(socket.next(), Some(Item::Message(_))));
        }
        Self::Protobuf(socket)
    }

    fn events(server: &Server, channel: &str) -> Self {
        let connect = json!({"id": 1, "connect": {}}).to_string();
        let mut stream = Stream::open(server.address(), &post("/connection/sse", "application/json", &connect));
        let welcome = stream.told()["connect"].take();
        let subscribe = json!({"id": 2, "subscribe": {"channel": channel}});
        assert_eq!(says(server.address(), &welcome, &[subscribe]).status, 204);
        assert_eq!(stream.told(), json!({"id": 2, "subscribe": {}}));
        Self::Events(Box::new(stream), welcome)
    }

    /// Publishes; `server` is where a request may go.
    fn publish(&mut self, server: &Server, channel: &str, data: &Value) {
        let publish = json!({"id": 3, "publish": {"channel": channel, "data": data}});
        match self {
            Self::Raw(socket) => socket.send(data.to_string()),
            Self::Json(socket) => socket.send(publish.to_string()),
            Self::Protobuf(socket) => {
                let (name, data) = (channel.as_bytes(), data.to_string());
                let length = |bytes: usize| u8::try_from(bytes).expect("short");
                let mut request = vec![0x0a, length(name.len())];
                request.extend_from_slice(name);
                request.extend_from_slice(&[0x12, length(data.len())]);
                request.extend_from_slice(data.as_bytes());
                let mut command = vec![length(request.len()) + 4, 8, 3, 0x3a, length(request.len())];
                command.extend_from_slice(&request);
                socket.write(client::binary(&command, MASK));
            }
            Self::Events(_, welcome) => assert_eq!(says(server.address(), welcome, &[publish]).status, 204),
        }
    }

    /// The next payload; answers to its own publications are passed over.
    #[track_caller]
    fn hears(&mut self) -> Value {
        loop {
            let told: Value = match self {
                Self::Raw(socket) => return serde_json::from_str(&socket.text()).expect("JSON"),
                Self::Json(socket) => serde_json::from_str(&socket.text()).expect("JSON"),
                Self::Events(stream, _) => stream.told(),
                Self::Protobuf(socket) => {
                    let Some(Item::Message(message)) = socket.next() else {
                        panic!("no message")
                    };
                    // The payload is the one thing in braces.
                    let text = String::from_utf8_lossy(&message.data).into_owned();
                    match (text.find('{'), text.find('}')) {
                        (Some(from), Some(to)) => return serde_json::from_str(&text[from..=to]).expect("JSON"),
                        _ => continue,
                    }
                }
            };
            if let Some(publication) = told.get("push") {
                return publication["pub"]["data"].clone();
            }
        }
    }
}

fn by_api(server: &Server, channel: &str, data: &Value) {
    let body = json!({"channel": channel, "data": data}).to_string();
    let request = format!(
        "POST /api/publish HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = ask(server.admin(), request);
    assert!(answer.status == 200 && answer.body.contains("result"), "{answer:?}");
}

/// Clients of four dialects at each of two gateways, of which each publishes, and so does the API; and on a bare channel redis-cli.
#[track_caller]
fn everybody_hears_everything(channel: &str, by_redis: bool) {
    let redis = Redis::start();
    let servers = [Transport::Reactor, Transport::Attached].map(|kind| Server::start(open(config_on(&redis, kind))));
    let kinds = [Listener::raw, Listener::json, Listener::protobuf, Listener::events];
    let mut listeners: Vec<(usize, Listener)> = Vec::new();
    for (at, server) in servers.iter().enumerate() {
        listeners.extend(kinds.iter().map(|kind| (at, kind(server, channel))));
    }
    const EACH: u32 = 5;
    let mut publishers = listeners.len();
    for number in 0..EACH {
        let data = |publisher: usize| json!({"by": publisher, "n": number});
        for (publisher, (at, listener)) in listeners.iter_mut().enumerate() {
            // A request may go to any gateway.
            listener.publish(&servers[1 - *at], channel, &data(publisher));
        }
        publishers = listeners.len() + 1;
        by_api(&servers[0], channel, &data(publishers - 1));
        if by_redis {
            publishers += 1;
            // As another program may write it.
            redis.publish(channel, &format!("{:#}", data(publishers - 1)));
        }
    }
    let total = publishers * EACH as usize;
    let began = Instant::now();
    for (number, (_, listener)) in listeners.iter_mut().enumerate() {
        let mut next: BTreeMap<u64, u64> = BTreeMap::new();
        for _ in 0..total {
            let heard = listener.hears();
            let (by, n) = (
                heard["by"].as_u64().expect("a publisher"),
                heard["n"].as_u64().expect("a number"),
            );
            let expected = next.entry(by).or_default();
            assert_eq!(n, *expected, "listener {number} hears publisher {by} out of order");
            *expected += 1;
        }
        assert!(next.values().all(|next| *next == u64::from(EACH)), "{next:?}");
    }
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn in_a_channel_of_a_rule() {
    everybody_hears_everything("room", false);
}

#[test]
fn in_the_bare_channel() {
    everybody_hears_everything("chat-channel", true);
}
