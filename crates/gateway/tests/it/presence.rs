//! Who is in a channel, over two gateways on one Redis, and who hears of it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use gateway::config::{ChannelRule, Publish, Subscribe};
use gateway::config::{Config, Transport};
use serde_json::{Value, json};

use crate::cluster::Gateway;
use crate::support::{Redis, Server, Socket, config, config_on, wait_for};

const PATH: &str = "/connection/websocket";

fn lobby(mut config: Config) -> Config {
    let rule = |pattern: &str| ChannelRule {
        r#match: pattern.parse().expect("a pattern"),
        subscribe: Subscribe::Anyone,
        publish: Publish::Subscribers,
        presence: true,
        join_leave: true,
        ..ChannelRule::default()
    };
    config.centrifuge.anonymous = true;
    config.channels = vec![
        ChannelRule {
            force_push_join_leave: true,
            ..rule("open-*")
        },
        rule("lobby"),
    ];
    config
}

#[track_caller]
fn told(socket: &mut Socket) -> Value {
    serde_json::from_str(&socket.text()).expect("JSON")
}

/// Asks, and reads up to the answer; what comes before is passed over.
#[track_caller]
fn asks(socket: &mut Socket, id: u32, mut command: Value) -> Value {
    command["id"] = json!(id);
    socket.send(command.to_string());
    loop {
        let answer = told(socket);
        if answer["id"] == json!(id) {
            return answer;
        }
    }
}

/// A client in a channel, and its id.
#[track_caller]
fn member(server: &Server, channel: &str, hears: bool) -> (Socket, String) {
    let mut socket = server.client_of(PATH);
    let answer = asks(&mut socket, 1, json!({"connect": {}}));
    let id = answer["connect"]["client"].as_str().expect("an id").to_owned();
    let answer = asks(
        &mut socket,
        2,
        json!({"subscribe": {"channel": channel, "join_leave": hears}}),
    );
    assert_eq!(answer, json!({"id": 2, "subscribe": {}}));
    (socket, id)
}

#[track_caller]
fn members(socket: &mut Socket, channel: &str) -> BTreeSet<String> {
    let answer = asks(socket, 3, json!({"presence": {"channel": channel}}));
    let presence = answer["presence"]["presence"].as_object().expect("members");
    for (id, info) in presence {
        assert_eq!(*info, json!({"user": "", "client": id}));
    }
    presence.keys().cloned().collect()
}

#[track_caller]
fn count(socket: &mut Socket, channel: &str) -> (u64, u64) {
    let answer = asks(socket, 4, json!({"presence_stats": {"channel": channel}}));
    let number = |name: &str| answer["presence_stats"][name].as_u64().expect("a number");
    (number("num_clients"), number("num_users"))
}

fn set<const N: usize>(ids: [&String; N]) -> BTreeSet<String> {
    ids.into_iter().cloned().collect()
}

/// The next push about somebody who came or went: what, and who.
#[track_caller]
fn change(socket: &mut Socket) -> (&'static str, String) {
    let push = told(socket)["push"].take();
    let what = ["join", "leave"].into_iter().find(|what| push.get(what).is_some());
    let what = what.unwrap_or_else(|| panic!("{push}"));
    let client = push[what]["info"]["client"].as_str().expect("a client");
    (what, client.to_owned())
}

#[test]
fn alone_in_memory() {
    let server = Server::start(lobby(config(Transport::Reactor)));
    let (mut one, first) = member(&server, "lobby", true);
    assert_eq!(change(&mut one), ("join", first.clone()), "it hears of itself");
    assert_eq!(members(&mut one, "lobby"), set([&first]));
    let (other, second) = member(&server, "lobby", false);
    assert_eq!(change(&mut one), ("join", second.clone()));
    assert_eq!(count(&mut one, "lobby"), (2, 1));
    other.leave();
    assert_eq!(change(&mut one), ("leave", second));
    assert_eq!(members(&mut one, "lobby"), set([&first]));
}

#[test]
fn two_gateways_see_the_same() {
    let redis = Redis::start();
    let servers =
        [Transport::Reactor, Transport::Attached].map(|transport| Server::start(lobby(config_on(&redis, transport))));
    let (mut one, first) = member(&servers[0], "lobby", true);
    assert_eq!(change(&mut one), ("join", first.clone()));
    let (mut other, second) = member(&servers[1], "lobby", false);
    assert_eq!(change(&mut one), ("join", second.clone()));
    // Who has heard that somebody came finds it there.
    assert_eq!(members(&mut one, "lobby"), set([&first, &second]));
    assert_eq!(members(&mut other, "lobby"), set([&first, &second]));
    assert_eq!(count(&mut other, "lobby"), (2, 1));

    // A plain WebSocket is a client like others.
    let raw = servers[0].client_of("/raw/lobby");
    let (what, third) = change(&mut one);
    assert_eq!(what, "join");
    assert_eq!(members(&mut other, "lobby"), set([&first, &second, &third]));
    raw.reset();
    assert_eq!(change(&mut one), ("leave", third));

    let left = asks(&mut other, 5, json!({"unsubscribe": {"channel": "lobby"}}));
    assert_eq!(left, json!({"id": 5, "unsubscribe": {}}));
    assert_eq!(change(&mut one), ("leave", second));
    assert_eq!(members(&mut one, "lobby"), set([&first]));
    let outside = asks(&mut other, 6, json!({"presence": {"channel": "lobby"}}));
    assert_eq!(outside["error"]["code"], json!(103));
}

#[test]
fn a_channel_may_tell_everybody() {
    let server = Server::start(lobby(config(Transport::Attached)));
    let (mut one, first) = member(&server, "open-1", false);
    assert_eq!(change(&mut one), ("join", first));
    let (mut silent, _) = member(&server, "lobby", false);
    let (_other, second) = member(&server, "open-1", false);
    assert_eq!(change(&mut one), ("join", second));
    // Where nobody has asked for it nobody hears of it.
    assert_eq!(count(&mut silent, "lobby"), (1, 1));
}

#[test]
fn who_drains_has_left() {
    let redis = Redis::start();
    let mut leaving = lobby(config_on(&redis, Transport::Reactor));
    leaving.drain.delay = Duration::ZERO;
    leaving.drain.window = Duration::from_millis(100);
    let (leaving, staying) = (
        Server::start(leaving),
        Server::start(lobby(config_on(&redis, Transport::Reactor))),
    );
    let (mut one, first) = member(&staying, "lobby", true);
    assert_eq!(change(&mut one), ("join", first.clone()));
    let (mut other, second) = member(&leaving, "lobby", false);
    assert_eq!(change(&mut one), ("join", second.clone()));
    let draining = leaving.drain();
    assert_eq!(other.close().0, Some(3001));
    drop(other);
    draining.wait();
    assert_eq!(change(&mut one), ("leave", second));
    assert_eq!(members(&mut one, "lobby"), set([&first]));
}

#[test]
fn after_an_outage_it_is_right_again() {
    let mut redis = Redis::start();
    let server = Server::start(lobby(config_on(&redis, Transport::Reactor)));
    let (mut one, first) = member(&server, "lobby", false);
    let (other, second) = member(&server, "lobby", false);
    wait_for("both", || {
        (members(&mut one, "lobby") == set([&first, &second])).then_some(())
    });
    redis.kill();
    other.leave();
    let lost = asks(&mut one, 5, json!({"presence": {"channel": "lobby"}}));
    assert_eq!(lost["error"]["code"], json!(100));
    assert_eq!(lost["error"]["temporary"], json!(true));
    redis.restart();
    server.wait_for_metric("fanfare_bus_up", 1.0);
    wait_for("the one who stayed", || {
        let answer = asks(&mut one, 6, json!({"presence": {"channel": "lobby"}}));
        let presence = answer["presence"]["presence"].as_object()?.clone();
        (presence.keys().collect::<Vec<_>>() == [&first]).then_some(())
    });
}

/// Two hundred members, in a few seconds.
#[test]
#[ignore = "takes as long as a lease; scripts/presence runs it, and with 10,000"]
fn a_crowd_over_two_gateways() {
    let size = std::env::var("FANFARE_MEMBERS").map_or(200, |size| size.parse().expect("a number"));
    crowd(size);
}

/// Half of the members at each gateway: counting costs Redis one command, and staying costs it nothing. When one gateway is killed, its members
/// are gone within 20 s, and those of the other never.
fn crowd(size: u64) {
    let redis = Redis::start();
    // Nobody here answers pings.
    let settings = [("centrifuge.ping_interval", "600s")];
    let gateways = [0, 1].map(|_| Gateway::start(&redis.url(), &settings));
    let enter = |gateway: &Gateway, count: u64| -> Vec<Socket> {
        (0..count)
            .map(|_| subscribe_without_waiting(gateway.address()))
            .collect()
    };
    let began = Instant::now();
    let mut here = enter(&gateways[0], size / 2);
    let there = enter(&gateways[1], size / 2);
    let witness = &mut here[0];
    wait_for("all members", || (count(witness, "crowd") == (size, 1)).then_some(()));
    println!("{size} members came within {:.1} s", began.elapsed().as_secs_f64());
    if size <= 10_000 {
        assert_eq!(members(witness, "crowd").len() as u64, size);
    }

    redis_cli(&redis, &["CONFIG", "RESETSTAT"]);
    let began = Instant::now();
    for _ in 0..10 {
        assert_eq!(count(witness, "crowd"), (size, 1));
    }
    println!("a count took {:.1} ms", began.elapsed().as_secs_f64() * 100.0);
    let counted = commands(&redis);
    // One script a count, and what the canaries of two gateways publish meanwhile.
    assert!(counted.scripts <= 12, "{counted:?}");

    redis_cli(&redis, &["CONFIG", "RESETSTAT"]);
    std::thread::sleep(Duration::from_secs(12));
    let steady = commands(&redis);
    println!("in 12 s without changes Redis ran {steady:?}");
    // Two gateways, one lease each every five seconds.
    assert!(steady.scripts <= 6 && steady.writes <= 2, "{steady:?}");

    let killed = Instant::now();
    kill(gateways[1].pid());
    let gone = loop {
        let (clients, users) = count(witness, "crowd");
        assert!(
            clients >= size / 2 && users == 1,
            "a live member has vanished: {clients}"
        );
        if clients == size / 2 {
            break killed.elapsed();
        }
        assert!(killed.elapsed() < Duration::from_secs(20), "{clients} members are left");
        std::thread::sleep(Duration::from_millis(200));
    };
    println!(
        "members of the killed gateway were gone after {:.1} s",
        gone.as_secs_f64()
    );
    assert_eq!(members(witness, "crowd").len() as u64, size / 2);
    drop(there);
}

/// A client that has asked to be in the crowd, and reads nothing until it is asked.
fn subscribe_without_waiting(address: SocketAddr) -> Socket {
    let mut socket = Socket::connect(address, PATH);
    let connect = json!({"id": 1, "connect": {}});
    let subscribe = json!({"id": 2, "subscribe": {"channel": "crowd"}});
    socket.send(format!("{connect}\n{subscribe}"));
    socket
}

/// What Redis has run since it last began to count.
#[derive(Debug)]
struct Commands {
    scripts: u64,
    /// Outside of scripts.
    writes: u64,
}

fn commands(redis: &Redis) -> Commands {
    let stats = redis_cli(redis, &["INFO", "commandstats"]);
    let calls = |names: &[&str]| {
        let lines = stats
            .lines()
            .filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(":calls="));
        lines
            .filter(|(name, _)| names.contains(name))
            .filter_map(|(_, rest)| rest.split(',').next()?.parse::<u64>().ok())
            .sum()
    };
    Commands {
        scripts: calls(&["eval", "evalsha"]),
        writes: calls(&["hset", "hdel", "sadd", "srem", "set"]),
    }
}

#[track_caller]
fn redis_cli(redis: &Redis, arguments: &[&str]) -> String {
    let port = redis.address().port().to_string();
    let answer = Command::new("redis-cli")
        .args(["-p", &port])
        .args(arguments)
        .output()
        .expect("redis-cli");
    assert!(answer.status.success(), "{answer:?}");
    String::from_utf8_lossy(&answer.stdout).into_owned()
}

fn kill(pid: u32) {
    let status = Command::new("kill").args(["-9", &pid.to_string()]).status();
    assert!(status.is_ok_and(|status| status.success()));
}
