//! Opens connections to Redis: name, TCP, TLS.
//!
//! Resolves the name anew for each attempt and tries every address in turn. A connection comes with keepalive and, where the system has
//! it, a user timeout, so that the kernel too gives up on a dead peer. Knows nothing of what is said on the connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::config::{Resolve, Target};
use super::trouble::Trouble;

/// More addresses than this behind one name are not tried.
const MAX_ADDRESSES: usize = 16;
/// How long to wait for attempts until another begins beside them.
const HEAD_START: Duration = Duration::from_millis(500);
/// How long a connection may be idle until the kernel asks whether the peer lives, and how often it asks again.
pub(crate) const KEEPALIVE: Duration = Duration::from_secs(10);
/// How long the kernel waits for an acknowledgement of what was sent.
#[cfg(target_os = "linux")]
pub(crate) const USER_TIMEOUT: Duration = Duration::from_secs(10);

/// An open connection, with or without TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Opens connections to one Redis.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) target: Target,
    pub(crate) resolver: Arc<dyn Resolve>,
    /// How long finding the name, and trying one address, may take, each.
    pub(crate) patience: Duration,
}

impl Connector {
    /// A connection on which nothing has been said yet. While attempts are under way, another begins every [`HEAD_START`], because an
    /// address may swallow packets, and Redis may have moved since it was found. The first attempt that ends decides, well or not.
    pub(crate) async fn open(&self) -> Result<Box<dyn Stream>, Trouble> {
        let mut attempts = FuturesUnordered::new();
        loop {
            attempts.push(self.attempt(attempts.len()));
            if let Ok(Some(outcome)) = timeout(HEAD_START, attempts.next()).await {
                return outcome;
            }
        }
    }

    /// Resolves the name and tries its addresses, the one at `first` first.
    async fn attempt(&self, first: usize) -> Result<Box<dyn Stream>, Trouble> {
        let mut last = Trouble::NoAddress {
            host: self.target.host.clone(),
        };
        let addresses = self.addresses().await?;
        let count = addresses.len();
        for address in addresses.into_iter().cycle().skip(first).take(count) {
            match timeout(self.patience, self.open_at(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(trouble)) => last = trouble,
                Err(_) => {
                    last = Trouble::ConnectTimeout {
                        address,
                        patience: self.patience,
                    }
                }
            }
        }
        Err(last)
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>, Trouble> {
        let Target { host, port, .. } = &self.target;
        let failed = |source| Trouble::Resolve {
            host: host.clone(),
            source,
        };
        let bare_host = host.trim_start_matches('[').trim_end_matches(']');
        let found = timeout(self.patience, self.resolver.resolve(bare_host, *port)).await;
        let mut addresses = found
            .map_err(|_| failed(io::ErrorKind::TimedOut.into()))?
            .map_err(failed)?;
        addresses.truncate(MAX_ADDRESSES);
        Ok(addresses)
    }

    async fn open_at(&self, address: SocketAddr) -> Result<Box<dyn Stream>, Trouble> {
        let failed = |source| Trouble::Connect { address, source };
        let stream = TcpStream::connect(address).await.map_err(failed)?;
        if is_own_echo(&stream) {
            return Err(failed(io::ErrorKind::ConnectionRefused.into()));
        }
        tune(&stream).map_err(failed)?;
        match &self.target.tls {
            None => Ok(Box::new(stream)),
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await;
                Ok(Box::new(stream.map_err(|source| Trouble::Tls {
                    host: self.target.host.clone(),
                    source,
                })?))
            }
        }
    }
}

/// Whether the connection ends where it began. That can happen when nothing listens at a port that the kernel may also give to clients;
/// such a connection would keep the port from the Redis that is to come back.
fn is_own_echo(stream: &TcpStream) -> bool {
    matches!((stream.local_addr(), stream.peer_addr()), (Ok(local), Ok(peer)) if local == peer)
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(())
}
