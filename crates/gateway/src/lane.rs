//! One event loop with sockets of its own, as the rest of the node sees it: an inbox, and what it has counted.
//!
//! A lane is a reactor thread, or an actix worker with attached sockets.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::inbox::Inbox;
use crate::stats::LaneStats;

/// A lane, from outside.
#[derive(Clone)]
pub(crate) struct Lane {
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) stats: Arc<LaneStats>,
    /// Told when the inbox has something, if the lane is a worker's; a reactor wakes by its own means.
    pub(crate) woken: Option<Arc<Notify>>,
}
