//! The Centrifuge protocol: commands with answers, and pushes, in JSON or Protobuf.
//!
//! One message carries one command or more; JSON ones stand on lines, Protobuf ones after their length. `schema.proto` has what is in them,
//! and both encodings are the same structs. Every payload is a JSON text, whatever the encoding, so that all dialects can share a channel.

mod decode;
mod delta;
mod emulation;
mod encode;
mod object;
mod one_way;
mod wire;

use bytes::Bytes;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::json;

pub(super) use decode::Commands;
pub(super) use delta::encode as encode_delta;
pub use emulation::Emulation;
pub(super) use encode::encode;
pub(super) use one_way::{decode as decode_one_way, encode as encode_one_way};

/// How the messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As lines of JSON, in text frames.
    Json,
    /// As Protobuf, each after its length, in binary frames.
    Protobuf,
}

/// JSON inside of JSON, as it stands; but a message is one line, so lines in it are joined.
fn raw_json<S: Serializer>(data: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    let has_lines = data.contains(&b'\n') || data.contains(&b'\r');
    let joined = has_lines
        .then(|| json::compact(data.clone(), usize::MAX).ok())
        .flatten();
    match serde_json::from_slice::<&RawValue>(joined.as_ref().unwrap_or(data)) {
        Ok(raw) => raw.serialize(serializer),
        // Only another program that writes to Redis can have published that.
        Err(_) => String::from_utf8_lossy(data).serialize(serializer),
    }
}

fn by_channel<S: Serializer>(subscriptions: &[wire::ServerSubscription], serializer: S) -> Result<S::Ok, S::Error> {
    let entries = subscriptions
        .iter()
        .map(|subscription| (&subscription.channel, &subscription.result));
    serializer.collect_map(entries)
}

fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
