//! A report in words: one line for each thing, its name before its figures.

use std::fmt;

use super::{Answers, Memory, Opened, Quantiles, Report, Stalled, Subscribed, TrafficReport};
use crate::process::Usage;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        row(
            f,
            self.mode,
            format_args!("{} of {} connections", self.opened.open, self.connections),
        )?;
        write_opened(f, "opened", &self.opened)?;
        for storm in &self.storms {
            write_opened(f, "all back", storm)?;
        }
        if let Some(traffic) = &self.traffic {
            write_traffic(f, traffic)?;
        }
        if let Some(memory) = &self.memory {
            write_memory(f, memory)?;
        }
        if let Some(stalled) = &self.stalled {
            write_stalled(f, stalled)?;
        }
        for (reason, count) in &self.ended {
            row(f, "ended", format_args!("{count} x {reason}"))?;
        }
        match self.problems.as_slice() {
            [] => row(f, "result", format_args!("ok")),
            problems => row(f, "result", format_args!("FAILED: {}", problems.join(", "))),
        }
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, value: fmt::Arguments<'_>) -> fmt::Result {
    writeln!(f, "{name:>12}  {value}")
}

fn write_opened(f: &mut fmt::Formatter<'_>, name: &str, opened: &Opened) -> fmt::Result {
    row(
        f,
        name,
        format_args!(
            "{} in {:.2} s, handshake {}",
            opened.open, opened.seconds, opened.handshake
        ),
    )?;
    if let Some(Subscribed { seconds, latency }) = &opened.subscribed {
        row(f, "subscribed", format_args!("in {seconds:.2} s, each {latency}"))?;
    }
    for (reason, count) in &opened.refused {
        row(f, "refused", format_args!("{count} x {reason}"))?;
    }
    Ok(())
}

impl fmt::Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            p50_ms,
            p99_ms,
            p999_ms,
            max_ms,
        } = self;
        write!(
            f,
            "p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms, p999 {p999_ms:.2} ms, max {max_ms:.2} ms"
        )
    }
}

fn write_traffic(f: &mut fmt::Formatter<'_>, traffic: &TrafficReport) -> fmt::Result {
    let TrafficReport {
        published,
        deliveries,
        expected,
        lost,
        duplicated,
        reordered,
        used,
        ..
    } = traffic;
    row(
        f,
        "published",
        format_args!(
            "{published} in {:.2} s (at most {:.1} ms late)",
            traffic.publishing_seconds, traffic.behind_ms
        ),
    )?;
    row(
        f,
        "delivered",
        format_args!(
            "{deliveries} of {expected} in {:.2} s, {:.0} a second",
            traffic.elapsed_seconds, traffic.deliveries_per_second
        ),
    )?;
    row(
        f,
        "faults",
        format_args!("{lost} lost, {duplicated} duplicated, {reordered} reordered"),
    )?;
    if let Some(Answers { answered, refused }) = &traffic.answers {
        let failed: u64 = refused.values().sum();
        row(
            f,
            "answered",
            format_args!("{answered} of {published}, {failed} failed"),
        )?;
    }
    if traffic.foreign > 0 {
        row(
            f,
            "foreign",
            format_args!("{} messages that are not of this run", traffic.foreign),
        )?;
    }
    row(f, "latency", format_args!("{}", traffic.latency))?;
    write_cpu(f, "server CPU", used.servers, traffic.server_cpu_per_million)?;
    write_cpu(f, "beside CPU", used.beside, traffic.beside_cpu_per_million)?;
    let share = 100.0 * used.own.cpu() / traffic.elapsed_seconds.max(0.001);
    let warning = if share > 85.0 {
        ": the load test itself may be the bottleneck"
    } else {
        ""
    };
    row(
        f,
        "own CPU",
        format_args!("{:.2} s, {share:.0} % of one core{warning}", used.own.cpu()),
    )
}

fn write_stalled(f: &mut fmt::Formatter<'_>, stalled: &Stalled) -> fmt::Result {
    let Stalled {
        connections,
        slow_code,
        closed_as_slow,
        ended,
    } = stalled;
    row(
        f,
        "stalled",
        format_args!("{closed_as_slow} of {connections} closed with {slow_code}, as too slow"),
    )?;
    for (reason, count) in ended {
        row(f, "", format_args!("{count} x {reason}"))?;
    }
    Ok(())
}

/// Nothing for processes that were not watched.
fn write_cpu(f: &mut fmt::Formatter<'_>, name: &str, used: Usage, per_million: f64) -> fmt::Result {
    if used.resident == 0 {
        return Ok(());
    }
    let Usage { user, kernel, .. } = used;
    let rss = mib(used.resident);
    row(
        f,
        name,
        format_args!("{per_million:.2} s per million ({user:.2} user + {kernel:.2} kernel), RSS {rss:.1} MiB"),
    )
}

fn write_memory(f: &mut fmt::Formatter<'_>, memory: &Memory) -> fmt::Result {
    row(
        f,
        "memory",
        format_args!(
            "{:.2} KiB a connection (RSS {:.1} -> {:.1} MiB)",
            memory.kib_per_connection,
            mib(memory.before),
            mib(memory.open)
        ),
    )?;
    if let Some(kib) = memory.kib_per_connection_after_traffic {
        row(f, "", format_args!("{kib:.2} KiB a connection after traffic"))?;
    }
    for (round, closed) in memory.closed.iter().enumerate() {
        row(
            f,
            "closed",
            format_args!("RSS {:.1} MiB after round {}", mib(*closed), round + 1),
        )?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "bytes of memory are far below 2^52")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
