//! The settings of the application's backend, and their values that no other section has.
//!
//! Invariant: a header of these settings can be sent as it is, and an answer for a status is one that the backend could have given itself.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use config::{Map, Value, ValueKind};
use http::{HeaderName, HeaderValue};
use protocol::CommandError;

use super::kind::{Described, FilePath, Flag, Hint, Kind, List, Maybe, Number, Parsed, Size, Span, quoted};
use super::section::section;
use super::url::{HttpUrl, Url};
use crate::disconnect::Disconnect;

/// Codes that an error may have; clients take others for something else, or for none.
pub(crate) const ERROR_CODES: RangeInclusive<u32> = 1..=1999;

section! {
    /// The application's backend, which is asked over HTTP what clients may do. Each kind of question has a URL of its own. This release does not ask it yet.
    pub struct Backend {
        /// Asked when a client connects without a token.
        connect: Option<HttpUrl> as Maybe<Url> = None;
        /// Asked when what `connect` granted ends.
        refresh: Option<HttpUrl> as Maybe<Url> = None;
        /// Asked when a client subscribes to a channel whose rule says so.
        subscribe: Option<HttpUrl> as Maybe<Url> = None;
        /// Asked when a client publishes in a channel whose rule says so.
        publish: Option<HttpUrl> as Maybe<Url> = None;
        /// Asked when what `subscribe` granted ends.
        sub_refresh: Option<HttpUrl> as Maybe<Url> = None;
        /// Asked when a client calls a method.
        rpc: Option<HttpUrl> as Maybe<Url> = None;
        /// How long a question may take in all, retries included.
        timeout: Duration as Span = Duration::from_secs(1);
        /// Headers of the client's WebSocket request that are passed on, such as Cookie.
        headers: Vec<HeaderName> as List<Parsed> = Vec::new();
        /// Headers that a client may send in its connect command instead, as browsers must. As trustworthy as the client.
        emulated_headers: Vec<HeaderName> as List<Parsed> = Vec::new();
        /// Headers that every question has, by which the backend knows who asks.
        static_headers: Vec<StaticHeader> as StaticHeaders = Vec::new();
        /// File to read these headers from, one a line, instead of `static_headers`.
        static_headers_file: Option<PathBuf> as Maybe<FilePath> = None;
        /// Certificates in PEM that are trusted for https://, instead of those of the system.
        ca_file: Option<PathBuf> as Maybe<FilePath> = None;
        /// Whether questions tell what tokens and the backend said of the connection in private (`meta`).
        include_meta: bool as Flag = false;
        /// Most questions that wait for their answer; more are not asked.
        in_flight: usize as Number = 256;
        /// How often a question is asked again after a failure. Never one that may have been heard and changes something (publish, rpc).
        retries: usize as Number = 1;
        /// So many failures in a row, and the URL is not asked for `breaker_pause`; 0 turns it off.
        breaker_failures: usize as Number = 5;
        /// How long a URL that has failed is not asked; then one question tries.
        breaker_pause: Duration as Span = Duration::from_secs(1);
        /// Most bytes of an answer.
        response_size: usize as Size = 64 << 10;
        /// Answers for statuses other than 200, which otherwise are failures.
        statuses: Vec<StatusAnswer> as Statuses = Vec::new();
    }
}

impl Backend {
    /// Every URL, by the name of its setting.
    pub(crate) fn urls(&self) -> [(&'static str, Option<&HttpUrl>); 6] {
        [
            ("connect", self.connect.as_ref()),
            ("refresh", self.refresh.as_ref()),
            ("subscribe", self.subscribe.as_ref()),
            ("publish", self.publish.as_ref()),
            ("sub_refresh", self.sub_refresh.as_ref()),
            ("rpc", self.rpc.as_ref()),
        ]
    }
}

impl Described for HeaderName {
    const EXPECTED: &'static str = "the name of a header such as \"Cookie\"";
}

/// Headers that are about one connection or one message, and so are never passed on; or that ask for an answer that we could not read.
const OURS: [&str; 14] = [
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether a header must be left to the connection that it is for.
pub(crate) fn is_ours(name: &HeaderName) -> bool {
    OURS.contains(&name.as_str()) || name.as_str().starts_with("sec-websocket-")
}

/// A header that every question has. Its value is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct StaticHeader {
    pub(crate) name: HeaderName,
    pub(crate) value: HeaderValue,
}

impl StaticHeader {
    /// Takes `Name: value` apart. What is wrong with it is told without the value.
    pub(crate) fn parse(line: &str) -> Result<Self, Hint> {
        let (name, value) = line.split_once(':').ok_or(None)?;
        let name: HeaderName = name.trim().parse().map_err(|_| None)?;
        let mut value = HeaderValue::from_str(value.trim())
            .map_err(|_| Some(format!("the value of {name} has characters that a header cannot have")))?;
        value.set_sensitive(true);
        Ok(Self { name, value })
    }

    /// The headers of a text with one a line.
    pub(crate) fn parse_lines(text: &str) -> Result<Vec<Self>, Hint> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.map(Self::parse).collect()
    }
}

impl fmt::Display for StaticHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ***", self.name)
    }
}

impl fmt::Debug for StaticHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

/// Headers with their values. A value may hold a comma, so a variable has one a line.
pub(crate) struct StaticHeaders;

impl Kind<Vec<StaticHeader>> for StaticHeaders {
    const IS_SECRET: bool = true;

    fn expected() -> String {
        "a list, each a header such as \"X-Key: KEY\", or in a variable one a line (values are never shown)".into()
    }

    fn read(value: &ValueKind) -> Result<Vec<StaticHeader>, Hint> {
        match value {
            ValueKind::Array(items) => items
                .iter()
                .map(|item| match &item.kind {
                    ValueKind::String(line) => StaticHeader::parse(line),
                    _ => Err(None),
                })
                .collect(),
            ValueKind::String(text) => StaticHeader::parse_lines(text),
            _ => Err(None),
        }
    }

    fn write(value: &Vec<StaticHeader>) -> Option<String> {
        let items: Vec<_> = value.iter().map(|header| quoted(&header.to_string())).collect();
        Some(format!("[{}]", items.join(", ")))
    }
}

/// What a status of the backend stands for.
#[derive(Debug, Clone, PartialEq)]
pub struct StatusAnswer {
    pub(crate) status: u16,
    pub(crate) answer: Refusal,
}

/// A way to say no.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Refusal {
    /// The command is not carried out.
    Error(CommandError),
    /// The connection ends.
    Disconnect(Disconnect),
}

/// Answers for statuses, as tables.
pub(crate) struct Statuses;

impl Kind<Vec<StatusAnswer>> for Statuses {
    fn expected() -> String {
        "a list (in the file only), each such as { status = 403, error = { code = 403, message = \"not a member\" } } \
         or { status = 410, disconnect = { code = 4410, reason = \"gone\" } }"
            .into()
    }

    fn read(value: &ValueKind) -> Result<Vec<StatusAnswer>, Hint> {
        match value {
            ValueKind::Array(items) => items.iter().map(status_answer).collect(),
            // A variable that is empty, as `fanfare config env` prints it.
            ValueKind::String(text) if text.is_empty() => Ok(Vec::new()),
            _ => Err(None),
        }
    }

    fn write(value: &Vec<StatusAnswer>) -> Option<String> {
        let items: Vec<_> = value.iter().map(ToString::to_string).collect();
        Some(format!("[{}]", items.join(", ")))
    }
}

impl fmt::Display for StatusAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status;
        match &self.answer {
            Refusal::Error(error) => write!(
                f,
                "{{ status = {status}, error = {{ code = {}, message = {}, temporary = {} }} }}",
                error.code(),
                quoted(&error.to_string()),
                error.is_temporary()
            ),
            Refusal::Disconnect(disconnect) => write!(
                f,
                "{{ status = {status}, disconnect = {{ code = {}, reason = {} }} }}",
                disconnect.code(),
                quoted(disconnect.reason())
            ),
        }
    }
}

fn status_answer(value: &Value) -> Result<StatusAnswer, Hint> {
    let entries = Entries::of(value, &["status", "error", "disconnect"])?;
    let status = entries.number("status")?;
    let known = u16::try_from(status).ok().filter(|status| (201..=599).contains(status));
    let status = known.ok_or_else(|| Some(format!("status {status} is not from 201 to 599")))?;
    let answer = match (entries.0.get("error"), entries.0.get("disconnect")) {
        (Some(error), None) => Refusal::Error(command_error(error)?),
        (None, Some(disconnect)) => Refusal::Disconnect(given_disconnect(disconnect)?),
        _ => return Err(Some(format!("status {status} needs either an error or a disconnect"))),
    };
    Ok(StatusAnswer { status, answer })
}

fn command_error(value: &Value) -> Result<CommandError, Hint> {
    let entries = Entries::of(value, &["code", "message", "temporary"])?;
    let is_temporary = match entries.0.get("temporary").map(|value| &value.kind) {
        None => false,
        Some(ValueKind::Boolean(is_temporary)) => *is_temporary,
        Some(_) => return Err(Some("temporary is true or false".into())),
    };
    let code = entries.number("code")?;
    if !ERROR_CODES.contains(&code) {
        return Err(Some(format!("code {code} of an error is not from 1 to 1999")));
    }
    Ok(CommandError::Application {
        code,
        message: entries.text("message")?,
        is_temporary,
    })
}

fn given_disconnect(value: &Value) -> Result<Disconnect, Hint> {
    let entries = Entries::of(value, &["code", "reason"])?;
    let (code, reason) = (entries.number("code")?, entries.text("reason")?);
    let disconnect = Disconnect::new(i64::from(code), &reason);
    match u32::from(disconnect.code()) == code && disconnect.reason() == reason {
        true => Ok(disconnect),
        false => Err(Some(
            "a disconnect has a code from 3000 to 4999, and a reason of 1 to 123 bytes that is not JSON".into(),
        )),
    }
}

/// A table whose entries are all known.
struct Entries<'a>(&'a Map<String, Value>);

impl<'a> Entries<'a> {
    fn of(value: &'a Value, known: &[&str]) -> Result<Self, Hint> {
        let ValueKind::Table(entries) = &value.kind else {
            return Err(None);
        };
        match entries.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(Some(format!("{} is not one of {}", quoted(name), known.join(", ")))),
            None => Ok(Self(entries)),
        }
    }

    fn number(&self, name: &str) -> Result<u32, Hint> {
        let number = self.0.get(name).and_then(|value| match value.kind {
            ValueKind::I64(number) => u32::try_from(number).ok(),
            _ => None,
        });
        number.ok_or_else(|| Some(format!("{name} must be a whole number")))
    }

    fn text(&self, name: &str) -> Result<String, Hint> {
        match self.0.get(name).map(|value| &value.kind) {
            Some(ValueKind::String(text)) if !text.is_empty() => Ok(text.clone()),
            _ => Err(Some(format!("{name} must be text"))),
        }
    }
}
