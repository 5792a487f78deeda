//! Frames that are none: each is answered by a Close with the right code, and the connection ends.

use protocol::frame::client;

use super::{Case, SOON, Target, flood};
use crate::support::{MASK, PATIENCE, Socket, frame_header};

/// A masked frame with `first` as its first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = client::binary(payload, MASK).to_vec();
    frame[0] = first;
    frame
}

/// Bytes after which the connection is closed with `code`.
fn refused(name: &str, code: u16, bytes: Vec<u8>) -> Case {
    refused_by_one_of(name, &[code], bytes)
}

fn refused_by_one_of(name: &str, codes: &[u16], bytes: Vec<u8>) -> Case {
    let codes = codes.to_vec();
    Case::new(name, move |target| {
        let mut socket = target.attacker();
        let _ = socket.try_write(&bytes);
        let (code, _) = socket.close();
        assert!(
            code.is_some_and(|code| codes.contains(&code)),
            "{code:?}, not one of {codes:?}"
        );
        socket.expect_end(SOON);
    })
}

pub(super) fn cases() -> Vec<Case> {
    let text = 0x81;
    let mut cases = vec![
        refused("a frame without a mask", 1002, b"\x81\x02{}".to_vec()),
        refused("a ping without a mask", 1002, b"\x89\x00".to_vec()),
        refused("a Close without a mask", 1002, b"\x88\x02\x03\xe8".to_vec()),
        refused(
            "another request instead of a frame",
            1002,
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        ),
        refused(
            "a TLS handshake instead of a frame",
            1002,
            b"\x16\x03\x01\x02\x00\x01".to_vec(),
        ),
        refused("nothing but ones", 1002, vec![0xff; 1000]),
        refused("the first reserved bit", 1002, frame(text | 0x40, b"{}")),
        refused("the second reserved bit", 1002, frame(text | 0x20, b"{}")),
        refused("the third reserved bit", 1002, frame(text | 0x10, b"{}")),
        refused("a reserved bit on a ping", 1002, frame(0x89 | 0x40, b"")),
        refused(
            "a reserved bit on a continuation",
            1002,
            [frame(0x01, b"1"), frame(0x80 | 0x40, b"")].concat(),
        ),
        refused(
            "a message inside another",
            1002,
            [frame(0x01, b"1"), frame(text, b"2")].concat(),
        ),
        refused(
            "bytes inside a text",
            1002,
            [frame(0x01, b"1"), frame(0x82, b"2")].concat(),
        ),
        refused("a continuation of nothing", 1002, frame(0x80, b"1")),
        refused("a first fragment that continues nothing", 1002, frame(0x00, b"1")),
        refused(
            "a continuation after the end",
            1002,
            [frame(0x82, b"1"), frame(0x80, b"2")].concat(),
        ),
        refused("a ping of 126 bytes", 1002, frame(0x89, &[b'x'; 126])),
        refused("a ping that announces 2 GiB", 1002, frame_header(0x89, 1 << 31)),
        refused("a ping in fragments", 1002, frame(0x09, b"")),
        refused("a Close in fragments", 1002, frame(0x08, b"\x03\xe8")),
        refused("a pong in fragments", 1002, frame(0x0a, b"")),
        refused(
            "a short length in 16 bits",
            1002,
            [&b"\x81\xfe\x00\x02"[..], &MASK, b"xx"].concat(),
        ),
        refused(
            "a short length in 64 bits",
            1002,
            [&b"\x81\xff\0\0\0\0\0\0\0\x05"[..], &MASK, b"xxxxx"].concat(),
        ),
        refused(
            "a 16-bit length in 64 bits",
            1002,
            b"\x81\xff\0\0\0\0\0\0\xff\xff".to_vec(),
        ),
        refused(
            "a length with the highest bit",
            1002,
            b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
        ),
        refused("a Close of one byte", 1002, frame(0x88, b"\x03")),
        refused("a Close longer than it may be", 1002, frame(0x88, &[0x03; 126])),
        refused_by_one_of(
            "a Close whose reason is no text",
            &[1002, 1007],
            frame(0x88, b"\x03\xe8\xff"),
        ),
        refused("a text that is none", 1007, frame(text, b"\"\xff\"")),
        refused("an overlong character", 1007, frame(text, b"\"\xc0\xaf\"")),
        refused("a surrogate", 1007, frame(text, b"\"\xed\xa0\x80\"")),
        refused(
            "a character beyond the last",
            1007,
            frame(text, b"\"\xf4\x90\x80\x80\""),
        ),
        refused("a text that ends inside a character", 1007, frame(text, b"\"\xc3")),
        refused(
            "a bad character across two fragments",
            1007,
            [frame(0x01, b"\"\xc3"), frame(0x80, b"\x28\"")].concat(),
        ),
        refused(
            "a bad character across fragments, and a ping between",
            1007,
            [frame(0x01, b"\"\xf0\x9d"), frame(0x89, b""), frame(0x80, b"\x28\"")].concat(),
        ),
        refused(
            "one byte more than the limit",
            1009,
            frame(text, &[b' '; 64 * 1024 + 1]),
        ),
        refused("a frame that announces 2 GiB", 1009, frame_header(text, 1 << 31)),
        refused("bytes that announce 2 GiB", 1009, frame_header(0x82, 1 << 31)),
        refused(
            "a frame that announces all there is",
            1009,
            frame_header(text, (1 << 63) - 1),
        ),
        refused(
            "fragments larger than the limit",
            1009,
            [frame(0x01, &[b' '; 40_000]), frame(0x80, &[b' '; 40_000])].concat(),
        ),
        refused(
            "a small fragment, and one that announces 2 GiB",
            1009,
            [frame(0x01, b"1"), frame_header(0x80, 1 << 31)].concat(),
        ),
        Case::new(
            "2 GiB announced, and sent for as long as they are taken",
            move |target| {
                let mut socket = target.attacker();
                socket.write([&frame_header(text, 1 << 31)[..], &MASK].concat());
                flood(&mut socket.stream, &[b'x'; 64 * 1024], PATIENCE);
                socket.expect_end(SOON);
            },
        ),
        Case::new("fragments without end, whatever is answered", |target| {
            let piece = frame(0x00, b"1");
            let mut socket = endless(target, &piece);
            flood(&mut socket.stream, &piece.repeat(1000), PATIENCE);
        }),
        Case::new("empty fragments without end", |target| {
            endless(target, &frame(0x00, b"")).expect_end(SOON);
        }),
        Case::new("fragments without end, and pings between", |target| {
            endless(target, &[frame(0x00, b""), frame(0x89, b"")].concat()).expect_end(SOON);
        }),
        Case::new("after a Close everything is ignored", move |target| {
            let mut socket = target.attacker();
            let bad = frame(0x83, b"no opcode");
            let _ = socket.try_write([frame(0x88, b"\x0f\xa1"), bad, frame_header(text, 1 << 31)].concat());
            // actix-ws looks at all that has come before it tells of the Close.
            assert!(matches!(socket.close().0, Some(4001 | 1002)));
            socket.expect_end(SOON);
        }),
    ];
    for opcode in [0x3, 0x7, 0xb, 0xf] {
        cases.push(refused(&format!("opcode {opcode}"), 1002, frame(0x80 | opcode, b"{}")));
    }
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65_535] {
        cases.push(refused(
            &format!("a Close with code {code}"),
            1002,
            frame(0x88, &code.to_be_bytes()),
        ));
    }
    cases
}

/// A message that is begun, and goes on for ever with `piece`.
fn endless(target: &Target, piece: &[u8]) -> Socket {
    let mut socket = target.attacker();
    socket.write(frame(0x01, b"\""));
    let _ = socket.try_write(piece.repeat(3000));
    assert_eq!(socket.close().0, Some(1008));
    socket
}
