//! What every bus promises, checked on the memory bus and on Redis by the same cases, also on Redis as it is deployed; and what only
//! several nodes can show.

use std::time::Duration;

use bus::{Addressee, BusEvent, Outgoing, PublishError, QueueLimits, RedisConfig};
use protocol::{ClientInfo, PublicationKind};

use crate::support::{Node, Redis, channel, outgoing};

/// Makes a test of each case on each bus.
macro_rules! on_both {
    ($($case:ident $limits:expr;)*) => {
        mod memory { $(
            #[tokio::test]
            async fn $case() {
                super::$case(&mut super::Node::memory($limits)).await;
            }
        )* }
        mod redis { $(
            #[tokio::test]
            async fn $case() {
                let redis = super::Redis::start().await;
                let config = super::RedisConfig { queue: $limits, ..super::RedisConfig::new(redis.url()) };
                super::$case(&mut super::Node::up(config).await).await;
            }
        )* }
        /// With the files that are deployed: as the user of the gateway, who may only what they say.
        mod deployed { $(
            #[tokio::test]
            async fn $case() {
                let redis = super::Redis::start_deployed().await;
                let config = super::RedisConfig { queue: $limits, ..redis.deployed_config() };
                super::$case(&mut super::Node::up(config).await).await;
                let denied = redis.denied().await;
                assert!(denied.is_empty(), "{denied:?}");
            }
        )* }
    };
}

pub(crate) use on_both;

const SMALL: QueueLimits = QueueLimits {
    messages: 10,
    bytes: 1000,
};

on_both! {
    order_is_kept super::QueueLimits::default();
    bytes_are_kept super::QueueLimits::default();
    kinds_are_kept super::QueueLimits::default();
    a_node_hears_what_it_is_told super::QueueLimits::default();
    what_is_to_be_published_once_is super::QueueLimits::default();
    only_what_is_wanted_is_heard super::QueueLimits::default();
    generations_tell_wishes_apart super::QueueLimits::default();
    flapping_ends_as_it_ended super::QueueLimits::default();
    a_full_queue_loses_nothing super::SMALL;
    events_come_in_batches super::QueueLimits::default();
    health_and_stats super::QueueLimits::default();
    nothing_is_heard_after_close super::QueueLimits::default();
}

async fn order_is_kept(node: &mut Node) {
    node.subscribed("a").await;
    node.subscribed("b").await;
    for batch in 0..20 {
        let batch = (0..50).map(|i| outgoing(if i % 2 == 0 { "a" } else { "b" }, &(batch * 50 + i).to_string()));
        let answers = node.bus.publish(batch.collect()).await;
        assert_eq!(answers, vec![Ok(()); 50]);
    }
    for expected in 0..1000 {
        assert_eq!(node.heard().await.data, expected.to_string());
    }
}

async fn bytes_are_kept(node: &mut Node) {
    node.subscribed("a").await;
    let long = "\u{1F41E}\r\n$3\r\n".repeat(20_000);
    for data in ["", "\r\n", "*3\r\n", "\0\u{7f}", "\u{e4}\u{1F600}", long.as_str()] {
        node.publish("a", data).await;
        let heard = node.heard().await;
        assert_eq!(heard.channel, channel("a"));
        assert!(
            heard.data == data.as_bytes(),
            "{} bytes of {}",
            heard.data.len(),
            data.len()
        );
        let age = heard.published_at.expect("known").elapsed().expect("in the past");
        assert!(age.as_secs() < 60, "{age:?}");
    }
}

async fn kinds_are_kept(node: &mut Node) {
    node.subscribed("a").await;
    let ann = ClientInfo {
        user: "ann".into(),
        client: "c1".into(),
        connection: "{}".into(),
        channel: "[1]".into(),
    };
    let batch = vec![
        Outgoing::join(channel("a"), ann.clone()),
        outgoing("a", "1"),
        Outgoing::leave(channel("a"), ann.clone()),
    ];
    assert_eq!(node.bus.publish(batch).await, [Ok(()), Ok(()), Ok(())]);
    for (kind, data, publisher) in [
        (PublicationKind::Join, "", Some(&ann)),
        (PublicationKind::Publication, "1", None),
        (PublicationKind::Leave, "", Some(&ann)),
    ] {
        let heard = node.heard().await;
        assert_eq!((heard.kind, &heard.data[..]), (kind, data.as_bytes()));
        let attributes = heard.attributes.as_ref();
        assert_eq!(attributes.and_then(|it| it.publisher.as_ref()), publisher);
    }
}

async fn a_node_hears_what_it_is_told(node: &mut Node) {
    node.subscribed("a").await;
    let own = node.bus.node();
    for (to, message) in [
        (Addressee::Node(own), "1"),
        (Addressee::Node(uuid::Uuid::nil()), "for somebody else"),
        (Addressee::Everyone, "\0\r\n"),
        (Addressee::Node(own), ""),
    ] {
        assert_eq!(node.bus.tell(to, message.into()).await, Ok(()));
    }
    node.publish("a", "2").await;
    for message in ["1", "\0\r\n", ""] {
        let (from, message) = (own, message.into());
        assert_eq!(node.next().await, BusEvent::Told { from, message });
    }
    assert_eq!(node.heard().await.data, "2");
    node.bus.close().await;
    let told = node.bus.tell(Addressee::Everyone, "3".into()).await;
    assert_eq!(told, Err(PublishError::Unavailable));
}

async fn what_is_to_be_published_once_is(node: &mut Node) {
    let long = "k".repeat(100_000);
    let once = |name: &str, key: &str, data: &str| Outgoing {
        once: Some(key.to_owned()),
        ..outgoing(name, data)
    };
    // Whether anybody hears it makes no difference.
    assert_eq!(node.bus.publish(vec![once("a", "unheard", "0")]).await, [Ok(())]);
    node.subscribed("a").await;
    node.subscribed("b").await;
    let batch = vec![
        once("a", "k", "1"),
        outgoing("a", "2"),
        once("a", "k", "again"),
        once("b", "k", "3"),
        once("a", &long, "4"),
        once("a", "unheard", "again"),
        once("a", "", "5"),
        outgoing("a", "6"),
    ];
    assert_eq!(node.bus.publish(batch).await, vec![Ok(()); 8]);
    let batch = vec![
        once("a", &long, "again"),
        once("a", "", "again"),
        once("a", "{x}\r\n", "7"),
    ];
    assert_eq!(node.bus.publish(batch).await, vec![Ok(()); 3]);
    for expected in ["1", "2", "3", "4", "5", "6", "7"] {
        assert_eq!(node.heard().await.data, expected);
    }
}

async fn only_what_is_wanted_is_heard(node: &mut Node) {
    node.publish("a", "before").await;
    node.subscribed("a").await;
    node.publish("b", "other").await;
    node.publish("a", "1").await;
    assert_eq!(node.heard().await.data, "1");
    node.bus.unsubscribe(&channel("a"));
    node.bus.unsubscribe(&channel("never-wanted"));
    node.subscribed("b").await;
    node.publish("a", "after").await;
    node.publish("b", "2").await;
    assert_eq!(node.heard().await.data, "2");
}

async fn generations_tell_wishes_apart(node: &mut Node) {
    let first = node.subscribed("a").await;
    assert_eq!(node.bus.subscribe(&channel("a")), first, "the same wish");
    node.bus.unsubscribe(&channel("a"));
    node.subscribed("b").await;
    let second = node.subscribed("a").await;
    assert!(second > first);
    node.publish("a", "1").await;
    assert_eq!(node.heard().await.data, "1");
}

async fn flapping_ends_as_it_ended(node: &mut Node) {
    let a = channel("a");
    let mut last = node.bus.subscribe(&a);
    for _ in 0..1000 {
        node.bus.unsubscribe(&a);
        last = node.bus.subscribe(&a);
        tokio::task::yield_now().await;
    }
    loop {
        match node.next().await {
            BusEvent::Subscribed { channel, generation } if generation == last => break assert_eq!(channel, a),
            BusEvent::Subscribed { generation, .. } => assert!(generation < last),
            other => panic!("{other:?}"),
        }
    }
    node.publish("a", "1").await;
    assert_eq!(node.heard().await.data, "1");
    node.bus.unsubscribe(&a);
    node.subscribed("b").await;
    node.publish("a", "2").await;
    node.publish("b", "3").await;
    assert_eq!(node.heard().await.data, "3");
}

async fn a_full_queue_loses_nothing(node: &mut Node) {
    node.subscribed("a").await;
    let bus = std::sync::Arc::clone(&node.bus);
    let publisher = tokio::spawn(async move {
        for i in 0..200 {
            let answers = bus.publish(vec![outgoing("a", &format!("{i:0400}"))]).await;
            assert_eq!(answers, [Ok(())]);
        }
    });
    for expected in 0..200 {
        assert_eq!(node.heard().await.data, format!("{expected:0400}"));
    }
    publisher.await.expect("all published");
}

async fn events_come_in_batches(node: &mut Node) {
    node.subscribed("a").await;
    let batch = (0..500).map(|i| outgoing("a", &i.to_string())).collect();
    node.bus.publish(batch).await;
    let mut events = Vec::new();
    while events.len() < 500 {
        let before = events.len();
        let count = node.events.recv_many(&mut events, 100).await;
        assert!((1..=100).contains(&count) && events.len() == before + count);
    }
    let texts = events.into_iter().map(|event| match event {
        BusEvent::Publication(incoming) => String::from_utf8(incoming.data.to_vec()).expect("text"),
        other => panic!("{other:?}"),
    });
    assert!(texts.eq((0..500).map(|i| i.to_string())));
}

async fn health_and_stats(node: &mut Node) {
    let health = node.bus.health();
    assert!(
        health.link_up && health.publisher_up && health.was_up && health.problem.is_none(),
        "{health:?}"
    );
    node.subscribed("a").await;
    node.subscribed("b").await;
    node.publish("a", "1").await;
    node.heard().await;
    let stats = node.bus.stats();
    assert_eq!(
        (stats.received.get(), stats.malformed.get(), stats.subscriptions.get()),
        (1, 0, 2)
    );
    node.bus.unsubscribe(&channel("a"));
    node.subscribed("c").await;
    let stats = node.bus.stats();
    assert_eq!((stats.subscriptions.get(), stats.reconnects.get()), (2, 0));
}

async fn nothing_is_heard_after_close(node: &mut Node) {
    node.subscribed("a").await;
    node.publish("a", "1").await;
    node.bus.close().await;
    assert_eq!(node.events.recv().await, None);
    assert_eq!(
        node.bus.publish(vec![outgoing("a", "2")]).await,
        [Err(PublishError::Unavailable)]
    );
    let health = node.bus.health();
    assert!(!health.link_up && !health.publisher_up, "{health:?}");
    node.bus.close().await;
}

#[tokio::test]
async fn nodes_hear_each_other_and_only_what_they_want() {
    let redis = Redis::start().await;
    let mut here = Node::up(RedisConfig::new(redis.url())).await;
    let mut there = Node::up(RedisConfig::new(redis.url())).await;
    here.subscribed("a").await;
    there.subscribed("b").await;
    let prefixed: Vec<String> = redis.ask(&["PUBSUB", "CHANNELS", "fanfare:channel:*"]).await;
    assert_eq!(prefixed.len(), 2, "only what is wanted is subscribed: {prefixed:?}");
    for i in 0..100 {
        here.publish("b", &i.to_string()).await;
        there.publish("a", &i.to_string()).await;
    }
    for i in 0..100 {
        assert_eq!(here.heard().await.data, i.to_string());
        assert_eq!(there.heard().await.data, i.to_string());
    }
}

#[tokio::test]
async fn nodes_tell_each_other() {
    let redis = Redis::start().await;
    let mut here = Node::up(RedisConfig::new(redis.url())).await;
    let mut there = Node::up(RedisConfig::new(redis.url())).await;
    let (from, to) = (here.bus.node(), there.bus.node());
    assert_ne!(from, to);
    for i in 0..100 {
        let addressee = if i % 2 == 0 {
            Addressee::Everyone
        } else {
            Addressee::Node(to)
        };
        assert_eq!(here.bus.tell(addressee, i.to_string().into()).await, Ok(()));
    }
    for i in 0..100 {
        let message = i.to_string().into();
        assert_eq!(there.next().await, BusEvent::Told { from, message });
    }
    for i in (0..100).step_by(2) {
        let message = i.to_string().into();
        assert_eq!(here.next().await, BusEvent::Told { from, message });
    }
    redis.publish(&format!("fanfare:node:{{{to}}}"), b"what is this").await;
    assert_eq!(there.bus.tell(Addressee::Node(to), "end".into()).await, Ok(()));
    let (from, message) = (to, "end".into());
    assert_eq!(there.next().await, BusEvent::Told { from, message });
    assert_eq!(there.bus.stats().malformed.get(), 1);
}

#[tokio::test]
async fn what_is_to_be_published_once_is_whoever_publishes_it() {
    let redis = Redis::start().await;
    let mut here = Node::up(RedisConfig::new(redis.url())).await;
    let there = Node::up(RedisConfig::new(redis.url())).await;
    here.subscribed("a").await;
    here.subscribed("chat-channel").await;
    for i in 0..20 {
        let batch = |node: &Node| {
            let both = ["a", "chat-channel"].map(|name| Outgoing {
                once: Some(i.to_string()),
                ..outgoing(name, &i.to_string())
            });
            let bus = std::sync::Arc::clone(&node.bus);
            async move { bus.publish(both.into()).await }
        };
        let _: String = redis.ask(&["SCRIPT", "FLUSH"]).await; // as after a restart
        let answers = tokio::join!(batch(&here), batch(&there));
        assert_eq!(answers, (vec![Ok(()); 2], vec![Ok(()); 2]));
        for _ in 0..2 {
            assert_eq!(here.heard().await.data, i.to_string());
        }
    }
    here.publish("a", "end").await;
    assert_eq!(here.heard().await.data, "end");
    let keys: Vec<String> = redis.ask(&["KEYS", "fanfare:once:{a}:*"]).await;
    assert_eq!(keys.len(), 20);
    let left: i64 = redis.ask(&["PTTL", &keys[0]]).await;
    assert!((200_000..=300_000).contains(&left), "{left} ms");
}

#[tokio::test]
async fn the_bare_channel_is_bare_on_redis() {
    let redis = Redis::start().await;
    let mut node = Node::up(RedisConfig::new(redis.url())).await;
    node.subscribed("chat-channel").await;
    let client = ::redis::Client::open(redis.url()).expect("a URL");
    let mut stranger = client.get_async_pubsub().await.expect("a connection");
    stranger.subscribe("chat-channel").await.expect("subscribed");
    assert_eq!(
        node.bus.publish(vec![outgoing("chat-channel", "{\"x\":1}")]).await,
        [Ok(())]
    );
    let message = futures_util::StreamExt::next(&mut stranger.on_message())
        .await
        .expect("heard");
    assert_eq!(message.get_payload_bytes(), b"{\"x\":1}");
    let heard = node.heard().await;
    assert_eq!((&heard.data[..], heard.published_at), (&b"{\"x\":1}"[..], None));
    // Strangers would take a join for an empty text.
    let join = Outgoing::join(channel("chat-channel"), ClientInfo::default());
    let answers = node.bus.publish(vec![join, outgoing("chat-channel", "2")]).await;
    assert!(
        matches!(answers[..], [Err(PublishError::Refused { .. }), Ok(())]),
        "{answers:?}"
    );
    assert_eq!(node.heard().await.data, "2");
}

#[tokio::test]
async fn what_strangers_publish_is_not_trusted() {
    let redis = Redis::start_with(|port, _| {
        let limit = "--client-output-buffer-limit pubsub 0 0 0"
            .split(' ')
            .map(str::to_owned);
        ["--port".to_owned(), port.to_string()]
            .into_iter()
            .chain(limit)
            .collect()
    })
    .await;
    let mut node = Node::up(RedisConfig::new(redis.url())).await;
    node.subscribed("chat-channel").await;
    node.subscribed("a").await;
    for payload in [&b"\xff"[..], b"\xc3"] {
        redis.publish("chat-channel", payload).await;
    }
    // The last two are a join by nobody, and a kind that a later release may have.
    let [mut join, mut later] = [[0; 43]; 2];
    (join[0], join[1]) = (1, 3);
    (later[0], later[1]) = (1, 99);
    for payload in [&b""[..], b"{}", b"\x02\x01\x00", &[1; 20], &[0xff; 500], &join, &later] {
        redis.publish("fanfare:channel:{a}", payload).await;
    }
    redis.publish("chat-channel", &vec![b'x'; 100 * 1024 * 1024]).await;
    redis.publish("chat-channel", b"\"hi\"").await;
    assert_eq!(node.heard().await.data, "\"hi\"");
    let stats = node.bus.stats();
    assert_eq!(
        (stats.received.get(), stats.malformed.get(), stats.reconnects.get()),
        (11, 10, 0)
    );
}

#[tokio::test]
async fn many_channels_are_subscribed_by_few_commands() {
    let redis = Redis::start().await;
    let mut node = Node::up(RedisConfig::new(redis.url())).await;
    for i in 0..10_000 {
        node.bus.subscribe(&channel(&format!("room-{i}")));
    }
    for _ in 0..10_000 {
        assert!(matches!(node.next().await, BusEvent::Subscribed { .. }));
    }
    for i in 0..10_000 {
        node.bus.unsubscribe(&channel(&format!("room-{i}")));
    }
    node.subscribed("last").await;
    let stats: String = redis.ask(&["INFO", "commandstats"]).await;
    let calls = |command: &str| -> u64 {
        let line = stats
            .lines()
            .find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.expect("called")
            .split(',')
            .next()
            .expect("a number")
            .parse()
            .expect("a number")
    };
    assert!(calls("subscribe") <= 25 && calls("unsubscribe") <= 25, "{stats}");
}

#[tokio::test]
async fn a_full_queue_makes_redis_wait() {
    let redis = Redis::start().await;
    let mut config = RedisConfig::new(redis.url());
    config.queue = SMALL;
    config.canary_interval = Duration::from_millis(50);
    config.echo_deadline = Duration::from_millis(500);
    let mut node = Node::up(config).await;
    node.subscribed("a").await;
    let data = "x".repeat(100_000);
    for _ in 0..200 {
        node.publish("a", &data).await; // 20 MB, more than the kernel buffers, less than what Redis allows
    }
    let clients: String = redis.ask(&["CLIENT", "LIST", "TYPE", "PUBSUB"]).await;
    assert!(!clients.contains(" omem=0 "), "nothing waits at Redis: {clients}");
    tokio::time::sleep(Duration::from_millis(1500)).await; // far longer than the canary would wait for its echo
    for _ in 0..200 {
        assert_eq!(node.heard().await.data.len(), 100_000);
    }
    node.publish("a", "1").await;
    assert_eq!(node.heard().await.data, "1");
    assert_eq!(
        node.bus.stats().reconnects.get(),
        0,
        "the canary is patient with a full queue"
    );
}

#[tokio::test]
async fn a_full_queue_bounds_confirmations_too() {
    let redis = Redis::start().await;
    let mut config = RedisConfig::new(redis.url());
    config.queue = SMALL;
    let mut node = Node::up(config).await;
    let channels: Vec<_> = (0..100).map(|i| channel(&format!("room-{i}"))).collect();
    for wanted in &channels {
        node.subscribed(wanted.as_str()).await;
    }
    for i in 0..20 {
        node.publish("room-0", &i.to_string()).await; // more than the queue takes
    }
    let mut last = Vec::new();
    for _ in 0..30 {
        channels.iter().for_each(|wanted| node.bus.unsubscribe(wanted));
        last = channels.iter().map(|wanted| node.bus.subscribe(wanted)).collect();
        tokio::time::sleep(Duration::from_millis(10)).await; // longer than changes are collected
    }
    let (mut confirmations, mut missing) = (0, last.len());
    while missing > 0 {
        if let BusEvent::Subscribed { generation, .. } = node.next().await {
            confirmations += 1;
            missing -= usize::from(last.contains(&generation));
        }
    }
    assert!(
        confirmations < 500,
        "{confirmations} confirmations for 100 channels waited"
    );
}
