//! One WebSocket connection of a client, read only when asked.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use protocol::frame::{Item, Kind, Limits, Parser, Role, client};

use super::PATIENCE;
use super::http::{ACCEPT, Answer, ask_on, upgrade};

pub(crate) const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

const LIMITS: Limits = Limits {
    message_size: 1 << 24,
    fragments: 1,
};

/// A connection whose handshake is done.
pub(crate) struct Socket<S = TcpStream> {
    pub(crate) stream: S,
    parser: Parser,
    /// Read from the stream, not yet parsed.
    unparsed: Vec<u8>,
}

impl Socket {
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr, path: &str) -> Self {
        let (socket, answer) = Self::ask(address, upgrade(path, &[]));
        socket.unwrap_or_else(|| panic!("refused: {answer:?}"))
    }

    /// Asks by a request of one's own. What follows the head in `request` goes out in the same segment.
    #[track_caller]
    pub(crate) fn ask(address: SocketAddr, request: impl AsRef<[u8]>) -> (Option<Self>, Answer) {
        let stream = TcpStream::connect(address).expect("a listener");
        Self::ask_on(stream, request)
    }

    /// The same on a connection that is open already.
    #[track_caller]
    pub(crate) fn ask_on(mut stream: TcpStream, request: impl AsRef<[u8]>) -> (Option<Self>, Answer) {
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let answer = ask_on(&mut stream, request).expect("an answer");
        (Socket::accepted(stream, &answer), answer)
    }

    /// The next item, or `None` at the end of the connection. Nothing in time is an error.
    pub(crate) fn next_within(&mut self, patience: Duration) -> io::Result<Option<Item>> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(item) = self.parse() {
                return Ok(Some(item));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            self.stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            match self.read() {
                Ok(0) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !left.is_zero() => {}
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
    }

    /// The next item if it is there already. Nothing there is an error.
    pub(crate) fn next_now(&mut self) -> io::Result<Option<Item>> {
        if let Some(item) = self.parse() {
            return Ok(Some(item));
        }
        self.stream.set_nonblocking(true)?;
        let read = self.read();
        self.stream.set_nonblocking(false)?;
        match read? {
            0 => Ok(None),
            _ => self.parse().map(Some).ok_or(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Waits for the end of the connection within `patience`, however it comes; what is heard before does not count.
    #[track_caller]
    pub(crate) fn expect_end(&mut self, patience: Duration) {
        let began = Instant::now();
        loop {
            match self.next_within(patience.saturating_sub(began.elapsed())) {
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("still open after {patience:?}"),
                Err(_) => return,
            }
        }
    }

    /// Ends without a word, so that the other side learns nothing but a reset.
    pub(crate) fn reset(self) {
        let socket = socket2::SockRef::from(&self.stream);
        let _ = socket.set_linger(Some(Duration::ZERO));
    }

    /// Says that nothing more comes, and goes on listening.
    pub(crate) fn finish(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}

impl<S: Read + Write> Socket<S> {
    /// The connection that was asked for, if it was granted.
    pub(crate) fn accepted(stream: S, answer: &Answer) -> Option<Self> {
        let is_accepted = answer.status == 101 && answer.header("sec-websocket-accept") == Some(ACCEPT);
        is_accepted.then(|| Self {
            stream,
            parser: Parser::new(Role::Client),
            unparsed: answer.early.clone(),
        })
    }

    #[track_caller]
    pub(crate) fn send(&mut self, text: impl AsRef<[u8]>) {
        self.write(client::text(text.as_ref(), MASK));
    }

    /// Writes bytes as they stand. What the gateway no longer takes, because it has refused already, is not an error.
    pub(crate) fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())?;
        self.stream.flush()
    }

    #[track_caller]
    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_write(bytes).expect("the gateway reads");
    }

    /// The next item, or `None` at the end of the connection.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Option<Item> {
        loop {
            if let Some(item) = self.parse() {
                return Some(item);
            }
            match self.read() {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => panic!("nothing heard: {error}"),
            }
        }
    }

    /// The next item, which has to be a text.
    #[track_caller]
    pub(crate) fn text(&mut self) -> String {
        match self.next() {
            Some(Item::Message(message)) if message.kind == Kind::Text => {
                String::from_utf8(message.data.to_vec()).expect("checked by the parser")
            }
            other => panic!("not a text: {other:?}"),
        }
    }

    /// The next item has to be exactly this text.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) {
        assert_eq!(self.text(), text);
    }

    /// The code and reason of the Close that comes next, after any texts.
    #[track_caller]
    pub(crate) fn close(&mut self) -> (Option<u16>, String) {
        loop {
            match self.next() {
                Some(Item::Close { code, reason }) => return (code, reason),
                Some(_) => {}
                None => panic!("the end without a Close"),
            }
        }
    }

    /// Closes, waits for the answer and for the end of the connection.
    #[track_caller]
    pub(crate) fn leave(mut self) {
        self.write(client::close(Some((1000, "")), MASK));
        assert_eq!(self.close().0, Some(1000));
        assert_eq!(self.next(), None);
    }

    fn parse(&mut self) -> Option<Item> {
        let mut rest = &self.unparsed[..];
        let item = self
            .parser
            .next(&mut rest, &LIMITS)
            .expect("the gateway sends good frames");
        let parsed = self.unparsed.len() - rest.len();
        self.unparsed.drain(..parsed);
        item
    }

    fn read(&mut self) -> io::Result<usize> {
        let mut bytes = [0; 16_384];
        let count = self.stream.read(&mut bytes)?;
        self.unparsed.extend_from_slice(&bytes[..count]);
        Ok(count)
    }
}

/// A client of `/` whose kernel takes little for it.
#[track_caller]
pub(crate) fn narrow_client(address: SocketAddr) -> Socket {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket.set_recv_buffer_size(8 << 10).expect("a size");
    socket.connect(&address.into()).expect("a listener");
    let (socket, answer) = Socket::ask_on(socket.into(), upgrade("/", &[]));
    socket.unwrap_or_else(|| panic!("{answer:?}"))
}

/// The header of a masked frame, without the mask's four bytes: `first`, and the length in its shortest form.
pub(crate) fn frame_header(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match length {
        0..=125 => bytes.push(0x80 | u8::try_from(length).expect("small")),
        126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&length.to_be_bytes()[6..]);
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
    }
    bytes
}
