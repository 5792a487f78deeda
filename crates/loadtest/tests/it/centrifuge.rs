//! The load test speaking Centrifuge, against a server that does one thing wrong.
//!
//! The server decodes and encodes with `protocol`, so what the load test reads is what a gateway would write.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use loadtest::handshake;
use protocol::dialect::{Carrier, Format};
use protocol::event::{Answer, Connected, Subscribed};
use protocol::frame::{self, Item, Limits, Parser, Role};
use protocol::{Channel, Command, CommandError, Dialect, Encoding, Event, Publication, Request};
use serde_json::json;

use super::run;

/// The publication at which the fault happens.
const AT: u64 = 5;

const LIMITS: Limits = Limits {
    message_size: 1 << 16,
    fragments: 16,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Nothing,
    /// The first client does not get a publication.
    Drops,
    /// The first client gets a publication twice.
    Duplicates,
    /// The first client gets a publication as one of another channel.
    Renames,
    /// No fault: publications come in fragments, a few bytes at a time.
    Splits,
    /// A publish command is carried out, but not answered.
    Forgets,
    /// A publish command is refused.
    Forbids,
    /// The first client gets a publication that breaks off.
    Breaks,
    /// Subscribing is answered when a ping is, and a pong for nothing ends the connection.
    Pings,
    /// Nobody may connect.
    Rejects,
    /// Nobody may subscribe.
    Locks,
    /// Subscribing is never answered.
    Ignores,
}

struct Member {
    stream: Arc<TcpStream>,
    channel: Channel,
}

#[derive(Default)]
struct Members {
    all: Vec<Member>,
    published: u64,
}

struct Server {
    fault: Fault,
    encoding: Encoding,
    members: Mutex<Members>,
}

/// Starts a server on a free loopback port, for as long as the test process lives.
fn start(fault: Fault, format: Format) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let server = Arc::new(Server {
        fault,
        encoding: Dialect::Centrifuge(format, Carrier::Frames).encoding(),
        members: Mutex::default(),
    });
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let server = Arc::clone(&server);
            // How a connection ends is for its client to see.
            std::thread::spawn(move || server.serve(Arc::new(stream), format).ok());
        }
    });
    address
}

impl Server {
    fn serve(&self, stream: Arc<TcpStream>, format: Format) -> io::Result<()> {
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
        assert!(head.starts_with("GET /connection/websocket HTTP/1.1\r\n"), "{head}");
        let accept = handshake::accept_for(handshake::header(&head, "sec-websocket-key").expect("a key"));
        let subprotocol = match handshake::header(&head, "sec-websocket-protocol") {
            Some(name) => format!("Sec-WebSocket-Protocol: {name}\r\n"),
            None => String::new(),
        };
        let answer = format!("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {accept}\r\n{subprotocol}\r\n");
        (&*stream).write_all(answer.as_bytes())?;

        let dialect = Dialect::Centrifuge(format, Carrier::Frames);
        let mut parser = Parser::new(Role::Server);
        let mut held = None;
        loop {
            let read = (&*stream).read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            let mut bytes = &buffer[..read];
            while let Some(item) = parser.next(&mut bytes, &LIMITS).map_err(io::Error::other)? {
                match item {
                    Item::Message(message) => {
                        for request in dialect.decode(message, 16) {
                            let request = request.map_err(io::Error::other)?;
                            let request = match &request.command {
                                Ok(Command::Subscribe(_)) if self.fault == Fault::Pings => {
                                    held = Some(request);
                                    (&*stream).write_all(self.encoding.ping())?;
                                    continue;
                                }
                                Ok(Command::Pong) => held.take().ok_or(io::ErrorKind::InvalidData)?,
                                _ => request,
                            };
                            self.carry_out(&stream, request)?;
                        }
                    }
                    Item::Close { .. } => return stream.shutdown(Shutdown::Both),
                    Item::Ping(_) | Item::Pong(_) => {}
                }
            }
        }
    }

    fn carry_out(&self, stream: &Arc<TcpStream>, request: Request) -> io::Result<()> {
        let mut members = self.members.lock().expect("no panics");
        let id = request.id;
        match request.command.map_err(io::Error::other)? {
            Command::Connect(_) if self.fault == Fault::Rejects => {
                self.answer(stream, id, Err(&CommandError::Unauthorized))
            }
            Command::Connect(_) => {
                let connected = Connected {
                    client: "c".to_owned(),
                    ping: Some(Duration::from_secs(25)),
                    ..Connected::default()
                };
                self.answer(stream, id, Ok(&Answer::Connected(Box::new(connected))))
            }
            Command::Subscribe(_) if self.fault == Fault::Locks => {
                self.answer(stream, id, Err(&CommandError::PermissionDenied))
            }
            Command::Subscribe(_) if self.fault == Fault::Ignores => Ok(()),
            Command::Subscribe(subscribe) => {
                let member = Member {
                    stream: Arc::clone(stream),
                    channel: subscribe.channel,
                };
                self.answer(stream, id, Ok(&Answer::Subscribed(Box::<Subscribed>::default())))?;
                members.all.push(member);
                Ok(())
            }
            Command::Publish { channel, data } => {
                let is_hit = members.published == AT;
                members.published += 1;
                match self.fault {
                    Fault::Forbids if is_hit => return self.answer(stream, id, Err(&CommandError::PermissionDenied)),
                    Fault::Forgets if is_hit => {}
                    _ => self.answer(stream, id, Ok(&Answer::Published))?,
                }
                let publication = Publication::new(channel, data);
                self.deliver(&members, &publication, is_hit);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A member that is gone is found by its own thread.
    fn deliver(&self, members: &Members, publication: &Publication, is_hit: bool) {
        let frame = publication.frame(self.encoding);
        let ours = members
            .all
            .iter()
            .filter(|member| member.channel == publication.channel);
        for (place, member) in ours.enumerate() {
            let write = |bytes: &[u8]| (&*member.stream).write_all(bytes).unwrap_or(());
            match self.fault {
                Fault::Drops if is_hit && place == 0 => {}
                Fault::Splits => fragments(frame).chunks(7).for_each(write),
                Fault::Duplicates if is_hit && place == 0 => write(&self.joined(frame)),
                Fault::Renames if is_hit && place == 0 => {
                    let other = Channel::parse("other").expect("a channel");
                    write(Publication::new(other, publication.data.clone()).frame(self.encoding));
                }
                Fault::Breaks if is_hit && place == 0 => {
                    let message = payload(frame);
                    write(&self.frame(&message[..message.len() - 1]));
                }
                _ => write(frame),
            }
        }
    }

    /// The message of `frame` twice in one frame.
    fn joined(&self, frame: &[u8]) -> Vec<u8> {
        let message = payload(frame);
        match self.encoding {
            Encoding::CentrifugeJson => self.frame(&[&message[..], b"\n", &message].concat()),
            _ => self.frame(&[message.clone(), message].concat()),
        }
    }

    fn frame(&self, message: &[u8]) -> Vec<u8> {
        match self.encoding {
            Encoding::CentrifugeJson => frame::text(message).to_vec(),
            _ => frame::binary(message).to_vec(),
        }
    }

    fn answer(&self, stream: &TcpStream, id: u32, result: Result<&Answer, &CommandError>) -> io::Result<()> {
        let event = Event::Answer { id, result };
        (&*stream).write_all(&self.encoding.encode(&event))
    }
}

/// The message of `frame` in frames of at most 50 bytes.
fn fragments(frame: &[u8]) -> Vec<u8> {
    let message = payload(frame);
    let pieces: Vec<_> = message.chunks(50).collect();
    let frames = pieces.iter().enumerate().map(|(place, piece)| {
        let opcode = if place == 0 { frame[0] & 0x0f } else { 0 };
        let fin = if place + 1 == pieces.len() { 0x80 } else { 0 };
        let length = u8::try_from(piece.len()).expect("at most 50");
        [&[opcode | fin, length][..], piece].concat()
    });
    frames.flatten().collect()
}

/// What is in a server's frame.
fn payload(frame: &[u8]) -> Vec<u8> {
    let mut parser = Parser::new(Role::Client);
    match parser.next(&mut &frame[..], &LIMITS) {
        Ok(Some(Item::Message(message))) => message.data.to_vec(),
        other => panic!("not a message: {other:?}"),
    }
}

const DIALECTS: [(Format, &str); 2] = [
    (Format::Json, "centrifuge-json"),
    (Format::Protobuf, "centrifuge-protobuf"),
];

/// Chats in two rooms on a server with `fault`; `counts` are lost, duplicated, misdelivered and answered.
#[track_caller]
fn check(fault: Fault, counts: [u64; 4], problems: &[&str]) {
    for (format, dialect) in DIALECTS {
        let url = format!("ws://{}", start(fault, format));
        let (code, report) = run(&[
            "chat",
            "--url",
            &url,
            "--dialect",
            dialect,
            "--clients",
            "8",
            "--rooms",
            "2",
            "--rate",
            "50",
            "--duration",
            "200ms",
            "--patience",
            "500ms",
        ]);
        let traffic = &report["traffic"];
        let seen = ["lost", "duplicated", "misdelivered"].map(|name| traffic[name].as_u64());
        let answered = traffic["answers"]["answered"].as_u64();
        let seen = [seen[0], seen[1], seen[2], answered];
        assert_eq!(seen, counts.map(Some), "{fault:?} in {dialect}: {report}");
        assert_eq!(code, Some(i32::from(!problems.is_empty())), "{fault:?} in {dialect}");
        assert_eq!(report["problems"], json!(problems), "{fault:?} in {dialect}");
    }
}

#[test]
fn faults_are_found_and_nothing_else() {
    check(Fault::Nothing, [0, 0, 0, 80], &[]);
    check(Fault::Splits, [0, 0, 0, 80], &[]);
    check(Fault::Drops, [1, 0, 0, 80], &["1 lost"]);
    check(Fault::Duplicates, [0, 1, 0, 80], &["1 duplicated"]);
    check(
        Fault::Renames,
        [1, 0, 1, 80],
        &["1 lost", "1 delivered in another channel"],
    );
    check(Fault::Forgets, [0, 0, 0, 79], &["79 answers to 80 publish commands"]);
    check(
        Fault::Forbids,
        [4, 0, 0, 80],
        &["4 lost", "1 publish commands failed (error 103: permission denied)"],
    );
}

#[test]
fn pings_are_answered_once() {
    check(Fault::Pings, [0, 0, 0, 80], &[]);
}

#[test]
fn a_publication_that_breaks_off_ends_the_connection() {
    for (format, dialect) in DIALECTS {
        let url = format!("ws://{}", start(Fault::Breaks, format));
        let (code, report) = run(&[
            "fanout",
            "--url",
            &url,
            "--dialect",
            dialect,
            "--subscribers",
            "4",
            "--rate",
            "50",
            "--duration",
            "500ms",
            "--patience",
            "300ms",
        ]);
        assert_eq!(code, Some(1), "{report}");
        let ended = report["ended"].as_object().expect("an object");
        assert!(
            ended.len() == 1
                && ended
                    .iter()
                    .all(|(why, count)| why.starts_with("sent something that is not") && *count == 1),
            "{report}"
        );
    }
}

/// None of two clients can subscribe, for `reason`.
#[track_caller]
fn check_refused(fault: Fault, reason: &str) {
    for (format, dialect) in DIALECTS {
        let url = format!("ws://{}", start(fault, format));
        let (code, report) = run(&[
            "storm",
            "--url",
            &url,
            "--dialect",
            dialect,
            "--connections",
            "2",
            "--attempts",
            "1",
            "--open-timeout",
            "500ms",
        ]);
        assert_eq!(code, Some(1), "{report}");
        let problems = json!([format!("2 connections could not be opened ({reason})")]);
        assert_eq!(report["problems"], problems, "{fault:?} in {dialect}");
    }
}

#[test]
fn who_cannot_subscribe_is_not_open() {
    check_refused(Fault::Rejects, "2 x connect refused: error 101: unauthorized");
    check_refused(Fault::Locks, "2 x subscribe refused: error 103: permission denied");
    check_refused(Fault::Ignores, "no answer in time");
}

#[test]
fn each_may_have_a_channel_of_its_own() {
    for (format, dialect) in DIALECTS {
        let url = format!("ws://{}", start(Fault::Nothing, format));
        let (code, report) = run(&[
            "idle",
            "--url",
            &url,
            "--dialect",
            dialect,
            "--pid",
            &std::process::id().to_string(),
            "--connections",
            "20",
            "--channels",
            "own",
            "--hold",
            "10ms",
        ]);
        assert_eq!(code, Some(0), "{report}");
        let subscribed = &report["opened"]["subscribed"];
        let seconds = subscribed["seconds"].as_f64().expect("a number");
        assert!(
            seconds > 0.0 && Some(seconds) <= report["opened"]["seconds"].as_f64(),
            "{report}"
        );
        assert!(
            subscribed["latency"]["max_ms"].as_f64() <= Some(seconds * 1000.0 + 1.0),
            "{report}"
        );
    }
}
