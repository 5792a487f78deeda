//! Reads what Redis sends on the subscribing connection: RESP2, incrementally, with a bound on everything.
//!
//! Knows the form of replies and nothing about their meaning. What Redis sends is not trusted: lines, numbers of items and nesting have
//! bounds, and a bulk string over the bound is passed over as it arrives and never held. Invariant: the reader never holds more than the
//! bulk strings of one reply within their bound, and one read.

use std::ops::Range;

use bytes::{Buf, BytesMut};

/// The longest line: a type with its length, a status, an error, a number.
const MAX_LINE: usize = 4096;
/// What Redis itself takes at most in one bulk string.
const MAX_SKIPPED: usize = 512 * 1024 * 1024;
/// The longest array: what is pushed to subscribers has 3 items, for a pattern 4.
const MAX_ITEMS: usize = 4;
/// The room offered to one read.
const READ: usize = 64 * 1024;
/// A buffer that grew beyond this for one large reply is given back once it is empty.
const KEPT: usize = 256 * 1024;

/// Turns bytes into replies.
#[derive(Debug)]
pub struct Reader {
    buffer: BytesMut,
    /// Where the next reply starts in `buffer`.
    start: usize,
    max_bulk: usize,
    hole: Option<Hole>,
}

/// A bulk string that is passed over: its bytes are taken out of the buffer, its header stays.
#[derive(Debug)]
struct Hole {
    /// Where its bytes would be, seen from the start of the reply.
    at: usize,
    len: usize,
    /// How many of its bytes, line end included, have not arrived yet.
    missing: usize,
}

/// One reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply<T> {
    /// Not an array.
    One(Value<T>),
    /// An array; the items from `len` on are [`Value::Null`] and mean nothing.
    Many {
        /// Its items.
        items: [Value<T>; MAX_ITEMS],
        /// How many there are.
        len: usize,
    },
}

/// A reply, or an item of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<T> {
    /// A status, such as `OK`.
    Status(T),
    /// A refusal: a code, and words for a person.
    Error(T),
    /// A number.
    Integer(i64),
    /// Any bytes.
    Bulk(T),
    /// A bulk string over the bound, of this many bytes, passed over.
    TooLong(usize),
    /// Nothing.
    Null,
}

/// Why bytes are not RESP2 within the bounds. The connection is of no use afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RespError {
    /// A line has no end, or ends with a bare line feed.
    #[error("a line without a proper end within {MAX_LINE} bytes")]
    Line,
    /// Not a number where one must be.
    #[error("a length or number that is none")]
    Number,
    /// A length below -1, or above what Redis itself allows.
    #[error("a length out of range: {0}")]
    Length(i64),
    /// No such type, or one of RESP3, which was not asked for.
    #[error("a reply of unknown type {0:#04x}")]
    Type(u8),
    /// An array in an array.
    #[error("nested arrays")]
    Nested,
    /// A second bulk string over the bound in one reply.
    #[error("several strings over the bound in one reply")]
    TooLong,
    /// A bulk string is not followed by a line end.
    #[error("a string that does not end where it said")]
    Unterminated,
}

/// What stands at a place of the buffer.
enum Found<T> {
    /// A complete one, and where it ends.
    Complete(T, usize),
    /// One whose end has not arrived.
    Partial,
    /// A bulk string over the bound: where its bytes start, and how many there are.
    Long(usize, usize),
}

impl Reader {
    /// A reader that holds bulk strings of at most `max_bulk` bytes and passes over longer ones.
    pub fn new(max_bulk: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            start: 0,
            max_bulk: max_bulk.min(MAX_SKIPPED),
            hole: None,
        }
    }

    /// Where to append what has arrived; it has room for one read.
    pub fn space(&mut self) -> &mut BytesMut {
        self.buffer.advance(self.start);
        self.start = 0;
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT {
            self.buffer = BytesMut::new();
        }
        self.buffer.reserve(READ);
        &mut self.buffer
    }

    /// How many bytes it holds.
    pub fn held(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Takes the next reply, if all of it has arrived.
    pub fn next_reply(&mut self) -> Result<Option<Reply<&[u8]>>, RespError> {
        loop {
            self.fill_hole();
            match self.find_reply()? {
                Found::Partial => return Ok(None),
                Found::Long(_, _) if self.hole.is_some() => return Err(RespError::TooLong),
                Found::Long(at, len) => {
                    let missing = len + 2; // with its line end
                    self.hole = Some(Hole { at, len, missing });
                }
                Found::Complete(reply, end) => {
                    self.hole = None;
                    let bytes = &self.buffer[self.start..];
                    self.start += end;
                    return Ok(Some(reply.map(|range| &bytes[range])));
                }
            }
        }
    }

    /// Takes the bytes of the long string that have arrived out of the buffer.
    fn fill_hole(&mut self) {
        let Some(hole) = &mut self.hole else { return };
        let from = self.start + hole.at;
        let arrived = hole.missing.min(self.buffer.len() - from);
        if arrived > 0 {
            hole.missing -= arrived;
            self.buffer.copy_within(from + arrived.., from);
            self.buffer.truncate(self.buffer.len() - arrived);
        }
    }

    fn find_reply(&self) -> Result<Found<Reply<Range<usize>>>, RespError> {
        let bytes = &self.buffer[self.start..];
        if bytes.first() != Some(&b'*') {
            return Ok(match self.find_value(bytes, 0)? {
                Found::Complete(value, end) => Found::Complete(Reply::One(value), end),
                Found::Partial => Found::Partial,
                Found::Long(at, len) => Found::Long(at, len),
            });
        }
        let Some((count, mut at)) = find_number(bytes, 1)? else {
            return Ok(Found::Partial);
        };
        if count == -1 {
            return Ok(Found::Complete(Reply::One(Value::Null), at));
        }
        let len = usize::try_from(count)
            .ok()
            .filter(|len| *len <= MAX_ITEMS)
            .ok_or(RespError::Length(count))?;
        let mut items = [const { Value::Null }; MAX_ITEMS];
        for item in &mut items[..len] {
            match self.find_value(bytes, at)? {
                Found::Complete(value, end) => (*item, at) = (value, end),
                Found::Partial => return Ok(Found::Partial),
                Found::Long(at, len) => return Ok(Found::Long(at, len)),
            }
        }
        Ok(Found::Complete(Reply::Many { items, len }, at))
    }

    fn find_value(&self, bytes: &[u8], at: usize) -> Result<Found<Value<Range<usize>>>, RespError> {
        let Some(kind) = bytes.get(at) else {
            return Ok(Found::Partial);
        };
        let value = match kind {
            b'+' | b'-' => find_line(bytes, at + 1)?.map(|(line, end)| {
                (
                    if *kind == b'+' {
                        Value::Status(line)
                    } else {
                        Value::Error(line)
                    },
                    end,
                )
            }),
            b':' => find_number(bytes, at + 1)?.map(|(number, end)| (Value::Integer(number), end)),
            b'$' => return self.find_bulk(bytes, at + 1),
            b'*' => return Err(RespError::Nested),
            unknown => return Err(RespError::Type(*unknown)),
        };
        Ok(value.map_or(Found::Partial, |(value, end)| Found::Complete(value, end)))
    }

    fn find_bulk(&self, bytes: &[u8], at: usize) -> Result<Found<Value<Range<usize>>>, RespError> {
        let Some((number, at)) = find_number(bytes, at)? else {
            return Ok(Found::Partial);
        };
        if number == -1 {
            return Ok(Found::Complete(Value::Null, at));
        }
        let len = usize::try_from(number)
            .ok()
            .filter(|len| *len <= MAX_SKIPPED)
            .ok_or(RespError::Length(number))?;
        if len > self.max_bulk {
            return Ok(match &self.hole {
                Some(Hole {
                    at: hole,
                    len,
                    missing: 0,
                }) if *hole == at => Found::Complete(Value::TooLong(*len), at),
                Some(hole) if hole.at == at => Found::Partial,
                _ => Found::Long(at, len),
            });
        }
        let end = at + len;
        match bytes.get(end..end + 2) {
            Some(b"\r\n") => Ok(Found::Complete(Value::Bulk(at..end), end + 2)),
            Some(_) => Err(RespError::Unterminated),
            None => Ok(Found::Partial),
        }
    }
}

/// The line from `at`, and where the next one starts.
fn find_line(bytes: &[u8], at: usize) -> Result<Option<(Range<usize>, usize)>, RespError> {
    let line = &bytes[at..];
    match line.iter().take(MAX_LINE).position(|byte| *byte == b'\n') {
        Some(end) if line[..end].ends_with(b"\r") => Ok(Some((at..at + end - 1, at + end + 1))),
        None if line.len() < MAX_LINE => Ok(None),
        _ => Err(RespError::Line),
    }
}

fn find_number(bytes: &[u8], at: usize) -> Result<Option<(i64, usize)>, RespError> {
    let Some((line, end)) = find_line(bytes, at)? else {
        return Ok(None);
    };
    let number = std::str::from_utf8(&bytes[line])
        .ok()
        .and_then(|text| text.parse().ok());
    Ok(Some((number.ok_or(RespError::Number)?, end)))
}

impl<T> Reply<T> {
    fn map<U>(self, mut change: impl FnMut(T) -> U) -> Reply<U> {
        match self {
            Self::One(value) => Reply::One(value.map(&mut change)),
            Self::Many { items, len } => Reply::Many {
                items: items.map(|value| value.map(&mut change)),
                len,
            },
        }
    }
}

impl<T> Value<T> {
    fn map<U>(self, change: impl FnOnce(T) -> U) -> Value<U> {
        match self {
            Self::Status(text) => Value::Status(change(text)),
            Self::Error(text) => Value::Error(change(text)),
            Self::Integer(number) => Value::Integer(number),
            Self::Bulk(bytes) => Value::Bulk(change(bytes)),
            Self::TooLong(len) => Value::TooLong(len),
            Self::Null => Value::Null,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Everything that comes out when `bytes` arrive in pieces of `piece`, as text.
    fn read(bytes: &[u8], piece: usize) -> (Vec<String>, Option<RespError>, usize) {
        let mut reader = Reader::new(16);
        let (mut replies, mut most) = (Vec::new(), 0);
        for arrived in bytes.chunks(piece) {
            reader.space().extend_from_slice(arrived);
            loop {
                match reader.next_reply() {
                    Ok(Some(reply)) => replies.push(told(&reply)),
                    Ok(None) => break,
                    Err(error) => return (replies, Some(error), most),
                }
            }
            most = most.max(reader.held());
        }
        (replies, None, most)
    }

    fn told(reply: &Reply<&[u8]>) -> String {
        let one = |value: &Value<&[u8]>| match value {
            Value::Status(text) => format!("+{}", text.escape_ascii()),
            Value::Error(text) => format!("-{}", text.escape_ascii()),
            Value::Integer(number) => number.to_string(),
            Value::Bulk(bytes) => bytes.escape_ascii().to_string(),
            Value::TooLong(len) => format!("long {len}"),
            Value::Null => "null".to_owned(),
        };
        match reply {
            Reply::One(value) => one(value),
            Reply::Many { items, len } => format!("{:?}", items[..*len].iter().map(one).collect::<Vec<_>>()),
        }
    }

    #[track_caller]
    fn check(bytes: &[u8], replies: &[&str], error: Option<RespError>) {
        for piece in [1, 2, 7, 1024] {
            let (read, stopped, _) = read(bytes, piece);
            assert_eq!(
                (read.as_slice(), stopped),
                (replies.map_owned().as_slice(), error),
                "in pieces of {piece}"
            );
        }
    }

    trait MapOwned {
        fn map_owned(&self) -> Vec<String>;
    }

    impl MapOwned for [&str] {
        fn map_owned(&self) -> Vec<String> {
            self.iter().map(|text| (*text).to_owned()).collect()
        }
    }

    #[test]
    fn replies_in_any_pieces() {
        check(
            b"+OK\r\n-ERR no\r\n:-7\r\n$2\r\n\r\n\r\n$-1\r\n*-1\r\n*0\r\n",
            &["+OK", "-ERR no", "-7", "\\r\\n", "null", "null", "[]"],
            None,
        );
        check(
            b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n",
            &[r#"["message", "c", "hi"]"#],
            None,
        );
        check(
            b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n+PONG\r\n",
            &[r#"["subscribe", "c", "1"]"#, "+PONG"],
            None,
        );
        check(b"*3\r\n$7\r\nmessage\r\n$1\r\n", &[], None);
    }

    #[test]
    fn what_is_over_the_bound_is_passed_over() {
        let long = "x".repeat(1000);
        let bytes = format!(
            "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1000\r\n{long}\r\n$1000\r\n{long}\r\n:1\r\n*2\r\n$17\r\n{}\r\n:2\r\n",
            &long[..17]
        );
        check(
            bytes.as_bytes(),
            &[
                r#"["message", "c", "long 1000"]"#,
                "long 1000",
                "1",
                r#"["long 17", "2"]"#,
            ],
            None,
        );
        let (_, _, most) = read(bytes.as_bytes(), 64);
        assert!(most < 128, "held {most} bytes");
        let twice = format!("*2\r\n$20\r\n{0}\r\n$20\r\n{0}\r\n", &long[..20]);
        check(twice.as_bytes(), &[], Some(RespError::TooLong));
    }

    #[test]
    fn what_is_not_resp_is_refused() {
        check(b"+OK\n", &[], Some(RespError::Line));
        check(&[b'+'; MAX_LINE + 1], &[], Some(RespError::Line));
        check(b":one\r\n", &[], Some(RespError::Number));
        check(b"$99999999999999999999\r\n", &[], Some(RespError::Number));
        check(b"$-2\r\n", &[], Some(RespError::Length(-2)));
        check(b"$536870913\r\n", &[], Some(RespError::Length(536_870_913)));
        check(b"*5\r\n", &[], Some(RespError::Length(5)));
        check(b"*1000000000\r\n", &[], Some(RespError::Length(1_000_000_000)));
        check(b"*1\r\n*1\r\n:1\r\n", &[], Some(RespError::Nested));
        check(b":1\r\n>3\r\n", &["1"], Some(RespError::Type(b'>')));
        check(b"$1\r\nab\r\n", &[], Some(RespError::Unterminated));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter_and_nothing_panics(bytes in "([*$:+-]?[0-9a-c]{0,3}(\r\n)?){0,40}", piece in 1..30_usize) {
            let (replies, error, _) = read(bytes.as_bytes(), 4096);
            prop_assert_eq!((replies, error), { let (r, e, _) = read(bytes.as_bytes(), piece); (r, e) });
        }
    }
}
