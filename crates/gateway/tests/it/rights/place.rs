//! Where the table of rights is tried: two gateways of both transports on one Redis, an application behind them, and a rule for each kind
//! of channel.
//!
//! Knows the rules, and not what should come of them. Invariant: the two gateways have the same settings.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use gateway::config::{Carriage, Config, Secret, Transport};
use gateway::config::{ChannelRule, Publish, Subscribe};
use serde_json::{Value, json};

use crate::api::{KEY, call};
use crate::backend::{Application, asking};
use crate::support::{PATIENCE, Redis, Server, config_on};
use crate::tokens::SECRET;

/// The channel that everybody is in who is known.
pub(super) const FENCE: &str = "fence";

pub(super) struct Place {
    pub(super) application: Application,
    pub(super) servers: [Server; 2],
}

impl Place {
    pub(super) fn on(redis: &Redis, change: impl Fn(&mut Config)) -> Self {
        let application = Application::start(decide);
        let servers = [Transport::Reactor, Transport::Attached].map(|transport| {
            let mut config = asking(&application, with_rules(config_on(redis, transport)));
            change(&mut config);
            Server::start(config)
        });
        Self { application, servers }
    }

    /// Publishes in all of these channels. A rule closes a channel to clients, not to servers; only one that no rule knows is closed to
    /// them too.
    #[track_caller]
    pub(super) fn broadcast(&self, channels: &[&str], data: &Value) {
        let takes = json!({"channels": channels, "data": data});
        let answer = call(&self.servers[0], "broadcast", &takes);
        let responses = answer["result"]["responses"].as_array().expect("responses");
        for (channel, response) in channels.iter().zip(responses) {
            let is_published = response.get("result").is_some();
            assert!(is_published || channel.starts_with("unknown"), "{channel}: {response}");
        }
    }

    /// Which channels with that in their names somebody is in, anywhere.
    #[track_caller]
    pub(super) fn channels_with(&self, part: &str) -> Vec<String> {
        let answer = call(&self.servers[0], "channels", &json!({}));
        let channels = answer["result"]["channels"].as_object().expect("channels");
        channels.keys().filter(|name| name.contains(part)).cloned().collect()
    }
}

/// `kind-*` has the rule of that name.
fn with_rules(mut config: Config) -> Config {
    let rule = |pattern: &str, subscribe, publish| ChannelRule {
        r#match: pattern.parse().expect("a pattern"),
        subscribe,
        publish,
        presence: true,
        ..ChannelRule::default()
    };
    config.admin.api_key = Some(Secret::new(KEY));
    config.tokens.hmac_secret = Some(Secret::new(SECRET));
    config.centrifuge.transports = Carriage::ALL.to_vec();
    // Whoever was refused when it connected is gone after that.
    config.centrifuge.connect_timeout = Duration::from_secs(2);
    config.channels = vec![
        rule("closed-*", Subscribe::Nobody, Publish::Nobody),
        rule("token-*", Subscribe::Token, Publish::Token),
        rule("refused-*", Subscribe::Backend, Publish::Backend),
        rule("agreed-*", Subscribe::Backend, Publish::Backend),
        rule("$private-*", Subscribe::Anyone, Publish::Subscribers),
        ChannelRule {
            user_limited: true,
            ..rule("listed-*", Subscribe::Anyone, Publish::Subscribers)
        },
        rule("open-*", Subscribe::Anyone, Publish::Subscribers),
        rule("servers-*", Subscribe::Anyone, Publish::Nobody),
        rule("bearers-*", Subscribe::Anyone, Publish::Token),
        rule("censored-*", Subscribe::Anyone, Publish::Backend),
        rule("approved-*", Subscribe::Anyone, Publish::Backend),
        rule("everybody-*", Subscribe::Anyone, Publish::Anyone),
        ChannelRule {
            presence: false,
            ..rule("unseen-*", Subscribe::Anyone, Publish::Subscribers)
        },
        rule(FENCE, Subscribe::Anyone, Publish::Nobody),
    ];
    config
}

/// What the application says: whoever connects gets what it asks for, and two kinds of channels are not for clients.
fn decide(event: &str, question: &Value) -> Value {
    let channel = question["channel"].as_str().unwrap_or_default();
    let is_refused = channel.starts_with("refused-") || channel.starts_with("censored-");
    match event {
        "connect" => json!({"result": question["data"]}),
        "subscribe" | "publish" if is_refused => json!({"error": {"code": 403, "message": "no"}}),
        _ => json!({}),
    }
}

/// Somebody at Redis who hears all publications there, in whatever channel. What nodes tell each other is none, such as commands on their
/// way.
pub(super) struct Tap {
    stream: TcpStream,
    heard: Vec<u8>,
}

impl Tap {
    #[track_caller]
    pub(super) fn on(redis: &Redis) -> Self {
        let mut stream = TcpStream::connect(redis.address()).expect("Redis");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream
            .write_all(b"PSUBSCRIBE fanfare:channel:* chat-channel\r\n")
            .expect("it reads");
        let mut tap = Self {
            stream,
            heard: Vec::new(),
        };
        tap.hears_until("chat-channel");
        tap
    }

    /// All that it hears up to that text.
    #[track_caller]
    pub(super) fn hears_until(&mut self, last: &str) -> String {
        loop {
            let heard = String::from_utf8_lossy(&self.heard).into_owned();
            if heard.contains(last) {
                self.heard.clear();
                return heard;
            }
            let mut bytes = [0; 4096];
            let count = self.stream.read(&mut bytes).expect("what is published");
            assert!(count > 0, "the end");
            self.heard.extend_from_slice(&bytes[..count]);
        }
    }
}
