//! When to look at which socket again: pings and deadlines.
//!
//! A coarse timing wheel: every socket has at most one entry that counts, and looking too early does no harm, so nothing is ever removed
//! from a slot. Knows no clock: time is a count of ticks that the caller gives.

use crate::hub::SocketKey;

/// Slots of one tick each; what is further away is looked at once a round.
const SLOTS: Tick = 512;

/// A point in time, in ticks since the wheel was made.
pub(crate) type Tick = u32;

/// A socket that is due. It may be gone, or have another date: the owner compares both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) key: SocketKey,
    pub(super) generation: u32,
    pub(super) at: Tick,
}

pub(super) struct Wheel {
    slots: Vec<Vec<Due>>,
    now: Tick,
    entries: usize,
}

impl Wheel {
    pub(super) fn new() -> Self {
        Self {
            slots: vec![Vec::new(); SLOTS as usize],
            now: 0,
            entries: 0,
        }
    }

    /// Remembers `due`.
    pub(super) fn add(&mut self, due: Due) {
        // A date of this very tick, or before, is looked at in the next one.
        let last = self.now.saturating_add(SLOTS - 1);
        let slot = due.at.clamp(self.now.saturating_add(1), last) as usize % SLOTS as usize;
        self.slots[slot].push(due);
        self.entries += 1;
    }

    /// Moves on to `now` and puts what is due into `due`.
    pub(super) fn advance(&mut self, now: Tick, due: &mut Vec<Due>) {
        while self.now < now {
            self.now += 1;
            let slot = self.now as usize % SLOTS as usize;
            let mut entries = std::mem::take(&mut self.slots[slot]);
            self.entries -= entries.len();
            for entry in entries.drain(..) {
                if entry.at > self.now {
                    self.add(entry);
                } else {
                    due.push(entry);
                }
            }
            // Keeps the room for the next round, unless a crowd has passed through.
            if self.slots[slot].is_empty() && entries.capacity() <= 1024 {
                self.slots[slot] = entries;
            }
        }
    }

    /// The next tick at which something may be due.
    pub(super) fn next(&self) -> Option<Tick> {
        if self.entries == 0 {
            return None;
        }
        (1..=SLOTS)
            .map(|ahead| self.now + ahead)
            .find(|tick| !self.slots[(*tick % SLOTS) as usize].is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(at: Tick, expected: Tick) {
        let mut wheel = Wheel::new();
        let mut due = Vec::new();
        wheel.advance(100, &mut due);
        assert_eq!(wheel.next(), None);
        wheel.add(Due {
            key: 1,
            generation: 2,
            at,
        });
        assert!(wheel.next().is_some_and(|next| next <= expected));
        for now in 101..5000 {
            wheel.advance(now, &mut due);
            if !due.is_empty() {
                assert_eq!((now, due.len()), (expected, 1));
                assert_eq!(wheel.next(), None);
                return;
            }
        }
        panic!("never due");
    }

    #[test]
    fn everything_is_due_at_its_time() {
        check(101, 101);
        check(100, 101);
        check(0, 101);
        check(300, 300);
        check(100 + 511, 611);
        check(100 + 512, 612);
        check(4000, 4000);
    }
}
