//! What a message costs here. Prints, judges nothing:
//! `cargo test --profile quick -p fanfare-protocol --test it speed -- --ignored --nocapture`

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::dialect::{Carrier, Format};
use protocol::frame::{self, Guard, Kind, Limits, Message, Parser, Role};
use protocol::{Dialect, json};

const LIMITS: Limits = Limits {
    message_size: 64 * 1024,
    fragments: 16,
};

#[test]
#[ignore = "prints figures"]
fn speed() {
    for size in [16, 128, 1024, 16 * 1024, 60 * 1024] {
        let compact = object(size, "");
        let spaced = object(size, " ");
        let stream = frame::client::text(compact.as_bytes(), [1, 2, 3, 4]);
        println!("{size} bytes");
        let mut parser = Parser::new(Role::Server);
        measure("  parser", || {
            parser.next(&mut black_box(&stream[..]), &LIMITS).expect("good")
        });
        let mut guard = Guard::new(Role::Server);
        measure("  guard", || guard.check(black_box(&stream), &LIMITS).expect("good"));
        measure("  text", || frame::text(black_box(compact.as_bytes())));
        let (compact, spaced) = (Bytes::from(compact), Bytes::from(spaced));
        measure("  compact, nothing to do", || {
            json::compact(compact.clone(), 512).expect("JSON")
        });
        measure("  compact, spaces", || {
            json::compact(spaced.clone(), 512).expect("JSON")
        });
    }
}

#[test]
#[ignore = "prints figures"]
fn commands() {
    for (what, command) in [
        ("subscribe", r#"{"subscribe":{"channel":"room:1","flag":1},"id":2}"#),
        ("publish", r#"{"publish":{"channel":"room:1","data":{"a":1}},"id":3}"#),
        ("pong", "{}"),
    ] {
        let data = Bytes::from_static(command.as_bytes());
        let dialect = Dialect::Centrifuge(Format::Json, Carrier::Frames);
        measure(what, || {
            let data = black_box(data.clone());
            dialect.decode(Message { kind: Kind::Text, data }, 64).count()
        });
    }
}

/// A chat message of about `size` bytes.
fn object(size: usize, space: &str) -> String {
    let text = "x".repeat(size.saturating_sub(45));
    format!("{{\"from\":{space}\"somebody\",{space}\"at\":{space}1712345678,{space}\"text\":{space}\"{text}\"}}")
}

fn measure<T>(what: &str, mut step: impl FnMut() -> T) {
    let started = Instant::now();
    let mut steps = 0;
    while started.elapsed() < Duration::from_millis(100) {
        for _ in 0..100 {
            black_box(step());
        }
        steps += 100;
    }
    println!(
        "{what:26} {:7.1} ns",
        started.elapsed().as_secs_f64() * 1e9 / f64::from(steps)
    );
}
