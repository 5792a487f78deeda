//! Makes messages of a stream of frames: unmasked, assembled, text checked.
//!
//! Built on the [`Guard`], which has judged a frame before its payload comes here. Owns the payload of the one message that is under
//! way, and nothing between messages. Invariant: what is kept is at most twice what has arrived of it, whatever a header announces.

use std::mem;

use bytes::Bytes;

use super::guard::{Opcode, Piece};
use super::{FrameError, Guard, Item, Kind, Limits, Message, Role, mask_in_place};

/// Reads one connection's stream, in chunks of any size.
#[derive(Debug)]
pub struct Parser {
    guard: Guard,
    /// What has arrived of the open message, unmasked; behind it, what has arrived of a control frame.
    buffer: Vec<u8>,
    /// How many bytes at the end of the open text message are a character that is not complete yet.
    unfinished: u8,
}

impl Parser {
    /// A parser at the start of a stream.
    pub fn new(role: Role) -> Self {
        Self {
            guard: Guard::new(role),
            buffer: Vec::new(),
            unfinished: 0,
        }
    }

    /// Takes bytes from the front of `input` until an item is complete; `None` when `input` is used up before.
    ///
    /// After an error everything is refused; after a Close everything is taken and ignored.
    pub fn next(&mut self, input: &mut &[u8], limits: &Limits) -> Result<Option<Item>, FrameError> {
        let result = self.advance(input, limits);
        if result.is_err() {
            self.guard.fail();
            self.buffer = Vec::new();
        }
        result
    }

    /// Whether a frame or a message has begun and not ended.
    pub fn is_partial(&self) -> bool {
        self.guard.is_partial()
    }

    fn advance(&mut self, input: &mut &[u8], limits: &Limits) -> Result<Option<Item>, FrameError> {
        loop {
            // The kind is forgotten by the guard with the last piece, and known only after the first.
            let before = self.guard.open();
            let Some(piece) = self.guard.next(input, limits)? else {
                return Ok(None);
            };
            let item = if piece.opcode.is_control() {
                self.control_piece(&piece)?
            } else {
                let kind = match piece.opcode {
                    Opcode::Text => Kind::Text,
                    Opcode::Binary => Kind::Binary,
                    _ => before.unwrap_or(Kind::Binary),
                };
                self.message_piece(kind, &piece)?
            };
            if item.is_some() {
                return Ok(item);
            }
        }
    }

    fn message_piece(&mut self, kind: Kind, piece: &Piece<'_>) -> Result<Option<Item>, FrameError> {
        self.keep(piece);
        if kind == Kind::Text {
            self.check_text(piece)?;
        }
        if !piece.ends_message {
            return Ok(None);
        }
        let data = Bytes::from(mem::take(&mut self.buffer));
        Ok(Some(Item::Message(Message { kind, data })))
    }

    fn control_piece(&mut self, piece: &Piece<'_>) -> Result<Option<Item>, FrameError> {
        self.keep(piece);
        if !piece.ends_frame {
            return Ok(None);
        }
        let payload = self.take_control();
        Ok(Some(match piece.opcode {
            Opcode::Ping => Item::Ping(payload),
            Opcode::Pong => Item::Pong(payload),
            _ => parse_close(&payload)?,
        }))
    }

    /// Appends the piece, unmasked. The buffer doubles when it grows, but not beyond the end of the frame: a message that arrives in
    /// one chunk gets exactly its size.
    fn keep(&mut self, piece: &Piece<'_>) {
        let start = self.buffer.len();
        let needed = start.saturating_add(piece.data.len());
        if needed > self.buffer.capacity() {
            let comfortable = self
                .buffer
                .capacity()
                .saturating_mul(2)
                .min(needed.saturating_add(piece.remaining));
            self.buffer.reserve_exact(comfortable.max(needed).saturating_sub(start));
        }
        self.buffer.extend_from_slice(piece.data);
        if piece.mask != [0; 4] {
            mask_in_place(self.buffer.get_mut(start..).unwrap_or_default(), piece.mask);
        }
    }

    /// Checks what the piece has added, from the start of the character it may continue.
    fn check_text(&mut self, piece: &Piece<'_>) -> Result<(), FrameError> {
        let start = self
            .buffer
            .len()
            .saturating_sub(piece.data.len())
            .saturating_sub(self.unfinished.into());
        let added = self.buffer.get(start..).unwrap_or_default();
        self.unfinished = match std::str::from_utf8(added) {
            Ok(_) => 0,
            Err(error) if error.error_len().is_none() && !piece.ends_message => {
                u8::try_from(added.len().saturating_sub(error.valid_up_to())).unwrap_or(u8::MAX)
            }
            Err(_) => return Err(FrameError::InvalidUtf8),
        };
        Ok(())
    }

    /// The payload of the control frame that has just ended; leaves the open message in the buffer.
    fn take_control(&mut self) -> Bytes {
        let message = if self.guard.open().is_some() {
            self.guard.announced()
        } else {
            0
        };
        if message == 0 {
            return Bytes::from(mem::take(&mut self.buffer));
        }
        let payload = Bytes::copy_from_slice(self.buffer.get(message..).unwrap_or_default());
        self.buffer.truncate(message);
        payload
    }
}

fn parse_close(payload: &[u8]) -> Result<Item, FrameError> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return Ok(Item::Close {
            code: None,
            reason: String::new(),
        });
    };
    let code = u16::from_be_bytes(*code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(FrameError::Protocol("a close code that may not be sent"));
    }
    let reason = std::str::from_utf8(reason).map_err(|_| FrameError::InvalidUtf8)?;
    Ok(Item::Close {
        code: Some(code),
        reason: reason.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{client, text};

    const LIMITS: Limits = Limits {
        message_size: 64 * 1024,
        fragments: 3,
    };

    #[track_caller]
    fn check(stream: &[u8], expected: &[Item]) {
        let mut parser = Parser::new(Role::Client);
        assert_eq!(drain(&mut parser, stream), (expected.to_vec(), None));
        assert!(!parser.is_partial());
        assert_eq!(parser.buffer.capacity(), 0, "heap is held between messages");
    }

    /// `stream` is refused at its last byte, and not before.
    #[track_caller]
    fn check_refused(stream: &[u8], expected: FrameError) {
        let mut parser = Parser::new(Role::Client);
        let (last, before) = stream.split_last().expect("not empty");
        assert_eq!(drain(&mut parser, before).1, None, "refused too early");
        assert_eq!(drain(&mut parser, &[*last]).1, Some(expected));
        assert_eq!(parser.buffer.capacity(), 0, "heap is held after an error");
        assert!(
            drain(&mut parser, b"\x81").1.is_some(),
            "nothing is accepted after an error"
        );
    }

    fn drain(parser: &mut Parser, mut input: &[u8]) -> (Vec<Item>, Option<FrameError>) {
        let mut items = Vec::new();
        loop {
            match parser.next(&mut input, &LIMITS) {
                Ok(Some(item)) => items.push(item),
                Ok(None) => return (items, None),
                Err(error) => return (items, Some(error)),
            }
        }
    }

    fn message(kind: Kind, data: &'static [u8]) -> Item {
        Item::Message(Message {
            kind,
            data: Bytes::from_static(data),
        })
    }

    #[test]
    fn streams() {
        let ping = || Item::Ping(Bytes::from_static(b"?"));
        check(b"", &[]);
        check(b"\x81\x00", &[message(Kind::Text, b"")]);
        check(
            b"\x81\x02hi\x82\x01\xff",
            &[message(Kind::Text, b"hi"), message(Kind::Binary, b"\xff")],
        );
        check(b"\x01\x01h\x80\x01i", &[message(Kind::Text, b"hi")]);
        check(b"\x02\0\0\0\x80\0", &[message(Kind::Binary, b"")]);
        check(b"\x89\x01?\x8a\0", &[ping(), Item::Pong(Bytes::new())]);
        check(b"\x01\x01h\x89\x01?\x80\x01i", &[ping(), message(Kind::Text, b"hi")]);
        check(b"\x01\0\x89\x01?\x80\x01i", &[ping(), message(Kind::Text, b"i")]);
        check(
            b"\x01\x02\xf0\x9d\x89\x01?\x80\x02\x84\x9e",
            &[ping(), message(Kind::Text, "𝄞".as_bytes())],
        );
    }

    #[test]
    fn closes() {
        let close = |code, reason: &str| Item::Close {
            code,
            reason: reason.to_owned(),
        };
        check(b"\x88\0", &[close(None, "")]);
        check(b"\x88\x02\x03\xe8", &[close(Some(1000), "")]);
        check(b"\x88\x05\x0b\xb8bye\xf1\xf1", &[close(Some(3000), "bye")]);
        for code in [1003, 1007, 1014, 4999u16] {
            check(
                &[b"\x88\x02", &code.to_be_bytes()[..]].concat(),
                &[close(Some(code), "")],
            );
        }
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535u16] {
            let stream = [b"\x88\x02", &code.to_be_bytes()[..]].concat();
            check_refused(&stream, FrameError::Protocol("a close code that may not be sent"));
        }
        check_refused(b"\x88\x03\x03\xe8\xff", FrameError::InvalidUtf8);
        check_refused(b"\x88\x03\x03\xe8\xc3", FrameError::InvalidUtf8);
    }

    #[test]
    fn text_is_refused_at_its_first_bad_byte() {
        check_refused(b"\x81\x7e\x01\x00good\xff", FrameError::InvalidUtf8); // the frame has 251 bytes to go
        check_refused(b"\x01\x02\xc3\xa9\x00\x0a\xc3\x28", FrameError::InvalidUtf8);
        check_refused(b"\x01\x01\xc3\x80\x05\x28", FrameError::InvalidUtf8); // the character began in another fragment
        check_refused(b"\x01\x01\xf4\x80\x05\x90", FrameError::InvalidUtf8); // beyond U+10FFFF
        check_refused(b"\x01\x01\xed\x80\x05\xa0", FrameError::InvalidUtf8); // a surrogate
        check_refused(b"\x01\x02\xe2\x82\x80\x00", FrameError::InvalidUtf8); // the message ends inside a character
        check_refused(b"\x81\x01\xc3", FrameError::InvalidUtf8);
    }

    #[test]
    fn masked_frames_in_pieces_of_every_size() {
        let payload = "grüße, 世界 𝄞 ".repeat(40);
        let stream = client::text(payload.as_bytes(), [1, 2, 3, 0xfe]);
        for size in 1..stream.len() {
            let mut parser = Parser::new(Role::Server);
            let items: Vec<Item> = stream
                .chunks(size)
                .flat_map(|chunk| drain(&mut parser, chunk).0)
                .collect();
            let data = Bytes::copy_from_slice(payload.as_bytes());
            assert_eq!(
                items,
                [Item::Message(Message { kind: Kind::Text, data })],
                "chunks of {size}"
            );
        }
    }

    #[test]
    fn memory_follows_what_has_arrived() {
        assert!(size_of::<Parser>() <= 64, "{}", size_of::<Parser>());
        let stream = text(&[b'x'; 60_000]);
        let mut parser = Parser::new(Role::Client);
        for chunk in stream.chunks(1000) {
            drain(&mut parser, chunk);
            assert!(parser.buffer.capacity() <= 2 * parser.buffer.len());
        }
        assert_eq!(parser.buffer.capacity(), 0);
    }

    #[test]
    fn partial_between_first_and_last_byte() {
        let mut parser = Parser::new(Role::Client);
        for (byte, partial) in b"\x01\x01a\x89\x01?\x80\x01b"
            .iter()
            .zip([true, true, true, true, true, true, true, true, false])
        {
            drain(&mut parser, &[*byte]);
            assert_eq!(parser.is_partial(), partial);
        }
    }
}
