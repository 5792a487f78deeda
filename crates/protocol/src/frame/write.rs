//! Writes whole frames, each in one allocation of its exact size.
//!
//! A server's frames here, a client's in [`client`]. Nothing is ever fragmented.

use bytes::Bytes;

use super::mask_in_place;

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// The most payload that a control frame can carry.
const CONTROL_MAX: usize = 125;

/// A text frame. `payload` has to be UTF-8.
pub fn text(payload: &[u8]) -> Bytes {
    frame(TEXT, &[payload], None)
}

/// A binary frame.
pub fn binary(payload: &[u8]) -> Bytes {
    frame(BINARY, &[payload], None)
}

/// A ping. What exceeds 125 bytes of `payload` is cut off.
pub fn ping(payload: &[u8]) -> Bytes {
    frame(PING, &[at_most(payload, CONTROL_MAX)], None)
}

/// The answer to a ping, whose payload it repeats. What exceeds 125 bytes is cut off.
pub fn pong(payload: &[u8]) -> Bytes {
    frame(PONG, &[at_most(payload, CONTROL_MAX)], None)
}

/// A Close with a code and a reason, or an empty one. What exceeds 123 bytes of the reason is cut off between characters.
pub fn close(code_and_reason: Option<(u16, &str)>) -> Bytes {
    close_frame(code_and_reason, None)
}

/// Where the frame ends that contains byte `at` of `frames`, which are whole frames of a server; `at` itself if a frame begins there.
pub fn boundary(frames: &[u8], at: usize) -> usize {
    let mut end = 0;
    while end < at {
        let rest = frames.get(end..).unwrap_or_default();
        let (header, payload) = match *rest {
            [_, 127, a, b, c, d, e, f, g, h, ..] => (10, u64::from_be_bytes([a, b, c, d, e, f, g, h])),
            [_, 126, a, b, ..] => (4, u64::from(u16::from_be_bytes([a, b]))),
            [_, length, ..] => (2, u64::from(length)),
            _ => return frames.len(),
        };
        let payload = usize::try_from(payload).unwrap_or(usize::MAX);
        end = end.saturating_add(header).saturating_add(payload);
    }
    end.min(frames.len())
}

/// The frames of a client: the same, masked.
pub mod client {
    use super::{BINARY, Bytes, CONTROL_MAX, PING, PONG, TEXT, at_most, close_frame, frame};

    /// A text frame. `payload` has to be UTF-8.
    pub fn text(payload: &[u8], mask: [u8; 4]) -> Bytes {
        frame(TEXT, &[payload], Some(mask))
    }

    /// A binary frame.
    pub fn binary(payload: &[u8], mask: [u8; 4]) -> Bytes {
        frame(BINARY, &[payload], Some(mask))
    }

    /// A ping. What exceeds 125 bytes of `payload` is cut off.
    pub fn ping(payload: &[u8], mask: [u8; 4]) -> Bytes {
        frame(PING, &[at_most(payload, CONTROL_MAX)], Some(mask))
    }

    /// The answer to a ping, whose payload it repeats. What exceeds 125 bytes is cut off.
    pub fn pong(payload: &[u8], mask: [u8; 4]) -> Bytes {
        frame(PONG, &[at_most(payload, CONTROL_MAX)], Some(mask))
    }

    /// A Close with a code and a reason, or an empty one. What exceeds 123 bytes of the reason is cut off between characters.
    pub fn close(code_and_reason: Option<(u16, &str)>, mask: [u8; 4]) -> Bytes {
        close_frame(code_and_reason, Some(mask))
    }
}

fn close_frame(code_and_reason: Option<(u16, &str)>, mask: Option<[u8; 4]>) -> Bytes {
    match code_and_reason {
        None => frame(CLOSE, &[], mask),
        Some((code, reason)) => {
            let fits = (0..=CONTROL_MAX - 2)
                .rev()
                .find_map(|end| reason.get(..end))
                .unwrap_or_default();
            frame(CLOSE, &[&code.to_be_bytes(), fits.as_bytes()], mask)
        }
    }
}

fn at_most(payload: &[u8], size: usize) -> &[u8] {
    payload.get(..size).unwrap_or(payload)
}

/// A frame with `first` as its first byte and `parts` as its payload.
#[expect(
    clippy::arithmetic_side_effects,
    reason = "a payload is in memory, so a few more bytes can be counted"
)]
fn frame(first: u8, parts: &[&[u8]], mask: Option<[u8; 4]>) -> Bytes {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let extended = (length as u64).to_be_bytes();
    let (marker, extended) = match length {
        0..=125 => (extended[7], &extended[8..]),
        126..=0xffff => (126, &extended[6..]),
        _ => (127, &extended[..]),
    };
    let mut bytes = Vec::with_capacity(2 + extended.len() + mask.map_or(0, |mask| mask.len()) + length);
    bytes.extend_from_slice(&[first, marker | masked]);
    bytes.extend_from_slice(extended);
    bytes.extend_from_slice(mask.as_ref().map_or(&[], |mask| mask));
    let header = bytes.len();
    for part in parts {
        bytes.extend_from_slice(part);
    }
    if let Some(mask) = mask {
        mask_in_place(bytes.get_mut(header..).unwrap_or_default(), mask);
    }
    Bytes::from(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [1, 2, 3, 4];

    #[track_caller]
    fn check(frame: Bytes, expected: &[u8]) {
        assert_eq!(frame, expected);
        let owned = frame.try_into_mut().expect("nobody shares it yet");
        assert_eq!(owned.capacity(), owned.len(), "the allocation is not exact");
    }

    #[test]
    fn frames_byte_by_byte() {
        check(text(b"hi"), b"\x81\x02hi");
        check(binary(b""), b"\x82\x00");
        check(ping(b"?"), b"\x89\x01?");
        check(pong(b"!"), b"\x8a\x01!");
        check(close(None), b"\x88\x00");
        check(close(Some((1001, "shutdown"))), b"\x88\x0a\x03\xe9shutdown");
        check(client::text(b"AAAAA", MASK), b"\x81\x85\x01\x02\x03\x04@CBE@");
        check(
            client::close(Some((1000, "")), MASK),
            b"\x88\x82\x01\x02\x03\x04\x02\xea",
        );
    }

    #[test]
    fn lengths_in_their_shortest_form() {
        for (length, header) in [
            (125, &b"\x82\x7d"[..]),
            (126, b"\x82\x7e\x00\x7e"),
            (0xffff, b"\x82\x7e\xff\xff"),
            (0x1_0000, b"\x82\x7f\0\0\0\0\0\x01\0\0"),
        ] {
            let payload = vec![b'x'; length];
            check(binary(&payload), &[header, &payload].concat());
        }
    }

    #[test]
    fn control_frames_are_cut_to_what_fits() {
        assert_eq!(ping(&[b'x'; 200]).len(), 2 + 125);
        assert_eq!(client::pong(&[b'x'; 126], MASK).len(), 6 + 125);
        let long = "ü".repeat(100);
        let cut = close(Some((1000, &long)));
        assert_eq!(cut.get(4..), Some("ü".repeat(61).as_bytes()), "cut between characters");
    }
}
