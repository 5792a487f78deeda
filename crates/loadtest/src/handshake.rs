//! The opening handshake of RFC 6455 as plain bytes: a client's request, and whether an answer completes it.
//!
//! Knows no socket. The server's half ([`accept_for`]) is here too, for the floor and for tests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// The longest answer that is waited for, in bytes.
const HEAD_LIMIT: usize = 16 * 1024;

/// Why an answer does not open the connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The server answered with another status than 101.
    #[error("answered {0} instead of 101")]
    Status(u16),
    /// The accept key is missing or belongs to another request.
    #[error("answered 101 with a wrong accept key")]
    WrongKey,
    /// The server chose another subprotocol than the one that was asked for, or one when none was.
    #[error("answered 101 with a wrong subprotocol")]
    WrongSubprotocol,
    /// Not HTTP, or a head without end.
    #[error("answered something that is not HTTP")]
    NotHttp,
}

/// A fresh Sec-WebSocket-Key.
pub fn random_key() -> String {
    STANDARD.encode(rand::random::<[u8; 16]>())
}

/// The Sec-WebSocket-Accept that belongs to `key`.
pub fn accept_for(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finalize())
}

/// The request that opens a WebSocket at `path` of `host`, with `subprotocol` if there is one to ask for.
pub fn request(host: &str, path: &str, key: &str, subprotocol: Option<&str>) -> Vec<u8> {
    let subprotocol = subprotocol.map_or(String::new(), |name| format!("Sec-WebSocket-Protocol: {name}\r\n"));
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{subprotocol}\r\n"
    )
    .into_bytes()
}

/// The length of a complete head at the start of `bytes`, the blank line included.
pub fn head_length(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map(|at| at + 4)
}

/// The value of the header `name` in a complete head.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Reads the answer to a request with `key` and `subprotocol`: `None` while it is incomplete, else where the frames begin.
pub fn read_answer(bytes: &[u8], key: &str, subprotocol: Option<&str>) -> Result<Option<usize>, HandshakeError> {
    let Some(length) = head_length(bytes) else {
        return if bytes.len() > HEAD_LIMIT {
            Err(HandshakeError::NotHttp)
        } else {
            Ok(None)
        };
    };
    let head = std::str::from_utf8(&bytes[..length]).map_err(|_| HandshakeError::NotHttp)?;
    let status = head
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .and_then(|status| status.parse().ok());
    match status {
        Some(101) if header(head, "sec-websocket-accept") != Some(&accept_for(key)) => Err(HandshakeError::WrongKey),
        Some(101) if header(head, "sec-websocket-protocol") != subprotocol => Err(HandshakeError::WrongSubprotocol),
        Some(101) => Ok(Some(length)),
        Some(status) => Err(HandshakeError::Status(status)),
        None => Err(HandshakeError::NotHttp),
    }
}

#[cfg(test)]
mod tests {
    use super::{HandshakeError, accept_for, read_answer, request};

    // The example of RFC 6455, section 1.3.
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    #[test]
    fn accept_key_of_the_rfc() {
        assert_eq!(accept_for(KEY), ACCEPT);
    }

    #[track_caller]
    fn check(answer: &str, expected: &Result<Option<usize>, HandshakeError>) {
        assert_eq!(&read_answer(answer.as_bytes(), KEY, None), expected, "{answer}");
    }

    #[test]
    fn a_subprotocol_is_asked_for_and_has_to_be_chosen() {
        let request = |subprotocol| String::from_utf8(request("h", "/", KEY, subprotocol)).expect("text");
        assert!(!request(None).contains("Protocol"));
        assert!(request(Some("p")).ends_with("\r\nSec-WebSocket-Protocol: p\r\n\r\n"));

        let without = format!("HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: {ACCEPT}\r\n\r\n");
        let with = without.replace("\r\n\r\n", "\r\nsec-websocket-protocol: p\r\n\r\n");
        let read = |answer: &str, subprotocol| read_answer(answer.as_bytes(), KEY, subprotocol);
        assert_eq!(read(&with, Some("p")), Ok(Some(with.len())));
        for (answer, subprotocol) in [(&with, None), (&with, Some("q")), (&without, Some("p"))] {
            assert_eq!(
                read(answer, subprotocol),
                Err(HandshakeError::WrongSubprotocol),
                "{answer}"
            );
        }
    }

    #[test]
    fn answers() {
        let good = format!("HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: {ACCEPT}\r\n\r\n");
        check(&good, &Ok(Some(good.len())));
        check(&format!("{good}\u{1}frame"), &Ok(Some(good.len())));
        check(&good[..good.len() - 1], &Ok(None));
        check(&good.replace("s3p", "s3q"), &Err(HandshakeError::WrongKey));
        check(
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            &Err(HandshakeError::WrongKey),
        );
        check(
            "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\r\n",
            &Err(HandshakeError::Status(503)),
        );
        check("SSH-2.0-OpenSSH\r\n\r\n", &Err(HandshakeError::NotHttp));
        check(&"x".repeat(20_000), &Err(HandshakeError::NotHttp));
    }
}
