//! Which tokens are revoked, as a table, and how a node comes to know.

use std::collections::BTreeSet;
use std::sync::Arc;

use bus::{Bus, MemoryBus, QueueLimits};
use tokio::time::{sleep, timeout};

use super::*;
use crate::directory::{Directory, Place};
use crate::inbox::{Inbox, InboxLimits, Item, Recheck};
use crate::lane::Lane;
use crate::stats::LaneStats;

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
        (of_token("t", 100), r#"{"token":{"id":"t","until":100.0}}"#),
        (
            of_user("anna", 50, 100),
            r#"{"user":{"user":"anna","issued_before":50.0,"until":100.0}}"#,
        ),
    ] {
        assert_eq!(revocation.encode(), expected);
        assert_eq!(
            serde_json::from_str::<Revocation>(expected).expect("its own words"),
            revocation
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

/// A keeper of a node with one lane, and what it works with.
struct Node {
    keeper: Arc<Keeper>,
    bus: Arc<dyn Bus>,
    directory: Arc<Directory>,
    lane: Lane,
    revocations: Arc<Revocations>,
}

fn node() -> Node {
    let (bus, _) = MemoryBus::start(QueueLimits::default());
    let bus: Arc<dyn Bus> = bus;
    let limits = InboxLimits {
        publications: 1,
        bytes: 1,
        turn_bytes: 1,
    };
    let lane = Lane {
        inbox: Arc::new(Inbox::new(limits, || {})),
        stats: Arc::new(LaneStats::new(0)),
        woken: None,
    };
    let (directory, revocations) = (Arc::<Directory>::default(), Arc::<Revocations>::default());
    let keeper = Keeper::new(
        Arc::clone(&bus),
        Arc::clone(&directory),
        vec![lane.clone()],
        Arc::clone(&revocations),
    );
    Node {
        keeper: Arc::new(keeper),
        bus,
        directory,
        lane,
        revocations,
    }
}

/// Whom the lane was asked to look at.
fn asked(lane: &Lane) -> Vec<Recheck> {
    let mut items = Default::default();
    lane.inbox.take(&mut items);
    let rechecks = items.into_iter().map(|item| match item {
        Item::Recheck(whom) => whom,
        _ => panic!("nothing else was asked"),
    });
    rechecks.collect()
}

/// What another release may note.
const OTHER: &str = r#"{"sing":{}}"#;

async fn noted(bus: &dyn Bus) -> BTreeSet<String> {
    let all = bus.notices().all().await.expect("an answer");
    all.into_iter().map(|notice| notice.text).collect()
}

/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `is_so`.
async fn until(is_so: impl Fn() -> bool) {
    let look = async {
        while !is_so() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, look).await.expect("in time");
}

#[tokio::test]
async fn notices_are_read_at_first_and_when_the_link_is_back() {
    let Node {
        keeper,
        bus,
        revocations,
        ..
    } = node();
    let (until_then, now) = (SystemTime::now() + PATIENCE, SystemTime::now());
    let post = |text: String| {
        let bus = Arc::clone(&bus);
        async move { bus.notices().post(&text, until_then).await.expect("taken") }
    };
    let t1 = Revocation::of_token("t1".into(), Some(until_then), now).expect("short");
    let t2 = Revocation::of_token("t2".into(), Some(until_then), now).expect("short");
    post(t1.encode()).await;
    post(OTHER.into()).await;
    let task = tokio::spawn(Arc::clone(&keeper).keep());
    timeout(PATIENCE, keeper.loaded()).await.expect("in time");
    let is_revoked = |id| revocations.is_revoked("", &token(Some(id), None), SystemTime::now());
    assert!(is_revoked("t1"));
    post(t2.encode()).await;
    // As after the link was lost and is back.
    bus.stats().reconnects.add(1);
    until(|| is_revoked("t2")).await;
    assert!(is_revoked("t1"));
    // As after the store was lost, too: what it had is over for it.
    for known in [&t1, &t2] {
        bus.notices().post(&known.encode(), at(0)).await.expect("taken");
    }
    assert_eq!(noted(&*bus).await, BTreeSet::from([OTHER.to_owned()]));
    bus.stats().reconnects.add(1);
    let all = BTreeSet::from([OTHER.to_owned(), t1.encode(), t2.encode()]);
    let again = async {
        while noted(&*bus).await != all {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, again).await.expect("in time");
    task.abort();
}

#[tokio::test]
async fn lanes_look_at_a_user_or_at_everybody_once() {
    let Node {
        keeper,
        directory,
        lane,
        ..
    } = node();
    let connection = |key| crate::connections::ConnectionId { key, generation: 1 };
    for (key, user) in ["anna", "bert", "anna"].into_iter().enumerate() {
        let connection = connection(key);
        directory.enter(user.into(), uuid::Uuid::new_v4(), None, Place { lane: 0, connection });
    }
    let (later, now) = (SystemTime::now() + PATIENCE, SystemTime::now());
    let anna = Revocation::of_user("anna".into(), now, Some(later), now).expect("short");
    keeper.enforce(&anna);
    assert_eq!(asked(&lane), [Recheck::One(connection(0)), Recheck::One(connection(2))]);
    keeper.enforce(&anna);
    assert_eq!(asked(&lane), [], "it is known");
    for i in 0..1000 {
        keeper.enforce(&Revocation::of_token(i.to_string(), Some(later), now).expect("short"));
    }
    let task = tokio::spawn(Arc::clone(&keeper).keep());
    let found = std::cell::RefCell::new(Vec::new());
    until(|| {
        found.borrow_mut().extend(asked(&lane));
        !found.borrow().is_empty()
    })
    .await;
    assert_eq!(found.into_inner(), [Recheck::From(0)]);
    task.abort();
}

#[tokio::test]
async fn without_a_store_nothing_is_revoked_and_said_so() {
    let Node {
        keeper,
        bus,
        revocations,
        ..
    } = node();
    let now = SystemTime::now();
    let over = Revocation::of_token("t".into(), Some(now - PATIENCE), now).expect("short");
    let holds = Revocation::of_token("t".into(), None, now).expect("short");
    assert_eq!(keeper.note(&over).await, Ok(false));
    assert_eq!(keeper.note(&holds).await, Ok(true));
    bus.close().await;
    assert_eq!(keeper.note(&holds).await, Err(bus::StoreError::Unavailable.into()));
    assert!(!revocations.is_revoked("", &token(Some("t"), None), now));
}
