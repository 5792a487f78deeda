//! Makes messages of a stream of frames: unmasked, assembled, text checked.
//!
//! Built on the [`Guard`], which has judged a frame before its payload comes here. Owns the payload of the one message that is under
//! way, and nothing between messages. Invariant: what is kept is at most twice what has arrived of it, whatever a header announces.

#![deny(clippy::indexing_slicing)]

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
        let needed = start + piece.data.len();
        if needed > self.buffer.capacity() {
            let comfortable = self
                .buffer
                .capacity()
                .saturating_mul(2)
                .min(needed.saturating_add(piece.remaining));
            self.buffer.reserve_exact(comfortable.max(needed) - start);
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
            .saturating_sub(piece.data.len() + usize::from(self.unfinished));
        let added = self.buffer.get(start..).unwrap_or_default();
        self.unfinished = match std::str::from_utf8(added) {
            Ok(_) => 0,
            Err(error) if error.error_len().is_none() && !piece.ends_message => {
                u8::try_from(added.len() - error.valid_up_to()).unwrap_or(u8::MAX)
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
