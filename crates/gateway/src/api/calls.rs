//! Which call does what: from a body to a result, and several of them in a batch.
//!
//! Knows nothing of HTTP. Invariant: every call is made here, in a batch or alone, so every one is counted.

use std::collections::BTreeMap;
use std::time::Instant;

use futures_util::{StreamExt, stream};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};

use super::error::{ApiError, Refusal};
use super::requests::BatchRequest;
use super::results::BatchResponse;
use super::{connections, publish, questions, tokens};
use crate::config::Call;
use crate::metrics::Outcome;
use crate::node::Node;

/// Most commands of one batch.
pub(super) const MOST_COMMANDS: usize = 1000;
/// So many commands of a parallel batch are under way at once.
const AT_ONCE: usize = 64;

/// Makes a call that is no batch. `body` is what it takes, in JSON.
pub(super) async fn make(node: &Node, call: Call, body: &[u8]) -> Result<Box<RawValue>, Refusal> {
    let began = Instant::now();
    let result = dispatch(node, call, body).await;
    let outcome = match &result {
        Ok(_) => Outcome::Ok,
        Err(Refusal::Error(ApiError::Internal)) => Outcome::Internal,
        Err(_) => Outcome::Error,
    };
    node.metrics.api.count(call, outcome, began.elapsed());
    result
}

async fn dispatch(node: &Node, call: Call, body: &[u8]) -> Result<Box<RawValue>, Refusal> {
    match call {
        Call::Publish => answer(publish::publish(node, read(body)?).await),
        Call::Broadcast => answer(publish::broadcast(node, read(body)?).await),
        Call::Subscribe => answer(connections::subscribe(node, read(body)?).await),
        Call::Unsubscribe => answer(connections::unsubscribe(node, read(body)?).await),
        Call::Disconnect => answer(connections::disconnect(node, read(body)?).await),
        Call::Refresh => answer(connections::refresh(node, read(body)?).await),
        Call::RevokeToken => answer(tokens::revoke(node, read(body)?).await),
        Call::InvalidateUserTokens => answer(tokens::invalidate(node, read(body)?).await),
        Call::Presence => answer(questions::presence(node, read(body)?).await),
        Call::PresenceStats => answer(questions::presence_stats(node, read(body)?).await),
        Call::History => answer(questions::history(node, &read(body)?)),
        Call::HistoryRemove => answer(questions::history_remove(node, &read(body)?)),
        Call::Channels => answer(questions::channels(node, read(body)?).await),
        Call::Info => answer(questions::info(node, read(body)?).await),
        Call::Rpc => answer(questions::rpc(&read(body)?)),
        // A batch in a batch.
        Call::Batch => Err(ApiError::NotFound.into()),
    }
}

/// What a call takes, which is always an object.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    // A struct could also be read from an array.
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => serde_json::from_slice(body).map_err(|_| Refusal::Malformed),
        _ => Err(Refusal::Malformed),
    }
}

fn answer(result: Result<impl Serialize, ApiError>) -> Result<Box<RawValue>, Refusal> {
    Ok(raw(&result?))
}

fn raw(value: &impl Serialize) -> Box<RawValue> {
    to_raw_value(value).expect("results have texts for names, and numbers and JSON for values")
}

/// One command of a batch.
#[derive(Debug)]
pub(super) enum Command {
    /// A call, and what it takes.
    Call(Call, Box<RawValue>),
    /// Nothing that can be done.
    Refused(ApiError),
}

impl Command {
    fn new(command: &RawValue) -> Self {
        let Ok(members) = serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(command.get()) else {
            return Self::Refused(ApiError::BadRequest);
        };
        let mut members = members.into_iter();
        match (members.next(), members.next()) {
            (Some((name, takes)), None) => match Call::named(&name) {
                Some(call) if call != Call::Batch => Self::Call(call, takes),
                _ => Self::Refused(ApiError::NotFound),
            },
            _ => Self::Refused(ApiError::BadRequest),
        }
    }
}

/// The commands of a batch, and whether they may be made at the same time.
pub(super) fn commands(request: BatchRequest) -> Result<(Vec<Command>, bool), ApiError> {
    let commands = request.commands.unwrap_or_default();
    if commands.len() > MOST_COMMANDS {
        return Err(ApiError::BadRequest);
    }
    let commands = commands.iter().map(|command| Command::new(command)).collect();
    Ok((commands, request.parallel.unwrap_or_default()))
}

/// Makes each call of a batch; one that fails stops no other.
pub(super) async fn batch(node: &Node, commands: Vec<Command>, is_parallel: bool) -> BatchResponse {
    let at_once = if is_parallel { AT_ONCE } else { 1 };
    let replies = stream::iter(commands)
        .map(|command| reply(node, command))
        .buffered(at_once);
    BatchResponse {
        replies: replies.collect().await,
    }
}

async fn reply(node: &Node, command: Command) -> BTreeMap<&'static str, Box<RawValue>> {
    let error = match command {
        Command::Refused(error) => error,
        Command::Call(call, takes) => match make(node, call, takes.get().as_bytes()).await {
            Ok(result) => return BTreeMap::from([(call.name(), result)]),
            Err(Refusal::Error(error)) => error,
            Err(Refusal::Malformed) => ApiError::BadRequest,
        },
    };
    BTreeMap::from([("error", raw(&error.object()))])
}

#[cfg(test)]
mod tests {
    use super::super::requests::{PublishRequest, SubscribeRequest};
    use super::*;

    #[test]
    fn commands_have_one_name() {
        let check = |command: &str, expected: Result<Call, ApiError>| {
            let command = serde_json::from_str::<Box<RawValue>>(command).expect("JSON");
            let found = match Command::new(&command) {
                Command::Call(call, _) => Ok(call),
                Command::Refused(error) => Err(error),
            };
            assert_eq!(found, expected, "{command}");
        };
        check(r#"{"publish":{}}"#, Ok(Call::Publish));
        check(r#"{"presence_stats":{}}"#, Ok(Call::PresenceStats));
        check(r#"{"publish":{},"info":{}}"#, Err(ApiError::BadRequest));
        check("{}", Err(ApiError::BadRequest));
        check("null", Err(ApiError::BadRequest));
        check("[1]", Err(ApiError::BadRequest));
        check(r#"{"foo":{}}"#, Err(ApiError::NotFound));
        check(r#"{"batch":{}}"#, Err(ApiError::NotFound));
    }

    #[test]
    fn what_is_left_out_or_null_is_the_same_but_for_payloads() {
        let publish: PublishRequest = read(br#"{"channel":null,"data":null,"tags":null,"more":1}"#).expect("taken");
        assert!(publish.channel.is_none() && publish.tags.is_none());
        assert_eq!(publish.data.expect("null is JSON").get(), "null");
        let subscribe: SubscribeRequest =
            read(br#" {"info":null,"override":{"presence":{"value":true},"join_leave":{}}}"#).expect("taken");
        assert!(subscribe.info.is_none());
        let overrides = subscribe.overrides.expect("there");
        assert_eq!(overrides.presence.map(|switch| switch.value), Some(true));
        assert_eq!(overrides.join_leave.map(|switch| switch.value), Some(false));
        for wrong in [
            "",
            "[]",
            "null",
            "{",
            r#"{"channel":5}"#,
            r#"{"tags":{"a":1}}"#,
            "{} {}",
        ] {
            assert_eq!(
                read::<PublishRequest>(wrong.as_bytes()).err(),
                Some(Refusal::Malformed),
                "{wrong}"
            );
        }
    }
}
