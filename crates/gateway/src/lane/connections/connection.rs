//! One connection of a lane: its way out, what is not yet written, and where it is in its life.
//!
//! Knows its own state only: neither the hub nor the clock. Invariant: once it is closing it takes no more publications, and its last
//! bytes are a Close.

use std::io::{self, Write};

use bytes::Bytes;
use protocol::{Close, Event};

use super::wheel::Tick;
use crate::admission::Admitted;
use crate::client::Client;
use crate::lane::hub::Membership;
use crate::lane::outbox::{Outbox, frames_in};
use crate::stats::Ended;

/// The way out of one connection. Writing takes what it can now; `WouldBlock` leaves the rest to the outbox.
pub(crate) trait Wire: Write {
    /// Nothing more will be written: tells the client so.
    fn hang_up(&mut self);
    /// Gives up on what is written but not taken by the client; the connection is dropped right after.
    fn reset(&mut self);
}

pub(crate) struct Connection<W> {
    pub(crate) wire: W,
    pub(super) generation: u32,
    pub(super) client: Client,
    pub(super) memberships: Vec<Membership>,
    pub(super) state: State,
    /// When something was last received.
    pub(super) heard: Tick,
    /// A ping was sent since.
    pub(super) is_pinged: bool,
    /// So many pings the client has still to answer in its dialect's words. One that says something else meanwhile is alive and may owe several.
    pub(super) owes_pongs: u8,
    /// When it is pinged next, or has to be known, if its dialect has words for that.
    pub(super) rhythm: Tick,
    /// When to look at it again; the wheel may ask earlier.
    pub(super) due: Tick,
    /// Allocated while something waits.
    outbox: Option<Box<Outbox>>,
    pub(super) admitted: Admitted,
}

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Open,
    /// A Close is on its way to the client.
    Closing(Closing),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closing {
    pub(super) why: Ended,
    /// The client has said its last: when ours is out, the connection is over.
    pub(super) is_answered: bool,
    /// What the client sends can no longer be read as frames.
    pub(super) is_deaf: bool,
}

/// What became of something to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// It is with the kernel, or waits in the outbox.
    Taken,
    /// The outbox is full; the connection is closing now, and so many frames were dropped.
    Overflow { dropped: u64 },
    /// The connection is gone.
    Broken,
    /// Nothing more goes to this connection.
    Refused,
}

impl<W: Wire> Connection<W> {
    pub(super) fn new(wire: W, generation: u32, client: Client, admitted: Admitted, now: Tick) -> Self {
        Self {
            wire,
            generation,
            client,
            memberships: Vec::new(),
            state: State::Open,
            heard: now,
            is_pinged: false,
            owes_pongs: 0,
            rhythm: now,
            due: now,
            outbox: None,
            admitted,
        }
    }

    /// Sends whole frames, at once if nothing waits before them; more than `most` bytes may not wait.
    pub(super) fn send(&mut self, frames: &Bytes, most: usize) -> Sent {
        if self.state != State::Open {
            return Sent::Refused;
        }
        let Some(outbox) = &mut self.outbox else {
            return self.write_or_keep(frames);
        };
        if outbox.bytes() + frames.len() > most {
            let dropped = self.close(Close::SlowConsumer) + frames_in(frames);
            return Sent::Overflow { dropped };
        }
        outbox.push(frames.clone(), 0);
        Sent::Taken
    }

    /// Begins to close: what waits is written first, unless it is too much, and then a Close. Returns how many frames were dropped.
    pub(super) fn close(&mut self, close: Close) -> u64 {
        if self.state != State::Open {
            return 0;
        }
        self.state = State::Closing(Closing {
            why: Ended::from(&close),
            // Whoever reads the body of a response has no way to answer.
            is_answered: matches!(close, Close::Answer { .. }) || self.client.encoding().is_stream(),
            is_deaf: matches!(
                close,
                Close::Protocol | Close::InvalidUtf8 | Close::TooLarge | Close::Policy | Close::Internal
            ),
        });
        let last = self.client.encoding().encode(&Event::Closing(&close));
        match &mut self.outbox {
            Some(outbox) if close == Close::SlowConsumer => return outbox.cut_short(last),
            Some(outbox) => outbox.push(last, 0),
            None => {
                // A broken stream is noticed when it is read or flushed.
                let _ = self.write_or_keep(&last);
            }
        }
        0
    }

    /// Writes on. `Ok(true)`: nothing waits any more.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        let Some(outbox) = &mut self.outbox else {
            return Ok(true);
        };
        outbox.write_to(&mut self.wire)?;
        let is_empty = outbox.is_empty();
        if is_empty {
            self.outbox = None;
        }
        Ok(is_empty)
    }

    /// Takes what waits, up to about `most` bytes, for a wire that fetches.
    pub(super) fn take(&mut self, most: usize) -> Option<Bytes> {
        let outbox = self.outbox.as_mut()?;
        let taken = outbox.take(most);
        if outbox.is_empty() {
            self.outbox = None;
        }
        taken
    }

    /// What the client says still counts: it is open, or leaves in a drain and has not answered, so that it did not know yet.
    pub(super) fn is_heard(&self) -> bool {
        match self.state {
            State::Open => true,
            State::Closing(closing) => closing.why == Ended::Drain && !closing.is_answered,
        }
    }

    /// Bytes that wait in the outbox.
    pub(super) fn waiting(&self) -> usize {
        self.outbox.as_ref().map_or(0, |outbox| outbox.bytes())
    }

    fn write_or_keep(&mut self, bytes: &Bytes) -> Sent {
        let written = match self.wire.write(bytes) {
            Ok(written) => written,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => 0,
            Err(_) => return Sent::Broken,
        };
        if written < bytes.len() {
            self.outbox.get_or_insert_default().push(bytes.clone(), written);
        }
        Sent::Taken
    }
}
