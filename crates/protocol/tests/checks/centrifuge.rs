//! What holds for whatever comes to the Centrifuge dialect, and for whatever it has to tell; shared by properties and fuzzing.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use protocol::command::Connect;
use protocol::dialect::{Carrier, Emulation, Format};
use protocol::event::{Answer, Connected, Published, Recovery, Subscribed, Unsubscribed};
use protocol::frame::{Item, Kind, Limits, Message, Parser, Role};
use protocol::{
    ApplicationReason, Attributes, Channel, ClientInfo, Close, Command, CommandError, Dialect, Encoding, Event,
    Publication, PublicationKind, StreamPosition, delta,
};
use serde_json::Value;
use serde_json::value::RawValue;

/// Everything but the plain WebSocket, which has no words of its own.
const ENCODINGS: [Encoding; Encoding::COUNT - 1] = [
    Encoding::CentrifugeJson,
    Encoding::CentrifugeProtobuf,
    Encoding::CentrifugeLines,
    Encoding::CentrifugeStream,
    Encoding::CentrifugeEvents,
    Encoding::OneWay,
    Encoding::OneWayLines,
    Encoding::OneWayEvents,
    Encoding::CentrifugeJsonWhole,
    Encoding::CentrifugeJsonPatch,
    Encoding::CentrifugeProtobufPatch,
];

/// Decodes `bytes` as a message of either encoding. What comes out is no larger than what went in, and nothing follows an error.
pub(crate) fn message(bytes: &[u8]) {
    for format in [Format::Json, Format::Protobuf] {
        let data = Bytes::copy_from_slice(bytes);
        let kind = Kind::Binary;
        let mut has_ended = false;
        let mut commands = 0;
        for request in Dialect::Centrifuge(format, Carrier::Frames).decode(Message { kind, data }, 64) {
            assert!(!has_ended, "{bytes:?}");
            has_ended = request.is_err();
            commands += 1;
            match request.ok().and_then(|request| request.command.ok()) {
                Some(Command::Publish { data, .. } | Command::Rpc { data, .. } | Command::Send { data }) => {
                    payload(&data, bytes);
                }
                Some(Command::Connect(connect)) => introduction(&connect, bytes),
                Some(Command::Subscribe(subscribe)) => payload(&subscribe.data, bytes),
                _ => {}
            }
        }
        assert!(commands > 0 && commands <= bytes.len().max(1), "{bytes:?}");
    }
}

/// Decodes `bytes` as the body of a request with commands, in either encoding, and the commands in it.
pub(crate) fn emulation(bytes: &[u8]) {
    for format in [Format::Json, Format::Protobuf] {
        if let Ok(emulation) = Emulation::decode(format, bytes) {
            let names = emulation.session.len() + emulation.node.len();
            assert!(names + emulation.message.data.len() <= bytes.len(), "{bytes:?}");
            message(&emulation.message.data);
        }
    }
}

/// Decodes `bytes` as what a client says that only hears: one thing, which says who it is.
pub(crate) fn one_way(bytes: &[u8]) {
    let message = Message {
        kind: Kind::Binary,
        data: Bytes::copy_from_slice(bytes),
    };
    let requests: Vec<_> = Dialect::OneWay(Carrier::Frames).decode(message, 64).collect();
    let [request] = &requests[..] else {
        panic!("{requests:?}")
    };
    match request.as_ref().map(|request| &request.command) {
        Ok(Ok(Command::Connect(connect))) => introduction(connect, bytes),
        Ok(other) => panic!("{other:?}"),
        Err(_) => {}
    }
}

/// Tells `bytes` in every encoding, as whatever an event has of texts and payloads: as one message, and its JSON is valid.
pub(crate) fn told(bytes: &[u8]) {
    // The first byte says how long a payload before it was.
    let (length, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let (previous, data) = rest.split_at(usize::from(*length).min(rest.len()));
    let [previous, data] = [previous, data].map(on_the_bus);
    let text = String::from_utf8_lossy(bytes).into_owned();
    let channel = Channel::parse("news").expect("valid");
    let client = ClientInfo {
        user: text.clone(),
        client: text.clone(),
        connection: data.clone(),
        channel: previous.clone(),
    };
    let publication = publication(&channel, &data, &previous, &client);
    for encoding in ENCODINGS {
        let said = encode(encoding, &Event::Publication(&publication));
        if matches!(encoding, Encoding::CentrifugeJsonWhole | Encoding::CentrifugeJsonPatch) {
            let told = &said.as_ref().expect("JSON")["push"]["pub"];
            let payload = told["data"].as_str().expect("a text");
            if told.get("delta").is_some() {
                assert_eq!(
                    delta::apply(&previous, payload.as_bytes(), data.len()).as_deref(),
                    Ok(&data[..])
                );
            } else {
                assert_eq!(payload, String::from_utf8_lossy(&data));
            }
        }
    }
    if let Some(patch) = publication.patch() {
        assert_eq!(delta::apply(&previous, patch, data.len()).as_deref(), Ok(&data[..]));
    }
    let subscribed = subscribed(&text, &data, &client);
    let gone = Unsubscribed::Application(ApplicationReason::new(2000, &text).unwrap_or(reason()));
    let closes = [
        Close::Shutdown,
        Close::Application(ApplicationReason::new(4000, &text).unwrap_or(reason())),
    ];
    let error = CommandError::Application {
        code: 400,
        message: text.clone(),
        is_temporary: true,
    };
    let answers = answers(&text, &data, &client, &subscribed);
    let mut events: Vec<Event<'_>> = answers.iter().map(|answer| answered(Ok(answer))).collect();
    events.extend(closes.iter().map(Event::Closing));
    events.extend([
        answered(Err(&error)),
        Event::Ping,
        Event::Refreshed { expires: None },
        Event::Subscribed {
            channel: &channel,
            subscribed: &subscribed,
        },
        Event::Unsubscribed {
            channel: &channel,
            why: &gone,
        },
    ]);
    for event in &events {
        for encoding in ENCODINGS {
            encode(encoding, event);
        }
    }
}

/// What a client says of itself is bounded by what it has sent.
fn introduction(connect: &Connect, bytes: &[u8]) {
    payload(&connect.data, bytes);
    let headers = connect.headers.iter().map(|(name, value)| name.len() + value.len());
    let texts = connect.token.len() + connect.name.len() + connect.version.len();
    assert!(texts + headers.sum::<usize>() <= bytes.len(), "{bytes:?}");
    assert!(connect.positions.len() <= bytes.len());
}

/// A payload is one line of JSON, or nothing.
fn payload(data: &[u8], bytes: &[u8]) {
    assert!(data.len() <= bytes.len(), "{bytes:?}");
    assert!(
        data.is_empty() || serde_json::from_slice::<&RawValue>(data).is_ok(),
        "{bytes:?}"
    );
    assert!(!data.contains(&b'\n'), "{bytes:?}");
}

/// A payload as the bus brings it: whatever another program has written.
fn on_the_bus(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn publication(channel: &Channel, data: &Bytes, previous: &Bytes, client: &ClientInfo) -> Publication {
    let mut publication = Publication::new(channel.clone(), data.clone());
    publication.kind = PublicationKind::Publication;
    publication.previous = Some(Box::new(previous.clone()));
    publication.attributes = Some(Box::new(Attributes {
        publisher: Some(client.clone()),
        tags: tags(&client.user),
    }));
    publication
}

fn tags(text: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(text.to_owned(), text.to_owned())])
}

fn subscribed(text: &str, data: &Bytes, client: &ClientInfo) -> Subscribed {
    Subscribed {
        expires: Some(Duration::from_secs(1)),
        data: data.clone(),
        position: Some(position(text)),
        is_recoverable: true,
        recovery: Some(Recovery::Whole(vec![published(data, client)])),
        delta: true,
    }
}

fn published(data: &Bytes, client: &ClientInfo) -> Published {
    Published {
        data: data.clone(),
        info: Some(client.clone()),
        tags: tags(&client.user),
        offset: u64::MAX,
    }
}

fn position(text: &str) -> StreamPosition {
    StreamPosition {
        epoch: text.to_owned(),
        offset: u64::MAX,
    }
}

fn answers(text: &str, data: &Bytes, client: &ClientInfo, subscribed: &Subscribed) -> Vec<Answer> {
    let channel = Channel::parse("news").expect("valid");
    vec![
        Answer::Connected(Box::new(Connected {
            client: text.to_owned(),
            expires: Some(Duration::MAX),
            data: data.clone(),
            subscriptions: BTreeMap::from([(channel, subscribed.clone())]),
            ping: Some(Duration::from_secs(25)),
            session: text.to_owned(),
            node: text.to_owned(),
        })),
        Answer::Subscribed(Box::new(subscribed.clone())),
        Answer::Unsubscribed,
        Answer::Published,
        Answer::Presence(vec![client.clone()]),
        Answer::PresenceStats { clients: 1, users: 1 },
        Answer::History {
            publications: vec![published(data, client)],
            top: position(text),
        },
        Answer::Rpc { data: data.clone() },
        Answer::Refreshed { expires: None },
        Answer::SubRefreshed {
            expires: Some(Duration::ZERO),
        },
    ]
}

fn answered<'a>(result: Result<&'a Answer, &'a CommandError>) -> Event<'a> {
    Event::Answer { id: u32::MAX, result }
}

fn reason<const FIRST: u16, const LAST: u16>() -> ApplicationReason<FIRST, LAST> {
    ApplicationReason::new(LAST, "no reason").expect("good")
}

/// What `event` is in `encoding`, if that is JSON and has words for it; whatever carries it carries nothing else.
fn encode(encoding: Encoding, event: &Event<'_>) -> Option<Value> {
    let bytes = encoding.encode(event);
    let is_protobuf = match encoding {
        Encoding::CentrifugeProtobuf | Encoding::CentrifugeProtobufPatch | Encoding::CentrifugeStream => true,
        Encoding::OneWay | Encoding::OneWayLines | Encoding::OneWayEvents if bytes.is_empty() => return None,
        _ => false,
    };
    let message = match encoding {
        Encoding::CentrifugeStream => bytes,
        Encoding::CentrifugeLines | Encoding::OneWayLines => Bytes::copy_from_slice(line(&bytes, b"", b"\n")),
        Encoding::CentrifugeEvents | Encoding::OneWayEvents => Bytes::copy_from_slice(line(&bytes, b"data: ", b"\n\n")),
        _ => unframed(&bytes, is_protobuf)?,
    };
    if is_protobuf {
        let (length, rest) = length(&message);
        assert_eq!(length, rest.len(), "{event:?}");
        return None;
    }
    assert!(!message.contains(&b'\n'), "{event:?}");
    Some(serde_json::from_slice(&message).unwrap_or_else(|error| panic!("{error}: {message:?}")))
}

#[track_caller]
fn line<'a>(bytes: &'a [u8], before: &[u8], after: &[u8]) -> &'a [u8] {
    let line = bytes.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    line.unwrap_or_else(|| panic!("{bytes:?}"))
}

/// The message in whole frames; `None` if they are a Close alone.
fn unframed(bytes: &[u8], is_binary: bool) -> Option<Bytes> {
    let mut parser = Parser::new(Role::Client);
    let limits = Limits {
        message_size: 1 << 24,
        fragments: 1,
    };
    let mut rest = bytes;
    let mut found = None;
    while let Some(item) = parser.next(&mut rest, &limits).expect("good frames") {
        match item {
            Item::Message(message) => {
                assert_eq!(message.kind == Kind::Binary, is_binary);
                assert_eq!(found.replace(message.data), None, "one message");
            }
            Item::Ping(_) | Item::Close { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(rest.is_empty(), "{bytes:?}");
    found
}

/// A varint, and what follows it.
fn length(bytes: &[u8]) -> (usize, &[u8]) {
    let end = bytes.iter().position(|byte| byte & 0x80 == 0).expect("a varint");
    let (varint, rest) = bytes.split_at(end + 1);
    let length = varint
        .iter()
        .rev()
        .fold(0, |sum, byte| sum << 7 | usize::from(byte & 0x7f));
    (length, rest)
}
