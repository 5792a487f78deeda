//! Whether a backend that does not answer is asked at all: a circuit breaker.
//!
//! A state machine without I/O and without a clock. Invariant: while it is open, at most one call is let through at a time.

use std::time::{Duration, Instant};

/// Counts failures, and keeps calls away after too many in a row.
#[derive(Debug)]
pub(super) struct Breaker {
    /// So many failures in a row open it; 0 never does.
    most: usize,
    /// How long it stays open before one call tries again.
    pause: Duration,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Calls pass; so many in a row have failed.
    Closed { failures: usize },
    /// No call passes before this time.
    Open { until: Instant },
    /// One call is trying; no other passes.
    Probing,
}

/// That a call may pass. Whoever has it says how the call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// As long as the breaker is closed.
    Usual,
    /// The one that tries whether the backend is back.
    Probe,
}

/// What the end of a call changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Opened,
    Closed,
}

impl Breaker {
    pub(super) fn new(most: usize, pause: Duration) -> Self {
        Self {
            most,
            pause,
            state: State::Closed { failures: 0 },
        }
    }

    /// Lets a call pass, or not.
    pub(super) fn admit(&mut self, now: Instant) -> Option<Pass> {
        match self.state {
            State::Closed { .. } => Some(Pass::Usual),
            State::Open { until } if now >= until => {
                self.state = State::Probing;
                Some(Pass::Probe)
            }
            State::Open { .. } | State::Probing => None,
        }
    }

    /// The backend answered, whatever it said. What comes from before the breaker opened is old news, here and below.
    pub(super) fn succeeded(&mut self, pass: Pass) -> Option<Change> {
        match (pass, &mut self.state) {
            (Pass::Usual, State::Closed { failures }) => {
                *failures = 0;
                None
            }
            (Pass::Usual, _) => None,
            (Pass::Probe, state) => {
                *state = State::Closed { failures: 0 };
                Some(Change::Closed)
            }
        }
    }

    /// The backend did not answer.
    pub(super) fn failed(&mut self, pass: Pass, now: Instant) -> Option<Change> {
        let opened = State::Open {
            until: now + self.pause,
        };
        match (pass, &mut self.state) {
            (Pass::Usual, State::Closed { failures }) => {
                *failures = failures.saturating_add(1);
                let is_enough = self.most > 0 && *failures >= self.most;
                is_enough.then(|| {
                    self.state = opened;
                    Change::Opened
                })
            }
            (Pass::Usual, _) => None,
            (Pass::Probe, state) => {
                *state = opened;
                None
            }
        }
    }

    /// Nobody waited for the end of the call, so it says nothing; after a probe, the next call is one.
    pub(super) fn abandoned(&mut self, pass: Pass, now: Instant) {
        if pass == Pass::Probe {
            self.state = State::Open { until: now };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Pass::{Probe, Usual};

    enum Step {
        Admits(Option<Pass>),
        Succeeded(Pass, Option<Change>),
        Failed(Pass, Option<Change>),
        Abandoned(Pass),
        /// So many seconds later.
        Later(u64),
    }

    use Change::{Closed, Opened};
    use Step::{Abandoned, Admits, Failed, Later, Succeeded};

    /// A breaker that opens for ten seconds.
    #[track_caller]
    fn check(most: usize, steps: &[Step]) {
        let mut breaker = Breaker::new(most, Duration::from_secs(10));
        let mut now = Instant::now();
        for (number, step) in steps.iter().enumerate() {
            match step {
                Admits(expected) => assert_eq!(breaker.admit(now), *expected, "step {number}"),
                Succeeded(pass, expected) => assert_eq!(breaker.succeeded(*pass), *expected, "step {number}"),
                Failed(pass, expected) => assert_eq!(breaker.failed(*pass, now), *expected, "step {number}"),
                Abandoned(pass) => breaker.abandoned(*pass, now),
                Later(seconds) => now += Duration::from_secs(*seconds),
            }
        }
    }

    const FAILED: Step = Failed(Usual, None);
    const OPENED: Step = Failed(Usual, Some(Opened));
    const REFUSES: Step = Admits(None);
    const ADMITS: Step = Admits(Some(Usual));
    const PROBES: Step = Admits(Some(Probe));

    #[test]
    fn failures_in_a_row_open_it() {
        check(3, &[FAILED, FAILED, ADMITS, OPENED, REFUSES]);
        check(3, &[FAILED, FAILED, Succeeded(Usual, None), FAILED, FAILED, ADMITS]);
        check(1, &[ADMITS, OPENED, REFUSES]);
        check(0, &[FAILED, FAILED, FAILED, FAILED, ADMITS]);
    }

    #[test]
    fn after_the_pause_one_call_tries() {
        check(1, &[OPENED, Later(9), REFUSES, Later(1), PROBES, REFUSES]);
        check(
            1,
            &[
                OPENED,
                Later(10),
                PROBES,
                Succeeded(Probe, Some(Closed)),
                ADMITS,
                ADMITS,
            ],
        );
        check(
            1,
            &[
                OPENED,
                Later(10),
                PROBES,
                Failed(Probe, None),
                Later(9),
                REFUSES,
                Later(1),
                PROBES,
            ],
        );
        check(
            2,
            &[
                FAILED,
                OPENED,
                Later(10),
                PROBES,
                Succeeded(Probe, Some(Closed)),
                FAILED,
                ADMITS,
            ],
        );
    }

    #[test]
    fn a_try_that_nobody_waits_for_says_nothing() {
        check(1, &[OPENED, Later(10), PROBES, Abandoned(Probe), PROBES, REFUSES]);
        check(1, &[ADMITS, Abandoned(Usual), ADMITS]);
    }

    #[test]
    fn calls_from_before_it_opened_say_nothing() {
        check(1, &[OPENED, Later(5), FAILED, Later(5), PROBES]);
        check(1, &[OPENED, Succeeded(Usual, None), REFUSES]);
        check(
            1,
            &[
                OPENED,
                Later(10),
                PROBES,
                FAILED,
                Abandoned(Usual),
                Succeeded(Usual, None),
                REFUSES,
            ],
        );
    }
}
