//! Who may do what in which channel.
//!
//! A rule names channels by a pattern; the first rule that matches counts, and a channel without one is closed. Does not know clients or
//! tokens: it says what one needs. Invariant: every valid channel name has exactly one answer, whatever dialect asks.

use std::time::Duration;

use globset::GlobMatcher;
use protocol::Channel;

use crate::allowance::Rate;
use crate::config::{ChannelRule, Config, Publish, RawPublish, Subscribe};

/// All rules, ready to be asked.
#[derive(Debug)]
pub struct ChannelRules {
    rules: Vec<(GlobMatcher, ChannelRule)>,
    /// The bare channel has settings of its own, so no rule holds for it.
    bare: Option<(Channel, ChannelRule)>,
    /// Stands in for every rule in development mode.
    open: Option<ChannelRule>,
    /// Whether any rule offers differences.
    any_delta: bool,
}

/// What clients may do in one channel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Right<'a> {
    rule: &'a ChannelRule,
    /// Nothing but payloads travels here.
    pub(crate) is_bare: bool,
    /// Whether the name demands a token, whatever the rule says.
    is_private: bool,
}

/// What decides about a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Governed {
    /// Nothing; it is closed.
    Nothing,
    /// The settings of the bare channel.
    Raw,
    /// Development mode.
    Development,
    /// The rule with that number.
    Rule(usize),
}

/// What a client needs to be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Nothing.
    Open,
    /// A token for the channel.
    Token,
    /// The word of the application's backend.
    Backend,
    /// Nobody is let in.
    Closed,
}

/// How a client that publishes came to the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has not subscribed.
    Outside,
    /// It has subscribed.
    Subscribed,
    /// It has subscribed with a token.
    ByToken,
}

/// Channels that begin like this are private in every dialect; a client without a token gets in only in development mode.
const PRIVATE: [&str; 3] = ["private-", "presence-", "$"];

impl ChannelRules {
    /// The rules of `config`.
    pub fn new(config: &Config) -> Self {
        let open = ChannelRule {
            subscribe: Subscribe::Anyone,
            publish: Publish::Subscribers,
            presence: true,
            join_leave: true,
            delta: true,
            tags_filter: true,
            ..ChannelRule::default()
        };
        let bare = config.raw.channel.clone().map(|channel| {
            let rule = ChannelRule {
                subscribe: Subscribe::Anyone,
                publish: match config.raw.publish {
                    RawPublish::Anyone => Publish::Subscribers,
                    RawPublish::Nobody => Publish::Nobody,
                },
                ..ChannelRule::default()
            };
            (channel, rule)
        });
        Self {
            rules: config
                .channels
                .iter()
                .map(|rule| (rule.r#match.compile_matcher(), rule.clone()))
                .collect(),
            bare,
            any_delta: config.dev || config.channels.iter().any(|rule| rule.delta),
            open: config.dev.then_some(open),
        }
    }

    /// Whether publications in `channel` may be sent as differences. Costs nothing where no rule does.
    pub(crate) fn offers_delta(&self, channel: &Channel) -> bool {
        self.any_delta && self.right(channel).is_some_and(|right| right.rule().delta)
    }

    /// What decides about `channel`.
    pub(crate) fn governed(&self, channel: &Channel) -> Governed {
        if self.bare.as_ref().is_some_and(|(bare, _)| bare == channel) {
            return Governed::Raw;
        }
        match self.open {
            Some(_) => Governed::Development,
            None => self
                .matching(channel.as_str())
                .map_or(Governed::Nothing, Governed::Rule),
        }
    }

    /// What clients may do in `channel`, whatever their dialect. `None`: no rule knows it, so it is closed.
    pub(crate) fn right(&self, channel: &Channel) -> Option<Right<'_>> {
        let (rule, is_bare, is_private) = match self.governed(channel) {
            Governed::Nothing => return None,
            Governed::Raw => (self.bare.as_ref().map(|(_, rule)| rule)?, true, false),
            Governed::Development => (self.open.as_ref()?, false, false),
            Governed::Rule(number) => (&self.rules[number].1, false, is_private(channel.as_str())),
        };
        Some(Right {
            rule,
            is_bare,
            is_private,
        })
    }

    /// The number of the first rule that matches.
    fn matching(&self, name: &str) -> Option<usize> {
        self.rules.iter().position(|(pattern, _)| pattern.is_match(name))
    }
}

fn is_private(name: &str) -> bool {
    PRIVATE.iter().any(|prefix| name.starts_with(prefix))
}

impl ChannelRule {
    /// How often one client may publish; `None`: as often as it likes.
    pub(crate) fn publish_rate(&self) -> Option<Rate> {
        Rate::over(self.publish_rate, Duration::from_secs(2))
    }
}

impl<'a> Right<'a> {
    /// The rule itself.
    pub(crate) fn rule(&self) -> &'a ChannelRule {
        self.rule
    }

    /// Whether the name demands a token, whatever the rule says.
    pub(crate) fn is_private(&self) -> bool {
        self.is_private
    }

    /// The users in the name of `channel`, if that is how the rule reads it.
    pub(crate) fn listed_users<'c>(&self, channel: &'c Channel) -> Option<&'c str> {
        let (_, users) = channel.as_str().rsplit_once('#')?;
        self.rule.user_limited.then_some(users)
    }

    /// Whether nobody may be in the channel.
    pub(crate) fn is_closed(&self) -> bool {
        self.rule.subscribe == Subscribe::Nobody
    }

    /// What a client of `user` needs to subscribe to `channel`.
    pub(crate) fn entry(&self, channel: &Channel, user: &str) -> Entry {
        let listed = self
            .listed_users(channel)
            .map(|users| !user.is_empty() && users.split(',').any(|listed| listed == user));
        match (self.rule.subscribe, listed) {
            (Subscribe::Nobody, _) => Entry::Closed,
            _ if self.is_private => Entry::Token,
            (_, Some(true)) => Entry::Open,
            (Subscribe::Backend, _) => Entry::Backend,
            (Subscribe::Token, _) | (_, Some(false)) => Entry::Token,
            (Subscribe::Anyone, None) => Entry::Open,
        }
    }

    /// Whether a client may publish; `None`: its backend knows.
    pub(crate) fn may_publish(&self, standing: Standing) -> Option<bool> {
        Some(match self.rule.publish {
            Publish::Nobody => false,
            Publish::Backend => return None,
            Publish::Anyone if !self.is_private => true,
            Publish::Anyone | Publish::Subscribers => standing != Standing::Outside,
            Publish::Token => standing == Standing::ByToken,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(pattern: &str, subscribe: Subscribe, publish: Publish) -> ChannelRule {
        ChannelRule {
            r#match: globset::Glob::new(pattern).expect("a pattern"),
            subscribe,
            publish,
            ..ChannelRule::default()
        }
    }

    fn config() -> Config {
        let channels = vec![
            rule("room-secret", Subscribe::Nobody, Publish::Nobody),
            ChannelRule {
                user_limited: true,
                ..rule("room-*", Subscribe::Anyone, Publish::Subscribers)
            },
            rule("{news,sport}:??", Subscribe::Token, Publish::Token),
            ChannelRule {
                user_limited: true,
                ..rule("asked-*", Subscribe::Backend, Publish::Backend)
            },
            rule("*-channel", Subscribe::Anyone, Publish::Anyone),
            rule("private-*", Subscribe::Anyone, Publish::Anyone),
            rule("$*", Subscribe::Backend, Publish::Nobody),
        ];
        Config {
            channels,
            ..Config::default()
        }
    }

    #[track_caller]
    fn check_as(config: &Config, user: &str, name: &str, expected: Option<Entry>) {
        let channel = Channel::parse(name).expect("a channel");
        let rules = ChannelRules::new(config);
        let entry = rules.right(&channel).map(|right| right.entry(&channel, user));
        assert_eq!(entry, expected, "{user:?} in {name}");
    }

    #[track_caller]
    fn check(config: &Config, name: &str, expected: Option<Entry>) {
        check_as(config, "anna", name, expected);
    }

    #[test]
    fn the_first_rule_that_matches_counts_and_without_one_a_channel_is_closed() {
        let config = config();
        check(&config, "room-1", Some(Entry::Open));
        check(&config, "room-", Some(Entry::Open));
        check(&config, "room-secret", Some(Entry::Closed));
        check(&config, "news:eu", Some(Entry::Token));
        check(&config, "news:eur", None);
        check(&config, "Room-1", None);
        check(&config, "a-room-1", None);
        check(&config, "asked-1", Some(Entry::Backend));
        check(&config, "other-channel", Some(Entry::Open));
    }

    #[test]
    fn the_bare_channel_has_no_rule_but_its_own_settings() {
        let mut config = config();
        check(&config, "chat-channel", Some(Entry::Open));
        let channel = Channel::parse("chat-channel").expect("a channel");
        let publish = |config: &Config| {
            let rules = ChannelRules::new(config);
            let right = rules.right(&channel).expect("open");
            (
                right.is_bare,
                right.may_publish(Standing::Outside),
                right.may_publish(Standing::Subscribed),
            )
        };
        assert_eq!(publish(&config), (true, Some(false), Some(true)));
        config.raw.publish = RawPublish::Nobody;
        assert_eq!(publish(&config), (true, Some(false), Some(false)));
        config.raw.channel = None;
        assert_eq!(publish(&config), (false, Some(true), Some(true)));
    }

    #[test]
    fn private_channels_demand_a_token() {
        let config = config();
        check(&config, "private-1", Some(Entry::Token));
        check(&config, "private-encrypted-1", Some(Entry::Token));
        check(&config, "$1", Some(Entry::Token));
        check(&config, "presence-1", None);
        check(&config, "privately", None);
        let closed = Config {
            channels: vec![rule("*", Subscribe::Nobody, Publish::Nobody)],
            ..Config::default()
        };
        check(&closed, "private-1", Some(Entry::Closed));
    }

    #[test]
    fn a_list_of_users_lets_in_who_is_on_it() {
        let config = config();
        check(&config, "room-1#anna", Some(Entry::Open));
        check(&config, "room-1#bert,anna", Some(Entry::Open));
        check(&config, "room-1#bert", Some(Entry::Token));
        check(&config, "room-1#annabel", Some(Entry::Token));
        check(&config, "room-#anna#bert", Some(Entry::Token));
        check_as(&config, "", "room-1#", Some(Entry::Token));
        check(&config, "asked-1#anna", Some(Entry::Open));
        check(&config, "asked-1#bert", Some(Entry::Backend));
        // Without the setting it is a sign like any other.
        check(&config, "#bert-channel", Some(Entry::Open));
    }

    #[test]
    fn who_may_publish() {
        let config = config();
        let rules = ChannelRules::new(&config);
        let check = |name: &str, expected: [Option<bool>; 3]| {
            let channel = Channel::parse(name).expect("a channel");
            let right = rules.right(&channel).expect("a rule");
            let found = [Standing::Outside, Standing::Subscribed, Standing::ByToken].map(|how| right.may_publish(how));
            assert_eq!(found, expected, "{name}");
        };
        check("room-secret", [Some(false); 3]);
        check("room-1", [Some(false), Some(true), Some(true)]);
        check("news:eu", [Some(false), Some(false), Some(true)]);
        check("asked-1", [None; 3]);
        check("other-channel", [Some(true); 3]);
        check("private-1", [Some(false), Some(true), Some(true)]);
    }

    #[test]
    fn development_mode_opens_everything() {
        let dev = Config { dev: true, ..config() };
        check(&dev, "room-secret", Some(Entry::Open));
        check(&dev, "private-1", Some(Entry::Open));
        check(&dev, "whatever", Some(Entry::Open));
        check(&dev, "room-1#bert", Some(Entry::Open));
    }
}
