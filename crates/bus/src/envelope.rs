//! The bytes of a publication on Redis, versioned.
//!
//! Two releases share one Redis during a rollout, so a release reads what its predecessor wrote and refuses, with a typed error, what it
//! does not know, so that its caller can pass it over. Only a bare channel goes without. Numbers are big-endian:
//!
//! | bytes | what |
//! | --- | --- |
//! | 1 | version, 1 |
//! | 1 | kind: 1 publication, 2 loop-back, 3 join, 4 leave, 5 told |
//! | 1 | flags: bit 0, a position follows; bit 1, attributes follow; all others 0 |
//! | 16 | only with a position: epoch (8), offset (8) |
//! | 16 | id of the publication |
//! | 16 | id of the node that published it |
//! | 8 | when, in microseconds since 1970 by the clock of that node |
//! | | only with attributes: 1 and who published it, or 0; how many tags (4); each tag's name and value, by name |
//! | rest | payload |
//!
//! A join or leave has no payload, and who came or went stands where a publication has who published it. Who published it is user, id, and
//! what is said of the connection and of it in the channel; these and tags are texts after their length (4).

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{BufMut, Bytes, BytesMut};
use protocol::{Attributes, ClientInfo, PublicationKind};
use uuid::Uuid;

const VERSION: u8 = 1;
const HAS_POSITION: u8 = 1;
const HAS_ATTRIBUTES: u8 = 2;

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
    /// What travels with it.
    pub attributes: Option<Box<Attributes>>,
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
    /// Somebody subscribed to the channel.
    Join = 3,
    /// Somebody is no longer a subscriber of the channel.
    Leave = 4,
    /// For nodes, not for subscribers.
    Told = 5,
}

impl Kind {
    /// What it tells subscribers; `None` if it is not for them.
    pub fn publication(self) -> Option<PublicationKind> {
        match self {
            Self::Publication => Some(PublicationKind::Publication),
            Self::Join => Some(PublicationKind::Join),
            Self::Leave => Some(PublicationKind::Leave),
            Self::LoopBack | Self::Told => None,
        }
    }
}

impl From<PublicationKind> for Kind {
    fn from(kind: PublicationKind) -> Self {
        match kind {
            PublicationKind::Publication => Self::Publication,
            PublicationKind::Join => Self::Join,
            PublicationKind::Leave => Self::Leave,
        }
    }
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
    /// The attributes are not as they are written: no text, or tags out of order.
    #[error("the attributes in the envelope are malformed")]
    Attributes,
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
        let has_position = if self.position.is_some() { HAS_POSITION } else { 0 };
        let has_attributes = if self.attributes.is_some() { HAS_ATTRIBUTES } else { 0 };
        bytes.put_u8(has_position | has_attributes);
        if let Some(Position { epoch, offset }) = self.position {
            bytes.put_u64(epoch);
            bytes.put_u64(offset);
        }
        bytes.put_slice(self.id.as_bytes());
        bytes.put_slice(self.origin.as_bytes());
        bytes.put_u64(micros(self.published_at));
        if let Some(attributes) = &self.attributes {
            put_attributes(&mut bytes, attributes);
        }
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
            3 => Kind::Join,
            4 => Kind::Leave,
            5 => Kind::Told,
            unknown => return Err(EnvelopeError::Kind(unknown)),
        };
        if flags & !(HAS_POSITION | HAS_ATTRIBUTES) != 0 {
            return Err(EnvelopeError::Flags(flags));
        }
        let position = match flags & HAS_POSITION {
            0 => None,
            _ => Some(Position {
                epoch: u64::from_be_bytes(take(&mut rest)?),
                offset: u64::from_be_bytes(take(&mut rest)?),
            }),
        };
        let id = Uuid::from_bytes(take(&mut rest)?);
        let origin = Uuid::from_bytes(take(&mut rest)?);
        let since_1970 = Duration::from_micros(u64::from_be_bytes(take(&mut rest)?));
        let published_at = UNIX_EPOCH.checked_add(since_1970).ok_or(EnvelopeError::Time)?;
        let attributes = match flags & HAS_ATTRIBUTES {
            0 => None,
            _ => Some(Box::new(take_attributes(&mut rest)?)),
        };
        Ok(Self {
            kind,
            position,
            id,
            origin,
            published_at,
            attributes,
            payload: rest,
        })
    }
}

fn put_attributes(bytes: &mut BytesMut, attributes: &Attributes) {
    match &attributes.publisher {
        None => bytes.put_u8(0),
        Some(client) => {
            bytes.put_u8(1);
            put_text(bytes, client.user.as_bytes());
            put_text(bytes, client.client.as_bytes());
            put_text(bytes, &client.connection);
            put_text(bytes, &client.channel);
        }
    }
    bytes.put_u32(length(attributes.tags.len()));
    for (name, value) in &attributes.tags {
        put_text(bytes, name.as_bytes());
        put_text(bytes, value.as_bytes());
    }
}

fn take_attributes(rest: &mut &[u8]) -> Result<Attributes, EnvelopeError> {
    let publisher = match take(rest)? {
        [0] => None,
        [1] => Some(ClientInfo {
            user: take_text(rest)?.into(),
            client: take_text(rest)?.into(),
            connection: Bytes::copy_from_slice(take_text(rest)?.as_bytes()),
            channel: Bytes::copy_from_slice(take_text(rest)?.as_bytes()),
        }),
        _ => return Err(EnvelopeError::Attributes),
    };
    let mut tags = BTreeMap::new();
    for _ in 0..u32::from_be_bytes(take(rest)?) {
        let (name, value) = (take_text(rest)?, take_text(rest)?);
        if tags
            .last_key_value()
            .is_some_and(|(last, _): (&String, _)| last.as_str() >= name)
        {
            return Err(EnvelopeError::Attributes);
        }
        tags.insert(name.to_owned(), value.to_owned());
    }
    Ok(Attributes { publisher, tags })
}

pub(crate) fn put_text(bytes: &mut BytesMut, text: &[u8]) {
    bytes.put_u32(length(text.len()));
    bytes.put_slice(text);
}

pub(crate) fn take_text<'a>(rest: &mut &'a [u8]) -> Result<&'a str, EnvelopeError> {
    let length = u32::from_be_bytes(take(rest)?);
    let length = usize::try_from(length).map_err(|_| EnvelopeError::Short)?;
    let (text, left) = rest.split_at_checked(length).ok_or(EnvelopeError::Short)?;
    *rest = left;
    std::str::from_utf8(text).map_err(|_| EnvelopeError::Attributes)
}

/// Lengths of what a message of at most some megabytes holds.
fn length(length: usize) -> u32 {
    u32::try_from(length).expect("shorter than any message that Redis takes")
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
            attributes: None,
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

    #[test]
    fn recorded_kinds() {
        for (byte, kind) in [
            (1, Kind::Publication),
            (2, Kind::LoopBack),
            (3, Kind::Join),
            (4, Kind::Leave),
            (5, Kind::Told),
        ] {
            let mut recorded = RECORDED;
            recorded[1] = byte;
            let sent = Envelope { kind, ..envelope(None) };
            assert_eq!(sent.encode()[..], recorded);
            assert_eq!(Envelope::decode(&recorded), Ok(sent));
        }
    }

    #[test]
    fn recorded_attributes() {
        let attributes = Attributes {
            publisher: Some(ClientInfo {
                user: "u".into(),
                client: "c1".into(),
                connection: Bytes::from_static(b"{}"),
                channel: Bytes::new(),
            }),
            tags: BTreeMap::from([("a".into(), "1".into()), ("b".into(), String::new())]),
        };
        let mut recorded = RECORDED.to_vec();
        recorded[2] = 2;
        let at = recorded.len() - 2;
        recorded.splice(
            at..at,
            *b"\x01\0\0\0\x01u\0\0\0\x02c1\0\0\0\x02{}\0\0\0\0\0\0\0\x02\0\0\0\x01a\0\0\0\x011\0\0\0\x01b\0\0\0\0",
        );
        let sent = Envelope {
            attributes: Some(Box::new(attributes)),
            ..envelope(None)
        };
        assert_eq!(sent.encode()[..], recorded);
        assert_eq!(Envelope::decode(&recorded), Ok(sent));
        for end in RECORDED.len() - 2..recorded.len() - 2 {
            assert_eq!(Envelope::decode(&recorded[..end]), Err(EnvelopeError::Short), "{end}");
        }
        let second_tag = recorded.len() - 7;
        recorded[second_tag] = b'a';
        assert_eq!(
            Envelope::decode(&recorded),
            Err(EnvelopeError::Attributes),
            "a tag twice"
        );
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
        check((2, 4), 45, EnvelopeError::Flags(4));
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
