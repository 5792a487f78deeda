//! How many files, and so how many sockets, the system lets this process open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Files that are not sockets of clients: logs, epolls, the bus, probes.
const RESERVE: usize = 512;

/// Raises the soft limit of open files to the hard one, and says how many connections that leaves room for, beside `handshakes` unfinished
/// ones.
///
/// Containers often start with a soft limit of 1024, whatever the hard one is.
pub(crate) fn room_for_connections(handshakes: usize) -> std::io::Result<usize> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    // Refused where the hard limit is a word for "any", as on macOS: then the soft one holds.
    let is_raised = soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
    let files = usize::try_from(if is_raised { hard } else { soft }).unwrap_or(usize::MAX);
    Ok(files.saturating_sub(RESERVE + handshakes).max(1))
}
