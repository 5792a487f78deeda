//! What a process has used so far: CPU time and resident memory, from `/proc`. Linux only; elsewhere reading is an error.

use std::fs;
use std::io;

use serde::Serialize;

/// `/proc` counts CPU time in hundredths of a second on every Linux (USER_HZ), whatever the kernel's own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time since the start of a process, and its memory now.
#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize)]
pub struct Usage {
    /// Seconds in user space, all threads.
    pub user: f64,
    /// Seconds in the kernel, all threads.
    pub kernel: f64,
    /// Resident bytes.
    pub resident: u64,
}

impl Usage {
    /// What the processes `pids` have used, added up.
    pub fn of(pids: &[u32]) -> io::Result<Self> {
        pids.iter().try_fold(Self::default(), |sum, pid| {
            let one = read(&pid.to_string())?;
            Ok(Self {
                user: sum.user + one.user,
                kernel: sum.kernel + one.kernel,
                resident: sum.resident + one.resident,
            })
        })
    }

    /// What this process has used.
    pub fn own() -> io::Result<Self> {
        read("self")
    }

    /// CPU seconds in all.
    pub fn cpu(self) -> f64 {
        self.user + self.kernel
    }

    /// The CPU time since `earlier`; the memory as it is now.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            user: self.user - earlier.user,
            kernel: self.kernel - earlier.kernel,
            resident: self.resident,
        }
    }
}

fn read(pid: &str) -> io::Result<Usage> {
    let bad = || io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid} reads unlike proc(5)"));
    let file = |name: &str| {
        let path = format!("/proc/{pid}/{name}");
        fs::read_to_string(&path).map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))
    };
    let (user, kernel) = cpu_ticks(&file("stat")?).ok_or_else(bad)?;
    let resident = resident_kib(&file("status")?).ok_or_else(|| {
        // A process that has ended but was not waited for has no memory.
        io::Error::new(io::ErrorKind::NotFound, format!("process {pid} has ended"))
    })?;
    Ok(Usage {
        user: user / TICKS_PER_SECOND,
        kernel: kernel / TICKS_PER_SECOND,
        resident: resident * 1024,
    })
}

/// Fields 14 and 15 of `stat`, counted from after the command: its name may hold spaces and brackets.
fn cpu_ticks(stat: &str) -> Option<(f64, f64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn resident_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{cpu_ticks, resident_kib};

    #[test]
    fn fields_of_proc() {
        let stat = "7184 (a) b) R 7179 7179 5510 0 -1 4194304 119 0 0 0 12 34 0 0 20 0 1 0 141786 3133440 359";
        assert_eq!(cpu_ticks(stat), Some((12.0, 34.0)));
        assert_eq!(cpu_ticks("1 (x) R 1 2"), None);
        assert_eq!(resident_kib("Name:\tx\nVmRSS:\t    4512 kB\n"), Some(4512));
        assert_eq!(resident_kib("Name:\tkthreadd\n"), None);
    }
}
