//! When to look at which connection again: pings and deadlines.
//!
//! A coarse timing wheel that knows keys only: a key may have passed to another connection, and looking too early does no harm, so the
//! owner compares dates and asks again. Knows no clock: time is a count of ticks that the caller gives. Invariant: one entry of a key
//! counts, its earliest; so the wheel is bounded by the keys there ever were at a time, however many connections came and went.

use crate::lane::id::SocketKey;

/// Slots of one tick each; what is further away is looked at once a round.
const SLOTS: Tick = 512;

/// A point in time, in ticks since the wheel was made; 0 is never one to come.
pub(crate) type Tick = u32;

/// A key that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    key: u32,
    at: Tick,
}

pub(super) struct Wheel {
    slots: Vec<Vec<Entry>>,
    /// When each key is due; 0: not at all.
    dates: Vec<Tick>,
    now: Tick,
    entries: usize,
    /// Every slot before this tick's is empty.
    soonest: Tick,
}

impl Wheel {
    pub(super) fn new() -> Self {
        Self {
            slots: vec![Vec::new(); SLOTS as usize],
            dates: Vec::new(),
            now: 0,
            entries: 0,
            soonest: 1,
        }
    }

    /// Makes `key` due at `at` or earlier; in the next tick, if that has passed.
    pub(super) fn add(&mut self, key: SocketKey, at: Tick) {
        let at = at.max(self.now.saturating_add(1));
        if self.dates.len() <= key {
            self.dates.resize(key + 1, 0);
        }
        let date = &mut self.dates[key];
        if *date != 0 && *date <= at {
            return;
        }
        *date = at;
        let key = u32::try_from(key).expect("a process has fewer than 2^32 sockets");
        self.enter(Entry { key, at });
    }

    /// Moves on to `now` and puts the keys that are due into `due`.
    pub(super) fn advance(&mut self, now: Tick, due: &mut Vec<SocketKey>) {
        while self.now < now {
            self.now += 1;
            let slot = (self.now % SLOTS) as usize;
            let mut entries = std::mem::take(&mut self.slots[slot]);
            self.entries -= entries.len();
            for entry in entries.drain(..) {
                let key = entry.key as SocketKey;
                if self.dates[key] != entry.at {
                    continue;
                }
                if entry.at > self.now {
                    self.enter(entry);
                } else {
                    self.dates[key] = 0;
                    due.push(key);
                }
            }
            // Keeps the room for the next round, unless a crowd has passed through.
            if entries.capacity() <= 1024 {
                self.slots[slot] = entries;
            }
        }
    }

    /// The next tick at which something may be due.
    pub(super) fn next(&mut self) -> Option<Tick> {
        if self.entries == 0 {
            return None;
        }
        let from = self.soonest.max(self.now + 1);
        let next = (from..=self.now + SLOTS).find(|tick| !self.slots[(tick % SLOTS) as usize].is_empty());
        self.soonest = next.unwrap_or(from);
        next
    }

    fn enter(&mut self, entry: Entry) {
        let last = self.now.saturating_add(SLOTS - 1);
        let slot = entry.at.min(last);
        self.soonest = self.soonest.min(slot);
        self.slots[(slot % SLOTS) as usize].push(entry);
        self.entries += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(dates: &[Tick], expected: &[Tick]) {
        let mut wheel = Wheel::new();
        let mut due = Vec::new();
        wheel.advance(100, &mut due);
        assert_eq!(wheel.next(), None);
        for at in dates {
            wheel.add(1, *at);
        }
        let mut seen = Vec::new();
        for now in 101..5000 {
            let next = wheel.next();
            wheel.advance(now, &mut due);
            if !due.is_empty() {
                assert!(next.is_some_and(|next| next <= now), "it would have slept too long");
                seen.extend(due.drain(..).map(|_| now));
            }
        }
        assert_eq!((seen.as_slice(), wheel.next()), (expected, None));
    }

    #[test]
    fn everything_is_due_at_its_time() {
        check(&[101], &[101]);
        check(&[100], &[101]);
        check(&[0], &[101]);
        check(&[300], &[300]);
        check(&[100 + 511], &[611]);
        check(&[100 + 512], &[612]);
        check(&[4000], &[4000]);
    }

    #[test]
    fn only_the_earliest_date_counts() {
        check(&[300, 400], &[300]);
        check(&[400, 300], &[300]);
        check(&[4000, 300, 200], &[200]);
    }

    #[test]
    fn a_key_that_is_used_again_and_again_takes_no_room() {
        let mut wheel = Wheel::new();
        (0..1000).for_each(|n| wheel.add(7, 500 + n));
        assert_eq!(wheel.entries, 1);
    }
}
