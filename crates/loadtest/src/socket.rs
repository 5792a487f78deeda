//! One client connection: a stream, how far it has come, and what waits to be written.
//!
//! Knows the handshake, frames and the client's conversation; does not know the poll loop, nor what payloads mean. Invariant: after
//! [`Socket::advance`] the socket has been read until it would block, so an edge-triggered poll tells of whatever comes next.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use protocol::frame::{self, Item, Limits, Parser, Role};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use socket2::{Domain, Protocol, Type};

use crate::centrifuge::{Arrival, Heard, Session, replies};
use crate::client::Client;
use crate::handshake;

/// What a server may send: far more than any test does.
const LIMITS: Limits = Limits {
    message_size: 16 << 20,
    fragments: 1024,
};

/// Gets what arrives, and when it was read.
type Deliver<'a> = dyn FnMut(Arrival<'_>, Instant) + 'a;

/// A connection that is being opened or open.
pub(crate) struct Socket {
    stream: Stream,
    stage: Stage,
    parser: Parser,
    outgoing: Vec<u8>,
    /// What a Centrifuge client says and hears; `None` if it is raw.
    session: Option<Session>,
    begun_at: Instant,
    /// When the handshake was done, from which on a Centrifuge client waits for its subscription.
    greeted_at: Option<Instant>,
}

enum Stage {
    /// TCP is not there yet; the request waits in `outgoing`.
    Connecting {
        key: String,
    },
    /// The answer is not complete; so far it says `head`.
    Handshaking {
        key: String,
        head: Vec<u8>,
    },
    /// The handshake is done, and the subscription is asked for.
    Subscribing,
    Open,
}

/// What [`Socket::advance`] has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing new about the connection itself.
    Same,
    /// Messages may be sent, and will arrive.
    Opened(Opened),
}

/// How opening went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opened {
    /// From the beginning to the 101.
    pub(crate) handshake: Duration,
    /// When connect and subscribe were sent; `None` if the client is raw.
    pub(crate) greeted_at: Option<Instant>,
}

impl Socket {
    /// Begins the connection of `client`. On Linux `source` picks the address to come from when the target is on IPv4 loopback: one
    /// address has ports for 28,000 connections only, and servers limit how many handshakes an address may have open. `receive_buffer` is
    /// the kernel's, in bytes, if it is not to have its usual size.
    pub(crate) fn connect(
        client: &Client,
        source: u8,
        receive_buffer: Option<usize>,
        tls: Option<&Arc<ClientConfig>>,
    ) -> io::Result<Self> {
        let target = &client.target;
        let socket = socket2::Socket::new(Domain::for_address(target.address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(size) = receive_buffer {
            socket.set_recv_buffer_size(size)?; // before connecting, which announces it
        }
        if let (IpAddr::V4(ip), true) = (target.address.ip(), cfg!(target_os = "linux"))
            && ip.is_loopback()
        {
            let source = SocketAddr::from((Ipv4Addr::new(127, 0, 0, source), 0));
            socket.bind(&source.into())?;
        }
        match socket.connect(&target.address.into()) {
            Err(error) if !is_in_progress(&error) => return Err(error),
            _ => {}
        }
        let stream = TcpStream::from_std(socket.into());
        let stream = match (&target.tls, tls) {
            (Some(name), Some(config)) => {
                let connection = ClientConnection::new(Arc::clone(config), name.clone()).map_err(io::Error::other)?;
                Stream::Tls(Box::new(StreamOwned::new(connection, stream)))
            }
            _ => Stream::Plain(stream),
        };
        let key = handshake::random_key();
        let session = client.session.clone();
        let outgoing = handshake::request(&target.host, &target.path, &key, subprotocol(session.as_ref()));
        let begun_at = Instant::now();
        Ok(Self {
            stream,
            stage: Stage::Connecting { key },
            parser: Parser::new(Role::Client),
            outgoing,
            session,
            begun_at,
            greeted_at: None,
        })
    }

    /// The socket to register with a poll.
    pub(crate) fn tcp(&mut self) -> &mut TcpStream {
        match &mut self.stream {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => &mut tls.sock,
        }
    }

    /// Whether messages may be sent.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open)
    }

    /// Writes and reads what can be, after the poll said that something can. What arrives goes to `deliver` with the time of its
    /// arrival. `has_ended` is the poll's word that the peer will send no more. An error, with its cause in words, is the end of it.
    pub(crate) fn advance(
        &mut self,
        buffer: &mut [u8],
        has_ended: bool,
        deliver: &mut Deliver<'_>,
    ) -> Result<Progress, String> {
        if let Stage::Connecting { key } = &mut self.stage {
            let key = std::mem::take(key);
            if !self.is_connected()? {
                self.stage = Stage::Connecting { key };
                return Ok(Progress::Same);
            }
            self.stage = Stage::Handshaking { key, head: Vec::new() };
        }
        self.flush()?;
        let mut progress = Progress::Same;
        loop {
            let read = match self.stream.read(buffer) {
                Ok(0) => return Err("connection closed without a Close frame".to_owned()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(progress),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.to_string()),
            };
            if let Some(opened) = self.consume(&buffer[..read], deliver)? {
                progress = Progress::Opened(opened);
            }
            // A short read has emptied a plain socket, and saves the read that would only say so.
            if read < buffer.len() && !has_ended && matches!(self.stream, Stream::Plain(_)) {
                return Ok(progress);
            }
        }
    }

    /// Publishes the JSON text `data`.
    pub(crate) fn publish(&mut self, data: &[u8]) -> Result<(), String> {
        let frame = match &mut self.session {
            Some(session) => session.publish(data),
            None => frame::client::text(data, rand::random()),
        };
        self.send(&frame)
    }

    /// Queues `bytes` and writes what can be written now.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.outgoing.extend_from_slice(bytes);
        self.flush()
    }

    fn is_connected(&mut self) -> Result<bool, String> {
        let tcp = self.tcp();
        if let Some(error) = tcp.take_error().map_err(|error| error.to_string())? {
            return Err(error.to_string());
        }
        match tcp.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Takes in what was read; says how opening went when this completed it.
    fn consume(&mut self, bytes: &[u8], deliver: &mut Deliver<'_>) -> Result<Option<Opened>, String> {
        let was_open = self.is_open();
        if let Stage::Handshaking { key, head } = &mut self.stage {
            head.extend_from_slice(bytes);
            let subprotocol = subprotocol(self.session.as_ref());
            let answer = handshake::read_answer(head, key, subprotocol).map_err(|error| error.to_string())?;
            let Some(frames_at) = answer else {
                return Ok(None);
            };
            let early = head.split_off(frames_at);
            self.greet()?;
            self.frames(&early, deliver)?;
        } else {
            self.frames(bytes, deliver)?;
        }
        if was_open || !self.is_open() {
            return Ok(None);
        }
        Ok(self.greeted_at.map(|greeted_at| Opened {
            handshake: greeted_at - self.begun_at,
            greeted_at: self.session.is_some().then_some(greeted_at),
        }))
    }

    /// The handshake is done: a raw client is where it wanted to be, another says so.
    fn greet(&mut self) -> Result<(), String> {
        self.greeted_at = Some(Instant::now());
        self.outgoing = Vec::new();
        let Some(session) = &mut self.session else {
            self.stage = Stage::Open;
            return Ok(());
        };
        let greeting = session.greeting();
        self.stage = Stage::Subscribing;
        self.send(&greeting)
    }

    fn frames(&mut self, mut bytes: &[u8], deliver: &mut Deliver<'_>) -> Result<(), String> {
        let now = Instant::now();
        while let Some(item) = self
            .parser
            .next(&mut bytes, &LIMITS)
            .map_err(|error| error.to_string())?
        {
            match item {
                Item::Message(message) => self.hear(&message.data, now, deliver)?,
                Item::Ping(data) => self.send(&frame::client::pong(&data, rand::random()))?,
                Item::Pong(_) => {}
                Item::Close { code: Some(code), .. } => return Err(closed_with(code)),
                Item::Close { code: None, .. } => return Err("closed without a code".to_owned()),
            }
        }
        Ok(())
    }

    fn hear(&mut self, message: &[u8], now: Instant, deliver: &mut Deliver<'_>) -> Result<(), String> {
        let Some(session) = &mut self.session else {
            deliver(Arrival::Publication(message), now);
            return Ok(());
        };
        let mut wants_pong = false;
        for reply in replies(session.format(), message) {
            match session.hear(reply.map_err(|error| error.to_string())?)? {
                Heard::Arrival(arrival) => deliver(arrival, now),
                Heard::Ping => wants_pong = true,
                Heard::Subscribed => self.stage = Stage::Open,
                Heard::Nothing => {}
            }
        }
        if wants_pong {
            let pong = session.pong();
            self.send(&pong)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), String> {
        while !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(0) => return Err("nothing more can be written".to_owned()),
                Ok(written) => drop(self.outgoing.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        match self.stream.flush() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error.to_string()),
            _ => Ok(()),
        }
    }
}

/// What the handshake of a client asks for.
fn subprotocol(session: Option<&Session>) -> Option<&'static str> {
    session.and_then(Session::subprotocol)
}

/// The end of a connection by a Close frame with `code`, in words.
pub(crate) fn closed_with(code: u16) -> String {
    format!("closed with {code}")
}

/// `connect` of a non-blocking socket says EINPROGRESS (115 on Linux, 36 on macOS), for which stable std has no kind.
fn is_in_progress(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || matches!(error.raw_os_error(), Some(115 | 36))
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}
