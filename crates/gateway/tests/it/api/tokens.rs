//! Tokens revoked by the server API.

use serde_json::json;

use super::{Pair, client_of, error_code};
use crate::support::Socket;
use crate::tokens::token;

#[track_caller]
fn connects(pair: &Pair, token: &str) -> Result<Socket, Option<u16>> {
    let mut socket = pair.other.client_of("/connection/websocket");
    socket.send(json!({"id": 1, "connect": {"token": token}}).to_string());
    match socket.next() {
        Some(protocol::frame::Item::Message(_)) => Ok(socket),
        Some(protocol::frame::Item::Close { code, .. }) => Err(code),
        other => panic!("{other:?}"),
    }
}

#[test]
fn tokens_are_revoked_everywhere() {
    let pair = Pair::start();
    let named = token(600, json!({"sub": "anna", "jti": "t1"}));
    let mut anna = connects(&pair, &named).expect("a good token");
    let (mut bert, _) = client_of(&pair.other, "bert");
    assert_eq!(pair.call("revoke_token", &json!({"uid": "t1"})), json!({}));
    assert_eq!(anna.close().0, Some(3014));
    assert_eq!(connects(&pair, &named).err(), Some(Some(3500)));
    assert!(connects(&pair, &token(600, json!({"sub": "anna", "jti": "t2"}))).is_ok());

    assert_eq!(pair.call("invalidate_user_tokens", &json!({"user": "bert"})), json!({}));
    assert_eq!(bert.close().0, Some(3014));

    for (method, takes) in [
        ("revoke_token", json!({})),
        ("revoke_token", json!({"uid": "t", "expire_at": -1})),
        ("revoke_token", json!({"uid": "x".repeat(2000)})),
        ("invalidate_user_tokens", json!({})),
        ("invalidate_user_tokens", json!({"user": ""})),
    ] {
        assert_eq!(error_code(&pair.asked, method, &takes), 107, "{method} {takes}");
    }
}
