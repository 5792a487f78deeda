//! The one queue between a bus and the task that listens to it, bounded in messages and in bytes.
//!
//! Events go in and out in batches, so that the listener wakes once per batch and not once per event. Invariant: over either bound
//! nothing more goes in, so whoever feeds the queue waits (the Redis link stops reading its socket); a single event larger than the
//! byte bound passes alone. Nothing is ever dropped, except everything at once when the bus closes.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::iter;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use protocol::ClientInfo;
use tokio::sync::Notify;

use crate::BusEvent;

/// The bounds of the queue between a bus and its listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// Most events that wait.
    pub messages: usize,
    /// Most bytes of payload that wait.
    pub bytes: usize,
}

impl Default for QueueLimits {
    /// 16,384 events, 8 MiB.
    fn default() -> Self {
        Self {
            messages: 16_384,
            bytes: 8 * 1024 * 1024,
        }
    }
}

/// What the bus tells the one task that listens to it, in order. Dropping it makes the bus forget what it hears.
#[derive(Debug)]
pub struct Events(Arc<Queue>);

impl Events {
    /// The next event; `None` for ever after [`close`](crate::Bus::close).
    pub async fn recv(&mut self) -> Option<BusEvent> {
        poll_fn(|context| self.0.poll_take(context, Waiting::pop)).await
    }

    /// Moves at most `limit` events, which is at least 1, behind those in `events` and says how many; waits while there is none. 0 for ever after
    /// [`close`](crate::Bus::close).
    pub async fn recv_many(&mut self, events: &mut Vec<BusEvent>, limit: usize) -> usize {
        let taken = poll_fn(|context| {
            self.0.poll_take(context, |waiting| {
                let before = events.len();
                events.extend(iter::from_fn(|| waiting.pop()).take(limit));
                (events.len() > before).then(|| events.len() - before)
            })
        });
        taken.await.unwrap_or(0)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The end that the bus holds.
#[derive(Debug)]
pub(crate) struct Queue {
    limits: QueueLimits,
    waiting: Mutex<Waiting>,
    room: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<BusEvent>,
    bytes: usize,
    listener: Option<Waker>,
    closed: bool,
}

impl Waiting {
    fn pop(&mut self) -> Option<BusEvent> {
        let event = self.events.pop_front()?;
        self.bytes -= payload_len(&event);
        Some(event)
    }
}

/// Makes both ends.
pub(crate) fn queue(limits: QueueLimits) -> (Arc<Queue>, Events) {
    let queue = Arc::new(Queue {
        limits,
        waiting: Mutex::default(),
        room: Notify::new(),
    });
    (Arc::clone(&queue), Events(queue))
}

impl Queue {
    /// Moves all of `batch` into the queue, waiting for room as often as needed. Cancelled, it leaves in `batch` what did not go in.
    pub(crate) async fn push(&self, batch: &mut VecDeque<BusEvent>) {
        loop {
            let room = self.room.notified();
            if self.try_push(batch) {
                return;
            }
            room.await;
        }
    }

    /// Moves in what fits; whether that was all.
    fn try_push(&self, batch: &mut VecDeque<BusEvent>) -> bool {
        let mut waiting = self.lock();
        if waiting.closed {
            batch.clear();
            return true;
        }
        while let Some(event) = batch.front() {
            let bytes = payload_len(event);
            let fits = waiting.events.len() < self.limits.messages && waiting.bytes + bytes <= self.limits.bytes;
            if !fits && !waiting.events.is_empty() {
                break;
            }
            waiting.bytes += bytes;
            waiting.events.extend(batch.pop_front());
        }
        if let Some(listener) = waiting.listener.take() {
            drop(waiting);
            listener.wake();
        }
        batch.is_empty()
    }

    /// Forgets what waits and everything that is pushed later.
    pub(crate) fn close(&self) {
        let mut waiting = self.lock();
        let listener = mem::replace(
            &mut *waiting,
            Waiting {
                closed: true,
                ..Waiting::default()
            },
        )
        .listener;
        drop(waiting);
        if let Some(listener) = listener {
            listener.wake();
        }
        self.room.notify_waiters();
    }

    fn poll_take<T>(&self, context: &mut Context<'_>, take: impl FnOnce(&mut Waiting) -> Option<T>) -> Poll<Option<T>> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Poll::Ready(None);
        }
        match take(&mut waiting) {
            Some(taken) => {
                drop(waiting);
                self.room.notify_waiters();
                Poll::Ready(Some(taken))
            }
            None => {
                waiting.listener = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn payload_len(event: &BusEvent) -> usize {
    match event {
        BusEvent::Publication(publication) => {
            let attributes = publication
                .attributes
                .as_ref()
                .map_or(0, |attributes| attributes.size());
            publication.data.len() + attributes
        }
        BusEvent::Vanished { members, .. } => members.iter().map(ClientInfo::size).fold(0, usize::saturating_add),
        BusEvent::Told { message, .. } => message.len(),
        BusEvent::Subscribed { .. } | BusEvent::LinkLost => 0,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::FutureExt;
    use protocol::{Channel, PublicationKind};

    use super::*;
    use crate::Incoming;

    fn publication(len: usize) -> BusEvent {
        let channel = Channel::parse("a").expect("valid");
        BusEvent::Publication(Incoming {
            kind: PublicationKind::Publication,
            channel,
            data: Bytes::from(vec![0; len]),
            attributes: None,
            published_at: None,
        })
    }

    /// Pushes publications of these lengths into a queue for 3 events and 100 bytes; `fits` of them go in before anybody listens.
    #[track_caller]
    fn check(lens: &[usize], fits: usize) {
        let (queue, mut events) = queue(QueueLimits {
            messages: 3,
            bytes: 100,
        });
        let mut batch: VecDeque<_> = lens.iter().copied().map(publication).collect();
        let is_done = queue.push(&mut batch).now_or_never().is_some();
        assert_eq!(
            (is_done, batch.len()),
            (fits == lens.len(), lens.len() - fits),
            "{lens:?}"
        );
        let mut heard = Vec::new();
        while heard.len() < lens.len() {
            let taken = events.recv_many(&mut heard, 1).now_or_never();
            assert_eq!(taken, Some(1), "{lens:?}");
            let _ = queue.push(&mut batch).now_or_never();
        }
        assert!(
            heard.into_iter().eq(lens.iter().copied().map(publication)),
            "all of {lens:?}, in order"
        );
    }

    #[test]
    fn both_bounds_hold_and_nothing_is_lost() {
        check(&[1, 1, 1], 3);
        check(&[1, 1, 1, 1], 3);
        check(&[50, 50], 2);
        check(&[50, 51], 1);
        check(&[101], 1);
        check(&[1, 101, 1], 1);
        check(&[101, 0], 1);
    }

    #[tokio::test]
    async fn each_end_can_close_it() {
        let (queue, mut events) = queue(QueueLimits { messages: 1, bytes: 1 });
        queue.push(&mut VecDeque::from([publication(1)])).await;
        queue.close();
        assert_eq!(events.recv().await, None);
        assert_eq!(events.recv_many(&mut Vec::new(), 1).await, 0);
        queue.push(&mut VecDeque::from([publication(1), publication(1)])).await;

        let (queue, events) = super::queue(QueueLimits { messages: 1, bytes: 1 });
        let mut batch = VecDeque::from([publication(1), publication(1)]);
        tokio::join!(queue.push(&mut batch), async { drop(events) });
        assert!(batch.is_empty(), "nobody waits for a listener that is gone");
    }
}
