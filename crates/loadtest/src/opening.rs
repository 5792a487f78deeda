//! Opening all connections: so many at a time, with another attempt after a failed one.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use crate::engine::{Deliver, Engine};
use crate::target::Target;

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

/// Opens connection `i` to `targets[i]`, for all of them. Returns with as many open as could be; which attempts failed and why is
/// in the engine's counts.
pub(crate) fn open_all(
    engine: &mut Engine,
    targets: &[Target],
    opening: Opening,
    bar: &ProgressBar,
    deliver: &mut Deliver<'_>,
) -> io::Result<()> {
    // All due at once in the order of their index; those that failed are due again after their pause.
    let mut due: BinaryHeap<Reverse<(Instant, usize)>> = (0..targets.len())
        .map(|index| Reverse((Instant::now(), index)))
        .collect();
    let mut attempts = vec![0; targets.len()];
    let mut in_flight = 0;
    bar.set_length(targets.len() as u64);
    while Instant::now() < opening.deadline && (in_flight > 0 || !due.is_empty()) {
        let now = Instant::now();
        while in_flight < opening.in_flight
            && let Some(Reverse((at, index))) = due.peek().copied()
            && at <= now
        {
            due.pop();
            attempts[index] += 1;
            in_flight += 1;
            engine.connect(index, &targets[index]);
        }
        let next = due
            .peek()
            .filter(|_| in_flight < opening.in_flight)
            .map(|Reverse((at, _))| *at);
        let before = engine.handshakes.len();
        engine.turn(next.unwrap_or(opening.deadline).min(opening.deadline), deliver)?;
        in_flight -= usize::try_from(engine.handshakes.len() - before).unwrap_or(in_flight);
        for index in engine.take_failed() {
            in_flight -= 1;
            if attempts[index] < opening.attempts {
                due.push(Reverse((Instant::now() + pause(attempts[index]), index)));
            }
        }
        bar.set_position(engine.open() as u64);
    }
    Ok(())
}

fn pause(attempts: u32) -> Duration {
    let longest = FIRST_PAUSE
        .saturating_mul(1 << attempts.saturating_sub(1).min(10))
        .min(LONGEST_PAUSE);
    longest.mul_f64(rand::random_range(0.5..1.0))
}

#[cfg(test)]
mod tests {
    use super::{LONGEST_PAUSE, pause};
    use std::time::Duration;

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
