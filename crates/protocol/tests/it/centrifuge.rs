//! The Centrifuge dialect against known bytes, and any bytes.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use protocol::command::{Connect, History, Subscribe};
use protocol::dialect::{Carrier, Emulation, Format};
use protocol::event::{Answer, Connected, Published, Recovery, Subscribed, Unsubscribed};
use protocol::filter::{Filter, Node, Test};
use protocol::frame::{Kind, Limits, Message, Parser, Role};
use protocol::{
    ApplicationReason, Attributes, Channel, ClientInfo, Close, Command, CommandError, DecodeError, Dialect, Encoding,
    Event, Publication, PublicationKind, Request, StreamPosition,
};

use crate::checks;

fn channel(name: &str) -> Channel {
    Channel::parse(name).expect("valid")
}

fn hex(text: &str) -> Bytes {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex"))
        .collect()
}

fn decode(format: Format, data: Bytes) -> Vec<Result<Request, DecodeError>> {
    let kind = match format {
        Format::Json => Kind::Text,
        Format::Protobuf => Kind::Binary,
    };
    Dialect::Centrifuge(format, Carrier::Frames)
        .decode(Message { kind, data }, 64)
        .collect()
}

fn request(id: u32, command: Command) -> Request {
    Request {
        id,
        command: Ok(command),
    }
}

/// The same command in both encodings.
#[track_caller]
fn asks(json: &str, protobuf: &str, expected: &Request) {
    assert_eq!(
        decode(Format::Json, Bytes::from(json.to_owned())),
        [Ok(expected.clone())],
        "{json}"
    );
    assert_eq!(
        decode(Format::Protobuf, hex(protobuf)),
        [Ok(expected.clone())],
        "{protobuf}"
    );
}

/// The same event in both encodings.
#[track_caller]
fn tells(event: &Event<'_>, json: &str, protobuf: &str) {
    let mut parser = Parser::new(Role::Client);
    let limits = Limits {
        message_size: 1 << 20,
        fragments: 1,
    };
    for (encoding, kind, expected) in [
        (Encoding::CentrifugeJson, Kind::Text, Bytes::from(json.to_owned())),
        (Encoding::CentrifugeProtobuf, Kind::Binary, hex(protobuf)),
    ] {
        if expected.is_empty() && !json.is_empty() {
            continue;
        }
        let frame = encoding.encode(event);
        let read = parser
            .next(&mut &frame[..], &limits)
            .expect("a frame")
            .expect("a whole one");
        let protocol::frame::Item::Message(message) = read else {
            panic!("not a message: {read:?}")
        };
        assert_eq!((message.kind, &message.data), (kind, &expected), "{event:?}");
    }
}

fn subscribe(name: &str) -> Subscribe {
    Subscribe::to(channel(name))
}

#[test]
fn commands_in_both_encodings() {
    asks(
        r#"{"connect":{"name":"js"},"id":1}"#,
        "080801220422026a73",
        &request(
            1,
            Command::Connect(Box::new(Connect {
                name: "js".into(),
                ..Connect::default()
            })),
        ),
    );
    asks(
        r#"{"subscribe":{"channel":"room:1","flag":1},"id":2}"#,
        "0e08022a0a0a06726f6f6d3a317001",
        &request(2, Command::Subscribe(Box::new(subscribe("room:1")))),
    );
    asks(
        r#"{"publish":{"channel":"room:1","data":{"a": 1}},"id":3}"#,
        "1508033a110a06726f6f6d3a3112077b2261223a317d",
        &request(
            3,
            Command::Publish {
                channel: channel("room:1"),
                data: Bytes::from_static(br#"{"a":1}"#),
            },
        ),
    );
    asks(
        r#"{"subscribe":{"channel":"room:1","recover":true,"epoch":"e1","offset":4,"flag":1},"id":3}"#,
        "1608032a120a06726f6f6d3a3118013202653138047001",
        &request(
            3,
            Command::Subscribe(Box::new(Subscribe {
                recover: Some(StreamPosition {
                    epoch: "e1".into(),
                    offset: 4,
                }),
                ..subscribe("room:1")
            })),
        ),
    );
    asks("{}", "00", &request(0, Command::Pong));
}

#[track_caller]
fn asks_json(json: &str, expected: Result<Command, CommandError>) {
    let expected = Request {
        id: 1,
        command: expected,
    };
    let json = json.replacen('{', r#"{"id":1,"#, 1);
    assert_eq!(
        decode(Format::Json, Bytes::from(json.clone())),
        [Ok(expected)],
        "{json}"
    );
}

#[test]
fn every_command() {
    let a = || channel("a");
    asks_json(
        r#"{"unsubscribe":{"channel":"a"}}"#,
        Ok(Command::Unsubscribe { channel: a() }),
    );
    asks_json(
        r#"{"presence":{"channel":"a"}}"#,
        Ok(Command::Presence { channel: a() }),
    );
    asks_json(
        r#"{"presence_stats":{"channel":"a"}}"#,
        Ok(Command::PresenceStats { channel: a() }),
    );
    asks_json(
        r#"{"history":{"channel":"a","limit":-1,"since":{"offset":2,"epoch":"x"},"reverse":true}}"#,
        Ok(Command::History(History {
            channel: a(),
            limit: -1,
            since: Some(StreamPosition {
                epoch: "x".into(),
                offset: 2,
            }),
            reverse: true,
        })),
    );
    asks_json(
        r#"{"history":{"channel":"a","since":{"epoch":"x"},"reverse":true}}"#,
        Err(CommandError::BadRequest),
    );
    asks_json(
        r#"{"rpc":{"method":"m","data":[1, 2]}}"#,
        Ok(Command::Rpc {
            method: "m".into(),
            data: Bytes::from_static(b"[1,2]"),
        }),
    );
    asks_json(
        r#"{"send":{"data":null}}"#,
        Ok(Command::Send {
            data: Bytes::from_static(b"null"),
        }),
    );
    asks_json(
        r#"{"refresh":{"token":"t"}}"#,
        Ok(Command::Refresh { token: "t".into() }),
    );
    asks_json(
        r#"{"sub_refresh":{"channel":"a","token":"t"}}"#,
        Ok(Command::SubRefresh {
            channel: a(),
            token: "t".into(),
        }),
    );
    asks_json(r#"{"sub_refresh":{"channel":"a"}}"#, Err(CommandError::BadRequest));
    asks_json(r#"{"publish":{"channel":"a"}}"#, Err(CommandError::BadRequest));
    asks_json(
        r#"{"publish":{"channel":"a","data":1,"type":1}}"#,
        Err(CommandError::NotAvailable),
    );
    asks_json(r#"{"subscribe":{"channel":"a b"}}"#, Err(CommandError::BadRequest));
    asks_json(
        r#"{"subscribe":{"channel":"a","type":1}}"#,
        Err(CommandError::NotAvailable),
    );
    // Several in one: the first of the protocol's order counts, and what nobody knows is passed over.
    asks_json(
        r#"{"publish":{"channel":"b","data":1},"unsubscribe":{"channel":"a"},"new":{"x":[{}]}}"#,
        Ok(Command::Unsubscribe { channel: a() }),
    );
    asks_json(
        r#"{"connect":{"token":"t","data":{"x": 1},"version":"2","headers":{"h":"v"},
            "subs":{"a":{"recover":true,"offset":7,"epoch":"e"},"b":{},"no good":{"recover":true}}}}"#
            .replace('\n', " ")
            .as_str(),
        Ok(Command::Connect(Box::new(Connect {
            token: "t".into(),
            data: Bytes::from_static(br#"{"x":1}"#),
            name: String::new(),
            version: "2".into(),
            headers: BTreeMap::from([("h".into(), "v".into())]),
            positions: BTreeMap::from([(
                a(),
                StreamPosition {
                    epoch: "e".into(),
                    offset: 7,
                },
            )]),
        }))),
    );
    asks_json(
        r#"{"subscribe":{"channel":"a","token":"t","data":1,"positioned":true,"recoverable":true,"join_leave":true,"delta":"fossil","flag":3}}"#,
        Ok(Command::Subscribe(Box::new(Subscribe {
            token: "t".into(),
            data: Bytes::from_static(b"1"),
            positioned: true,
            recoverable: true,
            join_leave: true,
            delta: true,
            must_recover: true,
            ..subscribe("a")
        }))),
    );
}

#[test]
fn filters() {
    let leaf = |test| Node::Tag { key: "k".into(), test };
    let with = |node| {
        Ok(Command::Subscribe(Box::new(Subscribe {
            filter: Filter::new(node),
            ..subscribe("a")
        })))
    };
    let filter = |tf: &str| format!(r#"{{"subscribe":{{"channel":"a","tf":{tf}}}}}"#);
    asks_json(
        &filter(r#"{"key":"k","cmp":"eq","val":"x"}"#),
        with(leaf(Test::Equal("x".into()))),
    );
    asks_json(
        &filter(
            r#"{"op":"and","nodes":[{"key":"k","cmp":"in","vals":["x","y"]},{"op":"not","nodes":[{"key":"k","cmp":"ex"}]}]}"#,
        ),
        with(Node::And(vec![
            leaf(Test::In(vec!["x".into(), "y".into()])),
            Node::Not(Box::new(leaf(Test::Exists))),
        ])),
    );
    asks_json(
        &filter(r#"{"key":"k","cmp":"gte","val":"1.5"}"#),
        with(leaf(Test::AtLeast(1.5))),
    );
    for wrong in [
        "{}",
        r#"{"key":"k","cmp":"gte","val":"x"}"#,
        r#"{"key":"k","cmp":"like","val":"x"}"#,
        r#"{"op":"not","nodes":[]}"#,
        r#"{"op":"xor","nodes":[]}"#,
    ] {
        asks_json(&filter(wrong), Err(CommandError::BadRequest));
    }
}

#[test]
fn a_message_may_hold_many_commands() {
    let json = "\n{\"id\":1,\"connect\":{}}\r\n \n{}\n";
    let read = decode(Format::Json, Bytes::from_static(json.as_bytes()));
    assert_eq!(
        read,
        [
            Ok(request(1, Command::Connect(Box::default()))),
            Ok(request(0, Command::Pong))
        ]
    );
    let read = decode(Format::Protobuf, hex("04 0801 2200 00 00"));
    assert_eq!(read.len(), 3);
    assert_eq!(read[0], Ok(request(1, Command::Connect(Box::default()))));
}

#[test]
fn the_last_of_members_with_one_name_counts() {
    asks_json(
        r#"{"subscribe":{"channel":"b","channel":"a","token":"x","token":"t"}}"#,
        Ok(Command::Subscribe(Box::new(Subscribe {
            token: "t".into(),
            ..subscribe("a")
        }))),
    );
    asks_json(
        r#"{"publish":{"channel":"b","data":1},"publish":{"channel":"a","d\u0061ta":2,"data":[ 3 ]},"x":1,"x":2}"#,
        Ok(Command::Publish {
            channel: channel("a"),
            data: Bytes::from_static(b"[3]"),
        }),
    );
    let ids = decode(Format::Json, Bytes::from_static(br#"{"id":1,"connect":{},"id":2}"#));
    assert_eq!(ids, [Ok(request(2, Command::Connect(Box::default())))]);
}

#[track_caller]
fn ends_after(good: usize, format: Format, message: &[u8]) {
    let read = decode(format, Bytes::copy_from_slice(message));
    let (last, before) = read.split_last().expect("an error at least");
    assert!(matches!(last, Err(DecodeError::Malformed(_))), "{read:?}");
    assert!(before.len() == good && before.iter().all(Result::is_ok), "{read:?}");
}

#[test]
fn what_is_not_of_the_protocol_ends_the_message() {
    for (good, message) in [
        (0, ""),
        (0, "\n\n"),
        (0, "{"),
        (0, "[]"),
        (0, "null"),
        (0, "hello"),
        (0, r#"{"id":"1"}"#),
        (0, r#"{"id":-1}"#),
        (0, r#"{"id":1}"#),
        (0, r#"{"id":1,"ping":{}}"#),
        (0, r#"{"id":1,"subscribe":{}}"#),
        (0, r#"{"id":1,"subscribe":{"channel":7}}"#),
        (0, r#"{"id":1,"subscribe":{"channel":"a","delta":"vcdiff"}}"#),
        (0, r#"{"id":1,"refresh":{}}"#),
        // An array is no object, wherever it stands.
        (0, r#"{"id":1,"connect":[]}"#),
        (0, r#"{"id":1,"connect":["token"]}"#),
        (0, r#"{"id":1,"subscribe":["a"]}"#),
        (0, r#"{"id":1,"publish":["a",1,0]}"#),
        (0, r#"{"id":1,"ping":[]}"#),
        (0, r#"{"id":1,"history":{"channel":"a","since":[1,"e"]}}"#),
        (0, r#"{"id":1,"connect":{"subs":{"a":["a"]}}}"#),
        (0, r#"{"id":1,"connect":{"subs":[]}}"#),
        (0, r#"{"id":1,"subscribe":{"channel":"a","tf":["","k","ex"]}}"#),
        (
            0,
            r#"{"id":1,"subscribe":{"channel":"a","tf":{"op":"and","nodes":[[]]}}}"#,
        ),
        // Nor does one with the right type later excuse one that is wrong.
        (0, r#"{"id":"1","id":1,"connect":{}}"#),
        (0, r#"{"id":1,"publish":{"data":1}}"#),
        (1, "{}\n{\n{}"),
        (2, "{}\n{}\nnull"),
    ] {
        ends_after(good, Format::Json, message.as_bytes());
    }
    for (good, message) in [
        (0, ""),
        (0, "05 0801"),
        (0, "ff ff ff ff ff ff ff ff ff ff ff 01"),
        (0, "ff ff ff ff 7f"),
        (0, "02 0801"),
        (0, "02 08"),
        (1, "00 01 ff"),
        (1, "00 0408015a00"),
    ] {
        ends_after(good, Format::Protobuf, &hex(message));
    }
}

#[test]
fn a_payload_is_json_in_both_encodings() {
    // A Protobuf client may put anything there; {"a":1} above is what it may.
    let publish = |data: &[u8]| {
        let length = u8::try_from(data.len()).expect("short");
        let mut command = vec![length + 9, 8, 3, 0x3a, length + 5, 0x0a, 1, b'a', 0x12, length];
        command.extend_from_slice(data);
        decode(Format::Protobuf, command.into())
    };
    for wrong in [&b"\xff\xfe"[..], b"hello", b"{", b"1 2", b""] {
        let refused = Request {
            id: 3,
            command: Err(CommandError::BadRequest),
        };
        assert_eq!(publish(wrong), [Ok(refused)], "{wrong:?}");
    }
    let deep = format!(
        r#"{{"publish":{{"channel":"a","data":{}{}}}}}"#,
        "[".repeat(65),
        "]".repeat(65)
    );
    asks_json(&deep, Err(CommandError::BadRequest));
}

#[test]
fn answers_in_both_encodings() {
    let connected = Answer::Connected(Box::new(Connected {
        client: "c1".into(),
        ping: Some(Duration::from_secs(25)),
        ..Connected::default()
    }));
    let version = concat!("fanfare ", env!("CARGO_PKG_VERSION"));
    tells(
        &Event::Answer {
            id: 1,
            result: Ok(&connected),
        },
        &format!(r#"{{"id":1,"connect":{{"client":"c1","version":"{version}","ping":25,"pong":true}}}}"#),
        "",
    );
    let subscribed = Answer::Subscribed(Box::new(Subscribed {
        position: Some(StreamPosition {
            epoch: "e1".into(),
            offset: 3,
        }),
        is_recoverable: true,
        ..Subscribed::default()
    }));
    tells(
        &Event::Answer {
            id: 2,
            result: Ok(&subscribed),
        },
        r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"e1","offset":3,"positioned":true}}"#,
        "0e0802320a18013202653148035001",
    );
    tells(
        &Event::Answer {
            id: 3,
            result: Ok(&Answer::Published),
        },
        r#"{"id":3,"publish":{}}"#,
        "0408034200",
    );
    tells(
        &Event::Answer {
            id: 4,
            result: Err(&CommandError::PermissionDenied),
        },
        r#"{"id":4,"error":{"code":103,"message":"permission denied"}}"#,
        "1908041215086712117065726d697373696f6e2064656e696564",
    );
    tells(&Event::Ping, "{}", "00");
}

#[test]
fn a_subscription_by_the_server_has_a_result_even_if_nothing_is_in_it() {
    let subscribed = |data: &'static [u8]| Subscribed {
        data: Bytes::from_static(data),
        ..Subscribed::default()
    };
    let connected = Answer::Connected(Box::new(Connected {
        client: "c".into(),
        subscriptions: [(channel("a"), subscribed(b"")), (channel("b"), subscribed(b"1"))].into(),
        ..Connected::default()
    }));
    let version = concat!("fanfare ", env!("CARGO_PKG_VERSION"));
    let bytes = format!(
        "{:02x}{}",
        version.len(),
        version.bytes().map(|byte| format!("{byte:02x}")).collect::<String>()
    );
    let subs = "3205 0a0161 1200 3208 0a0162 1203 5a0131";
    let length = 3 + 2 + version.len() + 17;
    tells(
        &Event::Answer {
            id: 1,
            result: Ok(&connected),
        },
        &format!(r#"{{"id":1,"connect":{{"client":"c","version":"{version}","subs":{{"a":{{}},"b":{{"data":1}}}}}}}}"#),
        &format!("{:02x} 0801 2a{length:02x} 0a0163 12{bytes} {subs}", length + 4),
    );
}

#[test]
fn pushes_in_both_encodings() {
    let room = channel("room:1");
    tells(
        &Event::Unsubscribed {
            channel: &room,
            why: &Unsubscribed::InsufficientState,
        },
        r#"{"push":{"channel":"room:1","unsubscribe":{"code":2500,"reason":"insufficient state"}}}"#,
        "2322211206726f6f6d3a313a1710c4131a12696e73756666696369656e74207374617465",
    );
    tells(
        &Event::Unsubscribed {
            channel: &room,
            why: &Unsubscribed::Application(ApplicationReason::new(2600, "moved").expect("valid")),
        },
        r#"{"push":{"channel":"room:1","unsubscribe":{"code":2600,"reason":"moved"}}}"#,
        "",
    );
    let mut publication = Publication::new(room.clone(), Bytes::from_static(br#"{"a":1}"#));
    tells(
        &Event::Publication(&publication),
        r#"{"push":{"channel":"room:1","pub":{"data":{"a":1}}}}"#,
        "1522131206726f6f6d3a31220922077b2261223a317d",
    );
    publication.attributes = Some(Box::new(Attributes {
        publisher: Some(ClientInfo {
            user: "u".into(),
            client: "c".into(),
            connection: Bytes::from_static(b"1"),
            channel: Bytes::new(),
        }),
        tags: BTreeMap::from([("k".into(), "v".into())]),
    }));
    tells(
        &Event::Publication(&publication),
        r#"{"push":{"channel":"room:1","pub":{"data":{"a":1},"info":{"user":"u","client":"c","conn_info":1},"tags":{"k":"v"}}}}"#,
        "",
    );
    let mut publication = Publication::new(room, Bytes::new());
    publication.attributes = Some(Box::new(Attributes {
        publisher: Some(ClientInfo::default()),
        tags: BTreeMap::new(),
    }));
    publication.kind = PublicationKind::Join;
    tells(
        &Event::Publication(&publication),
        r#"{"push":{"channel":"room:1","join":{"info":{"user":"","client":""}}}}"#,
        "0e220c1206726f6f6d3a312a020a00",
    );
    publication.kind = PublicationKind::Leave;
    tells(
        &Event::Publication(&publication),
        r#"{"push":{"channel":"room:1","leave":{"info":{"user":"","client":""}}}}"#,
        "0e220c1206726f6f6d3a3132020a00",
    );
}

#[test]
fn what_is_always_there() {
    for (answer, json) in [
        (Answer::Unsubscribed, r#""unsubscribe":{}"#),
        (Answer::Subscribed(Box::default()), r#""subscribe":{}"#),
        (Answer::Presence(vec![]), r#""presence":{"presence":{}}"#),
        (
            Answer::PresenceStats { clients: 0, users: 0 },
            r#""presence_stats":{"num_clients":0,"num_users":0}"#,
        ),
        (
            Answer::History {
                publications: vec![],
                top: StreamPosition::default(),
            },
            r#""history":{"publications":[],"epoch":"","offset":0}"#,
        ),
        (Answer::Refreshed { expires: None }, r#""refresh":{}"#),
        (
            Answer::SubRefreshed {
                expires: Some(Duration::from_millis(1)),
            },
            r#""sub_refresh":{"expires":true,"ttl":1}"#,
        ),
        (
            Answer::Subscribed(Box::new(Subscribed {
                recovery: Some(Recovery::Lost),
                ..Subscribed::default()
            })),
            r#""subscribe":{"was_recovering":true}"#,
        ),
        (
            Answer::Subscribed(Box::new(Subscribed {
                recovery: Some(Recovery::Whole(vec![Published {
                    data: Bytes::from_static(b"1"),
                    offset: 5,
                    ..Published::default()
                }])),
                ..Subscribed::default()
            })),
            r#""subscribe":{"publications":[{"data":1,"offset":5}],"recovered":true,"was_recovering":true}"#,
        ),
        (
            Answer::Subscribed(Box::new(Subscribed {
                expires: Some(Duration::ZERO),
                ..Subscribed::default()
            })),
            r#""subscribe":{"expires":true,"ttl":1}"#,
        ),
    ] {
        let event = Event::Answer {
            id: 9,
            result: Ok(&answer),
        };
        tells(&event, &format!(r#"{{"id":9,{json}}}"#), "");
    }
}

#[test]
fn a_close_has_a_reason_that_nobody_takes_for_json() {
    for close in [
        Close::Shutdown,
        Close::SlowConsumer,
        Close::Protocol,
        Close::InvalidUtf8,
        Close::TooLarge,
        Close::Policy,
        Close::Internal,
        Close::InvalidToken,
        Close::BadRequest,
        Close::Stale,
        Close::Expired,
        Close::SubscriptionExpired,
        Close::ByServer,
        Close::Reconnect,
        Close::StateInvalidated,
        Close::TooManyErrors,
        Close::ConnectionLimit,
        Close::ChannelLimit,
        Close::InsufficientState,
        Close::NoPong,
        Close::PermissionDenied,
        Close::NotAvailable,
    ] {
        let (code, reason) = close.centrifuge().expect("a code");
        assert!((1002..5000).contains(&code) && !reason.is_empty(), "{close:?}");
        assert!(serde_json::from_str::<serde_json::Value>(reason).is_err(), "{close:?}");
        assert!(code != 1009, "{close:?}");
    }
}

#[test]
fn what_is_not_json_cannot_break_a_frame() {
    let odd = Publication::new(channel("a"), Bytes::from_static(b"}\n\"\xff"));
    tells(
        &Event::Publication(&odd),
        "{\"push\":{\"channel\":\"a\",\"pub\":{\"data\":\"}\\n\\\"\u{fffd}\"}}}",
        "",
    );
}

proptest! {
    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..200)) {
        checks::centrifuge::message(&bytes);
        checks::centrifuge::emulation(&bytes);
        checks::centrifuge::one_way(&bytes);
        checks::centrifuge::told(&bytes);
    }

    #[test]
    fn any_lines(text in "[{}\\[\\]\":,a-z0-9\n ]{0,80}") {
        checks::centrifuge::message(text.as_bytes());
        checks::centrifuge::one_way(text.as_bytes());
        checks::centrifuge::told(text.as_bytes());
    }

    #[test]
    fn differences_lead_to_what_was_published(before in "[a-c\"{}é]{0,60}", cut in 0_usize..60, more in "[a-cé]{0,9}") {
        let after: String = before.chars().take(cut).chain(more.chars()).chain(before.chars().skip(cut)).collect();
        let length = u8::try_from(before.len()).expect("short");
        checks::centrifuge::told(&[&[length], before.as_bytes(), after.as_bytes()].concat());
    }

    #[test]
    fn bodies_with_one_mistake(at: prop::sample::Index, byte: u8) {
        let json = br#"{"session":"s1","node":"n1","data":"{\"id\":2}\n{\"id\":3}","x":[{}]}"#;
        let protobuf = b"\x0a\x02n1\x12\x02s1\x1a\x02\x01\x00";
        let connect = br#"{"token":"t","data":[1, 2],"subs":{"a":{"recover":true}},"headers":{"h":"v"}}"#;
        for body in [&json[..], protobuf, connect] {
            let mut body = body.to_vec();
            let at = at.index(body.len());
            body[at] = byte;
            checks::centrifuge::emulation(&body);
            checks::centrifuge::one_way(&body);
        }
    }

    #[test]
    fn commands_with_one_mistake(at: prop::sample::Index, byte: u8) {
        let json = "{\"id\":1,\"connect\":{\"subs\":{\"a\":{\"recover\":true}}}}\n{\"id\":2,\"subscribe\":{\"channel\":\"a\",\"tf\":{\"op\":\"and\",\"nodes\":[{\"key\":\"k\",\"cmp\":\"in\",\"vals\":[\"x\"]}]}}}";
        let protobuf = hex("080801220422026a731608032a120a06726f6f6d3a31180132026531380470011508033a110a06726f6f6d3a3112077b2261223a317d");
        for message in [json.as_bytes(), &protobuf] {
            let mut message = message.to_vec();
            let at = at.index(message.len());
            message[at] = byte;
            checks::centrifuge::message(&message);
        }
    }
}

/// What a client hears, as text.
#[track_caller]
fn heard(encoding: Encoding, event: &Event<'_>) -> String {
    String::from_utf8(encoding.encode(event).to_vec()).expect("text")
}

#[test]
fn without_frames_messages_stand_on_lines_or_in_events() {
    let mut publication = Publication::new(channel("news"), Bytes::from_static(br#"{"a":1}"#));
    publication.kind = PublicationKind::Publication;
    let publication = Event::Publication(&publication);
    let json = r#"{"push":{"channel":"news","pub":{"data":{"a":1}}}}"#;
    assert_eq!(heard(Encoding::CentrifugeLines, &publication), format!("{json}\n"));
    assert_eq!(
        heard(Encoding::CentrifugeEvents, &publication),
        format!("data: {json}\n\n")
    );
    let framed = Encoding::CentrifugeProtobuf.encode(&publication);
    assert_eq!(
        Encoding::CentrifugeStream.encode(&publication),
        framed[2..],
        "the same without a frame"
    );
    assert_eq!(heard(Encoding::CentrifugeLines, &Event::Ping), "{}\n");
    assert_eq!(heard(Encoding::CentrifugeEvents, &Event::Ping), "data: {}\n\n");
    assert_eq!(Encoding::CentrifugeStream.encode(&Event::Ping)[..], [0]);
    let closing = Event::Closing(&Close::Shutdown);
    let disconnect = r#"{"push":{"disconnect":{"code":3001,"reason":"shutdown"}}}"#;
    assert_eq!(heard(Encoding::CentrifugeLines, &closing), format!("{disconnect}\n"));
    assert_eq!(
        heard(Encoding::CentrifugeEvents, &closing),
        format!("data: {disconnect}\n\n")
    );
}

#[test]
fn who_only_hears_gets_pushes_without_a_wrapping() {
    let connected = Answer::Connected(Box::new(Connected {
        client: "c1".into(),
        session: "s1".into(),
        ping: Some(Duration::from_secs(25)),
        ..Connected::default()
    }));
    let welcome = Event::Answer {
        id: 1,
        result: Ok(&connected),
    };
    let version = env!("CARGO_PKG_VERSION");
    let connect = format!(r#"{{"connect":{{"client":"c1","version":"fanfare {version}","ping":25,"session":"s1"}}}}"#);
    assert_eq!(heard(Encoding::OneWayLines, &welcome), format!("{connect}\n"));
    assert_eq!(heard(Encoding::OneWayEvents, &welcome), format!("data: {connect}\n\n"));
    let publication = Publication::new(channel("news"), Bytes::from_static(b"1"));
    let publication = Event::Publication(&publication);
    let push = r#"{"channel":"news","pub":{"data":1}}"#;
    assert_eq!(heard(Encoding::OneWayLines, &publication), format!("{push}\n"));
    assert_eq!(heard(Encoding::OneWayLines, &Event::Ping), "{}\n");
    assert_eq!(Encoding::OneWay.encode(&Event::Ping)[..], *b"\x81\x02{}\x89\x00");
    let error = Event::Answer {
        id: 1,
        result: Err(&CommandError::Unauthorized),
    };
    assert_eq!(heard(Encoding::OneWayLines, &error), "", "there are no answers");
    let closing = Event::Closing(&Close::Shutdown);
    let disconnect = br#"{"disconnect":{"code":3001,"reason":"shutdown"}}"#;
    let bye = Encoding::OneWay.encode(&closing);
    assert_eq!(bye[2..2 + disconnect.len()], disconnect[..]);
    assert_eq!(bye[2 + disconnect.len()..], *b"\x88\x0a\x0b\xb9shutdown", "and a Close");
}

#[test]
fn who_only_hears_says_one_thing() {
    let connect = |text: &'static [u8]| {
        let message = Message {
            kind: Kind::Text,
            data: Bytes::from_static(text),
        };
        Dialect::OneWay(Carrier::Frames)
            .decode(message, 64)
            .next()
            .expect("a request")
    };
    for empty in [&b""[..], b"{}", b" null "] {
        let command = connect(empty).map(|request| request.command);
        assert!(matches!(command, Ok(Ok(Command::Connect(connect))) if connect.token.is_empty()));
    }
    let command = connect(br#"{"token":"t","subs":{"news":{"recover":true,"epoch":"e","offset":1}}}"#);
    match command.map(|request| request.command) {
        Ok(Ok(Command::Connect(connect))) => assert_eq!((connect.token.as_str(), connect.positions.len()), ("t", 1)),
        other => panic!("{other:?}"),
    }
    for wrong in [&b"[]"[..], b"{", b"1", br#"{"token":1}"#] {
        assert!(matches!(connect(wrong), Err(DecodeError::Malformed(_))), "{wrong:?}");
    }
}

#[test]
fn commands_may_come_apart_from_their_connection() {
    let json = br#"{"session":"s1","node":"n1","data":"{\"id\":2}\n{\"id\":3}"}"#;
    let text = Emulation::decode(Format::Json, json).expect("valid");
    assert_eq!((text.session.as_str(), text.node.as_str()), ("s1", "n1"));
    assert_eq!(
        (text.message.kind, &text.message.data[..]),
        (Kind::Text, &b"{\"id\":2}\n{\"id\":3}"[..])
    );
    let protobuf = b"\x0a\x02n1\x12\x02s1\x1a\x02\x01\x00";
    let binary = Emulation::decode(Format::Protobuf, protobuf).expect("valid");
    assert_eq!((binary.session.as_str(), binary.node.as_str()), ("s1", "n1"));
    assert_eq!(
        (binary.message.kind, &binary.message.data[..]),
        (Kind::Binary, &b"\x01\x00"[..])
    );
    for wrong in [
        &b""[..],
        b"[]",
        b"{",
        br#"{"session":"s1"}"#,
        br#"{"session":1,"node":"","data":""}"#,
    ] {
        assert!(Emulation::decode(Format::Json, wrong).is_err(), "{wrong:?}");
    }
    assert!(Emulation::decode(Format::Protobuf, b"\x0a\x09n1").is_err());
}

#[test]
fn payloads_may_come_as_differences() {
    let publication = |data: &'static str, previous: Option<&'static str>| {
        let mut publication = Publication::new(channel("news"), Bytes::from_static(data.as_bytes()));
        publication.previous = previous.map(|previous| Box::new(Bytes::from_static(previous.as_bytes())));
        publication
    };
    let told = |encoding, publication: &Publication| {
        let told = encoding_of(encoding, &Event::Publication(publication));
        told["push"]["pub"].clone()
    };
    let first = publication(r#"{"price":100,"symbol":"ACME"}"#, None);
    let second = publication(
        r#"{"price":101,"symbol":"ACME"}"#,
        Some(r#"{"price":100,"symbol":"ACME"}"#),
    );
    let whole = serde_json::json!({"data": r#"{"price":100,"symbol":"ACME"}"#});
    assert_eq!(told(Encoding::CentrifugeJsonWhole, &first), whole);
    assert_eq!(
        told(Encoding::CentrifugeJsonPatch, &first),
        whole,
        "there is nothing before it"
    );
    let patch = serde_json::json!({"data": "T\nB@0,1:1H@C,2Qlq0D;", "delta": true});
    assert_eq!(told(Encoding::CentrifugeJsonPatch, &second), patch);
    let other = publication("[1]", Some(r#"{"price":100,"symbol":"ACME"}"#));
    assert_eq!(
        told(Encoding::CentrifugeJsonPatch, &other),
        serde_json::json!({"data": "[1]"}),
        "a patch is no shorter"
    );
    // In Protobuf what is whole is as usual.
    let usual = Encoding::CentrifugeProtobuf.encode(&Event::Publication(&first));
    assert_eq!(
        Encoding::CentrifugeProtobufPatch.encode(&Event::Publication(&first)),
        usual
    );
    let patched = Encoding::CentrifugeProtobufPatch.encode(&Event::Publication(&second));
    assert!(
        patched
            .windows(20)
            .any(|part| part == b"T\nB@0,1:1H@C,2Qlq0D;".get(..20).expect("long enough"))
    );
    assert!(patched.ends_with(&[0x40, 1]), "delta is true: {patched:?}");
}

/// What a frame with JSON says.
#[track_caller]
fn encoding_of(encoding: Encoding, event: &Event<'_>) -> serde_json::Value {
    let frame = encoding.encode(event);
    let at = frame.iter().position(|byte| *byte == b'{').expect("JSON");
    serde_json::from_slice(&frame[at..]).expect("JSON")
}
