//! Opening all connections: so many at a time, with another attempt after a failed one.
//!
//! Which connection comes next is a [`Plan`], without I/O. Invariant: its `in_flight` is the number of attempts that have neither
//! succeeded nor failed, so the loop waits only while something can still happen.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use crate::client::Client;
use crate::engine::{Deliver, Engine};

/// How connections are opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opening {
    /// At most so many unfinished handshakes.
    pub(crate) in_flight: usize,
    /// At most so many attempts for each connection.
    pub(crate) attempts: u32,
    /// When to stop trying.
    pub(crate) deadline: Instant,
}

/// The wait before the second attempt at a connection; it doubles with each further one, and each is shortened by chance to as
/// little as half.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Opens connection `i` for `clients[i]`, for all of them. Returns with as many open as could be; which attempts failed and why is
/// in the engine's counts.
pub(crate) fn open_all(
    engine: &mut Engine,
    clients: &[Client],
    opening: Opening,
    bar: &ProgressBar,
    deliver: &mut Deliver<'_>,
) -> io::Result<()> {
    engine.take_failed(); // those of an earlier round are not of this plan
    let mut plan = Plan::new(clients.len(), opening);
    bar.set_length(clients.len() as u64);
    while Instant::now() < opening.deadline && !plan.is_over() {
        while let Some(index) = plan.next(Instant::now()) {
            engine.connect(index, &clients[index]);
            // Some fail at once, and nothing would wake the loop for them.
            plan.failed(&engine.take_failed(), Instant::now());
        }
        if plan.is_over() {
            break;
        }
        let before = engine.handshakes.len();
        engine.turn(plan.wake_at(), deliver)?;
        plan.opened(usize::try_from(engine.handshakes.len() - before).expect("a process has fewer sockets"));
        plan.failed(&engine.take_failed(), Instant::now());
        bar.set_position(engine.open() as u64);
    }
    Ok(())
}

/// Which connections are still to be opened, and when.
#[derive(Debug)]
struct Plan {
    opening: Opening,
    /// The earliest first, then by index.
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    /// For each connection, how many attempts it has had.
    attempts: Vec<u32>,
    in_flight: usize,
}

impl Plan {
    /// All are due at once.
    fn new(connections: usize, opening: Opening) -> Self {
        let now = Instant::now();
        Self {
            opening,
            due: (0..connections).map(|index| Reverse((now, index))).collect(),
            attempts: vec![0; connections],
            in_flight: 0,
        }
    }

    /// Nothing is under way and nothing is left to try.
    fn is_over(&self) -> bool {
        self.in_flight == 0 && self.due.is_empty()
    }

    /// The connection to try now, if one is due and there is room for its handshake.
    fn next(&mut self, now: Instant) -> Option<usize> {
        let Reverse((at, index)) = *self.due.peek()?;
        if at > now || self.in_flight >= self.opening.in_flight {
            return None;
        }
        self.due.pop();
        self.attempts[index] += 1;
        self.in_flight += 1;
        Some(index)
    }

    /// When to look again if nothing happens.
    fn wake_at(&self) -> Instant {
        let next = self.due.peek().filter(|_| self.in_flight < self.opening.in_flight);
        next.map_or(self.opening.deadline, |Reverse((at, _))| {
            (*at).min(self.opening.deadline)
        })
    }

    /// So many attempts have succeeded.
    fn opened(&mut self, count: usize) {
        self.in_flight -= count;
    }

    /// The attempts at these connections have failed; each is due again after its pause, unless it has had enough.
    fn failed(&mut self, connections: &[usize], now: Instant) {
        self.in_flight -= connections.len();
        for index in connections {
            let attempts = self.attempts[*index];
            if attempts < self.opening.attempts {
                self.due.push(Reverse((now + pause(attempts), *index)));
            }
        }
    }
}

fn pause(attempts: u32) -> Duration {
    let longest = FIRST_PAUSE
        .saturating_mul(1 << attempts.saturating_sub(1).min(10))
        .min(LONGEST_PAUSE);
    longest.mul_f64(rand::random_range(0.5..1.0))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{LONGEST_PAUSE, Opening, Plan, pause};

    #[test]
    fn a_plan_ends_when_all_are_open_or_have_had_enough() {
        let now = Instant::now() + Duration::from_millis(1);
        let deadline = now + Duration::from_secs(60);
        let opening = Opening {
            in_flight: 2,
            attempts: 2,
            deadline,
        };
        let mut plan = Plan::new(3, opening);
        assert_eq!(
            [plan.next(now), plan.next(now), plan.next(now)],
            [Some(0), Some(1), None]
        );
        assert_eq!(plan.wake_at(), deadline, "only an event makes room");

        plan.failed(&[1], now);
        assert_eq!([plan.next(now), plan.next(now)], [Some(2), None]);
        plan.opened(2);
        assert!(!plan.is_over(), "1 is tried again");
        let again = plan.wake_at();
        assert!(again > now && again < deadline);
        assert_eq!([plan.next(now), plan.next(again)], [None, Some(1)]);
        plan.failed(&[1], again);
        assert!(plan.is_over());
    }

    #[track_caller]
    fn check(attempts: u32, shortest: u64, longest: u64) {
        for _ in 0..100 {
            let pause = pause(attempts);
            assert!(
                pause >= Duration::from_millis(shortest) && pause <= Duration::from_millis(longest),
                "{pause:?}"
            );
        }
    }

    #[test]
    fn pauses_double_up_to_a_limit() {
        check(1, 50, 100);
        check(2, 100, 200);
        check(5, 800, 1600);
        check(60, 2500, u64::try_from(LONGEST_PAUSE.as_millis()).expect("small"));
    }
}
