//! What every client may rely on, byte by byte: on both transports, and on both buses.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use gateway::config::{ChannelRule, Publish, Subscribe};
use gateway::config::{Config, RawPublish, Transport};
use protocol::Channel;
use protocol::frame::{Item, client};

use crate::support::{MASK, PATIENCE, Redis, Server, Socket, ask_on, config, config_on, on_both_transports, upgrade};

/// What a gateway stands on.
struct Place {
    transport: Transport,
    redis: Option<Redis>,
}

impl Place {
    fn config(&self) -> Config {
        match &self.redis {
            Some(redis) => config_on(redis, self.transport),
            None => config(self.transport),
        }
    }

    fn server(&self) -> Server {
        Server::start(self.config())
    }

    fn server_with(&self, change: impl FnOnce(&mut Config)) -> Server {
        let mut config = self.config();
        change(&mut config);
        Server::start(config)
    }
}

macro_rules! on_every_place {
    ($($test:ident)+) => {
        on_every_place! { reactor_memory: Transport::Reactor, None; $($test)+ }
        on_every_place! { reactor_redis: Transport::Reactor, Some(Redis::start()); $($test)+ }
        on_every_place! { attached_memory: Transport::Attached, None; $($test)+ }
        on_every_place! { attached_redis: Transport::Attached, Some(Redis::start()); $($test)+ }
    };
    ($place:ident: $transport:expr, $redis:expr; $($test:ident)+) => {
        mod $place {
            use super::*;
            $(#[test] fn $test() { super::$test(&Place { transport: $transport, redis: $redis }) })+
        }
    };
}

on_every_place! {
    everybody_gets_a_message_once_and_compact
    every_json_value_is_a_message
    what_is_not_json_is_dropped_and_counted
    a_message_right_behind_the_handshake_counts
    nothing_published_after_the_handshake_is_missed
    everybody_hears_the_same_order
    a_thousand_messages_at_once_keep_their_order
    a_message_may_come_in_pieces
    a_message_as_large_as_the_limit_passes
    rules_open_channels
    development_mode_opens_channels
}

on_both_transports! {
    a_subprotocol_is_echoed
    a_plain_request_is_told_to_upgrade
    the_demo_page_is_shown_when_asked_for
    handshakes_that_are_none
    handshakes_in_other_words
    a_connection_may_ask_again
    a_ping_is_answered
    a_close_is_answered_with_its_code
    nobody_else_is_disturbed_by_a_reset
    the_bare_channel_can_be_off
    the_bare_channel_can_be_for_listening
}

fn everybody_gets_a_message_once_and_compact(place: &Place) {
    let server = place.server();
    let mut clients = [server.client(), server.client(), server.client()];
    for (sent, heard) in [
        (r#"{"x": 1}"#, r#"{"x":1}"#),
        ("{ \"b\" : 1,\n \"a\": [1, 2] }", r#"{"b":1,"a":[1,2]}"#),
        (" \t\r\n[ ] ", "[]"),
        ("[2.0, 1e3, -0, 0.1000, 1E400]", "[2.0,1e3,-0,0.1000,1E400]"),
        ("12345678901234567890", "12345678901234567890"),
        (r#"{"dup":1,"dup":2}"#, r#"{"dup":1,"dup":2}"#),
        (r#"{"2":"x","1":"y"}"#, r#"{"2":"x","1":"y"}"#),
        (
            r#"["\u00e9\/", "\ud800", " a  b "]"#,
            r#"["\u00e9\/","\ud800"," a  b "]"#,
        ),
        ("\"grüße 世界 𝄞\"", "\"grüße 世界 𝄞\""),
    ] {
        clients[0].send(sent);
        for client in &mut clients {
            // Also the first thing that it hears at all: there is no greeting.
            client.expect(heard);
        }
    }
    server.wait_for_metric("fanfare_messages_sent_total", 27.0);
}

fn every_json_value_is_a_message(place: &Place) {
    let server = place.server();
    let (mut sender, mut other) = (server.client(), server.client());
    for value in ["42", "\"s\"", "null", "[]", "{}", "true", "false", "-1.5e-3", "\"\""] {
        sender.send(value);
        other.expect(value);
    }
    // Bytes that are UTF-8 are text.
    sender.write(client::binary(b"[ 1 ]", MASK));
    other.expect("[1]");
}

fn what_is_not_json_is_dropped_and_counted(place: &Place) {
    let server = place.server();
    let (mut sender, mut other) = (server.client(), server.client());
    let deep = "[".repeat(5000) + &"]".repeat(5000);
    for bad in ["{bad", "", "[1,]", "\u{feff}{}", deep.as_str()] {
        sender.send(bad);
    }
    sender.write(client::binary(b"\x00\xff\xfe", MASK));
    sender.send(r#"{"ok":true}"#);
    sender.expect(r#"{"ok":true}"#);
    other.expect(r#"{"ok":true}"#);
    assert_eq!(
        server.metric(r#"fanfare_messages_dropped_total{reason="malformed"}"#),
        6.0
    );
    for bad in [
        "  ",
        "NaN",
        "1 2",
        "'a'",
        "{\"a\"}",
        "\"\u{1}\"",
        "01",
        "[1",
        "tru",
        "\"\\x\"",
    ] {
        sender.send(bad);
    }
    sender.send("1");
    other.expect("1");
    assert_eq!(
        server.metric(r#"fanfare_messages_dropped_total{reason="malformed"}"#),
        16.0
    );
}

fn a_message_right_behind_the_handshake_counts(place: &Place) {
    let server = place.server();
    let mut other = server.client();
    let mut request = upgrade("/", &[]).into_bytes();
    request.extend_from_slice(&client::text(b"[ 1 ]", MASK));
    request.extend_from_slice(&client::text(b"2", MASK));
    let frame = client::text(b"\"split\"", MASK);
    let (begun, rest) = frame.split_at(7);
    request.extend_from_slice(begun);
    let (socket, _) = Socket::ask(server.address(), request);
    let mut socket = socket.expect("granted");
    socket.write(rest);
    for heard in ["[1]", "2", "\"split\""] {
        socket.expect(heard);
        other.expect(heard);
    }
}

fn nothing_published_after_the_handshake_is_missed(place: &Place) {
    let server = place.server();
    let mut sender = server.client();
    // What was begun before a client was open may be heard or not; everything after is, without a hole.
    let begun = AtomicU32::new(0);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let began = Instant::now();
            while !is_over.load(Ordering::SeqCst) && began.elapsed() < PATIENCE {
                let number = begun.fetch_add(1, Ordering::SeqCst);
                sender.send(number.to_string());
                assert_eq!(sender.text(), number.to_string());
            }
        });
        for _ in 0..50 {
            let mut client = server.client();
            let before = begun.load(Ordering::SeqCst);
            let first: u32 = client.text().parse().expect("a number");
            assert!(
                first <= before,
                "{first} is the first heard of what came after {before}"
            );
            for number in first + 1..first + 5 {
                client.expect(&number.to_string());
            }
        }
        is_over.store(true, Ordering::SeqCst);
    });
}

fn everybody_hears_the_same_order(place: &Place) {
    let server = place.server();
    let mut clients: Vec<_> = (0..4).map(|_| server.client()).collect();
    for round in 0..50 {
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(format!("[{number},{round}]"));
        }
    }
    let heard: Vec<Vec<_>> = clients
        .iter_mut()
        .map(|client| (0..200).map(|_| client.text()).collect())
        .collect();
    for one in &heard {
        assert_eq!(one, &heard[0]);
    }
    for number in 0..4 {
        let from = format!("[{number},");
        let own = heard[0].iter().filter(|text| text.starts_with(&from));
        assert!(
            own.eq((0..50)
                .map(|round| format!("[{number},{round}]"))
                .collect::<Vec<_>>()
                .iter())
        );
    }
}

fn a_thousand_messages_at_once_keep_their_order(place: &Place) {
    let server = place.server();
    let (mut sender, mut other) = (server.client(), server.client());
    let messages: Vec<u8> = (0..1000)
        .flat_map(|number: u32| client::text(number.to_string().as_bytes(), MASK).to_vec())
        .collect();
    sender.write(messages);
    for number in 0..1000 {
        other.expect(&number.to_string());
        sender.expect(&number.to_string());
    }
}

fn a_message_may_come_in_pieces(place: &Place) {
    let server = place.server();
    let mut sender = server.client();
    // Cut inside a character, with a ping in between.
    let mut pieces = Vec::new();
    for (first, payload) in [(0x01, &b"[ \"\xc3"[..]), (0x00, b"\xa9\""), (0x89, b"?"), (0x80, b" ]")] {
        let frame = client::binary(payload, MASK);
        pieces.push(first);
        pieces.extend_from_slice(&frame[1..]);
    }
    for byte in &pieces {
        sender.write([*byte]);
    }
    assert_eq!(sender.next(), Some(Item::Pong("?".into())));
    sender.expect("[\"é\"]");
}

fn a_message_as_large_as_the_limit_passes(place: &Place) {
    let server = place.server();
    let (mut sender, mut other) = (server.client(), server.client());
    let message = format!("\"{}\"", "x".repeat(64 * 1024 - 2));
    for _ in 0..3 {
        sender.send(&message);
        sender.expect(&message);
        other.expect(&message);
    }
}

fn rules_open_channels(place: &Place) {
    let server = place.server_with(|config| {
        config.channels = vec![
            rule("news-*", Subscribe::Anyone, Publish::Nobody),
            rule("room-secret", Subscribe::Nobody, Publish::Nobody),
            rule("room-*", Subscribe::Anyone, Publish::Subscribers),
        ];
    });
    for (path, status) in [
        ("/raw/room-1", 101),
        ("/raw/news-1", 101),
        ("/raw/chat-channel", 101),
        ("/raw/room-1?token=x", 401),
        ("/?token=x", 101),
        ("/raw/room%2D1", 101),
        ("/raw/room-secret", 403),
        ("/raw/unknown", 404),
        ("/raw/private-1", 404),
        ("/raw/room-*", 404),
        ("/raw/room-%20", 404),
        ("/raw/room-%0d%0a", 404),
        ("/raw/room-%00", 404),
        ("/raw/room-%ff", 404),
        ("/raw/..%2froom-1", 404),
        ("/raw/", 404),
        ("/raw", 404),
        ("/raw/room-1/", 404),
        ("/other", 404),
    ] {
        assert_eq!(server.ask(upgrade(path, &[])).status, status, "{path}");
    }
    let long = format!("/raw/room-{}", "x".repeat(251));
    assert_eq!(server.ask(upgrade(&long, &[])).status, 404, "256 bytes");
    assert_eq!(
        server.ask(upgrade(&long[..long.len() - 1], &[])).status,
        101,
        "255 bytes"
    );

    let (mut one, mut other) = (server.client_of("/raw/room-1"), server.client_of("/raw/room-1"));
    let (mut elsewhere, mut bare) = (server.client_of("/raw/room-2"), server.client());
    let mut same = server.client_of("/raw/chat-channel");
    let mut reader = server.client_of("/raw/news-1");
    one.send("\"in room 1\"");
    elsewhere.send("\"in room 2\"");
    bare.send("\"bare\"");
    one.expect("\"in room 1\"");
    other.expect("\"in room 1\"");
    elsewhere.expect("\"in room 2\"");
    bare.expect("\"bare\"");
    same.expect("\"bare\"");
    reader.send("\"not allowed\"");
    server.wait_for_metric(r#"fanfare_messages_dropped_total{reason="not_allowed"}"#, 1.0);
    // The channel is left with its last subscriber, and can be had again.
    drop((one, other));
    server.wait_for_connections(4);
    let mut again = server.client_of("/raw/room-1");
    again.send("\"again\"");
    again.expect("\"again\"");
}

fn rule(pattern: &str, subscribe: Subscribe, publish: Publish) -> ChannelRule {
    ChannelRule {
        r#match: pattern.parse().expect("a pattern"),
        subscribe,
        publish,
        ..ChannelRule::default()
    }
}

fn development_mode_opens_channels(place: &Place) {
    let server = place.server_with(|config| config.dev = true);
    let (mut one, mut other) = (server.client_of("/raw/anything"), server.client_of("/raw/anything"));
    one.send("1");
    other.expect("1");
    assert_eq!(server.ask(upgrade("/raw/a*", &[])).status, 404);
}

fn a_subprotocol_is_echoed(transport: Transport) {
    let server = Server::start(config(transport));
    for (offered, chosen) in [
        (None, None),
        (Some("chat"), Some("chat")),
        (Some("chat, superchat"), Some("chat")),
        (Some(" a,b"), Some("a")),
        (Some(","), None),
        (Some("a b"), None),
        (Some("<script>"), None),
    ] {
        let headers: Vec<_> = offered
            .iter()
            .map(|offered| ("Sec-WebSocket-Protocol", *offered))
            .collect();
        let answer = server.ask(upgrade("/", &headers));
        assert_eq!(
            (answer.status, answer.header("sec-websocket-protocol")),
            (101, chosen),
            "{offered:?}"
        );
        assert_eq!(answer.header("sec-websocket-extensions"), None);
    }
    let offer = [("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")];
    let answer = server.ask(upgrade("/", &offer));
    assert_eq!((answer.status, answer.header("sec-websocket-extensions")), (101, None));
}

fn a_plain_request_is_told_to_upgrade(transport: Transport) {
    let server = Server::start(config(transport));
    for path in ["/", "/raw/chat-channel", "/?x=1"] {
        for accept in ["", "Accept: text/html\r\n"] {
            let answer = server.ask(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{accept}\r\n"));
            assert_eq!(answer.status, 426, "{path} {accept}");
            assert_eq!(answer.header("upgrade"), Some("websocket"));
            assert_eq!(answer.header("sec-websocket-version"), Some("13"));
        }
    }
    let posted = server.ask("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    assert_eq!((posted.status, posted.header("allow")), (405, Some("GET")));
}

fn the_demo_page_is_shown_when_asked_for(transport: Transport) {
    let mut config = config(transport);
    config.demo.enabled = true;
    let server = Server::start(config);
    let get = |path: &str, accept: &str| server.ask(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{accept}\r\n"));
    let page = get("/", "Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\n");
    assert_eq!(page.status, 200);
    assert!(page.body.contains("</html>"), "{}", page.body);
    assert!(
        page.header("content-type")
            .is_some_and(|kind| kind.starts_with("text/html"))
    );
    assert!(page.header("content-security-policy").is_some());
    assert_eq!(get("/", "").status, 426);
    assert_eq!(get("/", "Accept: application/json\r\n").status, 426);
    assert_eq!(get("/raw/chat-channel", "Accept: text/html\r\n").status, 426);
    assert_eq!(server.ask(upgrade("/", &[("Accept", "text/html")])).status, 101);
}

fn handshakes_that_are_none(transport: Transport) {
    let server = Server::start(config(transport));
    for (changes, status) in [
        (&[("Sec-WebSocket-Key", "")][..], 400),
        (&[("Sec-WebSocket-Version", "")], 400),
        (&[("Sec-WebSocket-Version", "8")], 426),
        (&[("Connection", "keep-alive")], 400),
        (&[("Upgrade", "h2c")], 426),
        (&[("Upgrade", "")], 426),
        (&[("Content-Length", "5")], 400),
        (&[("Transfer-Encoding", "chunked")], 400),
    ] {
        let answer = server.ask(upgrade("/", changes));
        assert_eq!(answer.status, status, "{changes:?}: {answer:?}");
        if status == 426 {
            assert_eq!(answer.header("sec-websocket-version"), Some("13"), "{changes:?}");
        }
    }
    let with_line = |line: &str| upgrade("/", &[]).replacen("GET / HTTP/1.1", line, 1);
    assert_eq!(server.ask(with_line("POST / HTTP/1.1")).status, 405);
    assert_eq!(server.ask(with_line("GET / HTTP/1.0")).status, 400);
    assert_eq!(server.ask("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").status, 400);
    server.client().leave();
}

fn handshakes_in_other_words(transport: Transport) {
    let server = Server::start(config(transport));
    for changes in [
        &[("Connection", "keep-alive, Upgrade")][..],
        &[("Connection", "upgrade")],
        &[("Upgrade", "WebSocket")],
        &[("Host", "other.test:1234")],
        &[("X-Unknown", "x"), ("Cookie", "a=b; c=d")],
        &[("Content-Length", "0")],
    ] {
        let (socket, answer) = Socket::ask(server.address(), upgrade("/", changes));
        let mut socket = socket.unwrap_or_else(|| panic!("{changes:?}: {answer:?}"));
        socket.send("1");
        socket.expect("1");
    }
}

fn a_connection_may_ask_again(transport: Transport) {
    let server = Server::start(config(transport));
    let mut stream = TcpStream::connect(server.address()).expect("a listener");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    for _ in 0..3 {
        let answer = ask_on(&mut stream, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("an answer");
        assert_eq!(answer.status, 426);
    }
    let (socket, answer) = Socket::ask_on(stream, upgrade("/", &[]));
    let mut socket = socket.unwrap_or_else(|| panic!("{answer:?}"));
    socket.send("1");
    socket.expect("1");
}

fn a_ping_is_answered(transport: Transport) {
    let server = Server::start(config(transport));
    let mut socket = server.client();
    for payload in ["", "hello", &"x".repeat(125)] {
        socket.write(client::ping(payload.as_bytes(), MASK));
        assert_eq!(socket.next(), Some(Item::Pong(payload.to_owned().into())));
    }
    socket.write(client::pong(b"unasked", MASK));
    socket.send("1");
    socket.expect("1");
}

fn a_close_is_answered_with_its_code(transport: Transport) {
    let server = Server::start(config(transport));
    for close in [
        Some((1000, "bye")),
        Some((1000, "")),
        Some((4001, "")),
        Some((3000, "x")),
        None,
    ] {
        let mut socket = server.client();
        socket.write(client::close(close, MASK));
        assert_eq!(
            socket.next(),
            Some(Item::Close {
                code: close.map(|(code, _)| code),
                reason: String::new()
            })
        );
        // The connection is the gateway's to end.
        assert_eq!(socket.next_within(Duration::from_secs(2)).ok(), Some(None), "{close:?}");
    }
    // What was sent before the Close is published, what comes after is not.
    let (mut sender, mut other) = (server.client(), server.client());
    let (before, after) = (client::text(b"1", MASK), client::text(b"2", MASK));
    sender.write([&before[..], &client::close(None, MASK), &after].concat());
    other.expect("1");
    let mut third = server.client();
    third.send("3");
    other.expect("3");
    server.wait_for_metric(r#"fanfare_connections_closed_total{reason="client"}"#, 6.0);
}

fn nobody_else_is_disturbed_by_a_reset(transport: Transport) {
    let server = Server::start(config(transport));
    let mut witness = server.client();
    for number in 0..20 {
        server.client().reset();
        let half = server.client();
        half.finish();
        witness.send(number.to_string());
        witness.expect(&number.to_string());
    }
    server.wait_for_connections(1);
    server.wait_for_metric(r#"fanfare_connections_closed_total{reason="lost"}"#, 40.0);
}

fn the_bare_channel_can_be_off(transport: Transport) {
    let mut config = config(transport);
    config.raw.channel = None;
    let server = Server::start(config);
    assert_eq!(server.ask(upgrade("/", &[])).status, 404);
    assert_eq!(server.ask(upgrade("/raw/chat-channel", &[])).status, 404);
}

fn the_bare_channel_can_be_for_listening(transport: Transport) {
    let mut config = config(transport);
    config.raw.channel = Channel::parse("quiet").ok();
    config.raw.publish = RawPublish::Nobody;
    let server = Server::start(config);
    let mut socket = server.client();
    socket.send("1");
    socket.write(client::ping(b"", MASK));
    assert_eq!(socket.next(), Some(Item::Pong("".into())));
    server.wait_for_metric(r#"fanfare_messages_dropped_total{reason="not_allowed"}"#, 1.0);
}

#[test]
fn nodes_on_one_redis_share_their_channels() {
    let redis = Redis::start();
    let open = |transport| {
        let mut config = config_on(&redis, transport);
        config.dev = true;
        Server::start(config)
    };
    let (a, b) = (open(Transport::Reactor), open(Transport::Attached));
    for path in ["/", "/raw/room-1"] {
        let mut clients = [a.client_of(path), a.client_of(path), b.client_of(path)];
        for sender in 0..clients.len() {
            let text = format!("[{sender}]");
            clients[sender].send(format!("[ {sender} ]"));
            clients.iter_mut().for_each(|client| client.expect(&text));
        }
    }
}

#[test]
fn what_others_publish_on_redis_is_passed_on_as_it_is() {
    let redis = Redis::start();
    let servers =
        [Transport::Reactor, Transport::Attached].map(|transport| Server::start(config_on(&redis, transport)));
    let mut clients: Vec<_> = servers.iter().map(Server::client).collect();
    for payload in ["\"hi\"", "{ \"kept\" :  1 }", "not JSON", "grüße"] {
        redis.publish("chat-channel", payload);
        clients.iter_mut().for_each(|client| client.expect(payload));
    }
}
