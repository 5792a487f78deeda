//! How long a busy loop rests before it looks for more work, so that one wake-up serves several messages.
//!
//! Waking a sleeping thread costs the machine more than handling a message. A loop with little to do is woken for each message at once; a
//! busy one rests a moment between its turns and finds several waiting. Decides only; the loop sleeps. Invariant: below [`BUSY`] there is
//! no rest, above it none longer than [`LONGEST`].

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Pieces of work a second from which a loop is busy.
const BUSY: f64 = 1000.0;
/// So many pieces of work should wait at the end of a rest.
const WORTH: f64 = 8.0;
/// Nobody waits longer for a busy loop.
const LONGEST: Duration = Duration::from_millis(2);
/// A shorter rest costs more than it saves.
const SHORTEST: Duration = Duration::from_micros(200);
/// How long the average of the rate looks back, in seconds.
const MEMORY: f64 = 0.05;

/// The pace of one loop.
#[derive(Debug)]
pub(crate) struct Rest {
    /// Pieces of work a second.
    rate: f64,
    last: Instant,
}

impl Rest {
    pub(crate) fn new(now: Instant) -> Self {
        Self { rate: 0.0, last: now }
    }

    /// How long to rest after a turn that ends at `now` and did `work` pieces.
    pub(crate) fn after(&mut self, work: usize, now: Instant) -> Option<Duration> {
        let passed = now.saturating_duration_since(self.last).as_secs_f64().max(1e-6);
        self.last = now;
        // The exponential average of a rate over an interval of any length.
        let kept = (-passed / MEMORY).exp();
        self.rate = self.rate * kept + (work as f64 / passed) * (1.0 - kept);
        if work == 0 || self.rate < BUSY {
            return None;
        }
        let rest = Duration::from_secs_f64(WORTH / self.rate).min(LONGEST);
        (rest >= SHORTEST).then_some(rest)
    }
}

/// Counts the work of a loop whose turns are somebody else's to see, such as a runtime's.
#[derive(Debug, Default)]
pub(crate) struct Work(AtomicUsize);

impl Work {
    /// Some pieces were done.
    pub(crate) fn did(&self, pieces: usize) {
        self.0.fetch_add(pieces, Ordering::Relaxed);
    }

    /// How many since the last call.
    pub(crate) fn take(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second of `per_second` pieces of work, one a turn.
    #[track_caller]
    fn check(per_second: u32, expected: Option<Duration>) {
        let start = Instant::now();
        let mut rest = Rest::new(start);
        let last = (1..=per_second)
            .map(|n| rest.after(1, start + Duration::from_secs(1) * n / per_second))
            .last();
        let difference = last
            .flatten()
            .unwrap_or_default()
            .abs_diff(expected.unwrap_or_default());
        assert!(difference < Duration::from_micros(100), "{last:?} is not {expected:?}");
    }

    #[test]
    fn only_a_busy_loop_rests() {
        check(100, None);
        check(900, None);
        check(2_000, Some(LONGEST));
        check(8_000, Some(Duration::from_millis(1)));
        check(20_000, Some(Duration::from_micros(400)));
        check(100_000, None);
    }

    #[test]
    fn a_turn_without_work_is_followed_by_none() {
        let start = Instant::now();
        let mut rest = Rest::new(start);
        for n in 1..=1000 {
            rest.after(1, start + Duration::from_millis(1) / 2 * n);
        }
        assert_eq!(rest.after(0, start + Duration::from_millis(501)), None);
    }
}
