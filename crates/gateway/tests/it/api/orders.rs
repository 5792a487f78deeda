//! What connections are told to do, by what they hear of it.

use super::*;

#[test]
fn connections_are_subscribed_and_unsubscribed() {
    let pair = Pair::start();
    let (mut anna, id) = client_of(&pair.other, "anna");
    let (mut second, _) = client_of(&pair.other, "anna");
    let (mut bert, _) = client_of(&pair.other, "bert");
    let subscribed = json!({"push": {"channel": "room-1", "subscribe": {"data": {"topic": 1}}}});
    let takes = json!({"user": "anna", "client": id, "channel": "room-1", "data": {"topic": 1}});
    assert_eq!(pair.call("subscribe", &takes), json!({}));
    assert_eq!(told(&mut anna), subscribed);
    pair.call(
        "subscribe",
        &json!({"user": "anna", "channel": "room-1", "b64data": "eyAidG9waWMiOjF9"}),
    );
    assert_eq!(told(&mut second), subscribed);
    // Neither was she told twice, nor was bert: the next that they hear is this.
    subscribe(&mut bert, "room-1");
    pair.call("publish", &json!({"channel": "room-1", "data": 1}));
    for socket in [&mut anna, &mut second, &mut bert] {
        assert_eq!(told(socket), json!({"push": {"channel": "room-1", "pub": {"data": 1}}}));
    }

    pair.call("subscribe", &json!({"user": "anna", "client": id, "channel": "room-2"}));
    assert_eq!(told(&mut anna)["push"]["channel"], json!("room-2"));
    let unsubscribed = |channel: &str| json!({"push": {"channel": channel, "unsubscribe": {"code": 2000, "reason": "server unsubscribe"}}});
    pair.call("unsubscribe", &json!({"user": "anna", "channel": "room-1"}));
    assert_eq!(told(&mut anna), unsubscribed("room-1"));
    assert_eq!(told(&mut second), unsubscribed("room-1"));
    pair.call("unsubscribe", &json!({"user": "anna"}));
    assert_eq!(told(&mut anna), unsubscribed("room-2"));
    pair.call("publish", &json!({"channel": "room-1", "data": 2}));
    assert_eq!(
        told(&mut bert),
        json!({"push": {"channel": "room-1", "pub": {"data": 2}}})
    );

    for (takes, code) in [
        (json!({"user": "anna"}), 107),
        (json!({"user": "anna", "channel": "a b"}), 107),
        (json!({"user": "anna", "channel": "else"}), 102),
        (json!({"user": "anna", "channel": "closed-1"}), 108),
        (json!({"user": "anna", "channel": "room-1", "b64info": "x"}), 107),
        (json!({"user": "anna", "channel": "room-1", "expire_at": -5}), 107),
    ] {
        assert_eq!(error_code(&pair.asked, "subscribe", &takes), code, "{takes}");
    }
    assert_eq!(error_code(&pair.asked, "unsubscribe", &json!({"channel": "a b"})), 107);
    for nobody in [
        json!({"client": "somebody"}),
        json!({"session": "some"}),
        json!({"user": "carl"}),
    ] {
        assert_eq!(pair.call("unsubscribe", &nobody), json!({}), "{nobody}");
    }
}

#[test]
fn connections_are_ended_but_those_that_may_stay() {
    let pair = Pair::start();
    let (mut anna, kept) = client_of(&pair.other, "anna");
    let (mut second, _) = client_of(&pair.other, "anna");
    let (mut bert, _) = client_of(&pair.other, "bert");
    let reason = json!({"code": 4501, "reason": "signed in elsewhere"});
    pair.call(
        "disconnect",
        &json!({"user": "anna", "whitelist": [kept, "x"], "disconnect": reason}),
    );
    assert_eq!(second.close(), (Some(4501), "signed in elsewhere".into()));
    pair.call("disconnect", &json!({"user": "anna"}));
    assert_eq!(anna.close(), (Some(3503), "force disconnect".into()));
    for code in [0, 1000, 2999, 5000, 70_000] {
        let takes = json!({"user": "bert", "disconnect": {"code": code, "reason": "x"}});
        assert_eq!(error_code(&pair.asked, "disconnect", &takes), 107, "{code}");
    }
    subscribe(&mut bert, "room-1");
}

#[test]
fn connections_last_as_long_as_they_are_told() {
    let pair = Pair::start();
    let (mut anna, id) = client_of(&pair.other, "anna");
    pair.call("refresh", &json!({"user": "anna", "expire_at": seconds_from_now(1000)}));
    let refresh = told(&mut anna);
    let refresh = &refresh["push"]["refresh"];
    let ttl = refresh["ttl"].as_u64().unwrap_or_default();
    assert!(
        refresh["expires"] == json!(true) && (980..=1000).contains(&ttl),
        "{refresh}"
    );
    pair.call("refresh", &json!({"user": "anna", "info": {"name": "Anna"}}));
    assert_eq!(told(&mut anna), json!({"push": {"refresh": {}}}), "for good");
    pair.call("refresh", &json!({"user": "anna", "client": id, "expired": true}));
    assert_eq!(anna.close().0, Some(3005));
}
