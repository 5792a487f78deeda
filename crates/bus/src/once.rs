//! Which publications were published before, by the key that their publisher gave them.
//!
//! Redis remembers for all processes; [`Seen`] does for a process that is alone. Keys are remembered by their hash, so their length costs
//! nothing. Invariant: a key is remembered for [`WINDOW`], unless more than [`MOST`] came within it.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use protocol::Channel;
use sha1::{Digest, Sha1};

/// How long a key is remembered.
pub(crate) const WINDOW: Duration = Duration::from_secs(5 * 60);

/// A process that is alone remembers so many keys; then it forgets the oldest.
const MOST: usize = 100_000;

/// What a key is remembered by.
pub(crate) fn hash(key: &str) -> u128 {
    let digest: [u8; 20] = Sha1::digest(key).into();
    u128::from_be_bytes(*digest.first_chunk().expect("it is longer"))
}

/// The keys of the last minutes.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    keys: HashSet<(Channel, u128)>,
    /// The same, oldest first.
    order: VecDeque<(Instant, (Channel, u128))>,
}

impl Seen {
    /// Whether `key` is new in `channel` at `now`. It is not any more.
    pub(crate) fn is_first(&mut self, channel: &Channel, key: &str, now: Instant) -> bool {
        let is_old = |(at, _): &(Instant, _)| now.saturating_duration_since(*at) >= WINDOW;
        while self.order.front().is_some_and(is_old) || self.order.len() > MOST {
            if let Some((_, key)) = self.order.pop_front() {
                self.keys.remove(&key);
            }
        }
        let key = (channel.clone(), hash(key));
        let is_first = self.keys.insert(key.clone());
        if is_first {
            self.order.push_back((now, key));
        }
        is_first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_remembered_for_a_while_and_in_their_channel() {
        let (a, b) = (Channel::parse("a").expect("valid"), Channel::parse("b").expect("valid"));
        let (mut seen, start) = (Seen::default(), Instant::now());
        let minute = Duration::from_secs(60);
        for (channel, key, minutes, expected) in [
            (&a, "k", 0, true),
            (&a, "k", 0, false),
            (&b, "k", 1, true),
            (&a, "l", 1, true),
            (&a, "k", 4, false), // which makes nothing younger
            (&a, "k", 5, true),
            (&b, "k", 5, false),
            (&b, "k", 6, true),
            (&a, "k", 6, false),
        ] {
            let is_first = seen.is_first(channel, key, start + minute * minutes);
            assert_eq!(is_first, expected, "{channel} {key} after {minutes} minutes");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let (a, now) = (Channel::parse("a").expect("valid"), Instant::now());
        let mut seen = Seen::default();
        for i in 0..MOST + 1000 {
            assert!(seen.is_first(&a, &i.to_string(), now));
        }
        assert!(seen.keys.len() <= MOST + 1 && seen.keys.len() == seen.order.len());
        assert!(!seen.is_first(&a, &(MOST + 999).to_string(), now));
        assert!(seen.is_first(&a, "0", now), "forgotten");
    }
}
