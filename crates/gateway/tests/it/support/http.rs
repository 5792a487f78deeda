//! Requests as they stand on the wire, and their answers.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

/// The key and its answer in RFC 6455, section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(super) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A request for a WebSocket at `path`. `changes`: headers in place of its own of the same name, or besides them; "" leaves one out.
pub(crate) fn upgrade(path: &str, changes: &[(&str, &str)]) -> String {
    let own = [
        ("Host", "gateway.test"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Version", "13"),
    ];
    let kept = own
        .iter()
        .filter(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
    let headers = kept.chain(changes).filter(|(_, value)| !value.is_empty());
    let lines: String = headers.map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("GET {path} HTTP/1.1\r\n{lines}\r\n")
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
    /// What came behind the head of a 101.
    pub(super) early: Vec<u8>,
}

impl Answer {
    /// A header by its name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

/// Sends a request on a connection of its own and reads the answer.
#[track_caller]
pub(crate) fn ask(address: SocketAddr, request: impl AsRef<[u8]>) -> Answer {
    let mut stream = TcpStream::connect(address).expect("a listener");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    ask_on(&mut stream, request).expect("an answer")
}

/// Sends a request and reads the answer; the connection can be used again.
pub(crate) fn ask_on(stream: &mut (impl Read + Write), request: impl AsRef<[u8]>) -> io::Result<Answer> {
    stream.write_all(request.as_ref())?;
    stream.flush()?;
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        read_more(stream, &mut bytes)?;
    };
    let mut rest = bytes.split_off(end);
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or(io::ErrorKind::InvalidData)?;
    let length: usize = header(&head, "content-length")
        .map_or(Ok(0), str::parse)
        .unwrap_or_default();
    while status != 101 && rest.len() < length {
        read_more(stream, &mut rest)?;
    }
    let body = match status {
        101 => String::new(),
        _ => String::from_utf8_lossy(&rest).into_owned(),
    };
    Ok(Answer {
        status,
        head,
        body,
        early: rest,
    })
}

fn read_more(stream: &mut impl Read, bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut piece = [0; 4096];
    match stream.read(&mut piece)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => {
            bytes.extend_from_slice(&piece[..count]);
            Ok(())
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    lines
        .find(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}
