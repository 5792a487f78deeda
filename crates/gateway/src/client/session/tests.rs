//! Conversations as tables: a message, and what is to be done about it, in words.

use std::time::{Duration, SystemTime};

use protocol::dialect::{Carrier, Format};
use protocol::event::Unsubscribed;
use protocol::frame::{Kind, Message};
use protocol::{Dialect, Encoding, Event};
use serde_json::{Value, json};

use super::*;
use crate::backend::{Connection, Failure, Publication, Question, Renewal, Reply, Subscription as Granted, Verdict};
use crate::client::Notice;
use crate::config::{ChannelRule, Publish, Subscribe};
use crate::config::{Config, Secret};
use crate::token::create::create;
use crate::token::revocation::Revocation;

mod arrival;
mod consult;
mod orders;
mod revoked;
mod subscriptions;

/// A session, the clock that it is told, and the settings that its tokens are made by.
struct Talk {
    session: Session,
    at: Moment,
    config: Config,
}

fn config() -> Config {
    let rule = |pattern: &str, subscribe, publish| ChannelRule {
        r#match: pattern.parse().expect("a pattern"),
        subscribe,
        publish,
        ..ChannelRule::default()
    };
    let mut config = Config {
        channels: vec![
            ChannelRule {
                presence: true,
                join_leave: true,
                ..rule("lobby", Subscribe::Anyone, Publish::Subscribers)
            },
            rule("closed", Subscribe::Nobody, Publish::Nobody),
            rule("members", Subscribe::Token, Publish::Token),
            ChannelRule {
                message_size: Some(4),
                publish_rate: 1,
                ..rule("small", Subscribe::Anyone, Publish::Subscribers)
            },
            rule("?", Subscribe::Anyone, Publish::Subscribers),
        ],
        ..Config::default()
    };
    config.centrifuge.anonymous = true;
    config.centrifuge.channels = 2;
    config.tokens.hmac_secret = Some(Secret::new("a secret"));
    config
}

impl Talk {
    fn by(config: Config) -> Self {
        let (tokens, _) = Verifier::new(&config.tokens).expect("keys");
        let terms = Terms {
            rules: Arc::new(ChannelRules::new(&config)),
            settings: config.centrifuge.clone(),
            rates: config.rates.clone(),
            tokens: Arc::new(tokens),
            node: Uuid::nil(),
            backend: Backend::new(&config.backend, &prometheus::Registry::new())
                .expect("a backend")
                .map(Arc::new),
            untold: Arc::default(),
        };
        let origin = Arc::clone(&terms.untold);
        Self {
            session: Session::new(Arc::new(terms), origin),
            at: Moment::now(),
            config,
        }
    }

    fn new() -> Self {
        Self::by(config())
    }

    /// Of a client that is known.
    fn known() -> Self {
        let mut talk = Self::new();
        talk.says(CONNECT);
        talk
    }

    /// What is to be done about a message, in words.
    fn says(&mut self, message: impl Into<String>) -> Vec<String> {
        let message = Message {
            kind: Kind::Text,
            data: message.into().into(),
        };
        let mut actions = Vec::new();
        let requests = Dialect::Centrifuge(Format::Json, Carrier::Frames).decode(message, 64);
        self.session.receive(requests, self.at, &mut actions);
        actions.iter().map(words).collect()
    }

    fn asks(&mut self, command: &Value) -> Vec<String> {
        self.says(command.to_string())
    }

    fn hears(&mut self, channel: &str, request: u32) -> Vec<String> {
        let mut actions = Vec::new();
        let channel = Channel::parse(channel).expect("valid");
        self.session.heard(&channel, request, self.at, &mut actions);
        actions.iter().map(words).collect()
    }

    fn obeys(&mut self, order: Order) -> Vec<String> {
        let mut actions = Vec::new();
        self.session.obey(order, self.at, &mut actions);
        actions.iter().map(words).collect()
    }

    fn expires(&mut self) -> Vec<String> {
        let mut actions = Vec::new();
        self.session.expire(self.at, &mut actions);
        actions.iter().map(words).collect()
    }

    /// What the backend says to question `number`.
    fn is_told(&mut self, number: u32, word: Result<Verdict<Reply>, Failure>) -> Vec<String> {
        let mut actions = Vec::new();
        self.session.consulted(number, word, self.at, &mut actions);
        actions.iter().map(words).collect()
    }

    fn fails(&mut self, request: u32) -> Vec<String> {
        let mut actions = Vec::new();
        let result = Err(CommandError::Internal);
        self.session.answered(request, result, &mut actions);
        actions.iter().map(words).collect()
    }

    /// A token that expires in so many seconds.
    fn token(&self, seconds: i64, mut claims: Value) -> String {
        let now = self.at.wall.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        claims["exp"] = json!(i64::try_from(now.as_secs()).expect("a time") + seconds);
        let claims = claims.as_object().expect("claims");
        create(claims, &self.config.tokens).expect("a secret")
    }

    fn wait(&mut self, seconds: u64) {
        self.at.now += Duration::from_secs(seconds);
        self.at.wall += Duration::from_secs(seconds);
    }
}

fn words(action: &Action) -> String {
    let told = |event: &Event<'_>| {
        let frame = Encoding::CentrifugeJson.encode(event);
        let text = String::from_utf8_lossy(&frame).into_owned();
        text[text.find('{').expect("JSON")..].to_owned()
    };
    match action {
        Action::Answer {
            result: Ok(Answer::Connected(connected)),
            ..
        } => {
            let expires = connected
                .expires
                .map_or(String::new(), |expires| format!(" for {} s", expires.as_secs()));
            let channels: Vec<_> = connected.subscriptions.keys().map(Channel::as_str).collect();
            format!("welcome{expires} {channels:?}").replace(" []", "")
        }
        Action::Answer {
            request,
            result: Ok(Answer::Refreshed { expires }),
        } => format!("refreshed {request} for {:?}", expires.map(|expires| expires.as_secs())),
        Action::Answer { request, result } => {
            let (id, result) = (*request, result.as_ref());
            told(&Event::Answer { id, result })
        }
        Action::Tell(Notice::Subscribed { channel, subscribed }) => told(&Event::Subscribed { channel, subscribed }),
        Action::Tell(Notice::Unsubscribed { channel, why }) => told(&Event::Unsubscribed { channel, why }),
        Action::Tell(Notice::Refreshed { expires }) => told(&Event::Refreshed { expires: *expires }),
        Action::Subscribe { channel, request, .. } => format!("subscribe {channel} for {request}"),
        Action::Join { channel, hearing } => {
            let joins = if hearing.joins { " and who comes" } else { "" };
            format!("join {channel}{joins}")
        }
        Action::Unsubscribe { channel } => format!("unsubscribe {channel}"),
        Action::Publish { outgoing, answer } => format!("publish in {} for {answer:?}", outgoing.channel),
        Action::Attend(change) => format!(
            "{} {} {}",
            change.client.user,
            if change.comes { "enters" } else { "leaves" },
            change.channel
        ),
        Action::Read { channel, what, request } => format!("read {what:?} of {channel} for {request}"),
        Action::Consult { call, number } => {
            let about = match &call.question {
                Question::Subscribe { channel, .. } | Question::SubRefresh { channel } => format!(" {channel}"),
                Question::Publish { channel, data } => format!(" {data:?} in {channel}"),
                Question::Rpc { method, .. } => format!(" {method}"),
                Question::Connect { .. } | Question::Refresh => String::new(),
            };
            format!(
                "question {number} of {:?}: {}{about}",
                call.caller.user,
                call.question.event().label()
            )
        }
        Action::Known { user, .. } => format!("known as {user:?}"),
        other => format!("{other:?}"),
    }
}

const CONNECT: &str = r#"{"id":1,"connect":{}}"#;

fn error(id: u32, code: u32, message: &str) -> Vec<String> {
    vec![format!(
        r#"{{"id":{id},"error":{{"code":{code},"message":"{message}"}}}}"#
    )]
}

#[test]
fn presence_is_for_those_who_are_there() {
    let mut talk = Talk::known();
    let presence = r#"{"id":3,"presence":{"channel":"lobby"}}"#;
    assert_eq!(talk.says(presence), error(3, 103, "permission denied"));
    assert_eq!(
        talk.says(r#"{"id":3,"presence":{"channel":"a"}}"#),
        error(3, 108, "not available")
    );
    talk.says(r#"{"id":2,"subscribe":{"channel":"lobby","join_leave":true}}"#);
    assert_eq!(
        talk.hears("lobby", 2),
        [
            "join lobby and who comes",
            r#"{"id":2,"subscribe":{}}"#,
            " enters lobby"
        ]
    );
    assert_eq!(talk.says(presence), ["read Members of lobby for 3"]);
    let stats = talk.says(r#"{"id":4,"presence_stats":{"channel":"lobby"}}"#);
    assert_eq!(stats, ["read Count of lobby for 4"]);
    let left = talk.says(r#"{"id":5,"unsubscribe":{"channel":"lobby"}}"#);
    assert_eq!(
        left,
        ["unsubscribe lobby", " leaves lobby", r#"{"id":5,"unsubscribe":{}}"#]
    );
}

#[test]
fn who_is_gone_has_left_its_channels() {
    let mut talk = Talk::known();
    talk.says(r#"{"id":2,"subscribe":{"channel":"lobby"}}"#);
    talk.hears("lobby", 2);
    talk.says(r#"{"id":3,"subscribe":{"channel":"a"}}"#);
    let mut actions = Vec::new();
    talk.session.leave(&mut actions);
    talk.session.leave(&mut actions);
    assert_eq!(actions.iter().map(words).collect::<Vec<_>>(), [" leaves lobby"]);
}

#[test]
fn a_rule_limits_publications() {
    let mut talk = Talk::known();
    talk.says(r#"{"id":2,"subscribe":{"channel":"small"}}"#);
    talk.hears("small", 2);
    let publish = |data: &str| format!(r#"{{"id":3,"publish":{{"channel":"small","data":{data}}}}}"#);
    assert_eq!(talk.says(publish("12345")), error(3, 106, "limit exceeded"));
    for _ in 0..2 {
        assert_eq!(talk.says(publish("1234")), ["publish in small for Some(3)"]);
    }
    let many = [r#"{"id":3,"error":{"code":111,"message":"too many requests","temporary":true}}"#];
    assert_eq!(talk.says(publish("1234")), many);
    talk.wait(1);
    assert_eq!(talk.says(publish("1234")), ["publish in small for Some(3)"]);
}

#[test]
fn commands_have_rates_by_kind_and_a_bound() {
    let mut config = config();
    config.rates.read = 1;
    config.rates.burst = Duration::from_secs(2);
    config.centrifuge.pending_commands = 1;
    let mut talk = Talk::by(config);
    talk.says(CONNECT);
    let history = r#"{"id":2,"history":{"channel":"a"}}"#;
    for expected in [108, 108, 111] {
        assert!(talk.says(history)[0].contains(&format!(r#""code":{expected}"#)));
    }
    assert_eq!(
        talk.says(r#"{"id":3,"subscribe":{"channel":"a"}}"#),
        ["subscribe a for 3"],
        "another kind"
    );
    let many = [r#"{"id":4,"error":{"code":111,"message":"too many requests","temporary":true}}"#];
    assert_eq!(
        talk.says(r#"{"id":4,"subscribe":{"channel":"b"}}"#),
        many,
        "one waits already"
    );
    talk.hears("a", 3);
    assert_eq!(
        talk.says(r#"{"id":4,"subscribe":{"channel":"b"}}"#),
        ["subscribe b for 4"]
    );
    talk.fails(4);
    assert_eq!(
        talk.says(r#"{"id":4,"subscribe":{"channel":"b"}}"#),
        ["subscribe b for 4"]
    );
}
