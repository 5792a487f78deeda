//! A WebSocket client that hears everything at once, in a thread of its own, and never connects again by itself.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use protocol::frame::{Item, client};

use super::PATIENCE;
use crate::support::{MASK, Socket};

/// Longer than any test.
const FOREVER: Duration = Duration::from_secs(3600);

/// One connection.
pub(crate) struct Client {
    writer: Arc<Mutex<TcpStream>>,
    heard: Arc<Heard>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Heard {
    now: Mutex<Now>,
    changed: Condvar,
}

#[derive(Default)]
struct Now {
    texts: Vec<String>,
    end: Option<End>,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// With a Close frame of that code.
    Closed(Option<u16>),
    /// Without one.
    Broken(String),
}

impl Client {
    /// Connects to `/`.
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let socket = Socket::connect(address, "/");
        let writer = Arc::new(Mutex::new(socket.stream.try_clone().expect("a socket")));
        let heard = Arc::new(Heard::default());
        let listener = Listener {
            socket,
            writer: Arc::clone(&writer),
            heard: Arc::clone(&heard),
        };
        let reader = Some(std::thread::spawn(move || listener.run()));
        Self { writer, heard, reader }
    }

    #[track_caller]
    pub(crate) fn send(&self, text: &str) {
        let sent = lock(&self.writer).write_all(&client::text(text.as_bytes(), MASK));
        sent.unwrap_or_else(|error| panic!("cannot send: {error}, {:?}", self.end()));
    }

    /// Everything heard so far.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.heard.now().texts.clone()
    }

    /// How the connection ended, if it has.
    pub(crate) fn end(&self) -> Option<End> {
        self.heard.now().end.clone()
    }

    /// Waits until `found` gives something of what was heard, and gives that.
    #[track_caller]
    pub(crate) fn wait_for<T>(&self, what: &str, mut found: impl FnMut(&[String]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut now = self.heard.now();
        loop {
            if let Some(found) = found(&now.texts) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                now.end.is_none() && !left.is_zero(),
                "{what} was not heard; heard {}, {:?}",
                now.texts.len(),
                now.end
            );
            now = self
                .heard
                .changed
                .wait_timeout(now, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits until exactly this was heard.
    #[track_caller]
    pub(crate) fn wait_for_text(&self, text: &str) {
        self.wait_for(text, |texts| texts.iter().any(|heard| heard == text).then_some(()));
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = lock(&self.writer).shutdown(Shutdown::Both);
        let _ = self.reader.take().map(JoinHandle::join);
    }
}

/// The thread that reads.
struct Listener {
    socket: Socket,
    writer: Arc<Mutex<TcpStream>>,
    heard: Arc<Heard>,
}

impl Listener {
    fn run(mut self) {
        while self.heard.now().end.is_none() {
            let heard = self.socket.next_within(FOREVER);
            let mut now = self.heard.now();
            match heard {
                Ok(Some(Item::Message(message))) => {
                    now.texts.push(String::from_utf8_lossy(&message.data).into_owned());
                }
                Ok(Some(Item::Ping(payload))) => self.answer(&client::pong(&payload, MASK)),
                Ok(Some(Item::Pong(_))) => {}
                Ok(Some(Item::Close { code, .. })) => {
                    self.answer(&client::close(code.map(|code| (code, "")), MASK));
                    now.end = Some(End::Closed(code));
                }
                Ok(None) => now.end = Some(End::Broken("no more bytes".into())),
                Err(error) => now.end = Some(End::Broken(error.to_string())),
            }
            self.heard.changed.notify_all();
        }
    }

    /// Writes; if it cannot, the end is read soon.
    fn answer(&self, frame: &[u8]) {
        let _ = lock(&self.writer).write_all(frame);
    }
}

impl Heard {
    fn now(&self) -> MutexGuard<'_, Now> {
        lock(&self.now)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
