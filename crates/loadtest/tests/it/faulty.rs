//! A server that does one thing wrong, so that the load test can be seen to find it.
//!
//! Otherwise it relays like the floor, with a thread for each connection and one lock around everything.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use loadtest::handshake;
use protocol::frame::{self, Item, Limits, Parser, Role};

/// The message at which the fault happens; it always hits the first subscriber of the room, or the last
/// where that is said.
const AT: u64 = 5;

const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\r\n";

const LIMITS: Limits = Limits {
    message_size: 1 << 16,
    fragments: 16,
};

/// What the server does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Nothing,
    Drops,
    Duplicates,
    /// Holds a message back until the next has been sent.
    Swaps,
    /// Sends a message to all rooms.
    Leaks,
    /// Ends the subscriber's connection.
    HangsUp,
    /// Tells the last subscriber that it is too slow.
    GivesUp,
    /// Answers the handshake with 503.
    Refuses,
    /// Answers the first [`AT`] handshakes well and then as [`Fault::Refuses`].
    Tires,
    /// Answers the handshake with somebody else's accept key.
    MistakesKeys,
}

#[derive(Default)]
struct Rooms {
    members: HashMap<String, Vec<Arc<TcpStream>>>,
    handshakes: u64,
    messages: u64,
    held: Option<Vec<u8>>,
}

/// Starts the server on a free loopback port, for as long as the test process lives.
pub(crate) fn start(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let rooms = Arc::new(Mutex::new(Rooms::default()));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let rooms = Arc::clone(&rooms);
            // How a connection ends is for its client to see.
            std::thread::spawn(move || serve(stream, fault, &rooms).ok());
        }
    });
    address
}

fn serve(stream: TcpStream, fault: Fault, rooms: &Mutex<Rooms>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let stream = Arc::new(stream);
    let mut buffer = [0; 4096];
    let mut head = Vec::new();
    while handshake::head_length(&head).is_none() {
        let read = (&*stream).read(&mut buffer)?;
        head.extend_from_slice(&buffer[..read]);
        if read == 0 {
            return Ok(());
        }
    }
    let head = String::from_utf8(head).map_err(io::Error::other)?;
    let path = head.split(' ').nth(1).expect("a request line").to_owned();
    let key = handshake::header(&head, "sec-websocket-key").expect("a key");
    let is_tired = {
        let mut rooms = rooms.lock().expect("no panics");
        rooms.handshakes += 1;
        rooms.handshakes > AT
    };
    let accept = match fault {
        Fault::Tires if is_tired => return (&*stream).write_all(REFUSAL),
        Fault::Refuses => return (&*stream).write_all(REFUSAL),
        Fault::MistakesKeys => handshake::accept_for("another"),
        _ => handshake::accept_for(key),
    };
    rooms
        .lock()
        .expect("no panics")
        .members
        .entry(path.clone())
        .or_default()
        .push(Arc::clone(&stream));
    let answer = format!("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {accept}\r\n\r\n");
    (&*stream).write_all(answer.as_bytes())?;

    let mut parser = Parser::new(Role::Server);
    loop {
        let read = (&*stream).read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        let mut bytes = &buffer[..read];
        while let Some(item) = parser.next(&mut bytes, &LIMITS).map_err(io::Error::other)? {
            match item {
                Item::Message(message) => {
                    rooms
                        .lock()
                        .expect("no panics")
                        .relay(&path, &frame::text(&message.data), fault);
                }
                Item::Close { .. } => return stream.shutdown(Shutdown::Both),
                Item::Ping(_) | Item::Pong(_) => {}
            }
        }
    }
}

impl Rooms {
    fn relay(&mut self, path: &str, frame: &[u8], fault: Fault) {
        let is_hit = self.messages == AT;
        self.messages += 1;
        for (place, member) in self.members[path].iter().enumerate() {
            if place > 0 {
                write(member, frame);
                continue;
            }
            match fault {
                Fault::Drops if is_hit => {}
                Fault::HangsUp if is_hit => drop(member.shutdown(Shutdown::Both)),
                Fault::Swaps if is_hit => self.held = Some(frame.to_owned()),
                Fault::Duplicates if is_hit => write(member, &[frame, frame].concat()),
                _ => write(member, frame),
            }
            if !is_hit && let Some(held) = self.held.take() {
                write(member, &held);
            }
        }
        if fault == Fault::GivesUp
            && is_hit
            && let Some(last) = self.members[path].last()
        {
            write(last, &frame::close(Some((1013, "slow consumer"))));
        }
        if fault == Fault::Leaks && is_hit {
            let others = self.members.iter().filter(|(other, _)| other.as_str() != path);
            others
                .flat_map(|(_, members)| members)
                .for_each(|member| write(member, frame));
        }
    }
}

/// A member that is gone is found by its own thread.
fn write(mut member: &TcpStream, frame: &[u8]) {
    member.write_all(frame).unwrap_or(());
}
