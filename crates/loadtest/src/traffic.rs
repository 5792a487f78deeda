//! Publishing at a steady rate, and the account of what arrives.
//!
//! The schedule is fixed beforehand: message `k` is due `k / rate` after the start, whatever the server does, and the senders take
//! turns. Latency counts from when a message was due, so that one which had to wait for its turn to be sent has waited. Ends when everything
//! has arrived, or when nothing has for a while.

use std::io;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use indicatif::ProgressBar;

use crate::args::Dialect;
use crate::centrifuge::Arrival;
use crate::engine::{Engine, latencies, micros};
use crate::layout::Layout;
use crate::ledger::{Ledger, Tally};
use crate::payload::Stamp;
use crate::report::{Answers, Meter, Used};

/// Sent in one go when behind the schedule, before the receivers are read again.
const BURST: usize = 64;

/// How long to look for duplicates after the last delivery.
const LINGER: Duration = Duration::from_millis(250);

/// What is published.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Traffic {
    /// How many messages, of all senders together.
    pub(crate) messages: u64,
    /// Messages per second.
    pub(crate) rate: f64,
    /// Bytes of a message.
    pub(crate) size: usize,
    /// Gives up when nothing arrives for so long.
    pub(crate) patience: Duration,
}

impl Traffic {
    /// `rate` messages per second for `duration`, at least one.
    pub(crate) fn steady(rate: f64, duration: Duration, size: usize, patience: Duration) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "rounded, positive, saturating"
        )]
        let messages = (rate * duration.as_secs_f64()).round().max(1.0) as u64;
        Self {
            messages,
            rate,
            size,
            patience,
        }
    }
}

/// What became of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Messages handed to open connections.
    pub(crate) published: u64,
    /// Messages whose sender was no longer connected.
    pub(crate) unsent: u64,
    /// Deliveries that the published messages must come to.
    pub(crate) expected: u64,
    /// What arrived.
    pub(crate) tally: Tally,
    /// Arrivals in a channel that the sender did not publish to.
    pub(crate) misdelivered: u64,
    /// Arrivals that are not of this run.
    pub(crate) foreign: u64,
    /// What publish commands came to, in a dialect that answers them.
    pub(crate) answers: Option<Answers>,
    /// From when it was due to reading, in microseconds.
    pub(crate) latency: Histogram<u64>,
    /// How long publishing took.
    pub(crate) publishing: Duration,
    /// From the first message sent to the last delivery.
    pub(crate) elapsed: Duration,
    /// The most that a message was sent after its time.
    pub(crate) behind: Duration,
    /// CPU and memory from the first message to the last delivery.
    pub(crate) used: Used,
}

/// Publishes and receives, once. In a `dialect` with answers these are waited for too.
pub(crate) fn run(
    engine: &mut Engine,
    layout: &Layout,
    traffic: Traffic,
    dialect: Dialect,
    meter: &Meter,
    bar: &ProgressBar,
) -> io::Result<Outcome> {
    bar.set_length(traffic.messages);
    bar.set_position(0);
    let before = meter.read()?;
    let mut receipts = Receipts::new(layout, traffic.size);
    let started = receipts.started;
    let mut sending = Sending {
        numbers: vec![0; layout.connections()],
        published: 0,
        unsent: 0,
        expected: 0,
    };
    let mut behind = Duration::ZERO;
    let mut turns = 0;
    while turns < traffic.messages {
        for _ in 0..BURST {
            let due = due(started, turns, traffic.rate);
            let now = Instant::now();
            if turns == traffic.messages || now < due {
                break;
            }
            behind = behind.max(now - due);
            sending.send(engine, layout, turns, due, &receipts);
            turns += 1;
        }
        bar.set_position(turns);
        engine.turn(due(started, turns, traffic.rate), &mut |to, arrival, at| {
            receipts.note(to, arrival, at);
        })?;
    }
    let published_at = Instant::now();
    let is_answered = dialect.format().is_some();
    while (receipts.ledger.tally().delivered < sending.expected
        || (is_answered && receipts.answers.answered < sending.published))
        && receipts.last.max(published_at).elapsed() < traffic.patience
    {
        let until = Instant::now() + Duration::from_millis(100);
        engine.turn(until, &mut |to, arrival, at| receipts.note(to, arrival, at))?;
    }
    let used = meter.since(before)?;
    let elapsed = receipts.last.saturating_duration_since(started);
    let linger = Instant::now() + LINGER;
    engine.turn_until(linger, &mut |to, arrival, at| receipts.note(to, arrival, at), |_| false)?;
    Ok(Outcome {
        published: sending.published,
        unsent: sending.unsent,
        expected: sending.expected,
        tally: receipts.ledger.tally(),
        misdelivered: receipts.misdelivered,
        foreign: receipts.foreign,
        answers: is_answered.then_some(receipts.answers),
        latency: receipts.latency,
        publishing: published_at - started,
        elapsed,
        behind,
        used,
    })
}

fn due(started: Instant, turn: u64, rate: f64) -> Instant {
    #[expect(clippy::cast_precision_loss, reason = "a run has far fewer messages than 2^52")]
    let after = turn as f64 / rate;
    started + Duration::from_secs_f64(after)
}

struct Sending {
    /// For each connection, how many messages it has sent.
    numbers: Vec<u32>,
    published: u64,
    unsent: u64,
    expected: u64,
}

impl Sending {
    fn send(&mut self, engine: &mut Engine, layout: &Layout, turn: u64, due: Instant, receipts: &Receipts<'_>) {
        let senders = layout.senders();
        let turn = usize::try_from(turn).expect("a run has fewer messages than memory has bytes");
        let sender = senders[turn % senders.len()];
        let stamp = Stamp {
            run: receipts.run,
            sender: u32::try_from(sender).expect("a process has fewer than 2^32 sockets"),
            number: self.numbers[sender],
            due_at: micros(due.saturating_duration_since(receipts.started)),
        };
        if engine.publish(sender, &stamp.to_json(receipts.size)) {
            self.numbers[sender] += 1;
            self.published += 1;
            self.expected += layout.audience(sender) as u64;
        } else {
            self.unsent += 1;
        }
    }
}

/// What has arrived.
struct Receipts<'a> {
    layout: &'a Layout,
    run: u32,
    size: usize,
    started: Instant,
    last: Instant,
    ledger: Ledger,
    latency: Histogram<u64>,
    misdelivered: u64,
    foreign: u64,
    answers: Answers,
}

impl<'a> Receipts<'a> {
    fn new(layout: &'a Layout, size: usize) -> Self {
        let started = Instant::now();
        let ledger = Ledger::new(layout.streams());
        let (run, last, latency) = (rand::random(), started, latencies());
        Self {
            layout,
            run,
            size,
            started,
            last,
            ledger,
            latency,
            misdelivered: 0,
            foreign: 0,
            answers: Answers::default(),
        }
    }

    fn note(&mut self, receiver: usize, arrival: Arrival<'_>, at: Instant) {
        match arrival {
            Arrival::Publication(payload) => self.publication(receiver, payload, at),
            Arrival::Misdelivered => self.misdelivered += 1,
            Arrival::Published => self.answers.answered += 1,
            Arrival::Refused(why) => {
                self.answers.answered += 1;
                *self.answers.refused.entry(why).or_default() += 1;
            }
        }
    }

    fn publication(&mut self, receiver: usize, payload: &[u8], at: Instant) {
        let Some(stamp) = Stamp::read(payload, self.size).filter(|stamp| stamp.run == self.run) else {
            self.foreign += 1;
            return;
        };
        match self.layout.stream(receiver, stamp.sender as usize) {
            Some(stream) => self.ledger.note(stream, stamp.number),
            None => self.misdelivered += 1,
        }
        let due_at = self.started + Duration::from_micros(stamp.due_at);
        self.latency
            .saturating_record(micros(at.saturating_duration_since(due_at)));
        self.last = at;
    }
}
