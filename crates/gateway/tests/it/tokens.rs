//! Tokens on connections: who is let in where, for how long, and what others see of it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gateway::config::{ChannelRule, Publish, Subscribe};
use gateway::config::{Config, Secret, Transport};
use serde_json::{Value, json};

use crate::support::{Server, Socket, config, on_both_transports, upgrade};

pub(crate) const PATH: &str = "/connection/websocket";
pub(crate) const SECRET: &str = "a secret of at least thirty-two bytes";

pub(crate) fn with_rules(mut config: Config) -> Config {
    let rule = |pattern: &str, subscribe, publish| ChannelRule {
        r#match: pattern.parse().expect("a pattern"),
        subscribe,
        publish,
        ..ChannelRule::default()
    };
    config.tokens.hmac_secret = Some(Secret::new(SECRET));
    config.channels = vec![
        rule("closed", Subscribe::Nobody, Publish::Nobody),
        rule("members-*", Subscribe::Token, Publish::Token),
        ChannelRule {
            user_limited: true,
            ..rule("*", Subscribe::Anyone, Publish::Subscribers)
        },
    ];
    config
}

/// A token that expires in so many seconds.
pub(crate) fn token(seconds: i64, mut claims: Value) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    claims["exp"] = json!(i64::try_from(now.as_secs()).expect("a time") + seconds);
    let part = |json: &Value| base64_url(json.to_string().as_bytes());
    let message = format!("{}.{}", part(&json!({"alg": "HS256"})), part(&claims));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = ring::hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", base64_url(signature.as_ref()))
}

fn base64_url(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

#[track_caller]
pub(crate) fn asks(socket: &mut Socket, command: &Value) -> Value {
    socket.send(command.to_string());
    told(socket)
}

#[track_caller]
pub(crate) fn told(socket: &mut Socket) -> Value {
    serde_json::from_str(&socket.text()).expect("JSON")
}

#[track_caller]
pub(crate) fn connected(server: &Server, claims: Value) -> (Socket, Value) {
    let mut socket = server.client_of(PATH);
    let mut answer = asks(&mut socket, &json!({"id": 1, "connect": {"token": token(60, claims)}}));
    (socket, answer["connect"].take())
}

on_both_transports! {
    a_connection_by_token
    channels_of_a_token
    a_subscription_by_token
    what_expires_is_over
    plain_websockets_with_tokens
    a_closed_channel_is_closed_every_way
    a_user_may_have_so_many_connections
}

fn a_connection_by_token(transport: Transport) {
    let server = Server::start(with_rules(config(transport)));
    let (mut anna, welcome) = connected(&server, json!({"sub": "anna", "info": {"name": "Anna"}}));
    assert_eq!((&welcome["expires"], &welcome["ttl"]), (&json!(true), &json!(60)));
    asks(&mut anna, &json!({"id": 2, "subscribe": {"channel": "room"}}));
    let mut raw = server.client_of(&format!("/raw/room?token={}", token(60, json!({"sub": "bert"}))));
    anna.send(json!({"id": 3, "publish": {"channel": "room", "data": 1}}).to_string());
    raw.expect("1");
    let heard = [told(&mut anna), told(&mut anna)];
    let publication = heard.iter().find(|told| told.get("push").is_some()).expect("its own");
    let by = json!({"user": "anna", "client": welcome["client"], "conn_info": {"name": "Anna"}});
    assert_eq!(publication["push"]["pub"]["info"], by);
    raw.send("2");
    assert_eq!(
        told(&mut anna)["push"]["pub"],
        json!({"data": 2}),
        "nobody asked to see who is in the room"
    );

    let refused = |token: &str| {
        let mut socket = server.client_of(PATH);
        socket.send(json!({"id": 1, "connect": {"token": token}}).to_string());
        socket.close().0
    };
    assert_eq!(refused("x"), Some(3500));
    assert_eq!(refused(&format!("{}x", token(60, json!({"sub": "anna"})))), Some(3500));
    assert_eq!(
        refused(&token(60, json!({"sub": "anna", "channel": "room"}))),
        Some(3500)
    );
    let mut late = server.client_of(PATH);
    let late = asks(
        &mut late,
        &json!({"id": 1, "connect": {"token": token(-60, json!({"sub": "anna"}))}}),
    );
    assert_eq!(late["error"]["code"], json!(109));
}

fn channels_of_a_token(transport: Transport) {
    let server = Server::start(with_rules(config(transport)));
    let subs = json!({"sub": "anna", "subs": {"members-1": {"data": {"topic": 1}, "info": {"seat": 4}}, "news": {}}});
    let (mut anna, welcome) = connected(&server, subs);
    assert_eq!(
        welcome["subs"],
        json!({"members-1": {"data": {"topic": 1}}, "news": {}})
    );
    server.client_of("/raw/news").send("1");
    assert_eq!(
        told(&mut anna),
        json!({"push": {"channel": "news", "pub": {"data": 1}}})
    );
    anna.send(json!({"id": 2, "publish": {"channel": "members-1", "data": 2}}).to_string());
    let heard = [told(&mut anna), told(&mut anna)];
    let publication = heard.iter().find(|told| told.get("push").is_some()).expect("its own");
    assert_eq!(publication["push"]["pub"]["info"]["chan_info"], json!({"seat": 4}));

    let mut refused = server.client_of(PATH);
    let token = token(60, json!({"sub": "anna", "channels": ["closed"]}));
    let refused = asks(&mut refused, &json!({"id": 1, "connect": {"token": token}}));
    assert_eq!(refused["error"]["code"], json!(103));
}

fn a_subscription_by_token(transport: Transport) {
    let server = Server::start(with_rules(config(transport)));
    let (mut anna, _) = connected(&server, json!({"sub": "anna"}));
    let no = asks(&mut anna, &json!({"id": 2, "subscribe": {"channel": "members-1"}}));
    assert_eq!(no["error"]["code"], json!(103));
    let own = token(60, json!({"sub": "anna", "channel": "members-1"}));
    let yes = asks(
        &mut anna,
        &json!({"id": 3, "subscribe": {"channel": "members-1", "token": own}}),
    );
    assert_eq!(yes["subscribe"], json!({"expires": true, "ttl": 60}));
    let private = asks(&mut anna, &json!({"id": 4, "subscribe": {"channel": "$room"}}));
    assert_eq!(private["error"]["code"], json!(103), "whatever its rule says");
    let listed = asks(
        &mut anna,
        &json!({"id": 5, "subscribe": {"channel": "dialog#anna,bert"}}),
    );
    assert_eq!(listed, json!({"id": 5, "subscribe": {}}));
    let unlisted = asks(&mut anna, &json!({"id": 6, "subscribe": {"channel": "dialog#bert"}}));
    assert_eq!(unlisted["error"]["code"], json!(103));
    let other = token(60, json!({"sub": "bert", "channel": "members-2"}));
    anna.send(json!({"id": 7, "subscribe": {"channel": "members-2", "token": other}}).to_string());
    assert_eq!(anna.close().0, Some(3500));
}

fn what_expires_is_over(transport: Transport) {
    let mut config = with_rules(config(transport));
    config.centrifuge.refresh_grace = Duration::from_millis(300);
    let server = Server::start(config);
    let connect = |seconds| {
        let mut socket = server.client_of(PATH);
        let token = token(seconds, json!({"sub": "anna"}));
        asks(&mut socket, &json!({"id": 1, "connect": {"token": token}}));
        socket
    };
    let mut left_alone = connect(1);
    let mut refreshed = connect(1);
    let fresh = token(60, json!({"sub": "anna"}));
    let answer = asks(&mut refreshed, &json!({"id": 2, "refresh": {"token": fresh}}));
    assert_eq!(answer["refresh"]["ttl"], json!(60));
    let short = token(1, json!({"sub": "anna", "channel": "members-1"}));
    asks(
        &mut refreshed,
        &json!({"id": 3, "subscribe": {"channel": "members-1", "token": short}}),
    );
    assert_eq!(left_alone.close(), (Some(3005), "connection expired".into()));
    let push = told(&mut refreshed)["push"].take();
    assert_eq!(
        push,
        json!({"channel": "members-1", "unsubscribe": {"code": 2501, "reason": "subscription expired"}})
    );
    let alive = asks(&mut refreshed, &json!({"id": 4, "subscribe": {"channel": "room"}}));
    assert_eq!(alive, json!({"id": 4, "subscribe": {}}));
}

fn plain_websockets_with_tokens(transport: Transport) {
    let server = Server::start(with_rules(config(transport)));
    let status =
        |path: &str, authorization: &str| server.ask(upgrade(path, &[("Authorization", authorization)])).status;
    let bearer = |claims| format!("Bearer {}", token(60, claims));
    for (path, authorization, expected) in [
        ("/raw/members-1", String::new(), 401),
        (
            "/raw/members-1",
            bearer(json!({"sub": "anna", "channel": "members-1"})),
            101,
        ),
        (
            "/raw/members-1",
            bearer(json!({"sub": "anna", "channels": ["members-1"]})),
            101,
        ),
        (
            "/raw/members-1",
            bearer(json!({"sub": "anna", "channel": "members-2"})),
            401,
        ),
        ("/raw/members-1", bearer(json!({"sub": "anna"})), 403),
        (
            "/raw/members-1",
            format!("Bearer {}", token(-60, json!({"channel": "members-1"}))),
            401,
        ),
        ("/raw/members-1", "Bearer x".into(), 401),
        ("/raw/dialog%23anna", bearer(json!({"sub": "anna"})), 101),
        ("/raw/dialog%23anna", bearer(json!({"sub": "bert"})), 403),
        ("/raw/dialog%23anna", String::new(), 401),
        ("/raw/$room", String::new(), 401),
        (
            "/raw/private-room",
            bearer(json!({"sub": "anna", "channel": "private-room"})),
            101,
        ),
    ] {
        assert_eq!(status(path, &authorization), expected, "{path} {authorization}");
    }
    let of_query = format!("/raw/members-1?x=1&token={}", token(1, json!({"channel": "members-1"})));
    let mut socket = server.client_of(&of_query);
    socket.send("1");
    socket.expect("1");
    assert_eq!(
        socket.close(),
        (Some(1001), "come back".into()),
        "its token has expired"
    );
}

fn a_closed_channel_is_closed_every_way(transport: Transport) {
    let server = Server::start(with_rules(config(transport)));
    let (mut anna, _) = connected(&server, json!({"sub": "anna"}));
    let own = token(60, json!({"sub": "anna", "channel": "closed"}));
    for command in [
        json!({"subscribe": {"channel": "closed"}}),
        json!({"subscribe": {"channel": "closed", "token": own}}),
        json!({"publish": {"channel": "closed", "data": 1}}),
        json!({"presence": {"channel": "closed"}}),
        json!({"presence_stats": {"channel": "closed"}}),
        json!({"history": {"channel": "closed"}}),
    ] {
        let mut command = command;
        command["id"] = json!(2);
        assert_eq!(asks(&mut anna, &command)["error"]["code"], json!(103), "{command}");
    }
    assert_eq!(server.ask(upgrade("/raw/closed", &[])).status, 403);
    assert_eq!(
        server.ask(upgrade(&format!("/raw/closed?token={own}"), &[])).status,
        403
    );
}

fn a_user_may_have_so_many_connections(transport: Transport) {
    let mut config = with_rules(config(transport));
    config.limits.connections_per_user = 2;
    let server = Server::start(config);
    let (_first, _) = connected(&server, json!({"sub": "anna"}));
    let (second, _) = connected(&server, json!({"sub": "anna"}));
    let third = |server: &Server| {
        let mut socket = server.client_of(PATH);
        socket.send(json!({"id": 1, "connect": {"token": token(60, json!({"sub": "anna"}))}}).to_string());
        socket
    };
    assert_eq!(third(&server).close(), (Some(3504), "connection limit".into()));
    let (_other, _) = connected(&server, json!({"sub": "bert"}));
    second.leave();
    server.wait_for_connections(2);
    assert_eq!(told(&mut third(&server))["id"], json!(1));
}
