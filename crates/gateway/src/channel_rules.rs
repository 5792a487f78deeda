//! Who may do what in which channel.
//!
//! A rule names channels by a pattern; the first rule that matches counts, and a channel without one is closed. Does not know clients:
//! it says what anyone may do. Invariant: every valid channel name has exactly one answer, whatever dialect asks.

use std::time::Duration;

use globset::{Glob, GlobMatcher};
use protocol::Channel;

use crate::config::kind::{Hint, Maybe, Parsed, Span, Word};
use crate::config::section::{section, words};
use crate::config::{Config, RawPublish};

section! {
    /// Who may do what in the channels that match. The first rule that matches counts; a channel without one is closed.
    pub struct ChannelRule {
        /// Names of channels: `*` stands for any text, `?` for one character, `[ab]` for one of several, `{a,b}` for one of several texts.
        r#match: Glob as Parsed = Glob::new("*").expect("a star is a pattern");
        /// Who may subscribe.
        subscribe: Subscribe as Word = Subscribe::Nobody;
        /// Which clients may publish; with "nobody" only servers do.
        publish: Publish as Word = Publish::Nobody;
        /// How long these channels collect when they are busy, instead of `delivery.window`; "0" turns merging off.
        window: Option<Duration> as Maybe<Span> = None;
    }
}

words! {
    /// Who may subscribe.
    pub enum Subscribe {
        /// Every client.
        Anyone = "anyone",
        /// No client.
        Nobody = "nobody",
    }
    refused: not_yet;
}

words! {
    /// Which clients may publish.
    pub enum Publish {
        /// None; servers only.
        Nobody = "nobody",
        /// Those that have subscribed.
        Subscribers = "subscribers",
    }
    refused: not_yet;
}

fn not_yet(word: &str) -> Hint {
    matches!(word, "token" | "backend")
        .then(|| format!("this release cannot check \"{word}\"; the channel must stay closed"))
}

/// All rules, ready to be asked.
#[derive(Debug)]
pub struct ChannelRules {
    rules: Vec<(GlobMatcher, ChannelRule)>,
    /// The bare channel has settings of its own, so no rule holds for it.
    bare: Option<Channel>,
    bare_publish: RawPublish,
    /// Stands in for every rule in development mode.
    open: Option<ChannelRule>,
}

/// What a client may do in a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Right {
    pub(crate) may_subscribe: bool,
    /// Once it has subscribed.
    pub(crate) may_publish: bool,
    /// Nothing but payloads travels here.
    pub(crate) is_bare: bool,
    /// How long the channel collects when it is busy, if not as usual.
    pub(crate) window: Option<Duration>,
}

/// Channels that begin like this are private in every dialect; a client without a token gets in only in development mode.
const PRIVATE: [&str; 3] = ["private-", "presence-", "$"];

impl ChannelRules {
    /// The rules of `config`.
    pub fn new(config: &Config) -> Self {
        let open = ChannelRule {
            subscribe: Subscribe::Anyone,
            publish: Publish::Subscribers,
            ..ChannelRule::default()
        };
        Self {
            rules: config
                .channels
                .iter()
                .map(|rule| (rule.r#match.compile_matcher(), rule.clone()))
                .collect(),
            bare: config.raw.channel.clone(),
            bare_publish: config.raw.publish,
            open: config.dev.then_some(open),
        }
    }

    /// What a client without a token may do in `channel`, whatever its dialect. `None`: the channel is closed.
    pub(crate) fn right(&self, channel: &Channel) -> Option<Right> {
        if self.bare.as_ref() == Some(channel) {
            return Some(Right {
                may_subscribe: true,
                may_publish: self.bare_publish == RawPublish::Anyone,
                is_bare: true,
                window: None,
            });
        }
        let rule = self.for_channel(channel)?;
        Some(Right {
            may_subscribe: rule.subscribe == Subscribe::Anyone,
            may_publish: rule.publish == Publish::Subscribers,
            is_bare: false,
            window: rule.window,
        })
    }

    /// The rule for `channel`, for a client without a token. `None`: the channel is closed, or it is the bare one.
    pub fn for_channel(&self, channel: &Channel) -> Option<&ChannelRule> {
        if self.bare.as_ref() == Some(channel) {
            return None;
        }
        if self.open.is_some() {
            return self.open.as_ref();
        }
        let name = channel.as_str();
        if PRIVATE.iter().any(|prefix| name.starts_with(prefix)) {
            return None;
        }
        self.rules
            .iter()
            .find(|(pattern, _)| pattern.is_match(name))
            .map(|(_, rule)| rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(pattern: &str, publish: Publish) -> ChannelRule {
        let pattern = Glob::new(pattern).expect("a pattern");
        ChannelRule {
            r#match: pattern,
            subscribe: Subscribe::Anyone,
            publish,
            ..ChannelRule::default()
        }
    }

    fn config() -> Config {
        let channels = vec![
            rule("room-secret", Publish::Nobody),
            rule("room-*", Publish::Subscribers),
            rule("{news,sport}:??", Publish::Nobody),
            rule("*-channel", Publish::Nobody),
            rule("private-*", Publish::Subscribers),
        ];
        Config {
            channels,
            ..Config::default()
        }
    }

    #[track_caller]
    fn check(config: &Config, name: &str, expected: Option<Publish>) {
        let channel = Channel::parse(name).expect("a channel");
        let rules = ChannelRules::new(config);
        assert_eq!(rules.for_channel(&channel).map(|rule| rule.publish), expected, "{name}");
    }

    #[test]
    fn the_first_rule_that_matches_counts_and_without_one_a_channel_is_closed() {
        let config = config();
        check(&config, "room-1", Some(Publish::Subscribers));
        check(&config, "room-", Some(Publish::Subscribers));
        check(&config, "room-secret", Some(Publish::Nobody));
        check(&config, "news:eu", Some(Publish::Nobody));
        check(&config, "news:eur", None);
        check(&config, "Room-1", None);
        check(&config, "a-room-1", None);
        check(&config, "other-channel", Some(Publish::Nobody));
    }

    #[test]
    fn the_bare_channel_has_no_rule() {
        let config = config();
        check(&config, "chat-channel", None);
        let mut off = config.clone();
        off.raw.channel = None;
        check(&off, "chat-channel", Some(Publish::Nobody));
        check(&Config { dev: true, ..config }, "chat-channel", None);
    }

    #[test]
    fn private_channels_are_closed() {
        let everything = Config {
            channels: vec![rule("*", Publish::Subscribers)],
            ..Config::default()
        };
        check(&everything, "anything", Some(Publish::Subscribers));
        check(&everything, "private-1", None);
        check(&everything, "presence-1", None);
        check(&everything, "private-encrypted-1", None);
        check(&everything, "$1", None);
        check(&everything, "privately", Some(Publish::Subscribers));
    }

    #[test]
    fn development_mode_opens_everything() {
        let dev = Config { dev: true, ..config() };
        check(&dev, "room-secret", Some(Publish::Subscribers));
        check(&dev, "private-1", Some(Publish::Subscribers));
        check(&dev, "whatever", Some(Publish::Subscribers));
    }
}
