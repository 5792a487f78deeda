//! How long to wait before trying again.

use std::time::Duration;

/// The longest pause before the first retry; the bound doubles from here.
const FIRST: Duration = Duration::from_millis(20);

/// Pauses with full jitter: each anywhere between nothing and a bound that doubles up to a cap, so that many processes that lost the same
/// Redis do not come back at the same moment.
#[derive(Debug)]
pub(crate) struct Backoff {
    bound: Duration,
    cap: Duration,
}

impl Backoff {
    pub(crate) fn new(cap: Duration) -> Self {
        Self {
            bound: FIRST.min(cap),
            cap,
        }
    }

    /// The next pause is short again.
    pub(crate) fn reset(&mut self) {
        self.bound = FIRST.min(self.cap);
    }

    /// How long to wait now.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.bound.mul_f64(rand::random::<f64>());
        self.bound = (self.bound * 2).min(self.cap);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_cap_and_start_again() {
        let mut backoff = Backoff::new(Duration::from_secs(1));
        assert!(backoff.pause() <= FIRST);
        let later: Vec<_> = (0..100).map(|_| backoff.pause()).collect();
        assert!(later.iter().all(|pause| *pause <= Duration::from_secs(1)));
        assert!(later.iter().any(|pause| *pause > Duration::from_millis(500)));
        backoff.reset();
        assert!(backoff.pause() <= FIRST);
    }
}
