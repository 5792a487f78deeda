//! One that is too slow costs itself only: a client that does not read, and a lane that stands still.

use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

use gateway::config::Transport;
use protocol::frame::{Item, client};

use crate::support::{MASK, PATIENCE, Server, Socket, config, narrow_client, on_both_transports, wait_for};

const CLIENTS: usize = 200;
const OUTBOX: usize = 128 << 10;
const MESSAGE: usize = 8 << 10;
/// What the kernel may hold for a client besides its outbox, at both ends.
const KERNEL: usize = 512 << 10;
const PAUSE: Duration = Duration::from_millis(25);

on_both_transports! {
    a_client_that_does_not_read_is_closed_and_nobody_else_waits
    a_lane_that_stands_still_loses_and_nobody_else_does
}

/// A message that says when it was sent, in microseconds since `start`, after its number.
fn message(number: usize, start: Instant) -> String {
    format!("[{number},{},\"{}\"]", start.elapsed().as_micros(), "x".repeat(MESSAGE))
}

/// Number and age of a message.
fn read(data: &[u8], start: Instant) -> (usize, Duration) {
    let text = std::str::from_utf8(data).expect("a text");
    let mut parts = text.trim_start_matches('[').split(',');
    let mut number = || parts.next().and_then(|part| part.parse().ok()).expect("a number");
    let (number, sent) = (number(), number());
    let sent = Duration::from_micros(u64::try_from(sent).expect("a time"));
    (number, start.elapsed().saturating_sub(sent))
}

/// Readers, and the sender of what they read.
struct Load {
    sender: Socket,
    readers: Vec<Socket>,
    sent: usize,
    start: Instant,
}

impl Load {
    /// Sends messages for a while, one every [`PAUSE`]; every reader hears each of them, in order. Returns their ages, sorted.
    fn run(&mut self, duration: Duration, mut look: impl FnMut()) -> Vec<Duration> {
        let first = self.sent;
        let mut next = vec![first; self.readers.len()];
        let mut ages = Vec::new();
        let (began, mut due) = (Instant::now(), Instant::now());
        while began.elapsed() < duration || next.iter().any(|next| *next < self.sent) {
            if due <= Instant::now() && began.elapsed() < duration {
                self.sender.send(message(self.sent, self.start));
                self.sent += 1;
                due += PAUSE;
                look();
            }
            for (reader, next) in self.readers.iter_mut().zip(&mut next) {
                while let Some(data) = hear(reader) {
                    let (number, age) = read(&data, self.start);
                    assert_eq!(number, *next, "a hole");
                    *next += 1;
                    ages.push(age);
                }
            }
            while hear(&mut self.sender).is_some() {}
            assert!(
                began.elapsed() < duration + PATIENCE,
                "not everybody has heard everything"
            );
            thread::sleep(Duration::from_micros(500));
        }
        ages.sort();
        ages
    }
}

/// The message that is there already, if there is one.
fn hear(socket: &mut Socket) -> Option<bytes::Bytes> {
    match socket.next_now() {
        Ok(Some(Item::Message(message))) => Some(message.data),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        other => panic!("{other:?}"),
    }
}

fn p99(ages: &[Duration]) -> Duration {
    ages[ages.len() * 99 / 100]
}

fn a_client_that_does_not_read_is_closed_and_nobody_else_waits(transport: Transport) {
    let mut config = config(transport);
    config.limits.outbox = OUTBOX;
    let server = Server::start(config);
    let mut load = Load {
        sender: server.client(),
        readers: (0..CLIENTS).map(|_| server.client()).collect(),
        sent: 0,
        start: Instant::now(),
    };
    let quiet = p99(&load.run(Duration::from_millis(1500), || {}));

    let mut slow = narrow_client(server.address());
    let from = load.sent;
    let mut most_waiting = 0.0_f64;
    let mut rounds = 0;
    let closed = r#"fanfare_messages_dropped_total{reason="slow_consumer"}"#;
    let mut all = Vec::new();
    while server.metric(closed) == 0.0 {
        let ages = load.run(Duration::from_millis(500), || {
            most_waiting = most_waiting.max(server.metric("fanfare_send_queue_bytes"));
        });
        all.extend(ages);
        rounds += 1;
        assert!(rounds < 30, "it is not found too slow");
    }
    all.sort();
    let busy = p99(&all);
    println!("{transport:?}: p99 {quiet:?} without, {busy:?} with a client that does not read");
    // Other tests run beside this one: whoever waited for the slow one would be later than that, and the bench holds it to less.
    assert!(
        busy <= quiet.mul_f64(1.5) + Duration::from_millis(500),
        "{quiet:?}, {busy:?}"
    );
    if transport == Transport::Reactor {
        // On the other transport everything passes through the outboxes.
        let most = (OUTBOX + 2 * MESSAGE) as f64;
        assert!(
            most_waiting > 0.0 && most_waiting <= most,
            "{most_waiting} bytes were waiting"
        );
    }

    // It reads on, and finds what was sent before the Close without a hole.
    let mut next = from;
    let (code, reason) = loop {
        match slow.next() {
            Some(Item::Message(message)) => {
                assert_eq!(read(&message.data, load.start).0, next);
                next += 1;
            }
            Some(Item::Close { code, reason }) => break (code, reason),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((code, reason.as_str()), (Some(1013), "slow consumer"));
    let kept = (next - from) * MESSAGE;
    assert!(kept <= OUTBOX + KERNEL, "{kept} bytes were kept for it");
    slow.write(client::close(Some((1013, "")), MASK));
    slow.expect_end(PATIENCE);
    server.wait_for_metric(r#"fanfare_connections_closed_total{reason="slow_consumer"}"#, 1.0);
    server.wait_for_metric("fanfare_send_queue_bytes", 0.0);
}

fn a_lane_that_stands_still_loses_and_nobody_else_does(transport: Transport) {
    const QUEUE: usize = 50;
    const MESSAGES: usize = 300;
    let pause = Duration::from_secs(5);
    let mut config = config(transport);
    config.limits.reactor_queue = QUEUE;
    let server = Server::start(config);
    let mut clients: Vec<_> = (0..8).map(|_| server.client()).collect();

    server.pause_lane(0, pause);
    let paused = Instant::now();
    // Whoever is heard now is not on that lane.
    thread::sleep(Duration::from_millis(100));
    for client in &mut clients {
        client.send("\"probe\"");
    }
    let is_moving = |client: &mut Socket| client.next_within(Duration::from_millis(300)).is_ok();
    let (mut moving, mut still): (Vec<_>, Vec<_>) = clients
        .into_iter()
        .map(|mut client| (is_moving(&mut client), client))
        .partition(|(moves, _)| *moves);
    assert!(
        !moving.is_empty() && !still.is_empty(),
        "{} of 8 are moving",
        moving.len()
    );

    for number in 0..MESSAGES {
        let text = format!("[{number}]");
        moving[0].1.send(&text);
        for (_, client) in &mut moving {
            while client.text() != text {}
        }
    }
    assert!(paused.elapsed() < pause, "the others took {:?}", paused.elapsed());
    let dropped = r#"fanfare_messages_dropped_total{reason="lane_behind"}"#;
    let lost = server.metric(dropped);
    assert!(lost >= (MESSAGES - QUEUE) as f64, "{lost} were dropped");

    // The lane goes on where its queue ends, and hears what comes from then on.
    wait_for("the lane to go on", || {
        moving[0].1.send("\"last\"");
        still[0].1.next_within(Duration::from_millis(100)).ok()
    });
    moving[0].1.send("\"very last\"");
    for (_, client) in moving.iter_mut().chain(&mut still) {
        while client.text() != "\"very last\"" {}
    }
    // Those that stood still were not held up for longer than the pause, and what they sent meanwhile is published.
    still[0].1.send("\"from the other lane\"");
    while moving[0].1.text() != "\"from the other lane\"" {}
    let most = (MESSAGES + 100) as f64;
    assert!(
        server.metric(dropped) <= most,
        "{} were dropped",
        server.metric(dropped)
    );
}
