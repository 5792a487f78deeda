//! Looking again whether those who are connected may be, after tokens were revoked.
//!
//! Everybody is looked at in shares, so that those who are written to do not wait for it. Knows no tokens: it asks the client.

use super::connection::State;
use super::{Connections, Wire};
use crate::lane::id::SocketKey;
use crate::lane::inbox::Recheck;

/// So many are looked at in one go.
const SHARE: usize = 1000;

impl<W: Wire> Connections<W> {
    /// Has clients go whose token is revoked. Returns what is left to do. Who comes meanwhile, was checked when it came.
    pub(crate) fn recheck(&mut self, whom: Recheck) -> Option<Recheck> {
        match whom {
            Recheck::One(id) => {
                if let Some(key) = self.find(id) {
                    self.recheck_one(key);
                }
                None
            }
            Recheck::From(first) => {
                let end = self.table.slab.capacity();
                let next = end.min(first.saturating_add(SHARE));
                (first..next).for_each(|key| self.recheck_one(key));
                (next < end).then_some(Recheck::From(next))
            }
        }
    }

    pub(super) fn recheck_one(&mut self, key: SocketKey) {
        let is_open = |key| self.table.slab.get(key).is_some_and(|it| it.state == State::Open);
        if is_open(key) {
            self.let_client(key, |client, at, actions| client.recheck(at, actions));
        }
    }
}
