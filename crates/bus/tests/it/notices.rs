//! Notices: what every bus promises, and what only several nodes on one Redis can show.

use std::time::{Duration, SystemTime};

use bus::notices::{LONGEST, MOST};
use bus::{Bus, Notice, NoticeError, QueueLimits, RedisConfig, StoreError};

use crate::contract::on_both;
use crate::support::{Node, PATIENCE, Redis};

on_both! {
    notices_are_read_until_they_are_over super::QueueLimits::default();
    a_notice_may_be_posted_again super::QueueLimits::default();
    a_text_has_a_bound super::QueueLimits::default();
    no_notice_after_close super::QueueLimits::default();
}

/// So long from now, in whole milliseconds as every bus keeps them.
fn after(wait: Duration) -> SystemTime {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let millis = (now.expect("after 1970") + wait).as_millis();
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).expect("soon"))
}

const HOUR: Duration = Duration::from_secs(3600);

fn notice(text: &str, until: SystemTime) -> Notice {
    Notice {
        text: text.to_owned(),
        until,
    }
}

/// All of them, in the order of their texts.
async fn all(bus: &dyn Bus) -> Vec<Notice> {
    let mut all = bus.notices().all().await.expect("an answer");
    all.sort_unstable();
    all
}

async fn notices_are_read_until_they_are_over(node: &mut Node) {
    let (bus, notices) = (&*node.bus, node.bus.notices());
    assert_eq!(all(bus).await, []);
    let (soon, later) = (after(Duration::from_millis(300)), after(HOUR));
    for (text, until) in [
        ("", later),
        ("\u{1F41E}\r\n\0", later),
        ("soon", soon),
        ("over", after(Duration::ZERO) - HOUR),
        ("long ago", SystemTime::UNIX_EPOCH),
    ] {
        assert_eq!(notices.post(text, until).await, Ok(()), "{text:?}");
    }
    let mut expected = vec![
        notice("", later),
        notice("soon", soon),
        notice("\u{1F41E}\r\n\0", later),
    ];
    assert_eq!(all(bus).await, expected);
    expected.remove(1);
    let deadline = SystemTime::now() + PATIENCE;
    while all(bus).await != expected {
        assert!(SystemTime::now() < deadline, "{:?}", all(bus).await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(SystemTime::now() >= soon, "not before it is over");
}

async fn a_notice_may_be_posted_again(node: &mut Node) {
    let notices = node.bus.notices();
    let (first, second) = (after(HOUR), after(2 * HOUR));
    for until in [first, second] {
        assert_eq!(notices.post("a", until).await, Ok(()));
        assert_eq!(all(&*node.bus).await, [notice("a", until)]);
    }
    assert_eq!(notices.post("a", first).await, Ok(()));
    assert_eq!(all(&*node.bus).await, [notice("a", first)], "also when that is earlier");
    assert_eq!(notices.post("a", SystemTime::UNIX_EPOCH).await, Ok(()));
    assert_eq!(all(&*node.bus).await, []);
}

async fn a_text_has_a_bound(node: &mut Node) {
    let notices = node.bus.notices();
    let longest = "x".repeat(LONGEST);
    let until = after(HOUR);
    assert_eq!(notices.post(&longest, until).await, Ok(()));
    assert_eq!(
        notices.post(&format!("{longest}x"), until).await,
        Err(NoticeError::TooLong)
    );
    assert_eq!(all(&*node.bus).await, [notice(&longest, until)]);
}

async fn no_notice_after_close(node: &mut Node) {
    let notices = node.bus.notices();
    assert_eq!(notices.post("a", after(HOUR)).await, Ok(()));
    node.bus.close().await;
    assert_eq!(notices.all().await, Err(StoreError::Unavailable));
    assert_eq!(
        notices.post("b", after(HOUR)).await,
        Err(StoreError::Unavailable.into())
    );
}

/// What ends first makes room, and what would end before all others finds none.
async fn the_most_are_kept(bus: &dyn Bus, fill: impl AsyncFnOnce(SystemTime)) {
    let middle = after(2 * HOUR);
    bus.notices().post("first to end", after(HOUR)).await.expect("taken");
    fill(middle).await;
    assert_eq!(all(bus).await.len(), MOST);
    let last = notice("last to end", after(3 * HOUR));
    bus.notices().post(&last.text, last.until).await.expect("taken");
    let kept = all(bus).await;
    assert_eq!(kept.len(), MOST, "each once");
    assert!(kept.contains(&last) && kept.iter().all(|it| it.until >= middle));
    let early = bus.notices().post("early", after(HOUR)).await;
    assert_eq!(early, Err(NoticeError::NoRoom));
    assert_eq!(all(bus).await, kept);
}

#[tokio::test]
async fn the_most_are_kept_in_memory() {
    let node = Node::memory(QueueLimits::default());
    let bus = &*node.bus;
    the_most_are_kept(bus, async |until| {
        for i in 1..MOST {
            bus.notices().post(&i.to_string(), until).await.expect("taken");
        }
    })
    .await;
}

#[tokio::test]
async fn the_most_are_kept_on_redis() {
    let redis = Redis::start().await;
    let node = Node::up(RedisConfig::new(redis.url())).await;
    the_most_are_kept(&*node.bus, async |until| {
        let millis = until
            .duration_since(SystemTime::UNIX_EPOCH)
            .expect("after 1970")
            .as_millis();
        let fill = "for i = 1, ARGV[1] - 1 do redis.call('ZADD', KEYS[1], ARGV[2], i) end";
        let words = [
            "EVAL",
            fill,
            "1",
            "fanfare:notices",
            &MOST.to_string(),
            &millis.to_string(),
        ];
        let _: Option<u8> = redis.ask(&words).await;
    })
    .await;
}

#[tokio::test]
async fn every_node_reads_them_also_one_that_comes_later() {
    let redis = Redis::start().await;
    let here = Node::up(RedisConfig::new(redis.url())).await;
    let there = Node::up(RedisConfig::new(redis.url())).await;
    let until = after(HOUR);
    here.bus.notices().post("a", until).await.expect("taken");
    there.bus.notices().post("b", until).await.expect("taken");
    here.bus.close().await;
    let later = Node::up(RedisConfig::new(redis.url())).await;
    let expected = [notice("a", until), notice("b", until)];
    assert_eq!(all(&*there.bus).await, expected);
    assert_eq!(all(&*later.bus).await, expected);
}

#[tokio::test]
async fn what_strangers_note_is_not_trusted() {
    let redis = Redis::start().await;
    let node = Node::up(RedisConfig::new(redis.url())).await;
    let until = after(HOUR);
    node.bus.notices().post("a", until).await.expect("taken");
    let long = "x".repeat(LONGEST + 1);
    for (score, text) in [
        ("inf", "never"),
        ("1e300", "late"),
        ("-1", "before 1970"),
        ("9e12", &long),
    ] {
        let _: u8 = redis.ask(&["ZADD", "fanfare:notices", score, text]).await;
    }
    assert_eq!(all(&*node.bus).await, [notice("a", until)]);
    assert_eq!(node.bus.stats().malformed.get(), 4);
    node.bus.notices().post("b", until).await.expect("taken");
    let _: String = redis.ask(&["SET", "fanfare:notices", "something else"]).await;
    let refused = node.bus.notices().all().await;
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
}

#[tokio::test]
async fn an_outage_is_an_error_at_once() {
    let mut redis = Redis::start().await;
    let node = Node::up(RedisConfig::new(redis.url())).await;
    redis.kill();
    node.until(|health| !health.publisher_up).await;
    let notices = node.bus.notices();
    assert_eq!(
        notices.post("a", after(HOUR)).await,
        Err(StoreError::Unavailable.into())
    );
    assert_eq!(notices.all().await, Err(StoreError::Unavailable));
    redis.restart().await;
    node.until(|health| health.publisher_up).await;
    assert_eq!(notices.post("a", after(HOUR)).await, Ok(()));
}
