//! What the lanes want of the node, in the order in which each lane asked.
//!
//! Bounded, but never at the price of a publication that was already read from a socket: a lane gives a whole batch at a time, is told
//! when the queue is full, and then stops reading its sockets until it is woken.

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::lane::Lane;
use crate::lane::ask::Ask;

/// The queue from all lanes to the node.
pub(crate) struct Outbound {
    queue: Mutex<Queue>,
    filled: Notify,
    emptied: Notify,
    most: usize,
    most_bytes: usize,
}

#[derive(Default)]
struct Queue {
    items: Vec<Ask>,
    bytes: usize,
    /// Some lane found the queue full and waits to be woken.
    is_awaited: bool,
}

impl Outbound {
    pub(crate) fn new(most: usize, most_bytes: usize) -> Self {
        Self {
            queue: Mutex::default(),
            filled: Notify::new(),
            emptied: Notify::new(),
            most,
            most_bytes,
        }
    }

    /// Adds a batch and empties it. Returns whether there is room for more; if not, the lane is woken when there is.
    pub(crate) fn push(&self, batch: &mut Vec<Ask>) -> bool {
        let mut queue = self.queue.lock();
        queue.bytes += batch.iter().map(Ask::size).sum::<usize>();
        queue.items.append(batch);
        let has_room = self.has_room(&mut queue);
        drop(queue);
        self.filled.notify_one();
        has_room
    }

    /// Whether a lane may read on; if not, it is woken when it may.
    pub(crate) fn is_open(&self) -> bool {
        self.has_room(&mut self.queue.lock())
    }

    /// Waits until there is room.
    pub(crate) async fn opened(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.is_open() {
                return;
            }
            emptied.await;
        }
    }

    /// Waits for at least one thing to do and takes all; wakes the lanes that waited for room.
    pub(crate) async fn take(&self, lanes: &[Lane]) -> Vec<Ask> {
        loop {
            let (items, is_awaited) = {
                let mut queue = self.queue.lock();
                queue.bytes = 0;

                (std::mem::take(&mut queue.items), std::mem::take(&mut queue.is_awaited))
            };
            if is_awaited {
                lanes.iter().for_each(|lane| lane.inbox.wake());
                self.emptied.notify_waiters();
            }
            if !items.is_empty() {
                return items;
            }
            self.filled.notified().await;
        }
    }

    /// Waits until everything that was given is done.
    pub(crate) async fn drained(&self) {
        let (done, settled) = oneshot::channel();
        self.push(&mut vec![Ask::Settle(done)]);
        // An error says that nobody is there to do anything any more.
        let _ = settled.await;
    }

    fn has_room(&self, queue: &mut Queue) -> bool {
        let has_room = queue.items.len() < self.most && queue.bytes < self.most_bytes;
        queue.is_awaited |= !has_room;
        has_room
    }
}
