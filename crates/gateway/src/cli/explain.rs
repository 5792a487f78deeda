//! `fanfare config explain`: which rule is for a channel, and what a client may do there.

use std::fmt::Write;

use protocol::Channel;

use crate::channel_rules::{ChannelRules, Entry, Governed};
use crate::config::Config;
use crate::config::Publish;

/// What clients of `user` may do in `channel`, in words.
pub(super) fn explain(config: &Config, channel: &Channel, user: &str) -> String {
    let rules = ChannelRules::new(config);
    let mut page = String::new();
    let mut line = |name: &str, value: &str| {
        writeln!(page, "{name:<12}{value}").expect("a String takes everything");
    };
    line("channel", channel.as_str());
    line(
        "rule",
        &match rules.governed(channel) {
            Governed::Nothing => "none matches: it is closed, to every dialect and every token".to_owned(),
            Governed::Raw => "the settings of [raw]: it is the bare channel".to_owned(),
            Governed::Development => "none is asked in development mode: everything is open".to_owned(),
            Governed::Rule(number) => {
                let pattern = config.channels[number].r#match.glob();
                format!("channels[{number}], match = {pattern:?}, the first that matches")
            }
        },
    );
    let Some(right) = rules.right(channel) else {
        return page;
    };
    let who = if user.is_empty() {
        "clients without a user"
    } else {
        user
    };
    let list = right.listed_users(channel);
    line(
        "subscribe",
        &match (right.entry(channel, user), list) {
            (Entry::Closed, _) => "nobody, whatever token".to_owned(),
            (Entry::Open, None) => "anyone".to_owned(),
            (Entry::Open, Some(users)) => format!("{who} may; the name lists {users}"),
            (Entry::Token, Some(users)) => format!("{who} with a token for the channel; the name lists {users}"),
            (Entry::Token, None) if right.is_private() => {
                "with a token for the channel: its name is private".to_owned()
            }
            (Entry::Token, None) => "with a token for the channel".to_owned(),
            (Entry::Backend, _) => "with a token for the channel, or when the backend agrees".to_owned(),
        },
    );
    let rule = right.rule();
    line(
        "publish",
        match rule.publish {
            Publish::Nobody => "servers only",
            Publish::Subscribers => "its subscribers",
            Publish::Token => "its subscribers with a token",
            Publish::Backend => "clients of whose publication the backend approves",
            Publish::Anyone => "anyone",
        },
    );
    line(
        "presence",
        match rule.presence {
            true => "known; its subscribers may ask",
            false => "not known",
        },
    );
    line(
        "join_leave",
        match (rule.join_leave, rule.force_push_join_leave) {
            (false, _) => "not told",
            (true, false) => "told to subscribers who ask for it",
            (true, true) => "told to all subscribers",
        },
    );
    let mut limits = Vec::new();
    limits.extend(rule.message_size.map(|bytes| format!("{bytes} bytes a publication")));
    if rule.publish_rate > 0 {
        limits.push(format!("{} publications a second", rule.publish_rate));
    }
    let offers = [(rule.delta, "delta"), (rule.tags_filter, "tags_filter")];
    let offers = offers.into_iter().filter(|(is_on, _)| *is_on);
    let offers = offers.map(|(_, name)| name.to_owned());
    line("limits", &listed(limits, "none of its own"));
    line("offers", &listed(offers.collect(), "nothing besides"));
    page
}

fn listed(items: Vec<String>, none: &str) -> String {
    match items.is_empty() {
        true => none.to_owned(),
        false => items.join(", "),
    }
}
