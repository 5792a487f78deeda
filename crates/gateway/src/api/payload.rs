//! The payloads of requests: JSON, embedded or in base64.
//!
//! Invariant: what comes out is one JSON text without whitespace between its tokens, as clients get it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use protocol::json;
use serde_json::value::RawValue;

use super::error::ApiError;

/// What `plain` or `base64` says; the latter if both do. `None`: neither does.
pub(super) fn payload(plain: Option<&RawValue>, base64: Option<&str>, depth: usize) -> Result<Option<Bytes>, ApiError> {
    let text = match (plain, base64.filter(|base64| !base64.is_empty())) {
        (_, Some(base64)) => STANDARD.decode(base64).map_err(|_| ApiError::BadRequest)?,
        (Some(plain), None) => plain.get().into(),
        (None, None) => return Ok(None),
    };
    if std::str::from_utf8(&text).is_err() {
        return Err(ApiError::BadRequest);
    }
    let compact = json::compact(text.into(), depth).map_err(|_| ApiError::BadRequest)?;
    Ok(Some(compact))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(plain: Option<&str>, base64: Option<&str>, expected: Result<Option<&'static str>, ApiError>) {
        let plain = plain.map(|plain| serde_json::from_str::<Box<RawValue>>(plain).expect("JSON"));
        let found = payload(plain.as_deref(), base64, 2);
        assert_eq!(found, expected.map(|text| text.map(Bytes::from)));
    }

    #[test]
    fn payloads_are_json_however_they_come() {
        check(None, None, Ok(None));
        check(None, Some(""), Ok(None));
        check(Some("null"), None, Ok(Some("null")));
        check(Some("{ \"a\" : [ 1.0 ] }"), None, Ok(Some("{\"a\":[1.0]}")));
        check(Some("[[[]]]"), None, Err(ApiError::BadRequest));
        check(Some("1"), Some("WyAyIF0="), Ok(Some("[2]")));
        check(None, Some("WyAyIF0"), Err(ApiError::BadRequest));
        check(None, Some("aGk="), Err(ApiError::BadRequest));
        check(None, Some("Iv8i"), Err(ApiError::BadRequest));
    }
}
