//! Which channels are wanted, and whether Redis has confirmed them.
//!
//! Shared by those who subscribe and the link, which makes the wishes come true. Invariant: while there is a link, `changed` has every
//! channel whose wish differs from what was last said on the link; without a link it is empty, so it cannot grow during an outage. A
//! channel that is not wanted is in it only if the link was told of it, so channels that come and go unsaid do not pile up either.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use protocol::Channel;
use tokio::sync::Notify;

use crate::Generation;

/// The wishes, and how the link learns that they changed.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    wishes: Mutex<Wishes>,
    pub(crate) changed: Notify,
}

impl Wanted {
    /// Changes the wishes, and tells the link.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Wishes) -> T) -> T {
        let outcome = change(&mut self.wishes());
        self.changed.notify_one();
        outcome
    }

    pub(crate) fn wishes(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The wanted channels.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    channels: HashMap<Channel, Wish>,
    changed: HashSet<Channel>,
    confirmed: usize,
    last_generation: u64,
    is_linked: bool,
}

#[derive(Debug)]
struct Wish {
    generation: Generation,
    is_confirmed: bool,
    /// Whether the link was told that the channel is wanted, and nothing else since.
    is_told: bool,
}

impl Wishes {
    /// Wants `channel`; a wish that exists already keeps its generation.
    pub(crate) fn want(&mut self, channel: &Channel) -> Generation {
        if let Some(wish) = self.channels.get(channel) {
            return wish.generation;
        }
        self.last_generation += 1;
        let generation = Generation(self.last_generation);
        self.channels.insert(
            channel.clone(),
            Wish {
                generation,
                is_confirmed: false,
                is_told: self.changed.contains(channel),
            },
        );
        self.note(channel);
        generation
    }

    /// Wants `channel` no longer.
    pub(crate) fn unwant(&mut self, channel: &Channel) {
        if let Some(wish) = self.channels.remove(channel) {
            self.confirmed -= usize::from(wish.is_confirmed);
            if wish.is_told {
                self.note(channel);
            } else {
                self.changed.remove(channel);
            }
        }
    }

    fn note(&mut self, channel: &Channel) {
        if self.is_linked {
            self.changed.insert(channel.clone());
        }
    }

    /// There is a new link, on which nothing is subscribed.
    pub(crate) fn link(&mut self) {
        self.is_linked = true;
        self.changed = self.channels.keys().cloned().collect();
    }

    /// The link is gone, and every confirmation with it.
    pub(crate) fn unlink(&mut self) {
        self.is_linked = false;
        self.changed = HashSet::new();
        self.confirmed = 0;
        for wish in self.channels.values_mut() {
            wish.is_confirmed = false;
            wish.is_told = false;
        }
    }

    /// Says a channel once more on the link, if it is still wanted.
    pub(crate) fn retry(&mut self, channel: &Channel) {
        if self.channels.contains_key(channel) {
            self.note(channel);
        }
    }

    /// Takes at most `limit` channels whose wish may have changed.
    pub(crate) fn take_changed(&mut self, limit: usize) -> Vec<Channel> {
        let taken: Vec<_> = self.changed.extract_if(|_| true).take(limit).collect();
        for channel in &taken {
            if let Some(wish) = self.channels.get_mut(channel) {
                wish.is_told = true;
            }
        }
        taken
    }

    /// Whether nothing is left to say on the link.
    pub(crate) fn is_settled(&self) -> bool {
        self.changed.is_empty()
    }

    /// Whether `channel` is wanted.
    pub(crate) fn is_wanted(&self, channel: &Channel) -> bool {
        self.channels.contains_key(channel)
    }

    /// From now on `channel` is heard. The wish that this fulfils, if it is not fulfilled already.
    pub(crate) fn confirm(&mut self, channel: &Channel) -> Option<Generation> {
        let wish = self.channels.get_mut(channel).filter(|wish| !wish.is_confirmed)?;
        wish.is_confirmed = true;
        self.confirmed += 1;
        Some(wish.generation)
    }

    /// The channel of that name, if it is wanted and confirmed.
    pub(crate) fn heard(&self, name: &str) -> Option<&Channel> {
        self.channels
            .get_key_value(name)
            .filter(|(_, wish)| wish.is_confirmed)
            .map(|(channel, _)| channel)
    }

    /// How many channels are wanted.
    pub(crate) fn len(&self) -> usize {
        self.channels.len()
    }

    /// How many channels are wanted and confirmed.
    pub(crate) fn confirmed(&self) -> usize {
        self.confirmed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(name: &str) -> Channel {
        Channel::parse(name).expect("valid")
    }

    #[test]
    fn only_what_the_link_was_told_is_unsaid() {
        let mut wishes = Wishes::default();
        wishes.link();
        let a = channel("a");
        // Whether something is left to say after the channel was wanted, unwanted, and `|` what changed so far was said.
        for (story, is_left) in [
            ("w", true),
            ("wu", false),
            ("w|u", true),
            ("w|uw", true),
            ("w|uwu", true),
            ("w|u|", false),
            ("w|u|wu", false),
        ] {
            for what in story.chars() {
                match what {
                    'w' => _ = wishes.want(&a),
                    'u' => wishes.unwant(&a),
                    _ => _ = wishes.take_changed(10),
                }
            }
            assert_eq!(!wishes.is_settled(), is_left, "{story}");
            wishes.unwant(&a);
            wishes.take_changed(10);
        }
    }

    #[test]
    fn channels_that_come_and_go_unsaid_do_not_pile_up() {
        let mut wishes = Wishes::default();
        wishes.link();
        for i in 0..1000 {
            let channel = channel(&format!("room-{i}"));
            wishes.want(&channel);
            wishes.unwant(&channel);
        }
        assert!(wishes.is_settled());
    }
}
