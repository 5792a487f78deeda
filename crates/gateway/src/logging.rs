//! What the process says on stdout: one event a line, JSON for machines or text for people.
//!
//! Whoever logs never waits for stdout: lines go through a bounded queue to a thread that writes them. Invariant: a panic is written
//! before the process can end because of it, unless stdout takes nothing.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal};
use std::panic;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::REVISION;
use crate::config::{Config, Log, LogFormat, RawPublish};

mod line;
mod writer;

use line::{JsonLine, UtcMillis};
use writer::{Lines, Writer};

/// What libraries say of events that we tell ourselves, or that any client can cause: only when it is serious, or somebody asks for it.
const QUIET: &str = "actix_http=off,actix_server=warn,actix_web=warn,mio=warn,rustls=warn";

/// Keeps the log going; when it is dropped, what is queued is written.
#[must_use = "the log ends when this is dropped"]
pub struct Logging {
    lines: Lines,
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.lines.flush();
    }
}

/// Why there can be no log.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter is not one.
    #[error("the filter of the log cannot be used")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Somebody has started one already.
    #[error("there is a log already")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
    /// There is no thread for it.
    #[error("the log has no thread")]
    Thread(#[from] io::Error),
}

impl Log {
    /// What is wrong with the filter, if something is.
    pub(crate) fn filter_error(&self) -> Option<String> {
        filter(&self.filter).err().map(|error| error.to_string())
    }
}

fn filter(text: &str) -> Result<EnvFilter, tracing_subscriber::filter::ParseError> {
    EnvFilter::builder().parse(format!("{QUIET},{text}"))
}

/// Starts the log, and says in it what the process runs with.
pub fn start(config: &Config) -> Result<Logging, LoggingError> {
    let lines = Writer::start(io::stdout)?;
    let is_terminal = io::stdout().is_terminal();
    let layer = tracing_subscriber::fmt::layer().with_writer(lines.clone());
    let layer = match config.log.format {
        LogFormat::Json => layer.event_format(JsonLine).boxed(),
        LogFormat::Auto if !is_terminal => layer.event_format(JsonLine).boxed(),
        LogFormat::Auto | LogFormat::Text => layer.with_timer(UtcMillis).with_ansi(is_terminal).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(filter(&config.log.filter)?))
        .try_init()?;
    log_panics(lines.clone());
    announce(config);
    Ok(Logging { lines })
}

/// Panics become lines of the log, and are written at once: the process may be about to end.
fn log_panics(lines: Lines) {
    panic::set_hook(Box::new(move |info| {
        let message = words(info.payload());
        let place = info.location().map(ToString::to_string);
        let thread = std::thread::current();
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
        tracing::error!(target: "panic", place, thread = thread.name(), backtrace, "{message}");
        lines.flush();
    }));
}

/// What a panic says.
fn words(payload: &(dyn Any + Send)) -> &str {
    let borrowed = payload.downcast_ref::<&str>().copied();
    let words = borrowed.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    words.unwrap_or("a panic without words")
}

/// The first lines: what runs, with which settings, and what is open to anyone.
fn announce(config: &Config) {
    let (version, limits) = (env!("CARGO_PKG_VERSION"), &config.limits);
    let redis = config.redis.url.as_ref().map(ToString::to_string);
    let message = match redis {
        Some(_) => "fanfare starts, joined to other processes by Redis",
        None => "fanfare starts alone: no Redis URL is set, so messages stay in the memory of this process",
    };
    tracing::info!(
        version,
        revision = REVISION,
        node = config.node.name,
        settings = config.sources.join(", "),
        bus = if redis.is_some() { "redis" } else { "memory" },
        redis,
        connections = limits.connections,
        connections_per_address = limits.connections_per_address,
        message_size = limits.message_size,
        message_rate = limits.message_rate,
        outbox = limits.outbox,
        "{message}"
    );
    if config.dev {
        tracing::warn!(
            "DEVELOPMENT MODE: every channel is open to anyone and every origin may connect; never use it in production"
        );
    }
    if let Some(channel) = &config.raw.channel {
        let publish = config.raw.publish == RawPublish::Anyone;
        tracing::info!(%channel, publish, "the bare channel is open to anyone; raw.channel = \"\" turns it off");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, parts: &[&str]) {
        let filter = filter(text).expect("a filter").to_string();
        let said: Vec<_> = filter.split(',').collect();
        assert!(parts.iter().all(|part| said.contains(part)), "{said:?}");
    }

    #[test]
    fn libraries_are_quiet_unless_somebody_asks() {
        check("info", &["info", "actix_http=off", "actix_server=warn"]);
        check(
            "info,actix_http=debug",
            &["info", "actix_http=debug", "actix_server=warn"],
        );
        check("warn,gateway=trace", &["warn", "gateway=trace", "actix_http=off"]);
    }

    #[test]
    fn what_is_no_filter_is_said() {
        for wrong in ["=,=x=", "gateway=loud", "a=b=c"] {
            let log = Log {
                filter: wrong.into(),
                ..Log::default()
            };
            assert!(log.filter_error().is_some(), "{wrong}");
        }
        assert_eq!(Log::default().filter_error(), None);
    }
}
