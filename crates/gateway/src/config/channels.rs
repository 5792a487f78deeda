//! The settings of channels: what a rule says.

use std::time::Duration;

use globset::Glob;

use super::kind::{Flag, Maybe, Number, Parsed, Size, Span, Word};
use super::section::{section, words};

section! {
    /// Who may do what in the channels that match. The first rule that matches counts; a channel without one is closed.
    pub struct ChannelRule {
        /// Names of channels: `*` stands for any text, `?` for one character, `[ab]` for one of several, `{a,b}` for one of several texts.
        r#match: Glob as Parsed = Glob::new("*").expect("a star is a pattern");
        /// Who may subscribe. A token for the channel suffices always, but where nobody may.
        subscribe: Subscribe as Word = Subscribe::Nobody;
        /// Which clients may publish; with "nobody" only servers do.
        publish: Publish as Word = Publish::Nobody;
        /// Whether it is known who is in the channel; its subscribers may ask.
        presence: bool as Flag = false;
        /// Whether subscribers who ask for it are told who comes and goes.
        join_leave: bool as Flag = false;
        /// Whether all subscribers are told, without asking.
        force_push_join_leave: bool as Flag = false;
        /// Whether a `#` in the name stands before the users, with commas between, who may subscribe without a token; nobody else may then.
        user_limited: bool as Flag = false;
        /// Whether publications may be sent as differences to the one before (fossil), to subscribers who ask for it.
        delta: bool as Flag = false;
        /// Whether subscribers may ask for publications with certain tags only.
        tags_filter: bool as Flag = false;
        /// Most bytes of one publication of a client; without it `limits.message_size` is the only limit.
        message_size: Option<usize> as Maybe<Size> = None;
        /// Publications a second that one client may send to one channel, on average, and twice as many at once; 0 turns it off.
        publish_rate: u32 as Number = 0;
        /// How long these channels collect when they are busy, instead of `delivery.window`; "0" turns merging off.
        window: Option<Duration> as Maybe<Span> = None;
    }
}

words! {
    /// Who may subscribe.
    pub enum Subscribe {
        /// Every client.
        Anyone = "anyone",
        /// Clients with a token for the channel.
        Token = "token",
        /// Clients that the application's backend lets in.
        Backend = "backend",
        /// No client.
        Nobody = "nobody",
    }
}

words! {
    /// Which clients may publish.
    pub enum Publish {
        /// None; servers only.
        Nobody = "nobody",
        /// Those that have subscribed.
        Subscribers = "subscribers",
        /// Those that have subscribed with a token.
        Token = "token",
        /// Those of whose publication the application's backend approves.
        Backend = "backend",
        /// All, subscribed or not.
        Anyone = "anyone",
    }
}
