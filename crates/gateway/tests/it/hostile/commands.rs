//! Commands that are none, and commands that ask for what cannot be: the connection ends with 3501, or there is an answer that says no.
//!
//! A case that is over leaves its connections as they are: the gateway must not mind.

use std::time::Duration;

use protocol::frame::{Item, client};
use serde_json::{Value, json};

use super::{Case, SOON, Target};
use crate::support::{MASK, Socket, upgrade};

const PATH: &str = "/connection/websocket";
const CONNECT: &str = r#"{"id":1,"connect":{}}"#;
/// The same in Protobuf, with its length.
const CONNECT_PROTOBUF: &[u8] = b"\x04\x08\x01\x22\x00";
const BAD_REQUEST: u16 = 3501;

/// A client of the Centrifuge protocol that has said nothing yet.
fn client_of(target: &Target, path: &str) -> Socket {
    let (socket, answer) = Socket::ask_on(target.dial(), upgrade(path, &[]));
    socket.unwrap_or_else(|| panic!("{answer:?}"))
}

fn known(target: &Target) -> Socket {
    let mut socket = client_of(target, PATH);
    socket.send(CONNECT);
    assert!(socket.text().contains("\"client\""));
    socket
}

fn known_in_protobuf(target: &Target) -> Socket {
    let mut socket = client_of(target, &format!("{PATH}?cf_protocol=protobuf"));
    socket.write(client::binary(CONNECT_PROTOBUF, MASK));
    assert!(matches!(socket.next(), Some(Item::Message(_))));
    socket
}

#[track_caller]
fn expect_close(mut socket: Socket, code: u16, what: &str) {
    assert_eq!(socket.close().0, Some(code), "{}", &what[..what.len().min(200)]);
}

/// Messages each of which ends its connection with 3501.
fn refused(name: &str, messages: Vec<String>) -> Case {
    Case::new(name, move |target| {
        for message in &messages {
            let mut socket = known(target);
            socket.send(message);
            expect_close(socket, BAD_REQUEST, message);
        }
    })
}

/// The same for the first message of a connection.
fn refused_at_first(name: &str, path: &'static str, messages: Vec<String>) -> Case {
    Case::new(name, move |target| {
        for message in &messages {
            let mut socket = client_of(target, path);
            socket.send(message);
            expect_close(socket, BAD_REQUEST, message);
        }
    })
}

/// The same in Protobuf.
fn refused_in_protobuf(name: &str, messages: Vec<Vec<u8>>) -> Case {
    Case::new(name, move |target| {
        for message in &messages {
            let mut socket = known_in_protobuf(target);
            socket.write(client::binary(message, MASK));
            expect_close(socket, BAD_REQUEST, &format!("{message:?}"));
        }
    })
}

/// Commands that are answered by an error with `code`; the connection stays.
fn answered(name: &str, code: u32, commands: Vec<Value>) -> Case {
    Case::new(name, move |target| {
        let mut socket = known(target);
        for command in &commands {
            let mut command = command.clone();
            command["id"] = json!(7);
            socket.send(command.to_string());
            let answer: Value = serde_json::from_str(&socket.text()).expect("JSON");
            assert_eq!(
                (&answer["id"], &answer["error"]["code"]),
                (&json!(7), &json!(code)),
                "{answer}"
            );
        }
        socket.leave();
    })
}

/// First words with a token, each refused for it.
fn refused_tokens(name: &str, tokens: Vec<String>) -> Case {
    Case::new(name, move |target| {
        for token in &tokens {
            let mut socket = client_of(target, PATH);
            socket.send(json!({"id": 1, "connect": {"token": token}}).to_string());
            expect_close(socket, 3500, token);
        }
    })
}

pub(super) fn cases() -> Vec<Case> {
    [wrong_types(), texts(), protobuf(), names(), tokens(), one_way()]
        .into_iter()
        .flatten()
        .collect()
}

/// Every field that is known, with values of every type that it has not.
fn wrong_types() -> Vec<Case> {
    let text = || vec![json!(1), json!(true), json!({}), json!([])];
    let flag = || vec![json!(1), json!("true"), json!({}), json!([])];
    let number = || vec![json!("1"), json!(1.5), json!(1e300), json!(true), json!({}), json!([])];
    let object = || vec![json!(1), json!("x"), json!(true), json!([]), json!([{}])];
    let map = || [object(), vec![json!({"a": 1}), json!({"a": []})]].concat();
    let commands = [
        (
            "connect",
            vec![
                ("token", text()),
                ("name", text()),
                ("version", text()),
                ("headers", map()),
                ("subs", map()),
            ],
        ),
        (
            "subscribe",
            vec![
                ("channel", text()),
                ("token", text()),
                ("recover", flag()),
                ("epoch", text()),
                ("offset", number()),
                ("positioned", flag()),
                ("recoverable", flag()),
                ("join_leave", flag()),
                ("delta", text()),
                ("tf", object()),
                ("flag", number()),
                ("type", number()),
            ],
        ),
        ("unsubscribe", vec![("channel", text())]),
        ("publish", vec![("channel", text()), ("type", number())]),
        ("presence", vec![("channel", text())]),
        ("presence_stats", vec![("channel", text())]),
        (
            "history",
            vec![
                ("channel", text()),
                ("limit", number()),
                ("since", object()),
                ("reverse", flag()),
            ],
        ),
        ("rpc", vec![("method", text())]),
        ("refresh", vec![("token", text())]),
        (
            "sub_refresh",
            vec![("channel", text()), ("token", text()), ("type", number())],
        ),
    ];
    let of_command = |(command, fields): (&str, Vec<(&str, Vec<Value>)>)| {
        let mut messages: Vec<String> = object()
            .into_iter()
            .map(|value| json!({"id": 2, command: value}).to_string())
            .collect();
        for (field, values) in fields {
            for value in values {
                let mut arguments = json!({"channel": "attack", "token": "x", "data": 1});
                arguments[field] = value;
                messages.push(json!({"id": 2, command: arguments}).to_string());
            }
        }
        let name = format!("wrong types in {command}");
        match command {
            "connect" => refused_at_first(&name, PATH, messages),
            _ => refused(&name, messages),
        }
    };
    let ids = [
        "\"1\"",
        "-1",
        "1.5",
        "true",
        "{}",
        "[]",
        "4294967296",
        "1e99",
        "9".repeat(60_000).as_str(),
    ]
    .map(|id| format!(r#"{{"id":{id},"presence":{{"channel":"attack"}}}}"#));
    let mut cases: Vec<Case> = commands.into_iter().map(of_command).collect();
    cases.push(refused("ids that are none", ids.to_vec()));
    cases
}

fn texts() -> Vec<Case> {
    let deep = |open: &str, close: &str, depth: usize| open.repeat(depth) + "1" + &close.repeat(depth);
    let arrays = deep("[", "]", 30_000);
    let objects = deep("{\"\":", "}", 10_000);
    let unknown = deep("[", "]", 10_000);
    let with = |command: &str| [&arrays, &objects].map(|data| command.replace("DEEP", data)).to_vec();
    let not = deep("{\"op\":\"not\",\"nodes\":[", "]}", 2_000).replace('1', "{}");
    vec![
        refused(
            "no commands at all",
            [
                "",
                "\n",
                "\n\n\n",
                "x",
                "{",
                "null",
                "1",
                "\"{}\"",
                "[]",
                "[{}]",
                "{}{}",
                "\u{feff}{}",
                "{}\0",
            ]
            .map(String::from)
            .to_vec(),
        ),
        refused(
            "deep JSON instead of a command",
            vec![arrays.clone(), "[".repeat(60_000), "{\"a\":".repeat(12_000)],
        ),
        refused(
            "a filter as deep as fits",
            vec![format!(r#"{{"id":2,"subscribe":{{"channel":"attack","tf":{not}}}}}"#)],
        ),
        refused_at_first(
            "deep JSON in the payload of connect",
            PATH,
            with(r#"{"id":1,"connect":{"data":DEEP}}"#),
        ),
        refused("deep JSON in the payload of send", with(r#"{"send":{"data":DEEP}}"#)),
        Case::new("deep JSON in the payloads of other commands", move |target| {
            let mut socket = known(target);
            for data in [&arrays, &objects] {
                for command in [
                    r#"{"id":2,"publish":{"channel":"attack","data":DEEP}}"#,
                    r#"{"id":2,"subscribe":{"channel":"attack","data":DEEP}}"#,
                    r#"{"id":2,"rpc":{"method":"x","data":DEEP}}"#,
                ] {
                    socket.send(command.replace("DEEP", data));
                    let answer = socket.text();
                    assert!(answer.contains("\"code\":107"), "{command}: {answer}");
                }
                // What nobody knows is passed over, however deep it is.
                socket.send(
                    r#"{"id":3,"unsubscribe":{"channel":"attack","new":DEEP},"new":DEEP}"#.replace("DEEP", &unknown),
                );
                assert_eq!(socket.text(), r#"{"id":3,"unsubscribe":{}}"#);
            }
            socket.leave();
        }),
        Case::new("the largest id", |target| {
            let mut socket = known(target);
            socket.send(r#"{"id":4294967295,"unsubscribe":{"channel":"attack"}}"#);
            socket.expect(r#"{"id":4294967295,"unsubscribe":{}}"#);
            socket.leave();
        }),
        refused("pongs that nobody asked for", vec!["{}".into(), "{}\n".repeat(10_000)]),
        refused_at_first(
            "commands of somebody unknown",
            PATH,
            vec![
                r#"{"id":1,"subscribe":{"channel":"attack"}}"#.into(),
                r#"{"id":1,"publish":{"channel":"attack","data":1}}"#.into(),
                r#"{"send":{"data":1}}"#.into(),
                "{}".into(),
            ],
        ),
        refused(
            "a second introduction",
            vec![CONNECT.into(), format!("{CONNECT}\n").repeat(2_000)],
        ),
        Case::new("as many commands as fit in a message", |target| {
            let mut socket = known(target);
            socket.send("{\"id\":5,\"unsubscribe\":{\"channel\":\"a\"}}\n".repeat(1_500));
            for _ in 0..1_500 {
                socket.expect(r#"{"id":5,"unsubscribe":{}}"#);
            }
            socket.leave();
        }),
        Case::new("bytes that are no text, as commands", |target| {
            let mut socket = known(target);
            socket.write(client::binary(&[0xff; 1000], MASK));
            expect_close(socket, BAD_REQUEST, "bytes");
        }),
        Case::new("a flood of commands that nobody reads the answers of", |target| {
            let mut socket = known(target);
            let piece = client::text("{\"id\":5,\"rpc\":{}}\n".repeat(3_000).as_bytes(), MASK);
            super::flood(&mut socket.stream, &piece, crate::support::PATIENCE);
        }),
    ]
}

fn protobuf() -> Vec<Case> {
    let deep = |levels: usize| {
        // subscribe.tf is a message in a message, and so on.
        let mut node: Vec<u8> = Vec::new();
        for _ in 0..levels {
            node = [&[0x32][..], &varint(node.len()), &node].concat();
        }
        let subscribe = [&b"\x0a\x01a\x6a"[..], &varint(node.len()), &node].concat();
        let command = [&b"\x08\x02\x2a"[..], &varint(subscribe.len()), &subscribe].concat();
        [varint(command.len()), command].concat()
    };
    vec![
        refused_in_protobuf("no bytes", vec![Vec::new()]),
        refused_in_protobuf(
            "lengths of more than there is",
            vec![
                b"\x05\x08\x01".to_vec(),
                b"\x7f".to_vec(),
                b"\xff\xff\xff\xff\x0f".to_vec(),
                b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x08".to_vec(),
            ],
        ),
        refused_in_protobuf(
            "varints that do not end",
            vec![
                vec![0xff; 9],
                vec![0xff; 10],
                vec![0xff; 1000],
                b"\x02\x08\xff".to_vec(),
                [&b"\x0d\x08"[..], &[0xff; 12]].concat(),
            ],
        ),
        refused_in_protobuf(
            "wire types that are none",
            vec![
                b"\x02\x0e\x01".to_vec(),
                b"\x02\x0f\x01".to_vec(),
                b"\x02\x0b\x0c".to_vec(),
                b"\x02\x00\x01".to_vec(),
                b"\x02\x0a\x00".to_vec(),
                b"\x03\x20\x01\x01".to_vec(),
            ],
        ),
        refused_in_protobuf(
            "a text that is none",
            vec![
                b"\x07\x08\x02\x2a\x03\x0a\x01\xff".to_vec(),
                b"\x07\x08\x02\x62\x03\x0a\x09a".to_vec(),
            ],
        ),
        refused_in_protobuf("JSON instead", vec![CONNECT.into(), b"{}".to_vec(), b"\n".repeat(100)]),
        refused_in_protobuf("filters in filters", vec![deep(150), deep(10_000)]),
        refused_in_protobuf("groups in groups", vec![[varint(50_000), vec![0x0b; 50_000]].concat()]),
        Case::new("JSON in texts to a client of Protobuf", |target| {
            let mut socket = known_in_protobuf(target);
            socket.send(r#"{"id":2,"presence":{"channel":"attack"}}"#);
            expect_close(socket, BAD_REQUEST, "JSON");
        }),
        Case::new("Protobuf to a client of JSON", |target| {
            let mut socket = known(target);
            socket.write(client::binary(CONNECT_PROTOBUF, MASK));
            expect_close(socket, BAD_REQUEST, "Protobuf");
        }),
        Case::new("10,000 commands in one message", |target| {
            let mut socket = known_in_protobuf(target);
            // rpc, which nobody answers here
            socket.write(client::binary(&b"\x04\x08\x05\x6a\x00".repeat(10_000), MASK));
            let mut answers = 0;
            while answers < 10_000 {
                match socket.next() {
                    Some(Item::Message(message)) => {
                        assert_eq!(message.data[1..3], [8, 5]);
                        answers += 1;
                    }
                    other => panic!("{other:?} after {answers}"),
                }
            }
            socket.leave();
        }),
        Case::new("10,000 pongs in one message", |target| {
            let mut socket = known_in_protobuf(target);
            socket.write(client::binary(&[0; 10_000], MASK));
            expect_close(socket, BAD_REQUEST, "pongs");
        }),
    ]
}

fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).expect("small") | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).expect("small"));
    bytes
}

fn names() -> Vec<Case> {
    let commands = |name: &str| {
        vec![
            json!({"subscribe": {"channel": name}}),
            json!({"unsubscribe": {"channel": name}}),
            json!({"publish": {"channel": name, "data": 1}}),
            json!({"presence": {"channel": name}}),
            json!({"presence_stats": {"channel": name}}),
            json!({"history": {"channel": name}}),
            json!({"sub_refresh": {"channel": name, "token": "x"}}),
        ]
    };
    let long = "x".repeat(60_000);
    [
        ("of 60,000 bytes", long.as_str()),
        ("of 256 bytes", &long[..256]),
        ("with a line break", "a\r\nPUBLISH b c"),
        ("with a zero", "a\0b"),
        ("with a way up", "../../etc/passwd"),
        ("with braces", "{a}b"),
        ("that is a pattern", "*"),
        ("with brackets", "[a-z]"),
        ("with a question mark", "a?"),
        ("with quotes", "a\"b"),
        ("with a backslash", "a\\b"),
        ("with a blank", "a b"),
        ("beyond ASCII", "ä\u{202e}"),
    ]
    .map(|(what, name)| answered(&format!("a channel name {what}"), 107, commands(name)))
    .into()
}

fn tokens() -> Vec<Case> {
    let claims = part(r#"{"sub":"admin","exp":4102444800}"#);
    let with = |header: &str, signature: &str| format!("{}.{claims}.{signature}", part(header));
    let hs256 = r#"{"alg":"HS256","typ":"JWT"}"#;
    vec![
        refused_tokens(
            "tokens of no algorithm",
            ["none", "None", "NONE", "nOnE", ""]
                .into_iter()
                .flat_map(|alg| ["", "AAAA"].map(|signature| with(&format!(r#"{{"alg":"{alg}"}}"#), signature)))
                .collect(),
        ),
        refused_tokens(
            "tokens without a signature that is one",
            ["", "A", "AAAA", "====", &"A".repeat(43), &"A".repeat(50_000)]
                .map(|signature| with(hs256, signature))
                .to_vec(),
        ),
        refused_tokens(
            "tokens that are none",
            [
                ".",
                "..",
                "...",
                "a.b.c",
                "{}",
                "\0",
                "\u{202e}",
                " ",
                &claims,
                &format!("{claims}.{claims}.{claims}.{claims}"),
            ]
            .map(String::from)
            .to_vec(),
        ),
        refused_tokens(
            "giant tokens",
            vec![
                "x".repeat(60_000),
                ".".repeat(60_000),
                with(hs256, &part(&"[".repeat(40_000))),
            ],
        ),
        refused_tokens(
            "headers that name their own key",
            [
                r#"{"alg":"HS256","kid":"../../../../dev/null"}"#,
                r#"{"alg":"HS256","jku":"http://127.0.0.1/keys"}"#,
                r#"{"alg":"HS256","jwk":{"kty":"oct","k":""}}"#,
                r#"{"alg":"RS256","x5u":"http://127.0.0.1/"}"#,
                r#"{"alg":"HS256","crit":["exp"]}"#,
                r#"{"alg":["HS256"]}"#,
            ]
            .map(|header| with(header, &"A".repeat(43)))
            .to_vec(),
        ),
        Case::new("two tokens in one introduction", |target| {
            let mut socket = client_of(target, PATH);
            socket.send(r#"{"id":1,"connect":{"token":"","token":"a.b.c"}}"#);
            expect_close(socket, 3500, "the last one counts");
        }),
        Case::new("a token for a subscription that is none", |target| {
            let mut socket = known(target);
            socket.send(r#"{"id":2,"subscribe":{"channel":"$attack","token":"a.b.c"}}"#);
            let answer = socket.text();
            assert!(
                answer.contains("\"code\":103") || answer.contains("\"code\":102"),
                "{answer}"
            );
            socket.leave();
        }),
    ]
}

fn part(json: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json)
}

/// Clients that only hear have one thing to say.
fn one_way() -> Vec<Case> {
    const ONE_WAY: &str = "/connection/uni_websocket";
    vec![
        refused_at_first(
            "introductions that are none, of somebody who only hears",
            ONE_WAY,
            [
                "[]",
                "1",
                "\"x\"",
                "{",
                "{}x",
                r#"{"token":1}"#,
                r#"{"subs":[]}"#,
                r#"{"headers":{"a":1}}"#,
                &"[".repeat(60_000),
                &format!(r#"{{"data":{}1{}}}"#, "[".repeat(20_000), "]".repeat(20_000)),
            ]
            .map(String::from)
            .to_vec(),
        ),
        Case::new("an introduction in the URL that is none", |target| {
            for said in ["%5B%5D", "%7B", "%00", "1", "%7B%22token%22%3A1%7D"] {
                let socket = client_of(target, &format!("{ONE_WAY}?cf_connect={said}"));
                expect_close(socket, BAD_REQUEST, said);
            }
        }),
        Case::new("bytes of somebody who only hears", |target| {
            let mut socket = client_of(target, ONE_WAY);
            socket.write(client::binary(&[0xff; 1000], MASK));
            expect_close(socket, BAD_REQUEST, "bytes");
        }),
        Case::new("ten thousand words of somebody who only hears", |target| {
            let mut socket = client_of(target, ONE_WAY);
            socket.send("{}");
            assert!(socket.text().contains("\"connect\""));
            for _ in 0..10_000 {
                socket.send("{\"id\":2,\"publish\":{\"channel\":\"attack\",\"data\":1}}");
            }
            socket.write(client::ping(b"?", MASK));
            let next = socket.next_within(SOON.max(Duration::from_secs(4))).expect("heard");
            assert_eq!(next, Some(Item::Pong("?".into())), "and nothing else");
            socket.leave();
        }),
    ]
}
