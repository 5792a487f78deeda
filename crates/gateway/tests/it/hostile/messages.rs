//! Good frames with bad contents: they are dropped, the connection stays, and what is good after them is heard.

use std::thread;

use protocol::frame::{Item, client};

use super::{Case, SOON, flood};
use crate::support::{MASK, PATIENCE};

/// Messages that are dropped one and all.
fn dropped(name: &str, messages: Vec<Vec<u8>>) -> Case {
    Case::new(name, move |target| {
        let mut socket = target.attacker();
        for message in &messages {
            socket.send(message);
        }
        socket.send("\"good\"");
        socket.expect("\"good\"");
        socket.leave();
    })
}

/// A message that is odd, but a message.
fn heard(name: &str, message: String) -> Case {
    Case::new(name, move |target| {
        let mut socket = target.attacker();
        socket.send(&message);
        socket.expect(&message);
        socket.leave();
    })
}

pub(super) fn cases() -> Vec<Case> {
    let controls = (0..0x20).map(|byte| vec![b'"', byte, b'"']);
    vec![
        dropped(
            "arrays as deep as fits",
            vec![b"[".repeat(65_000), [b"[".repeat(32_000), b"]".repeat(32_000)].concat()],
        ),
        dropped("objects as deep as fits", vec![b"{\"\":".repeat(16_000)]),
        dropped("control characters in a text", controls.collect()),
        dropped("zeros", vec![vec![0; 1000], b"\"a\0b\"".to_vec(), b"{}\0".to_vec()]),
        dropped("a byte order mark", vec![b"\xef\xbb\xbf{}".to_vec()]),
        dropped(
            "no JSON at all",
            [
                &b"{bad"[..],
                b"",
                b"[1,]",
                b"'",
                b"NaN",
                b"{\"a\":1,}",
                b"\"\\u12\"",
                b"1e",
                b"--1",
            ]
            .map(Vec::from)
            .to_vec(),
        ),
        dropped("ten thousand empty messages", vec![Vec::new(); 10_000]),
        heard("a number of 60,000 digits", "9".repeat(60_000)),
        heard("an exponent beyond everything", "1E999999999999999999".into()),
        heard(
            "surrogates by themselves",
            r#"["\ud800","\udfff","\ude00\ud83d"]"#.into(),
        ),
        heard(
            "names of JavaScript's insides",
            r#"{"__proto__":{"a":1},"constructor":null}"#.into(),
        ),
        heard("zeros in their spelling", r#"{"\u0000":"\u0000"}"#.into()),
        heard("markup", r#"["<script>alert(1)</script>","\r\nX: y"]"#.into()),
        heard("60,000 members", format!("[{}1]", "1,".repeat(30_000))),
        Case::new("bytes that are no text", |target| {
            let mut socket = target.attacker();
            socket.write(client::binary(&[0xff; 1000], MASK));
            socket.send("1");
            socket.expect("1");
            socket.leave();
        }),
        Case::new("everything one byte at a time", |target| {
            let mut socket = target.attacker();
            for byte in &client::text(b"{\"slow\": true}", MASK) {
                socket.write([*byte]);
            }
            socket.expect("{\"slow\":true}");
            socket.leave();
        }),
        Case::new("a Close, and then as much as is taken", |target| {
            let mut socket = target.attacker();
            socket.write(client::close(Some((1000, "")), MASK));
            flood(&mut socket.stream, &client::text(&[b' '; 60_000], MASK), PATIENCE);
            socket.expect_end(SOON);
        }),
        Case::new("twenty thousand pings", |target| {
            let mut socket = target.attacker();
            let pings = client::ping(b"?", MASK).repeat(1000);
            for _ in 0..20 {
                socket.write(&pings);
                for _ in 0..1000 {
                    assert_eq!(socket.next(), Some(Item::Pong("?".into())));
                }
            }
            socket.leave();
        }),
        Case::new("two that never read: one pings, one publishes", |target| {
            let message = format!("\"{}\"", "x".repeat(60_000));
            let pieces = [
                client::ping(&[b'?'; 125], MASK).repeat(1000),
                client::text(message.as_bytes(), MASK).to_vec(),
            ];
            thread::scope(|scope| {
                for piece in &pieces {
                    let mut socket = target.attacker();
                    scope.spawn(move || flood(&mut socket.stream, piece, PATIENCE));
                }
            });
        }),
    ]
}
