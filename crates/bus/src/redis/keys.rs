//! Every name that this crate uses on Redis.
//!
//! A channel name stands in braces, so that everything about one channel falls into one slot of a cluster; it cannot contain braces
//! itself, so no two names meet. The bare channel has its own name and nothing else.
//!
//! An ACL user needs the rules in `k8s/base/redis/users.acl`, with the prefix in place of `fanfare:` and the name of the bare channel, if
//! there is one. Of them `+info`, `+config|get` and `+unwatch` are only for the questions at the start, which warn about what is dangerous,
//! and for the pool; a bus without them works.

use std::fmt::Display;

use protocol::Channel;
use uuid::Uuid;

/// The names under one prefix, and the one name that is bare.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: String,
    bare: Option<Channel>,
}

/// What a name on Redis stands for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Named<'a> {
    /// The bare channel.
    Bare(&'a str),
    /// A channel whose publications are enveloped; not checked to be a valid name.
    Channel(&'a str),
}

impl Keys {
    pub(crate) fn new(prefix: &str, bare: Option<Channel>) -> Self {
        Self {
            prefix: prefix.to_owned(),
            bare,
        }
    }

    /// Whether the payload travels bare.
    pub(crate) fn is_bare(&self, channel: &Channel) -> bool {
        self.bare.as_ref() == Some(channel)
    }

    /// Where the publications of `channel` go.
    pub(crate) fn channel(&self, channel: &Channel) -> String {
        if self.is_bare(channel) {
            channel.to_string()
        } else {
            format!("{}channel:{{{channel}}}", self.prefix)
        }
    }

    /// Where the node `node` is spoken to.
    pub(crate) fn node(&self, node: Uuid) -> String {
        format!("{}node:{{{node}}}", self.prefix)
    }

    /// Where every node is spoken to.
    pub(crate) fn nodes(&self) -> String {
        format!("{}nodes", self.prefix)
    }

    /// Remembers that something with the key behind `hash` was published in `channel`.
    pub(crate) fn once(&self, channel: &Channel, hash: u128) -> String {
        format!("{}once:{{{channel}}}:{hash:032x}", self.prefix)
    }

    /// When the lease of each life of a node runs out.
    pub(crate) fn lives(&self) -> String {
        format!("{}presence:lives", self.prefix)
    }

    /// The channels in which a life has members.
    pub(crate) fn channels_of(&self, life: impl Display) -> String {
        format!("{}presence:channels:{{{life}}}", self.prefix)
    }

    /// Held by whoever removes what a dead life has left.
    pub(crate) fn burial(&self, life: impl Display) -> String {
        format!("{}presence:burial:{{{life}}}", self.prefix)
    }

    /// The members that a life has in `channel`.
    pub(crate) fn members(&self, channel: &str, life: impl Display) -> String {
        format!("{}presence:members:{{{channel}}}:{life}", self.prefix)
    }

    /// How many members each life has in `channel`.
    pub(crate) fn counts(&self, channel: &str) -> String {
        format!("{}presence:counts:{{{channel}}}", self.prefix)
    }

    /// How many connections each user has in `channel`, over all lives.
    pub(crate) fn users(&self, channel: &str) -> String {
        format!("{}presence:users:{{{channel}}}", self.prefix)
    }

    /// The notices, each with the time when it is over.
    pub(crate) fn notices(&self) -> String {
        format!("{}notices", self.prefix)
    }

    /// What `name` stands for, if it is the name of a channel.
    pub(crate) fn read<'a>(&self, name: &'a [u8]) -> Option<Named<'a>> {
        let name = std::str::from_utf8(name).ok()?;
        if self.bare.as_ref().is_some_and(|bare| bare.as_str() == name) {
            return Some(Named::Bare(name));
        }
        let channel = name
            .strip_prefix(&self.prefix)?
            .strip_prefix("channel:{")?
            .strip_suffix('}')?;
        Some(Named::Channel(channel))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(prefix: &str, channel: &str, expected: &str, named: Named<'_>) {
        let bare = Channel::parse("chat-channel").expect("valid");
        let keys = Keys::new(prefix, Some(bare));
        let name = keys.channel(&Channel::parse(channel).expect("valid"));
        assert_eq!(name, expected);
        assert_eq!(keys.read(name.as_bytes()), Some(named));
    }

    #[test]
    fn names_there_and_back() {
        check(
            "fanfare:",
            "room-1",
            "fanfare:channel:{room-1}",
            Named::Channel("room-1"),
        );
        check("", "channel:x", "channel:{channel:x}", Named::Channel("channel:x"));
        check("fanfare:", "chat-channel", "chat-channel", Named::Bare("chat-channel"));
    }

    #[test]
    fn other_names_are_none_of_ours() {
        let keys = Keys::new("fanfare:", None);
        for name in [
            "chat-channel",
            "other:channel:{a}",
            "fanfare:channel:a",
            &keys.node(Uuid::nil()),
            &keys.nodes(),
            &keys.notices(),
        ] {
            assert_eq!(keys.read(name.as_bytes()), None, "{name}");
        }
        assert_eq!(keys.read(b"fanfare:channel:{\xff}"), None);
    }
}
