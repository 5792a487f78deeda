//! Tokens that are revoked: who goes, who stays, and who is not let in any more, over gateways on one Redis.

use std::time::{Duration, SystemTime};

use gateway::config::Transport;
use serde_json::{Value, json};

use crate::support::{Redis, Revoke, Server, Socket, config_on, on_both_transports, upgrade, wait_for};
use crate::tokens::{PATH, asks, connected, token, told, with_rules};

on_both_transports! {
    a_token_is_revoked_on_all_nodes
    the_tokens_of_a_user_are_revoked_on_all_nodes
    a_revocation_ends_with_its_time
    a_revocation_without_redis_is_none
}

fn server(redis: &Redis, transport: Transport) -> Server {
    Server::start(with_rules(config_on(redis, transport)))
}

fn by_name(id: &str) -> Revoke {
    Revoke::Token(id.to_owned(), None)
}

/// A client that comes with this token, which must be good.
#[track_caller]
fn comes(server: &Server, token: &str) -> Socket {
    let mut socket = server.client_of(PATH);
    let answer = asks(&mut socket, &json!({"id": 1, "connect": {"token": token}}));
    assert!(answer["connect"].is_object(), "{answer}");
    socket
}

/// What a client that comes with this token is told: the answer, or the code it is closed with.
#[track_caller]
fn tries(server: &Server, token: &str) -> Result<Value, u16> {
    let mut socket = server.client_of(PATH);
    socket.send(json!({"id": 1, "connect": {"token": token}}).to_string());
    match socket.next() {
        Some(protocol::frame::Item::Message(message)) => Ok(serde_json::from_slice(&message.data).expect("JSON")),
        Some(protocol::frame::Item::Close { code: Some(code), .. }) => Err(code),
        other => panic!("{other:?}"),
    }
}

/// Status of the answer to a plain WebSocket that comes with this token.
#[track_caller]
fn plain(server: &Server, token: &str) -> u16 {
    server
        .ask(upgrade(&format!("/raw/members-1?token={token}"), &[]))
        .status
}

#[track_caller]
fn is_well(socket: &mut Socket) {
    let answer = asks(socket, &json!({"id": 77, "rpc": {"method": "none", "data": 1}}));
    assert_eq!(answer["error"]["code"], json!(108), "{answer}");
}

const INVALIDATED: u16 = 3014;
const INVALID: Result<Value, u16> = Err(3500);

#[track_caller]
fn is_sent_away(socket: &mut Socket) {
    assert_eq!(socket.close(), (Some(INVALIDATED), "state invalidated".to_owned()));
}

fn a_token_is_revoked_on_all_nodes(transport: Transport) {
    let redis = Redis::start();
    let (here, there) = (server(&redis, transport), server(&redis, transport));
    let revoked = token(60, json!({"sub": "anna", "jti": "c"}));
    let of_plain = token(60, json!({"sub": "anna", "jti": "p", "channel": "members-1"}));
    let of_subscription = token(60, json!({"sub": "bert", "jti": "s", "channel": "members-1"}));
    let mut gone = [comes(&here, &revoked), comes(&here, &revoked), comes(&there, &revoked)];
    let mut plain_one = there.client_of(&format!("/raw/members-1?token={of_plain}"));
    let (mut anna, _) = connected(&there, json!({"sub": "anna", "jti": "other"}));
    let mut bert = comes(&there, &token(60, json!({"sub": "bert"})));
    let subscribe = json!({"id": 2, "subscribe": {"channel": "members-1", "token": of_subscription}});
    assert!(asks(&mut bert, &subscribe)["subscribe"].is_object());

    here.revoke(by_name("c")).expect("revoked");
    gone.iter_mut().for_each(is_sent_away);
    here.revoke(by_name("p")).expect("revoked");
    assert_eq!(plain_one.close(), (Some(1001), "come back".into()));
    here.revoke(by_name("s")).expect("revoked");
    let push = told(&mut bert)["push"].take();
    assert_eq!(
        push,
        json!({"channel": "members-1", "unsubscribe": {"code": 2502, "reason": "state invalidated"}})
    );
    assert_eq!(asks(&mut bert, &subscribe)["error"]["code"], json!(103));
    is_well(&mut bert);
    is_well(&mut anna);

    let later = server(&redis, transport);
    for server in [&here, &there, &later] {
        assert_eq!(tries(server, &revoked), INVALID);
        wait_for("a plain WebSocket to be refused", || {
            (plain(server, &of_plain) == 401).then_some(())
        });
    }
    assert_eq!(plain(&later, &of_plain), 401);
    anna.send(json!({"id": 3, "refresh": {"token": revoked}}).to_string());
    assert_eq!(anna.close().0, Some(3500));
}

fn the_tokens_of_a_user_are_revoked_on_all_nodes(transport: Transport) {
    let redis = Redis::start();
    let (here, there) = (server(&redis, transport), server(&redis, transport));
    let now = SystemTime::now();
    let seconds = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    let of = |user: &str, issued: Option<u64>| token(60, json!({"sub": user, "iat": issued}));
    let (old, unknown, new) = (
        of("anna", Some(seconds - 10)),
        of("anna", None),
        of("anna", Some(seconds + 1)),
    );
    let mut gone = [comes(&here, &old), comes(&there, &unknown)];
    let of_plain = token(60, json!({"sub": "anna", "iat": seconds - 10, "channel": "members-1"}));
    let mut plain_one = here.client_of(&format!("/raw/members-1?token={of_plain}"));
    let mut stay = [
        comes(&here, &new),
        comes(&there, &new),
        comes(&here, &of("bert", Some(seconds - 10))),
        comes(&there, &of("bert", None)),
        comes(&here, &token(60, json!({}))),
    ];
    there.revoke(Revoke::User("anna".into(), now)).expect("revoked");
    gone.iter_mut().for_each(is_sent_away);
    assert_eq!(plain_one.close(), (Some(1001), "come back".into()));
    let later = server(&redis, transport);
    for server in [&here, &there, &later] {
        assert_eq!((tries(server, &old), tries(server, &unknown)), (INVALID, INVALID));
        assert_eq!(plain(server, &of_plain), 401);
        comes(server, &new);
        comes(server, &of("bert", Some(seconds - 10)));
    }
    stay.iter_mut().for_each(is_well);
}

fn a_revocation_ends_with_its_time(transport: Transport) {
    let redis = Redis::start();
    let here = server(&redis, transport);
    let token = token(600, json!({"sub": "anna", "jti": "t"}));
    let mut anna = comes(&here, &token);
    let until = SystemTime::now() + Duration::from_secs(2);
    here.revoke(Revoke::Token("t".into(), Some(until))).expect("revoked");
    is_sent_away(&mut anna);
    assert_eq!(tries(&here, &token), INVALID);
    wait_for("the end of the revocation", || tries(&here, &token).ok());
    assert!(SystemTime::now() >= until, "not before");
    comes(&server(&redis, transport), &token);
}

fn a_revocation_without_redis_is_none(transport: Transport) {
    let mut redis = Redis::start();
    let here = server(&redis, transport);
    let token = token(600, json!({"sub": "anna", "jti": "t"}));
    let mut anna = comes(&here, &token);
    redis.kill();
    let error = here.revoke(by_name("t")).expect_err("nowhere to keep it");
    assert!(error.starts_with("the revocation is not kept"), "{error}");
    is_well(&mut anna);
    comes(&here, &token);
    redis.restart();
    wait_for("Redis to take it", || here.revoke(by_name("t")).ok());
    is_sent_away(&mut anna);

    // What Redis loses, those who know it give back.
    redis.kill();
    redis.restart();
    wait_for("a gateway that starts later to know", || {
        tries(&server(&redis, transport), &token).err()
    });
    let error = here.revoke(by_name("")).expect_err("it has no name");
    assert_eq!(error, "the name of the token is empty");
}
