//! Asks an admin listener whether it is ready: one plain HTTP request, so that an image needs no other program for it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// How long connecting, and the whole answer, may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// More than the first line and some words of an answer are not read.
const LONGEST_ANSWER: usize = 16 * 1024;

/// Why the answer was not "ready".
#[derive(Debug, thiserror::Error)]
pub(super) enum HealthError {
    #[error("expected http://HOST:PORT/PATH, not {0:?}")]
    Url(String),
    #[error("the admin address of the settings has port 0, so it cannot be known; use --url")]
    UnknownPort,
    #[error("{address} does not answer: {source}")]
    Unreachable { address: SocketAddr, source: io::Error },
    #[error("{address} gave no HTTP answer")]
    NotHttp { address: SocketAddr },
    #[error("{address} answered {status}: {words}")]
    NotReady {
        address: SocketAddr,
        status: u16,
        words: String,
    },
}

/// Asks what `url` names; `Ok` if the answer is 2xx.
pub(super) fn ask_url(url: &str) -> Result<(), HealthError> {
    let wrong = || HealthError::Url(url.to_owned());
    let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let address = host
        .to_socket_addrs()
        .ok()
        .and_then(|mut addresses| addresses.next())
        .ok_or_else(wrong)?;
    let is_plain = path.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_plain {
        return Err(wrong());
    }
    ask(address, if path.is_empty() { "/" } else { path })
}

/// Asks for `path` at `address`; `Ok` if the answer is 2xx.
pub(super) fn ask(address: SocketAddr, path: &str) -> Result<(), HealthError> {
    if address.port() == 0 {
        return Err(HealthError::UnknownPort);
    }
    let answer = exchange(address, path).map_err(|source| HealthError::Unreachable { address, source })?;
    let status = answer
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..5)?.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    match status {
        Some(200..=299) => Ok(()),
        Some(status) => Err(HealthError::NotReady {
            address,
            status,
            words: body.trim().to_owned(),
        }),
        None => Err(HealthError::NotHttp { address }),
    }
}

fn exchange(address: SocketAddr, path: &str) -> io::Result<String> {
    let deadline = Instant::now() + PATIENCE;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // In one write: a server may answer and hang up after the first part.
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let (mut answer, mut part) = (Vec::new(), [0; 1024]);
    while answer.len() < LONGEST_ANSWER {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut part)? {
            0 => break,
            read => answer.extend_from_slice(&part[..read]),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// The verdict on a server that gives `answer` and then hangs up.
    #[track_caller]
    fn check(answer: &'static str, expected: &str) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("the check connects");
            let mut request = [0; 1024];
            let read = stream.read(&mut request).expect("a request");
            stream.write_all(answer.as_bytes()).expect("an answer");
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        let verdict = ask_url(&format!("http://{address}/readyz"));
        let verdict = verdict.map_or_else(|error| error.to_string(), |()| "ready".into());
        assert_eq!(verdict.replace(&address.to_string(), "IT"), expected);
        assert!(server.join().expect("no panic").starts_with("GET /readyz HTTP/1.1\r\n"));
    }

    #[test]
    fn answers() {
        check("HTTP/1.1 200 OK\r\n\r\nready", "ready");
        check("HTTP/1.1 204 No Content\r\n\r\n", "ready");
        check(
            "HTTP/1.1 503 Service Unavailable\r\n\r\ndraining\n",
            "IT answered 503: draining",
        );
        check("HTTP/1.1 302 Found\r\n\r\n", "IT answered 302: ");
        check("SSH-2.0-x\r\n", "IT gave no HTTP answer");
        check("", "IT gave no HTTP answer");
    }

    #[test]
    fn urls_that_cannot_be_asked() {
        for url in [
            "",
            "localhost:9000",
            "https://localhost:9000/",
            "http://",
            "http://127.0.0.1/x",
            "http://127.0.0.1:1/a b",
        ] {
            assert!(matches!(ask_url(url), Err(HealthError::Url(_))), "{url}");
        }
        assert!(matches!(ask_url("http://127.0.0.1:0/"), Err(HealthError::UnknownPort)));
    }

    #[test]
    fn a_server_that_stays_silent_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let start = Instant::now();
        assert!(matches!(ask(address, "/"), Err(HealthError::Unreachable { .. })));
        assert!(start.elapsed() < PATIENCE * 3);
    }
}
