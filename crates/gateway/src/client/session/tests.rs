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
fn the_first_command_says_who_it_is() {
    assert_eq!(Talk::new().says(CONNECT), [r#"known as """#, "welcome"]);
    assert_eq!(
        Talk::new().says(r#"{"id":1,"subscribe":{"channel":"a"}}"#),
        ["Close(BadRequest)"]
    );
    assert_eq!(Talk::known().says(CONNECT), ["Close(BadRequest)"]);
    assert_eq!(
        Talk::new().says(r#"{"id":1,"connect":{"token":"t"}}"#),
        ["Close(InvalidToken)"]
    );
}

#[test]
fn a_token_says_who_it_is() {
    let mut talk = Talk::new();
    let token = talk.token(60, json!({"sub": "anna"}));
    let welcome = talk.asks(&json!({"id": 1, "connect": {"token": token}}));
    assert_eq!(welcome[0], r#"known as "anna""#);
    assert!(
        welcome[1].starts_with("welcome for 59 s") || welcome[1].starts_with("welcome for 60 s"),
        "{welcome:?}"
    );

    let mut talk = Talk::new();
    let token = talk.token(-1, json!({"sub": "anna"}));
    let late = talk.asks(&json!({"id": 1, "connect": {"token": token}}));
    assert_eq!(late, error(1, 109, "token expired"));

    let mut talk = Talk::new();
    let token = talk.token(60, json!({"sub": "anna", "channel": "a"}));
    let wrong = talk.asks(&json!({"id": 1, "connect": {"token": token}}));
    assert_eq!(wrong, ["Close(InvalidToken)"], "it is for a subscription");
}

#[test]
fn what_follows_a_refusal_is_not_looked_at() {
    let mut config = config();
    config.centrifuge.anonymous = false;
    let mut talk = Talk::by(config);
    let refused = talk.says("{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}");
    assert_eq!(refused, error(1, 101, "unauthorized"));
    assert_eq!(talk.says(CONNECT), ["Close(BadRequest)"]);
}

#[test]
fn a_token_brings_its_channels_before_the_welcome() {
    let mut talk = Talk::new();
    let token = talk.token(60, json!({"sub": "anna", "channels": ["lobby", "members"]}));
    let connect = json!({"id": 1, "connect": {"token": token}});
    let mut asked = talk.says(format!(
        "{connect}\n{{\"id\":2,\"presence\":{{\"channel\":\"lobby\"}}}}"
    ));
    asked.sort();
    assert_eq!(asked, ["subscribe lobby for 1", "subscribe members for 1"]);
    assert!(talk.hears("members", 1).is_empty(), "one is missing");
    assert!(talk.hears("members", 1).is_empty(), "the same again");
    let mut told = talk.hears("lobby", 1);
    assert_eq!(told.remove(0), r#"known as "anna""#);
    told[..2].sort();
    let welcome = told.remove(2);
    assert!(
        welcome.starts_with("welcome for ") && welcome.ends_with(r#" s ["lobby", "members"]"#),
        "{welcome}"
    );
    assert_eq!(
        told,
        [
            "join lobby",
            "join members",
            "anna enters lobby",
            "read Members of lobby for 2"
        ]
    );
    // The client has not asked for them, and cannot again.
    assert_eq!(
        talk.says(r#"{"id":3,"subscribe":{"channel":"lobby"}}"#),
        error(3, 105, "already subscribed")
    );
}

#[test]
fn a_token_for_channels_that_are_none_lets_nobody_in() {
    let refused = |channels: Value| {
        let mut talk = Talk::new();
        let token = talk.token(60, json!({"sub": "anna", "channels": channels}));
        talk.asks(&json!({"id": 1, "connect": {"token": token}}))
    };
    assert_eq!(refused(json!(["a", "nowhere"])), error(1, 102, "unknown channel"));
    assert_eq!(refused(json!(["closed"])), error(1, 103, "permission denied"));
    assert_eq!(refused(json!(["a", "b", "c"])), ["Close(ChannelLimit)"]);
}

#[test]
fn who_cannot_be_let_in_is_told_so() {
    let mut talk = Talk::new();
    let token = talk.token(60, json!({"sub": "anna", "channels": ["a"]}));
    talk.asks(&json!({"id": 1, "connect": {"token": token}}));
    assert_eq!(
        talk.fails(1),
        [r#"{"id":1,"error":{"code":100,"message":"internal server error","temporary":true}}"#]
    );
    assert!(talk.hears("a", 1).is_empty());
    assert_eq!(talk.says(CONNECT), ["Close(BadRequest)"]);
}

#[test]
fn a_subscription_is_asked_for_once_and_answered_once() {
    let mut talk = Talk::known();
    let subscribe = r#"{"id":2,"subscribe":{"channel":"a"}}"#;
    assert_eq!(talk.says(subscribe), ["subscribe a for 2"]);
    let again = talk.says(r#"{"id":3,"subscribe":{"channel":"a"}}"#);
    assert_eq!(again, error(3, 105, "already subscribed"));
    // Only who is in the channel may publish there.
    let publish = r#"{"id":4,"publish":{"channel":"a","data":1}}"#;
    assert_eq!(talk.says(publish), error(4, 103, "permission denied"));
    assert!(talk.hears("a", 9).is_empty(), "another's answer");
    assert_eq!(talk.hears("a", 2), ["join a", r#"{"id":2,"subscribe":{}}"#]);
    assert!(talk.hears("a", 2).is_empty());
    assert_eq!(talk.says(publish), ["publish in a for Some(4)"]);
}

#[test]
fn who_leaves_while_waiting_is_not_taken_in() {
    let mut talk = Talk::known();
    talk.says(r#"{"id":2,"subscribe":{"channel":"a"}}"#);
    let left = talk.says(r#"{"id":3,"unsubscribe":{"channel":"a"}}"#);
    assert_eq!(
        left,
        [
            r#"{"id":2,"subscribe":{}}"#,
            "unsubscribe a",
            r#"{"id":3,"unsubscribe":{}}"#
        ],
        "whoever asked gets an answer"
    );
    talk.says(r#"{"id":4,"subscribe":{"channel":"a"}}"#);
    assert!(talk.hears("a", 2).is_empty());
    assert_eq!(talk.hears("a", 4), ["join a", r#"{"id":4,"subscribe":{}}"#]);
}

#[test]
fn a_failed_subscription_makes_room() {
    let mut talk = Talk::known();
    talk.says("{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}\n{\"id\":3,\"subscribe\":{\"channel\":\"b\"}}");
    let third = r#"{"id":4,"subscribe":{"channel":"c"}}"#;
    assert_eq!(talk.says(third), error(4, 106, "limit exceeded"));
    assert_eq!(talk.fails(2).len(), 1);
    assert_eq!(talk.says(third), ["subscribe c for 4"]);
}

#[test]
fn nothing_of_the_past_is_promised() {
    let mut talk = Talk::known();
    talk.says(r#"{"id":2,"subscribe":{"channel":"a","recover":true,"offset":4,"epoch":"e"}}"#);
    assert_eq!(
        talk.hears("a", 2),
        ["join a", r#"{"id":2,"subscribe":{"was_recovering":true}}"#]
    );
    let strict = talk.says(r#"{"id":3,"subscribe":{"channel":"b","recover":true,"offset":4,"epoch":"e","flag":2}}"#);
    assert_eq!(strict, error(3, 112, "unrecoverable position"));
}

#[test]
fn a_closed_channel_is_closed_to_tokens_too() {
    let mut talk = Talk::known();
    let token = talk.token(60, json!({"channel": "closed"}));
    for command in [
        json!({"subscribe": {"channel": "closed"}}),
        json!({"subscribe": {"channel": "closed", "token": token}}),
        json!({"publish": {"channel": "closed", "data": 1}}),
        json!({"presence": {"channel": "closed"}}),
        json!({"presence_stats": {"channel": "closed"}}),
        json!({"history": {"channel": "closed"}}),
    ] {
        let mut command = command;
        command["id"] = json!(2);
        assert_eq!(talk.asks(&command), error(2, 103, "permission denied"), "{command}");
    }
    let order = Order::Subscribe {
        channel: Channel::parse("closed").expect("valid"),
        grant: Default::default(),
        expires: None,
    };
    assert!(talk.obeys(order).is_empty());
}

#[test]
fn a_subscription_token_opens_its_channel() {
    let mut talk = Talk::known();
    let subscribe = |talk: &mut Talk, seconds, claims| {
        let token = talk.token(seconds, claims);
        talk.asks(&json!({"id": 2, "subscribe": {"channel": "members", "token": token}}))
    };
    assert_eq!(
        talk.says(r#"{"id":2,"subscribe":{"channel":"members"}}"#),
        error(2, 103, "permission denied")
    );
    let forged = talk.says(r#"{"id":2,"subscribe":{"channel":"members","token":"t"}}"#);
    assert_eq!(forged, error(2, 103, "permission denied"));
    assert_eq!(
        subscribe(&mut talk, 9, json!({"channels": ["members"]})),
        error(2, 103, "permission denied")
    );
    assert_eq!(
        subscribe(&mut talk, -1, json!({"channel": "members"})),
        error(2, 109, "token expired")
    );
    assert_eq!(
        subscribe(&mut talk, 60, json!({"channel": "members"})),
        ["subscribe members for 2"]
    );
    assert!(talk.hears("members", 2)[1].contains(r#""expires":true,"ttl":"#));
    let publish = talk.says(r#"{"id":3,"publish":{"channel":"members","data":1}}"#);
    assert_eq!(
        publish,
        ["publish in members for Some(3)"],
        "a token lets it publish too"
    );
    for claims in [json!({"channel": "a"}), json!({"channel": "members", "sub": "bert"})] {
        assert_eq!(subscribe(&mut Talk::known(), 60, claims), ["Close(InvalidToken)"]);
    }
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

#[test]
fn a_connection_lasts_as_long_as_its_token_and_is_renewed_by_another() {
    let mut talk = Talk::new();
    let token = talk.token(60, json!({"sub": "anna"}));
    talk.asks(&json!({"id": 1, "connect": {"token": token}}));
    let grace = talk.config.centrifuge.refresh_grace.as_secs();
    talk.wait(59 + grace);
    assert!(talk.expires().is_empty());

    let fresh = talk.token(600, json!({"sub": "anna"}));
    let refreshed = talk.asks(&json!({"id": 2, "refresh": {"token": fresh}}));
    assert!(refreshed[0].starts_with("refreshed 2 for Some("), "{refreshed:?}");
    talk.wait(2);
    assert!(talk.expires().is_empty());
    talk.wait(600 + grace);
    assert_eq!(talk.expires(), ["Close(Expired)"]);
}

#[test]
fn a_connection_is_renewed_only_by_a_token_like_its_own() {
    let refreshed_with = |seconds, claims: Value| {
        let mut talk = Talk::new();
        let token = talk.token(60, json!({"sub": "anna", "channels": ["a"]}));
        talk.asks(&json!({"id": 1, "connect": {"token": token}}));
        talk.hears("a", 1);
        let token = talk.token(seconds, claims);
        let mut told = talk.asks(&json!({"id": 2, "refresh": {"token": token}}));
        told[0].truncate("refreshed 2".len().max("Close(InsufficientState)".len()));
        told
    };
    assert!(refreshed_with(60, json!({"sub": "anna", "channels": ["a"]}))[0].starts_with("refreshed 2"));
    assert_eq!(
        refreshed_with(60, json!({"sub": "bert", "channels": ["a"]})),
        ["Close(InvalidToken)"]
    );
    assert_eq!(
        refreshed_with(-1, json!({"sub": "anna", "channels": ["a"]})),
        ["Close(Expired)"]
    );
    assert_eq!(
        refreshed_with(60, json!({"sub": "anna", "channels": ["b"]})),
        ["Close(InsufficientState)"]
    );
    assert_eq!(refreshed_with(60, json!({"sub": "anna"})), ["Close(InsufficientState)"]);
    assert_eq!(Talk::known().says(r#"{"id":2,"refresh":{}}"#), ["Close(BadRequest)"]);
}

#[test]
fn a_subscription_lasts_as_long_as_its_token_and_is_renewed_by_another() {
    let mut talk = Talk::known();
    let token = talk.token(60, json!({"channel": "members"}));
    talk.asks(&json!({"id": 2, "subscribe": {"channel": "members", "token": token}}));
    talk.hears("members", 2);
    let fresh = talk.token(600, json!({"channel": "members"}));
    let renewed = talk.asks(&json!({"id": 3, "sub_refresh": {"channel": "members", "token": fresh}}));
    assert!(
        renewed[0].starts_with(r#"{"id":3,"sub_refresh":{"expires":true,"ttl":"#),
        "{renewed:?}"
    );
    talk.wait(100);
    assert!(talk.expires().is_empty());
    talk.wait(600);
    assert_eq!(
        talk.expires(),
        [
            "unsubscribe members",
            r#"{"push":{"channel":"members","unsubscribe":{"code":2501,"reason":"subscription expired"}}}"#
        ]
    );
    let gone = talk.asks(&json!({"id": 4, "sub_refresh": {"channel": "members", "token": "t"}}));
    assert_eq!(gone, error(4, 103, "permission denied"));
}

#[test]
fn an_old_token_ends_the_subscription_so_that_the_client_asks_for_a_new_one() {
    let mut talk = Talk::known();
    let token = talk.token(60, json!({"channel": "members"}));
    talk.asks(&json!({"id": 2, "subscribe": {"channel": "members", "token": token}}));
    talk.hears("members", 2);
    assert_eq!(
        talk.says(r#"{"id":3,"sub_refresh":{"channel":"members"}}"#),
        error(3, 107, "bad request")
    );
    let old = talk.token(-1, json!({"channel": "members"}));
    let told = talk.asks(&json!({"id": 3, "sub_refresh": {"channel": "members", "token": old}}));
    assert!(told[1].contains(r#""code":2501"#), "{told:?}");
    assert_eq!(told[2..], error(3, 109, "token expired"));
}

#[test]
fn the_application_subscribes_and_unsubscribes() {
    let mut talk = Talk::known();
    let channel = Channel::parse("lobby").expect("valid");
    let order = Order::Subscribe {
        channel: channel.clone(),
        grant: Default::default(),
        expires: None,
    };
    assert_eq!(talk.obeys(order.clone()), ["subscribe lobby for 0"]);
    assert!(talk.obeys(order).is_empty(), "again");
    assert_eq!(
        talk.hears("lobby", 0),
        [
            "join lobby",
            r#"{"push":{"channel":"lobby","subscribe":{}}}"#,
            " enters lobby"
        ]
    );
    let unsubscribe = |channel| Order::Unsubscribe {
        channel,
        why: Unsubscribed::ByServer,
    };
    assert_eq!(
        talk.obeys(unsubscribe(Some(channel.clone()))),
        [
            "unsubscribe lobby",
            " leaves lobby",
            r#"{"push":{"channel":"lobby","unsubscribe":{"code":2000,"reason":"server unsubscribe"}}}"#
        ]
    );
    assert!(talk.obeys(unsubscribe(Some(channel))).is_empty());
    talk.says(r#"{"id":2,"subscribe":{"channel":"a"}}"#);
    talk.hears("a", 2);
    assert_eq!(talk.obeys(unsubscribe(None))[0], "unsubscribe a");
}

#[test]
fn the_application_decides_how_long_a_connection_lasts() {
    let mut talk = Talk::known();
    let refresh = |is_over, expires| Order::Refresh {
        is_over,
        expires,
        info: Some(Bytes::from_static(b"{}")),
    };
    let told = talk.obeys(refresh(false, Some(talk.at.wall + Duration::from_secs(5))));
    assert_eq!(told, [r#"{"push":{"refresh":{"expires":true,"ttl":5}}}"#]);
    talk.wait(4 + talk.config.centrifuge.refresh_grace.as_secs());
    assert!(talk.expires().is_empty());
    talk.wait(1);
    assert_eq!(talk.expires(), ["Close(Expired)"]);
    assert_eq!(talk.obeys(refresh(true, None)), ["Close(Expired)"]);
    assert_eq!(talk.obeys(Order::Close(Close::ByServer)), ["Close(ByServer)"]);
}

#[test]
fn what_the_application_gave_for_a_time_ends_the_connection() {
    let mut talk = Talk::known();
    let order = Order::Subscribe {
        channel: Channel::parse("a").expect("valid"),
        grant: Default::default(),
        expires: Some(talk.at.wall + Duration::from_secs(5)),
    };
    talk.obeys(order);
    talk.hears("a", 0);
    talk.wait(5 + talk.config.centrifuge.refresh_grace.as_secs());
    assert_eq!(talk.expires(), ["Close(SubscriptionExpired)"]);
}

/// With a backend that is asked about everything.
fn asking() -> Talk {
    let mut config = config();
    config.centrifuge.anonymous = false;
    let url = || Some("http://127.0.0.1:1/".parse().expect("a URL"));
    let backend = &mut config.backend;
    (backend.connect, backend.refresh, backend.subscribe) = (url(), url(), url());
    (backend.publish, backend.sub_refresh, backend.rpc) = (url(), url(), url());
    config.channels.insert(
        0,
        ChannelRule {
            r#match: "asked-*".parse().expect("a pattern"),
            subscribe: Subscribe::Backend,
            publish: Publish::Backend,
            ..ChannelRule::default()
        },
    );
    Talk::by(config)
}

fn granted<T>(reply: T, wrap: fn(T) -> Reply) -> Result<Verdict<Reply>, Failure> {
    Ok(Verdict::Granted(wrap(reply)))
}

/// A client that the backend has let in as anna, for so many seconds.
fn let_in(seconds: Option<u64>) -> Talk {
    let mut talk = asking();
    assert_eq!(talk.says(CONNECT), [r#"question 1 of "": connect"#]);
    let connection = Connection {
        user: "anna".into(),
        expires: seconds.map(|seconds| talk.at.wall + Duration::from_secs(seconds)),
        ..Connection::default()
    };
    let told = talk.is_told(1, granted(Box::new(connection), Reply::Connect));
    assert_eq!(
        told,
        [r#"known as "anna""#, "welcome"],
        "of an end only the server knows"
    );
    talk
}

const INTERNAL: &str = r#""error":{"code":100,"message":"internal server error","temporary":true}"#;

#[test]
fn the_backend_says_who_comes() {
    let mut talk = asking();
    let both = "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}";
    assert_eq!(talk.says(both), [r#"question 1 of "": connect"#]);
    let mut connection = Connection {
        user: "anna".into(),
        data: Some("{}".into()),
        ..Connection::default()
    };
    connection
        .channels
        .insert(Channel::parse("lobby").expect("valid"), Granted::default());
    let told = talk.is_told(1, granted(Box::new(connection), Reply::Connect));
    assert_eq!(told, ["subscribe lobby for 1"]);
    assert_eq!(
        talk.hears("lobby", 1),
        [
            r#"known as "anna""#,
            "join lobby",
            r#"welcome ["lobby"]"#,
            "anna enters lobby",
            "subscribe a for 2"
        ]
    );
    assert!(talk.is_told(1, Ok(Verdict::Nothing)).is_empty(), "again");

    let told = |word| {
        let mut talk = asking();
        talk.says(CONNECT);
        let told = talk.is_told(1, word);
        assert!(!talk.session.is_known());
        told
    };
    assert_eq!(told(Ok(Verdict::Nothing)), error(1, 101, "unauthorized"));
    assert_eq!(
        told(Ok(Verdict::Refused(CommandError::PermissionDenied))),
        error(1, 103, "permission denied")
    );
    assert_eq!(told(Err(Failure::Busy)), [format!(r#"{{"id":1,{INTERNAL}}}"#)]);
    let lapsed = Connection {
        expires: Some(SystemTime::UNIX_EPOCH),
        ..Connection::default()
    };
    assert_eq!(
        told(granted(Box::new(lapsed), Reply::Connect)),
        error(1, 110, "expired")
    );
}

#[test]
fn who_brings_a_token_is_not_asked_about() {
    let mut talk = asking();
    let token = talk.token(60, json!({"sub": "anna"}));
    assert_eq!(
        talk.asks(&json!({"id": 1, "connect": {"token": token}}))[0],
        r#"known as "anna""#
    );
}

#[test]
fn the_backend_says_how_long_a_connection_lasts() {
    let mut talk = let_in(Some(60));
    assert_eq!(
        talk.says(r#"{"id":2,"refresh":{"token":"t"}}"#),
        ["Close(InvalidToken)"]
    );
    let token = talk.token(60, json!({"sub": "anna"}));
    assert_eq!(
        talk.asks(&json!({"id": 2, "refresh": {"token": token}})),
        ["Close(BadRequest)"]
    );
    talk.wait(59);
    assert!(talk.expires().is_empty());
    talk.wait(1);
    assert_eq!(talk.expires(), [r#"question 2 of "anna": refresh"#]);
    assert!(talk.expires().is_empty(), "it is asked once");
    assert!(talk.is_told(2, Err(Failure::Busy)).is_empty());
    talk.wait(60);
    assert_eq!(talk.expires(), [r#"question 3 of "anna": refresh"#]);
    let kept = Renewal::Kept {
        expires: Some(talk.at.wall + Duration::from_secs(5)),
        info: None,
        meta: None,
    };
    assert!(talk.is_told(3, granted(kept, Reply::Refresh)).is_empty());
    talk.wait(5);
    assert_eq!(talk.expires(), [r#"question 4 of "anna": refresh"#]);
    assert_eq!(talk.is_told(4, Ok(Verdict::Nothing)), ["Close(Expired)"]);
}

#[test]
fn the_backend_lets_into_channels() {
    let mut talk = let_in(None);
    let subscribe = |talk: &mut Talk, id| talk.asks(&json!({"id": id, "subscribe": {"channel": "asked-1"}}));
    assert_eq!(subscribe(&mut talk, 2), [r#"question 2 of "anna": subscribe asked-1"#]);
    assert_eq!(subscribe(&mut talk, 3), error(3, 105, "already subscribed"));
    assert!(talk.hears("asked-1", 2).is_empty());
    let refused = talk.is_told(2, Ok(Verdict::Refused(CommandError::PermissionDenied)));
    assert_eq!(refused, error(2, 103, "permission denied"));
    subscribe(&mut talk, 4);
    assert_eq!(
        talk.is_told(3, Err(Failure::Open)),
        [format!(r#"{{"id":4,{INTERNAL}}}"#)]
    );
    subscribe(&mut talk, 5);
    let grant = Granted {
        expires: Some(talk.at.wall + Duration::from_secs(9)),
        ..Granted::default()
    };
    assert_eq!(
        talk.is_told(4, granted(Box::new(grant), Reply::Subscribe)),
        ["subscribe asked-1 for 5"]
    );
    assert_eq!(talk.hears("asked-1", 5), ["join asked-1", r#"{"id":5,"subscribe":{}}"#]);
    talk.wait(9);
    assert_eq!(talk.expires(), [r#"question 5 of "anna": sub_refresh asked-1"#]);
    let over = talk.is_told(5, granted(Renewal::Expired, Reply::SubRefresh));
    assert_eq!(over[0], "unsubscribe asked-1");
    assert!(over[1].contains("2501"), "{over:?}");
}

#[test]
fn who_leaves_while_the_backend_thinks_is_not_taken_in() {
    let mut talk = let_in(None);
    talk.says(r#"{"id":2,"subscribe":{"channel":"asked-1"}}"#);
    talk.says(r#"{"id":3,"unsubscribe":{"channel":"asked-1"}}"#);
    assert!(talk.is_told(2, Ok(Verdict::Nothing)).is_empty());
    talk.says(r#"{"id":4,"subscribe":{"channel":"asked-1"}}"#);
    assert_eq!(talk.is_told(3, Ok(Verdict::Nothing)), ["subscribe asked-1 for 4"]);
}

#[test]
fn the_backend_approves_of_publications_one_after_another() {
    let mut talk = let_in(None);
    let publish = |id: u32| format!(r#"{{"id":{id},"publish":{{"channel":"asked-1","data":{id}}}}}"#);
    assert_eq!(
        talk.says(publish(2)),
        [r#"question 2 of "anna": publish b"2" in asked-1"#]
    );
    assert!(talk.says(publish(3)).is_empty(), "it waits for the one before");
    assert!(talk.says(publish(4)).is_empty());
    assert_eq!(
        talk.is_told(2, Ok(Verdict::Nothing)),
        [
            "publish in asked-1 for Some(2)",
            r#"question 3 of "anna": publish b"3" in asked-1"#
        ]
    );
    let refused = talk.is_told(3, Ok(Verdict::Refused(CommandError::PermissionDenied)));
    assert_eq!(refused[..1], error(3, 103, "permission denied"));
    assert_eq!(refused[1], r#"question 4 of "anna": publish b"4" in asked-1"#);
    let instead = Publication {
        data: Some("5".into()),
        ..Publication::default()
    };
    let mut actions = Vec::new();
    talk.session
        .consulted(4, granted(Box::new(instead), Reply::Publish), talk.at, &mut actions);
    assert!(
        matches!(&actions[..], [Action::Publish { outgoing, answer: Some(4) }] if outgoing.data == "5"),
        "{actions:?}"
    );
}

#[test]
fn the_backend_answers_calls() {
    let mut talk = let_in(None);
    let call = r#"{"id":2,"rpc":{"method":"sum","data":[1,2]}}"#;
    assert_eq!(talk.says(call), [r#"question 2 of "anna": rpc sum"#]);
    let told = talk.is_told(2, granted(Bytes::from_static(b"3"), Reply::Rpc));
    assert_eq!(told, [r#"{"id":2,"rpc":{"data":3}}"#]);
    talk.says(call);
    let application = CommandError::Application {
        code: 404,
        message: "no such sum".into(),
        is_temporary: false,
    };
    assert_eq!(
        talk.is_told(3, Ok(Verdict::Refused(application))),
        error(2, 404, "no such sum")
    );
    assert_eq!(Talk::known().says(call), error(2, 108, "not available"));
}

/// Has the node know that tokens are revoked, and the session look.
fn revoke(talk: &mut Talk, revocation: Revocation) -> Vec<String> {
    let revocations = talk.session.terms.tokens.revocations();
    revocations.add(&revocation, talk.at.wall);
    let mut actions = Vec::new();
    talk.session.recheck(talk.at, &mut actions);
    actions.iter().map(words).collect()
}

fn by_name(talk: &Talk, id: &str) -> Revocation {
    Revocation::of_token(id.to_owned(), None, talk.at.wall).expect("short")
}

fn by_user(talk: &Talk, user: &str) -> Revocation {
    Revocation::of_user(user.to_owned(), talk.at.wall, None, talk.at.wall).expect("short")
}

/// Of anna, who has `members` by a token of its own, and `a` without one.
fn with_tokens() -> Talk {
    let mut talk = Talk::new();
    let connection = talk.token(60, json!({"sub": "anna", "jti": "c"}));
    talk.asks(&json!({"id": 1, "connect": {"token": connection}}));
    let members = talk.token(60, json!({"sub": "anna", "jti": "s", "channel": "members"}));
    talk.asks(&json!({"id": 2, "subscribe": {"channel": "members", "token": members}}));
    talk.hears("members", 2);
    talk.says(r#"{"id":3,"subscribe":{"channel":"a"}}"#);
    talk.hears("a", 3);
    talk
}

const UNSUBSCRIBED: [&str; 2] = [
    "unsubscribe members",
    r#"{"push":{"channel":"members","unsubscribe":{"code":2502,"reason":"state invalidated"}}}"#,
];

#[test]
fn what_came_with_a_revoked_token_ends() {
    type Make = fn(&Talk, &str) -> Revocation;
    let cases: [(Make, &str, &[&str]); 6] = [
        (by_name, "c", &["Close(StateInvalidated)"]),
        (by_user, "anna", &["Close(StateInvalidated)"]),
        (by_name, "s", &UNSUBSCRIBED),
        (by_name, "other", &[]),
        (by_user, "bert", &[]),
        (by_user, "", &[]),
    ];
    for (make, name, expected) in cases {
        let mut talk = with_tokens();
        let revocation = make(&talk, name);
        assert_eq!(revoke(&mut talk, revocation), expected, "{name}");
    }
    let mut talk = Talk::known();
    let everybody = by_user(&talk, "");
    assert!(revoke(&mut talk, everybody).is_empty(), "it came without a token");
}

#[test]
fn a_revoked_token_is_not_taken() {
    let mut talk = with_tokens();
    let (old, other) = (by_name(&talk, "old"), by_name(&talk, "other"));
    assert!(revoke(&mut talk, old).is_empty() && revoke(&mut talk, other).is_empty());
    let connection = talk.token(60, json!({"sub": "anna", "jti": "old"}));
    let subscription = talk.token(60, json!({"sub": "anna", "jti": "other", "channel": "members"}));
    talk.says(r#"{"id":4,"unsubscribe":{"channel":"members"}}"#);
    assert_eq!(
        talk.asks(&json!({"id": 5, "subscribe": {"channel": "members", "token": subscription}})),
        error(5, 103, "permission denied")
    );
    assert_eq!(
        talk.asks(&json!({"id": 6, "refresh": {"token": connection}})),
        ["Close(InvalidToken)"]
    );
    let mut talk = with_tokens();
    let other = by_name(&talk, "other");
    revoke(&mut talk, other);
    assert_eq!(
        talk.asks(&json!({"id": 4, "sub_refresh": {"channel": "members", "token": subscription}})),
        ["Close(InvalidToken)"]
    );
    let mut talk = Talk::new();
    let old = by_name(&talk, "old");
    revoke(&mut talk, old);
    assert_eq!(
        talk.asks(&json!({"id": 1, "connect": {"token": connection}})),
        ["Close(InvalidToken)"]
    );
}

#[test]
fn the_token_that_came_last_is_the_one_that_counts() {
    let mut talk = with_tokens();
    let connection = talk.token(60, json!({"sub": "anna", "jti": "c2"}));
    talk.asks(&json!({"id": 4, "refresh": {"token": connection}}));
    let subscription = talk.token(60, json!({"sub": "anna", "jti": "s2", "channel": "members"}));
    talk.asks(&json!({"id": 5, "sub_refresh": {"channel": "members", "token": subscription}}));
    for (id, expected) in [
        ("c", &[][..]),
        ("s", &[]),
        ("s2", &UNSUBSCRIBED),
        ("c2", &["Close(StateInvalidated)"]),
    ] {
        let revocation = by_name(&talk, id);
        assert_eq!(revoke(&mut talk, revocation), expected, "{id}");
    }
}

#[test]
fn who_waits_for_a_channel_with_a_revoked_token_does_not_get_it() {
    let mut talk = with_tokens();
    talk.says(r#"{"id":4,"unsubscribe":{"channel":"members"}}"#);
    let again = talk.token(60, json!({"sub": "anna", "jti": "s2", "channel": "members"}));
    talk.asks(&json!({"id": 5, "subscribe": {"channel": "members", "token": again}}));
    let revocation = by_name(&talk, "s2");
    let told = revoke(&mut talk, revocation);
    assert_eq!(told[0], r#"{"id":5,"subscribe":{}}"#);
    assert_eq!(told[1..], UNSUBSCRIBED);
    assert!(talk.hears("members", 5).is_empty());
}
