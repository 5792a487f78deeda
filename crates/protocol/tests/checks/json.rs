//! What holds for any text, by the judgement of serde_json.

use bytes::Bytes;
use protocol::json::{JsonError, compact};
use serde_json::Value;
use serde_json::value::RawValue;

/// Stays below serde_json's own limit of 128, so that only ours decides.
const MAX_DEPTH: usize = 100;

/// `compact` takes `text` exactly when it is JSON, and changes neither its value nor, a second time, itself.
///
/// serde_json checks the same grammar when it makes a `RawValue`, and has no limit of depth then. A `Value` it refuses to make of lone
/// surrogates and of numbers beyond f64, which we let pass.
pub(crate) fn text(text: &str) {
    let ours = compact(Bytes::copy_from_slice(text.as_bytes()), MAX_DEPTH);
    let theirs = serde_json::from_str::<&RawValue>(text);
    match (ours, theirs) {
        (Ok(data), Ok(_)) => {
            let raw: &RawValue = serde_json::from_slice(&data).expect("what comes out is JSON");
            assert_eq!(raw.get().len(), data.len(), "whitespace is left around it");
            assert_eq!(
                compact(data.clone(), MAX_DEPTH).as_ref(),
                Ok(&data),
                "whitespace is left in it"
            );
            if let Ok(value) = serde_json::from_str::<Value>(text) {
                assert_eq!(serde_json::from_slice::<Value>(&data).ok(), Some(value));
            }
        }
        (Err(JsonError::TooDeep { at }), _) => {
            let brackets = text[..at].bytes().filter(|byte| b"[{".contains(byte)).count();
            assert!(brackets >= MAX_DEPTH, "refused as too deep after {brackets} brackets");
        }
        (Err(_), Err(_)) => {}
        (ours, theirs) => panic!("{text:?}: {ours:?}, but serde_json says {theirs:?}"),
    }
}
