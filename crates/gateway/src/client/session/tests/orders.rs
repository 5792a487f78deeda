//! What the application wants of a connection.

use super::*;

#[test]
fn the_application_subscribes_and_unsubscribes() {
    let mut talk = Talk::known();
    let channel = Channel::parse("lobby").expect("valid");
    let order = Order::Subscribe {
        channel: channel.clone(),
        grant: Default::default(),
        expires: None,
    };
    assert_eq!(talk.obeys(order.clone()), ["subscribe lobby for 0"]);
    assert!(talk.obeys(order).is_empty(), "again");
    assert_eq!(
        talk.hears("lobby", 0),
        [
            "join lobby",
            r#"{"push":{"channel":"lobby","subscribe":{}}}"#,
            " enters lobby"
        ]
    );
    let unsubscribe = |channel| Order::Unsubscribe {
        channel,
        why: Unsubscribed::ByServer,
    };
    assert_eq!(
        talk.obeys(unsubscribe(Some(channel.clone()))),
        [
            "unsubscribe lobby",
            " leaves lobby",
            r#"{"push":{"channel":"lobby","unsubscribe":{"code":2000,"reason":"server unsubscribe"}}}"#
        ]
    );
    assert!(talk.obeys(unsubscribe(Some(channel))).is_empty());
    talk.says(r#"{"id":2,"subscribe":{"channel":"a"}}"#);
    talk.hears("a", 2);
    assert_eq!(talk.obeys(unsubscribe(None))[0], "unsubscribe a");
}

#[test]
fn the_application_decides_how_long_a_connection_lasts() {
    let mut talk = Talk::known();
    let refresh = |is_over, expires| Order::Refresh {
        is_over,
        expires,
        info: Some(Bytes::from_static(b"{}")),
    };
    let told = talk.obeys(refresh(false, Some(talk.at.wall + Duration::from_secs(5))));
    assert_eq!(told, [r#"{"push":{"refresh":{"expires":true,"ttl":5}}}"#]);
    talk.wait(4 + talk.config.centrifuge.refresh_grace.as_secs());
    assert!(talk.expires().is_empty());
    talk.wait(1);
    assert_eq!(talk.expires(), ["Close(Expired)"]);
    assert_eq!(talk.obeys(refresh(true, None)), ["Close(Expired)"]);
    assert_eq!(talk.obeys(Order::Close(Close::ByServer)), ["Close(ByServer)"]);
}

#[test]
fn what_the_application_gave_for_a_time_ends_the_connection() {
    let mut talk = Talk::known();
    let order = Order::Subscribe {
        channel: Channel::parse("a").expect("valid"),
        grant: Default::default(),
        expires: Some(talk.at.wall + Duration::from_secs(5)),
    };
    talk.obeys(order);
    talk.hears("a", 0);
    talk.wait(5 + talk.config.centrifuge.refresh_grace.as_secs());
    assert_eq!(talk.expires(), ["Close(SubscriptionExpired)"]);
}
