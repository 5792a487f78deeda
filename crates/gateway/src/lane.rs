//! One event loop with sockets of its own, as the rest of the node sees it: an inbox, and what it has counted.
//!
//! A lane is a reactor thread, or an actix worker with attached sockets.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::stats::LaneStats;

pub(crate) mod ask;
pub(crate) mod attached;
pub(crate) mod connections;
pub(crate) mod directory;
pub(crate) mod drain;
pub(crate) mod hub;
pub(crate) mod id;
pub(crate) mod inbox;
pub(crate) mod interest;
pub(crate) mod line;
pub(crate) mod outbound;
pub(crate) mod pass;
pub(crate) mod reactor;
pub(crate) mod rest;

mod outbox;

use inbox::Inbox;

/// A lane, from outside.
#[derive(Clone)]
pub(crate) struct Lane {
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) stats: Arc<LaneStats>,
    /// Told when the inbox has something, if the lane is a worker's; a reactor wakes by its own means.
    pub(crate) woken: Option<Arc<Notify>>,
}
