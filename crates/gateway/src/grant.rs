//! What an application lets a client have: who grants it differs (a token, or the backend), what is granted does not.
//!
//! Does not know who grants. Invariant: a payload is JSON without whitespace between its tokens, nested no deeper than [`DEEPEST`], unless a
//! token gave it as bytes.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use protocol::json::JsonError;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What is later than this is this: the year 9999, which every format of dates can write.
const LATEST: Duration = Duration::from_secs(253_402_300_799);
/// Deepest nesting of JSON in a payload.
pub(crate) const DEEPEST: usize = 128;

/// What comes with one subscription.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Grant {
    /// What others in the channel may see of the client.
    pub(crate) info: Option<Bytes>,
    /// What the client is told when it has subscribed.
    pub(crate) data: Option<Bytes>,
    /// What is otherwise than the channel's rule says.
    pub(crate) overrides: Overrides,
}

/// What is otherwise than the rule of a channel says; `None` leaves it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Overrides {
    /// Whether the client is counted as present.
    #[serde(with = "switch", skip_serializing_if = "Option::is_none")]
    pub(crate) presence: Option<bool>,
    /// Whether others are told that it came and went.
    #[serde(with = "switch", skip_serializing_if = "Option::is_none")]
    pub(crate) join_leave: Option<bool>,
    /// Whether what it missed is sent when it comes back, without its asking.
    #[serde(with = "switch", skip_serializing_if = "Option::is_none")]
    pub(crate) force_recovery: Option<bool>,
    /// Whether losses are found, without its asking.
    #[serde(with = "switch", skip_serializing_if = "Option::is_none")]
    pub(crate) force_positioning: Option<bool>,
    /// Whether it is told who comes and goes, without its asking.
    #[serde(with = "switch", skip_serializing_if = "Option::is_none")]
    pub(crate) force_push_join_leave: Option<bool>,
}

/// `{"value": true}`, as overrides are written.
mod switch {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize, Serialize)]
    struct Switch {
        value: bool,
    }

    pub(super) fn serialize<S: Serializer>(value: &Option<bool>, to: S) -> Result<S::Ok, S::Error> {
        value.map(|value| Switch { value }).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<bool>, D::Error> {
        Option::<Switch>::deserialize(from).map(|switch| switch.map(|switch| switch.value))
    }
}

/// A payload without the whitespace between its tokens: a dialect may end its messages with a line break.
pub(crate) fn compact(json: Box<RawValue>) -> Result<Bytes, JsonError> {
    protocol::json::compact(Bytes::from(String::from(Box::<str>::from(json))), DEEPEST)
}

/// A number of seconds since 1970 as a time that can be calculated with.
pub(crate) fn time(seconds: f64) -> SystemTime {
    let since = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(LATEST);
    SystemTime::UNIX_EPOCH + since.min(LATEST)
}
