//! All connections are lost in the same moment and come back at once.

use crate::args::Storm;
use crate::layout::Layout;
use crate::payload;
use crate::report::Report;
use crate::run::Bench;
use crate::traffic::Traffic;

/// In a storm a client tries again until it is back or the time is over.
const ATTEMPTS: u32 = 1000;

/// Messages per second of the check afterwards.
const RATE: f64 = 5.0;

pub(crate) fn run(storm: &Storm) -> anyhow::Result<Report> {
    let layout = Layout::one_channel(storm.connections, 1);
    let mut bench = Bench::new(&storm.common, &layout, storm.path.as_deref(), None)?;
    let opened = bench.open(storm.common.in_flight, storm.common.attempts)?;
    let mut report = bench.report("storm", opened);
    for _ in 0..storm.rounds {
        if !report.problems.is_empty() {
            break;
        }
        bench.engine.drop_all();
        report.storms.push(bench.open(usize::MAX, ATTEMPTS)?);
        report.problems.extend(bench.not_open());
    }
    if storm.messages > 0 && report.problems.is_empty() {
        let (messages, patience) = (storm.messages.into(), storm.common.patience);
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
    }
    bench.finish(report)
}
