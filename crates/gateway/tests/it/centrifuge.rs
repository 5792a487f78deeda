//! Conversations of the Centrifuge protocol, on both transports and between two gateways.

use std::time::Duration;

use gateway::config::{ChannelRule, Publish, Subscribe};
use gateway::config::{Config, Transport};
use protocol::frame::{Item, Kind, client};
use serde_json::{Value, json};

use crate::support::{MASK, Redis, Server, Socket, config, config_on, on_both_transports, upgrade};

const PATH: &str = "/connection/websocket";

/// Nobody needs a token, and there are rooms, and news that only servers publish.
fn open(mut config: Config) -> Config {
    let rule = |pattern: &str, subscribe, publish| ChannelRule {
        r#match: pattern.parse().expect("a pattern"),
        subscribe,
        publish,
        ..ChannelRule::default()
    };
    config.centrifuge.anonymous = true;
    config.channels = vec![
        rule("room-*", Subscribe::Anyone, Publish::Subscribers),
        rule("news", Subscribe::Anyone, Publish::Nobody),
        rule("secret", Subscribe::Nobody, Publish::Nobody),
    ];
    config
}

/// Asks and reads the answer.
#[track_caller]
fn asks(socket: &mut Socket, command: &Value) -> Value {
    socket.send(command.to_string());
    told(socket)
}

#[track_caller]
fn told(socket: &mut Socket) -> Value {
    serde_json::from_str(&socket.text()).expect("JSON")
}

/// A client that has said who it is, and its id.
#[track_caller]
fn connected(server: &Server) -> (Socket, Value) {
    connected_with(server, 25)
}

/// The same where pings come every so many seconds.
#[track_caller]
fn connected_with(server: &Server, ping: u32) -> (Socket, Value) {
    let mut socket = server.client_of(PATH);
    let mut answer = asks(&mut socket, &json!({"id": 1, "connect": {}}));
    assert_eq!((&answer["id"], &answer["connect"]["ping"]), (&json!(1), &json!(ping)));
    (socket, answer["connect"]["client"].take())
}

#[track_caller]
fn subscribed(server: &Server, channel: &str) -> (Socket, Value) {
    subscribed_with(server, channel, 25)
}

#[track_caller]
fn subscribed_with(server: &Server, channel: &str, ping: u32) -> (Socket, Value) {
    let (mut socket, id) = connected_with(server, ping);
    let answer = asks(&mut socket, &json!({"id": 2, "subscribe": {"channel": channel}}));
    assert_eq!(answer, json!({"id": 2, "subscribe": {}}));
    (socket, id)
}

#[track_caller]
fn hears(socket: &mut Socket, channel: &str, data: &Value) {
    assert_eq!(
        told(socket),
        json!({"push": {"channel": channel, "pub": {"data": data}}})
    );
}

on_both_transports! {
    one_conversation
    what_may_not_be
    who_says_nothing_in_time
    pings_and_pongs
    late_pongs_for_several_pings
    pings_of_the_websocket
    protobuf_and_subprotocols
    a_thousand_subscriptions_in_one_message
    a_drain_says_come_back
    publications_may_come_as_differences
}

fn one_conversation(transport: Transport) {
    let server = Server::start(open(config(transport)));
    let (mut socket, _) = subscribed(&server, "room-1");
    let (mut other, other_id) = subscribed(&server, "room-1");
    let mut raw = server.client_of("/raw/room-1");

    other.send(json!({"id": 3, "publish": {"channel": "room-1", "data": {"a": 1}}}).to_string());
    let by = json!({"user": "", "client": other_id});
    let heard = json!({"push": {"channel": "room-1", "pub": {"data": {"a": 1}, "info": by}}});
    assert_eq!(told(&mut socket), heard, "who published it is known");
    raw.expect(r#"{"a":1}"#);
    // Its own publication, and the answer, in either order.
    let mut both = [told(&mut other), told(&mut other)];
    both.sort_by_key(|told| told.get("id").is_none());
    assert_eq!(both[0], json!({"id": 3, "publish": {}}));
    assert_eq!(both[1], heard);
    raw.send("[2]");
    hears(&mut socket, "room-1", &json!([2]));
    hears(&mut other, "room-1", &json!([2]));

    let gone = asks(&mut socket, &json!({"id": 4, "unsubscribe": {"channel": "room-1"}}));
    assert_eq!(gone, json!({"id": 4, "unsubscribe": {}}));
    raw.send("3");
    hears(&mut other, "room-1", &json!(3));
    let again = asks(&mut socket, &json!({"id": 5, "subscribe": {"channel": "room-1"}}));
    assert_eq!(again, json!({"id": 5, "subscribe": {}}), "3 was not for it");
    raw.send("4");
    hears(&mut socket, "room-1", &json!(4));
    for (metric, value) in [
        (r#"fanfare_clients{dialect="centrifuge_json"}"#, 2.0),
        (r#"fanfare_clients{dialect="raw"}"#, 1.0),
        (r#"fanfare_commands_total{command="publish"}"#, 1.0),
        (r#"fanfare_commands_total{command="subscribe"}"#, 3.0),
        (r#"fanfare_command_errors_total{code="103"}"#, 0.0),
    ] {
        server.wait_for_metric(metric, value);
    }
}

fn what_may_not_be(transport: Transport) {
    let server = Server::start(open(config(transport)));
    let (mut socket, _) = subscribed(&server, "room-1");
    for (code, command) in [
        (105, json!({"subscribe": {"channel": "room-1"}})),
        (102, json!({"subscribe": {"channel": "else"}})),
        (103, json!({"subscribe": {"channel": "secret"}})),
        (102, json!({"subscribe": {"channel": "private-room"}})),
        (107, json!({"subscribe": {"channel": "a b"}})),
        (103, json!({"publish": {"channel": "room-2", "data": 1}})),
        (103, json!({"publish": {"channel": "news", "data": 1}})),
        (102, json!({"publish": {"channel": "else", "data": 1}})),
        (108, json!({"presence": {"channel": "room-1"}})),
        (103, json!({"presence": {"channel": "secret"}})),
        (108, json!({"history": {"channel": "room-1"}})),
        (102, json!({"history": {"channel": "else"}})),
        (108, json!({"rpc": {"method": "x"}})),
    ] {
        let mut command = command;
        command["id"] = json!(9);
        let answer = asks(&mut socket, &command);
        assert_eq!(
            (&answer["id"], &answer["error"]["code"]),
            (&json!(9), &json!(code)),
            "{command}: {answer}"
        );
    }
    let closes = |first: &str, code: u16| {
        let mut socket = server.client_of(PATH);
        socket.send(first);
        assert_eq!(socket.close().0, Some(code), "{first}");
    };
    closes("{", 3501);
    closes(r#"{"id":1,"subscribe":{"channel":"room-1"}}"#, 3501);
    closes("{\"id\":1,\"connect\":{}}\n{\"id\":2,\"connect\":{}}", 3501);
    closes("{\"id\":1,\"connect\":{}}\n{}", 3501);
    closes(r#"{"id":1,"connect":{"token":"x"}}"#, 3500);
    closes("{\"id\":1,\"connect\":{}}\n{\"send\":{}}", 3508);

    let server = Server::start(config(transport));
    let mut socket = server.client_of(PATH);
    let answer = asks(&mut socket, &json!({"id": 1, "connect": {}}));
    assert_eq!(answer["error"]["code"], json!(101));
    socket.send("{}");
    assert_eq!(socket.close().0, Some(3501));
}

fn who_says_nothing_in_time(transport: Transport) {
    let mut config = open(config(transport));
    config.centrifuge.connect_timeout = Duration::from_millis(200);
    let server = Server::start(config);
    let mut socket = server.client_of(PATH);
    assert_eq!(socket.close(), (Some(3502), "stale".into()));
}

fn pings_and_pongs(transport: Transport) {
    let mut config = open(config(transport));
    config.centrifuge.ping_interval = Duration::from_secs(1);
    config.centrifuge.pong_timeout = Duration::from_millis(500);
    let server = Server::start(config);
    let mut socket = server.client_of(PATH);
    let answer = asks(&mut socket, &json!({"id": 1, "connect": {}}));
    assert_eq!(
        (&answer["connect"]["ping"], &answer["connect"]["pong"]),
        (&json!(1), &json!(true))
    );
    for _ in 0..2 {
        socket.expect("{}");
        socket.send("{}");
    }
    assert_eq!(
        socket.close(),
        (Some(3012), "no pong".into()),
        "after a ping without an answer"
    );
}

fn late_pongs_for_several_pings(transport: Transport) {
    let mut config = open(config(transport));
    config.centrifuge.ping_interval = Duration::from_secs(1);
    config.centrifuge.pong_timeout = Duration::from_millis(900);
    let server = Server::start(config);
    let (mut socket, _) = subscribed_with(&server, "room-1", 1);
    for id in 3..5 {
        socket.expect("{}");
        // Alive, though not by an answer to the ping.
        assert_eq!(
            asks(&mut socket, &json!({"id": id, "unsubscribe": {"channel": "room-2"}}))["id"],
            json!(id)
        );
    }
    socket.send("{}");
    socket.send("{}");
    assert_eq!(
        asks(&mut socket, &json!({"id": 9, "unsubscribe": {"channel": "room-2"}}))["id"],
        json!(9)
    );
    socket.send("{}");
    assert_eq!(socket.close().0, Some(3501), "one too many");
}

fn pings_of_the_websocket(transport: Transport) {
    let mut config = open(config(transport));
    config.centrifuge.ping_interval = Duration::from_secs(1);
    config.centrifuge.pong_timeout = Duration::from_millis(500);
    let server = Server::start(config);
    for format in ["", "&cf_protocol=protobuf"] {
        let mut socket = server.client_of(&format!("{PATH}?cf_ws_frame_ping_pong=true{format}"));
        if format.is_empty() {
            let answer = asks(&mut socket, &json!({"id": 1, "connect": {}}));
            let told = |name| answer["connect"].get(name);
            assert!(told("client").is_some(), "{answer}");
            assert_eq!((told("ping"), told("pong")), (None, None));
        } else {
            socket.write(client::binary(b"\x04\x08\x01\x22\x00", MASK));
            assert!(matches!(socket.next(), Some(Item::Message(_))));
        }
        for _ in 0..2 {
            assert_eq!(socket.next(), Some(Item::Ping("".into())), "and nothing else");
            socket.write(client::pong(b"", MASK));
        }
        assert_eq!(socket.close(), (Some(3012), "no pong".into()));
    }
    // It was not asked in these words.
    let mut socket = server.client_of(&format!("{PATH}?cf_ws_frame_ping_pong=true"));
    asks(&mut socket, &json!({"id": 1, "connect": {}}));
    assert_eq!(socket.next(), Some(Item::Ping("".into())));
    socket.send("{}");
    assert_eq!(socket.close().0, Some(3501));
}

fn protobuf_and_subprotocols(transport: Transport) {
    let server = Server::start(open(config(transport)));
    let mut binary = server.client_of(&format!("{PATH}?cf_protocol=protobuf"));
    // connect, and subscribe to room-1, in one message
    binary.write(client::binary(
        b"\x04\x08\x01\x22\x00\x0c\x08\x02\x2a\x08\x0a\x06room-1",
        MASK,
    ));
    let mut heard = || match binary.next() {
        Some(Item::Message(message)) if message.kind == Kind::Binary => message.data,
        other => panic!("{other:?}"),
    };
    assert_eq!(heard()[1..3], [8, 1]);
    assert_eq!(&heard()[..], b"\x04\x08\x02\x32\x00");
    server.client_of("/raw/room-1").send("7");
    assert_eq!(&heard()[..], b"\x0f\x22\x0d\x12\x06room-1\x22\x03\x22\x017");

    for (offered, chosen) in [
        ("centrifuge-protobuf", Some("centrifuge-protobuf")),
        ("x, centrifuge-json, centrifuge-protobuf", Some("centrifuge-json")),
        ("x", None),
    ] {
        let request = upgrade(PATH, &[("Sec-WebSocket-Protocol", offered)]);
        let (socket, answer) = Socket::ask(server.address(), request);
        assert!(socket.is_some());
        assert_eq!(answer.header("sec-websocket-protocol"), chosen, "{offered}");
    }
}

fn a_thousand_subscriptions_in_one_message(transport: Transport) {
    let mut config = open(config(transport));
    config.centrifuge.channels = 900;
    let server = Server::start(config);
    let (mut socket, _) = connected(&server);
    let commands: Vec<_> = (2..1002)
        .map(|id| json!({"id": id, "subscribe": {"channel": format!("room-{id}")}}).to_string())
        .collect();
    socket.send(commands.join("\n"));
    let (mut good, mut refused) = (0, 0);
    for _ in 0..1000 {
        match told(&mut socket) {
            told if told.get("subscribe").is_some() => good += 1,
            told if told["error"]["code"] == json!(106) => refused += 1,
            told => panic!("{told}"),
        }
    }
    assert_eq!((good, refused), (900, 100));
}

fn a_drain_says_come_back(transport: Transport) {
    let mut config = open(config(transport));
    config.drain.delay = Duration::ZERO;
    config.drain.window = Duration::from_millis(100);
    let server = Server::start(config);
    let (mut socket, _) = subscribed(&server, "room-1");
    let draining = server.drain();
    assert_eq!(socket.close(), (Some(3001), "shutdown".into()));
    socket.write(client::close(Some((3001, "shutdown")), MASK));
    draining.wait();
}

fn publications_may_come_as_differences(transport: Transport) {
    let mut config = open(config(transport));
    config.channels.insert(
        0,
        ChannelRule {
            r#match: "prices".parse().expect("a pattern"),
            subscribe: Subscribe::Anyone,
            publish: Publish::Subscribers,
            delta: true,
            ..ChannelRule::default()
        },
    );
    let server = Server::start(config);
    let join = |delta: &str| {
        let (mut socket, _) = connected(&server);
        let answer = asks(
            &mut socket,
            &json!({"id": 2, "subscribe": {"channel": "prices", "delta": delta}}),
        );
        assert_eq!(answer["subscribe"].get("delta").is_some(), !delta.is_empty());
        socket
    };
    let mut raw = server.client_of("/raw/prices");
    let quote =
        |price: u32| format!(r#"{{"symbol":"ACME","name":"The company that makes everything","price":{price}}}"#);
    let mut publish = |price| {
        raw.send(quote(price));
        raw.expect(&quote(price));
    };
    // The next publication, put together from what came before.
    let follow = |socket: &mut Socket, before: &mut Vec<u8>| {
        let publication = told(socket)["push"]["pub"].take();
        let data = publication["data"].as_str().expect("a string").as_bytes().to_vec();
        let is_patch = publication["delta"] == json!(true);
        *before = match is_patch {
            true => protocol::delta::apply(before, &data, 1000).expect("a patch"),
            false => data,
        };
        (String::from_utf8(before.clone()).expect("text"), is_patch)
    };
    let (mut early, mut plain) = (join("fossil"), join(""));
    let (mut base, mut late_base) = (Vec::new(), Vec::new());
    publish(1);
    assert_eq!(
        follow(&mut early, &mut base),
        (quote(1), false),
        "there is nothing to differ from"
    );
    publish(2);
    assert_eq!(follow(&mut early, &mut base), (quote(2), true));
    let mut late = join("fossil");
    for price in [3, 4] {
        publish(price);
        assert_eq!(follow(&mut early, &mut base), (quote(price), true));
        assert_eq!(
            follow(&mut late, &mut late_base),
            (quote(price), price > 3),
            "the first is whole for everybody"
        );
    }
    for price in 1..=4 {
        let expected: Value = serde_json::from_str(&quote(price)).expect("JSON");
        hears(&mut plain, "prices", &expected);
    }
    let (mut elsewhere, _) = connected(&server);
    let answer = asks(
        &mut elsewhere,
        &json!({"id": 2, "subscribe": {"channel": "room-1", "delta": "fossil"}}),
    );
    assert_eq!(
        answer,
        json!({"id": 2, "subscribe": {}}),
        "where the rule does not allow it, it is not offered"
    );
}

#[test]
fn two_gateways_are_one() {
    let redis = Redis::start();
    let servers =
        [Transport::Reactor, Transport::Attached].map(|transport| Server::start(open(config_on(&redis, transport))));
    let mut sockets = [&servers[0], &servers[1]].map(|server| subscribed(server, "room-1").0);
    let mut raws = [&servers[0], &servers[1]].map(|server| server.client_of("/raw/room-1"));
    for (number, from) in [0, 1, 0, 1].into_iter().enumerate() {
        if number < 2 {
            let publish = json!({"id": 3, "publish": {"channel": "room-1", "data": number}});
            sockets[from].send(publish.to_string());
        } else {
            raws[from].send(number.to_string());
        }
        for socket in &mut sockets {
            assert_eq!(published(socket)["pub"]["data"], json!(number));
        }
        raws.iter_mut().for_each(|raw| raw.expect(&number.to_string()));
    }
}

/// The next publication; answers to its own come before or after.
#[track_caller]
fn published(socket: &mut Socket) -> Value {
    loop {
        let told = told(socket);
        match told.get("publish") {
            Some(_) => assert_eq!(told, json!({"id": 3, "publish": {}})),
            None => break told["push"].clone(),
        }
    }
}

#[test]
fn what_redis_does_not_confirm_is_refused_and_can_be_asked_for_again() {
    let mut redis = Redis::start();
    let server = Server::start(open(config_on(&redis, Transport::Reactor)));
    let (mut socket, _) = subscribed(&server, "room-1");
    redis.kill();
    let answer = asks(&mut socket, &json!({"id": 3, "subscribe": {"channel": "room-2"}}));
    assert_eq!(
        answer["error"],
        json!({"code": 100, "message": "internal server error", "temporary": true})
    );
    redis.restart();
    server.wait_for_metric("fanfare_bus_up", 1.0);
    let answer = asks(&mut socket, &json!({"id": 4, "subscribe": {"channel": "room-2"}}));
    assert_eq!(answer, json!({"id": 4, "subscribe": {}}));
}
