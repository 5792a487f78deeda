//! What a connection has still to be sent, because the kernel would not take it yet.
//!
//! Bounded in bytes. A full outbox never loses the middle of a stream: the frame that is partly written is finished, what follows it is
//! dropped, and a Close says so. Does not know its socket: it writes to any [`Write`].

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};

use bytes::{Bytes, BytesMut};
use protocol::frame;

/// At most this many pieces go into one system call.
const PIECES: usize = 64;

/// Frames waiting for the kernel, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pieces: VecDeque<Bytes>,
    /// Bytes of the first piece that are written already.
    written: usize,
    /// Bytes not written yet.
    bytes: usize,
}

impl Outbox {
    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Adds a piece (one or more whole frames), of which `written` bytes are with the kernel already.
    pub(crate) fn push(&mut self, piece: Bytes, written: usize) {
        debug_assert!(
            written == 0 || self.pieces.is_empty(),
            "only the first piece can be partly written"
        );
        self.bytes += piece.len() - written;
        if self.pieces.is_empty() {
            self.written = written;
        }
        self.pieces.push_back(piece);
    }

    /// Drops everything but the rest of a frame that is partly written, and ends with `last`. Returns how many frames were dropped.
    pub(crate) fn cut_short(&mut self, last: Bytes) -> u64 {
        let partial = (self.written > 0).then(|| self.pieces.pop_front()).flatten();
        let mut dropped = self.pieces.drain(..).map(|piece| frames_in(&piece)).sum();
        self.bytes = 0;
        if let Some(piece) = partial {
            let end = frame::boundary(&piece, self.written);
            dropped += frames_in(&piece[end..]);
            self.bytes = end - self.written;
            if self.bytes > 0 {
                self.pieces.push_back(piece.slice(..end));
            }
        }
        if self.pieces.is_empty() {
            self.written = 0;
        }
        self.bytes += last.len();
        self.pieces.push_back(last);
        dropped
    }

    /// Writes as much as `to` takes. Returns the bytes written; an empty outbox afterwards means that all of it was.
    pub(crate) fn write_to(&mut self, to: &mut impl Write) -> io::Result<usize> {
        let mut total = 0;
        while !self.is_empty() {
            let mut slices = [IoSlice::new(&[]); PIECES];
            let mut used = 0;
            for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
                *slice = IoSlice::new(if used == 0 { &piece[self.written..] } else { piece });
                used += 1;
            }
            match to.write_vectored(&slices[..used]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    total += written;
                    self.advance(written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }

    /// Takes the oldest pieces, joined, up to about `most` bytes: for a transport that writes by itself.
    pub(crate) fn take(&mut self, most: usize) -> Option<Bytes> {
        let mut first = self.pieces.pop_front()?.split_off(self.written);
        self.written = 0;
        if self.pieces.front().is_some_and(|next| first.len() + next.len() <= most) {
            let mut joined = BytesMut::with_capacity(most.min(self.bytes));
            joined.extend_from_slice(&first);
            while let Some(next) = self.pieces.front().filter(|next| joined.len() + next.len() <= most) {
                joined.extend_from_slice(next);
                self.pieces.pop_front();
            }
            first = joined.freeze();
        }
        self.bytes -= first.len();
        Some(first)
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(first) = self.pieces.front() {
            let left = first.len() - self.written;
            if written < left {
                self.written += written;
                return;
            }
            written -= left;
            self.written = 0;
            self.pieces.pop_front();
        }
    }
}

/// How many frames `frames` are.
pub(crate) fn frames_in(mut frames: &[u8]) -> u64 {
    let mut count = 0;
    while !frames.is_empty() {
        frames = &frames[frame::boundary(frames, 1)..];
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `at_once` bytes a call until `room` is used up, then would block.
    struct Pipe {
        taken: Vec<u8>,
        at_once: usize,
        room: usize,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.at_once).min(self.room);
            if taken == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.taken.extend_from_slice(&bytes[..taken]);
            self.room -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn frames(texts: &[&str]) -> Bytes {
        texts.iter().flat_map(|text| frame::text(text.as_bytes())).collect()
    }

    #[test]
    fn writes_in_order_across_partial_writes() {
        let mut outbox = Outbox::default();
        outbox.push(frames(&["one", "two"]), 3);
        outbox.push(frames(&["three"]), 0);
        let mut pipe = Pipe {
            taken: frames(&["one", "two"])[..3].to_vec(),
            at_once: 2,
            room: 5,
        };
        assert_eq!(outbox.write_to(&mut pipe).expect("no failure"), 5);
        assert_eq!(outbox.bytes(), 9);
        pipe.room = 100;
        outbox.write_to(&mut pipe).expect("no failure");
        assert!(outbox.is_empty());
        assert_eq!(pipe.taken, frames(&["one", "two", "three"]));
    }

    #[track_caller]
    fn check_cut(written: usize, expected: &[&str]) {
        let dropped = 4 - expected.len() as u64;
        let mut outbox = Outbox::default();
        let piece = frames(&["one", "two"]);
        outbox.push(piece.clone(), written);
        outbox.push(frames(&["three"]), 0);
        assert_eq!(outbox.cut_short(frames(&["end"])), dropped);
        let mut pipe = Pipe {
            taken: piece[..written].to_vec(),
            at_once: 100,
            room: 100,
        };
        outbox.write_to(&mut pipe).expect("no failure");
        assert_eq!(pipe.taken, frames(expected), "{written} bytes written before");
    }

    #[test]
    fn cutting_short_finishes_the_frame_that_has_begun() {
        check_cut(0, &["end"]);
        check_cut(1, &["one", "end"]);
        check_cut(4, &["one", "end"]);
        check_cut(5, &["one", "end"]);
        check_cut(6, &["one", "two", "end"]);
        check_cut(9, &["one", "two", "end"]);
    }

    #[test]
    fn pieces_can_be_taken() {
        let mut outbox = Outbox::default();
        outbox.push(frames(&["one"]), 2);
        outbox.push(frames(&["two"]), 0);
        outbox.push(frames(&["three"]), 0);
        assert_eq!(
            outbox.take(8),
            Some([&frames(&["one"])[2..], &frames(&["two"])[..]].concat().into())
        );
        assert_eq!(outbox.take(1), Some(frames(&["three"])));
        assert_eq!((outbox.take(1), outbox.bytes()), (None, 0));
    }
}
