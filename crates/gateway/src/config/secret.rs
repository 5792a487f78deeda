//! Text that no log, error or page may show.

use std::fmt;

/// A password, or a URL that may contain one. Its `Debug` and `Display` show nothing of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes `text` as a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself. For use, never for showing.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked(&self.0))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&masked(&self.0), f)
    }
}

/// What stands for a hidden text.
const MASK: &str = "***";
/// Schemes of URLs of which a part may be shown.
const SCHEMES: [&str; 3] = ["redis", "rediss", "unix"];

/// What may be shown of `text`: of a URL of Redis the scheme, host, port and path; of anything else nothing.
pub(crate) fn masked(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return MASK.into();
    };
    // Any other text with "://" in it is no URL of ours, and may be a password as a whole.
    if !SCHEMES.contains(&scheme) {
        return MASK.into();
    }
    // A query can carry a password as well. A fragment means something to some Redis clients, and may be a password with a `#`.
    let cut = rest.find(['?', '#']).unwrap_or(rest.len());
    let (plain, hidden) = rest.split_at(cut);
    let tail = match hidden.bytes().next() {
        None => String::new(),
        // The rest of a password that was not percent-encoded, so what came before is a part of it too.
        Some(_) if hidden.contains('@') => return format!("{scheme}://{MASK}@{}", after_last_at(rest)),
        Some(sign) => format!("{}{MASK}", char::from(sign)),
    };
    match plain.contains('@') {
        true => format!("{scheme}://{MASK}@{}{tail}", after_last_at(plain)),
        false => format!("{scheme}://{plain}{tail}"),
    }
}

fn after_last_at(text: &str) -> &str {
    let host = text.rsplit('@').next().unwrap_or_default();
    &host[..host.find(['?', '#']).unwrap_or(host.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(masked(text), expected);
        assert_eq!(Secret::new(text).to_string(), expected);
        assert_eq!(format!("{:?}", Secret::new(text)), format!("{expected:?}"));
    }

    #[test]
    fn only_the_place_is_shown() {
        check("", "");
        check("hunter2", "***");
        check("redis://localhost:6379/2", "redis://localhost:6379/2");
        check("redis://:hunter2@localhost", "redis://***@localhost");
        check(
            "rediss://anna:hunter2@redis.example:6380/0",
            "rediss://***@redis.example:6380/0",
        );
        check("redis://:hun@ter2@localhost/1", "redis://***@localhost/1");
        check("redis://:hun/ter2@localhost/1", "redis://***@localhost/1");
        check("redis://:hun?ter2@localhost/1", "redis://***@localhost/1");
        check("redis://:hun#ter2@localhost/1?a=b", "redis://***@localhost/1");
        check("unix:///run/redis.sock?pass=hunter2", "unix:///run/redis.sock?***");
        check("hunter2 ://x", "***");
        check("hunter2://hunter3", "***");
        check("http://anna:hunter2@redis.example", "***");
    }
}
