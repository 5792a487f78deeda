//! Who is connected to this node, by user and by connection.
//!
//! Written once when a client is known and once when it leaves; asked when the application wants something of one. Knows places, not
//! sockets. Invariant: a connection is here exactly while it is known and open.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use parking_lot::Mutex;
use uuid::Uuid;

use crate::lane::id::ConnectionId;

/// A connection's lane, and its name there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) lane: usize,
    pub(crate) connection: ConnectionId,
}

/// Every client that is known.
#[derive(Debug, Default)]
pub(crate) struct Directory(Mutex<Tables>);

#[derive(Debug, Default)]
struct Tables {
    by_client: HashMap<Uuid, Listed>,
    by_user: HashMap<Arc<str>, Vec<Uuid>>,
    /// Of those whose commands come apart from their connection.
    by_secret: HashMap<Uuid, Uuid>,
}

#[derive(Debug)]
struct Listed {
    place: Place,
    user: Arc<str>,
    /// Where it stands among those of its user.
    at: u32,
    secret: Option<Box<Uuid>>,
}

impl Directory {
    /// `client` of `user` is known, at `place`; `secret` names it in requests that come apart from its connection. Returns how many of the user there are now.
    pub(crate) fn enter(&self, user: Arc<str>, client: Uuid, secret: Option<Uuid>, place: Place) -> usize {
        let mut tables = self.0.lock();
        let of_user = tables
            .by_user
            .entry(Arc::clone(&user))
            .or_insert_with(|| Vec::with_capacity(1));
        let at = u32::try_from(of_user.len()).unwrap_or(u32::MAX);
        of_user.push(client);
        let count = of_user.len();
        if let Some(secret) = secret {
            tables.by_secret.insert(secret, client);
        }
        let secret = secret.map(Box::new);
        tables.by_client.insert(
            client,
            Listed {
                place,
                user,
                at,
                secret,
            },
        );
        count
    }

    /// `client` has left, if it was here.
    pub(crate) fn leave(&self, client: Uuid) {
        let mut tables = self.0.lock();
        let Some(Listed { user, at, secret, .. }) = tables.by_client.remove(&client) else {
            return;
        };
        if let Some(secret) = secret {
            tables.by_secret.remove(&secret);
        }
        let Entry::Occupied(mut of_user) = tables.by_user.entry(user) else {
            return;
        };
        of_user.get_mut().swap_remove(at as usize);
        let moved = of_user.get().get(at as usize).copied();
        if of_user.get().is_empty() {
            of_user.remove();
        }
        if let Some(moved) = moved.and_then(|moved| tables.by_client.get_mut(&moved)) {
            moved.at = at;
        }
    }

    /// The connections of `user`; with `client`, only that one.
    pub(crate) fn find(&self, user: &str, client: Option<Uuid>) -> Vec<(Uuid, Place)> {
        let tables = self.0.lock();
        let listed = |client: &Uuid| tables.by_client.get(client).map(|listed| (*client, listed.place));
        match client {
            Some(client) => {
                let is_theirs = tables
                    .by_client
                    .get(&client)
                    .is_some_and(|listed| &*listed.user == user);
                is_theirs.then(|| listed(&client)).flatten().into_iter().collect()
            }
            None => {
                let of_user = tables.by_user.get(user);
                of_user.into_iter().flatten().filter_map(listed).collect()
            }
        }
    }

    /// The connection that `secret` names.
    pub(crate) fn find_secret(&self, secret: Uuid) -> Option<(Uuid, Place)> {
        let tables = self.0.lock();
        let client = tables.by_secret.get(&secret)?;
        Some((*client, tables.by_client.get(client)?.place))
    }

    /// How many clients are known, and how many different users are behind them.
    pub(crate) fn size(&self) -> (usize, usize) {
        let tables = self.0.lock();
        (tables.by_client.len(), tables.by_user.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: Uuid = Uuid::from_u128(7);

    fn place(key: usize) -> Place {
        let connection = ConnectionId { key, generation: 1 };
        Place { lane: 0, connection }
    }

    #[test]
    fn clients_are_found_by_user_and_by_name() {
        let directory = Directory::default();
        let clients: Vec<Uuid> = (0..5).map(|_| Uuid::new_v4()).collect();
        for (key, client) in clients.iter().enumerate() {
            let secret = (key == 0).then_some(SECRET);
            directory.enter(["anna", "bert", ""][key % 3].into(), *client, secret, place(key));
        }
        assert_eq!(directory.find_secret(SECRET), Some((clients[0], place(0))));
        assert_eq!(directory.size(), (5, 3));
        assert_eq!(
            directory.find("anna", None),
            [(clients[0], place(0)), (clients[3], place(3))]
        );
        assert_eq!(directory.find("bert", Some(clients[4])), [(clients[4], place(4))]);
        assert_eq!(directory.find("anna", Some(clients[4])), [], "another's");
        assert_eq!(directory.find("nobody", None), []);
        assert_eq!(directory.find("", None), [(clients[2], place(2))]);

        directory.leave(clients[0]);
        directory.leave(clients[0]);
        assert_eq!(directory.find_secret(SECRET), None);
        assert_eq!(directory.find("anna", None), [(clients[3], place(3))]);
        directory.leave(clients[3]);
        assert_eq!(directory.find("anna", None), []);
        assert_eq!(directory.size(), (3, 2));
    }
}
