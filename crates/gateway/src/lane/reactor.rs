//! One loop per core: sockets in, frames out.
//!
//! A plain thread on `mio`: no async, no locks of its own, no allocation per delivery. Owns its sockets and one read buffer; what is to be
//! done with frames and connections is [`Connections`]'s. One turn takes what the node has for it, then what its sockets have, then
//! writes. Invariant: nobody but this thread touches its sockets.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use protocol::Close;
use protocol::frame::{Item as Frame, Limits, Parser, Role};
use socket2::SockRef;

use crate::lane::Lane;
use crate::lane::connections::{Connections, LaneSettings, Wire};
use crate::lane::directory::Directory;
use crate::lane::id::ConnectionId;
use crate::lane::id::SocketKey;
use crate::lane::inbox::{Handover, Inbox, Item};
use crate::lane::outbound::Outbound;
use crate::lane::rest::{Rest, Turn};
use crate::stats::{Ended, LaneStats};

const WAKE: Token = Token(usize::MAX);
/// The loop turns at least this often, so that a dead one can be told from a quiet one.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// So much is read from a socket before the next one has its turn.
const READ_BUFFER: usize = 64 * 1024;
/// Publications are handed to the node at this many, or at the end of the turn.
const BATCH: usize = 512;

/// Starts the reactor's thread.
pub(crate) fn start(
    number: usize,
    settings: LaneSettings,
    outbound: Arc<Outbound>,
    directory: Arc<Directory>,
) -> io::Result<(Lane, JoinHandle<()>)> {
    let poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), WAKE)?;
    let wake = move || waker.wake().expect("an eventfd takes a wake at any time");
    let lane = Lane {
        inbox: Arc::new(Inbox::new(settings.inbox, wake)),
        stats: Arc::new(LaneStats::new(number)),
        woken: None,
    };
    let reactor = Reactor {
        poll,
        frames: settings.frames,
        connections: Connections::new(settings, Arc::clone(&lane.stats), directory),
        lane: lane.clone(),
        outbound,
        read_buffer: vec![0; READ_BUFFER].into(),
        is_held: false,
        unread: Vec::new(),
        has_more: false,
        rest: Rest::new(Instant::now()),
        is_stopped: false,
    };
    let thread = std::thread::Builder::new()
        .name(format!("reactor-{number}"))
        .spawn(move || {
            // Sockets without a loop would look alive for ever: better no process than that.
            if catch_unwind(AssertUnwindSafe(|| reactor.run())).is_err() {
                std::process::abort();
            }
        })?;
    Ok((lane, thread))
}

struct Reactor {
    poll: Poll,
    lane: Lane,
    frames: Limits,
    connections: Connections<Socket>,
    outbound: Arc<Outbound>,
    read_buffer: Box<[u8]>,
    /// The node takes no more publications; sockets are not read until it does.
    is_held: bool,
    /// Sockets that may have more to read.
    unread: Vec<ConnectionId>,
    /// The inbox has more than one turn should take.
    has_more: bool,
    rest: Rest,
    is_stopped: bool,
}

/// A socket and what is half read from it.
struct Socket {
    stream: TcpStream,
    parser: Parser,
    /// It is among the sockets that may have more to read.
    is_unread: bool,
    /// The kernel has said that it ends, and says no more: it is read until the end is reached.
    is_ending: bool,
}

impl Reactor {
    fn run(mut self) {
        let mut events = Events::with_capacity(1024);
        let mut items = VecDeque::new();
        while !self.is_stopped {
            let sleep = self.sleep();
            match self.poll.poll(&mut events, Some(sleep)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => panic!("epoll failed: {error}"),
                _ => {}
            }
            let began = Instant::now();
            self.connections.set_now(began);
            self.has_more = self.lane.inbox.take(&mut items);
            let delivered = self.lane.stats.deliveries.get();
            let publications = items
                .iter()
                .filter(|item| matches!(item, Item::Publication(..)))
                .count();
            let pieces = items.len() + events.iter().filter(|event| event.token() != WAKE).count();
            for item in items.drain(..) {
                self.act(item);
            }
            self.read_on();
            for event in events.iter().filter(|event| event.token() != WAKE) {
                let Some(key) = self.connections.find(id(event.token())) else {
                    continue;
                };
                if event.is_writable() {
                    self.connections.write_on(key);
                }
                let is_ending = event.is_read_closed() || event.is_error();
                if let Some(socket) = self.connections.wire(key) {
                    socket.is_ending |= is_ending;
                }
                if event.is_readable() || is_ending {
                    self.read(key);
                }
            }
            self.hand_over();
            self.connections.flush();
            self.connections.look_at_due();
            self.hand_over();
            self.connections.report(began);
            self.rest(Turn {
                pieces,
                publications,
                deliveries: self.lane.stats.deliveries.get() - delivered,
            });
        }
    }

    /// Lets more work come together, if there was much lately and nothing is due.
    fn rest(&mut self, turn: Turn) {
        let now = Instant::now();
        let Some(rest) = self.rest.after(turn, now).filter(|_| !self.has_more) else {
            return;
        };
        let due = self
            .connections
            .next_due()
            .map(|due| due.saturating_duration_since(now));
        std::thread::sleep(due.map_or(rest, |due| due.min(rest)));
    }

    /// How long nothing needs to be done, unless something comes in.
    fn sleep(&mut self) -> Duration {
        if self.has_more || !self.unread.is_empty() && !self.is_held {
            return Duration::ZERO;
        }
        let due = self
            .connections
            .next_due()
            .map(|due| due.saturating_duration_since(Instant::now()));
        due.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP)
    }

    fn act(&mut self, item: Item) {
        match item {
            Item::Publication(publication, at) => self.connections.hub.collect(&publication, at),
            Item::Open(handover) => self.open(*handover),
            Item::Subscribed(subscribed) => self.connections.subscribed(subscribed.0, subscribed.1),
            Item::Answer(answer) => self.connections.answer(answer.0, answer.1),
            Item::Commands(_) => unreachable!("sockets bring their commands themselves"),
            Item::Consulted(word) => self.connections.consulted(word.0, word.1),
            Item::Order(order) => self.connections.obey(order.0, order.1),
            Item::Recheck(whom) => {
                if let Some(rest) = self.connections.recheck(whom) {
                    self.lane.inbox.push(Item::Recheck(rest));
                }
            }
            Item::Count(count) => {
                // Whoever asked may have given up.
                let _ = count.1.send(self.connections.hub.count(count.0.as_deref()));
            }
            Item::Drain(pace) => self.connections.drain(pace),
            Item::Pause(pause) => std::thread::sleep(pause),
            Item::Stop => self.is_stopped = true,
        }
    }

    fn open(&mut self, handover: Handover) {
        let Handover {
            stream,
            head,
            early,
            client,
            admitted,
            interest,
            first,
        } = handover;
        let mut stream = TcpStream::from_std(stream);
        let token = token(self.connections.next_id());
        if let Err(error) = self
            .poll
            .registry()
            .register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)
        {
            tracing::warn!(%error, "a connection cannot be watched");
            return;
        }
        let socket = Socket {
            stream,
            parser: Parser::new(Role::Server),
            is_unread: false,
            is_ending: false,
        };
        let key = self.connections.open(socket, client, admitted, interest, &head);
        if let Some(message) = first {
            self.guard(key, |reactor| reactor.connections.receive(key, Frame::Message(message)));
        }
        if !early.is_empty() {
            self.receive(key, &early);
        }
    }

    /// Reads a socket once.
    fn read(&mut self, key: SocketKey) {
        if self.is_held {
            return self.read_later(key);
        }
        let Some(socket) = self.connections.wire(key) else {
            return;
        };
        let is_ending = socket.is_ending;
        let mut buffer = std::mem::take(&mut self.read_buffer);
        match socket.read(&mut buffer) {
            Ok(Some(0)) | Err(_) => self.connections.end(key, Ended::Lost),
            Ok(Some(read)) => {
                self.receive(key, &buffer[..read]);
                // A short read has emptied the socket; what comes later comes with its own event.
                if read == buffer.len() || is_ending {
                    self.read_later(key);
                }
            }
            Ok(None) => {}
        }
        self.read_buffer = buffer;
    }

    fn read_later(&mut self, key: SocketKey) {
        let Some(id) = self.connections.id(key) else { return };
        if self
            .connections
            .wire(key)
            .is_some_and(|socket| !std::mem::replace(&mut socket.is_unread, true))
        {
            self.unread.push(id);
        }
    }

    /// Goes on with the sockets that had more to read than their share of the last turn.
    fn read_on(&mut self) {
        if self.is_held && !self.outbound.is_open() {
            return;
        }
        self.is_held = false;
        for id in std::mem::take(&mut self.unread) {
            let Some(key) = self.connections.find(id) else { continue };
            if let Some(socket) = self.connections.wire(key) {
                socket.is_unread = false;
            }
            self.read(key);
        }
    }

    /// Handles what a socket has received.
    fn receive(&mut self, key: SocketKey, input: &[u8]) {
        self.lane.stats.received_bytes.add(input.len() as u64);
        self.guard(key, |reactor| reactor.parse(key, input));
    }

    /// Does something about a socket. A panic costs this socket only.
    fn guard(&mut self, key: SocketKey, act: impl FnOnce(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| act(self))).is_err() {
            self.lane.stats.panics.add(1);
            self.connections.close(key, Close::Internal);
        }
    }

    fn parse(&mut self, key: SocketKey, mut input: &[u8]) {
        while self.connections.hears(key) {
            let Some(socket) = self.connections.wire(key) else {
                break;
            };
            match socket.parser.next(&mut input, &self.frames) {
                Ok(Some(frame)) => self.connections.receive(key, frame),
                Ok(None) => break,
                Err(error) => self.connections.fail(key, error),
            }
            if self.connections.asks.len() >= BATCH {
                self.hand_over();
            }
        }
        self.connections.answered(key);
    }

    /// Gives the node what was read.
    fn hand_over(&mut self) {
        if !self.connections.asks.is_empty() && !self.outbound.push(&mut self.connections.asks) {
            self.is_held = true;
        }
    }
}

impl Socket {
    /// Reads once. `None`: nothing there now; 0: the client's end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match self.stream.read(buffer) {
                Ok(read) => return Ok(Some(read)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.stream.write_vectored(pieces)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Wire for Socket {
    fn hang_up(&mut self) {
        // Fails only if the connection is gone already.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    fn reset(&mut self) {
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }
}

/// Names a connection to the kernel.
fn token(id: ConnectionId) -> Token {
    Token(id.key | (id.generation as usize) << 32)
}

fn id(token: Token) -> ConnectionId {
    ConnectionId {
        key: token.0 & 0xffff_ffff,
        generation: u32::try_from(token.0 >> 32).unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use bytes::Bytes;
    use protocol::frame::client;
    use protocol::{Channel, Dialect};

    use super::*;
    use crate::admission::{Admission, AdmissionLimits};
    use crate::client::{Client, Mode, Plain, Talk};
    use crate::lane::connections::Rhythm;
    use crate::lane::hub::WindowSettings;
    use crate::lane::inbox::InboxLimits;
    use crate::lane::interest::Interests;

    const SETTINGS: LaneSettings = LaneSettings {
        frames: Limits {
            message_size: 1024,
            fragments: 8,
        },
        outbox: 1 << 20,
        outboxes: 1 << 20,
        inbox: InboxLimits {
            publications: 100,
            bytes: 1 << 20,
            turn_bytes: 1 << 20,
        },
        windows: WindowSettings {
            window: Duration::ZERO,
            longest: Duration::ZERO,
            fan_out: 50,
        },
        ping_interval: Duration::from_secs(30),
        ping_timeout: Duration::from_secs(30),
        rhythm: Rhythm {
            connect_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(25),
            pong_timeout: Duration::from_secs(8),
        },
        connections_per_user: 0,
        drain_timeout: Duration::from_secs(10),
    };

    /// A client of `lane`, by its own end of the connection.
    fn connect(lane: &Lane, interests: &Arc<Interests>, mode: Mode) -> std::net::TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let ours = std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        let (stream, peer) = listener.accept().expect("a connection");
        stream.set_nonblocking(true).expect("a socket");
        ours.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket");
        let channel = Channel::parse("news").expect("valid");
        let limits = AdmissionLimits {
            connections: 9,
            connections_per_address: 0,
            handshakes: 9,
            handshakes_per_address: 0,
            trusted_proxies: vec![],
        };
        let durations = prometheus::Histogram::with_opts(prometheus::HistogramOpts::new("d", "d")).expect("valid");
        let admitted = Admission::new(limits, durations).admit(peer.ip()).expect("room");
        let interest = interests.hold(&channel, Some(0), None);
        let client = Client::new(
            Dialect::Raw { channel },
            Talk::Plain(Plain::new(mode)),
            None,
            8,
            Instant::now(),
        );
        let (head, early) = (Bytes::new(), Bytes::new());
        lane.inbox.push(Item::Open(Box::new(Handover {
            stream,
            head,
            early,
            client,
            admitted,
            interest: Some(interest),
            first: None,
        })));
        ours
    }

    #[test]
    fn a_panic_costs_one_connection() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let inside = runtime.enter();
        let (bus, _events) = bus::MemoryBus::start(bus::QueueLimits {
            messages: 9,
            bytes: 999,
        });
        let interests = Interests::new(bus, 1);
        let (lane, thread) = start(0, SETTINGS, Arc::new(Outbound::new(9, 999)), Arc::default()).expect("a reactor");
        let mut ill = connect(&lane, &interests, Mode::Panics);
        let mut well = connect(&lane, &interests, Mode::Echoes);

        ill.write_all(&client::text(b"1", [1; 4])).expect("open");
        let mut close = [0; 4];
        ill.read_exact(&mut close).expect("a Close");
        assert_eq!((close[0], u16::from_be_bytes([close[2], close[3]])), (0x88, 1011));

        well.write_all(&client::text(b"still here", [1; 4])).expect("open");
        let mut echo = [0; 12];
        well.read_exact(&mut echo).expect("an echo");
        assert_eq!(&echo[2..], b"still here");
        assert_eq!(lane.stats.panics.get(), 1);

        lane.inbox.push(Item::Stop);
        thread.join().expect("it ends");
        drop(inside);
    }
}
