//! What a run reports: figures, and what went wrong. This is what `--json` prints; `text.rs` has the words for people.
//!
//! Units are in the names; a report with an empty `problems` is a success.

mod text;

use std::collections::BTreeMap;
use std::io;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::process::Usage;
use crate::traffic::Outcome;

/// The processes to watch.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    /// The servers.
    pub(crate) servers: Vec<u32>,
    /// What runs beside them.
    pub(crate) beside: Vec<u32>,
}

/// What servers, what is beside them, and the load test itself have used.
#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize)]
pub struct Used {
    /// The `--pid` processes together.
    pub servers: Usage,
    /// The `--beside` processes together.
    pub beside: Usage,
    /// This process.
    pub own: Usage,
}

impl Meter {
    pub(crate) fn read(&self) -> io::Result<Used> {
        let own = if cfg!(target_os = "linux") {
            Usage::own()?
        } else {
            Usage::default()
        };
        Ok(Used {
            servers: Usage::of(&self.servers)?,
            beside: Usage::of(&self.beside)?,
            own,
        })
    }

    pub(crate) fn since(&self, before: Used) -> io::Result<Used> {
        let now = self.read()?;
        Ok(Used {
            servers: now.servers.since(before.servers),
            beside: now.beside.since(before.beside),
            own: now.own.since(before.own),
        })
    }
}

/// Quantiles in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantiles {
    /// The median.
    pub p50_ms: f64,
    /// 99 of 100 are below.
    pub p99_ms: f64,
    /// 999 of 1000 are below.
    pub p999_ms: f64,
    /// The highest.
    pub max_ms: f64,
}

impl Quantiles {
    pub(crate) fn of(microseconds: &Histogram<u64>) -> Self {
        let at = |quantile| millis(microseconds.value_at_quantile(quantile));
        Self {
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: millis(microseconds.max()),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds within an hour")]
fn millis(microseconds: u64) -> f64 {
    microseconds as f64 / 1000.0
}

/// What a run has found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The test: `fanout`, `chat`, `idle` or `storm`.
    pub mode: &'static str,
    /// How many connections were asked for.
    pub connections: usize,
    /// How they were opened.
    pub opened: Opened,
    /// What was published and what arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic: Option<TrafficReport>,
    /// What a connection costs in memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// How reconnecting went, one entry a round.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub storms: Vec<Opened>,
    /// What became of the connections that stopped reading.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stalled: Option<Stalled>,
    /// Open connections that ended by themselves: reasons and counts.
    pub ended: BTreeMap<String, u64>,
    /// What must not be, in words; empty is success.
    pub problems: Vec<String>,
}

/// How connections were opened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Opened {
    /// How many were open in the end.
    pub open: usize,
    /// From the first attempt to the last that was open.
    pub seconds: f64,
    /// From connecting to 101, for each attempt that succeeded.
    pub handshake: Quantiles,
    /// How Centrifuge clients subscribed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscribed: Option<Subscribed>,
    /// Attempts that failed: reasons and counts.
    pub refused: BTreeMap<String, u64>,
}

/// How Centrifuge clients subscribed, each in one message with its connect command.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Subscribed {
    /// From the first connect command to the last answer to a subscribe command.
    pub seconds: f64,
    /// The same for each client.
    pub latency: Quantiles,
}

/// Connections that stopped reading after the handshake, until all was published.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stalled {
    /// How many there were.
    pub connections: usize,
    /// The code that means this in their dialect.
    #[serde(skip)]
    pub slow_code: u16,
    /// How many of them the server has closed as too slow.
    pub closed_as_slow: u64,
    /// How those that ended did: reasons and counts.
    pub ended: BTreeMap<String, u64>,
}

/// What was published and what arrived.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrafficReport {
    /// Messages sent.
    pub published: u64,
    /// Deliveries that these must come to.
    pub expected: u64,
    /// Deliveries that arrived, each counted once.
    pub deliveries: u64,
    /// Deliveries over the time from the first message to the last delivery.
    pub deliveries_per_second: f64,
    /// How long publishing took.
    pub publishing_seconds: f64,
    /// From the first message to the last delivery.
    pub elapsed_seconds: f64,
    /// The most that a message was sent after its time: the load test itself was late.
    pub behind_ms: f64,
    /// Never arrived.
    pub lost: u64,
    /// Arrived again.
    pub duplicated: u64,
    /// Arrived after a later one of the same sender.
    pub reordered: u64,
    /// Arrived in another channel.
    pub misdelivered: u64,
    /// Not sent because the sender's connection had ended.
    pub unsent: u64,
    /// Arrived, but was not of this run. No fault by itself.
    pub foreign: u64,
    /// What publish commands came to; only Centrifuge clients get answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers: Option<Answers>,
    /// From when a message was due to reading: what it waited for its sender counts too.
    pub latency: Quantiles,
    /// CPU and memory from the first message to the last delivery.
    pub used: Used,
    /// CPU seconds of the servers for a million deliveries.
    pub server_cpu_per_million: f64,
    /// CPU seconds of what is beside them for a million deliveries.
    pub beside_cpu_per_million: f64,
}

/// What publish commands came to.
#[derive(Debug, Default, Clone, PartialEq, Serialize)]
pub struct Answers {
    /// Answers, good or bad.
    pub answered: u64,
    /// Why commands failed, and how often.
    pub refused: BTreeMap<String, u64>,
}

/// Resident memory of the servers.
#[derive(Debug, Default, Clone, PartialEq, Serialize)]
pub struct Memory {
    /// Before the first connection, in bytes.
    pub before: u64,
    /// With all connections open, in bytes.
    pub open: u64,
    /// The growth for each of them, in KiB.
    pub kib_per_connection: f64,
    /// The same after everybody had got messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kib_per_connection_after_traffic: Option<f64>,
    /// After each round, all connections closed, in bytes.
    pub closed: Vec<u64>,
}

impl TrafficReport {
    pub(crate) fn of(outcome: &Outcome) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "deliveries of a run are far below 2^52")]
        let deliveries = outcome.tally.delivered as f64;
        let per_million = |seconds: f64| {
            if deliveries > 0.0 {
                seconds * 1e6 / deliveries
            } else {
                0.0
            }
        };
        let elapsed = outcome.elapsed.as_secs_f64();
        Self {
            published: outcome.published,
            expected: outcome.expected,
            deliveries: outcome.tally.delivered,
            deliveries_per_second: if elapsed > 0.0 { deliveries / elapsed } else { 0.0 },
            publishing_seconds: outcome.publishing.as_secs_f64(),
            elapsed_seconds: elapsed,
            behind_ms: outcome.behind.as_secs_f64() * 1000.0,
            lost: outcome.expected.saturating_sub(outcome.tally.delivered),
            duplicated: outcome.tally.duplicated,
            reordered: outcome.tally.reordered,
            misdelivered: outcome.misdelivered,
            unsent: outcome.unsent,
            foreign: outcome.foreign,
            answers: outcome.answers.clone(),
            latency: Quantiles::of(&outcome.latency),
            used: outcome.used,
            server_cpu_per_million: per_million(outcome.used.servers.cpu()),
            beside_cpu_per_million: per_million(outcome.used.beside.cpu()),
        }
    }

    /// What must not be, in words.
    pub(crate) fn problems(&self) -> Vec<String> {
        let counts = [
            (self.lost, "lost"),
            (self.duplicated, "duplicated"),
            (self.reordered, "reordered"),
            (self.misdelivered, "delivered in another channel"),
            (self.unsent, "not sent because the sender was disconnected"),
        ];
        let mut problems: Vec<_> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        if let Some(Answers { answered, refused }) = &self.answers {
            if *answered != self.published {
                problems.push(format!("{answered} answers to {} publish commands", self.published));
            }
            problems.extend(
                refused
                    .iter()
                    .map(|(why, count)| format!("{count} publish commands failed ({why})")),
            );
        }
        problems
    }
}

/// Growth for each of `connections`, in KiB.
#[expect(clippy::cast_precision_loss, reason = "bytes of memory are far below 2^52")]
pub(crate) fn kib_each(before: u64, after: u64, connections: usize) -> f64 {
    (after as f64 - before as f64) / 1024.0 / connections.max(1) as f64
}
