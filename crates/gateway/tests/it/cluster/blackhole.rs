//! A proxy in front of Redis that can let connections fall silent: they stay open, and nothing comes through any more.
//!
//! Tells a gateway's two connections apart by the names that they give themselves. Invariant: what is swallowed is acknowledged, so that
//! neither end can learn of it from the kernel.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::LOOPBACK;

/// One of a gateway's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Link,
    Publisher,
}

impl Side {
    const ALL: [Self; 2] = [Self::Link, Self::Publisher];

    /// What such a connection calls itself.
    fn name(self) -> &'static str {
        match self {
            Self::Link => "fanfare-link",
            Self::Publisher => "fanfare-publish",
        }
    }
}

/// The proxy.
pub(crate) struct Blackhole {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    to: SocketAddr,
    is_over: AtomicBool,
    swallows: [AtomicBool; 2],
    connections: Mutex<Vec<Arc<Connection>>>,
}

/// A connection and its other half.
struct Connection {
    client: TcpStream,
    server: TcpStream,
    /// An index into [`Side::ALL`], once known.
    side: AtomicUsize,
    is_silent: AtomicBool,
}

impl Blackhole {
    pub(crate) fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind((LOOPBACK, 0)).expect("a free port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared {
            to,
            is_over: AtomicBool::new(false),
            swallows: [const { AtomicBool::new(false) }; 2],
            connections: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || accepting.accept(&listener));
        Self { address, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Lets the connections of that side fall silent, those that are open and those that come.
    pub(crate) fn swallow(&self, side: Side) {
        self.shared.swallows[side as usize].store(true, Ordering::SeqCst);
        for connection in &*self.shared.connections() {
            if connection.side.load(Ordering::SeqCst) == side as usize {
                connection.is_silent.store(true, Ordering::SeqCst);
            }
        }
    }

    /// New connections come through again; those that are silent stay so.
    pub(crate) fn mend(&self) {
        for swallows in &self.shared.swallows {
            swallows.store(false, Ordering::SeqCst);
        }
    }
}

impl Drop for Blackhole {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        self.shared
            .connections()
            .iter()
            .for_each(|connection| connection.close());
    }
}

impl Shared {
    fn connections(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Connection>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: Arc<Self>, listener: &TcpListener) {
        while let Ok((client, _)) = listener.accept()
            && !self.is_over.load(Ordering::SeqCst)
        {
            let Ok(server) = TcpStream::connect(self.to) else {
                continue;
            };
            let side = AtomicUsize::new(usize::MAX);
            let connection = Arc::new(Connection {
                client,
                server,
                side,
                is_silent: AtomicBool::new(false),
            });
            self.connections().push(Arc::clone(&connection));
            let (shared, up, down) = (Arc::clone(&self), Arc::clone(&connection), connection);
            std::thread::spawn(move || up.pump(&up.client, &up.server, |bytes| shared.recognise(&up, bytes)));
            std::thread::spawn(move || down.pump(&down.server, &down.client, |_| {}));
        }
    }

    /// Learns from what a gateway says which connection this is.
    fn recognise(&self, connection: &Connection, bytes: &[u8]) {
        let said = String::from_utf8_lossy(bytes);
        if let Some(side) = Side::ALL.into_iter().find(|side| said.contains(side.name())) {
            connection.side.store(side as usize, Ordering::SeqCst);
            if self.swallows[side as usize].load(Ordering::SeqCst) {
                connection.is_silent.store(true, Ordering::SeqCst);
            }
        }
    }
}

impl Connection {
    /// Passes on what comes `from` one end, until either end closes; a silent connection passes on not even that.
    fn pump(&self, mut from: &TcpStream, mut to: &TcpStream, look: impl Fn(&[u8])) {
        let mut bytes = [0; 16_384];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            look(&bytes[..count]);
            if !self.is_silent.load(Ordering::SeqCst) && to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        if !self.is_silent.load(Ordering::SeqCst) {
            self.close();
        }
    }

    fn close(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }
}
