//! Who a client is, and for how long.

use super::*;

#[test]
fn the_first_command_says_who_it_is() {
    assert_eq!(Talk::new().says(CONNECT), [r#"known as """#, "welcome"]);
    assert_eq!(
        Talk::new().says(r#"{"id":1,"subscribe":{"channel":"a"}}"#),
        ["Close(BadRequest)"]
    );
    assert_eq!(Talk::known().says(CONNECT), ["Close(BadRequest)"]);
    assert_eq!(
        Talk::new().says(r#"{"id":1,"connect":{"token":"t"}}"#),
        ["Close(InvalidToken)"]
    );
}

#[test]
fn a_token_says_who_it_is() {
    let mut talk = Talk::new();
    let token = talk.token(60, json!({"sub": "anna"}));
    let welcome = talk.asks(&json!({"id": 1, "connect": {"token": token}}));
    assert_eq!(welcome[0], r#"known as "anna""#);
    assert!(
        welcome[1].starts_with("welcome for 59 s") || welcome[1].starts_with("welcome for 60 s"),
        "{welcome:?}"
    );

    let mut talk = Talk::new();
    let token = talk.token(-1, json!({"sub": "anna"}));
    let late = talk.asks(&json!({"id": 1, "connect": {"token": token}}));
    assert_eq!(late, error(1, 109, "token expired"));

    let mut talk = Talk::new();
    let token = talk.token(60, json!({"sub": "anna", "channel": "a"}));
    let wrong = talk.asks(&json!({"id": 1, "connect": {"token": token}}));
    assert_eq!(wrong, ["Close(InvalidToken)"], "it is for a subscription");
}

#[test]
fn what_follows_a_refusal_is_not_looked_at() {
    let mut config = config();
    config.centrifuge.anonymous = false;
    let mut talk = Talk::by(config);
    let refused = talk.says("{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}");
    assert_eq!(refused, error(1, 101, "unauthorized"));
    assert_eq!(talk.says(CONNECT), ["Close(BadRequest)"]);
}

#[test]
fn a_token_brings_its_channels_before_the_welcome() {
    let mut talk = Talk::new();
    let token = talk.token(60, json!({"sub": "anna", "channels": ["lobby", "members"]}));
    let connect = json!({"id": 1, "connect": {"token": token}});
    let mut asked = talk.says(format!(
        "{connect}\n{{\"id\":2,\"presence\":{{\"channel\":\"lobby\"}}}}"
    ));
    asked.sort();
    assert_eq!(asked, ["subscribe lobby for 1", "subscribe members for 1"]);
    assert!(talk.hears("members", 1).is_empty(), "one is missing");
    assert!(talk.hears("members", 1).is_empty(), "the same again");
    let mut told = talk.hears("lobby", 1);
    assert_eq!(told.remove(0), r#"known as "anna""#);
    told[..2].sort();
    let welcome = told.remove(2);
    assert!(
        welcome.starts_with("welcome for ") && welcome.ends_with(r#" s ["lobby", "members"]"#),
        "{welcome}"
    );
    assert_eq!(
        told,
        [
            "join lobby",
            "join members",
            "anna enters lobby",
            "read Members of lobby for 2"
        ]
    );
    // The client has not asked for them, and cannot again.
    assert_eq!(
        talk.says(r#"{"id":3,"subscribe":{"channel":"lobby"}}"#),
        error(3, 105, "already subscribed")
    );
}

#[test]
fn a_token_for_channels_that_are_none_lets_nobody_in() {
    let refused = |channels: Value| {
        let mut talk = Talk::new();
        let token = talk.token(60, json!({"sub": "anna", "channels": channels}));
        talk.asks(&json!({"id": 1, "connect": {"token": token}}))
    };
    assert_eq!(refused(json!(["a", "nowhere"])), error(1, 102, "unknown channel"));
    assert_eq!(refused(json!(["closed"])), error(1, 103, "permission denied"));
    assert_eq!(refused(json!(["a", "b", "c"])), ["Close(ChannelLimit)"]);
}

#[test]
fn who_cannot_be_let_in_is_told_so() {
    let mut talk = Talk::new();
    let token = talk.token(60, json!({"sub": "anna", "channels": ["a"]}));
    talk.asks(&json!({"id": 1, "connect": {"token": token}}));
    assert_eq!(
        talk.fails(1),
        [r#"{"id":1,"error":{"code":100,"message":"internal server error","temporary":true}}"#]
    );
    assert!(talk.hears("a", 1).is_empty());
    assert_eq!(talk.says(CONNECT), ["Close(BadRequest)"]);
}

#[test]
fn a_connection_lasts_as_long_as_its_token_and_is_renewed_by_another() {
    let mut talk = Talk::new();
    let token = talk.token(60, json!({"sub": "anna"}));
    talk.asks(&json!({"id": 1, "connect": {"token": token}}));
    let grace = talk.config.centrifuge.refresh_grace.as_secs();
    talk.wait(59 + grace);
    assert!(talk.expires().is_empty());

    let fresh = talk.token(600, json!({"sub": "anna"}));
    let refreshed = talk.asks(&json!({"id": 2, "refresh": {"token": fresh}}));
    assert!(refreshed[0].starts_with("refreshed 2 for Some("), "{refreshed:?}");
    talk.wait(2);
    assert!(talk.expires().is_empty());
    talk.wait(600 + grace);
    assert_eq!(talk.expires(), ["Close(Expired)"]);
}

#[test]
fn a_connection_is_renewed_only_by_a_token_like_its_own() {
    let refreshed_with = |seconds, claims: Value| {
        let mut talk = Talk::new();
        let token = talk.token(60, json!({"sub": "anna", "channels": ["a"]}));
        talk.asks(&json!({"id": 1, "connect": {"token": token}}));
        talk.hears("a", 1);
        let token = talk.token(seconds, claims);
        let mut told = talk.asks(&json!({"id": 2, "refresh": {"token": token}}));
        told[0].truncate("refreshed 2".len().max("Close(InsufficientState)".len()));
        told
    };
    assert!(refreshed_with(60, json!({"sub": "anna", "channels": ["a"]}))[0].starts_with("refreshed 2"));
    assert_eq!(
        refreshed_with(60, json!({"sub": "bert", "channels": ["a"]})),
        ["Close(InvalidToken)"]
    );
    assert_eq!(
        refreshed_with(-1, json!({"sub": "anna", "channels": ["a"]})),
        ["Close(Expired)"]
    );
    assert_eq!(
        refreshed_with(60, json!({"sub": "anna", "channels": ["b"]})),
        ["Close(InsufficientState)"]
    );
    assert_eq!(refreshed_with(60, json!({"sub": "anna"})), ["Close(InsufficientState)"]);
    assert_eq!(Talk::known().says(r#"{"id":2,"refresh":{}}"#), ["Close(BadRequest)"]);
}
