//! What becomes of those who came with a token that is revoked.

use super::*;

/// Has the node know that tokens are revoked, and the session look.
fn revoke(talk: &mut Talk, revocation: Revocation) -> Vec<String> {
    let revocations = talk.session.terms.tokens.revocations();
    revocations.add(&revocation, talk.at.wall);
    let mut actions = Vec::new();
    talk.session.recheck(talk.at, &mut actions);
    actions.iter().map(words).collect()
}

fn by_name(talk: &Talk, id: &str) -> Revocation {
    Revocation::of_token(id.to_owned(), None, talk.at.wall).expect("short")
}

fn by_user(talk: &Talk, user: &str) -> Revocation {
    Revocation::of_user(user.to_owned(), talk.at.wall, None, talk.at.wall).expect("short")
}

/// Of anna, who has `members` by a token of its own, and `a` without one.
fn with_tokens() -> Talk {
    let mut talk = Talk::new();
    let connection = talk.token(60, json!({"sub": "anna", "jti": "c"}));
    talk.asks(&json!({"id": 1, "connect": {"token": connection}}));
    let members = talk.token(60, json!({"sub": "anna", "jti": "s", "channel": "members"}));
    talk.asks(&json!({"id": 2, "subscribe": {"channel": "members", "token": members}}));
    talk.hears("members", 2);
    talk.says(r#"{"id":3,"subscribe":{"channel":"a"}}"#);
    talk.hears("a", 3);
    talk
}

const UNSUBSCRIBED: [&str; 2] = [
    "unsubscribe members",
    r#"{"push":{"channel":"members","unsubscribe":{"code":2502,"reason":"state invalidated"}}}"#,
];

#[test]
fn what_came_with_a_revoked_token_ends() {
    type Make = fn(&Talk, &str) -> Revocation;
    let cases: [(Make, &str, &[&str]); 6] = [
        (by_name, "c", &["Close(StateInvalidated)"]),
        (by_user, "anna", &["Close(StateInvalidated)"]),
        (by_name, "s", &UNSUBSCRIBED),
        (by_name, "other", &[]),
        (by_user, "bert", &[]),
        (by_user, "", &[]),
    ];
    for (make, name, expected) in cases {
        let mut talk = with_tokens();
        let revocation = make(&talk, name);
        assert_eq!(revoke(&mut talk, revocation), expected, "{name}");
    }
    let mut talk = Talk::known();
    let everybody = by_user(&talk, "");
    assert!(revoke(&mut talk, everybody).is_empty(), "it came without a token");
}

#[test]
fn a_revoked_token_is_not_taken() {
    let mut talk = with_tokens();
    let (old, other) = (by_name(&talk, "old"), by_name(&talk, "other"));
    assert!(revoke(&mut talk, old).is_empty() && revoke(&mut talk, other).is_empty());
    let connection = talk.token(60, json!({"sub": "anna", "jti": "old"}));
    let subscription = talk.token(60, json!({"sub": "anna", "jti": "other", "channel": "members"}));
    talk.says(r#"{"id":4,"unsubscribe":{"channel":"members"}}"#);
    assert_eq!(
        talk.asks(&json!({"id": 5, "subscribe": {"channel": "members", "token": subscription}})),
        error(5, 103, "permission denied")
    );
    assert_eq!(
        talk.asks(&json!({"id": 6, "refresh": {"token": connection}})),
        ["Close(InvalidToken)"]
    );
    let mut talk = with_tokens();
    let other = by_name(&talk, "other");
    revoke(&mut talk, other);
    assert_eq!(
        talk.asks(&json!({"id": 4, "sub_refresh": {"channel": "members", "token": subscription}})),
        ["Close(InvalidToken)"]
    );
    let mut talk = Talk::new();
    let old = by_name(&talk, "old");
    revoke(&mut talk, old);
    assert_eq!(
        talk.asks(&json!({"id": 1, "connect": {"token": connection}})),
        ["Close(InvalidToken)"]
    );
}

#[test]
fn the_token_that_came_last_is_the_one_that_counts() {
    let mut talk = with_tokens();
    let connection = talk.token(60, json!({"sub": "anna", "jti": "c2"}));
    talk.asks(&json!({"id": 4, "refresh": {"token": connection}}));
    let subscription = talk.token(60, json!({"sub": "anna", "jti": "s2", "channel": "members"}));
    talk.asks(&json!({"id": 5, "sub_refresh": {"channel": "members", "token": subscription}}));
    for (id, expected) in [
        ("c", &[][..]),
        ("s", &[]),
        ("s2", &UNSUBSCRIBED),
        ("c2", &["Close(StateInvalidated)"]),
    ] {
        let revocation = by_name(&talk, id);
        assert_eq!(revoke(&mut talk, revocation), expected, "{id}");
    }
}

#[test]
fn who_waits_for_a_channel_with_a_revoked_token_does_not_get_it() {
    let mut talk = with_tokens();
    talk.says(r#"{"id":4,"unsubscribe":{"channel":"members"}}"#);
    let again = talk.token(60, json!({"sub": "anna", "jti": "s2", "channel": "members"}));
    talk.asks(&json!({"id": 5, "subscribe": {"channel": "members", "token": again}}));
    let revocation = by_name(&talk, "s2");
    let told = revoke(&mut talk, revocation);
    assert_eq!(told[0], r#"{"id":5,"subscribe":{}}"#);
    assert_eq!(told[1..], UNSUBSCRIBED);
    assert!(talk.hears("members", 5).is_empty());
}
