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
        mask_in_place(&mut bytes[header..], mask);
    }
    Bytes::from(bytes)
}
