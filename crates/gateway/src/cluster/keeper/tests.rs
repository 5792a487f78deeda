//! How a node comes to know which tokens are revoked.

use std::collections::BTreeSet;

use bus::{MemoryBus, QueueLimits};
use tokio::time::timeout;

use super::*;
use crate::lane::directory::Place;
use crate::lane::id::ConnectionId;
use crate::lane::inbox::{Inbox, InboxLimits};
use crate::stats::LaneStats;
use crate::token::Origin;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn token(id: Option<&str>, issued: Option<u64>) -> Origin {
    Origin {
        id: id.map(str::to_owned),
        issued: issued.map(at),
    }
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
    let connection = |key| ConnectionId { key, generation: 1 };
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
    assert_eq!(keeper.note(&holds).await, Err(StoreError::Unavailable.into()));
    assert!(!revocations.is_revoked("", &token(Some("t"), None), now));
}
