//! Lines on their way to a slow reader.
//!
//! Bounded: if nobody reads stdout, lines are dropped and counted, and the count is told when somebody reads again. Never blocks whoever
//! logs.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Most lines that wait.
const WAITING: usize = 4096;

/// How long a flush waits for a slow reader.
const PATIENCE: Duration = Duration::from_secs(1);

enum Item {
    Line(Vec<u8>),
    /// Answer when everything before has been written.
    Flush(SyncSender<()>),
}

/// The thread that writes.
pub(super) struct Writer;

/// Where lines are given. Cheap to clone.
#[derive(Clone)]
pub(super) struct Lines {
    queue: SyncSender<Item>,
    dropped: Arc<AtomicU64>,
}

impl Writer {
    /// Starts the thread, which writes to what `out` opens until the last [`Lines`] is gone.
    pub(super) fn start<W: Write>(out: impl FnOnce() -> W + Send + 'static) -> io::Result<Lines> {
        let (queue, items) = sync_channel(WAITING);
        let dropped = Arc::new(AtomicU64::new(0));
        let lines = Lines {
            queue,
            dropped: Arc::clone(&dropped),
        };
        std::thread::Builder::new()
            .name("log".into())
            .spawn(move || write(&items, out(), &dropped))?;
        Ok(lines)
    }
}

fn write(items: &Receiver<Item>, mut out: impl Write, dropped: &AtomicU64) {
    while let Ok(item) = items.recv() {
        // Nobody is left to be told that stdout is gone.
        match item {
            Item::Line(line) => drop(out.write_all(&line)),
            Item::Flush(done) => {
                let _ = out.flush();
                let _ = done.send(());
            }
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!(
                lines = lost,
                "lines of the log were dropped: stdout was not read fast enough"
            );
        }
    }
}

impl Lines {
    /// Waits until everything given so far has been written, or for one second.
    pub(super) fn flush(&self) {
        let (done, written) = sync_channel(1);
        if self.queue.try_send(Item::Flush(done)).is_ok() {
            let _ = written.recv_timeout(PATIENCE);
        }
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Item::Line(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};

    /// A reader that takes a line only when it is told to.
    struct Slow {
        wait: Receiver<()>,
        read: Sender<Vec<u8>>,
    }

    impl Write for Slow {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _ = self.wait.recv();
            let _ = self.read.send(line.to_vec());
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn whoever_logs_never_waits_and_what_fits_is_written_in_order() {
        let (go, wait) = channel();
        let (read, lines_read) = channel();
        let mut lines = Writer::start(|| Slow { wait, read }).expect("a thread");
        for number in 0..WAITING * 2 {
            lines.write_all(format!("{number}\n").as_bytes()).expect("never fails");
        }
        // One line may be in the hands of the thread.
        let lost = usize::try_from(lines.dropped.load(Ordering::Relaxed)).expect("few");
        assert!((WAITING - 1..=WAITING).contains(&lost), "{lost}");
        drop(go);
        drop(lines);
        let number = |line: Vec<u8>| {
            String::from_utf8_lossy(&line)
                .trim()
                .parse::<usize>()
                .expect("a number")
        };
        let read: Vec<_> = lines_read.iter().map(number).collect();
        assert_eq!(read.len(), WAITING * 2 - lost);
        assert!(read.is_sorted_by(|one, next| one < next), "in order and once");
    }

    #[test]
    fn a_flush_waits_for_what_was_given_before() {
        let (read, lines_read) = channel();
        let (go, wait) = channel();
        let mut lines = Writer::start(|| Slow { wait, read }).expect("a thread");
        drop(go);
        lines.write_all(b"one\n").expect("never fails");
        lines.flush();
        assert_eq!(lines_read.try_recv().ok().as_deref(), Some(&b"one\n"[..]));
    }
}
