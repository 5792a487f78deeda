//! What is published over the API, by who hears it.

use super::*;

#[test]
fn clients_of_every_protocol_hear_a_publication_alike() {
    let pair = Pair::start();
    let (mut anna, _) = client_of(&pair.other, "anna");
    subscribe(&mut anna, "room-1");
    let mut raw = pair.other.client_of("/raw/room-1");
    let mut bare = pair.other.client();

    let body = r#"{ "channel": "room-1", "data": { "n" : 1.50 }, "tags": {"lang": "de"} }"#;
    assert_eq!(json_of(&post(&pair.asked, "publish", body)), json!({"result": {}}));
    let push = anna.text();
    assert!(
        push.contains(r#""data":{"n":1.50}"#) && push.contains(r#""tags":{"lang":"de"}"#),
        "{push}"
    );
    assert!(!push.contains("info"), "a server is nobody: {push}");
    raw.expect(r#"{"n":1.50}"#);

    pair.call(
        "publish",
        &json!({"channel": "room-1", "b64data": "WyAyIF0=", "data": 3}),
    );
    assert_eq!(
        told(&mut anna),
        json!({"push": {"channel": "room-1", "pub": {"data": [2]}}})
    );
    raw.expect("[2]");
    pair.call("publish", &json!({"channel": "room-1", "data": null}));
    raw.expect("null");

    pair.call("publish", &json!({"channel": "chat-channel", "data": {"hello": "all"}}));
    bare.expect(r#"{"hello":"all"}"#);
    let tagged = json!({"channel": "chat-channel", "data": 1, "tags": {"a": "b"}});
    assert_eq!(
        error_code(&pair.asked, "publish", &tagged),
        107,
        "it has no place for tags"
    );
    // A rule closes a channel to clients only.
    pair.call("publish", &json!({"channel": "closed-1", "data": 1}));
}

#[test]
fn a_broadcast_reaches_all_that_it_can() {
    let pair = Pair::start();
    let (mut anna, _) = client_of(&pair.other, "anna");
    let commands: Vec<_> = (0..1000)
        .map(|number| json!({"id": number + 2, "subscribe": {"channel": format!("room-{number}")}}).to_string())
        .collect();
    anna.send(commands.join("\n"));
    for _ in 0..1000 {
        assert_eq!(told(&mut anna)["subscribe"], json!({}));
    }
    let mut channels: Vec<_> = (0..1000).map(|number| format!("room-{number}")).collect();
    channels.insert(1, "else".into());
    channels.insert(2, String::new());
    let answer = pair.call("broadcast", &json!({"channels": channels, "data": {"to": "all"}}));
    let responses = answer["responses"].as_array().expect("a list");
    assert_eq!(responses.len(), 1002);
    assert_eq!(
        responses[1],
        json!({"error": {"code": 102, "message": "unknown channel"}})
    );
    assert_eq!(responses[2], json!({"error": {"code": 107, "message": "bad request"}}));
    assert_eq!(
        responses
            .iter()
            .filter(|response| **response == json!({"result": {}}))
            .count(),
        1000
    );
    for number in 0..1000 {
        let push = json!({"push": {"channel": format!("room-{number}"), "pub": {"data": {"to": "all"}}}});
        assert_eq!(told(&mut anna), push, "in the order of the request");
    }
    for takes in [
        json!({"channels": [], "data": 1}),
        json!({"channels": ["room-1"]}),
        json!({"data": 1}),
    ] {
        assert_eq!(error_code(&pair.asked, "broadcast", &takes), 107, "{takes}");
    }
}

#[test]
fn one_connection_and_one_batch_keep_the_order() {
    let pair = Pair::start();
    let mut raw = pair.other.client_of("/raw/room-1");
    let publish = |n: u32| json!({"channel": "room-1", "data": n});
    let mut stream = TcpStream::connect(pair.asked.admin()).expect("a listener");
    for n in 0..50 {
        let request = request("publish", &[("X-API-Key", KEY)], &publish(n).to_string());
        assert_eq!(ask_on(&mut stream, request).expect("an answer").status, 200);
    }
    let mut commands: Vec<_> = (50..1000).map(|n| json!({"publish": publish(n)})).collect();
    let odd = [
        json!({"foo": {}}),
        json!({"batch": {"commands": []}}),
        json!(null),
        json!({"publish": null}),
        json!({"publish": {"channel": "else", "data": 1}}),
        json!({"presence_stats": {"channel": "room-1"}}),
    ];
    commands.splice(10..10, odd);
    let body = call(&pair.asked, "batch", &json!({"commands": commands}));
    let replies = body["replies"].as_array().expect("a list");
    assert_eq!(replies.len(), commands.len());
    let codes: Vec<_> = replies[10..16]
        .iter()
        .map(|reply| reply["error"]["code"].as_u64())
        .collect();
    assert_eq!(codes, [104, 104, 107, 107, 102, 108].map(Some));
    assert_eq!(
        replies.iter().filter(|reply| **reply == json!({"publish": {}})).count(),
        950
    );
    for n in 0..1000 {
        raw.expect(&n.to_string());
    }

    let parallel: Vec<_> = (0..200).map(|n| json!({"publish": publish(n)})).collect();
    let body = call(&pair.asked, "batch", &json!({"commands": parallel, "parallel": true}));
    assert_eq!(body["replies"].as_array().map(Vec::len), Some(200));
    let mut heard: Vec<u32> = (0..200).map(|_| raw.text().parse().expect("a number")).collect();
    heard.sort_unstable();
    assert!(heard.into_iter().eq(0..200), "all of them, each once");
    assert_eq!(call(&pair.asked, "batch", &json!({})), json!({"replies": []}));
    let many: Vec<_> = (0..1001).map(|_| json!({"info": {}})).collect();
    assert_eq!(error_code(&pair.asked, "batch", &json!({"commands": many})), 107);
}

#[test]
fn a_key_of_idempotency_is_known_to_every_node() {
    let pair = Pair::start();
    let (mut first, mut second) = (pair.other.client_of("/raw/room-1"), pair.other.client_of("/raw/room-2"));
    let publish = |server: &Server, channel: &str, key: &str, n: u32| {
        let takes = json!({"channel": channel, "data": n, "idempotency_key": key});
        assert_eq!(result(server, "publish", &takes), json!({}));
    };
    publish(&pair.asked, "room-1", "order-7", 1);
    publish(&pair.other, "room-1", "order-7", 2);
    publish(&pair.other, "room-2", "order-7", 3);
    publish(&pair.asked, "room-1", "", 4);
    publish(&pair.asked, "room-1", "", 5);
    let both = json!({"channels": ["room-1", "room-2"], "data": 6, "idempotency_key": "order-8"});
    pair.call("broadcast", &both);
    result(&pair.other, "broadcast", &both);
    publish(&pair.asked, "room-1", "order-9", 7);
    publish(&pair.asked, "room-2", "order-9", 7);
    for heard in ["1", "4", "5", "6", "7"] {
        first.expect(heard);
    }
    for heard in ["3", "6", "7"] {
        second.expect(heard);
    }
}

#[test]
fn without_the_bus_it_is_our_fault() {
    let pair = Pair::start();
    pair.redis.kill();
    let takes = json!({"channel": "room-1", "data": 1});
    for (method, takes) in [
        ("publish", takes.clone()),
        ("disconnect", json!({"user": "anna"})),
        ("info", json!({})),
        ("presence", json!({"channel": "seats-1"})),
    ] {
        assert_eq!(error_code(&pair.asked, method, &takes), 100, "{method}");
    }
    let headers = [("X-API-Key", KEY), ("X-Centrifugo-Error-Mode", "transport")];
    let answer = ask(pair.asked.admin(), request("publish", &headers, &takes.to_string()));
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (500, r#"{"code":100,"message":"internal server error"}"#)
    );
    let failed = pair
        .asked
        .metric(r#"fanfare_api_calls_total{method="publish",outcome="internal"}"#);
    assert!((failed - 2.0).abs() < f64::EPSILON, "{failed}");
}
