//! How attached connections end, as the client at the other end of a real socket sees it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use protocol::frame::{self, client};

use crate::Gateway;
use crate::config::{Config, Transport};

const MASK: [u8; 4] = [1, 2, 3, 4];
const PATIENCE: Duration = Duration::from_secs(20);

/// What the client does with its connection, on a thread of its own, to a gateway that sends everything back.
fn with_gateway<R: Send + 'static>(client: impl FnOnce(TcpStream) -> R + Send + 'static) -> R {
    let mut config = Config::default();
    config.listener.address = Ipv4Addr::LOCALHOST.into();
    config.listener.port = 0;
    config.listener.transport = Transport::Attached;
    actix_web::rt::System::new().block_on(async {
        let gateway = Gateway::start_echo(config).await.expect("starts");
        let address = gateway.public_address();
        let result = tokio::task::spawn_blocking(move || client(connect(address)))
            .await
            .expect("the client has not panicked");
        gateway.stop().await;
        result
    })
}

fn connect(address: std::net::SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the gateway listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.set_write_timeout(Some(PATIENCE)).expect("a socket");
    stream
        .write_all(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .expect("the gateway reads");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    stream
}

/// The client sends `stream` at once; then it gets `expected`, and soon after the end.
#[track_caller]
fn check(stream: &[&[u8]], expected: &[&[u8]]) {
    let (sent, expected) = (stream.concat(), expected.concat());
    let got = with_gateway(move |mut stream| {
        stream.write_all(&sent).expect("the gateway reads");
        let mut got = Vec::new();
        let began = Instant::now();
        stream.read_to_end(&mut got).expect("an end, not a reset");
        (got, began.elapsed())
    });
    assert_eq!(got.0, expected);
    assert!(got.1 < Duration::from_millis(400), "the end came after {:?}", got.1);
}

#[test]
fn the_end_comes_right_behind_the_close() {
    let close = frame::close(Some((1000, "")));
    check(&[&client::close(Some((1000, "")), MASK)], &[&close]);
    check(
        &[&client::text(b"1", MASK), &client::close(None, MASK)],
        &[&frame::text(b"1"), &frame::close(None)],
    );
}

#[test]
fn what_came_before_a_broken_frame_is_answered() {
    let refused = frame::close(Some((1002, "protocol error")));
    for broken in [
        &b"\xc1\x80\x01\x02\x03\x04"[..],
        b"\x81\x011",
        b"\x83\x80\x01\x02\x03\x04",
    ] {
        check(
            &[&client::text(b"1", MASK), &client::ping(b"2", MASK), broken],
            &[&frame::text(b"1"), &frame::pong(b"2"), &refused],
        );
    }
}

#[test]
fn a_client_that_takes_nothing_is_cut() {
    let error = with_gateway(|mut stream| {
        let message = client::binary(&[0; 60_000], MASK);
        let began = Instant::now();
        // It is read on when its outbox is full, so only the cut stops this, or nobody.
        while began.elapsed() < PATIENCE {
            if let Err(error) = stream.write_all(&message) {
                return Some(error.kind());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        None
    });
    assert!(
        matches!(error, Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)),
        "the socket is still open: {error:?}"
    );
}
