//! Who may do what in which channel.
//!
//! A rule names channels by a pattern; the first rule that matches counts, and a channel without one is closed. Does not know clients:
//! it says what anyone may do. Invariant: every valid channel name has exactly one answer, whatever dialect asks.

use std::time::Duration;

use globset::Glob;
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
    matches!(word, "token" | "backend").then(|| format!("this release cannot check \"{word}\"; the channel must stay closed"))
}
