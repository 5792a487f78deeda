//! The members of a process that is alone.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use protocol::Channel;
use uuid::Uuid;

use crate::StoreError;
use crate::presence::{Change, Changed, Count, Members, Presence, Table};

/// The table is the truth, until the bus is closed.
#[derive(Debug)]
pub(crate) struct MemoryPresence {
    node: Uuid,
    table: Mutex<Option<Table>>,
}

impl MemoryPresence {
    pub(crate) fn new(node: Uuid) -> Self {
        Self {
            node,
            table: Mutex::new(Some(Table::default())),
        }
    }

    pub(crate) fn close(&self) {
        *self.lock() = None;
    }

    fn with<T>(&self, act: impl FnOnce(&mut Table) -> T) -> Result<T, StoreError> {
        self.lock().as_mut().map(act).ok_or(StoreError::Unavailable)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Table>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Presence for MemoryPresence {
    async fn change(&self, changes: Vec<Change>) -> Result<Vec<Changed>, StoreError> {
        self.with(|table| changes.iter().map(|change| table.change(change)).collect())
    }

    async fn members(&self, channel: &Channel, most: usize) -> Result<Members, StoreError> {
        self.with(|table| table.members(channel, most))
    }

    async fn count(&self, channel: &Channel) -> Result<Count, StoreError> {
        self.with(|table| table.count(channel))
    }

    async fn nodes(&self) -> Result<Vec<Uuid>, StoreError> {
        self.with(|_| vec![self.node])
    }
}
