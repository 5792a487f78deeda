//! The connections of a lane and how much waits for them, together.
//!
//! Knows no hub, so that the hub can write to it: who is found broken or too slow meanwhile is put down, and leaves afterwards. Invariant:
//! `waiting` is the sum of what waits for each.

use bytes::Bytes;
use slab::Slab;

use super::connection::{Connection, Sent, Wire};
use super::{ConnectionId, LaneSettings};
use crate::lane::id::SocketKey;

/// The connections, apart from the hub, so that the hub can write to them.
pub(super) struct Table<W> {
    pub(super) slab: Slab<Connection<W>>,
    /// The most bytes that may wait for one connection.
    most_waiting: usize,
    /// The most bytes that may wait for all of them; past it, `least` is the most for each.
    budget: usize,
    least: usize,
    pub(super) waiting: usize,
    pub(super) sent_bytes: u64,
    /// Frames that were dropped because outboxes were full.
    pub(super) dropped: u64,
    /// Connections that were found broken or too slow; they leave the hub when what is under way is done.
    pub(super) doomed: Vec<ConnectionId>,
}

impl<W: Wire> Table<W> {
    pub(super) fn new(settings: &LaneSettings) -> Self {
        Self {
            slab: Slab::new(),
            most_waiting: settings.outbox,
            budget: settings.outboxes,
            least: settings.inbox.turn_bytes,
            waiting: 0,
            sent_bytes: 0,
            dropped: 0,
            doomed: Vec::new(),
        }
    }

    /// Sends whole frames to a connection, if it is there.
    pub(super) fn send(&mut self, key: SocketKey, frames: &Bytes) {
        // Some dialects have no words for what others are told.
        let Some(connection) = self.slab.get_mut(key).filter(|_| !frames.is_empty()) else {
            return;
        };
        let before = connection.waiting();
        let most = if self.waiting < self.budget {
            self.most_waiting
        } else {
            self.least
        };
        let generation = connection.generation;
        let sent = connection.send(frames, most);
        self.waiting = self.waiting + connection.waiting() - before;
        match sent {
            Sent::Taken => self.sent_bytes += frames.len() as u64,
            Sent::Overflow { dropped } => {
                self.dropped += dropped;
                self.doomed.push(ConnectionId { key, generation });
            }
            Sent::Broken => self.doomed.push(ConnectionId { key, generation }),
            Sent::Refused => {}
        }
    }

    /// Changes a connection and keeps the sum of what waits.
    pub(super) fn change<R>(&mut self, key: SocketKey, change: impl FnOnce(&mut Connection<W>) -> R) -> R {
        let connection = &mut self.slab[key];
        let before = connection.waiting();
        let result = change(connection);
        self.waiting = self.waiting + connection.waiting() - before;
        result
    }
}
