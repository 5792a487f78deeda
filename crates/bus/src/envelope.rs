//! The bytes of a publication on Redis, versioned.
//!
//! Two releases share one Redis during a rollout, so a release reads what its predecessor wrote and refuses, with a typed error, what it
//! does not know. Only a bare channel goes without. Numbers are big-endian:
//!
//! | bytes | what |
//! | --- | --- |
//! | 1 | version, 1 |
//! | 1 | kind: 1 publication, 2 loop-back |
//! | 1 | flags: bit 0, a position follows; all others 0 |
//! | 16 | only with a position: epoch (8), offset (8) |
//! | 16 | id of the publication |
//! | 16 | id of the node that published it |
//! | 8 | when, in microseconds since 1970 by the clock of that node |
//! | rest | payload |

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;

const VERSION: u8 = 1;
const HAS_POSITION: u8 = 1;

/// A publication and what travels with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// What the payload is.
    pub kind: Kind,
    /// Where in the history of its channel it stands; `None` in a channel without history.
    pub position: Option<Position>,
    /// Tells this publication from every other.
    pub id: Uuid,
    /// The node that published it.
    pub origin: Uuid,
    /// When, by the clock of that node, to the microsecond.
    pub published_at: SystemTime,
    /// What was published.
    pub payload: &'a [u8],
}

/// What a payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Data for subscribers.
    Publication = 1,
    /// A node speaking to itself, to learn whether it hears.
    LoopBack = 2,
}

/// A place in the history of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Which life of the history, an arbitrary number.
    pub epoch: u64,
    /// From 1, without holes.
    pub offset: u64,
}

/// Why bytes are not an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// There are fewer bytes than the header needs.
    #[error("the envelope ends within its header")]
    Short,
    /// Another release wrote it.
    #[error("envelope version {0} is not known here")]
    Version(u8),
    /// No such kind.
    #[error("envelope kind {0} is not known here")]
    Kind(u8),
    /// A flag is set that has no meaning yet.
    #[error("envelope flags {0:#010b} are not known here")]
    Flags(u8),
    /// The time does not exist for this system's clock.
    #[error("the time in the envelope is out of range")]
    Time,
}

impl<'a> Envelope<'a> {
    /// The bytes for Redis.
    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(59 + self.payload.len());
        bytes.put_u8(VERSION);
        bytes.put_u8(self.kind as u8);
        match self.position {
            None => bytes.put_u8(0),
            Some(Position { epoch, offset }) => {
                bytes.put_u8(HAS_POSITION);
                bytes.put_u64(epoch);
                bytes.put_u64(offset);
            }
        }
        bytes.put_slice(self.id.as_bytes());
        bytes.put_slice(self.origin.as_bytes());
        bytes.put_u64(micros(self.published_at));
        bytes.put_slice(self.payload);
        bytes.freeze()
    }

    /// Reads what [`encode`](Self::encode) wrote. Never panics, whatever the bytes.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, EnvelopeError> {
        let mut rest = bytes;
        let [version] = take(&mut rest)?;
        if version != VERSION {
            return Err(EnvelopeError::Version(version));
        }
        let [kind, flags] = take(&mut rest)?;
        let kind = match kind {
            1 => Kind::Publication,
            2 => Kind::LoopBack,
            unknown => return Err(EnvelopeError::Kind(unknown)),
        };
        let position = match flags {
            0 => None,
            HAS_POSITION => {
                let epoch = u64::from_be_bytes(take(&mut rest)?);
                Some(Position {
                    epoch,
                    offset: u64::from_be_bytes(take(&mut rest)?),
                })
            }
            unknown => return Err(EnvelopeError::Flags(unknown)),
        };
        let id = Uuid::from_bytes(take(&mut rest)?);
        let origin = Uuid::from_bytes(take(&mut rest)?);
        let since_1970 = Duration::from_micros(u64::from_be_bytes(take(&mut rest)?));
        let published_at = UNIX_EPOCH.checked_add(since_1970).ok_or(EnvelopeError::Time)?;
        Ok(Self {
            kind,
            position,
            id,
            origin,
            published_at,
            payload: rest,
        })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], EnvelopeError> {
    let (taken, left) = rest.split_first_chunk().ok_or(EnvelopeError::Short)?;
    *rest = left;
    Ok(*taken)
}

fn micros(time: SystemTime) -> u64 {
    let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn envelope(position: Option<Position>) -> Envelope<'static> {
        Envelope {
            kind: Kind::Publication,
            position,
            id: Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
            origin: Uuid::from_u128(0x1112_1314_1516_1718_191a_1b1c_1d1e_1f20),
            published_at: UNIX_EPOCH + Duration::from_micros(0x0006_5a5a_5a5a_5a5a),
            payload: b"{}",
        }
    }

    /// Version 1 as the first release wrote it; these bytes never change.
    const RECORDED: [u8; 45] = *b"\x01\x01\x00\
        \x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\
        \x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x20\
        \x00\x06\x5a\x5a\x5a\x5a\x5a\x5a{}";

    #[test]
    fn recorded_bytes_of_version_1() {
        assert_eq!(envelope(None).encode()[..], RECORDED);
        assert_eq!(Envelope::decode(&RECORDED), Ok(envelope(None)));
        let position = Some(Position {
            epoch: 0x2122_2324_2526_2728,
            offset: 7,
        });
        let mut recorded = RECORDED.to_vec();
        recorded[2] = 1;
        recorded.splice(3..3, *b"\x21\x22\x23\x24\x25\x26\x27\x28\0\0\0\0\0\0\0\x07");
        assert_eq!(envelope(position).encode()[..], recorded);
        assert_eq!(Envelope::decode(&recorded), Ok(envelope(position)));
    }

    #[track_caller]
    fn check(change: (usize, u8), len: usize, expected: EnvelopeError) {
        let mut bytes = RECORDED;
        bytes[change.0] = change.1;
        assert_eq!(Envelope::decode(&bytes[..len]), Err(expected));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        check((0, 0), 45, EnvelopeError::Version(0));
        check((0, 2), 1, EnvelopeError::Version(2));
        check((1, 9), 45, EnvelopeError::Kind(9));
        check((2, 2), 45, EnvelopeError::Flags(2));
        for len in 0..43 {
            check((0, 1), len, EnvelopeError::Short);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(envelope) = Envelope::decode(&bytes) {
                prop_assert_eq!(&envelope.encode()[..], &bytes[..]);
            }
        }

        #[test]
        fn decode_gives_back_what_was_encoded(payload: Vec<u8>, epoch: u64, offset: u64, id: u128) {
            let position = offset.is_multiple_of(2).then_some(Position { epoch, offset });
            let sent = Envelope { position, id: Uuid::from_u128(id), payload: &payload, ..envelope(None) };
            let bytes = sent.encode();
            prop_assert_eq!(Envelope::decode(&bytes), Ok(sent));
        }
    }
}
