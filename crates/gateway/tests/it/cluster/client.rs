//! A WebSocket client that hears everything at once, in a thread of its own, and never connects again by itself.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use protocol::frame::{Item, Limits, Parser, Role, client};

use super::PATIENCE;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const LIMITS: Limits = Limits {
    message_size: 1 << 20,
    fragments: 1,
};
/// The key and its answer in RFC 6455, section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

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
        Self::try_connect(address).unwrap_or_else(|problem| panic!("no connection to {address}: {problem}"))
    }

    pub(crate) fn try_connect(address: SocketAddr) -> Result<Self, String> {
        let words = |error: std::io::Error| error.to_string();
        let mut stream = TcpStream::connect(address).map_err(words)?;
        stream.set_nodelay(true).map_err(words)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(words)?;
        let early = handshake(&mut stream, address)?;
        stream.set_read_timeout(None).map_err(words)?;
        let writer = Arc::new(Mutex::new(stream.try_clone().map_err(words)?));
        let heard = Arc::new(Heard::default());
        let listener = Listener {
            stream,
            writer: Arc::clone(&writer),
            heard: Arc::clone(&heard),
        };
        let reader = Some(std::thread::spawn(move || listener.run(&early)));
        Ok(Self { writer, heard, reader })
    }

    #[track_caller]
    pub(crate) fn send(&self, text: &str) {
        let sent = lock(&self.writer).write_all(&client::text(text.as_bytes(), MASK));
        sent.unwrap_or_else(|error| panic!("cannot send: {error}, {:?}", self.end()));
    }

    /// Everything heard so far.
    pub(crate) fn texts(&self) -> Vec<String> {
        lock(&self.heard.now).texts.clone()
    }

    /// How the connection ended, if it has.
    pub(crate) fn end(&self) -> Option<End> {
        lock(&self.heard.now).end.clone()
    }

    /// Waits until `found` gives something of what was heard, and gives that.
    #[track_caller]
    pub(crate) fn wait_for<T>(&self, what: &str, mut found: impl FnMut(&[String]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut now = lock(&self.heard.now);
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
    stream: TcpStream,
    writer: Arc<Mutex<TcpStream>>,
    heard: Arc<Heard>,
}

impl Listener {
    fn run(mut self, early: &[u8]) {
        let mut parser = Parser::new(Role::Client);
        let mut bytes = vec![0; 65_536];
        let mut end = self.take(&mut parser, early);
        while end.is_none() {
            end = match self.stream.read(&mut bytes) {
                Ok(0) => Some(End::Broken("no more bytes".into())),
                Ok(count) => self.take(&mut parser, &bytes[..count]),
                Err(error) => Some(End::Broken(error.to_string())),
            };
        }
        lock(&self.heard.now).end = end;
        self.heard.changed.notify_all();
    }

    /// Takes in what has arrived; the end, if that is in it.
    fn take(&self, parser: &mut Parser, mut bytes: &[u8]) -> Option<End> {
        let mut texts = Vec::new();
        let end = loop {
            match parser.next(&mut bytes, &LIMITS) {
                Ok(None) => break None,
                Ok(Some(Item::Message(message))) => texts.push(String::from_utf8_lossy(&message.data).into_owned()),
                Ok(Some(Item::Ping(payload))) => drop(lock(&self.writer).write_all(&client::pong(&payload, MASK))),
                Ok(Some(Item::Pong(_))) => {}
                Ok(Some(Item::Close { code, .. })) => {
                    let _ = lock(&self.writer).write_all(&client::close(code.map(|code| (code, "")), MASK));
                    break Some(End::Closed(code));
                }
                Err(error) => break Some(End::Broken(error.to_string())),
            }
        };
        lock(&self.heard.now).texts.append(&mut texts);
        self.heard.changed.notify_all();
        end
    }
}

/// Asks for a WebSocket, and gives the bytes that came behind the answer.
fn handshake(stream: &mut TcpStream, address: SocketAddr) -> Result<Vec<u8>, String> {
    let asked = write!(
        stream,
        "GET / HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    asked.map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    let end = loop {
        if let Some(at) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break at + 4;
        }
        let mut bytes = [0; 4096];
        match stream.read(&mut bytes) {
            Ok(0) => return Err("closed during the handshake".into()),
            Ok(count) => answer.extend_from_slice(&bytes[..count]),
            Err(error) => return Err(error.to_string()),
        }
    };
    let early = answer.split_off(end);
    let head = String::from_utf8_lossy(&answer);
    if head.starts_with("HTTP/1.1 101 ") && head.contains(ACCEPT) {
        Ok(early)
    } else {
        Err(head.into_owned())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
