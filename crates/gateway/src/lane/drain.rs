//! Leaving without losing anybody: who is closed when.
//!
//! Every connection is closed with its dialect's word for «come back», in random order at an even pace, so that the other nodes see a
//! steady stream of newcomers and no wave. Decides only; the lanes close.

use std::time::{Duration, Instant};

use rand::seq::SliceRandom;

/// How fast a lane closes its connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) begin: Instant,
    /// From the first close to the last.
    pub(crate) window: Duration,
}

/// The order and the dates in which connections are closed.
#[derive(Debug)]
pub(crate) struct Schedule<T> {
    order: Vec<T>,
    closed: usize,
    pace: Pace,
}

impl<T: Copy> Schedule<T> {
    /// Spreads `everybody` over the window, in random order.
    pub(crate) fn new(mut everybody: Vec<T>, pace: Pace) -> Self {
        everybody.shuffle(&mut rand::rng());
        Self {
            order: everybody,
            closed: 0,
            pace,
        }
    }

    /// Those whose time has come at `now`, each once.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<T> {
        let from = self.closed;
        while self.closed < self.order.len() && self.date(self.closed) <= now {
            self.closed += 1;
        }
        self.order[from..self.closed].to_vec()
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Instant {
        self.date(self.closed)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.closed == self.order.len()
    }

    /// The middle of the connection's share of the window.
    fn date(&self, index: usize) -> Instant {
        let share = (index as f64 + 0.5) / (self.order.len().max(1) as f64);
        self.pace.begin + self.pace.window.mul_f64(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_closed_once_and_evenly() {
        let begin = Instant::now();
        let mut schedule = Schedule::new(
            (0..1000).collect(),
            Pace {
                begin,
                window: Duration::from_secs(10),
            },
        );
        let mut closed = Vec::new();
        for tenth in 1..=10_usize {
            closed.extend(schedule.due(begin + Duration::from_secs(tenth as u64)));
            assert_eq!(closed.len(), tenth * 100);
        }
        assert!(schedule.is_over());
        assert!(!closed.is_sorted());
        closed.sort_unstable();
        assert!(closed.into_iter().eq(0..1000));
    }

    #[test]
    fn a_window_of_zero_closes_all_at_once() {
        let begin = Instant::now();
        let mut schedule = Schedule::new(
            (0..10).collect(),
            Pace {
                begin,
                window: Duration::ZERO,
            },
        );
        assert_eq!(schedule.due(begin).len(), 10);
    }
}
