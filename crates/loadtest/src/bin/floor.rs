//! `floor`: the least a server can do. One thread, one epoll, one write for each subscriber, and nothing else.
//!
//! Every message of a connection goes unchanged to all connections of the same path, its own included. No JSON is checked, nothing is
//! merged, no limit is kept, and pings are not sent. What a real server costs above this is what it costs at all, so benchmarks print
//! their figures as ratios to it. Not for any other use.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::SocketAddr;

use clap::Parser as _;
use loadtest::handshake;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use protocol::frame::{self, Item, Limits, Parser, Role};

const LISTENER: Token = Token(usize::MAX);
const LIMITS: Limits = Limits {
    message_size: 1 << 20,
    fragments: 1024,
};

/// The least a WebSocket server can do: the floor under every benchmark.
#[derive(Debug, clap::Parser)]
struct Arguments {
    /// The port to listen on, on loopback; 0 takes a free one, which is printed.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], arguments.port)))?;
    println!("listening on {}", listener.local_addr()?);
    Floor::new(listener)?.serve()
}

struct Floor {
    poll: Poll,
    listener: TcpListener,
    /// A connection's index is its token, and is taken again when the connection is gone.
    connections: Vec<Option<Connection>>,
    vacant: Vec<usize>,
    /// Path to connections.
    rooms: HashMap<String, Vec<usize>>,
}

struct Connection {
    stream: TcpStream,
    /// Empty until the handshake is done.
    path: String,
    head: Vec<u8>,
    parser: Parser,
    outgoing: Vec<u8>,
}

impl Floor {
    fn new(mut listener: TcpListener) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            listener,
            connections: Vec::new(),
            vacant: Vec::new(),
            rooms: HashMap::new(),
        })
    }

    fn serve(mut self) -> anyhow::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                if event.token() == LISTENER {
                    self.accept()?;
                    continue;
                }
                let index = event.token().0;
                if self.advance(index, &mut buffer).is_err() {
                    self.remove(index);
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            stream.set_nodelay(true)?;
            let index = self.vacant.pop().unwrap_or(self.connections.len());
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, Token(index), interest)?;
            let connection = Connection {
                stream,
                path: String::new(),
                head: Vec::new(),
                parser: Parser::new(Role::Server),
                outgoing: Vec::new(),
            };
            if index == self.connections.len() {
                self.connections.push(Some(connection));
            } else {
                self.connections[index] = Some(connection);
            }
        }
    }

    /// Writes and reads what can be; an error ends the connection.
    fn advance(&mut self, index: usize, buffer: &mut [u8]) -> io::Result<()> {
        if let Some(connection) = &mut self.connections[index] {
            connection.flush()?;
        }
        while let Some(connection) = &mut self.connections[index] {
            let read = match connection.stream.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let bytes = &buffer[..read];
            if connection.path.is_empty() {
                self.greet(index, bytes)?;
            } else {
                self.frames(index, bytes)?;
            }
        }
        Ok(())
    }

    fn greet(&mut self, index: usize, bytes: &[u8]) -> io::Result<()> {
        let Some(connection) = &mut self.connections[index] else {
            return Ok(());
        };
        connection.head.extend_from_slice(bytes);
        let Some(length) = handshake::head_length(&connection.head) else {
            return Ok(());
        };
        let early = connection.head.split_off(length);
        let head = std::mem::take(&mut connection.head);
        let head = std::str::from_utf8(&head).map_err(io::Error::other)?;
        let path = head.split(' ').nth(1);
        let key = handshake::header(head, "sec-websocket-key");
        let (Some(path), Some(key)) = (path, key) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            handshake::accept_for(key)
        );
        connection.path = path.to_owned();
        connection.send(answer.as_bytes())?;
        self.rooms.entry(path.to_owned()).or_default().push(index);
        self.frames(index, &early)
    }

    fn frames(&mut self, index: usize, mut bytes: &[u8]) -> io::Result<()> {
        while let Some(connection) = &mut self.connections[index] {
            match connection.parser.next(&mut bytes, &LIMITS).map_err(io::Error::other)? {
                None => return Ok(()),
                Some(Item::Message(message)) => self.broadcast(index, &message.data),
                Some(Item::Ping(data)) => connection.send(&frame::pong(&data))?,
                Some(Item::Pong(_)) => {}
                Some(Item::Close { .. }) => {
                    connection.send(&frame::close(Some((1000, ""))))?;
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
            }
        }
        Ok(())
    }

    fn broadcast(&mut self, from: usize, payload: &[u8]) {
        let Some(sender) = &self.connections[from] else { return };
        let frame = frame::text(payload);
        for index in &self.rooms[&sender.path] {
            if let Some(subscriber) = &mut self.connections[*index] {
                // A broken subscriber is found by its own event.
                subscriber.send(&frame).unwrap_or(());
            }
        }
    }

    fn remove(&mut self, index: usize) {
        let Some(connection) = self.connections[index].take() else {
            return;
        };
        self.vacant.push(index);
        if let Some(room) = self.rooms.get_mut(&connection.path) {
            room.retain(|member| *member != index);
            if room.is_empty() {
                self.rooms.remove(&connection.path);
            }
        }
    }
}

impl Connection {
    /// Writes at once, and keeps what does not fit.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.outgoing.is_empty() {
            self.outgoing.extend_from_slice(bytes);
            return Ok(());
        }
        let written = match self.stream.write(bytes) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        self.outgoing.extend_from_slice(&bytes[written..]);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(written) => drop(self.outgoing.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
