//! That the application wants a connection to end, in a form that every client understands.
//!
//! Libraries of clients read other things into a close code out of range, and into a reason that is empty or JSON. The wish to be rid of a
//! client counts more than its form: what is wrong is put right, and never makes it a failure. Invariant: the code is from 3000 to 4999, and
//! the reason has 1 to 123 bytes, as a Close frame has room for, and is not JSON.

use protocol::{ApplicationReason, Close};
use serde::de::IgnoredAny;

/// Most bytes of a reason in a Close frame (RFC 6455, section 5.5).
const LONGEST_REASON: usize = 123;
/// Stands for a code out of range; clients do not come back after it.
const FORCED: u16 = 3503;
/// Stands for an empty reason.
const NO_REASON: &str = "force disconnect";

/// An end that the application wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Disconnect {
    code: u16,
    reason: String,
}

impl Disconnect {
    /// With this code and reason, or what is nearest to them: 3503 for a code out of range, `force disconnect` for an empty reason, the
    /// beginning of one that is too long, and a full stop behind one that is JSON.
    pub(crate) fn new(code: i64, reason: &str) -> Self {
        let is_json = |text: &str| serde_json::from_str::<IgnoredAny>(text).is_ok();
        let mut reason = match reason.trim() {
            "" => NO_REASON.to_owned(),
            _ => beginning(reason, LONGEST_REASON).to_owned(),
        };
        if is_json(&reason) {
            reason = format!("{}.", beginning(&reason, LONGEST_REASON - 1));
        }
        let code = u16::try_from(code).ok().filter(|code| (3000..=4999).contains(code));
        Self {
            code: code.unwrap_or(FORCED),
            reason,
        }
    }

    /// The code of the Close frame.
    pub(crate) fn code(&self) -> u16 {
        self.code
    }

    /// Its reason.
    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }

    /// How the connection is closed.
    pub(crate) fn close(&self) -> Close {
        ApplicationReason::new(self.code, &self.reason).map_or(Close::ByServer, Close::Application)
    }
}

/// At most `most` bytes of `text`, and whole characters.
fn beginning(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(code: i64, reason: &str, expected: (u16, &str)) {
        let disconnect = Disconnect::new(code, reason);
        assert_eq!((disconnect.code(), disconnect.reason()), expected);
        assert_eq!(
            Disconnect::new(code, disconnect.reason()),
            disconnect,
            "what was put right stays"
        );
    }

    #[test]
    fn what_clients_would_misread_is_put_right() {
        check(4500, "banned", (4500, "banned"));
        check(3000, "bye", (3000, "bye"));
        check(4999, "bye", (4999, "bye"));
        for code in [0, -1, 1000, 2999, 5000, 65_536 + 4000, i64::MAX] {
            check(code, "bye", (3503, "bye"));
        }
        check(4000, "", (4000, "force disconnect"));
        check(4000, " \n", (4000, "force disconnect"));
        check(4000, "true", (4000, "true."));
        check(4000, "42", (4000, "42."));
        check(4000, "\"bye\"", (4000, "\"bye\"."));
        check(4000, "{\"a\":1} ", (4000, "{\"a\":1} ."));
        check(4000, &"x".repeat(123), (4000, &"x".repeat(123)));
        check(4000, &"x".repeat(124), (4000, &"x".repeat(123)));
        check(4000, &"é".repeat(62), (4000, &"é".repeat(61)));
        check(4000, &"1".repeat(123), (4000, &format!("{}.", "1".repeat(122))));
    }
}
