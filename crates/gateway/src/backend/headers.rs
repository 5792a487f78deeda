//! Which headers a question has.
//!
//! Invariant: nothing that a client sent gets through unless its name is in the list for where it was sent.

use std::collections::BTreeMap;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config;

/// What questions have for headers, by the settings.
#[derive(Debug)]
pub(super) struct Headers {
    own: HeaderMap,
    emulated: Vec<HeaderName>,
    real: Vec<HeaderName>,
}

/// Headers of a client's request that are passed on. Nothing else of the request is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RealHeaders(HeaderMap);

impl Headers {
    pub(super) fn new(settings: &config::Backend) -> Self {
        let mut own = HeaderMap::new();
        for header in &settings.static_headers {
            own.append(header.name.clone(), header.value.clone());
        }
        Self {
            own,
            emulated: settings.emulated_headers.clone(),
            real: settings.headers.clone(),
        }
    }

    /// Of `request`, the headers that are passed on. Values that no header can have are left out.
    pub(super) fn keep<'a>(&self, request: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> RealHeaders {
        let mut kept = HeaderMap::new();
        for (name, value) in request {
            let listed = self
                .real
                .iter()
                .find(|listed| name.eq_ignore_ascii_case(listed.as_str()));
            if let (Some(name), Ok(mut value)) = (listed, HeaderValue::from_bytes(value)) {
                // A cookie is as good as a password: no `Debug` shows it.
                value.set_sensitive(true);
                kept.append(name, value);
            }
        }
        RealHeaders(kept)
    }

    /// Those of one question: our own, over them those that the client sent in its protocol, and over these those of its request.
    pub(super) fn of_question(&self, real: &RealHeaders, emulated: &BTreeMap<String, String>) -> HeaderMap {
        let mut headers = self.own.clone();
        for (name, value) in emulated {
            let listed = self
                .emulated
                .iter()
                .find(|listed| name.eq_ignore_ascii_case(listed.as_str()));
            if let (Some(name), Ok(value)) = (listed, HeaderValue::from_str(value)) {
                headers.insert(name, value);
            }
        }
        for name in real.0.keys() {
            headers.remove(name);
            for value in real.0.get_all(name) {
                headers.append(name, value.clone());
            }
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::StaticHeader;

    /// Headers of a question as lines.
    #[track_caller]
    fn check(real: &[(&str, &[u8])], emulated: &[(&str, &str)], expected: &[&str]) {
        let names = |names: &[&str]| names.iter().map(|name| name.parse().expect("a name")).collect();
        let own = ["X-Key: k", "X-Role: ours"].map(|line| StaticHeader::parse(line).expect("a header"));
        let headers = Headers::new(&config::Backend {
            static_headers: own.into(),
            headers: names(&["Cookie", "x-real", "X-Both"]),
            emulated_headers: names(&["Authorization", "x-both", "x-role"]),
            ..config::Backend::default()
        });
        let real = headers.keep(real.iter().copied());
        let emulated = emulated
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let found = headers.of_question(&real, &emulated.collect());
        let mut lines: Vec<_> = found
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or("?")))
            .collect();
        lines.sort();
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_header_of_a_client_needs_to_be_listed_where_it_was_sent() {
        const JSON: &str = "content-type: application/json";
        check(&[], &[], &[JSON, "x-key: k", "x-role: ours"]);
        check(
            &[
                ("cookie", b"a=1"),
                ("COOKIE", b"b=2"),
                ("X-Other", b"no"),
                ("authorization", b"no"),
            ],
            &[
                ("cookie", "no"),
                ("AUTHORIZATION", "yes"),
                ("x-other", "no"),
                ("X-Real", "no"),
            ],
            &[
                "authorization: yes",
                JSON,
                "cookie: a=1",
                "cookie: b=2",
                "x-key: k",
                "x-role: ours",
            ],
        );
        // The later wins.
        check(
            &[("x-both", b"real")],
            &[("x-both", "emulated"), ("x-role", "theirs"), ("content-type", "no")],
            &[JSON, "x-both: real", "x-key: k", "x-role: theirs"],
        );
        // Nothing gets in behind a line break.
        check(
            &[("cookie", b"a\r\nx-key: forged")],
            &[("authorization", "a\r\nx-key: forged")],
            &[JSON, "x-key: k", "x-role: ours"],
        );
    }
}
