//! Conversations without a WebSocket, by those who mean harm: bodies that are none or never end, streams that nobody reads, and commands for
//! the connections of others.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Case, SOON, Target, expect_end, flood, reset};
use crate::support::{PATIENCE, Socket, ask_on, upgrade};

const STREAM: &str = "/connection/http_stream";
const EMULATION: &str = "/emulation";
const JSON: &str = "application/json";
const PROTOBUF: &str = "application/octet-stream";
const CONNECT: &str = r#"{"id":1,"connect":{}}"#;
const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

fn post(path: &str, content_type: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

/// A request with a body that is still to come.
fn begun(path: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n")
}

/// Reads until `words` have come, and gives everything.
#[track_caller]
fn read_until(stream: &mut TcpStream, words: &str) -> String {
    let mut heard = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&heard);
        if text.contains(words) {
            return text.into_owned();
        }
        match stream.read(&mut piece) {
            Ok(count) if count > 0 => heard.extend_from_slice(&piece[..count]),
            other => panic!("{other:?} after {text}"),
        }
    }
}

/// A stream that is somebody's, and what it was told of itself.
fn stream(target: &Target) -> (TcpStream, Value) {
    let mut stream = target.dial();
    stream.write_all(&post(STREAM, JSON, CONNECT)).expect("taken");
    let heard = read_until(&mut stream, "}}\n");
    let json = heard.lines().find(|line| line.starts_with('{')).expect("an answer");
    let mut answer: Value = serde_json::from_str(json).expect("JSON");
    (stream, answer["connect"].take())
}

fn says(welcome: &Value, commands: &str) -> Vec<u8> {
    let body = json!({"session": welcome["session"], "node": welcome["node"], "data": commands});
    post(EMULATION, JSON, body.to_string())
}

/// Requests each of which is answered with one of `statuses`.
fn answered(name: &str, statuses: &'static [u16], requests: Vec<Vec<u8>>) -> Case {
    Case::new(name, move |target| {
        for request in &requests {
            let status = target.status(request);
            let begin = String::from_utf8_lossy(&request[..request.len().min(300)]);
            assert!(statuses.contains(&status), "{status}, not one of {statuses:?}: {begin}");
        }
    })
}

/// Streams whose first words are none: they end with a word about it.
fn refused(name: &str, requests: Vec<Vec<u8>>) -> Case {
    Case::new(name, move |target| {
        for request in &requests {
            let mut stream = target.dial();
            stream.write_all(request).expect("taken");
            let heard = read_until(&mut stream, "bad request");
            assert!(heard.starts_with("HTTP/1.1 200"), "{heard}");
            let _ = stream.shutdown(Shutdown::Write);
            expect_end(&mut stream, SOON);
        }
    })
}

pub(super) fn cases() -> Vec<Case> {
    [firsts(), emulation(), slow(), crowds()]
        .into_iter()
        .flatten()
        .collect()
}

fn firsts() -> Vec<Case> {
    let deep = "[".repeat(60_000);
    let wrong = [
        "x",
        "{",
        "[]",
        "null",
        "\n",
        r#"{"id":"1","connect":{}}"#,
        r#"{"id":1,"connect":[]}"#,
        "{}",
        &deep,
    ];
    let wrong_urls = ["x", "%7B", "%5B%5D", "%00", "%0d%0aX-Evil:1", "%ff", "%7B%7D"];
    let wrong_bytes: [&[u8]; 5] = [b"{}", b"\x05\x08", &[0xff; 100], &[0; 100], b"\x02\x08\x01"];
    vec![
        refused(
            "streams with first words that are none",
            wrong.map(|body| post(STREAM, JSON, body)).to_vec(),
        ),
        refused(
            "the same as events",
            wrong.map(|body| post("/connection/sse", JSON, body)).to_vec(),
        ),
        refused(
            "the same in a URL",
            wrong_urls
                .map(|said| get(&format!("/connection/sse?cf_connect={said}")).into())
                .to_vec(),
        ),
        refused(
            "the same of those who only hear",
            ["x", "{", "[]", "1", r#"{"token":1}"#, &deep]
                .map(|body| post("/connection/uni_http_stream", JSON, body))
                .to_vec(),
        ),
        Case::new("the same in Protobuf", move |target| {
            for body in wrong_bytes {
                let mut stream = target.dial();
                stream.write_all(&post(STREAM, PROTOBUF, body)).expect("taken");
                read_until(&mut stream, "bad request");
            }
        }),
        Case::new("nothing of a URL comes back in a head", |target| {
            let mut stream = target.dial();
            let path = "/connection/sse?cf_connect=%0d%0aX-Evil:%201";
            stream.write_all(get(path).as_bytes()).expect("taken");
            let heard = read_until(&mut stream, "\r\n\r\n");
            assert!(!heard.to_lowercase().contains("x-evil"), "{heard}");
        }),
        answered(
            "streams without first words",
            &[400],
            vec![
                post(STREAM, JSON, ""),
                get("/connection/sse").into(),
                post("/connection/sse", JSON, ""),
            ],
        ),
        answered(
            "first words beyond the limit",
            &[413],
            [
                "/connection/http_stream",
                "/connection/sse",
                "/connection/uni_http_stream",
                "/connection/uni_sse",
            ]
            .map(|path| post(path, JSON, " ".repeat(70_000)))
            .to_vec(),
        ),
        answered(
            "first words of 60 KB in a URL",
            &[0, 400, 414, 431],
            vec![get(&format!("/connection/sse?cf_connect={}", "x".repeat(200_000))).into()],
        ),
        answered(
            "a WebSocket where streams are",
            &[400, 405],
            [STREAM, EMULATION].map(|path| upgrade(path, &[]).into()).to_vec(),
        ),
    ]
}

fn emulation() -> Vec<Case> {
    let body = |session: Value, node: Value, data: Value| {
        post(
            EMULATION,
            JSON,
            json!({"session": session, "node": node, "data": data}).to_string(),
        )
    };
    let wrong = [json!(1), json!(null), json!(true), json!([]), json!({})];
    let types = wrong.iter().flat_map(|wrong| {
        [
            body(wrong.clone(), json!(NOBODY), json!("{}")),
            body(json!(NOBODY), wrong.clone(), json!("{}")),
            body(json!(NOBODY), json!(NOBODY), wrong.clone()),
        ]
    });
    let long = "x".repeat(20_000);
    let odd = [
        "",
        "x",
        "*",
        "{}",
        "../",
        "a\r\nb",
        "a\0b",
        long.as_str(),
        "00000000-0000-4000-8000-00000000000g",
    ];
    let names = odd.iter().flat_map(|odd| {
        [
            body(json!(odd), json!(NOBODY), json!("{}")),
            body(json!(NOBODY), json!(odd), json!("{}")),
        ]
    });
    vec![
        answered("wrong types in commands from elsewhere", &[400], types.collect()),
        answered(
            "no commands from elsewhere",
            &[400],
            [
                "",
                "x",
                "[]",
                "null",
                "{}",
                r#"{"session":"x"}"#,
                &"[".repeat(60_000),
                "{\"session\":\"\\ud800\",\"node\":\"\",\"data\":\"\"}",
            ]
            .map(|body| post(EMULATION, JSON, body))
            .to_vec(),
        ),
        answered(
            "no Protobuf from elsewhere",
            &[400],
            [
                &b"\x0a\x7f"[..],
                b"\x0a\x01\xff",
                &[0xff; 1000],
                b"\x0f",
                b"{}",
                &[0x0b; 50_000],
            ]
            .map(|body| post(EMULATION, PROTOBUF, body))
            .to_vec(),
        ),
        answered(
            "more from elsewhere than may be",
            &[413],
            vec![post(EMULATION, JSON, " ".repeat(70_000))],
        ),
        answered("commands for nobody", &[404], names.collect()),
        Case::new("commands for somebody else", |target| {
            let (mut victim, theirs) = stream(target);
            let (_own, own) = stream(target);
            let (session, node) = (&theirs["session"], &theirs["node"]);
            let close = "{\"id\":2,\"connect\":{}}";
            // The client's id is known to others, its session is not.
            for (session, node) in [
                (&theirs["client"], node),
                (&json!(NOBODY), node),
                (session, &json!(NOBODY)),
                (node, session),
                (&own["client"], node),
            ] {
                let guess = json!({"session": session, "node": node});
                // That a node is there is no secret; whose session it may have is.
                assert!([204, 404].contains(&target.status(says(&guess, close))), "{guess}");
            }
            victim
                .set_read_timeout(Some(Duration::from_millis(50)))
                .expect("a socket");
            let heard = victim.read(&mut [0; 100]).map_err(|error| error.kind());
            assert_eq!(heard, Err(ErrorKind::WouldBlock), "it notices nothing");
            victim.set_read_timeout(Some(PATIENCE)).expect("a socket");
            let own_words = says(&theirs, r#"{"id":9,"unsubscribe":{"channel":"a"}}"#);
            assert_eq!(target.status(own_words), 204);
            read_until(&mut victim, "\"id\":9");
        }),
        Case::new("commands that are none, for a stream", |target| {
            for commands in ["", "x", "\n", "[]", "{\"id\":2}", "{}", "{\"id\":2,\"subscribe\":[]}"] {
                let (mut stream, welcome) = stream(target);
                assert_eq!(target.status(says(&welcome, commands)), 204, "{commands}");
                read_until(&mut stream, "\"code\":3501");
            }
        }),
        Case::new("as many commands as fit, for a stream", |target| {
            let (mut stream, welcome) = stream(target);
            let commands = "{\"id\":5,\"rpc\":{}}\n".repeat(2_500) + "{\"id\":6,\"rpc\":{}}";
            assert_eq!(target.status(says(&welcome, &commands)), 204);
            let heard = read_until(&mut stream, "\"id\":6");
            assert!(heard.matches("\"id\":5").count() >= 2_500);
        }),
        Case::new("commands for a stream that has ended", |target| {
            let (gone, welcome) = stream(target);
            reset(&gone);
            drop(gone);
            for _ in 0..100 {
                assert_eq!(target.status(says(&welcome, "{\"id\":2,\"rpc\":{}}")), 204);
            }
        }),
        Case::new("names that no channel has, for a stream", |target| {
            let (mut stream, welcome) = stream(target);
            for (id, name) in ["a\r\nb", "a\0b", "../..", "{a}b", "*", &"x".repeat(10_000)]
                .iter()
                .enumerate()
            {
                let id = id + 10;
                let command = json!({"id": id, "subscribe": {"channel": name}}).to_string();
                assert_eq!(target.status(says(&welcome, &command)), 204);
                let heard = read_until(&mut stream, &format!("\"id\":{id}"));
                assert!(heard.contains("\"code\":107"), "{heard}");
            }
        }),
    ]
}

/// A body is a part of the handshake, and has as long.
fn slow() -> Vec<Case> {
    let paths = [STREAM, "/connection/sse", "/connection/uni_http_stream", EMULATION];
    let mut cases = Vec::new();
    for path in paths.into_iter().chain(["/", "/nothing"]) {
        cases.push(Case::new(format!("a body without end to {path}"), move |target| {
            let mut stream = target.dial();
            let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
            stream.write_all(head.as_bytes()).expect("taken");
            let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
            flood(&mut stream, &chunk, SOON);
            expect_end(&mut stream, SOON);
        }));
    }
    for path in paths {
        cases.push(Case::new(
            format!("a body that does not come to {path}"),
            move |target| {
                let mut stream = target.dial();
                stream.write_all(begun(path, 100).as_bytes()).expect("taken");
                expect_end(&mut stream, Duration::from_secs(6));
            },
        ));
        cases.push(Case::new(
            format!("a body that comes byte by byte to {path}"),
            move |target| {
                let mut stream = target.dial();
                stream.write_all(begun(path, 60_000).as_bytes()).expect("taken");
                stream
                    .set_read_timeout(Some(Duration::from_millis(100)))
                    .expect("a socket");
                let began = Instant::now();
                loop {
                    assert!(began.elapsed() < Duration::from_secs(6), "it is still listened to");
                    let _ = stream.write_all(b" ");
                    match stream.read(&mut [0; 4096]) {
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                        Ok(count) if count > 0 => {}
                        _ => return,
                    }
                }
            },
        ));
    }
    cases
}

fn crowds() -> Vec<Case> {
    vec![
        Case::new("400 streams without their first words", |target| {
            let begin = |number: u8| {
                let mut stream = target.dial_from(Ipv4Addr::new(127, 0, 0, 100 + number % 20));
                let _ = stream.write_all(begun(STREAM, 100).as_bytes());
                stream
            };
            let mut held: Vec<_> = (0..400_u32)
                .map(|number| begin(u8::try_from(number % 20).expect("small")))
                .collect();
            let began = Instant::now();
            Socket::connect(target.address, "/").leave();
            assert!(
                began.elapsed() < Duration::from_secs(4),
                "served after {:?}",
                began.elapsed()
            );
            held.iter_mut().for_each(|stream| expect_end(stream, PATIENCE));
            assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
        }),
        Case::new("200 streams that are reset", |target| {
            for _ in 0..200 {
                let mut stream = target.dial();
                let _ = stream.write_all(&post(STREAM, JSON, CONNECT));
                reset(&stream);
            }
        }),
        Case::new("100 streams that say no more after their first words", |target| {
            let mut held: Vec<_> = (0..100).map(|_| stream(target).0).collect();
            for stream in &held {
                let _ = stream.shutdown(Shutdown::Write);
            }
            held.iter_mut().for_each(|stream| expect_end(stream, PATIENCE));
        }),
        Case::new("another request behind a stream", |target| {
            let (mut stream, _) = stream(target);
            let _ = stream.write_all(get("/nothing").as_bytes());
            stream
                .set_read_timeout(Some(Duration::from_millis(100)))
                .expect("a socket");
            let mut bytes = [0; 4096];
            if let Ok(count) = stream.read(&mut bytes) {
                let heard = String::from_utf8_lossy(&bytes[..count]);
                assert!(!heard.contains("HTTP/1.1"), "{heard}");
            }
        }),
        Case::new("a stream that nobody reads", |target| {
            let (mut unread, welcome) = stream(target);
            let data = "x".repeat(30_000);
            let subscribe = "{\"id\":2,\"subscribe\":{\"channel\":\"attack-stream\"}}";
            assert_eq!(target.status(says(&welcome, subscribe)), 204);
            let publish = json!({"id": 3, "publish": {"channel": "attack-stream", "data": data}}).to_string();
            let mut talker = target.dial();
            for _ in 0..400 {
                let answer = ask_on(&mut talker, says(&welcome, &publish)).expect("an answer");
                assert_eq!(answer.status, 204);
            }
            // It was found to be too slow.
            expect_end(&mut unread, PATIENCE);
        }),
    ]
}
