//! Messages byte by byte, put together by the same rules and by hand.

use protocol::Channel;
use protocol::dialect::Format;

use super::{NOT_A_REPLY, put_bytes, put_number, write};
use crate::centrifuge::{Answer, Command, Malformed, Refusal, Reply, replies};

/// A field with bytes in it.
fn field(number: u32, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, number, value);
    out
}

/// A message after its length.
fn delimited(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_number(&mut out, message.len() as u64);
    out.extend_from_slice(message);
    out
}

/// A push of `data` in channel `a`, with an offset and a publisher around the data.
fn push(data: &[u8]) -> Vec<u8> {
    let publication = [&field(5, b"\x12\x01c")[..], &field(4, data), b"\x30\x07"].concat();
    delimited(&field(4, &[field(2, b"a"), field(4, &publication)].concat()))
}

#[test]
fn commands_byte_by_byte() {
    let channel = Channel::parse("room").expect("a channel");
    let mut message = Vec::new();
    for command in [
        Command::Connect { id: 1, token: None },
        Command::Connect {
            id: 1,
            token: Some("t"),
        },
        Command::Subscribe {
            id: 2,
            channel: &channel,
        },
        Command::Publish {
            id: 300,
            channel: &channel,
            data: b"{}",
        },
        Command::Pong,
    ] {
        write(&command, &mut message);
    }
    let expected = [
        &b"\x04\x08\x01\x22\x00"[..],
        b"\x07\x08\x01\x22\x03\x0a\x01t",
        b"\x0a\x08\x02\x2a\x06\x0a\x04room",
        b"\x0f\x08\xac\x02\x3a\x0a\x0a\x04room\x12\x02{}",
        b"\x00",
    ];
    assert_eq!(message, expected.concat());
}

#[track_caller]
fn check(message: &[u8], expected: &[Result<Reply<'_>, Malformed>]) {
    let found: Vec<_> = replies(Format::Protobuf, message).collect();
    assert_eq!(found, expected, "{message:x?}");
}

fn publication(data: &[u8]) -> Result<Reply<'_>, Malformed> {
    Ok(Reply::Publication { channel: b"a", data })
}

fn answer<'a>(id: u32, answer: Answer) -> Result<Reply<'a>, Malformed> {
    Ok(Reply::Answer { id, result: Ok(answer) })
}

#[test]
fn publications() {
    check(&push(b"{}"), &[publication(b"{}")]);
    let long = [b'x'; 300];
    check(&push(&long), &[publication(&long)]);
}

#[test]
fn several_in_a_message() {
    check(
        &[&push(b"1")[..], b"\0", &push(b"2"), b"\x04\x08\x03\x42\x00"].concat(),
        &[
            publication(b"1"),
            Ok(Reply::Ping),
            publication(b"2"),
            answer(3, Answer::Published),
        ],
    );
    check(
        &[&push(b"1")[..], b"\x80"].concat(),
        &[publication(b"1"), Err(NOT_A_REPLY)],
    );
    check(b"", &[Err(Malformed("an empty message"))]);
}

#[test]
fn answers_and_other_pushes() {
    let connected = [&b"\x08\x01"[..], &field(5, b"\x0a\x01c\x38\x19\x40\x01")].concat();
    check(
        &delimited(&connected),
        &[answer(1, Answer::Connected { wants_pongs: true })],
    );
    let silent = [&b"\x08\x01"[..], &field(5, b"\x0a\x01c")].concat();
    check(
        &delimited(&silent),
        &[answer(1, Answer::Connected { wants_pongs: false })],
    );
    check(b"\x04\x08\x02\x32\x00", &[answer(2, Answer::Subscribed)]);
    let refused = [&b"\x08\x02"[..], &field(2, b"\x08\x67\x12\x02no\x18\x01")].concat();
    let refusal = Refusal {
        code: 103,
        message: "no".to_owned(),
    };
    check(
        &delimited(&refused),
        &[Ok(Reply::Answer {
            id: 2,
            result: Err(refusal),
        })],
    );
    let unsubscribe = field(4, &[field(2, b"a"), field(7, b"\x10\xc4\x13\x1a\x01x")].concat());
    check(&delimited(&unsubscribe), &[Ok(Reply::Ended { code: 2500 })]);
    let disconnect = field(4, &field(11, b"\x08\xb9\x17"));
    check(&delimited(&disconnect), &[Ok(Reply::Ended { code: 3001 })]);
    let join = field(4, &[field(2, b"a"), field(5, b"")].concat());
    check(&delimited(&join), &[Ok(Reply::Other)]);
}

#[test]
fn what_is_no_reply_is_noticed() {
    for wrong in [
        &b"\x02\x08\x03"[..],            // an id alone
        b"\x04\x08\x03\x6a\x00",         // an answer to something else
        b"\x06\x22\x04\x22\x02\x30\x07", // a publication without data
        b"\x02\x00\x01",                 // field 0
        b"\x01\x0b",                     // a wire type that is none
        b"\x03\x39\x00\x00",             // eight bytes of which there are two
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    ] {
        let found: Vec<_> = replies(Format::Protobuf, wrong).collect();
        assert!(matches!(found[..], [Err(_)]), "{wrong:x?}: {found:?}");
    }
}

#[test]
fn a_message_that_breaks_off_is_noticed_wherever_it_does() {
    let whole = push(b"{\"x\":1}");
    for end in 1..whole.len() {
        check(&whole[..end], &[Err(NOT_A_REPLY)]);
    }
    // The same with a length that fits, so that only what is inside is wrong.
    for end in 2..whole.len() {
        let message = delimited(&whole[1..end]);
        let found: Vec<_> = replies(Format::Protobuf, &message).collect();
        assert!(matches!(found[..], [Err(_)]), "{end}: {found:?}");
    }
}
