//! Where something is asked over HTTP.
//!
//! Invariant: a URL is http:// or https:// with a host and without a login, so that no log, error or `Referer` can tell a password.

use std::fmt;
use std::str::FromStr;

use config::ValueKind;
use http::Uri;

use super::kind::{Hint, Kind, quoted};

/// The URL of a place that we ask. What is shown of it leaves out its query, which may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpUrl(Uri);

/// Why a text is not such a URL. Contains nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not a URL of HTTP.
    #[error("it is not one")]
    NotHttp,
    /// It has a name or a password in it.
    #[error("a login does not belong in a URL")]
    Login,
    /// It has a part behind a `#`, which is never sent.
    #[error("it must not have a fragment (#)")]
    Fragment,
}

impl HttpUrl {
    /// The URL itself. For use, never for showing.
    pub fn uri(&self) -> &Uri {
        &self.0
    }

    /// Whether it is asked over TLS.
    pub fn is_secure(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }
}

impl FromStr for HttpUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::NotHttp)?;
        if !["http", "https"].contains(&scheme) {
            return Err(UrlError::NotHttp);
        }
        // Before it is parsed: a password may hold what makes it no URL.
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(UrlError::Login);
        }
        if rest.contains('#') {
            return Err(UrlError::Fragment);
        }
        let uri: Uri = text.parse().map_err(|_| UrlError::NotHttp)?;
        // Behind the brackets of an IPv6 address.
        let end = authority.rsplit(']').next().unwrap_or_default();
        let port = end.split_once(':').map(|(_, port)| port.parse::<u16>());
        let is_port = port.is_none_or(|port| port.is_ok_and(|port| port > 0));
        match is_port && uri.host().is_some_and(|host| !host.is_empty()) {
            true => Ok(Self(uri)),
            false => Err(UrlError::NotHttp),
        }
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        match text.split_once('?') {
            Some((place, _)) => write!(f, "{place}?***"),
            None => f.write_str(&text),
        }
    }
}

impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

/// A URL of HTTP.
pub(crate) struct Url;

impl Kind<HttpUrl> for Url {
    // What is not one may hold a login.
    const IS_SECRET: bool = true;

    fn expected() -> String {
        "a URL such as \"http://app:8000/path\" or \"https://app.example/path\"".into()
    }

    fn read(value: &ValueKind) -> Result<HttpUrl, Hint> {
        match value {
            ValueKind::String(text) => text.trim().parse().map_err(|error: UrlError| Some(error.to_string())),
            _ => Err(None),
        }
    }

    fn write(value: &HttpUrl) -> Option<String> {
        Some(quoted(&value.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, UrlError>) {
        let found = text.parse::<HttpUrl>().map(|url| url.to_string());
        assert_eq!(found, expected.map(str::to_owned), "{text}");
    }

    #[test]
    fn urls() {
        check("http://app:8000/connect", Ok("http://app:8000/connect"));
        check("https://app.example", Ok("https://app.example/"));
        check("https://[::1]:8443/a", Ok("https://[::1]:8443/a"));
        check("http://app/?key=hush", Ok("http://app/?***"));
        check("http://app/a@b", Ok("http://app/a@b"));
        check("", Err(UrlError::NotHttp));
        check("app:8000/connect", Err(UrlError::NotHttp));
        check("grpc://app/", Err(UrlError::NotHttp));
        check("http:///path", Err(UrlError::NotHttp));
        check("http://:80/", Err(UrlError::NotHttp));
        check("http://app:/", Err(UrlError::NotHttp));
        check("http://app:0/", Err(UrlError::NotHttp));
        check("http://app:99999/", Err(UrlError::NotHttp));
        check("http://a b/", Err(UrlError::NotHttp));
        check("http://ann:hush@app/", Err(UrlError::Login));
        check("http://ann:hu sh@app/", Err(UrlError::Login));
        check("http://hush@app/", Err(UrlError::Login));
        check("http://app/#a", Err(UrlError::Fragment));
        assert_eq!(
            format!("{:?}", "http://app/?key=hush".parse::<HttpUrl>().expect("a URL")),
            "\"http://app/?***\""
        );
    }
}
