//! Clients that only hear: one command when they come, and then pushes without a wrapping.
//!
//! In JSON alone. Invariant: the first push says that the client is known, and nothing else is an answer.

use bytes::Bytes;

use super::decode::connect;
use super::encode::{carry, reply};
use super::wire;
use crate::dialect::Carrier;
use crate::{Command, DecodeError, Event, Request, frame};

/// The command of a client that has come, which is a connect command without its wrapping; nothing, or null, is one with nothing to say.
pub(crate) fn decode(text: &[u8], max_depth: usize) -> Result<Request, DecodeError> {
    let malformed = || DecodeError::Malformed("not what a client says who only hears");
    let wire = match text.trim_ascii() {
        b"" | b"null" => wire::ConnectRequest::default(),
        _ => serde_json::from_slice(text).map_err(|_| malformed())?,
    };
    let connect = connect(wire, max_depth).map_err(|_| malformed())?;
    Ok(Request {
        id: 1,
        command: Ok(Command::Connect(Box::new(connect))),
    })
}

/// What such a client is told of `event`; empty if there are no words for it.
pub(crate) fn encode(carrier: Carrier, event: &Event<'_>) -> Bytes {
    let said = reply(event);
    let push = match (said.push, said.connect, said.error) {
        (Some(push), ..) => push,
        (None, Some(connect), _) => wire::Push {
            connect: Some(known(connect)),
            ..Default::default()
        },
        (None, None, None) if matches!(event, Event::Ping) => wire::Push::default(),
        _ => return Bytes::new(),
    };
    // Nothing in the structs can fail to be JSON: keys are strings, and payloads are checked.
    let told = carry(carrier, &serde_json::to_vec(&push).unwrap_or_else(|_| b"{}".to_vec()));
    match event {
        // Nothing that such a client says is heard, but its WebSocket answers.
        Event::Ping if carrier == Carrier::Frames => [told, frame::ping(b"")].concat().into(),
        Event::Closing(close) if carrier == Carrier::Frames => [told, frame::close(close.centrifuge())].concat().into(),
        _ => told,
    }
}

fn known(connect: wire::ConnectResult) -> wire::Connect {
    wire::Connect {
        client: connect.client,
        version: connect.version,
        data: connect.data,
        subs: connect.subs,
        expires: connect.expires,
        ttl: connect.ttl,
        ping: connect.ping,
        // Nothing that such a client says is heard.
        pong: false,
        session: connect.session,
        node: connect.node,
    }
}
