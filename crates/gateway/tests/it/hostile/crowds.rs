//! Many connections that do nothing, or come and go: others find room beside them.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use super::{Case, Target, expect_end, reset};
use crate::support::{PATIENCE, Socket, upgrade};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("400 half handshakes of eight addresses", |target| {
            let held = half_handshakes(target, 8, 50);
            expect_good_client(target);
            drop(held);
        }),
        Case::new("400 half handshakes of one address", |target| {
            let mut held = half_handshakes(target, 1, 400);
            expect_good_client(target);
            // Those beyond the limit were refused at once, the others when their time was over.
            let began = Instant::now();
            held.iter_mut().for_each(|stream| expect_end(stream, PATIENCE));
            assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        }),
        Case::new("400 connections that say nothing", |target| {
            let held: Vec<_> = (0..400).map(|_| target.dial()).collect();
            expect_good_client(target);
            drop(held);
        }),
        Case::new("connections that are reset at once", |target| {
            for _ in 0..300 {
                reset(&target.dial());
            }
        }),
        Case::new("connections that are reset after a half request", |target| {
            for _ in 0..200 {
                let mut stream = target.dial();
                let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost:");
                reset(&stream);
            }
        }),
        Case::new("connections that are reset right after their handshake", |target| {
            for _ in 0..200 {
                let mut stream = target.dial();
                let _ = stream.write_all(upgrade("/raw/attack", &[]).as_bytes());
                reset(&stream);
            }
        }),
        Case::new("connections that are half closed at once", |target| {
            let ended = |stream: TcpStream| stream.shutdown(std::net::Shutdown::Write).map(|()| stream);
            let mut held: Vec<_> = (0..60).filter_map(|_| ended(target.dial()).ok()).collect();
            held.iter_mut().for_each(|stream| expect_end(stream, PATIENCE));
        }),
        Case::new("500 refused requests", |target| {
            for _ in 0..500 {
                assert_eq!(target.status(upgrade("/nothing", &[])), 404);
            }
        }),
        Case::new("a hundred channels come and go", |target| {
            for number in 0..100 {
                let path = format!("/raw/attack-{number}");
                let (socket, answer) = Socket::ask_on(target.dial(), upgrade(&path, &[]));
                socket.unwrap_or_else(|| panic!("{answer:?}")).reset();
            }
        }),
        Case::new("200 connections that break the protocol", |target| {
            let mut sockets: Vec<_> = (0..200).map(|_| target.attacker()).collect();
            for socket in &mut sockets {
                socket.write(b"\x81\x00");
            }
            for socket in &mut sockets {
                assert_eq!(socket.close().0, Some(1002));
            }
        }),
    ]
}

fn half_handshakes(target: &Target, addresses: u8, each: usize) -> Vec<TcpStream> {
    let begin = |address: u8| {
        let mut stream = target.dial_from(Ipv4Addr::new(127, 0, 0, 100 + address));
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n");
        stream
    };
    (0..addresses)
        .flat_map(|address| (0..each).map(move |_| address))
        .map(begin)
        .collect()
}

fn expect_good_client(target: &Target) {
    let began = Instant::now();
    Socket::connect(target.address, "/").leave();
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "served after {:?}",
        began.elapsed()
    );
}
