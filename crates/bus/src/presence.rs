//! Who is in which channel, over all processes: the contract.
//!
//! Each process notes the clients of its own and asks about all. Knows neither how a client comes to be in a channel nor who may ask.
//! Promised: a member is seen by every process from the answer to its [`Change::Enter`] until its [`Change::Leave`], as long as its process
//! reaches the store; a process that ends without a word takes its members with it within its lease and one refresh of it.

use async_trait::async_trait;
use protocol::{Channel, ClientInfo};
use uuid::Uuid;

use crate::StoreError;

mod table;

pub(crate) use table::Table;

/// The members of all channels.
#[async_trait]
pub trait Presence: Send + Sync {
    /// Notes that clients of this process came or went, in this order; the answer at an index belongs to the change at that index. Returns
    /// when every process can see it. After an error it is noted all the same, and made up for when the store is back.
    async fn change(&self, changes: Vec<Change>) -> Result<Vec<Changed>, StoreError>;

    /// Who is in `channel`, everywhere, in no order; at most `most` of them. Read in pages, so a large channel does not hold others up.
    async fn members(&self, channel: &Channel, most: usize) -> Result<Members, StoreError>;

    /// How many are in `channel`, everywhere, in one round trip. Users of a process that has just died may be counted until its members are
    /// removed.
    async fn count(&self, channel: &Channel) -> Result<Count, StoreError>;

    /// The processes that live, by their [`Bus::node`](crate::Bus::node).
    async fn nodes(&self) -> Result<Vec<Uuid>, StoreError>;
}

/// A client of this process comes or goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Comes. For a client that is there already, what is said of it changes.
    Enter {
        /// Where.
        channel: Channel,
        /// Who.
        client: ClientInfo,
    },
    /// Goes. For a client that is not there, nothing changes.
    Leave {
        /// Where from.
        channel: Channel,
        /// The client's id.
        client: String,
    },
}

impl Change {
    /// The channel that it is about.
    pub fn channel(&self) -> &Channel {
        let (Self::Enter { channel, .. } | Self::Leave { channel, .. }) = self;
        channel
    }

    /// The id of the client that it is about.
    pub fn client(&self) -> &str {
        match self {
            Self::Enter { client, .. } => &client.client,
            Self::Leave { client, .. } => client,
        }
    }
}

/// What came of a [`Change`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changed {
    /// The first connection of its user entered the channel, or the last one left it, over all processes. Those of a process that died count
    /// until they are removed. What is made up for after an error is no edge to anybody.
    pub is_edge: bool,
}

/// The members of a channel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    /// Who; each client once.
    pub clients: Vec<ClientInfo>,
    /// Whether these are all.
    pub is_complete: bool,
}

/// How many are in a channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Clients.
    pub clients: u64,
    /// Different users behind them; all that have not said who they are count as one.
    pub users: u64,
}
