//! What is asked about channels and nodes, answered for all of them together.

use std::sync::mpsc;
use std::thread::JoinHandle;

use bus::presence::Change;
use bus::{Bus, RedisBus, RedisConfig};
use protocol::{Channel, ClientInfo};
use tokio::sync::oneshot;

use super::*;
use crate::cluster::Gateway;
use crate::support::PATIENCE;

/// Another process on the same Redis, with members of its own. It lives as long as this value.
struct Stranger {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Stranger {
    /// Starts one; returns when its members, each a client and its user, can be seen.
    #[track_caller]
    fn with(redis: &Redis, members: &[(&str, &str)]) -> Self {
        let enter = members.iter().map(|(client, user)| Change::Enter {
            channel: Channel::parse("seats-1").expect("valid"),
            client: ClientInfo {
                user: (*user).into(),
                client: (*client).into(),
                connection: "{\"name\":1}".into(),
                ..ClientInfo::default()
            },
        });
        let (enter, url): (Vec<_>, _) = (enter.collect(), redis.url());
        let (stop, stopped) = oneshot::channel();
        let (entered, is_there) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let (bus, _events) = RedisBus::start(RedisConfig::new(&url), None).expect("a bus");
                while bus.presence().change(enter.clone()).await.is_err() {
                    tokio::task::yield_now().await;
                }
                let _ = entered.send(());
                let _ = stopped.await;
                bus.close().await;
            });
        });
        is_there.recv_timeout(PATIENCE).expect("its members are there");
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.stop = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[test]
fn members_of_all_nodes_are_told() {
    let redis = Redis::start();
    let mut config = configured(&redis);
    config.api.presence_members = 3;
    let server = Server::start(config);
    let ask = |method: &str| result(&server, method, &json!({"channel": "seats-1"}));
    assert_eq!(ask("presence"), json!({"presence": {}}));
    assert_eq!(ask("presence_stats"), json!({"num_clients": 0, "num_users": 0}));
    let _first = Stranger::with(&redis, &[("c1", "anna"), ("c2", "")]);
    let _second = Stranger::with(&redis, &[("c3", "anna")]);
    assert_eq!(ask("presence_stats"), json!({"num_clients": 3, "num_users": 2}));
    let client = |id: &str, user: &str| json!({"user": user, "client": id, "conn_info": {"name": 1}});
    let all = json!({"c1": client("c1", "anna"), "c2": client("c2", ""), "c3": client("c3", "anna")});
    assert_eq!(ask("presence"), json!({"presence": all}));
    let _third = Stranger::with(&redis, &[("c4", "bert")]);
    let some = ask("presence");
    assert_eq!(
        (
            some["presence"].as_object().map(serde_json::Map::len),
            &some["is_partial"]
        ),
        (Some(3), &json!(true))
    );

    for (method, takes, code) in [
        ("presence", json!({}), 107),
        ("presence", json!({"channel": "room-1"}), 108),
        ("presence", json!({"channel": "else"}), 102),
        ("presence_stats", json!({"channel": "room-1"}), 108),
        ("presence_stats", json!({"channel": "chat-channel"}), 108),
        ("history", json!({"channel": "room-1", "limit": 1}), 108),
        ("history", json!({"channel": "else"}), 102),
        ("history_remove", json!({"channel": "room-1"}), 108),
        ("rpc", json!({"method": "sing", "params": 1}), 104),
        ("rpc", json!({}), 107),
        ("channels", json!({"pattern": "a{b"}), 107),
    ] {
        assert_eq!(error_code(&server, method, &takes), code, "{method} {takes}");
    }
}

#[test]
fn clients_of_both_nodes_are_present() {
    let pair = Pair::start();
    let ((mut anna, a), (mut bert, b)) = (client_of(&pair.asked, "anna"), client_of(&pair.other, "bert"));
    subscribe(&mut anna, "seats-1");
    subscribe(&mut bert, "seats-1");
    let seats = json!({"channel": "seats-1"});
    let count = |count: u64| move |stats: &Value| stats["num_clients"] == json!(count);
    let stats = pair.call_until("presence_stats", &seats, count(2));
    assert_eq!(stats["num_users"], json!(2));
    let both = json!({&a: {"user": "anna", "client": a}, &b: {"user": "bert", "client": b}});
    assert_eq!(pair.call("presence", &seats), json!({"presence": both}));
    pair.call("unsubscribe", &json!({"user": "bert"}));
    pair.call_until("presence_stats", &seats, count(1));
    assert_eq!(
        pair.call("presence", &seats),
        json!({"presence": {&a: {"user": "anna", "client": a}}})
    );
}

#[test]
fn nodes_and_channels_are_added_up() {
    let pair = Pair::start();
    let (mut anna, _) = client_of(&pair.asked, "anna");
    let (mut second, _) = client_of(&pair.other, "anna");
    let (mut bert, _) = client_of(&pair.other, "bert");
    subscribe(&mut anna, "room-1");
    subscribe(&mut second, "room-1");
    subscribe(&mut bert, "seats-1");
    let channels = pair.call_until("channels", &json!({}), |channels| channels.get("is_partial").is_none());
    let (two, one) = (json!({"num_clients": 2}), json!({"num_clients": 1}));
    assert_eq!(channels, json!({"channels": {"room-1": two, "seats-1": one}}));
    let rooms = json!({"pattern": "room-*"});
    assert_eq!(pair.call("channels", &rooms), json!({"channels": {"room-1": two}}));

    let info = pair.call("info", &json!({}));
    assert_eq!(info.get("is_partial"), None);
    let nodes = info["nodes"].as_array().expect("a list");
    let sum = |of: &str| -> u64 { nodes.iter().filter_map(|node| node[of].as_u64()).sum() };
    assert_eq!(nodes.len(), 2);
    assert_eq!(
        ["num_clients", "num_users", "num_channels", "num_subs"].map(sum),
        [3, 3, 3, 3]
    );
    for node in nodes {
        assert!(
            node["uid"].is_string() && node["name"].is_string() && node["version"].is_string(),
            "{node}"
        );
        assert!(node["uptime"].is_u64() && node["process"]["cpu"].is_f64(), "{node}");
        assert!(node["process"]["rss"].as_u64() > Some(1 << 20), "{node}");
    }
    assert_ne!(nodes[0]["uid"], nodes[1]["uid"]);
}

#[test]
fn a_node_that_does_not_answer_makes_an_answer_partial() {
    let redis = Redis::start();
    let asked = Server::start(configured(&redis));
    let other = Gateway::start(&redis.url(), &[]);
    let nodes = |info: &Value| info["nodes"].as_array().map(Vec::len);
    let whole = crate::support::wait_for("both nodes", || {
        Some(result(&asked, "info", &json!({}))).filter(|info| nodes(info) == Some(2))
    });
    assert_eq!(whole.get("is_partial"), None);
    // As kill -9 does.
    drop(other);
    let partial = result(&asked, "info", &json!({}));
    assert_eq!((nodes(&partial), &partial["is_partial"]), (Some(1), &json!(true)));
    assert_eq!(
        result(&asked, "channels", &json!({})),
        json!({"channels": {}, "is_partial": true})
    );
}
