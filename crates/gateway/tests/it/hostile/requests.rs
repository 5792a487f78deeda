//! Requests that are none, or mean something else: refused, with nothing of them in the answer.

use std::io::Write;
use std::time::{Duration, Instant};

use super::{Case, SOON, expect_end, flood};
use crate::support::{PATIENCE, ask_on, upgrade};

/// A request that is answered with one of `statuses`; 0 stands for an end without an answer.
fn answered(name: &str, statuses: &'static [u16], request: impl Into<Vec<u8>>) -> Case {
    let request = request.into();
    Case::new(name, move |target| {
        let status = target.status(&request);
        assert!(statuses.contains(&status), "{status}, not one of {statuses:?}");
    })
}

/// A request whose answer must not repeat what it smuggles in.
fn not_repeated(name: &str, request: String) -> Case {
    Case::new(name, move |target| {
        let mut stream = target.dial();
        if let Ok(answer) = ask_on(&mut stream, &request) {
            assert!(!answer.head.to_lowercase().contains("x-evil"), "{}", answer.head);
        }
    })
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

pub(super) fn cases() -> Vec<Case> {
    let headers: String = (0..3000).map(|number| format!("X-{number}: y\r\n")).collect();
    let mut cases = vec![
        answered(
            "3000 headers",
            &[400, 431],
            upgrade("/", &[("X", &format!("y\r\n{}", headers.trim_end()))]),
        ),
        answered(
            "a header of 100 KiB",
            &[400, 431],
            upgrade("/", &[("X", &"x".repeat(100 << 10))]),
        ),
        answered(
            "a path of 100 KiB",
            &[400, 404, 414, 431],
            upgrade(&format!("/{}", "x".repeat(100 << 10)), &[]),
        ),
        answered(
            "a channel of 10 KiB",
            &[404],
            upgrade(&format!("/raw/{}", "x".repeat(10 << 10)), &[]),
        ),
        answered(
            "a key that is none",
            &[400],
            upgrade("/", &[("Sec-WebSocket-Key", "x")]),
        ),
        answered(
            "a key of 10 KiB",
            &[400],
            upgrade("/", &[("Sec-WebSocket-Key", &"x".repeat(10 << 10))]),
        ),
        answered(
            "HTTP/1.0",
            &[400],
            upgrade("/", &[]).replacen("HTTP/1.1", "HTTP/1.0", 1),
        ),
        answered("HTTP/2", &[0, 400], "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        answered("HTTP/9.9", &[0, 400], "GET / HTTP/9.9\r\nHost: x\r\n\r\n"),
        answered("TLS", &[0, 400], &b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03"[..]),
        answered("zeros", &[0, 400], vec![0; 4096]),
        answered("no method", &[0, 400], " / HTTP/1.1\r\nHost: x\r\n\r\n"),
        answered(
            "an unknown method",
            &[0, 400, 405, 426],
            "BREW / HTTP/1.1\r\nHost: x\r\n\r\n",
        ),
        answered("a zero in a header", &[0, 400], upgrade("/", &[("X", "a\0b")])),
        answered(
            "a header that goes on in the next line",
            &[0, 400],
            upgrade("/", &[("X", "a\r\n b")]),
        ),
        answered("a header without a name", &[0, 400], upgrade("/", &[("", "x")])),
        // It ends a line, as RFC 9112 section 2.2 allows; no other line can come of it here.
        answered(
            "a bare line feed in a header",
            &[101],
            upgrade("/", &[("X", "a\nY: b")]),
        ),
        answered(
            "two lengths",
            &[400],
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        ),
        answered(
            "a negative length",
            &[400],
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        ),
        answered(
            "a length beyond all numbers",
            &[400],
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
        ),
        answered(
            "a length and chunks",
            &[400],
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /livez HTTP/1.1\r\n\r\n",
        ),
        answered(
            "an upgrade with a body",
            &[400],
            upgrade("/", &[("Content-Length", "5")]) + "hello",
        ),
        answered(
            "an upgrade in chunks",
            &[400],
            upgrade("/", &[("Transfer-Encoding", "chunked")]) + "0\r\n\r\n",
        ),
        answered(
            "an upgrade to something else",
            &[400, 426],
            upgrade("/", &[("Upgrade", "h2c")]),
        ),
        answered("the admin listener by the public port", &[404], get("/metrics")),
        answered(
            "the admin listener by an absolute address",
            &[404],
            get("http://127.0.0.1:9000/livez"),
        ),
        not_repeated("a header in a path", get("/%0d%0aX-Evil:%201")),
        not_repeated(
            "a header in a query",
            upgrade("/?a=%0d%0aX-Evil:%201&demo=%0d%0aX-Evil:1", &[]),
        ),
        not_repeated(
            "a header in a subprotocol",
            upgrade("/", &[("Sec-WebSocket-Protocol", "a%0d%0aX-Evil: 1")]),
        ),
        not_repeated(
            "a header in a subprotocol, by a bare return",
            upgrade("/", &[("Sec-WebSocket-Protocol", "a\rX-Evil: 1")]),
        ),
        not_repeated(
            "a header in an origin",
            upgrade("/", &[("Origin", "http://gateway.test%0d%0aX-Evil: 1")]),
        ),
        Case::new("blanks in a subprotocol take no time", |target| {
            let began = Instant::now();
            let blanks = format!("a{}b", " ".repeat(14_000));
            let status = target.status(upgrade("/", &[("Sec-WebSocket-Protocol", &blanks)]));
            assert!([101, 400, 431].contains(&status), "{status}");
            let commas = ",".repeat(14_000);
            assert!([101, 400].contains(&target.status(upgrade("/", &[("Sec-WebSocket-Protocol", &commas)]))));
            assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        }),
        Case::new("a head without end", |target| {
            let mut stream = target.dial();
            stream.write_all(b"GET / HTTP/1.1\r\nX: ").expect("taken");
            flood(&mut stream, &[b'x'; 64 << 10], PATIENCE);
            expect_end(&mut stream, SOON);
        }),
        Case::new("headers without end", |target| {
            let mut stream = target.dial();
            stream.write_all(b"GET / HTTP/1.1\r\n").expect("taken");
            flood(&mut stream, "A: b\r\n".repeat(10_000).as_bytes(), PATIENCE);
            expect_end(&mut stream, SOON);
        }),
        Case::new("a body without end", |target| {
            let mut stream = target.dial();
            stream
                .write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n")
                .expect("taken");
            flood(&mut stream, &[b'x'; 64 << 10], PATIENCE);
            expect_end(&mut stream, PATIENCE);
        }),
        Case::new("a thousand requests at once", |target| {
            let mut stream = target.dial();
            let _ = stream.write_all(get("/nothing").repeat(1000).as_bytes());
            let answer = ask_on(&mut stream, "").expect("an answer");
            assert_eq!(answer.status, 404);
        }),
        Case::new("two handshakes at once", |target| {
            let request = upgrade("/raw/attack", &[]);
            let (socket, _) = crate::support::Socket::ask_on(target.dial(), request.repeat(2));
            let mut socket = socket.expect("the first one counts");
            assert_eq!(socket.close().0, Some(1002));
            socket.expect_end(SOON);
        }),
        Case::new("a handshake one byte at a time", |target| {
            let mut stream = target.dial();
            let request = upgrade("/raw/attack", &[]);
            let (last, first) = request.as_bytes().split_last().expect("not empty");
            for byte in first {
                stream.write_all(&[*byte]).expect("taken");
            }
            let (socket, answer) = crate::support::Socket::ask_on(stream, [*last]);
            socket.unwrap_or_else(|| panic!("{answer:?}")).leave();
        }),
    ];
    for channel in [
        "*",
        "a*",
        "a%3f",
        "[a]",
        "{a}b",
        "%0d%0a",
        "%00",
        "..%2f..%2fetc",
        "a%2fb",
        "%22",
        "%5c",
        "%20",
        "%7f",
        "%ff",
        "a%c3%a9",
    ] {
        cases.push(answered(
            &format!("channel {channel}"),
            &[400, 404],
            upgrade(&format!("/raw/{channel}"), &[]),
        ));
    }
    for path in [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/raw/../livez",
        "//",
        "/./",
        "*",
        "http://",
    ] {
        cases.push(answered(&format!("path {path}"), &[0, 400, 404, 426], get(path)));
    }
    cases
}
