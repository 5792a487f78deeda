//! The notices of a process that is alone.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;

use crate::StoreError;
use crate::notices::{LONGEST, MOST, Notice, NoticeError, Notices};

/// The table, until the bus is closed.
#[derive(Debug)]
pub(crate) struct MemoryNotices(Mutex<Option<Table>>);

/// Invariant: both have the same notices.
#[derive(Debug, Default)]
struct Table {
    ends: HashMap<Arc<str>, SystemTime>,
    by_end: BTreeSet<(SystemTime, Arc<str>)>,
}

impl MemoryNotices {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Some(Table::default())))
    }

    pub(crate) fn close(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Table>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Notes `text`; whether it has found room.
    fn post(&mut self, text: &str, until: SystemTime) -> bool {
        let text: Arc<str> = text.into();
        if let Some(before) = self.ends.insert(Arc::clone(&text), until) {
            self.by_end.remove(&(before, Arc::clone(&text)));
        }
        self.by_end.insert((until, Arc::clone(&text)));
        while self.ends.len() > MOST {
            self.remove_first();
        }
        self.ends.contains_key(&text)
    }

    fn forget(&mut self, now: SystemTime) {
        while self.by_end.first().is_some_and(|(until, _)| *until <= now) {
            self.remove_first();
        }
    }

    fn remove_first(&mut self) {
        if let Some((_, text)) = self.by_end.pop_first() {
            self.ends.remove(&text);
        }
    }
}

#[async_trait]
impl Notices for MemoryNotices {
    async fn post(&self, text: &str, until: SystemTime) -> Result<(), NoticeError> {
        if text.len() > LONGEST {
            return Err(NoticeError::TooLong);
        }
        let mut table = self.lock();
        let table = table.as_mut().ok_or(StoreError::Unavailable)?;
        let now = SystemTime::now();
        table.forget(now);
        let has_room = table.post(text, until);
        table.forget(now);
        match has_room {
            true => Ok(()),
            false => Err(NoticeError::NoRoom),
        }
    }

    async fn all(&self) -> Result<Vec<Notice>, StoreError> {
        let mut table = self.lock();
        let table = table.as_mut().ok_or(StoreError::Unavailable)?;
        table.forget(SystemTime::now());
        let notice = |(text, until): (&Arc<str>, &SystemTime)| Notice {
            text: text.to_string(),
            until: *until,
        };
        Ok(table.ends.iter().map(notice).collect())
    }
}
