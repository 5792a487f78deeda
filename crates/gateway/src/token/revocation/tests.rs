//! Which tokens are revoked, as a table.

use super::*;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn of_token(id: &str, until: u64) -> Revocation {
    Revocation::of_token(id.to_owned(), Some(at(until)), at(0)).expect("it has a name")
}

fn of_user(user: &str, issued_before: u64, until: u64) -> Revocation {
    Revocation::of_user(user.to_owned(), at(issued_before), Some(at(until)), at(0)).expect("short")
}

fn token(id: Option<&str>, issued: Option<u64>) -> Origin {
    Origin {
        id: id.map(str::to_owned),
        issued: issued.map(at),
    }
}

#[test]
fn which_tokens_are_revoked() {
    let revocations = Revocations::default();
    for revocation in [of_token("t1", 100), of_user("anna", 50, 100), of_user("", 50, 100)] {
        assert!(revocations.add(&revocation, at(10)));
    }
    #[track_caller]
    fn check(revocations: &Revocations, user: &str, token: &Origin, now: u64, expected: bool) {
        assert_eq!(
            revocations.is_revoked(user, token, at(now)),
            expected,
            "{user} {token:?}"
        );
    }
    for (user, token, now, expected) in [
        ("bert", token(Some("t1"), Some(99)), 99, true),
        ("bert", token(Some("t1"), None), 100, false),
        ("bert", token(Some("t2"), Some(1)), 99, false),
        ("bert", token(None, None), 99, false),
        ("anna", token(Some("t2"), Some(49)), 99, true),
        ("anna", token(Some("t2"), Some(50)), 99, false),
        ("anna", token(None, None), 99, true),
        ("anna", token(None, None), 100, false),
        ("annabel", token(None, Some(1)), 99, false),
        ("", token(None, Some(49)), 99, true),
    ] {
        check(&revocations, user, &token, now, expected);
    }
    revocations.forget(at(100));
    check(&revocations, "bert", &token(Some("t1"), None), 99, false);
    check(&revocations, "anna", &token(None, None), 99, false);
}

#[test]
fn nothing_shortens_a_revocation() {
    let revocations = Revocations::default();
    assert!(revocations.add(&of_token("t", 100), at(0)));
    assert!(!revocations.add(&of_token("t", 100), at(0)), "again");
    assert!(!revocations.add(&of_token("t", 50), at(0)));
    assert!(revocations.is_revoked("", &token(Some("t"), None), at(99)));
    assert!(revocations.add(&of_token("t", 200), at(0)));
    assert!(revocations.is_revoked("", &token(Some("t"), None), at(199)));
    assert!(!revocations.add(&of_token("over", 50), at(50)));

    assert!(revocations.add(&of_user("anna", 20, 100), at(0)));
    assert!(
        revocations.add(&of_user("anna", 40, 60), at(0)),
        "of more tokens, for less time"
    );
    assert!(!revocations.add(&of_user("anna", 30, 50), at(0)));
    for (issued, now, expected) in [(10, 99, true), (30, 59, true), (30, 60, false), (40, 59, false)] {
        let found = revocations.is_revoked("anna", &token(None, Some(issued)), at(now));
        assert_eq!(found, expected, "{issued} at {now}");
    }
    assert!(revocations.add(&of_user("anna", 40, 100), at(0)));
    assert_eq!(revocations.0.read().users["anna"].len(), 1, "the others are needless");
}

#[test]
fn it_is_written_as_json() {
    for (revocation, expected) in [
        (of_token("t", 100), r#"{"token":{"id":"t","until":100000}}"#),
        (
            of_user("anna", 50, 100),
            r#"{"user":{"user":"anna","issued_before":50000,"until":100000}}"#,
        ),
    ] {
        assert_eq!(revocation.encode(), expected);
        assert_eq!(
            serde_json::from_str::<Revocation>(expected).expect("its own words"),
            revocation
        );
    }
}

/// What is noted again must be the same note.
#[test]
fn any_time_is_read_as_it_was_written() {
    for nanos in [0, 1, 999_999, 1_000_000, 220_709_123, 999_999_999] {
        let time = at(1_795_574_528) + Duration::from_nanos(nanos);
        let revocation = Revocation::of_user("anna".to_owned(), time, Some(time), at(0)).expect("short");
        let read: Revocation = serde_json::from_str(&revocation.encode()).expect("its own words");
        assert_eq!((&read, read.encode()), (&revocation, revocation.encode()), "{nanos}");
        assert!(
            (time..=time + Duration::from_millis(1)).contains(&read.until()),
            "{nanos}"
        );
    }
}

#[test]
fn what_cannot_be_revoked() {
    let (token, user) = (
        |id: &str| Revocation::of_token(id.to_owned(), None, at(5)),
        |user: &str| Revocation::of_user(user.to_owned(), at(5), None, at(5)),
    );
    assert_eq!(token("").err(), Some(RevocationError::NoName));
    assert_eq!(token(&"x".repeat(1100)).err(), Some(RevocationError::TooLong));
    assert_eq!(user(&"\0".repeat(200)).err(), Some(RevocationError::TooLong), "as JSON");
    assert_eq!(token("t").expect("short").until(), at(5) + USUAL_LIFE);
    assert_eq!(user("").expect("nobody in particular").until(), at(5) + USUAL_LIFE);
}
