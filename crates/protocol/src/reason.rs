//! What an application says in its own words when it ends something: a code and a reason.
//!
//! Does not know what ends. Invariant: every dialect can say it, and every client reads the reason as what it is.

use std::sync::Arc;

use bytes::Bytes;

use crate::json;

/// The most bytes of a reason: a Close frame has 125, and two of them are the code.
const MAX_LENGTH: usize = 123;

/// A code from `FIRST` to `LAST` and a reason, both the application's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ApplicationReason<const FIRST: u16, const LAST: u16> {
    code: u16,
    text: Arc<str>,
}

/// Why clients cannot be told a code and a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReasonError {
    /// The code means something else, or nothing.
    #[error("the code has to be from {first} to {last}")]
    Code {
        /// The first that may be.
        first: u16,
        /// The last that may be.
        last: u16,
    },
    /// Some clients look at the code only if there is a reason.
    #[error("the reason is empty")]
    Empty,
    /// A Close frame has no room for it.
    #[error("the reason is longer than {MAX_LENGTH} bytes")]
    TooLong,
    /// Some clients look for orders in it.
    #[error("the reason is a JSON text")]
    Json,
}

impl<const FIRST: u16, const LAST: u16> ApplicationReason<FIRST, LAST> {
    /// Takes a code and a reason, if they can be told.
    pub fn new(code: u16, text: &str) -> Result<Self, ReasonError> {
        if !(FIRST..=LAST).contains(&code) {
            return Err(ReasonError::Code {
                first: FIRST,
                last: LAST,
            });
        }
        if text.is_empty() {
            return Err(ReasonError::Empty);
        }
        if text.len() > MAX_LENGTH {
            return Err(ReasonError::TooLong);
        }
        if json::compact(Bytes::copy_from_slice(text.as_bytes()), usize::MAX).is_ok() {
            return Err(ReasonError::Json);
        }
        Ok(Self {
            code,
            text: text.into(),
        })
    }

    /// The number.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// In words.
    pub fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(code: u16, text: &str, expected: Result<(), ReasonError>) {
        let reason = ApplicationReason::<3000, 4999>::new(code, text);
        assert_eq!(reason.as_ref().map(|_| ()), expected.as_ref().copied());
        if let Ok(reason) = reason {
            assert_eq!((reason.code(), reason.text()), (code, text));
        }
    }

    #[test]
    fn what_clients_can_be_told() {
        let code = Err(ReasonError::Code {
            first: 3000,
            last: 4999,
        });
        check(3000, "spam", Ok(()));
        check(4999, &"ü".repeat(61), Ok(()));
        check(4000, "[not JSON", Ok(()));
        check(2999, "spam", code);
        check(5000, "spam", code);
        check(4000, "", Err(ReasonError::Empty));
        check(4000, &"ü".repeat(62), Err(ReasonError::TooLong));
        for text in [
            r#"{"reconnect":true}"#,
            "42",
            r#" "quoted" "#,
            "null",
            &"[]".replace("[]", "[[]]"),
        ] {
            check(4000, text, Err(ReasonError::Json));
        }
    }
}
