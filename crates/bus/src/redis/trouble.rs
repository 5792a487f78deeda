//! What can go wrong with a connection to Redis, in words for the person who has to mend it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use ::redis::RedisError;

use super::resp::RespError;

/// Why a connection could not be made, or ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("the name {host} cannot be resolved: {source}")]
    Resolve { host: String, source: io::Error },
    #[error("the name {host} has no address now")]
    NoAddress { host: String },
    #[error("no connection to {address}: {source}")]
    Connect { address: SocketAddr, source: io::Error },
    #[error("no connection to {address} within {patience:?}")]
    ConnectTimeout { address: SocketAddr, patience: Duration },
    #[error("no TLS with {host}: {source}")]
    Tls { host: String, source: io::Error },
    #[error("Redis refuses {what}: {reason}")]
    Refused { what: &'static str, reason: String },
    #[error("Redis closed the connection")]
    Closed,
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("Redis sent what it must not: {0}")]
    Protocol(#[from] RespError),
    #[error("Redis sent an answer that nobody asked for")]
    Unexpected,
    #[error("Redis does not answer within {0:?}")]
    NoAnswer(Duration),
    #[error("the link is silent: Redis takes publications, but nothing came back within {0:?}")]
    Silent(Duration),
    #[error("the link is deaf: Redis answers on it, but does not deliver")]
    Deaf,
    #[error("what is published does not come back on a new link")]
    Unheard,
    #[error("the publishing connection: {}", error_words(.0))]
    Publisher(RedisError),
}

/// What Redis refuses when it takes no client, or not this one.
pub(crate) const CLIENT: &str = "this client";

/// Whether Redis refuses a command only because it forbids or does not know it.
pub(crate) fn is_command_forbidden(reason: &str) -> bool {
    reason.starts_with("NOPERM ") || reason.starts_with("ERR unknown ")
}

/// Words of Redis, short and on one line; they are as little trusted as anything else from there.
pub(crate) fn words(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(300)]);
    text.chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect()
}

/// A refusal as Redis words it: the code, and the rest.
pub(crate) fn told(code: &str, details: Option<&str>) -> String {
    words(format!("{code} {}", details.unwrap_or_default()).trim_end().as_bytes())
}

/// An error of the Redis library, with the code that Redis gave it if it comes from there.
pub(crate) fn error_words(error: &RedisError) -> String {
    match error.code() {
        Some(code) => told(code, error.detail()),
        None => words(error.to_string().as_bytes()),
    }
}
