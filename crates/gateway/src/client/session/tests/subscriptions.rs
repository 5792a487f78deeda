//! What becomes of subscriptions that a client asks for.

use super::*;

#[test]
fn a_subscription_is_asked_for_once_and_answered_once() {
    let mut talk = Talk::known();
    let subscribe = r#"{"id":2,"subscribe":{"channel":"a"}}"#;
    assert_eq!(talk.says(subscribe), ["subscribe a for 2"]);
    let again = talk.says(r#"{"id":3,"subscribe":{"channel":"a"}}"#);
    assert_eq!(again, error(3, 105, "already subscribed"));
    // Only who is in the channel may publish there.
    let publish = r#"{"id":4,"publish":{"channel":"a","data":1}}"#;
    assert_eq!(talk.says(publish), error(4, 103, "permission denied"));
    assert!(talk.hears("a", 9).is_empty(), "another's answer");
    assert_eq!(talk.hears("a", 2), ["join a", r#"{"id":2,"subscribe":{}}"#]);
    assert!(talk.hears("a", 2).is_empty());
    assert_eq!(talk.says(publish), ["publish in a for Some(4)"]);
}

#[test]
fn who_leaves_while_waiting_is_not_taken_in() {
    let mut talk = Talk::known();
    talk.says(r#"{"id":2,"subscribe":{"channel":"a"}}"#);
    let left = talk.says(r#"{"id":3,"unsubscribe":{"channel":"a"}}"#);
    assert_eq!(
        left,
        [
            r#"{"id":2,"subscribe":{}}"#,
            "unsubscribe a",
            r#"{"id":3,"unsubscribe":{}}"#
        ],
        "whoever asked gets an answer"
    );
    talk.says(r#"{"id":4,"subscribe":{"channel":"a"}}"#);
    assert!(talk.hears("a", 2).is_empty());
    assert_eq!(talk.hears("a", 4), ["join a", r#"{"id":4,"subscribe":{}}"#]);
}

#[test]
fn a_failed_subscription_makes_room() {
    let mut talk = Talk::known();
    talk.says("{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}\n{\"id\":3,\"subscribe\":{\"channel\":\"b\"}}");
    let third = r#"{"id":4,"subscribe":{"channel":"c"}}"#;
    assert_eq!(talk.says(third), error(4, 106, "limit exceeded"));
    assert_eq!(talk.fails(2).len(), 1);
    assert_eq!(talk.says(third), ["subscribe c for 4"]);
}

#[test]
fn nothing_of_the_past_is_promised() {
    let mut talk = Talk::known();
    talk.says(r#"{"id":2,"subscribe":{"channel":"a","recover":true,"offset":4,"epoch":"e"}}"#);
    assert_eq!(
        talk.hears("a", 2),
        ["join a", r#"{"id":2,"subscribe":{"was_recovering":true}}"#]
    );
    let strict = talk.says(r#"{"id":3,"subscribe":{"channel":"b","recover":true,"offset":4,"epoch":"e","flag":2}}"#);
    assert_eq!(strict, error(3, 112, "unrecoverable position"));
}

#[test]
fn a_closed_channel_is_closed_to_tokens_too() {
    let mut talk = Talk::known();
    let token = talk.token(60, json!({"channel": "closed"}));
    for command in [
        json!({"subscribe": {"channel": "closed"}}),
        json!({"subscribe": {"channel": "closed", "token": token}}),
        json!({"publish": {"channel": "closed", "data": 1}}),
        json!({"presence": {"channel": "closed"}}),
        json!({"presence_stats": {"channel": "closed"}}),
        json!({"history": {"channel": "closed"}}),
    ] {
        let mut command = command;
        command["id"] = json!(2);
        assert_eq!(talk.asks(&command), error(2, 103, "permission denied"), "{command}");
    }
    let order = Order::Subscribe {
        channel: Channel::parse("closed").expect("valid"),
        grant: Default::default(),
        expires: None,
    };
    assert!(talk.obeys(order).is_empty());
}

#[test]
fn a_subscription_token_opens_its_channel() {
    let mut talk = Talk::known();
    let subscribe = |talk: &mut Talk, seconds, claims| {
        let token = talk.token(seconds, claims);
        talk.asks(&json!({"id": 2, "subscribe": {"channel": "members", "token": token}}))
    };
    assert_eq!(
        talk.says(r#"{"id":2,"subscribe":{"channel":"members"}}"#),
        error(2, 103, "permission denied")
    );
    let forged = talk.says(r#"{"id":2,"subscribe":{"channel":"members","token":"t"}}"#);
    assert_eq!(forged, error(2, 103, "permission denied"));
    assert_eq!(
        subscribe(&mut talk, 9, json!({"channels": ["members"]})),
        error(2, 103, "permission denied")
    );
    assert_eq!(
        subscribe(&mut talk, -1, json!({"channel": "members"})),
        error(2, 109, "token expired")
    );
    assert_eq!(
        subscribe(&mut talk, 60, json!({"channel": "members"})),
        ["subscribe members for 2"]
    );
    assert!(talk.hears("members", 2)[1].contains(r#""expires":true,"ttl":"#));
    let publish = talk.says(r#"{"id":3,"publish":{"channel":"members","data":1}}"#);
    assert_eq!(
        publish,
        ["publish in members for Some(3)"],
        "a token lets it publish too"
    );
    for claims in [json!({"channel": "a"}), json!({"channel": "members", "sub": "bert"})] {
        assert_eq!(subscribe(&mut Talk::known(), 60, claims), ["Close(InvalidToken)"]);
    }
}

#[test]
fn a_subscription_lasts_as_long_as_its_token_and_is_renewed_by_another() {
    let mut talk = Talk::known();
    let token = talk.token(60, json!({"channel": "members"}));
    talk.asks(&json!({"id": 2, "subscribe": {"channel": "members", "token": token}}));
    talk.hears("members", 2);
    let fresh = talk.token(600, json!({"channel": "members"}));
    let renewed = talk.asks(&json!({"id": 3, "sub_refresh": {"channel": "members", "token": fresh}}));
    assert!(
        renewed[0].starts_with(r#"{"id":3,"sub_refresh":{"expires":true,"ttl":"#),
        "{renewed:?}"
    );
    talk.wait(100);
    assert!(talk.expires().is_empty());
    talk.wait(600);
    assert_eq!(
        talk.expires(),
        [
            "unsubscribe members",
            r#"{"push":{"channel":"members","unsubscribe":{"code":2501,"reason":"subscription expired"}}}"#
        ]
    );
    let gone = talk.asks(&json!({"id": 4, "sub_refresh": {"channel": "members", "token": "t"}}));
    assert_eq!(gone, error(4, 103, "permission denied"));
}

#[test]
fn an_old_token_ends_the_subscription_so_that_the_client_asks_for_a_new_one() {
    let mut talk = Talk::known();
    let token = talk.token(60, json!({"channel": "members"}));
    talk.asks(&json!({"id": 2, "subscribe": {"channel": "members", "token": token}}));
    talk.hears("members", 2);
    assert_eq!(
        talk.says(r#"{"id":3,"sub_refresh":{"channel":"members"}}"#),
        error(3, 107, "bad request")
    );
    let old = talk.token(-1, json!({"channel": "members"}));
    let told = talk.asks(&json!({"id": 3, "sub_refresh": {"channel": "members", "token": old}}));
    assert!(told[1].contains(r#""code":2501"#), "{told:?}");
    assert_eq!(told[2..], error(3, 109, "token expired"));
}
