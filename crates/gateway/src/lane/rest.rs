//! How long a busy loop rests before it looks for more work, so that one wake-up serves several messages.
//!
//! Waking a sleeping thread costs the machine about as much as two deliveries. A loop with little to do is woken for each message at once, and
//! so is one whose publications go to many, because they pay for that; a busy one whose publications go to few rests a moment between its
//! turns and finds several waiting. Decides only; the loop sleeps. Invariant: below [`BUSY`] there is no rest, above it none longer than
//! [`LONGEST`].

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Pieces of work a second from which a loop is busy.
const BUSY: f64 = 1000.0;
/// So many pieces of work should wait at the end of a rest.
const WORTH: f64 = 8.0;
/// Nobody waits longer for a busy loop.
const LONGEST: Duration = Duration::from_millis(2);
/// A shorter rest costs more than it saves.
const SHORTEST: Duration = Duration::from_micros(200);
/// So many deliveries make up for what it costs to wake a lane for a publication.
const PAID: f64 = 3.5;
/// How long the averages of the rates look back, in seconds.
const MEMORY: f64 = 0.05;

/// The pace of one loop.
#[derive(Debug)]
pub(crate) struct Rest {
    /// Pieces of work a second.
    rate: f64,
    /// Publications a second, each once for every lane that hears it, and what comes of them.
    publications: f64,
    deliveries: f64,
    last: Instant,
}

/// What a loop did in one turn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Pieces of work.
    pub(crate) pieces: usize,
    /// Publications among them, each once for every lane that hears it.
    pub(crate) publications: usize,
    pub(crate) deliveries: u64,
}

impl Rest {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            rate: 0.0,
            publications: 0.0,
            deliveries: 0.0,
            last: now,
        }
    }

    /// How long to rest after a turn that ends at `now`.
    pub(crate) fn after(&mut self, turn: Turn, now: Instant) -> Option<Duration> {
        let passed = now.saturating_duration_since(self.last).as_secs_f64().max(1e-6);
        self.last = now;
        // The exponential average of a rate over an interval of any length.
        let kept = (-passed / MEMORY).exp();
        let average = |before: f64, new: f64| before * kept + (new / passed) * (1.0 - kept);
        self.rate = average(self.rate, turn.pieces as f64);
        self.publications = average(self.publications, turn.publications as f64);
        self.deliveries = average(self.deliveries, turn.deliveries as f64);
        if turn.pieces == 0 || self.rate < BUSY || self.deliveries > self.publications * PAID {
            return None;
        }
        let rest = Duration::from_secs_f64(WORTH / self.rate).min(LONGEST);
        (rest >= SHORTEST).then_some(rest)
    }
}

/// Counts the work of a loop whose turns are somebody else's to see, such as a runtime's.
#[derive(Debug, Default)]
pub(crate) struct Work {
    pieces: AtomicUsize,
    publications: AtomicUsize,
    /// What the lanes had delivered when the last turn ended.
    delivered: AtomicU64,
}

impl Work {
    /// Some pieces were done.
    pub(crate) fn did(&self, pieces: usize) {
        self.pieces.fetch_add(pieces, Ordering::Relaxed);
    }

    /// So many publications were handed on, each once for every lane that hears it.
    pub(crate) fn handed_on(&self, publications: usize) {
        self.publications.fetch_add(publications, Ordering::Relaxed);
    }

    /// What was done since the last call, when the lanes have delivered so much by now.
    pub(crate) fn take(&self, delivered: u64) -> Turn {
        let before = self.delivered.swap(delivered, Ordering::Relaxed);
        Turn {
            pieces: self.pieces.swap(0, Ordering::Relaxed),
            publications: self.publications.swap(0, Ordering::Relaxed),
            deliveries: delivered.saturating_sub(before),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second of `per_second` pieces of work, one a turn, each of them for so many.
    #[track_caller]
    fn check(per_second: u32, deliveries: u64, expected: Option<Duration>) {
        let start = Instant::now();
        let mut rest = Rest::new(start);
        let turn = Turn {
            pieces: 1,
            publications: 1,
            deliveries,
        };
        let last = (1..=per_second)
            .map(|n| rest.after(turn, start + Duration::from_secs(1) * n / per_second))
            .last();
        let difference = last
            .flatten()
            .unwrap_or_default()
            .abs_diff(expected.unwrap_or_default());
        assert!(difference < Duration::from_micros(100), "{last:?} is not {expected:?}");
    }

    #[test]
    fn only_a_busy_loop_rests() {
        check(100, 0, None);
        check(900, 0, None);
        check(2_000, 0, Some(LONGEST));
        check(8_000, 0, Some(Duration::from_millis(1)));
        check(20_000, 0, Some(Duration::from_micros(400)));
        check(100_000, 0, None);
    }

    #[test]
    fn who_delivers_to_many_does_not_rest() {
        check(2_000, 3, Some(LONGEST));
        check(2_000, 5, None);
    }

    #[test]
    fn a_turn_without_work_is_followed_by_none() {
        let start = Instant::now();
        let mut rest = Rest::new(start);
        let busy = Turn {
            pieces: 1,
            ..Turn::default()
        };
        for n in 1..=1000 {
            rest.after(busy, start + Duration::from_millis(1) / 2 * n);
        }
        assert_eq!(rest.after(Turn::default(), start + Duration::from_millis(501)), None);
    }
}
