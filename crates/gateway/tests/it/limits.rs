//! Every limit on what strangers may ask for: the right refusal, at once, counted, and nothing beyond.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use gateway::config::{Config, Excess, Transport};
use protocol::frame::{Item, client};

use crate::support::{
    MASK, PATIENCE, Server, Socket, ask_on, config, frame_header, get, on_both_transports, upgrade, wait_for,
};

/// Longer than any refusal may take.
const SOON: Duration = Duration::from_secs(2);

on_both_transports! {
    a_message_too_large_is_refused_from_its_header
    the_limit_holds_for_the_whole_message
    a_message_in_too_many_pieces_is_refused
    json_too_deep_is_dropped
    messages_over_the_rate_are_dropped
    messages_over_the_rate_may_close
    there_are_only_so_many_connections
    an_address_has_only_so_many_connections
    an_address_has_only_so_many_handshakes
    forwarded_addresses_count_only_from_proxies
    a_page_of_another_host_may_not_connect
    listed_origins_may_connect
    a_star_lets_every_origin_in
    a_head_too_large_is_refused
    a_handshake_has_its_time
    silence_is_ended
    a_peer_that_answers_stays
    a_trickle_is_ended
    a_client_that_says_much_and_leaves_is_gone
}

/// Its end comes with more before it than one read takes.
fn a_client_that_says_much_and_leaves_is_gone(transport: Transport) {
    let server = server(transport, |_| {});
    let much = client::text(&[b'x'; 20_000], MASK).repeat(8);
    let mut gone: Vec<_> = (0..20).map(|_| server.client()).collect();
    // The kernel learns to keep more than a read takes.
    gone.iter_mut().for_each(|socket| socket.write(much.repeat(10)));
    server.wait_for_metric("fanfare_messages_received_total", 1600.0);
    // So that all of it is there, and the end too, when they look.
    (0..2).for_each(|lane| server.pause_lane(lane, Duration::from_millis(300)));
    for socket in &mut gone {
        socket.write(&much);
        socket.finish();
    }
    gone.iter_mut().for_each(|socket| socket.expect_end(SOON));
    server.wait_for_connections(0);
    assert_eq!(server.metric("fanfare_messages_received_total"), 1760.0);
}

fn server(transport: Transport, change: impl FnOnce(&mut Config)) -> Server {
    let mut config = config(transport);
    change(&mut config);
    Server::start(config)
}

fn a_message_too_large_is_refused_from_its_header(transport: Transport) {
    let server = server(transport, |_| {});
    for size in [64 * 1024 + 1, 1 << 31, 1 << 62] {
        let mut socket = server.client();
        socket.write(frame_header(0x81, size));
        assert_eq!(socket.close(), (Some(1009), "message too large".into()), "{size}");
        socket.expect_end(SOON);
    }
}

fn the_limit_holds_for_the_whole_message(transport: Transport) {
    let server = server(transport, |config| config.limits.message_size = 1000);
    let mut socket = server.client();
    let (most, more) = (format!("\"{}\"", "x".repeat(998)), format!("\"{}\"", "x".repeat(999)));
    socket.send(&most);
    socket.expect(&most);
    socket.send(&more);
    assert_eq!(socket.close().0, Some(1009));

    let mut socket = server.client();
    let piece = client::binary(&[b'x'; 600], MASK);
    socket.write([&[0x02], &piece[1..]].concat());
    let header = frame_header(0x80, 600);
    socket.write([&header[..], &MASK].concat());
    assert_eq!(socket.close().0, Some(1009));
}

fn a_message_in_too_many_pieces_is_refused(transport: Transport) {
    let server = server(transport, |config| config.limits.fragments = 10);
    let piece = |first: u8, payload: &[u8]| [&[first], &client::binary(payload, MASK)[1..]].concat();
    let mut socket = server.client();
    socket.write(piece(0x01, b"\""));
    (0..8).for_each(|_| socket.write(piece(0x00, b"x")));
    socket.write(piece(0x80, b"\""));
    socket.expect("\"xxxxxxxx\"");

    socket.write(piece(0x01, b"\""));
    (0..9).for_each(|_| socket.write(piece(0x00, b"")));
    socket.write(piece(0x00, b""));
    assert_eq!(socket.close(), (Some(1008), "policy violation".into()));
    socket.expect_end(SOON);
}

fn json_too_deep_is_dropped(transport: Transport) {
    let server = server(transport, |config| config.limits.json_depth = 3);
    let mut socket = server.client();
    socket.send("[[[[]]]]");
    socket.send(r#"{"a":[{"b":[]}]}"#);
    socket.send("[[[]]]");
    socket.expect("[[[]]]");
    assert_eq!(
        server.metric(r#"fanfare_messages_dropped_total{reason="malformed"}"#),
        2.0
    );
}

fn messages_over_the_rate_are_dropped(transport: Transport) {
    let server = server(transport, |config| {
        config.limits.message_rate = 1;
        config.limits.message_burst = 5;
    });
    let (mut greedy, mut modest) = (server.client(), server.client());
    greedy.write(
        (0..50)
            .flat_map(|number| client::text(format!("{number}").as_bytes(), MASK).to_vec())
            .collect::<Vec<_>>(),
    );
    for number in 0..5 {
        modest.expect(&number.to_string());
    }
    let dropped = r#"fanfare_messages_dropped_total{reason="rate_limit"}"#;
    wait_for("the rest to be dropped", || {
        (server.metric(dropped) >= 40.0).then_some(())
    });
    modest.send("\"mine\"");
    while modest.text() != "\"mine\"" {}
    // It earns its right back.
    wait_for("another message", || {
        greedy.send("\"later\"");
        matches!(
            modest.next_within(Duration::from_millis(300)),
            Ok(Some(Item::Message(_)))
        )
        .then_some(())
    });
}

fn messages_over_the_rate_may_close(transport: Transport) {
    let server = server(transport, |config| {
        config.limits.message_rate = 5;
        config.limits.message_excess = Excess::Close;
    });
    let (mut greedy, mut other) = (server.client(), server.client());
    greedy.write(
        (0..50)
            .flat_map(|number| client::text(format!("{number}").as_bytes(), MASK).to_vec())
            .collect::<Vec<_>>(),
    );
    for number in 0..5 {
        other.expect(&number.to_string());
    }
    assert_eq!(greedy.close(), (Some(1008), "policy violation".into()));
    greedy.expect_end(SOON);
}

fn there_are_only_so_many_connections(transport: Transport) {
    let server = server(transport, |config| config.limits.connections = 3);
    let mut clients: Vec<_> = (0..3).map(|_| server.client()).collect();
    for _ in 0..3 {
        let refused = server.ask(upgrade("/", &[]));
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    }
    assert_eq!(
        server.metric(r#"fanfare_connections_rejected_total{reason="capacity"}"#),
        3.0
    );
    // Load is no reason to be taken out of service.
    assert_eq!(get(server.admin(), "/readyz").map(|(status, _)| status), Some(200));
    clients.pop().expect("three").leave();
    let mut again = wait_for("a free place", || Socket::ask(server.address(), upgrade("/", &[])).0);
    again.send("1");
    clients[0].expect("1");
}

fn an_address_has_only_so_many_connections(transport: Transport) {
    let server = server(transport, |config| config.limits.connections_per_address = 2);
    let _clients = [server.client(), server.client()];
    let refused = server.ask(upgrade("/", &[]));
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
    // Whatever it says about itself.
    let refused = server.ask(upgrade("/", &[("X-Forwarded-For", "192.0.2.1")]));
    assert_eq!(refused.status, 429);
    assert_eq!(
        server.metric(r#"fanfare_connections_rejected_total{reason="address"}"#),
        2.0
    );
}

fn an_address_has_only_so_many_handshakes(transport: Transport) {
    let begin = |server: &Server| {
        let stream = TcpStream::connect(server.address()).expect("a listener");
        stream.set_read_timeout(Some(SOON)).expect("a socket");
        stream
    };
    let limited = server(transport, |config| config.limits.handshakes_per_address = 4);
    // The gateway's own knocking at its door counts for a moment, too.
    let held: Vec<_> = (0..12).map(|_| begin(&limited)).collect();
    let refused = wait_for("refusals", || {
        let refused = held.iter().filter(|stream| has_ended(stream)).count();
        (refused >= 8).then_some(refused)
    });
    assert!(refused <= 9, "{refused} refused");
    assert!(limited.metric(r#"fanfare_connections_rejected_total{reason="address"}"#) >= 8.0);
    drop(held);
    wait_for("the places to be free again", || {
        let mut stream = begin(&limited);
        let answer = ask_on(&mut stream, upgrade("/", &[]));
        answer.ok().filter(|answer| answer.status == 101)
    });

    let trusting = server(transport, |config| {
        config.limits.handshakes_per_address = 4;
        config.listener.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    });
    let held: Vec<_> = (0..12).map(|_| begin(&trusting)).collect();
    wait_for("the handshakes", || {
        (trusting.metric("fanfare_handshakes") >= 12.0).then_some(())
    });
    assert!(!held.iter().any(has_ended));
    trusting.client().leave();
}

/// Whether the other side has ended the connection.
fn has_ended(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a socket");
    let ended = match stream.peek(&mut [0]) {
        Err(error) => error.kind() != ErrorKind::WouldBlock,
        Ok(count) => count == 0,
    };
    stream.set_nonblocking(false).expect("a socket");
    ended
}

fn forwarded_addresses_count_only_from_proxies(transport: Transport) {
    let server = server(transport, |config| {
        config.limits.connections_per_address = 1;
        config.listener.trusted_proxies = vec!["127.0.0.1/32".parse().expect("a network")];
    });
    let ask = |forwarded: &str| Socket::ask(server.address(), upgrade("/", &[("X-Forwarded-For", forwarded)]));
    let held = [
        ask("192.0.2.1"),
        ask("192.0.2.2"),
        ask("2001:db8::1"),
        ask("192.0.2.9, 192.0.2.3"),
    ];
    assert!(held.iter().all(|(socket, _)| socket.is_some()));
    for taken in [
        "192.0.2.1",
        "2001:db8::1",
        "192.0.2.77, 192.0.2.2",
        "192.0.2.3, 127.0.0.1",
    ] {
        assert_eq!(ask(taken).1.status, 429, "{taken}");
    }
    // Nonsense is the proxy's own: one for all of it.
    let _own = ask("nonsense");
    assert_eq!(ask("").1.status, 429);
}

/// What a browser on a page of somebody else might come with.
fn a_page_of_another_host_may_not_connect(transport: Transport) {
    let server = server(transport, |_| {});
    let host = ("Host", "chat.test:3000");
    for origin in [
        "http://chat.test:3000",
        "https://chat.test:3000",
        "https://CHAT.test:3000",
    ] {
        assert_eq!(
            server.ask(upgrade("/", &[host, ("Origin", origin)])).status,
            101,
            "{origin}"
        );
    }
    assert_eq!(server.ask(upgrade("/", &[host])).status, 101, "no browser");
    for origin in [
        "https://evil.test",
        "null",
        "https://chat.test",
        "https://chat.test:3000.evil.test",
        "https://evil.test/chat.test:3000",
        "https://chat.test:3000@evil.test",
        "https://evilchat.test:3000",
        "https://evil.test#://chat.test:3000",
        "chat.test:3000",
        "https://",
        "https://chat.test:3000/",
        "https://chat.test:3001",
        "*",
    ] {
        assert_eq!(
            server.ask(upgrade("/", &[host, ("Origin", origin)])).status,
            403,
            "{origin}"
        );
    }
    let both = [host, ("Origin", "https://chat.test:3000\r\nOrigin: https://evil.test")];
    assert_eq!(server.ask(upgrade("/", &both)).status, 403, "two origins");
    assert_eq!(
        server
            .ask(upgrade(
                "/",
                &[host, ("Cookie", "a=b"), ("Origin", "https://evil.test")]
            ))
            .status,
        403
    );
    assert_eq!(
        server.metric(r#"fanfare_connections_rejected_total{reason="origin"}"#),
        15.0
    );
}

fn listed_origins_may_connect(transport: Transport) {
    let server = server(transport, |config| {
        config.listener.allowed_origins = vec!["https://chat.test".into()];
    });
    for (origin, status) in [
        ("https://chat.test", 101),
        ("http://chat.test", 403),
        ("https://chat.test.evil.test", 403),
        ("https://sub.chat.test", 403),
        ("http://gateway.test", 101),
    ] {
        assert_eq!(
            server.ask(upgrade("/", &[("Origin", origin)])).status,
            status,
            "{origin}"
        );
    }
}

fn a_star_lets_every_origin_in(transport: Transport) {
    let server = server(transport, |config| config.listener.allowed_origins = vec!["*".into()]);
    for origin in ["https://evil.test", "null"] {
        assert_eq!(server.ask(upgrade("/", &[("Origin", origin)])).status, 101, "{origin}");
    }
}

fn a_head_too_large_is_refused(transport: Transport) {
    let server = server(transport, |config| config.limits.header_size = 4096);
    assert_eq!(server.ask(upgrade("/", &[("X-Long", &"x".repeat(3500))])).status, 101);
    assert_eq!(server.ask(upgrade("/", &[("X-Long", &"x".repeat(4096))])).status, 431);
    assert_eq!(server.ask(upgrade(&format!("/?{}", "x".repeat(4096)), &[])).status, 431);
}

fn a_handshake_has_its_time(transport: Transport) {
    let server = server(transport, |config| {
        // actix-http's clock goes in steps of half a second.
        config.limits.handshake_timeout = Duration::from_millis(1500);
    });
    let began = Instant::now();
    let request = upgrade("/", &[]);
    let mut slow: Vec<_> = ["", "GET", &request[..request.len() - 2]]
        .into_iter()
        .map(|begun| {
            let mut stream = TcpStream::connect(server.address()).expect("a listener");
            stream.write_all(begun.as_bytes()).expect("taken");
            stream
        })
        .collect();
    for stream in &mut slow {
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        let said = String::from_utf8_lossy(&said);
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 408 "), "{said}");
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    server.client().leave();
}

/// Settings under which a silent peer is found within a second.
fn impatient(config: &mut Config) {
    config.ping.interval = Duration::from_millis(400);
    config.ping.timeout = Duration::from_millis(400);
}

fn silence_is_ended(transport: Transport) {
    let server = server(transport, impatient);
    let _deaf = server.client();
    let mut silent = server.client();
    let began = Instant::now();
    // It is asked first, and reads the question without answering.
    assert_eq!(silent.next(), Some(Item::Ping("".into())));
    let asked = began.elapsed();
    assert!(
        (Duration::from_millis(300)..Duration::from_millis(1500)).contains(&asked),
        "asked after {asked:?}"
    );
    while silent.next_within(PATIENCE).is_ok_and(|item| item.is_some()) {}
    let ended = began.elapsed();
    assert!(
        (Duration::from_millis(700)..Duration::from_secs(3)).contains(&ended),
        "ended after {ended:?}"
    );
    server.wait_for_metric(r#"fanfare_connections_closed_total{reason="ping_timeout"}"#, 2.0);
    server.wait_for_connections(0);
}

fn a_peer_that_answers_stays(transport: Transport) {
    let server = server(transport, impatient);
    let (mut answering, mut talking) = (server.client(), server.client());
    let began = Instant::now();
    let mut pings = 0;
    while began.elapsed() < Duration::from_millis(2500) {
        talking.send("1");
        match answering.next_within(Duration::from_millis(100)) {
            Ok(Some(Item::Ping(payload))) => {
                pings += 1;
                answering.write(client::pong(&payload, MASK));
            }
            Ok(Some(Item::Message(_))) | Err(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(pings >= 2, "{pings} pings");
    assert_eq!(server.metric("fanfare_connections"), 2.0);
}

/// A peer in the middle of a frame cannot answer; bytes alone are no sign of life.
fn a_trickle_is_ended(transport: Transport) {
    let server = server(transport, impatient);
    let mut socket = server.client();
    let began = Instant::now();
    let frame = client::text(&[b'1'; 1000], MASK);
    let mut bytes = frame.iter();
    let mut is_open = true;
    while is_open && began.elapsed() < PATIENCE {
        is_open = socket.try_write([*bytes.next().expect("enough")]).is_ok()
            && !matches!(socket.next_within(Duration::from_millis(50)), Ok(None));
    }
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "trickled for {:?}",
        began.elapsed()
    );
    server.wait_for_connections(0);
}
