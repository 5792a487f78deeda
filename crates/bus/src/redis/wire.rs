//! What was said about subscriptions on one connection, and what Redis answered.
//!
//! Turns changed wishes into few commands and answers into confirmations; does no I/O. Redis answers each command in order, one answer
//! for each channel or one error for all of it. Invariant: a channel counts as heard only if the last thing said about it was SUBSCRIBE
//! and nothing said about it is unanswered, so a late answer never confirms a later wish.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::Write;

use bytes::{BufMut, BytesMut};
use protocol::Channel;

use super::keys::{Keys, Named};
use super::trouble::Trouble;
use super::wishes::Wishes;
use crate::BusEvent;

/// Most channels in one command.
const BATCH: usize = 1000;
/// Most channels whose answer is awaited; more wait for their turn.
const MAX_UNANSWERED: usize = 10_000;

/// The subscriptions of one connection.
#[derive(Debug)]
pub(crate) struct Wire {
    keys: Keys,
    said: HashMap<Channel, Said>,
    asked: VecDeque<Asked>,
    unanswered: usize,
    /// Wanted, and refused by Redis when last asked; stays while it is asked again.
    denied: HashSet<Channel>,
}

#[derive(Debug)]
struct Said {
    subscribe: bool,
    unanswered: usize,
}

/// One command under way.
#[derive(Debug)]
struct Asked {
    verb: Verb,
    channels: VecDeque<Channel>,
}

/// What can be said about a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Subscribe,
    Unsubscribe,
}

impl Wire {
    pub(crate) fn new(keys: Keys) -> Self {
        Self {
            keys,
            said: HashMap::new(),
            asked: VecDeque::new(),
            unanswered: 0,
            denied: HashSet::new(),
        }
    }

    /// Says what changed, as far as there is room; what needs no words is confirmed at once.
    pub(crate) fn say(&mut self, wishes: &mut Wishes, out: &mut BytesMut, events: &mut VecDeque<BusEvent>) {
        while self.unanswered < MAX_UNANSWERED {
            let changed = wishes.take_changed(BATCH);
            if changed.is_empty() {
                return;
            }
            let (mut subscribe, mut unsubscribe) = (VecDeque::new(), VecDeque::new());
            for channel in changed {
                let said = self.said.get(&channel);
                let is_wanted = wishes.is_wanted(&channel);
                if !is_wanted {
                    self.denied.remove(&channel);
                }
                match (is_wanted, said.is_some_and(|said| said.subscribe)) {
                    (true, false) => subscribe.push_back(channel),
                    (false, true) => unsubscribe.push_back(channel),
                    (true, true) if said.is_some_and(|said| said.unanswered == 0) => confirm(wishes, channel, events),
                    (true, true) | (false, false) => {}
                }
            }
            self.ask(Verb::Subscribe, subscribe, out);
            self.ask(Verb::Unsubscribe, unsubscribe, out);
        }
    }

    /// Redis answered for one channel.
    pub(crate) fn answered(
        &mut self,
        verb: Verb,
        name: &[u8],
        wishes: &mut Wishes,
        events: &mut VecDeque<BusEvent>,
    ) -> Result<(), Trouble> {
        let asked = self
            .asked
            .front_mut()
            .filter(|asked| asked.verb == verb)
            .ok_or(Trouble::Unexpected)?;
        let channel = asked.channels.pop_front().ok_or(Trouble::Unexpected)?;
        if asked.channels.is_empty() {
            self.asked.pop_front();
        }
        let (Some(Named::Bare(named)) | Some(Named::Channel(named))) = self.keys.read(name) else {
            return Err(Trouble::Unexpected);
        };
        if named != channel.as_str() {
            return Err(Trouble::Unexpected);
        }
        if self.settle(&channel) == Some(true) {
            self.denied.remove(&channel);
            confirm(wishes, channel, events);
        }
        Ok(())
    }

    /// Redis refused a whole command. It does not say because of which channel, so the halves are tried on their own, down to one.
    pub(crate) fn refused(&mut self, wishes: &Wishes, out: &mut BytesMut) -> Result<(), Trouble> {
        let Asked { verb, channels } = self.asked.pop_front().ok_or(Trouble::Unexpected)?;
        let is_single = channels.len() == 1;
        let mut again = VecDeque::new();
        for channel in channels {
            if self.settle(&channel).is_none() {
                continue;
            }
            self.said.remove(&channel);
            if verb == Verb::Unsubscribe || !wishes.is_wanted(&channel) {
                continue;
            }
            if is_single {
                self.denied.insert(channel);
            } else {
                again.push_back(channel);
            }
        }
        let half = again.split_off(again.len() / 2);
        self.ask(Verb::Subscribe, again, out);
        self.ask(Verb::Subscribe, half, out);
        Ok(())
    }

    /// The wanted channels that Redis refuses.
    pub(crate) fn denied(&self) -> &HashSet<Channel> {
        &self.denied
    }

    /// One answer about `channel` has come. Whether it is heard now; `None` if more answers are to come.
    fn settle(&mut self, channel: &Channel) -> Option<bool> {
        self.unanswered -= 1;
        let said = self.said.get_mut(channel)?;
        said.unanswered -= 1;
        if said.unanswered > 0 {
            return None;
        }
        let is_heard = said.subscribe;
        if !is_heard {
            self.said.remove(channel);
        }
        Some(is_heard)
    }

    fn ask(&mut self, verb: Verb, channels: VecDeque<Channel>, out: &mut BytesMut) {
        if channels.is_empty() {
            return;
        }
        let word = match verb {
            Verb::Subscribe => "SUBSCRIBE",
            Verb::Unsubscribe => "UNSUBSCRIBE",
        };
        let names: Vec<_> = channels.iter().map(|channel| self.keys.channel(channel)).collect();
        command(out, word, names.iter().map(String::as_str));
        for channel in &channels {
            let said = self.said.entry(channel.clone()).or_insert(Said {
                subscribe: false,
                unanswered: 0,
            });
            said.subscribe = verb == Verb::Subscribe;
            said.unanswered += 1;
        }
        self.unanswered += channels.len();
        self.asked.push_back(Asked { verb, channels });
    }
}

fn confirm(wishes: &mut Wishes, channel: Channel, events: &mut VecDeque<BusEvent>) {
    if let Some(generation) = wishes.confirm(&channel) {
        events.push_back(BusEvent::Subscribed { channel, generation });
    }
}

/// Writes one command as Redis wants it.
pub(crate) fn command<'a>(out: &mut BytesMut, word: &str, arguments: impl ExactSizeIterator<Item = &'a str>) {
    let mut out = out.writer();
    let written = write!(out, "*{}\r\n${}\r\n{word}\r\n", arguments.len() + 1, word.len()).and_then(|()| {
        arguments
            .into_iter()
            .try_for_each(|it| write!(out, "${}\r\n{it}\r\n", it.len()))
    });
    written.expect("a growing buffer takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Generation;

    struct Talk {
        wire: Wire,
        wishes: Wishes,
        out: BytesMut,
        events: VecDeque<BusEvent>,
    }

    fn channel(name: &str) -> Channel {
        Channel::parse(name).expect("valid")
    }

    impl Talk {
        fn new() -> Self {
            let mut wishes = Wishes::default();
            wishes.link();
            Self {
                wire: Wire::new(Keys::new("", None)),
                wishes,
                out: BytesMut::new(),
                events: VecDeque::new(),
            }
        }

        fn say(&mut self) {
            self.wire.say(&mut self.wishes, &mut self.out, &mut self.events);
        }

        /// What was written since the last time, as words.
        fn written(&mut self) -> String {
            let text = String::from_utf8(self.out.split().to_vec()).expect("text");
            let words = text
                .split("\r\n")
                .filter(|line| !line.starts_with('$') && !line.is_empty());
            words
                .map(|word| word.trim_start_matches("channel:"))
                .collect::<Vec<_>>()
                .join(" ")
        }

        fn answer(&mut self, verb: Verb, name: &str) -> Result<(), Trouble> {
            let name = format!("channel:{{{name}}}");
            self.wire
                .answered(verb, name.as_bytes(), &mut self.wishes, &mut self.events)
        }

        #[track_caller]
        fn check_confirmed(&mut self, name: &str, generation: Option<Generation>) {
            let expected: Vec<_> = generation
                .map(|generation| BusEvent::Subscribed {
                    channel: channel(name),
                    generation,
                })
                .into_iter()
                .collect();
            assert_eq!(self.events.drain(..).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn a_late_answer_does_not_confirm_a_later_wish() {
        let mut talk = Talk::new();
        talk.wishes.want(&channel("a"));
        talk.say();
        talk.wishes.unwant(&channel("a"));
        talk.say();
        let second = talk.wishes.want(&channel("a"));
        talk.say();
        assert_eq!(talk.written(), "*2 SUBSCRIBE {a} *2 UNSUBSCRIBE {a} *2 SUBSCRIBE {a}");
        talk.answer(Verb::Subscribe, "a").expect("asked");
        talk.answer(Verb::Unsubscribe, "a").expect("asked");
        talk.check_confirmed("a", None);
        assert_eq!(talk.wishes.heard("a"), None);
        talk.answer(Verb::Subscribe, "a").expect("asked");
        talk.check_confirmed("a", Some(second));
        assert_eq!(talk.wishes.heard("a"), Some(&channel("a")));
    }

    #[test]
    fn a_wish_renewed_before_it_was_said_needs_no_words() {
        let mut talk = Talk::new();
        talk.wishes.want(&channel("a"));
        talk.say();
        talk.answer(Verb::Subscribe, "a").expect("asked");
        talk.events.clear();
        talk.written();
        talk.wishes.unwant(&channel("a"));
        let second = talk.wishes.want(&channel("a"));
        talk.say();
        assert_eq!(talk.written(), "");
        talk.check_confirmed("a", Some(second));
    }

    #[test]
    fn many_changes_are_few_commands_and_bounded() {
        let mut talk = Talk::new();
        for i in 0..25_000 {
            talk.wishes.want(&channel(&format!("c{i}")));
        }
        talk.say();
        assert_eq!(talk.written().matches("SUBSCRIBE").count(), MAX_UNANSWERED / BATCH);
        assert!(!talk.wishes.is_settled());
        while let Some(asked) = talk.wire.asked.front() {
            let name = asked.channels.front().expect("not empty").to_string();
            talk.answer(Verb::Subscribe, &name).expect("asked");
            talk.say();
        }
        assert_eq!(
            (talk.wishes.confirmed(), talk.wishes.is_settled(), talk.wire.unanswered),
            (25_000, true, 0)
        );
    }

    #[test]
    fn a_refusal_is_narrowed_down_to_the_channel_it_is_about() {
        let mut talk = Talk::new();
        for name in ["a", "b", "bad", "c"] {
            talk.wishes.want(&channel(name));
        }
        talk.say();
        while let Some(asked) = talk.wire.asked.front() {
            if asked.channels.contains(&channel("bad")) {
                talk.wire.refused(&talk.wishes, &mut talk.out).expect("asked");
            } else {
                let name = asked.channels.front().expect("not empty").to_string();
                talk.answer(Verb::Subscribe, &name).expect("asked");
            }
        }
        assert_eq!(talk.events.len(), 3);
        assert_eq!(talk.wire.denied(), &HashSet::from([channel("bad")]));
    }

    #[test]
    fn a_channel_is_denied_until_it_is_heard_or_unwanted() {
        let bad = HashSet::from([channel("bad")]);
        let mut talk = Talk::new();
        for _ in 0..2 {
            talk.wishes.want(&channel("bad"));
            talk.say();
            for _ in 0..3 {
                talk.wire.refused(&talk.wishes, &mut talk.out).expect("asked");
                talk.written();
                talk.wishes.retry(&channel("bad"));
                talk.say();
                assert_eq!(talk.written(), "*2 SUBSCRIBE {bad}");
                assert_eq!(talk.wire.denied(), &bad, "still, while it is asked again");
            }
            talk.answer(Verb::Subscribe, "bad").expect("asked");
            assert!(talk.wire.denied().is_empty(), "heard");
            talk.wishes.unwant(&channel("bad"));
            talk.say();
            talk.answer(Verb::Unsubscribe, "bad").expect("asked");
        }
        talk.wishes.want(&channel("bad"));
        talk.say();
        talk.wire.refused(&talk.wishes, &mut talk.out).expect("asked");
        assert_eq!(talk.wire.denied(), &bad);
        talk.wishes.unwant(&channel("bad"));
        talk.say();
        assert!(talk.wire.denied().is_empty(), "unwanted");
    }

    #[test]
    fn answers_that_nobody_asked_for_are_troubles() {
        let mut talk = Talk::new();
        assert!(talk.answer(Verb::Subscribe, "a").is_err());
        talk.wishes.want(&channel("a"));
        talk.say();
        assert!(talk.answer(Verb::Unsubscribe, "a").is_err());
        assert!(talk.answer(Verb::Subscribe, "b").is_err());
        assert!(
            Talk::new()
                .wire
                .refused(&Wishes::default(), &mut BytesMut::new())
                .is_err()
        );
    }
}
