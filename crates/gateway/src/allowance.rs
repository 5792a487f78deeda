//! How much of something a client may do: token buckets, filled with time.
//!
//! Invariant: over any time, no more is allowed than was there at the start and has been earned since.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use protocol::Channel;

/// How often something may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// A second, on average.
    pub(crate) per_second: u32,
    /// At once, after a pause.
    pub(crate) burst: u32,
}

impl Rate {
    /// `per_second`, and as many at once as come together in `time`; `None` for no limit at all.
    pub(crate) fn over(per_second: u32, time: Duration) -> Option<Self> {
        let burst = u64::from(per_second).saturating_mul(time.as_millis().try_into().unwrap_or(u64::MAX)) / 1000;
        (per_second > 0).then(|| Self {
            per_second,
            burst: u32::try_from(burst).unwrap_or(u32::MAX).max(1),
        })
    }
}

/// A token bucket.
#[derive(Debug)]
pub(crate) struct Allowance {
    rate: Rate,
    left: f64,
    at: Instant,
}

impl Allowance {
    /// A full one.
    pub(crate) fn new(rate: Rate, now: Instant) -> Self {
        Self {
            rate,
            left: f64::from(rate.burst),
            at: now,
        }
    }

    /// Whether it may happen once more, at `now`.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.earn(now);
        let may = self.left >= 1.0;
        if may {
            self.left -= 1.0;
        }
        may
    }

    fn earn(&mut self, now: Instant) {
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * f64::from(self.rate.per_second);
        self.left = (self.left + earned).min(f64::from(self.rate.burst));
        self.at = now;
    }

    fn is_full(&mut self, now: Instant) -> bool {
        self.earn(now);
        self.left >= f64::from(self.rate.burst)
    }
}

/// A bucket for each channel that was used lately.
#[derive(Debug, Default)]
pub(crate) struct ByChannel(HashMap<Channel, Allowance>);

/// From so many buckets on, full ones are forgotten: a new one would be full too.
const MANY: usize = 64;

impl ByChannel {
    /// Whether it may happen once more in `channel`, at `now`.
    pub(crate) fn take(&mut self, channel: &Channel, rate: Rate, now: Instant) -> bool {
        if self.0.len() >= MANY && !self.0.contains_key(channel) {
            self.0.retain(|_, allowance| !allowance.is_full(now));
        }
        let bucket = self.0.entry(channel.clone());
        bucket.or_insert_with(|| Allowance::new(rate, now)).take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        per_second: 10,
        burst: 3,
    };

    #[test]
    fn an_allowance_is_used_up_and_earned_back() {
        let start = Instant::now();
        let mut allowance = Allowance::new(RATE, start);
        let mut allowed = |after| allowance.take(start + Duration::from_millis(after));
        let pattern: Vec<bool> = [0, 0, 0, 0, 50, 100, 100, 5000, 5000, 5000, 5000]
            .into_iter()
            .map(&mut allowed)
            .collect();
        assert_eq!(
            pattern,
            [true, true, true, false, false, true, false, true, true, true, false]
        );
    }

    #[test]
    fn channels_do_not_share_and_full_buckets_are_forgotten() {
        let now = Instant::now();
        let mut buckets = ByChannel::default();
        let channel = |n: usize| Channel::parse(&format!("room-{n}")).expect("valid");
        for _ in 0..3 {
            assert!(buckets.take(&channel(0), RATE, now));
        }
        assert!(!buckets.take(&channel(0), RATE, now));
        for n in 1..MANY {
            assert!(buckets.take(&channel(n), RATE, now));
        }
        let soon = now + Duration::from_millis(150);
        assert!(buckets.take(&channel(MANY), RATE, soon), "there is room");
        assert_eq!(buckets.0.len(), 2, "those that took one have it back");
        assert!(
            buckets.take(&channel(0), RATE, soon) && !buckets.take(&channel(0), RATE, soon),
            "one was earned"
        );
    }

    #[test]
    fn a_rate_over_a_time() {
        let over = |per_second, seconds| Rate::over(per_second, Duration::from_secs(seconds)).map(|rate| rate.burst);
        assert_eq!(over(0, 10), None);
        assert_eq!(over(5, 10), Some(50));
        assert_eq!(over(5, 0), Some(1));
        assert_eq!(over(u32::MAX, 10), Some(u32::MAX));
    }
}
