//! When a channel collects instead of writing at once: only if a window would catch several publications, and for many subscribers.
//!
//! A write costs the kernel some microseconds whatever its length, so a busy channel with many subscribers gains by writing less often.
//! A quiet channel, or a small one, never waits.

use std::time::{Duration, Instant};

/// How channels collect.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WindowSettings {
    /// How long a busy channel collects. Zero: never.
    pub(crate) window: Duration,
    /// The longest it may collect when the usual window would not catch two publications.
    pub(crate) longest: Duration,
    /// The fewest subscribers on this lane that make it worth while.
    pub(crate) fan_out: usize,
}

impl WindowSettings {
    /// The same for a channel whose rule says how long it collects.
    pub(super) fn of(self, window: Option<Duration>) -> Self {
        match window {
            Some(window) => Self { window, ..self },
            None => self,
        }
    }
}

/// How many publications a window should catch after the one that opens it; and a half, because they do not come like clockwork.
const WORTH: f32 = 2.5;
/// With fewer than that a channel does not collect. Below two, because the average of a steady stream wavers.
const FEWEST: f32 = 1.6;

/// Between two publications no longer pause than this is remembered, so that a channel that wakes up is soon known to be busy.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// How fast a channel is published to: a moving average of the time between publications.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last: Option<Instant>,
    /// Seconds.
    interval: f32,
}

impl Pace {
    /// Notes a publication at `now`.
    pub(super) fn note(&mut self, now: Instant) {
        let pause = self.last.map_or(LONGEST_PAUSE, |last| {
            now.saturating_duration_since(last).min(LONGEST_PAUSE)
        });
        self.interval = match self.last {
            Some(_) => self.interval + (pause.as_secs_f32() - self.interval) / 8.0,
            None => pause.as_secs_f32(),
        };
        self.last = Some(now);
    }

    /// How long to collect from now on, if at all.
    pub(super) fn window(&self, fan_out: usize, settings: &WindowSettings) -> Option<Duration> {
        if settings.window.is_zero() || fan_out < settings.fan_out {
            return None;
        }
        if self.interval * FEWEST > settings.longest.as_secs_f32() {
            return None;
        }
        Some(Duration::from_secs_f32(self.interval * WORTH).clamp(settings.window, settings.longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: WindowSettings = WindowSettings {
        window: Duration::from_millis(5),
        longest: Duration::from_millis(10),
        fan_out: 50,
    };

    #[track_caller]
    fn check(per_second: u32, fan_out: usize, expected: Option<Duration>) {
        let mut pace = Pace::default();
        let start = Instant::now();
        for n in 0..200 {
            pace.note(start + Duration::from_secs(1) / per_second * n);
        }
        let window = pace.window(fan_out, &SETTINGS);
        let difference = window.unwrap_or_default().abs_diff(expected.unwrap_or_default());
        assert!(
            window.is_some() == expected.is_some() && difference < Duration::from_millis(1),
            "{window:?} is not {expected:?}"
        );
    }

    #[test]
    fn only_busy_and_wide_channels_collect() {
        let millis = |n| Some(Duration::from_millis(n));
        check(50, 1000, None);
        check(150, 1000, None);
        check(170, 1000, millis(10));
        check(200, 1000, millis(10));
        check(300, 1000, millis(8));
        check(1000, 1000, millis(5));
        check(1000, 49, None);
    }

    #[test]
    fn a_rule_may_say_how_long() {
        let of = |window| SETTINGS.of(window);
        assert_eq!(of(None).window, SETTINGS.window);
        assert_eq!(of(Some(Duration::ZERO)).window, Duration::ZERO);
        assert_eq!(of(Some(Duration::from_millis(9))).window, Duration::from_millis(9));
    }

    #[test]
    fn a_window_of_zero_never_collects() {
        let mut pace = Pace::default();
        let now = Instant::now();
        (0..100).for_each(|_| pace.note(now));
        assert_eq!(
            pace.window(
                1000,
                &WindowSettings {
                    window: Duration::ZERO,
                    ..SETTINGS
                }
            ),
            None
        );
    }
}
