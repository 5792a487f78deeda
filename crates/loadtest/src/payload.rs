//! The test message: a JSON text whose run, sender, number and time stand at fixed places.
//!
//! Reading one is a comparison and a few hex digits, no JSON parser: it happens once for every delivery. All values are strings of
//! fixed width, because a JSON number may not have leading zeros and a server that parses and rewrites the text must not move them.

/// `{"r":"RRRRRRRR","s":"SSSSSSSS","n":"NNNNNNNN","t":"TTTTTTTTTTTT","p":"..."}`
const HEAD: &[u8; MINIMUM] = br#"{"r":"00000000","s":"00000000","n":"00000000","t":"000000000000","p":""}"#;
const RUN: usize = 6;
const SENDER: usize = 21;
const NUMBER: usize = 36;
const TIME: usize = 51;
const TIME_END: usize = 63;
const PADDING: usize = 70;

/// The smallest message, in bytes.
pub const MINIMUM: usize = 72;

/// What a message says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Which run published it: messages of earlier runs may still be on their way.
    pub run: u32,
    /// The index of the connection that published it.
    pub sender: u32,
    /// Counts the sender's messages from 0.
    pub number: u32,
    /// When it was due, in microseconds since the run's start; 48 bits.
    pub due_at: u64,
}

impl Stamp {
    /// The message as JSON text of exactly `size` bytes, at least [`MINIMUM`].
    pub fn to_json(self, size: usize) -> Vec<u8> {
        let size = size.max(MINIMUM);
        let mut text = Vec::with_capacity(size);
        text.extend_from_slice(&HEAD[..PADDING]);
        text.resize(size - 2, b'x');
        text.extend_from_slice(b"\"}");
        write_hex(&mut text[RUN..RUN + 8], self.run.into());
        write_hex(&mut text[SENDER..SENDER + 8], self.sender.into());
        write_hex(&mut text[NUMBER..NUMBER + 8], self.number.into());
        write_hex(&mut text[TIME..TIME_END], self.due_at);
        text
    }

    /// Reads a message of `size` bytes; `None` for anything that [`Stamp::to_json`] did not write.
    pub fn read(text: &[u8], size: usize) -> Option<Self> {
        if text.len() != size.max(MINIMUM)
            || text[..RUN] != HEAD[..RUN]
            || text[RUN + 8..SENDER] != HEAD[RUN + 8..SENDER]
            || text[SENDER + 8..NUMBER] != HEAD[SENDER + 8..NUMBER]
            || text[NUMBER + 8..TIME] != HEAD[NUMBER + 8..TIME]
            || text[TIME_END..PADDING] != HEAD[TIME_END..PADDING]
        {
            return None;
        }
        Some(Self {
            run: u32::try_from(read_hex(&text[RUN..RUN + 8])?).ok()?,
            sender: u32::try_from(read_hex(&text[SENDER..SENDER + 8])?).ok()?,
            number: u32::try_from(read_hex(&text[NUMBER..NUMBER + 8])?).ok()?,
            due_at: read_hex(&text[TIME..TIME_END])?,
        })
    }
}

fn write_hex(place: &mut [u8], mut value: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 15) as usize];
        value >>= 4;
    }
}

fn read_hex(digits: &[u8]) -> Option<u64> {
    let mut value = 0;
    for digit in digits {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        value = value << 4 | u64::from(digit);
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::{MINIMUM, Stamp};

    #[track_caller]
    fn check(stamp: Stamp, size: usize) {
        let text = stamp.to_json(size);
        assert_eq!(text.len(), size.max(MINIMUM));
        assert_eq!(Stamp::read(&text, size), Some(stamp));
        let value: serde_json::Value = serde_json::from_slice(&text).expect("valid JSON");
        assert_eq!(
            serde_json::to_vec(&value).expect("writes").len(),
            text.len(),
            "a rewritten text keeps its length"
        );
        let number = value["n"].as_str().expect("a string");
        assert_eq!(u32::from_str_radix(number, 16), Ok(stamp.number));
    }

    #[test]
    fn reads_what_it_wrote() {
        check(
            Stamp {
                run: 0,
                sender: 0,
                number: 0,
                due_at: 0,
            },
            0,
        );
        check(
            Stamp {
                run: 0xdead_beef,
                sender: 7,
                number: 9,
                due_at: 1_234_567,
            },
            72,
        );
        check(
            Stamp {
                run: u32::MAX,
                sender: u32::MAX,
                number: u32::MAX,
                due_at: (1 << 48) - 1,
            },
            128,
        );
    }

    #[test]
    fn refuses_what_it_did_not_write() {
        let text = Stamp {
            run: 1,
            sender: 2,
            number: 3,
            due_at: 4,
        }
        .to_json(100);
        assert_eq!(Stamp::read(&text, 101), None);
        assert_eq!(Stamp::read(b"{}", 100), None);
        for at in (0..70).filter(|at| text[*at] != b'x') {
            let mut damaged = text.clone();
            damaged[at] = b'!';
            assert_eq!(Stamp::read(&damaged, 100), None, "damaged at {at}");
        }
    }
}
