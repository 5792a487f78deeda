//! How an event becomes a line.

use std::fmt;
use std::time::SystemTime;

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// RFC 3339 in UTC, to the millisecond.
pub(super) struct UtcMillis;

impl FormatTime for UtcMillis {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{}", humantime::format_rfc3339_millis(SystemTime::now()))
    }
}

/// One JSON object a line: `time`, `level`, `target`, `msg`, then the fields of the event in its own order.
pub(super) struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let meta = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        write!(writer, "{{\"time\":\"{time}\"")?;
        let (level, message) = (meta.level().as_str().to_lowercase(), Value::from(fields.message));
        let known = [
            ("level", level.into()),
            ("target", meta.target().into()),
            ("msg", message),
        ];
        for (name, value) in known.into_iter().chain(fields.others) {
            write!(writer, ",{}:{value}", Value::from(name))?;
        }
        writeln!(writer, "}}")
    }
}

/// The fields of an event, in its own order.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, Value)>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.others.push((field.name(), value.into()));
    }
}

impl Visit for Fields {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message = value.to_owned(),
            _ => self.put(field, value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            _ => self.put(field, format!("{value:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The line of what `log` logs, without its time.
    #[track_caller]
    fn check(log: impl FnOnce(), expected: &str) {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let layer = tracing_subscriber::fmt::layer()
            .event_format(JsonLine)
            .with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let line = String::from_utf8(buffer.0.lock().expect("no panic").clone()).expect("UTF-8");
        let value: Value = serde_json::from_str(&line).expect("JSON");
        let time = value["time"].as_str().expect("a time");
        assert_eq!(time.len(), "2026-01-01T00:00:00.000Z".len(), "{time}");
        assert!(humantime::parse_rfc3339(time).is_ok(), "{time}");
        assert_eq!(
            line.replace(&format!("\"time\":\"{time}\","), ""),
            format!("{expected}\n")
        );
    }

    #[test]
    fn lines() {
        check(
            || tracing::info!(target: "t", "hello"),
            r#"{"level":"info","target":"t","msg":"hello"}"#,
        );
        check(
            || tracing::warn!(target: "t", b = 1, a = true, d = ?[1], e = -1.5, "with {}", "fields"),
            r#"{"level":"warn","target":"t","msg":"with fields","b":1,"a":true,"d":"[1]","e":-1.5}"#,
        );
        check(
            || tracing::error!(target: "t", x = "a\"b\nc\u{1b}[31m", none = None::<u8>, "one\ntwo"),
            r#"{"level":"error","target":"t","msg":"one\ntwo","x":"a\"b\nc\u001b[31m"}"#,
        );
        check(
            || tracing::info!(target: "t", only = 1),
            r#"{"level":"info","target":"t","msg":"","only":1}"#,
        );
    }
}
