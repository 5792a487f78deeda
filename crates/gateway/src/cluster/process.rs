//! What this process takes of its machine, as Linux tells it.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};

use super::message::ProcessReport;

/// Remembers when it was asked last.
pub(super) struct Process(Mutex<Last>);

struct Last {
    at: Instant,
    /// Microseconds that all threads have worked until then.
    worked: i64,
}

impl Process {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Last {
            at: Instant::now(),
            worked: worked().unwrap_or_default(),
        }))
    }

    /// What it takes now; work, since it was asked last.
    pub(super) fn report(&self) -> Option<ProcessReport> {
        let now = Last {
            at: Instant::now(),
            worked: worked()?,
        };
        let rss = memory()?;
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (worked, passed) = (now.worked - last.worked, now.at - last.at);
        *last = now;
        #[expect(clippy::cast_precision_loss, reason = "microseconds between two questions")]
        let cpu = 100.0 * worked.max(0) as f64 / 1e6 / passed.as_secs_f64().max(1e-3);
        Some(ProcessReport { cpu, rss })
    }
}

fn worked() -> Option<i64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let micros = |time: TimeVal| time.num_microseconds();
    Some(micros(usage.user_time()) + micros(usage.system_time()))
}

/// Bytes in memory.
fn memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    resident(&status)
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read() {
        assert_eq!(
            resident("VmSize:\t  9 kB\nVmRSS:\t   12 kB\nRssAnon:\t 8 kB\n"),
            Some(12 << 10)
        );
        assert_eq!(resident("VmSize: 9 kB\n"), None);
        assert_eq!(resident("VmRSS: 12 MB\n"), None);
    }

    #[test]
    fn work_is_counted_since_the_last_question() {
        let process = Process::new();
        let start = Instant::now();
        while start.elapsed().as_millis() < 30 {
            std::hint::spin_loop();
        }
        let busy = process.report().expect("Linux tells");
        assert!(busy.cpu > 1.0 && busy.rss > 1 << 20, "{busy:?}");
    }
}
