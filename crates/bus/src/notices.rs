//! Short texts that every process can read until their time is over: the contract.
//!
//! For what a process must know that was not there when it was said. Knows nothing of what the texts mean. Promised: from the answer to a
//! [`Notices::post`] until its end, every process that reaches the store reads the notice, however late it was started. Not promised: that it
//! outlives the store.

use std::time::SystemTime;

use async_trait::async_trait;

use crate::StoreError;

/// The most notices at a time; when there are more, those that end first go.
pub const MOST: usize = 100_000;
/// The most bytes of a text.
pub const LONGEST: usize = 1024;

/// What every process is to know for a time.
#[async_trait]
pub trait Notices: Send + Sync {
    /// Has every process that asks read `text` until `until`. A text that is there already ends then instead. One that is over already is
    /// not kept, and not refused. Returns when every process can read it. After an error it may be there or not; posting it again is harmless.
    async fn post(&self, text: &str, until: SystemTime) -> Result<(), NoticeError>;

    /// Those that are not over, each once and in no order. Read in pages, so that many do not hold others up.
    async fn all(&self) -> Result<Vec<Notice>, StoreError>;
}

/// A text that is read until its time is over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Notice {
    /// What it says.
    pub text: String,
    /// When it is over.
    pub until: SystemTime,
}

/// Why a notice is not posted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoticeError {
    /// Its text has more than [`LONGEST`] bytes.
    #[error("the notice is longer than {LONGEST} bytes")]
    TooLong,
    /// There are [`MOST`] notices, and all of them end later.
    #[error("there is no room: {MOST} notices end later")]
    NoRoom,
    /// It cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}
