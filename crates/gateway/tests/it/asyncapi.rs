//! The description of the client endpoints has the addresses, the numbers and the version of the code.
//!
//! What is in the messages is held against recordings and a running gateway by `tests/sdk`. A kind of error or close that is added to the
//! code does not compile here until it is listed, and then has to be described.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use protocol::event::Unsubscribed;
use protocol::{ApplicationReason, Close, CommandError};
use serde_json::Value;

/// All kinds of `$type`, of which those after the `;` are given as values, with a pattern that takes their place where kinds are counted.
macro_rules! every {
    ($type:ident: $($kind:ident),+; $($other:pat),+) => {{
        let every = vec![$($type::$kind),+];
        for one in &every {
            match one {
                $($type::$kind => {})+
                $($other => {})+
            }
        }
        every
    }};
}

/// One number with its text, and whether it says that trying again helps, if the table says.
type Code = (u64, String, Option<bool>);

fn source(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn description() -> Value {
    serde_norway::from_str(&source("docs/asyncapi.yaml")).expect("YAML")
}

fn table<'a>(description: &'a Value, name: &str) -> &'a Vec<Value> {
    description["components"]["schemas"][name]["anyOf"]
        .as_array()
        .expect("a list")
}

/// Each number that a table describes by itself; `again` is the member that says whether trying again helps.
fn described(description: &Value, name: &str, again: &str) -> BTreeSet<Code> {
    let singles = table(description, name)
        .iter()
        .filter(|code| code.get("const").is_some());
    let code = |code: &Value| {
        assert!(
            code["description"].as_str().is_some_and(|text| !text.is_empty()),
            "{code} means something"
        );
        (
            code["const"].as_u64().expect("a number"),
            code["title"].as_str().expect("a text").to_owned(),
            code.get(again).and_then(Value::as_bool),
        )
    };
    let all: Vec<Code> = singles.map(code).collect();
    let different: BTreeSet<Code> = all.iter().cloned().collect();
    assert_eq!(all.len(), different.len(), "{name} has nothing twice");
    different
}

/// The numbers that a table leaves to the application.
fn range(description: &Value, name: &str) -> (u64, u64) {
    let range = table(description, name)
        .iter()
        .find(|code| code.get("const").is_none())
        .expect("a range");
    let end = |name| range[name].as_u64().expect("a number");
    (end("minimum"), end("maximum"))
}

fn closes() -> Vec<Close> {
    every!(Close: Shutdown, SlowConsumer, Protocol, InvalidUtf8, TooLarge, Policy, Internal, InvalidToken, BadRequest, Stale, Expired,
        SubscriptionExpired, ByServer, Reconnect, StateInvalidated, TooManyErrors, ConnectionLimit, ChannelLimit, InsufficientState, NoPong,
        PermissionDenied, NotAvailable; Close::Answer { .. }, Close::Application(_))
}

#[test]
fn errors() {
    let every = every!(CommandError: Internal, Unauthorized, UnknownChannel, PermissionDenied, MethodNotFound, AlreadySubscribed, LimitExceeded,
        BadRequest, NotAvailable, TokenExpired, Expired, TooManyRequests, UnrecoverablePosition; CommandError::Application { .. });
    let known = every
        .iter()
        .map(|error| (error.code().into(), error.to_string(), Some(error.is_temporary())));
    assert_eq!(described(&description(), "ErrorCode", "x-temporary"), known.collect());
}

#[test]
fn ends_of_subscriptions() {
    let every =
        every!(Unsubscribed: ByServer, InsufficientState, Expired, StateInvalidated; Unsubscribed::Application(_));
    let known = every
        .iter()
        .map(|why| (why.code().into(), why.reason().to_owned(), Some(why.code() >= 2500)));
    assert_eq!(
        described(&description(), "UnsubscribeCode", "x-resubscribe"),
        known.collect()
    );
    let (first, last) = range(&description(), "UnsubscribeCode");
    check_range(first, last, |code| {
        ApplicationReason::<2000, 2999>::new(code, "bye")
            .map(Unsubscribed::Application)
            .is_ok()
    });
}

#[test]
fn ends_of_connections() {
    let closes = closes();
    let centrifuge = closes.iter().filter_map(Close::centrifuge).map(|(code, text)| {
        let comes_back = code < 3500 || (4000..4500).contains(&code);
        (u64::from(code), text.to_owned(), Some(comes_back))
    });
    assert_eq!(
        described(&description(), "CloseCode", "x-reconnect"),
        centrifuge.collect()
    );
    let plain = closes
        .iter()
        .filter_map(Close::websocket)
        .map(|(code, text)| (u64::from(code), text.to_owned(), None));
    assert_eq!(
        described(&description(), "PlainCloseCode", "x-reconnect"),
        plain.collect()
    );
    for name in ["CloseCode", "PlainCloseCode"] {
        let (first, last) = range(&description(), name);
        check_range(first, last, |code| {
            ApplicationReason::<3000, 4999>::new(code, "bye")
                .map(Close::Application)
                .is_ok()
        });
    }
}

/// The range ends where the code's does.
#[track_caller]
fn check_range(first: u64, last: u64, is_allowed: impl Fn(u16) -> bool) {
    let allowed = [first - 1, first, last, last + 1].map(|code| is_allowed(code.try_into().expect("a small number")));
    assert_eq!(allowed, [false, true, true, false], "{first} to {last}");
}

/// Every address that `server.rs` gives to clients is described, and no other.
#[test]
fn addresses() {
    let description = description();
    let channels: BTreeMap<String, Value> = serde_json::from_value(description["channels"].clone()).expect("channels");
    let described: BTreeSet<&str> = channels
        .values()
        .filter_map(|channel| channel["address"].as_str())
        .collect();
    let server = source("src/listener/server.rs");
    let routes = server
        .split(r#"web::resource(""#)
        .skip(1)
        .filter_map(|rest| rest.split('"').next());
    assert_eq!(described, routes.collect());
}

#[test]
fn version() {
    assert_eq!(description()["info"]["version"], env!("CARGO_PKG_VERSION"));
}
