//! The name of a channel, known to be valid.
//!
//! Parsed once where a name enters the process; everything inward takes a [`Channel`]. The forbidden bytes are those that mean
//! something to Redis patterns, cluster hash tags, JSON strings or paths, so a valid name is harmless in all of them.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// A name to publish to: 1 to 255 bytes of printable ASCII without `* ? [ ] { } \ / "`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Channel(Arc<str>);

/// Why a name is not a channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// The name has no byte at all.
    #[error("a channel name must not be empty")]
    Empty,
    /// The name has more than [`Channel::MAX_LEN`] bytes.
    #[error("a channel name has at most {} bytes, this one has {len}", Channel::MAX_LEN)]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// A byte is outside 0x21 to 0x7E, or one of `* ? [ ] { } \ / "`.
    #[error("a channel name must not contain {:?} (at byte {at})", char::from(*byte))]
    Forbidden {
        /// The first such byte.
        byte: u8,
        /// Where it stands, from 0.
        at: usize,
    },
}

impl Channel {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 255;

    /// Takes `name` if it is a valid channel name.
    pub fn parse(name: &str) -> Result<Self, ChannelError> {
        if name.is_empty() {
            return Err(ChannelError::Empty);
        }
        if name.len() > Self::MAX_LEN {
            return Err(ChannelError::TooLong { len: name.len() });
        }
        match name.bytes().enumerate().find(|(_, byte)| !is_allowed(*byte)) {
            Some((at, byte)) => Err(ChannelError::Forbidden { byte, at }),
            None => Ok(Self(name.into())),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_allowed(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7E) && !matches!(byte, b'*' | b'?' | b'[' | b']' | b'{' | b'}' | b'\\' | b'/' | b'"')
}

impl Borrow<str> for Channel {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: Result<(), ChannelError>) {
        assert_eq!(
            Channel::parse(name).map(|channel| assert_eq!(channel.as_str(), name)),
            expected,
            "{name:?}"
        );
    }

    #[test]
    fn names() {
        check("chat-channel", Ok(()));
        check("!", Ok(()));
        check("news.eu:1#2@~$", Ok(()));
        check(&"x".repeat(255), Ok(()));
        check("", Err(ChannelError::Empty));
        check(&"x".repeat(256), Err(ChannelError::TooLong { len: 256 }));
        check("a b", Err(ChannelError::Forbidden { byte: b' ', at: 1 }));
        check("a\r\nb", Err(ChannelError::Forbidden { byte: b'\r', at: 1 }));
        check("a\0", Err(ChannelError::Forbidden { byte: 0, at: 1 }));
        check("é", Err(ChannelError::Forbidden { byte: 0xC3, at: 0 }));
        check("\x7f", Err(ChannelError::Forbidden { byte: 0x7f, at: 0 }));
        for byte in *b"*?[]{}\\/\"" {
            check(
                &format!("a{}", char::from(byte)),
                Err(ChannelError::Forbidden { byte, at: 1 }),
            );
        }
    }
}
