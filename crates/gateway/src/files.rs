//! How many files, and so how many sockets, the system lets this process open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Files that are not sockets of clients: logs, epolls, the bus, probes, and handshakes that are refused.
const RESERVE: usize = 512;

/// Raises the soft limit of open files to the hard one, and says how many connections that leaves room for.
///
/// Containers often start with a soft limit of 1024, whatever the hard one is.
pub(crate) fn room_for_connections() -> std::io::Result<usize> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(usize::try_from(hard)
        .unwrap_or(usize::MAX)
        .saturating_sub(RESERVE)
        .max(1))
}
