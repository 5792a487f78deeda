//! The bus of a single process.
//!
//! Keeps the promises of [`Bus`] without any other process: what is published goes straight into the queue of the one listener, if its
//! channel is wanted. Invariant: `order` is held while events go into the queue, so confirmations and publications cannot overtake each
//! other. Its link cannot be lost.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use protocol::Channel;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use uuid::Uuid;

mod notices;
mod presence;

use notices::MemoryNotices;
use presence::MemoryPresence;

use crate::once::Seen;
use crate::queue::{Events, Queue, QueueLimits, queue};
use crate::{
    Addressee, Bus, BusEvent, Generation, Health, Incoming, Notices, Outgoing, Presence, PublishError, Stats, vital,
};

/// Joins the subscribers and publishers of this process only.
#[derive(Debug)]
pub struct MemoryBus {
    hub: Arc<Hub>,
    node: Uuid,
    presence: MemoryPresence,
    notices: MemoryNotices,
    started: SystemTime,
    /// The task `confirm`, which tells the listener about new subscriptions.
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Debug)]
struct Hub {
    wishes: Mutex<Wishes>,
    unconfirmed: Notify,
    order: tokio::sync::Mutex<()>,
    queue: Arc<Queue>,
    stats: Stats,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Wishes {
    channels: HashMap<Channel, Wish>,
    unconfirmed: VecDeque<Channel>,
    last_generation: u64,
    closed: bool,
}

#[derive(Debug)]
struct Wish {
    generation: Generation,
    confirmed: bool,
}

impl MemoryBus {
    /// Starts the bus; it needs to be inside a tokio runtime for its one task.
    pub fn start(limits: QueueLimits) -> (Arc<Self>, Events) {
        let (queue, events) = queue(limits);
        let node = Uuid::new_v4();
        let hub = Arc::new(Hub {
            wishes: Mutex::default(),
            unconfirmed: Notify::new(),
            order: tokio::sync::Mutex::new(()),
            queue,
            stats: Stats::default(),
            seen: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(vital("confirm", Arc::clone(&hub).confirm()));
        (
            Arc::new(Self {
                hub,
                node,
                presence: MemoryPresence::new(node),
                notices: MemoryNotices::new(),
                started: SystemTime::now(),
                tasks: Mutex::new(tasks),
            }),
            events,
        )
    }
}

impl Drop for MemoryBus {
    fn drop(&mut self) {
        self.hub.queue.close();
    }
}

#[async_trait]
impl Bus for MemoryBus {
    fn subscribe(&self, channel: &Channel) -> Generation {
        let mut wishes = self.hub.wishes();
        if let Some(wish) = wishes.channels.get(channel) {
            return wish.generation;
        }
        wishes.last_generation += 1;
        let generation = Generation(wishes.last_generation);
        wishes.channels.insert(
            channel.clone(),
            Wish {
                generation,
                confirmed: false,
            },
        );
        wishes.unconfirmed.push_back(channel.clone());
        self.hub.unconfirmed.notify_one();
        generation
    }

    fn unsubscribe(&self, channel: &Channel) {
        let mut wishes = self.hub.wishes();
        if wishes.channels.remove(channel).is_some_and(|wish| wish.confirmed) {
            self.hub.stats.subscriptions.subtract(1);
        } else {
            wishes.unconfirmed.retain(|waiting| waiting != channel);
        }
    }

    async fn publish(&self, batch: Vec<Outgoing>) -> Vec<Result<(), PublishError>> {
        let answers = batch.len();
        let _order = self.hub.order.lock().await;
        let Some(mut heard) = self.hub.heard(batch) else {
            return vec![Err(PublishError::Unavailable); answers];
        };
        self.hub.queue.push(&mut heard).await;
        vec![Ok(()); answers]
    }

    fn node(&self) -> Uuid {
        self.node
    }

    async fn tell(&self, to: Addressee, message: Bytes) -> Result<(), PublishError> {
        let _order = self.hub.order.lock().await;
        if self.hub.wishes().closed {
            return Err(PublishError::Unavailable);
        }
        if to == Addressee::Everyone || to == Addressee::Node(self.node) {
            let from = self.node;
            let mut heard = VecDeque::from([BusEvent::Told { from, message }]);
            self.hub.queue.push(&mut heard).await;
        }
        Ok(())
    }

    fn presence(&self) -> &dyn Presence {
        &self.presence
    }

    fn notices(&self) -> &dyn Notices {
        &self.notices
    }

    fn health(&self) -> Health {
        let open = !self.hub.wishes().closed;
        Health {
            kind: "memory",
            link_up: open,
            publisher_up: open,
            was_up: true,
            since: self.started,
            loop_back: None,
            problem: (!open).then(|| "closed".to_owned()),
        }
    }

    fn stats(&self) -> &Stats {
        &self.hub.stats
    }

    async fn close(&self) {
        self.hub.wishes().closed = true;
        self.presence.close();
        self.notices.close();
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
        self.hub.queue.close();
    }
}

impl Hub {
    /// Tells the listener about every new subscription, in the order of the publications around it.
    async fn confirm(self: Arc<Self>) {
        loop {
            self.unconfirmed.notified().await;
            let _order = self.order.lock().await;
            let mut confirmed = self.confirmed();
            self.queue.push(&mut confirmed).await;
        }
    }

    fn confirmed(&self) -> VecDeque<BusEvent> {
        let mut wishes = self.wishes();
        let Wishes {
            channels, unconfirmed, ..
        } = &mut *wishes;
        let mut events = VecDeque::with_capacity(unconfirmed.len());
        for channel in unconfirmed.drain(..) {
            let Some(wish) = channels.get_mut(&channel) else {
                continue;
            };
            wish.confirmed = true;
            events.push_back(BusEvent::Subscribed {
                channel,
                generation: wish.generation,
            });
        }
        self.stats.subscriptions.add(events.len() as u64);
        events
    }

    /// What the listener is to hear of `batch`; `None` once the bus is closed.
    fn heard(&self, batch: Vec<Outgoing>) -> Option<VecDeque<BusEvent>> {
        let wishes = self.wishes();
        if wishes.closed {
            return None;
        }
        let published_at = Some(SystemTime::now());
        let is_heard = |channel: &Channel| wishes.channels.get(channel).is_some_and(|wish| wish.confirmed);
        let (now, mut seen) = (Instant::now(), self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        let mut is_first = |outgoing: &Outgoing| {
            let key = outgoing.once.as_ref();
            key.is_none_or(|key| seen.is_first(&outgoing.channel, key, now))
        };
        let heard: VecDeque<_> = batch
            .into_iter()
            .filter(|outgoing| is_first(outgoing))
            .filter(|outgoing| is_heard(&outgoing.channel))
            .map(|outgoing| {
                BusEvent::Publication(Incoming {
                    kind: outgoing.kind,
                    channel: outgoing.channel,
                    data: outgoing.data,
                    attributes: outgoing.attributes,
                    published_at,
                })
            })
            .collect();
        self.stats.received.add(heard.len() as u64);
        Some(heard)
    }

    fn wishes(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
