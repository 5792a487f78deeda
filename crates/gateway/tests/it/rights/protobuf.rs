//! As much of the Centrifuge protocol's Protobuf as the table of rights needs, between the JSON of the same commands and bytes.
//!
//! Does not know what is said. Invariant: a command has the same fields in both; of a reply only those are kept that are looked at.

use serde_json::{Value, json};

/// Names and numbers of fields.
type Fields = &'static [(&'static str, u64)];

/// Commands with their numbers, and their fields.
const COMMANDS: [(&str, u64, Fields); 6] = [
    ("connect", 4, &[("token", 1), ("data", 2)]),
    ("subscribe", 5, &[("channel", 1), ("token", 2)]),
    ("publish", 7, &[("channel", 1), ("data", 2)]),
    ("presence", 8, &[("channel", 1)]),
    ("presence_stats", 9, &[("channel", 1)]),
    ("history", 10, &[("channel", 1)]),
];

/// A message with one command.
pub(super) fn encode(command: &Value) -> Vec<u8> {
    let mut bytes = vec![8];
    varint(&mut bytes, command["id"].as_u64().expect("an id"));
    let named = COMMANDS.iter().find(|(name, ..)| command.get(name).is_some());
    let (name, number, fields) = named.expect("a command that is known here");
    let mut request = Vec::new();
    for (field, value) in command[name].as_object().expect("an object") {
        let (_, number) = fields.iter().find(|(name, _)| name == field).expect("a field of it");
        let text = match (field.as_str(), value) {
            ("data", json) => json.to_string(),
            (_, text) => text.as_str().expect("a text").to_owned(),
        };
        put(&mut request, *number, text.as_bytes());
    }
    put(&mut bytes, *number, &request);
    let mut message = Vec::new();
    varint(&mut message, bytes.len() as u64);
    message.extend(bytes);
    message
}

/// The replies of a message.
pub(super) fn decode(mut message: &[u8]) -> Vec<Value> {
    let mut replies = Vec::new();
    while !message.is_empty() {
        let length = usize::try_from(take(&mut message)).expect("a length");
        let (bytes, rest) = message.split_at(length);
        replies.push(reply(bytes));
        message = rest;
    }
    replies
}

fn reply(bytes: &[u8]) -> Value {
    let mut reply = json!({});
    for (number, part) in fields(bytes) {
        match (number, part) {
            (1, Part::Number(id)) => reply["id"] = json!(id),
            (2, Part::Bytes(error)) => reply["error"] = json!({"code": number_of(error, 1)}),
            (4, Part::Bytes(push)) => reply["push"] = self::push(push),
            (5, Part::Bytes(connect)) => {
                let client = bytes_of(connect, 1).unwrap_or_default();
                reply["connect"] = json!({"client": String::from_utf8_lossy(client)});
            }
            _ => {}
        }
    }
    reply
}

fn push(bytes: &[u8]) -> Value {
    let mut push = json!({"channel": String::from_utf8_lossy(bytes_of(bytes, 2).unwrap_or_default())});
    if let Some(publication) = bytes_of(bytes, 4) {
        let data = bytes_of(publication, 4).expect("a payload");
        push["pub"] = json!({"data": serde_json::from_slice::<Value>(data).expect("JSON")});
    }
    if bytes_of(bytes, 9).is_some() {
        push["subscribe"] = json!({});
    }
    push
}

enum Part<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn fields(mut bytes: &[u8]) -> Vec<(u64, Part<'_>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = take(&mut bytes);
        let value = take(&mut bytes);
        let part = match tag & 7 {
            0 => Part::Number(value),
            2 => {
                let (part, rest) = bytes.split_at(usize::try_from(value).expect("a length"));
                bytes = rest;
                Part::Bytes(part)
            }
            kind => panic!("no field here is of kind {kind}"),
        };
        found.push((tag >> 3, part));
    }
    found
}

fn number_of(bytes: &[u8], number: u64) -> u64 {
    let found = fields(bytes).into_iter().find_map(|field| match field {
        (at, Part::Number(value)) if at == number => Some(value),
        _ => None,
    });
    found.unwrap_or_default()
}

fn bytes_of(bytes: &[u8], number: u64) -> Option<&[u8]> {
    fields(bytes).into_iter().find_map(|field| match field {
        (at, Part::Bytes(part)) if at == number => Some(part),
        _ => None,
    })
}

fn put(bytes: &mut Vec<u8>, number: u64, part: &[u8]) {
    varint(bytes, number << 3 | 2);
    varint(bytes, part.len() as u64);
    bytes.extend_from_slice(part);
}

fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        bytes.push(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).expect("seven bits"));
}

fn take(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (first, rest) = bytes.split_first().expect("a whole number");
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            break;
        }
    }
    value
}
