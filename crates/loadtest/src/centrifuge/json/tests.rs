//! Texts that servers send, and such that they must not.

use protocol::Channel;
use protocol::dialect::Format;

use super::{NOT_A_REPLY, write};
use crate::centrifuge::{Answer, Command, Malformed, Refusal, Reply, replies};

#[test]
fn commands_are_lines() {
    let channel = Channel::parse("room-1").expect("a channel");
    let mut message = Vec::new();
    for command in [
        Command::Connect {
            id: 1,
            token: Some("a\"b"),
        },
        Command::Subscribe {
            id: 2,
            channel: &channel,
        },
        Command::Publish {
            id: 3,
            channel: &channel,
            data: br#"{"a":[1]}"#,
        },
        Command::Pong,
        Command::Connect { id: 4, token: None },
    ] {
        write(&command, &mut message);
    }
    let expected = r#"{"id":1,"connect":{"token":"a\"b"}}
{"id":2,"subscribe":{"channel":"room-1"}}
{"id":3,"publish":{"channel":"room-1","data":{"a":[1]}}}
{}
{"id":4,"connect":{}}"#;
    assert_eq!(String::from_utf8_lossy(&message), expected);
}

#[track_caller]
fn check(message: &str, expected: &[Result<Reply<'_>, Malformed>]) {
    let found: Vec<_> = replies(Format::Json, message.as_bytes()).collect();
    assert_eq!(found, expected, "{message}");
}

fn publication<'a>(channel: &'a str, data: &'a str) -> Result<Reply<'a>, Malformed> {
    Ok(Reply::Publication {
        channel: channel.as_bytes(),
        data: data.as_bytes(),
    })
}

fn answer<'a>(id: u32, answer: Answer) -> Result<Reply<'a>, Malformed> {
    Ok(Reply::Answer { id, result: Ok(answer) })
}

#[test]
fn publications() {
    check(
        r#"{"push":{"channel":"a","pub":{"data":{"x":"}\"]"}}}}"#,
        &[publication("a", r#"{"x":"}\"]"}"#)],
    );
    check(
        r#"{"push":{"pub":{"info":{"user":"","client":"c"},"offset":7,"data":[{},[ ]]},"channel":"b"}}"#,
        &[publication("b", "[{},[ ]]")],
    );
    check(
        r#"{"push":{"channel":"a","pub":{"data":"s\\","tags":{"k":"v"}}}}"#,
        &[publication("a", r#""s\\""#)],
    );
    check(
        r#"{"push":{"channel":"a","pub":{"data":-1.5e3}}}"#,
        &[publication("a", "-1.5e3")],
    );
}

#[test]
fn several_in_a_message() {
    let one = r#"{"push":{"channel":"a","pub":{"data":1}}}"#;
    check(
        &format!("{one}\n{one}"),
        &[publication("a", "1"), publication("a", "1")],
    );
    check(
        &format!("{{}}\n{one}\n{{\"id\":3,\"publish\":{{}}}}\n"),
        &[Ok(Reply::Ping), publication("a", "1"), answer(3, Answer::Published)],
    );
    check(&format!("{one}{one}"), &[Err(NOT_A_REPLY)]);
    check(&format!("{one}\n\n{one}"), &[publication("a", "1"), Err(NOT_A_REPLY)]);
    check("", &[Err(Malformed("an empty message"))]);
}

#[test]
fn answers_and_other_pushes() {
    check(
        r#"{"id":1,"connect":{"client":"c","version":"v","subs":{},"ping":25,"pong":true}}"#,
        &[answer(1, Answer::Connected { wants_pongs: true })],
    );
    check(
        r#"{"connect":{"client":"c","pong":false},"id":1}"#,
        &[answer(1, Answer::Connected { wants_pongs: false })],
    );
    check(
        r#"{"id":2,"subscribe":{"epoch":"e","publications":[{"data":1}]}}"#,
        &[answer(2, Answer::Subscribed)],
    );
    let refusal = Refusal {
        code: 103,
        message: "permission denied".to_owned(),
    };
    check(
        r#"{"id":2,"error":{"code":103,"message":"permission denied","temporary":true}}"#,
        &[Ok(Reply::Answer {
            id: 2,
            result: Err(refusal),
        })],
    );
    check(
        r#"{"push":{"channel":"a","unsubscribe":{"reason":"x","code":2500}}}"#,
        &[Ok(Reply::Ended { code: 2500 })],
    );
    check(
        r#"{"push":{"disconnect":{"code":3001}}}"#,
        &[Ok(Reply::Ended { code: 3001 })],
    );
    check(
        r#"{"push":{"channel":"a","join":{"info":{"user":"u"}}}}"#,
        &[Ok(Reply::Other)],
    );
}

#[test]
fn what_is_no_reply_is_noticed() {
    for wrong in [
        r#"{"a":1}"#,
        r#"{"id":3}"#,
        r#"{"id":3,"rpc":{}}"#,
        r#"{"push":{"channel":"a","pub":{"offset":1}}}"#,
    ] {
        let found: Vec<_> = replies(Format::Json, wrong.as_bytes()).collect();
        assert!(matches!(found[..], [Err(_)]), "{wrong}: {found:?}");
    }
    for wrong in [
        "[]",
        "x",
        "{",
        " {}",
        "{}x",
        r#"{,}"#,
        r#"{"id":3,"publish":{},}"#,
        r#"{"id":-3,"publish":{}}"#,
        r#"{"id":,"publish":{}}"#,
        r#"{"id":3 "publish":{}}"#,
        r#"{"id":3,"publish":[]}"#,
        r#"{"push":"a"}"#,
        "{\"push\":{\"channel\":\"a\",\"pub\":{\"data\":\"\n\"}}}",
    ] {
        check(wrong, &[Err(NOT_A_REPLY)]);
    }
}

#[test]
fn a_text_that_breaks_off_is_noticed_wherever_it_does() {
    let whole = r#"{"push":{"channel":"a","pub":{"data":{"x":["\"",1]},"info":{"user":"u","client":"c"}}}}"#;
    check(whole, &[publication("a", r#"{"x":["\"",1]}"#)]);
    for end in 1..whole.len() {
        check(&whole[..end], &[Err(NOT_A_REPLY)]);
    }
}
