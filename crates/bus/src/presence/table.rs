//! The members of one process.
//!
//! What is wanted to be true, and for a bus without other processes all there is. Invariant: a channel is in the table exactly while it has
//! members, and `users` counts their connections.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use protocol::{Channel, ClientInfo};

use super::{Change, Changed, Count, Members};

/// Who is in which channel.
#[derive(Debug, Default)]
pub(crate) struct Table {
    channels: HashMap<Channel, Room>,
}

#[derive(Debug, Default)]
struct Room {
    clients: HashMap<String, ClientInfo>,
    users: HashMap<String, u64>,
}

impl Table {
    /// Carries out `change`, as seen by this process alone.
    pub(crate) fn change(&mut self, change: &Change) -> Changed {
        let is_edge = match change {
            Change::Enter { channel, client } => {
                let room = self.channels.entry(channel.clone()).or_default();
                let old = room.clients.insert(client.client.clone(), client.clone());
                match old {
                    Some(old) if old.user == client.user => false,
                    old => old.is_some_and(|old| room.part(old.user)) | room.meet(&client.user),
                }
            }
            Change::Leave { channel, client } => {
                let Some(room) = self.channels.get_mut(channel) else {
                    return Changed::default();
                };
                let is_edge = room.clients.remove(client).is_some_and(|old| room.part(old.user));
                if room.clients.is_empty() {
                    self.channels.remove(channel);
                }
                is_edge
            }
        };
        Changed { is_edge }
    }

    /// At most `most` members of `channel`.
    pub(crate) fn members(&self, channel: &Channel, most: usize) -> Members {
        let all = self.clients(channel);
        Members {
            is_complete: all.clone().count() <= most,
            clients: all.take(most).cloned().collect(),
        }
    }

    /// Every member of `channel`.
    pub(crate) fn clients(&self, channel: &Channel) -> impl Iterator<Item = &ClientInfo> + Clone {
        self.channels
            .get(channel)
            .into_iter()
            .flat_map(|room| room.clients.values())
    }

    /// The member `client` of `channel`.
    pub(crate) fn client(&self, channel: &Channel, client: &str) -> Option<&ClientInfo> {
        self.channels.get(channel)?.clients.get(client)
    }

    /// How many are in `channel`.
    pub(crate) fn count(&self, channel: &Channel) -> Count {
        self.channels.get(channel).map_or_else(Count::default, |room| Count {
            clients: room.clients.len() as u64,
            users: room.users.len() as u64,
        })
    }

    /// The channels that have members.
    pub(crate) fn channels(&self) -> impl Iterator<Item = &Channel> {
        self.channels.keys()
    }

    /// Whether `channel` has members.
    pub(crate) fn has(&self, channel: &Channel) -> bool {
        self.channels.contains_key(channel)
    }
}

impl Room {
    /// A connection of `user` more; whether it is the first.
    fn meet(&mut self, user: &str) -> bool {
        let connections = self.users.entry(user.to_owned()).or_default();
        *connections += 1;
        *connections == 1
    }

    /// A connection of `user` less; whether it was the last.
    fn part(&mut self, user: String) -> bool {
        let Entry::Occupied(mut connections) = self.users.entry(user) else {
            return false;
        };
        *connections.get_mut() -= 1;
        let is_last = *connections.get() == 0;
        if is_last {
            connections.remove();
        }
        is_last
    }
}
