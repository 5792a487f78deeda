//! Walks a stream of frames and judges each by its header, without keeping any payload.
//!
//! Owns where in the stream we are: which part of which frame, and how much of which message. The [`Parser`](super::Parser) is built on
//! it; alone it stands in front of a WebSocket implementation that would take a frame in before it looks at its size. Invariant: an
//! error comes with the byte of the header that first shows it, however the stream was cut into chunks.

use super::{FrameError, Kind, Limits, Role};

/// Checks everything that frame headers can tell.
#[derive(Debug)]
pub struct Guard {
    /// Payload bytes of the current frame that are still to come; while the length is being read, as much of it as is known.
    remaining: u64,
    /// Payload bytes of the current message in all frames announced so far.
    total: usize,
    /// Frames of the current message so far.
    fragments: u32,
    /// The current frame's mask, turned so that its first byte belongs to the next payload byte. Zero when there is none.
    mask: [u8; 4],
    /// Bytes that the current stage still waits for, in the stages that wait for more than one.
    missing: u8,
    stage: Stage,
    role: Role,
    opcode: Opcode,
    fin: bool,
    /// The message that has begun and not ended.
    open: Option<Kind>,
}

/// What the next byte of the stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    FirstByte,
    SecondByte,
    Length16,
    Length64,
    Mask,
    Payload,
    /// A Close frame has passed: nothing more is looked at.
    Closed,
    /// An error was told: nothing more is accepted.
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

/// Consecutive payload bytes of one frame.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    pub(super) opcode: Opcode,
    /// As they came, masked.
    pub(super) data: &'a [u8],
    /// The mask, turned to the first byte of `data`.
    pub(super) mask: [u8; 4],
    /// Whether it is the last of its frame.
    pub(super) ends_frame: bool,
    /// Whether it is the last of its message. Always false in control frames.
    pub(super) ends_message: bool,
    /// Payload bytes of the frame that come after this piece.
    pub(super) remaining: usize,
}

impl Guard {
    /// A guard at the start of a stream.
    pub fn new(role: Role) -> Self {
        Self {
            remaining: 0,
            total: 0,
            fragments: 0,
            mask: [0; 4],
            missing: 0,
            stage: Stage::FirstByte,
            role,
            opcode: Opcode::Continuation,
            fin: false,
            open: None,
        }
    }

    /// Looks at the next `chunk` of the stream.
    ///
    /// With the error comes how many bytes at the front of `chunk` belong to frames before the bad one: a caller that passes chunks on
    /// may still pass these, and then has to end the stream. It is 0 when the bad header began in an earlier chunk, of which a caller
    /// has passed on an incomplete header, harmless by itself. After an error everything is refused; after a Close frame everything is
    /// let through unseen.
    pub fn check(&mut self, chunk: &[u8], limits: &Limits) -> Result<(), (usize, FrameError)> {
        let mut rest = chunk;
        let mut good = 0;
        loop {
            match self.next(&mut rest, limits) {
                Ok(Some(_)) => good = chunk.len().saturating_sub(rest.len()),
                Ok(None) => return Ok(()),
                Err(error) => return Err((good, error)),
            }
        }
    }

    /// Takes the next piece of payload from the front of `input`; `None` when `input` is used up. Each frame has at least one piece,
    /// the empty frame an empty one.
    pub(super) fn next<'a>(&mut self, input: &mut &'a [u8], limits: &Limits) -> Result<Option<Piece<'a>>, FrameError> {
        while self.stage != Stage::Payload {
            if self.stage == Stage::Closed {
                *input = &[];
            }
            let Some((&byte, rest)) = input.split_first() else {
                return Ok(None);
            };
            *input = rest;
            if let Err(error) = self.header_byte(byte, limits) {
                self.fail();
                return Err(error);
            }
        }
        if input.is_empty() && self.remaining > 0 {
            return Ok(None);
        }
        Ok(Some(self.payload(input)))
    }

    /// Refuses everything from now on.
    pub(super) fn fail(&mut self) {
        self.stage = Stage::Failed;
    }

    /// The message that has begun and not ended.
    pub(super) fn open(&self) -> Option<Kind> {
        self.open
    }

    /// Payload bytes of the open message in all frames announced so far.
    pub(super) fn announced(&self) -> usize {
        self.total
    }

    /// Whether a frame or a message has begun and not ended.
    pub(super) fn is_partial(&self) -> bool {
        match self.stage {
            Stage::FirstByte => self.open.is_some(),
            Stage::Closed | Stage::Failed => false,
            _ => true,
        }
    }

    fn header_byte(&mut self, byte: u8, limits: &Limits) -> Result<(), FrameError> {
        match self.stage {
            Stage::FirstByte => self.first_byte(byte, limits),
            Stage::SecondByte => self.second_byte(byte, limits),
            Stage::Length16 | Stage::Length64 => self.length_byte(byte, limits),
            Stage::Mask => {
                let [_, a, b, c] = self.mask;
                self.mask = [a, b, c, byte];
                self.missing = self.missing.saturating_sub(1);
                if self.missing == 0 {
                    self.stage = Stage::Payload;
                }
                Ok(())
            }
            Stage::Payload | Stage::Closed => Ok(()),
            Stage::Failed => Err(FrameError::Protocol("bytes after an error")),
        }
    }

    fn first_byte(&mut self, byte: u8, limits: &Limits) -> Result<(), FrameError> {
        if byte & 0x70 != 0 {
            return Err(FrameError::Protocol("a reserved bit is set"));
        }
        self.fin = byte & 0x80 != 0;
        self.opcode = Opcode::parse(byte & 0x0f)?;
        match (self.opcode, self.open) {
            (Opcode::Continuation, None) => return Err(FrameError::Protocol("a continuation of no message")),
            (Opcode::Text | Opcode::Binary, Some(_)) => {
                return Err(FrameError::Protocol("a message begins inside another"));
            }
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) if !self.fin => {
                return Err(FrameError::Protocol("a control frame is fragmented"));
            }
            (Opcode::Continuation, Some(_)) => {
                if self.fragments >= limits.fragments {
                    return Err(FrameError::TooManyFragments);
                }
                self.fragments = self.fragments.saturating_add(1);
            }
            (Opcode::Text, None) => self.begin_message(Kind::Text),
            (Opcode::Binary, None) => self.begin_message(Kind::Binary),
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => {}
        }
        self.stage = Stage::SecondByte;
        Ok(())
    }

    fn begin_message(&mut self, kind: Kind) {
        self.open = Some(kind);
        self.fragments = 1;
        self.total = 0;
    }

    fn second_byte(&mut self, byte: u8, limits: &Limits) -> Result<(), FrameError> {
        match (self.role, byte & 0x80 != 0) {
            (Role::Server, false) => return Err(FrameError::Protocol("a client's frame is not masked")),
            (Role::Client, true) => return Err(FrameError::Protocol("a server's frame is masked")),
            _ => {}
        }
        let length = byte & 0x7f;
        if self.opcode.is_control() && length > 125 {
            return Err(FrameError::Protocol("a control frame is longer than 125 bytes"));
        }
        if self.opcode == Opcode::Close && length == 1 {
            return Err(FrameError::Protocol("a close code of one byte"));
        }
        self.remaining = 0;
        (self.stage, self.missing) = match length {
            126 => (Stage::Length16, 2),
            127 => (Stage::Length64, 8),
            _ => {
                self.remaining = u64::from(length);
                return self.length_known(limits);
            }
        };
        Ok(())
    }

    fn length_byte(&mut self, byte: u8, limits: &Limits) -> Result<(), FrameError> {
        self.remaining = self.remaining << 8 | u64::from(byte);
        self.missing = self.missing.saturating_sub(1);
        if self.missing > 0 {
            return Ok(());
        }
        let shortest = if self.stage == Stage::Length16 { 126 } else { 0x1_0000 };
        if self.remaining < shortest {
            return Err(FrameError::Protocol("a length that is not in its shortest form"));
        }
        if self.remaining >> 63 != 0 {
            return Err(FrameError::Protocol("a length of more than 63 bits"));
        }
        self.length_known(limits)
    }

    fn length_known(&mut self, limits: &Limits) -> Result<(), FrameError> {
        if !self.opcode.is_control() {
            let length = usize::try_from(self.remaining).map_err(|_| FrameError::TooLarge)?;
            if length > limits.message_size.saturating_sub(self.total) {
                return Err(FrameError::TooLarge);
            }
            self.total = self.total.saturating_add(length);
        }
        self.mask = [0; 4];
        (self.stage, self.missing) = match self.role {
            Role::Server => (Stage::Mask, 4),
            Role::Client => (Stage::Payload, 0),
        };
        Ok(())
    }

    fn payload<'a>(&mut self, input: &mut &'a [u8]) -> Piece<'a> {
        let remaining = usize::try_from(self.remaining).unwrap_or(usize::MAX);
        let (data, rest) = input.split_at_checked(remaining).unwrap_or((input, &[]));
        *input = rest;
        let remaining = remaining.saturating_sub(data.len());
        self.remaining = remaining as u64;
        let mask = self.mask;
        self.mask.rotate_left(data.len() % 4);
        let ends_frame = remaining == 0;
        let ends_message = ends_frame && self.fin && !self.opcode.is_control();
        if ends_frame {
            self.stage = if self.opcode == Opcode::Close {
                Stage::Closed
            } else {
                Stage::FirstByte
            };
        }
        if ends_message {
            self.open = None;
        }
        Piece {
            opcode: self.opcode,
            data,
            mask,
            ends_frame,
            ends_message,
            remaining,
        }
    }
}

impl Opcode {
    fn parse(nibble: u8) -> Result<Self, FrameError> {
        Ok(match nibble {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return Err(FrameError::Protocol("a reserved opcode")),
        })
    }

    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        message_size: 64 * 1024,
        fragments: 3,
    };

    /// `stream` is refused at its last byte, and not before.
    #[track_caller]
    fn check(role: Role, stream: &[u8], expected: FrameError) {
        let mut guard = Guard::new(role);
        let (last, before) = stream.split_last().expect("not empty");
        assert_eq!(guard.check(before, &LIMITS), Ok(()), "refused too early");
        assert_eq!(guard.check(&[*last], &LIMITS), Err((0, expected)));
        assert!(
            guard.check(b"\x81", &LIMITS).is_err(),
            "nothing is accepted after an error"
        );
    }

    #[test]
    fn headers_that_break_the_protocol() {
        use FrameError::{Protocol, TooLarge, TooManyFragments};
        use Role::{Client, Server};
        let ping = b"\x89\x80mask";
        check(Server, b"\xc1", Protocol("a reserved bit is set"));
        check(Server, b"\xa2", Protocol("a reserved bit is set"));
        check(Client, b"\x91", Protocol("a reserved bit is set"));
        check(Server, b"\x83", Protocol("a reserved opcode"));
        check(Server, b"\x07", Protocol("a reserved opcode"));
        check(Server, b"\x8b", Protocol("a reserved opcode"));
        check(Server, &[ping, &b"\x8f"[..]].concat(), Protocol("a reserved opcode"));
        check(Server, b"\x09", Protocol("a control frame is fragmented"));
        check(Server, b"\x08", Protocol("a control frame is fragmented"));
        check(Server, b"\x80", Protocol("a continuation of no message"));
        check(Client, b"\x81\x01x\x00", Protocol("a continuation of no message"));
        check(Client, b"\x01\x01x\x81", Protocol("a message begins inside another"));
        check(Client, b"\x01\x01x\x02", Protocol("a message begins inside another"));
        check(Server, b"\x81\x05", Protocol("a client's frame is not masked"));
        check(Client, b"\x81\x85", Protocol("a server's frame is masked"));
        check(
            Server,
            b"\x89\xfe",
            Protocol("a control frame is longer than 125 bytes"),
        );
        check(
            Client,
            b"\x8a\x7f",
            Protocol("a control frame is longer than 125 bytes"),
        );
        check(Client, b"\x88\x01", Protocol("a close code of one byte"));
        check(
            Server,
            b"\x81\xfe\x00\x7d",
            Protocol("a length that is not in its shortest form"),
        );
        check(
            Server,
            b"\x82\xff\0\0\0\0\0\0\xff\xff",
            Protocol("a length that is not in its shortest form"),
        );
        check(
            Server,
            b"\x82\xff\x80\0\0\0\0\x01\0\0",
            Protocol("a length of more than 63 bits"),
        );
        check(Server, b"\x82\xff\0\0\0\0\x80\0\0\0", TooLarge); // 2 GiB
        check(Server, b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff", TooLarge);
        check(Server, b"\x81\xff\0\0\0\0\0\x01\0\x01", TooLarge); // one byte more than the limit
        check(Client, b"\x02\x01x\x80\x7f\0\0\0\0\0\x01\0\0", TooLarge); // the limit, after one byte
        check(Client, b"\x01\0\0\0\x89\0\0\0\x00", TooManyFragments);
    }

    #[test]
    fn what_may_be_passed_on_ends_before_the_bad_header() {
        let check = |chunks: &[&[u8]], good: usize| {
            let mut guard = Guard::new(Role::Client);
            let (last, before) = chunks.split_last().expect("not empty");
            for chunk in before {
                assert_eq!(guard.check(chunk, &LIMITS), Ok(()));
            }
            assert_eq!(
                guard.check(last, &LIMITS).map_err(|(good, _)| good),
                Err(good),
                "{chunks:?}"
            );
        };
        check(&[b"\xf1"], 0);
        check(&[b"\x81\x02hi\xf1"], 4);
        check(&[b"\x81\x02hi\x81\x00\x81\x85"], 6);
        check(&[b"\x81\x02h", b"i\xf1"], 1);
        check(&[b"\x81\x02hi\x81", b"\x85"], 0);
        check(&[b"\x81\x02hi\x81\x7f\0\0\0\0", b"\xff\0\0\0"], 0);
    }

    #[test]
    fn nothing_is_looked_at_after_a_close() {
        let mut guard = Guard::new(Role::Client);
        assert_eq!(guard.check(b"\x88\x02\x03\xe8\xff\xff", &LIMITS), Ok(()));
        assert_eq!(guard.check(b"\xff\xff", &LIMITS), Ok(()));
        assert!(!guard.is_partial());
    }
}
