//! What connections cost in memory while nothing happens, and what is left of it when they are gone.

use anyhow::Context;

use crate::args::{Channels, Idle};
use crate::layout::Layout;
use crate::payload;
use crate::report::{Memory, Report, kib_each};
use crate::run::Bench;
use crate::traffic::Traffic;

/// Messages per second of the traffic before memory is read again: slow enough for a server of 10,000 subscribers on one core.
const RATE: f64 = 5.0;

/// The path of a raw client's own channel, without its number.
const OWN_PATH: &str = "/raw/own-";

pub(crate) fn run(idle: &Idle) -> anyhow::Result<Report> {
    anyhow::ensure!(!idle.common.pid.is_empty(), "idle measures memory: it needs --pid");
    anyhow::ensure!(
        idle.messages == 0 || idle.channels == Channels::One,
        "--messages go to everybody in one channel"
    );
    let path = idle.path.as_deref();
    let (layout, room) = match idle.channels {
        Channels::One => (Layout::one_channel(idle.connections, 1), None),
        Channels::Own => (Layout::own_channels(idle.connections), Some(path.unwrap_or(OWN_PATH))),
    };
    let mut bench = Bench::new(&idle.common, &layout, path, room)?;
    let mut memory = Memory {
        before: resident(&bench)?,
        ..Memory::default()
    };

    let opened = bench.open(idle.common.in_flight, idle.common.attempts)?;
    let mut report = bench.report("idle", opened);
    if !report.problems.is_empty() {
        return bench.finish(report); // memory for each of another number of connections would mislead
    }
    bench.hold(idle.hold)?;
    memory.open = resident(&bench)?;
    memory.kib_per_connection = kib_each(memory.before, memory.open, idle.connections);

    if idle.messages > 0 {
        let messages = idle.messages.into();
        let patience = idle.common.patience;
        let traffic = bench.publish(
            &layout,
            Traffic {
                messages,
                rate: RATE,
                size: payload::MINIMUM,
                patience,
            },
        )?;
        report.problems.extend(traffic.problems());
        report.traffic = Some(traffic);
        bench.hold(idle.hold)?;
        memory.kib_per_connection_after_traffic = Some(kib_each(memory.before, resident(&bench)?, idle.connections));
    }

    for round in 0..idle.rounds {
        if round > 0 {
            bench.open(idle.common.in_flight, idle.common.attempts)?;
            report.problems.extend(bench.not_open());
        }
        if !report.problems.is_empty() {
            break; // what less than all of them leave behind would be compared with what all of them do
        }
        bench.close()?;
        bench.hold(idle.hold)?;
        memory.closed.push(resident(&bench)?);
    }
    report.memory = Some(memory);
    bench.finish(report)
}

fn resident(bench: &Bench<'_>) -> anyhow::Result<u64> {
    Ok(bench.meter.read().context("a server has ended")?.servers.resident)
}
