//! Redis dies, stops, kills connections, falls silent and moves; the bus says so, comes back, and loses nothing it need not lose.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::{BusEvent, PublishError, RedisConfig};

use crate::support::{Hole, Names, Node, Proxy, Redis, channel, free_port, outgoing};

/// How soon anything ill must be noticed.
const NOTICED: Duration = Duration::from_secs(5);

/// The next events must be the loss of the link and then confirmations of exactly these wishes.
#[track_caller]
fn lost_and_found(node: &mut Node, mut expected: Vec<BusEvent>) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        assert_eq!(node.next().await, BusEvent::LinkLost, "{place}");
        while !expected.is_empty() {
            let event = node.next().await;
            let at = expected.iter().position(|it| *it == event);
            expected.remove(at.unwrap_or_else(|| panic!("{place}: {event:?} where {expected:?} was expected")));
        }
    }
}

/// Subscribes two channels and gives what confirms them.
async fn two_wishes(node: &mut Node) -> Vec<BusEvent> {
    let mut wishes = Vec::new();
    for name in ["a", "b"] {
        let generation = node.subscribed(name).await;
        wishes.push(BusEvent::Subscribed {
            channel: channel(name),
            generation,
        });
    }
    wishes
}

#[tokio::test]
async fn killed_and_restarted() {
    let mut redis = Redis::start().await;
    let mut node = Node::up(RedisConfig::new(redis.url())).await;
    let wishes = two_wishes(&mut node).await;
    for round in 1..=3 {
        redis.kill();
        node.until(|health| !health.link_up && !health.publisher_up).await;
        let from = Instant::now();
        assert_eq!(
            node.bus.publish(vec![outgoing("a", "lost")]).await,
            [Err(PublishError::Unavailable)]
        );
        assert!(
            from.elapsed() < Duration::from_millis(500),
            "publishing does not wait for Redis"
        );
        let health = node.bus.health();
        assert!(health.was_up && health.problem.is_some(), "{health:?}");
        tokio::time::sleep(Duration::from_millis(300 * round)).await; // an outage has a length
        redis.restart().await;
        let from = Instant::now();
        lost_and_found(&mut node, wishes.clone()).await;
        node.until(|health| health.link_up && health.publisher_up).await;
        node.publish("b", "again").await;
        assert_eq!(node.heard().await.data, "again");
        assert!(
            from.elapsed() < Duration::from_secs(2),
            "back after {:?}",
            from.elapsed()
        );
        let stats = node.bus.stats();
        assert_eq!((stats.reconnects.get(), stats.subscriptions.get()), (round, 2));
        assert!(stats.gap_millis.get() >= 300 * round, "{}", stats.gap_millis.get());
    }
    assert_eq!(node.bus.health().problem, None);
}

#[tokio::test]
async fn wishes_change_during_an_outage() {
    let mut redis = Redis::start().await;
    let mut node = Node::up(RedisConfig::new(redis.url())).await;
    two_wishes(&mut node).await;
    redis.kill();
    assert_eq!(node.next().await, BusEvent::LinkLost);
    node.bus.unsubscribe(&channel("a"));
    node.bus.unsubscribe(&channel("b"));
    let generation = node.bus.subscribe(&channel("b"));
    redis.restart().await;
    assert_eq!(
        node.next().await,
        BusEvent::Subscribed {
            channel: channel("b"),
            generation
        }
    );
    node.until(|health| health.publisher_up).await;
    node.publish("a", "1").await;
    node.publish("b", "2").await;
    assert_eq!(node.heard().await.data, "2");
}

#[tokio::test]
async fn thousands_of_channels_come_back() {
    let mut redis = Redis::start().await;
    let mut node = Node::up(RedisConfig::new(redis.url())).await;
    for i in 0..20_000 {
        node.bus.subscribe(&channel(&format!("room-{i}")));
    }
    for _ in 0..20_000 {
        node.next().await;
    }
    redis.kill();
    redis.restart().await;
    assert_eq!(node.next().await, BusEvent::LinkLost);
    for _ in 0..20_000 {
        assert!(matches!(node.next().await, BusEvent::Subscribed { .. }));
    }
    assert_eq!(node.bus.stats().subscriptions.get(), 20_000);
}

#[tokio::test]
async fn stopped_and_continued() {
    let redis = Redis::start().await;
    let mut node = Node::up(RedisConfig::new(redis.url())).await;
    two_wishes(&mut node).await;
    redis.signal("STOP");
    let from = Instant::now();
    assert_eq!(
        node.bus.publish(vec![outgoing("a", "in doubt")]).await,
        [Err(PublishError::Unknown)]
    );
    node.until(|health| !health.link_up && !health.publisher_up).await;
    assert!(from.elapsed() < NOTICED, "noticed after {:?}", from.elapsed());
    assert_eq!(
        node.bus.publish(vec![outgoing("a", "refused")]).await,
        [Err(PublishError::Unavailable)]
    );
    redis.signal("CONT");
    node.until(|health| health.link_up && health.publisher_up).await;
    node.publish("a", "1").await;
    // The link was kept, so what was in doubt and did happen is heard, once.
    assert_eq!(node.heard().await.data, "in doubt");
    assert_eq!(node.heard().await.data, "1");
    assert_eq!(node.bus.stats().reconnects.get(), 0);
}

#[tokio::test]
async fn connections_are_killed() {
    let redis = Redis::start().await;
    let mut node = Node::up(RedisConfig::new(redis.url())).await;
    let wishes = two_wishes(&mut node).await;
    let _: i64 = redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    let from = Instant::now();
    lost_and_found(&mut node, wishes).await;
    assert!(
        from.elapsed() < Duration::from_secs(1),
        "back after {:?}",
        from.elapsed()
    );
    let _: i64 = redis.ask(&["CLIENT", "KILL", "TYPE", "normal"]).await;
    let deadline = Instant::now() + NOTICED;
    while node.bus.publish(vec![outgoing("a", "1")]).await != [Ok(())] {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(node.heard().await.data, "1", "the link is not affected");
    node.until(|health| health.link_up && health.publisher_up).await;
    assert_eq!(node.bus.stats().reconnects.get(), 1);
}

#[tokio::test]
async fn a_silent_link_is_noticed() {
    let redis = Redis::start().await;
    let proxy = Proxy::start(redis.port).await;
    let mut node = Node::up(RedisConfig::new(format!("redis://127.0.0.1:{}", proxy.port))).await;
    let wishes = two_wishes(&mut node).await;
    proxy.swallow("fanfare-link");
    let from = Instant::now();
    lost_and_found(&mut node, wishes).await;
    assert!(
        from.elapsed() < NOTICED,
        "noticed and mended after {:?}",
        from.elapsed()
    );
    node.until(|health| health.link_up).await;
    node.publish("a", "1").await;
    assert_eq!(node.heard().await.data, "1");
    assert_eq!(node.bus.stats().reconnects.get(), 1);
}

#[tokio::test]
async fn a_silent_publisher_is_noticed_and_the_link_kept() {
    let redis = Redis::start().await;
    let proxy = Proxy::start(redis.port).await;
    let mut node = Node::up(RedisConfig::new(format!("redis://127.0.0.1:{}", proxy.port))).await;
    two_wishes(&mut node).await;
    proxy.swallow("fanfare-publish");
    let from = Instant::now();
    while node.bus.publish(vec![outgoing("c", "lost or not")]).await == [Ok(())] {
        assert!(from.elapsed() < NOTICED, "not noticed");
    }
    while node.bus.publish(vec![outgoing("a", "1")]).await != [Ok(())] {
        assert!(from.elapsed() < NOTICED, "not mended");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(node.heard().await.data, "1", "the link is not affected");
    node.until(|health| health.link_up && health.publisher_up && health.problem.is_none())
        .await;
    assert_eq!(node.bus.stats().reconnects.get(), 0);
}

/// For a Redis that is found by its name.
fn by_name(names: &Arc<Names>) -> RedisConfig {
    RedisConfig {
        resolver: Arc::clone(names) as _,
        ..RedisConfig::new("redis://redis.example")
    }
}

#[tokio::test]
async fn moved_behind_its_name() {
    let mut old = Redis::start().await;
    let new = Redis::start().await;
    let names = Arc::new(Names::default());
    names.set(&[old.port]);
    let mut node = Node::up(by_name(&names)).await;
    let wishes = two_wishes(&mut node).await;
    names.set(&[]);
    old.kill();
    node.until_problem("has no address").await;
    names.set(&[free_port(), new.port]); // the first one refuses
    lost_and_found(&mut node, wishes).await;
    node.until(|health| health.link_up && health.publisher_up).await;
    node.publish("a", "1").await;
    assert_eq!(node.heard().await.data, "1");
}

/// Redis moves, the old one lives on, and only the connections of that type are cut off there.
async fn moved_while_the_old_one_lives_on(cut_off: &str) {
    let old = Redis::start().await;
    let new = Redis::start().await;
    let names = Arc::new(Names::default());
    names.set(&[old.port]);
    let mut node = Node::up(by_name(&names)).await;
    two_wishes(&mut node).await;
    names.set(&[new.port]);
    let _: i64 = old.ask(&["CLIENT", "KILL", "TYPE", cut_off]).await;
    let from = Instant::now();
    assert_eq!(node.next().await, BusEvent::LinkLost);
    node.until(|health| health.link_up && health.publisher_up && health.problem.is_none())
        .await;
    assert!(from.elapsed() < NOTICED, "mended after {:?}", from.elapsed());
    node.publish("a", "1").await;
    let heard = loop {
        // The first link to the new one may have been deaf, because the publisher still spoke to the old one.
        match node.next().await {
            BusEvent::Publication(heard) => break heard,
            BusEvent::LinkLost | BusEvent::Subscribed { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(heard.data, "1");
}

#[tokio::test]
async fn the_link_moves_first() {
    moved_while_the_old_one_lives_on("pubsub").await;
}

#[tokio::test]
async fn the_publisher_moves_first() {
    moved_while_the_old_one_lives_on("normal").await;
}

#[tokio::test]
async fn moved_while_packets_to_the_old_address_are_lost() {
    let redis = Redis::start().await;
    let hole = Hole::dig();
    let names = Arc::new(Names::default());
    names.set(&[hole.port]);
    let config = RedisConfig {
        resolver: Arc::clone(&names) as _,
        ..RedisConfig::new("redis://redis.example")
    };
    let node = Node::start(config.clone());
    names.until_asked(3).await; // by the link, the publisher and the checks
    names.set(&[redis.port]);
    let took = node.until(|health| health.link_up && health.publisher_up).await;
    assert!(took < Duration::from_millis(1500), "up after {took:?}");

    names.set(&[hole.port, redis.port]);
    let node = Node::start(config.clone());
    let took = node.until(|health| health.link_up && health.publisher_up).await;
    assert!(took < Duration::from_millis(1500), "up after {took:?}");

    names.set(&[hole.port]);
    Node::start(config).until_problem("within 2s").await;
}

#[tokio::test]
async fn started_before_redis() {
    let port = free_port();
    let mut node = Node::start(RedisConfig::new(format!("redis://127.0.0.1:{port}")));
    let generation = node.bus.subscribe(&channel("a"));
    node.until_problem("no connection to 127.0.0.1").await;
    assert!(!node.bus.health().was_up);
    let _redis = Redis::start_at(port).await;
    assert_eq!(
        node.next().await,
        BusEvent::Subscribed {
            channel: channel("a"),
            generation
        },
        "nothing was lost"
    );
    node.until(|health| health.link_up && health.was_up).await;
}
