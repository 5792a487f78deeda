//! The table of rights: who is let into channels of which rule, by every dialect and every way in, and what it is told if not.
//!
//! A rule that closes a channel closes it alike however somebody comes. Every row is tried at two gateways, one of each transport; commands
//! that come apart from their connection go to the other one. A row knows what its visitor is told; that nothing came of what was refused is
//! checked for all of them alike: nobody is counted in the channel, no publication reaches them, and nothing of theirs is on the bus.

use serde_json::{Value, json};

use crate::streams::says;
use crate::support::{Redis, Server};
use crate::tokens::token;

mod place;
mod protobuf;
mod visitor;

use place::{FENCE, Place, Tap};
use visitor::Talk::{self, Events, Json, Lines, OneWayEvents, OneWayLines, OneWaySocket, Protobuf, Raw};
use visitor::Told::{self, Closed, Error, Nothing, Status, Yes};
use visitor::Visitor;

/// How somebody comes to a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It asks for it, and is nobody.
    Nameless,
    /// It asks for it, as Anna.
    Asking,
    /// It asks for it with a token for the channel.
    AskingWithToken,
    /// `channels` in the token of its connection.
    TokenChannels,
    /// `subs` in the token of its connection.
    TokenSubs,
    /// `channels` in what the backend says when it connects.
    BackendChannels,
    /// `subs` in what the backend says when it connects.
    BackendSubs,
    /// The application subscribes it by the server API.
    Api,
    /// `subs` when it connects, which tell positions and ask for nothing.
    Positions,
    /// A command, on the WebSocket or by `/emulation`, of who only hears.
    UnheardCommand,
}
use Way::*;

/// Who can say commands.
const TWO_WAY: &[Talk] = &[Json, Protobuf, Lines, Events];
const ONE_WAY: &[Talk] = &[OneWaySocket, OneWayLines, OneWayEvents];

/// Channels by what is said of them in `place.rs`, as they are for Anna.
const CHANNELS: [&str; 8] = [
    "unknown", "closed", "token", "refused", "$private", "listed", "agreed", "open",
];

/// What is told to who comes to a channel. In `agreed` the backend says yes; in `refused` it says no, when it is asked.
#[rustfmt::skip]
const SUBSCRIBING: &[(Way, &[Talk], [Told; 8])] = &[
    //                            unknown        closed         token          refused        $private       listed         agreed   open
    (Nameless,        &[Raw],   [Status(404),   Status(403),   Status(401),   Status(403),   Status(401),   Status(401),   Yes,     Yes]),
    (Asking,          &[Raw],   [Status(404),   Status(403),   Status(403),   Status(403),   Status(403),   Status(403),   Yes,     Yes]),
    (AskingWithToken, &[Raw],   [Status(404),   Status(403),   Yes,           Yes,           Yes,           Yes,           Yes,     Yes]),
    (TokenChannels,   &[Raw],   [Status(404),   Status(403),   Yes,           Yes,           Yes,           Yes,           Yes,     Yes]),
    (TokenSubs,       &[Raw],   [Status(404),   Status(403),   Yes,           Yes,           Yes,           Yes,           Yes,     Yes]),
    (Asking,          TWO_WAY,  [Error(102),    Error(103),    Error(103),    Error(403),    Error(103),    Error(103),    Yes,     Yes]),
    (AskingWithToken, TWO_WAY,  [Error(102),    Error(103),    Yes,           Yes,           Yes,           Yes,           Yes,     Yes]),
    (TokenChannels,   TWO_WAY,  [Error(102),    Error(103),    Yes,           Yes,           Yes,           Yes,           Yes,     Yes]),
    (TokenSubs,       TWO_WAY,  [Error(102),    Error(103),    Yes,           Yes,           Yes,           Yes,           Yes,     Yes]),
    (BackendChannels, TWO_WAY,  [Error(102),    Error(103),    Yes,           Yes,           Yes,           Yes,           Yes,     Yes]),
    (BackendSubs,     TWO_WAY,  [Error(102),    Error(103),    Yes,           Yes,           Yes,           Yes,           Yes,     Yes]),
    (Positions,       TWO_WAY,  [Nothing,       Nothing,       Nothing,       Nothing,       Nothing,       Nothing,       Nothing, Nothing]),
    (TokenChannels,   ONE_WAY,  [Closed(3507),  Closed(3507),  Yes,           Yes,           Yes,           Yes,           Yes,     Yes]),
    (TokenSubs,       ONE_WAY,  [Closed(3507),  Closed(3507),  Yes,           Yes,           Yes,           Yes,           Yes,     Yes]),
    (BackendChannels, ONE_WAY,  [Closed(3507),  Closed(3507),  Yes,           Yes,           Yes,           Yes,           Yes,     Yes]),
    (BackendSubs,     ONE_WAY,  [Closed(3507),  Closed(3507),  Yes,           Yes,           Yes,           Yes,           Yes,     Yes]),
    (Positions,       ONE_WAY,  [Nothing,       Nothing,       Nothing,       Nothing,       Nothing,       Nothing,       Nothing, Nothing]),
    (UnheardCommand,  ONE_WAY,  [Nothing,       Nothing,       Nothing,       Nothing,       Nothing,       Nothing,       Nothing, Nothing]),
    // These errors are the API's.
    (Api,             TWO_WAY,  [Error(102),    Error(108),    Yes,           Yes,           Yes,           Yes,           Yes,     Yes]),
    (Api,             ONE_WAY,  [Error(102),    Error(108),    Yes,           Yes,           Yes,           Yes,           Yes,     Yes]),
];

/// What somebody does before it publishes or asks who is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It is not in the channel.
    Outside,
    /// It has tried to subscribe.
    Subscribing,
    /// It has tried to subscribe with a token for the channel.
    WithToken,
}
use Standing::*;

const FOR_PUBLISHERS: [&str; 9] = [
    "unknown",
    "closed",
    "servers",
    "bearers",
    "censored",
    "$private",
    "open",
    "approved",
    "everybody",
];

/// What is told to who publishes. In `approved` the backend says yes, in `censored` no. Who was not let in has the status of that.
#[rustfmt::skip]
const PUBLISHING: &[(Standing, &[Talk], [Told; 9])] = &[
    //                         unknown       closed        servers     bearers     censored    $private      open        approved  everybody
    (Outside,     TWO_WAY,   [Error(102),   Error(103),   Error(103), Error(103), Error(403), Error(103),   Error(103), Yes,      Yes]),
    (Subscribing, TWO_WAY,   [Error(102),   Error(103),   Error(103), Error(103), Error(403), Error(103),   Yes,        Yes,      Yes]),
    (WithToken,   TWO_WAY,   [Error(102),   Error(103),   Error(103), Yes,        Error(403), Yes,          Yes,        Yes,      Yes]),
    (Subscribing, &[Raw],    [Status(404),  Status(403),  Nothing,    Nothing,    Nothing,    Status(401),  Yes,        Yes,      Yes]),
    (WithToken,   &[Raw],    [Status(404),  Status(403),  Nothing,    Yes,        Nothing,    Yes,          Yes,        Yes,      Yes]),
    (Outside,     &[OneWaySocket], [Nothing, Nothing,     Nothing,    Nothing,    Nothing,    Nothing,      Nothing,    Nothing,  Nothing]),
];

const FOR_READERS: [&str; 5] = ["unknown", "closed", "unseen", "$private", "open"];

/// What is told to who asks who is in a channel, or what was published there.
#[rustfmt::skip]
const READING: &[(&str, Standing, [Told; 5])] = &[
    //                                 unknown     closed      unseen      $private    open
    ("presence",       Outside,     [Error(102), Error(103), Error(108), Error(103), Error(103)]),
    ("presence",       Subscribing, [Error(102), Error(103), Error(108), Error(103), Yes]),
    ("presence",       WithToken,   [Error(102), Error(103), Error(108), Yes,        Yes]),
    ("presence_stats", Outside,     [Error(102), Error(103), Error(108), Error(103), Error(103)]),
    ("presence_stats", Subscribing, [Error(102), Error(103), Error(108), Error(103), Yes]),
    ("presence_stats", WithToken,   [Error(102), Error(103), Error(108), Yes,        Yes]),
    // No channel keeps a history yet.
    ("history",        Outside,     [Error(102), Error(103), Error(108), Error(108), Error(108)]),
    ("history",        Subscribing, [Error(102), Error(103), Error(108), Error(108), Error(108)]),
    ("history",        WithToken,   [Error(102), Error(103), Error(108), Error(108), Error(108)]),
];

#[test]
fn who_comes_to_a_channel() {
    let redis = Redis::start();
    let place = Place::on(&redis, |_| ());
    for (row, (way, talks, expected)) in SUBSCRIBING.iter().enumerate() {
        // Whoever is refused when it connects is gone a while later; all dialects wait for that together.
        std::thread::scope(|scope| {
            for (talk, place) in talks.iter().zip(std::iter::repeat(&place)) {
                scope.spawn(move || row_of_subscribers(place, &format!("{row}-{talk:?}"), *way, *talk, expected));
            }
        });
    }
    // A rule that does not leave it to the backend does not even ask it.
    for question in place.application.asked("subscribe") {
        let channel = question["channel"].as_str().expect("a channel");
        assert!(
            channel.starts_with("refused-") || channel.starts_with("agreed-"),
            "{channel}"
        );
    }
}

#[track_caller]
fn row_of_subscribers(place: &Place, row: &str, way: Way, talk: Talk, expected: &[Told; 8]) {
    let mut cells = Vec::new();
    for home in [0, 1] {
        for (kind, expected) in CHANNELS.iter().zip(expected) {
            let users = if *kind == "listed" { "#bert" } else { "" };
            let channel = format!("{kind}-{row}-{home}{users}");
            let (visitor, told) = enter(place, home, way, talk, &channel);
            assert_eq!(told, *expected, "{way:?} by {talk:?} to {channel}");
            cells.push((channel, visitor, told));
        }
    }
    let mut inside: Vec<&String> = cells.iter().filter(|cell| cell.2 == Yes).map(|cell| &cell.0).collect();
    inside.sort();
    let mut counted = place.channels_with(&format!("-{row}-"));
    counted.sort();
    assert_eq!(counted.iter().collect::<Vec<_>>(), inside, "{way:?} by {talk:?}");

    let witness = json!(format!("for row {row}"));
    let channels: Vec<&str> = cells.iter().map(|cell| cell.0.as_str()).collect();
    place.broadcast(&channels, &witness);
    let mut heard: Vec<Vec<Value>> = cells.iter().map(|_| Vec::new()).collect();
    // Channels that are written in one turn have no order. Who has heard one fence has been written to before the next.
    for fence in ["after row", "long after row"].map(|words| json!(format!("{words} {row}"))) {
        place.broadcast(&[FENCE], &fence);
        for ((_, visitor, _), heard) in cells.iter_mut().zip(&mut heard) {
            match visitor {
                Some(visitor) if talk != Raw => heard.extend(visitor.hears_until(&fence)),
                _ => {}
            }
        }
    }
    for ((channel, visitor, told), mut heard) in cells.into_iter().zip(heard) {
        if let (Raw, Some(mut visitor)) = (talk, visitor) {
            // It is in no channel but this one.
            assert!(visitor.hears_until(&witness).is_empty(), "{way:?} to {channel}");
            continue;
        }
        // Other rows are tried at the same time.
        heard.retain(|data| !data.as_str().is_some_and(|data| data.contains("after row ")));
        let expected = if told == Yes { vec![&witness] } else { vec![] };
        assert_eq!(
            heard.iter().collect::<Vec<_>>(),
            expected,
            "{way:?} by {talk:?} in {channel}"
        );
    }
}

/// Somebody comes to a channel; what it is told.
#[track_caller]
fn enter(place: &Place, home: usize, way: Way, talk: Talk, channel: &str) -> (Option<Visitor>, Told) {
    let [home, apart] = [&place.servers[home], &place.servers[1 - home]];
    if talk == Raw {
        return Visitor::raw(home.address(), &raw_path(way, channel));
    }
    let connect = |request: Value| Visitor::connect(talk, home.address(), apart.address(), &request);
    // Where there are `subs`, `channels` do not count.
    let subs = || json!({FENCE: {}, channel: {}});
    let (mut visitor, told) = connect(match way {
        TokenChannels => by_token(json!({"channels": [FENCE, channel]})),
        TokenSubs => by_token(json!({"subs": subs()})),
        BackendChannels => json!({"data": {"user": "anna", "channels": [FENCE, channel]}}),
        BackendSubs => json!({"data": {"user": "anna", "subs": subs()}}),
        Positions if talk != Protobuf => {
            let mut request = by_token(json!({"channels": [FENCE]}));
            request["subs"] = json!({channel: {"recover": true, "offset": 1, "epoch": "e"}});
            request
        }
        _ => by_token(json!({"channels": [FENCE]})),
    });
    if told != Yes {
        return (Some(visitor), told);
    }
    let subscribe = json!({"subscribe": {"channel": channel}});
    let told = match way {
        Asking => visitor.asks(&subscribe),
        AskingWithToken => visitor.asks(&json!({"subscribe": {"channel": channel, "token": token_for(channel)}})),
        Api => by_api(place, &mut visitor, channel),
        Positions => Nothing,
        UnheardCommand => {
            say_unheard(apart, &mut visitor, talk, &subscribe);
            Nothing
        }
        _ => Yes,
    };
    (Some(visitor), told)
}

fn raw_path(way: Way, channel: &str) -> String {
    let path = format!("/raw/{}", channel.replace('#', "%23"));
    let claims = match way {
        AskingWithToken => return format!("{path}?token={}", token_for(channel)),
        Asking => json!({"sub": "anna"}),
        TokenChannels => json!({"sub": "anna", "channels": [channel]}),
        TokenSubs => json!({"sub": "anna", "subs": {channel: {}}}),
        _ => return path,
    };
    format!("{path}?token={}", token(600, claims))
}

/// A request to connect as Anna, whose token claims this besides.
fn by_token(mut claims: Value) -> Value {
    claims["sub"] = json!("anna");
    json!({"token": token(600, claims)})
}

/// Anna's token for one channel.
fn token_for(channel: &str) -> String {
    token(600, json!({"sub": "anna", "channel": channel}))
}

#[track_caller]
fn by_api(place: &Place, visitor: &mut Visitor, channel: &str) -> Told {
    let takes = json!({"user": "anna", "client": visitor.welcome["client"], "channel": channel});
    let answer = crate::api::call(&place.servers[0], "subscribe", &takes);
    match answer["error"]["code"].as_u64() {
        Some(code) => Error(u16::try_from(code).expect("a code")),
        None => {
            visitor.is_subscribed(channel);
            Yes
        }
    }
}

/// Says something for a connection that only hears: on its own WebSocket, or as if it were one whose commands come apart.
#[track_caller]
fn say_unheard(apart: &Server, visitor: &mut Visitor, talk: Talk, command: &Value) {
    if talk == OneWaySocket {
        visitor.say(command);
        return visitor.settle();
    }
    // It is not told its node, but any other connection there is.
    let node = json!({"node": node_of(apart), "session": visitor.welcome["session"]});
    let mut command = command.clone();
    command["id"] = json!(2);
    says(apart.address(), &node, &[command]);
}

fn node_of(server: &Server) -> Value {
    let request = by_token(json!({}));
    let (visitor, _) = Visitor::connect(Lines, server.address(), server.address(), &request);
    visitor.welcome["node"].clone()
}

#[test]
fn who_publishes_in_a_channel() {
    let redis = Redis::start();
    let place = Place::on(&redis, |_| ());
    let mut tap = Tap::on(&redis);
    for (row, (standing, talks, expected)) in PUBLISHING.iter().enumerate() {
        for (talk, home) in talks.iter().flat_map(|talk| [(talk, 0), (talk, 1)]) {
            let mut published = Vec::new();
            for (kind, expected) in FOR_PUBLISHERS.iter().zip(expected) {
                let channel = format!("{kind}-{row}-{talk:?}-{home}");
                let told = publish(&place, home, *standing, *talk, &channel, *expected);
                assert_eq!(told, *expected, "{standing:?} by {talk:?} in {channel}");
                published.push((words(&channel), told == Yes));
            }
            let fence = format!("after {row} {talk:?} {home}");
            let takes = json!({"channel": FENCE, "data": fence});
            crate::api::call(&place.servers[home], "publish", &takes);
            let heard = tap.hears_until(&fence);
            for (words, is_expected) in published {
                assert_eq!(heard.contains(&words), is_expected, "{words} on the bus: {heard}");
            }
        }
    }
    for question in place.application.asked("publish") {
        let channel = question["channel"].as_str().expect("a channel");
        assert!(
            channel.starts_with("censored-") || channel.starts_with("approved-"),
            "{channel}"
        );
    }
}

/// What is published in a channel, to be told from all else on the bus.
fn words(channel: &str) -> String {
    format!("said in {channel}.")
}

/// Somebody publishes in a channel; what it is told.
#[track_caller]
fn publish(place: &Place, home: usize, standing: Standing, talk: Talk, channel: &str, expected: Told) -> Told {
    let [home, apart] = [&place.servers[home], &place.servers[1 - home]];
    let data = json!(words(channel));
    let publish = json!({"publish": {"channel": channel, "data": data}});
    if talk == Raw {
        let way = if standing == WithToken {
            AskingWithToken
        } else {
            Nameless
        };
        let (visitor, told) = Visitor::raw(home.address(), &raw_path(way, channel));
        let Some(mut visitor) = visitor else { return told };
        let dropped = "fanfare_messages_dropped_total{reason=\"not_allowed\"}";
        let before = home.metric(dropped);
        visitor.send(&data);
        match expected {
            Nothing => home.wait_for_metric(dropped, before + 1.0),
            _ => assert!(visitor.hears_until(&data).is_empty(), "something else in {channel}"),
        }
        return expected;
    }
    let (mut visitor, told) = Visitor::connect(talk, home.address(), apart.address(), &by_token(json!({})));
    assert_eq!(told, Yes);
    if talk == OneWaySocket {
        say_unheard(apart, &mut visitor, talk, &publish);
        return Nothing;
    }
    stand(&mut visitor, standing, channel);
    visitor.asks(&publish)
}

/// Does what somebody does before; what comes of that is another row's.
fn stand(visitor: &mut Visitor, standing: Standing, channel: &str) {
    match standing {
        Outside => {}
        Subscribing => {
            visitor.asks(&json!({"subscribe": {"channel": channel}}));
        }
        WithToken => {
            visitor.asks(&json!({"subscribe": {"channel": channel, "token": token_for(channel)}}));
        }
    }
}

#[test]
fn who_looks_into_a_channel() {
    let redis = Redis::start();
    let place = Place::on(&redis, |_| ());
    for (row, (command, standing, expected)) in READING.iter().enumerate() {
        for (talk, home) in TWO_WAY.iter().flat_map(|talk| [(talk, 0), (talk, 1)]) {
            for (kind, expected) in FOR_READERS.iter().zip(expected) {
                let channel = format!("{kind}-{row}-{talk:?}-{home}");
                let [home, apart] = [&place.servers[home], &place.servers[1 - home]];
                let (mut visitor, _) = Visitor::connect(*talk, home.address(), apart.address(), &by_token(json!({})));
                stand(&mut visitor, *standing, &channel);
                let told = visitor.asks(&json!({*command: {"channel": channel}}));
                assert_eq!(told, *expected, "{command} {standing:?} by {talk:?} of {channel}");
            }
        }
    }
}

/// The bare channel has settings of its own in place of a rule: they hold in every dialect too.
#[test]
fn the_bare_channel() {
    const BARE: &str = "chat-channel";
    let check = |change: fn(&mut gateway::config::Config), at_root: Told, subscribing: Told, publishing: Told| {
        let redis = Redis::start();
        let place = Place::on(&redis, change);
        let mut tap = Tap::on(&redis);
        for (home, apart) in [(0, 1), (1, 0)] {
            let [home, apart] = [&place.servers[home], &place.servers[apart]];
            let mut sockets = Vec::new();
            for path in ["/", "/raw/chat-channel"] {
                let (visitor, told) = Visitor::raw(home.address(), path);
                assert_eq!(told, at_root, "{path}");
                sockets.extend(visitor);
            }
            for socket in &mut sockets {
                socket.send(&json!("by a plain WebSocket"));
                socket.settle();
            }
            for talk in TWO_WAY {
                let (mut visitor, _) = Visitor::connect(*talk, home.address(), apart.address(), &by_token(json!({})));
                assert_eq!(
                    visitor.asks(&json!({"subscribe": {"channel": BARE}})),
                    subscribing,
                    "{talk:?}"
                );
                let publish = json!({"publish": {"channel": BARE, "data": "by a command"}});
                assert_eq!(visitor.asks(&publish), publishing, "{talk:?}");
            }
        }
        redis.publish(BARE, "\"the end\"");
        let heard = tap.hears_until("the end");
        let is_open = publishing == Yes;
        assert_eq!(heard.contains("by a plain WebSocket"), is_open, "{heard}");
        assert_eq!(heard.contains("by a command"), is_open, "{heard}");
    };
    check(|_| (), Yes, Yes, Yes);
    check(
        |config| config.raw.publish = gateway::config::RawPublish::Nobody,
        Yes,
        Yes,
        Error(103),
    );
    check(|config| config.raw.channel = None, Status(404), Error(102), Error(102));
}
