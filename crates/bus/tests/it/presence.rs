//! Who is in which channel: what every bus promises, and what only several nodes on one Redis can show.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::presence::{Change, Changed, Count, Members};
use bus::{Addressee, Bus, BusEvent, QueueLimits, RedisConfig, StoreError};
use protocol::ClientInfo;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tokio::time::sleep;

use crate::contract::on_both;
use crate::support::{Node, PATIENCE, Redis, channel, free_port};

on_both! {
    members_come_and_go super::QueueLimits::default();
    edges_are_of_users super::QueueLimits::default();
    many_members_are_not_all_told super::QueueLimits::default();
    nobody_is_there_after_close super::QueueLimits::default();
}

/// A lease that a test can wait for.
const LEASE: Duration = Duration::from_millis(600);
const REFRESH: Duration = Duration::from_millis(100);

fn who(client: &str, user: &str) -> ClientInfo {
    ClientInfo {
        user: user.to_owned(),
        client: client.to_owned(),
        connection: "{}".into(),
        channel: format!("\"{client}\"").into(),
    }
}

fn enter(name: &str, client: &str, user: &str) -> Change {
    Change::Enter {
        channel: channel(name),
        client: who(client, user),
    }
}

fn leave(name: &str, client: &str) -> Change {
    Change::Leave {
        channel: channel(name),
        client: client.to_owned(),
    }
}

/// Carries out one change, which must be taken; whether it is an edge.
#[track_caller]
fn change(bus: &Arc<dyn Bus>, change: Change) -> impl Future<Output = bool> {
    let (bus, place) = (Arc::clone(bus), std::panic::Location::caller());
    async move {
        let changed = bus.presence().change(vec![change]).await;
        changed.unwrap_or_else(|error| panic!("{place}: {error}"))[0].is_edge
    }
}

/// The clients in a channel, all of them.
async fn clients(bus: &Arc<dyn Bus>, name: &str) -> BTreeMap<String, ClientInfo> {
    let members = bus
        .presence()
        .members(&channel(name), 100_000)
        .await
        .expect("an answer");
    assert!(members.is_complete);
    let count = members.clients.len();
    let clients: BTreeMap<_, _> = members.clients.into_iter().map(|it| (it.client.clone(), it)).collect();
    assert_eq!(clients.len(), count, "each client once");
    clients
}

async fn count(bus: &Arc<dyn Bus>, name: &str) -> (u64, u64) {
    let Count { clients, users } = bus.presence().count(&channel(name)).await.expect("an answer");
    (clients, users)
}

/// Waits until the counts in a channel are these.
#[track_caller]
fn until_count(bus: &Arc<dyn Bus>, name: &'static str, expected: (u64, u64)) -> impl Future<Output = Duration> {
    let (bus, from, place) = (Arc::clone(bus), Instant::now(), std::panic::Location::caller());
    async move {
        loop {
            let found = bus.presence().count(&channel(name)).await;
            let found = found.map(|Count { clients, users }| (clients, users));
            if found == Ok(expected) {
                return from.elapsed();
            }
            assert!(from.elapsed() < PATIENCE, "{place}: {found:?} instead of {expected:?}");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn members_come_and_go(node: &mut Node) {
    let bus = &node.bus;
    assert_eq!(count(bus, "a").await, (0, 0));
    let changes = vec![
        enter("a", "c1", "ann"),
        enter("a", "c2", ""),
        enter("b", "c1", "ann"),
        enter("a", "c3", "bob"),
        leave("a", "c3"),
        leave("a", "nobody"),
        leave("nowhere", "c1"),
    ];
    assert_eq!(bus.presence().change(changes).await.expect("taken").len(), 7);
    let expected = BTreeMap::from([("c1".to_owned(), who("c1", "ann")), ("c2".to_owned(), who("c2", ""))]);
    assert_eq!(clients(bus, "a").await, expected);
    assert_eq!(count(bus, "a").await, (2, 2));
    assert_eq!(count(bus, "b").await, (1, 1));
    let mut renamed = who("c1", "ann");
    renamed.channel = "\u{1F41E}\r\n".into();
    let again = Change::Enter {
        channel: channel("a"),
        client: renamed.clone(),
    };
    assert!(!change(bus, again).await, "she was there");
    assert_eq!(clients(bus, "a").await["c1"], renamed);
    assert_eq!(count(bus, "a").await, (2, 2));
    for client in ["c1", "c2"] {
        change(bus, leave("a", client)).await;
    }
    assert_eq!((clients(bus, "a").await.len(), count(bus, "a").await), (0, (0, 0)));
    assert_eq!(bus.presence().nodes().await, Ok(vec![bus.node()]));
    assert_eq!(bus.presence().change(vec![]).await, Ok(vec![]));
}

async fn edges_are_of_users(node: &mut Node) {
    for (step, is_edge) in [
        (enter("a", "c1", "ann"), true),
        (enter("a", "c2", "ann"), false),
        (enter("a", "c2", "ann"), false),
        (enter("b", "c1", "ann"), true),
        (leave("a", "c1"), false),
        (leave("a", "c1"), false),
        (enter("a", "c3", ""), true),
        (enter("a", "c4", ""), false),
        (enter("a", "c4", "bob"), true), // somebody has said who it is
        (enter("a", "c4", "ann"), true), // the last of bob
        (leave("a", "c4"), false),
        (leave("a", "c2"), true),
        (leave("a", "c3"), true),
    ] {
        assert_eq!(change(&node.bus, step.clone()).await, is_edge, "{step:?}");
    }
    assert_eq!(count(&node.bus, "a").await, (0, 0));
}

async fn many_members_are_not_all_told(node: &mut Node) {
    let changes: Vec<_> = (0..1200)
        .map(|i| enter("a", &format!("c{i}"), &format!("u{}", i % 7)))
        .collect();
    let changed = node.bus.presence().change(changes).await.expect("taken");
    assert_eq!(changed.iter().filter(|it| it.is_edge).count(), 7);
    assert_eq!(count(&node.bus, "a").await, (1200, 7));
    for (most, expected) in [(0, 0), (1000, 1000), (1199, 1199), (1200, 1200), (9999, 1200)] {
        let Members { clients, is_complete } = node.bus.presence().members(&channel("a"), most).await.expect("told");
        let different: BTreeSet<_> = clients.iter().map(|it| &it.client).collect();
        assert_eq!((different.len(), clients.len()), (expected, expected));
        assert_eq!(is_complete, most >= 1200, "{most}");
    }
}

async fn nobody_is_there_after_close(node: &mut Node) {
    change(&node.bus, enter("a", "c1", "ann")).await;
    node.bus.close().await;
    let presence = node.bus.presence();
    assert_eq!(
        presence.change(vec![leave("a", "c1")]).await,
        Err(StoreError::Unavailable)
    );
    assert_eq!(presence.members(&channel("a"), 1).await, Err(StoreError::Unavailable));
    assert_eq!(presence.count(&channel("a")).await, Err(StoreError::Unavailable));
    assert_eq!(presence.nodes().await, Err(StoreError::Unavailable));
}

/// With a lease that a test can wait for.
fn short(redis: &Redis) -> RedisConfig {
    RedisConfig {
        presence_lease: LEASE,
        presence_refresh: REFRESH,
        ..RedisConfig::new(redis.url())
    }
}

/// What is left of presence on Redis, but the leases of the living.
async fn leftovers(redis: &Redis) -> Vec<String> {
    let keys: Vec<String> = redis.ask(&["KEYS", "fanfare:presence:*"]).await;
    keys.into_iter().filter(|key| key != "fanfare:presence:lives").collect()
}

#[tokio::test]
async fn edges_and_counts_are_over_all_nodes() {
    let redis = Redis::start().await;
    let here = Node::up(RedisConfig::new(redis.url())).await;
    let there = Node::up(RedisConfig::new(redis.url())).await;
    assert!(change(&here.bus, enter("a", "c1", "ann")).await);
    assert!(!change(&there.bus, enter("a", "c2", "ann")).await);
    assert!(change(&there.bus, enter("a", "c3", "bob")).await);
    for node in [&here, &there] {
        assert_eq!(
            clients(&node.bus, "a").await.into_keys().collect::<Vec<_>>(),
            ["c1", "c2", "c3"]
        );
        assert_eq!(count(&node.bus, "a").await, (3, 2));
        let mut nodes = vec![here.bus.node(), there.bus.node()];
        nodes.sort();
        assert_eq!(node.bus.presence().nodes().await, Ok(nodes));
    }
    assert!(!change(&here.bus, leave("a", "c1")).await);
    assert!(change(&there.bus, leave("a", "c2")).await);
    here.bus.close().await;
    assert_eq!(there.bus.presence().nodes().await, Ok(vec![there.bus.node()]));
    there.bus.close().await;
    assert_eq!(redis.ask::<Vec<String>>(&["KEYS", "*"]).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_node_that_dies_takes_its_members_along_and_is_told_of_once() {
    let redis = Redis::start().await;
    let mut nodes = [Node::up(short(&redis)).await, Node::up(short(&redis)).await];
    let dying = Node::up(short(&redis)).await;
    change(&nodes[0].bus, enter("a", "stays", "ann")).await;
    change(&dying.bus, enter("a", "ann2", "ann")).await;
    let changes = (0..500).map(|i| enter("a", &format!("c{i}"), "bob")).collect();
    dying.bus.presence().change(changes).await.expect("taken");
    assert_eq!(count(&nodes[1].bus, "a").await, (502, 2));
    let from = Instant::now();
    drop(dying); // its tasks end, and it says nothing
    until_count(&nodes[0].bus, "a", (1, 1)).await;
    let took = from.elapsed();
    assert!(took > LEASE - 2 * REFRESH, "not before its lease ran out: {took:?}");
    assert!(took < LEASE + REFRESH + Duration::from_secs(1), "{took:?}");
    // Each of the two may have told of some of them; after a marker of its own each has told everything.
    let mut told = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while leftovers(&redis).await.len() > 4 {
        assert!(Instant::now() < deadline, "{:?}", leftovers(&redis).await);
        sleep(Duration::from_millis(10)).await;
    }
    for node in &mut nodes {
        let bus = Arc::clone(&node.bus);
        bus.tell(Addressee::Node(bus.node()), "marker".into())
            .await
            .expect("told");
        while let BusEvent::Vanished { channel, members } = node.next().await {
            assert_eq!(channel.as_str(), "a");
            told.extend(members.into_iter().map(|it| it.client));
        }
    }
    assert_eq!(told.len(), 501);
    assert_eq!(told.into_iter().collect::<BTreeSet<_>>().len(), 501);
    assert!(!change(&nodes[1].bus, leave("a", "stays")).await, "not of this node");
    assert!(change(&nodes[0].bus, leave("a", "stays")).await);
    assert_eq!(leftovers(&redis).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_lives_stays_and_costs_no_writes() {
    let redis = Redis::start().await;
    let node = Node::up(short(&redis)).await;
    let changes = (0..1000)
        .map(|i| enter("a", &format!("c{i}"), &format!("u{i}")))
        .collect();
    node.bus.presence().change(changes).await.expect("taken");
    let _: String = redis.ask(&["CONFIG", "RESETSTAT"]).await;
    let from = Instant::now();
    while from.elapsed() < 3 * LEASE {
        assert_eq!(count(&node.bus, "a").await, (1000, 1000));
        sleep(Duration::from_millis(50)).await;
    }
    let stats: String = redis.ask(&["INFO", "commandstats"]).await;
    for command in ["hset", "hdel", "hincrby", "sadd", "srem", "hget", "hscan"] {
        assert!(!stats.contains(&format!("cmdstat_{command}:")), "{command}: {stats}");
    }
    assert!(stats.contains("cmdstat_zadd:"), "{stats}");
}

#[tokio::test]
async fn an_outage_ends_with_presence_right_again() {
    let mut redis = Redis::start().await;
    let here = Node::up(short(&redis)).await;
    let there = Node::up(short(&redis)).await;
    change(&here.bus, enter("a", "c1", "ann")).await;
    change(&here.bus, enter("a", "c2", "ann")).await;
    change(&there.bus, enter("a", "c3", "bob")).await;
    redis.kill();
    here.until(|health| !health.publisher_up).await;
    let from = Instant::now();
    for step in [leave("a", "c1"), enter("a", "c4", "eve"), enter("b", "c4", "eve")] {
        let changed = here.bus.presence().change(vec![step]).await;
        assert_eq!(changed, Err(StoreError::Unavailable));
    }
    assert!(from.elapsed() < Duration::from_secs(1), "it does not wait for Redis");
    redis.restart().await;
    until_count(&there.bus, "a", (3, 3)).await;
    until_count(&there.bus, "b", (1, 1)).await;
    assert_eq!(
        clients(&there.bus, "a").await.into_keys().collect::<Vec<_>>(),
        ["c2", "c3", "c4"]
    );
    assert!(change(&here.bus, leave("a", "c2")).await, "the last of ann");
}

#[tokio::test]
async fn what_was_noted_before_redis_was_there_is_made_up_for() {
    let port = free_port();
    let mut config = RedisConfig::new(format!("redis://127.0.0.1:{port}"));
    (config.presence_lease, config.presence_refresh) = (4 * PATIENCE, PATIENCE);
    let node = Node::start(config);
    let changes = vec![enter("a", "c1", "ann"), enter("a", "c2", "bob"), leave("a", "c1")];
    assert_eq!(node.bus.presence().change(changes).await, Err(StoreError::Unavailable));
    let redis = Redis::start_at(port).await;
    until_count(&node.bus, "a", (1, 1)).await;
    // Refused for a moment: what was noted is written long before the next refresh.
    let _: String = redis.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let refused = node
        .bus
        .presence()
        .change(vec![enter("a", "c3", "eve"), leave("a", "c2")])
        .await;
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
    assert_eq!(count(&node.bus, "a").await, (0, 0), "taking out needs no memory");
    let _: String = redis.ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
    let took = until_count(&node.bus, "a", (1, 1)).await;
    assert!(took < PATIENCE / 3, "{took:?}");
    assert_eq!(clients(&node.bus, "a").await.into_keys().collect::<Vec<_>>(), ["c3"]);
}

#[tokio::test]
async fn a_redis_that_stops_for_longer_than_a_lease_costs_nobody_his_place() {
    let redis = Redis::start().await;
    let mut here = Node::up(short(&redis)).await;
    let there = Node::up(short(&redis)).await;
    change(&here.bus, enter("a", "c1", "ann")).await;
    change(&there.bus, enter("a", "c2", "bob")).await;
    redis.signal("STOP");
    sleep(2 * LEASE).await;
    redis.signal("CONT");
    until_count(&here.bus, "a", (2, 2)).await;
    until_count(&there.bus, "a", (2, 2)).await;
    let bus = Arc::clone(&here.bus);
    while bus.tell(Addressee::Everyone, "end".into()).await.is_err() {
        sleep(Duration::from_millis(10)).await;
    }
    while let event = here.next().await
        && !matches!(event, BusEvent::Told { .. })
    {
        assert_eq!(event, BusEvent::LinkLost);
    }
}

/// The names of the lives whose lease is known, alive or not.
async fn lives(redis: &Redis) -> Vec<String> {
    redis.ask(&["ZRANGE", "fanfare:presence:lives", "0", "-1"]).await
}

/// Waits until nothing is left of presence whose key contains `words`.
#[track_caller]
fn until_gone(redis: &Redis, words: &str) -> impl Future<Output = ()> {
    let (from, place) = (Instant::now(), std::panic::Location::caller());
    async move {
        while let left = leftovers(redis).await
            && left.iter().any(|key| key.contains(words))
        {
            assert!(from.elapsed() < PATIENCE, "{place}: {left:?}");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Hears nothing but what it tells itself now.
async fn hears_nothing(node: &mut Node) {
    let bus = Arc::clone(&node.bus);
    bus.tell(Addressee::Node(bus.node()), "end".into()).await.expect("told");
    let event = node.next().await;
    assert!(matches!(event, BusEvent::Told { .. }), "{event:?}");
}

#[tokio::test]
async fn a_lease_that_is_taken_away_is_taken_again() {
    let redis = Redis::start().await;
    let mut here = Node::up(short(&redis)).await;
    let mut there = Node::up(short(&redis)).await;
    change(&here.bus, enter("a", "c1", "ann")).await;
    change(&here.bus, enter("b", "c1", "ann")).await;
    change(&there.bus, enter("a", "c2", "bob")).await;
    let node = here.bus.node().to_string();
    let ours = lives(&redis)
        .await
        .into_iter()
        .find(|life| life.starts_with(&node))
        .expect("a life");
    let _: i64 = redis.ask(&["ZREM", "fanfare:presence:lives", &ours]).await;
    until_count(&there.bus, "a", (2, 2)).await;
    until_count(&there.bus, "b", (1, 1)).await;
    until_gone(&redis, &ours).await;
    for (bus, step) in [
        (&here.bus, leave("a", "c1")),
        (&here.bus, leave("b", "c1")),
        (&there.bus, leave("a", "c2")),
    ] {
        assert!(change(bus, step.clone()).await, "{step:?}");
    }
    until_gone(&redis, "").await;
    hears_nothing(&mut here).await;
    hears_nothing(&mut there).await;
}

#[tokio::test]
async fn a_change_notices_that_the_lease_ran_out() {
    let redis = Redis::start().await;
    let mut config = short(&redis);
    (config.presence_lease, config.presence_refresh) = (4 * PATIENCE, PATIENCE);
    let mut node = Node::up(config).await;
    let from = Instant::now();
    while lives(&redis).await.is_empty() {
        assert!(from.elapsed() < PATIENCE, "it takes a lease without being asked");
        sleep(Duration::from_millis(5)).await;
    }
    change(&node.bus, enter("a", "c1", "ann")).await;
    let ours = lives(&redis).await.remove(0);
    let _: i64 = redis.ask(&["ZADD", "fanfare:presence:lives", "1", &ours]).await;
    assert_eq!(count(&node.bus, "a").await, (0, 0));
    assert!(change(&node.bus, enter("b", "c1", "ann")).await);
    assert_eq!(
        (count(&node.bus, "a").await, count(&node.bus, "b").await),
        ((1, 1), (1, 1))
    );
    assert_eq!(
        lives(&redis).await.len(),
        2,
        "the new one, and what is left of the old one"
    );
    hears_nothing(&mut node).await;
}

#[tokio::test]
async fn after_an_outage_the_others_get_the_time_to_come_back() {
    let redis = Redis::start().await;
    let mut config = short(&redis);
    config.presence_lease = Duration::from_millis(1500);
    config.presence_refresh = Duration::from_millis(500);
    config.response_timeout = Duration::from_millis(300);
    let other = format!("{}.0", uuid::Uuid::new_v4());
    let dies = async || {
        let _: i64 = redis.ask(&["ZADD", "fanfare:presence:lives", "1", &other]).await;
        let _: i64 = redis
            .ask(&["SADD", &format!("fanfare:presence:channels:{{{other}}}"), "a"])
            .await;
    };
    let until_back = async |life: String| {
        let from = Instant::now();
        while !lives(&redis).await.contains(&life) {
            assert!(from.elapsed() < PATIENCE);
            sleep(Duration::from_millis(5)).await;
        }
        assert!(
            !leftovers(&redis).await.is_empty(),
            "it has just seen for the first time that the other is dead"
        );
    };
    dies().await;
    let node = Node::up(config).await;
    until_back(format!("{}.0", node.bus.node())).await;
    until_gone(&redis, "").await;
    assert_eq!(node.bus.presence().nodes().await, Ok(vec![node.bus.node()]));
    dies().await;
    redis.signal("STOP");
    sleep(Duration::from_secs(2)).await; // longer than the lease
    redis.signal("CONT");
    until_back(format!("{}.1", node.bus.node())).await;
    until_gone(&redis, "").await;
}

#[tokio::test]
async fn what_strangers_write_is_not_trusted() {
    let redis = Redis::start().await;
    let node = Node::up(short(&redis)).await;
    change(&node.bus, enter("a", "c1", "ann")).await;
    let life: Vec<String> = redis.ask(&["ZRANGE", "fanfare:presence:lives", "0", "-1"]).await;
    let members = format!("fanfare:presence:members:{{a}}:{}", life[0]);
    for (client, value) in [("x", ""), ("y", "\u{1}\0\0\0\u{9}u"), ("z", "hello")] {
        let _: i64 = redis.ask(&["HSET", &members, client, value]).await;
    }
    let _: i64 = redis.ask(&["HSET", "fanfare:presence:counts:{a}", "nobody", "7"]).await;
    let _: i64 = redis
        .ask(&["HSET", "fanfare:presence:counts:{a}", &format!("{}0", life[0]), "many"])
        .await;
    let before = node.bus.stats().malformed.get();
    assert_eq!(clients(&node.bus, "a").await.into_keys().collect::<Vec<_>>(), ["c1"]);
    assert_eq!(node.bus.stats().malformed.get() - before, 5);
    let _: i64 = redis.ask(&["ZADD", "fanfare:presence:lives", "1", "no life"]).await;
    let dead = format!("{}.0", uuid::Uuid::new_v4());
    let _: i64 = redis
        .ask(&["SADD", &format!("fanfare:presence:channels:{{{dead}}}"), "*?", "a"])
        .await;
    let _: i64 = redis
        .ask(&["HSET", &format!("fanfare:presence:members:{{a}}:{dead}"), "d", "hello"])
        .await;
    let _: i64 = redis.ask(&["ZADD", "fanfare:presence:lives", "1", &dead]).await;
    until_gone(&redis, &dead).await;
    assert_eq!(node.bus.presence().nodes().await, Ok(vec![node.bus.node()]));
}

/// Random changes on three nodes, of which one dies now and then, against a table of who must be where.
#[tokio::test]
async fn counts_are_right_after_random_changes() {
    let redis = Redis::start().await;
    let seed = rand::random();
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(Node::up(short(&redis)).await);
    }
    // By node and client; the users of channel `a`.
    let mut model: HashMap<(usize, String), String> = HashMap::new();
    for round in 0..6 {
        for _ in 0..60 {
            let at = random.random_range(0..3);
            let client = format!("{at}-{}", random.random_range(0..6));
            let user = (*["ann", "bob", "eve", ""].choose(&mut random).expect("some")).to_owned();
            let users = |model: &HashMap<_, String>| model.values().cloned().collect::<BTreeSet<_>>();
            let before = users(&model);
            let step = if random.random_bool(0.5) {
                model.insert((at, client.clone()), user.clone());
                enter("a", &client, &user)
            } else {
                model.remove(&(at, client.clone()));
                leave("a", &client)
            };
            let is_edge = change(&nodes[at].bus, step.clone()).await;
            let after = users(&model);
            assert_eq!(is_edge, before != after, "seed {seed}: {step:?}");
            let expected = (model.len() as u64, after.len() as u64);
            assert_eq!(count(&nodes[(at + 1) % 3].bus, "a").await, expected, "seed {seed}");
        }
        if round % 2 == 1 {
            let dies = random.random_range(0..3);
            let dead = nodes[dies].bus.node().to_string();
            nodes[dies] = Node::up(short(&redis)).await; // the one before is dropped without a word
            until_gone(&redis, &dead).await;
            model.retain(|(node, _), _| *node != dies);
            let users: BTreeSet<_> = model.values().collect();
            until_count(&nodes[dies].bus, "a", (model.len() as u64, users.len() as u64)).await;
        }
        let found: BTreeSet<_> = clients(&nodes[0].bus, "a").await.into_keys().collect();
        let expected: BTreeSet<_> = model.keys().map(|(_, client)| client.clone()).collect();
        assert_eq!(found, expected, "seed {seed}");
    }
    let _: Vec<Changed> = nodes[0].bus.presence().change(vec![]).await.expect("taken");
}
