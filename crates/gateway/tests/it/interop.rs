//! Gateways and the Node tutorial server on one Redis are equals: what a client of one sends, every client of each hears once.

use serde_json::Value;

use crate::cluster::{Client, Gateway, NodeServer, Redis};

/// How many messages each sender sends.
const COUNT: usize = 100;

#[test]
fn two_gateways_and_the_node_server() {
    let redis = Redis::start();
    let reactor = Gateway::start(&redis.url(), &[]);
    let attached = Gateway::start(&redis.url(), &[("listener.transport", "attached")]);
    let node = NodeServer::start(&redis.url());
    let senders = [reactor.client(), attached.client(), node.client()];
    let listeners = [reactor.client(), attached.client(), node.client()];
    let everybody: Vec<_> = senders.iter().chain(&listeners).collect();
    everybody_hears_everything(&redis, &senders.each_ref(), &everybody);
}

#[test]
fn a_stranger_publishes_with_redis_cli() {
    let redis = Redis::start();
    let gateways = [Gateway::start(&redis.url(), &[]), Gateway::start(&redis.url(), &[])];
    let node = NodeServer::start(&redis.url());
    let everybody = [gateways[0].client(), gateways[1].client(), node.client()];
    // Bytes go through as they are, whether JSON or not.
    let payloads = ["\"hi\"", "{ \"a\" : 1 }", "not JSON", "世界", ""];
    for payload in payloads {
        redis.publish("chat-channel", payload);
    }
    for client in &everybody {
        let heard = client.wait_for("every payload", |texts| {
            (texts.len() >= payloads.len()).then(|| texts.to_vec())
        });
        assert_eq!(heard, payloads);
    }
}

/// Every sender sends its messages, all at the same time; then every client must have heard every message once, each sender's in its order,
/// and all in one order, which is that of Redis.
#[track_caller]
pub(crate) fn everybody_hears_everything(redis: &Redis, senders: &[&Client], everybody: &[&Client]) {
    let before: Vec<_> = everybody.iter().map(|client| client.texts().len()).collect();
    std::thread::scope(|threads| {
        for (sender, client) in senders.iter().enumerate() {
            threads.spawn(move || (0..COUNT).for_each(|number| client.send(&message(sender, number))));
        }
    });
    let all = senders.len() * COUNT;
    let heard =
        |client: &Client, before| client.wait_for("everything", |texts| texts.get(before..before + all).map(values));
    let first = heard(everybody[0], before[0]);
    check_numbers(&first, senders.len());
    // If anything comes twice, then before this.
    redis.publish("chat-channel", "\"the end\"");
    for (client, before) in everybody.iter().zip(before) {
        assert_eq!(heard(client, before), first, "another order");
        client.wait_for("the end", |texts| (texts.len() > before + all).then_some(()));
        assert_eq!(client.texts()[before + all..], ["\"the end\""], "more than was sent");
    }
}

/// A message as a client may write it: with white space that no server passes on, and text that is more than ASCII.
fn message(sender: usize, number: usize) -> String {
    format!("{{ \"sender\" : {sender},\n\t\"number\": {number}, \"text\": \"Grüße \\\"an\\\" 世界\" }}")
}

/// What texts mean: the servers may write the same value differently.
fn values(texts: &[String]) -> Vec<Value> {
    texts
        .iter()
        .map(|text| serde_json::from_str(text).expect("JSON"))
        .collect()
}

/// Each sender's messages are there, once, in order.
#[track_caller]
fn check_numbers(heard: &[Value], senders: usize) {
    for sender in 0..senders {
        let of_sender: Vec<_> = heard
            .iter()
            .filter(|value| value["sender"] == sender)
            .cloned()
            .collect();
        let sent: Vec<_> = (0..COUNT).map(|number| message(sender, number)).collect();
        let is_whole = of_sender == values(&sent);
        assert!(
            is_whole,
            "of sender {sender} {} were heard, or not in order",
            of_sender.len()
        );
    }
}
