//! The calls of the server API, by their names.

use crate::config::kind::Words;
use crate::config::section::words;

words! {
    /// A call of the server API.
    pub enum Call {
        /// Publishes in one channel.
        Publish = "publish",
        /// Publishes in many channels.
        Broadcast = "broadcast",
        /// Subscribes connections.
        Subscribe = "subscribe",
        /// Ends subscriptions of connections.
        Unsubscribe = "unsubscribe",
        /// Ends connections.
        Disconnect = "disconnect",
        /// Changes how long connections last, and what others see of them.
        Refresh = "refresh",
        /// Has no node believe a token any more.
        RevokeToken = "revoke_token",
        /// Has no node believe the tokens any more that a user was given so far.
        InvalidateUserTokens = "invalidate_user_tokens",
        /// Tells who is in a channel.
        Presence = "presence",
        /// Tells how many are in a channel.
        PresenceStats = "presence_stats",
        /// Tells what was published in a channel.
        History = "history",
        /// Forgets what was published in a channel.
        HistoryRemove = "history_remove",
        /// Tells which channels have subscribers.
        Channels = "channels",
        /// Tells how the nodes are.
        Info = "info",
        /// Calls an extension of the server.
        Rpc = "rpc",
        /// Makes several calls in one request.
        Batch = "batch",
    }
}

impl Call {
    /// All calls, in the order in which they are told.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::WORDS.iter().map(|(_, call)| *call)
    }

    /// The call of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::WORDS
            .iter()
            .find(|(word, _)| *word == name)
            .map(|(_, call)| *call)
    }

    /// Its name, in the path and in a batch.
    pub fn name(self) -> &'static str {
        Self::WORDS
            .iter()
            .find(|(_, call)| *call == self)
            .map_or("", |(word, _)| word)
    }
}
