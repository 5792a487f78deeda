//! What has changed from one payload to the next, as a patch in the fossil delta format.
//!
//! A patch is the target's length, a newline, commands, and the target's checksum: `4@A,` copies four bytes of the base from its tenth, `2:ab`
//! inserts two bytes, `Qlq0D;` ends. Numbers have 64 digits, most significant first. Both sides have the base, byte for byte.
//!
//! Invariant: what [`create()`] makes of a base and a target, [`apply()`] makes the same target of; neither panics or takes long, whatever it is given.

mod apply;
mod create;

pub use apply::{DeltaError, apply};
pub use create::create;

/// The digits of numbers, by their value.
const DIGITS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~";

/// The sum of `bytes` as big-endian words of 32 bits, the last one filled up with zeros.
fn checksum(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut last = [0; 4];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    words
        .iter()
        .chain([&last])
        .fold(0, |sum: u32, word| sum.wrapping_add(u32::from_be_bytes(*word)))
}

#[cfg(test)]
mod tests;
