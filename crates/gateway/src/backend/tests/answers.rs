//! What answers mean.

use std::time::SystemTime;

use super::super::answer::decode;
use super::*;
use crate::disconnect::Disconnect;
use crate::grant::{Grant, Overrides};

#[track_caller]
fn check(event: Event, body: &str, expected: Result<Verdict<Reply>, Malformed>) {
    assert_eq!(decode(event, body.as_bytes()), expected, "{body}");
}

#[track_caller]
fn granted(event: Event, result: &str, expected: Reply) {
    check(
        event,
        &format!(r#"{{"result":{result}}}"#),
        Ok(Verdict::Granted(expected)),
    );
}

#[track_caller]
fn malformed(event: Event, body: &str, expected: Malformed) {
    check(event, body, Err(expected));
}

fn json(text: &'static str) -> Option<Bytes> {
    Some(Bytes::from_static(text.as_bytes()))
}

fn at(seconds: u64) -> Option<SystemTime> {
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

fn application(code: u32, message: &str, is_temporary: bool) -> CommandError {
    CommandError::Application {
        code,
        message: message.into(),
        is_temporary,
    }
}

#[test]
fn the_strictest_part_counts() {
    let refused = |code, message: &str, is_temporary| Ok(Verdict::Refused(application(code, message, is_temporary)));
    for event in Event::ALL {
        check(event, "{}", Ok(Verdict::Nothing));
        check(event, " {\"result\": null}\n", Ok(Verdict::Nothing));
        check(
            event,
            r#"{"error":{"code":403,"message":"no"}}"#,
            refused(403, "no", false),
        );
    }
    check(
        Event::Rpc,
        r#"{"error":{"code":1,"message":"no","temporary":true},"result":{}}"#,
        refused(1, "no", true),
    );
    check(
        Event::Rpc,
        r#"{"error":{"code":1999,"message":"no"}}"#,
        refused(1999, "no", false),
    );
    let gone = Ok(Verdict::Disconnect(Disconnect::new(4500, "banned")));
    check(
        Event::Rpc,
        r#"{"disconnect":{"code":4500,"reason":"banned"},"error":{"code":0},"result":[]}"#,
        gone,
    );
    let forced = Ok(Verdict::Disconnect(Disconnect::new(3503, "force disconnect")));
    check(Event::Rpc, r#"{"disconnect":{"code":1000}}"#, forced);
}

#[test]
fn what_is_no_answer() {
    for body in [
        "",
        "null",
        "[]",
        "[null,null,null]",
        "{",
        "{}{}",
        "\"a\"",
        r#"{"error":[]}"#,
        r#"{"error":{"code":"1"}}"#,
    ] {
        malformed(Event::Rpc, body, Malformed::NotAnAnswer);
    }
    assert_eq!(decode(Event::Rpc, b"{\"x\":\"\xff\"}"), Err(Malformed::NotAnAnswer));
    for code in [0, -1, 2000, 4_294_967_297] {
        let body = format!(r#"{{"error":{{"code":{code},"message":"no"}}}}"#);
        malformed(Event::Rpc, &body, Malformed::ErrorCode(code));
    }
    malformed(Event::Rpc, r#"{"result":[]}"#, Malformed::Result("rpc"));
    malformed(Event::Connect, r#"{"result":{"user":5}}"#, Malformed::Result("connect"));
    malformed(Event::Rpc, r#"{"result":{"b64data":"*"}}"#, Malformed::Payload("data"));
    // bm9wZQ== is nope, /w== is a byte that is not UTF-8.
    malformed(
        Event::Rpc,
        r#"{"result":{"b64data":"bm9wZQ=="}}"#,
        Malformed::Payload("data"),
    );
    malformed(
        Event::Rpc,
        r#"{"result":{"b64data":"/w=="}}"#,
        Malformed::Payload("data"),
    );
    let deep = format!(r#"{{"result":{{"data":{}{}}}}}"#, "[".repeat(129), "]".repeat(129));
    malformed(Event::Rpc, &deep, Malformed::Payload("data"));
    let name = Channel::parse("a b").expect_err("a blank");
    malformed(
        Event::Connect,
        r#"{"result":{"channels":["a b"]}}"#,
        name.clone().into(),
    );
    malformed(Event::Connect, r#"{"result":{"subs":{"a b":{}}}}"#, name.into());
    let filter = r#"{"result":{"subs":{"a":{"server_tags_filter":{"key":"a"}}}}}"#;
    malformed(Event::Connect, filter, Malformed::Filter);
}

#[test]
fn connections() {
    granted(Event::Connect, "{}", Reply::Connect(Box::default()));
    let grant = Grant {
        info: json("1"),
        data: json(r#"{"b":2}"#),
        overrides: Overrides {
            presence: Some(true),
            ..Overrides::default()
        },
    };
    let channels = [
        (channel("news"), Subscription::default()),
        (channel("plain"), Subscription::default()),
        (
            channel("room"),
            Subscription {
                expires: at(1_900_000_000),
                grant,
            },
        ),
    ];
    let expected = Connection {
        user: "u".into(),
        expires: at(1_800_000_000),
        info: json(r#"{"n":"A"}"#),
        data: json("[1]"),
        meta: json(r#"{"t":1}"#),
        channels: channels.into(),
    };
    // eyJiIjoyfQ== is {"b":2}, and wins over what stands beside it.
    let result = r#"{"user":"u","expire_at":1800000000,"info":{ "n": "A" },"data":[ 1 ],"meta":{"t":1},"caps":[{}],"channels":["news","room"],
        "subs":{"room":{"expire_at":1900000000,"info":1,"data":7,"b64data":"eyJiIjoyfQ==","override":{"presence":{"value":true}}},"plain":null}}"#;
    granted(Event::Connect, result, Reply::Connect(Box::new(expected)));
}

#[test]
fn renewals() {
    let kept = |expires, info, meta| Renewal::Kept { expires, info, meta };
    granted(
        Event::Refresh,
        r#"{"expired":true,"expire_at":1800000000}"#,
        Reply::Refresh(Renewal::Expired),
    );
    granted(Event::Refresh, "{}", Reply::Refresh(kept(None, None, None)));
    let result = r#"{"expire_at":1800000000,"info":1,"meta":2}"#;
    granted(
        Event::Refresh,
        result,
        Reply::Refresh(kept(at(1_800_000_000), json("1"), json("2"))),
    );
    granted(
        Event::SubRefresh,
        result,
        Reply::SubRefresh(kept(at(1_800_000_000), json("1"), None)),
    );
    // Long ago is over, and after the year 9999 is never late.
    granted(
        Event::SubRefresh,
        r#"{"expire_at":-5}"#,
        Reply::SubRefresh(kept(at(0), None, None)),
    );
    let late = Reply::SubRefresh(kept(at(253_402_300_799), None, None));
    granted(Event::SubRefresh, r#"{"expire_at":9e18}"#, late);
}

#[test]
fn subscriptions_publications_and_calls() {
    granted(Event::Subscribe, "{}", Reply::Subscribe(Box::default()));
    let overrides = Overrides {
        force_recovery: Some(true),
        join_leave: Some(false),
        ..Overrides::default()
    };
    let grant = Grant {
        info: json(r#"{"role":"admin"}"#),
        data: None,
        overrides,
    };
    granted(
        Event::Subscribe,
        r#"{"info":{"role":"admin"},"override":{"force_recovery":{"value":true},"join_leave":{"value":false}}}"#,
        Reply::Subscribe(Box::new(Subscription { expires: None, grant })),
    );
    granted(Event::Publish, "{}", Reply::Publish(Box::default()));
    let publication = Publication {
        data: json("1"),
        tags: BTreeMap::from([("a".into(), "b".into())]),
        skips_history: true,
        idempotency_key: "k".into(),
        is_delta: true,
        version: u64::MAX,
        version_epoch: "e".into(),
    };
    // Mg== is 2; here it loses.
    granted(
        Event::Publish,
        r#"{"data": 1,"b64data":"Mg==","skip_history":true,"tags":{"a":"b"},"idempotency_key":"k","delta":true,"version":18446744073709551615,"version_epoch":"e"}"#,
        Reply::Publish(Box::new(publication)),
    );
    granted(Event::Rpc, "{}", Reply::Rpc(Bytes::new()));
    granted(
        Event::Rpc,
        r#"{"data":[1, 2]}"#,
        Reply::Rpc(Bytes::from_static(b"[1,2]")),
    );
    granted(
        Event::Rpc,
        r#"{"data":1,"b64data":"Mg=="}"#,
        Reply::Rpc(Bytes::from_static(b"2")),
    );
}
