//! Which channels this node listens to, and for which of its lanes.
//!
//! An [`Interest`] is the right to hear a channel: the first one in the node subscribes on the bus, dropping the last unsubscribes.
//! Invariant: the bus is asked for exactly the channels in the table.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::{Bus, Generation};
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use protocol::Channel;
use tokio::sync::watch;

use crate::lane::ask::Asker;

/// Every interest of the node.
pub(crate) struct Interests {
    bus: Arc<dyn Bus>,
    lanes: usize,
    table: Mutex<HashMap<Channel, Entry>>,
    /// Where somebody had to wait, and since when; the longest first. Who was served meanwhile is still here.
    waits: Mutex<VecDeque<(Instant, Channel)>>,
}

struct Entry {
    generation: Generation,
    confirmed: watch::Sender<bool>,
    /// How many interests each lane has.
    held: Box<[u32]>,
    /// How many the node itself has.
    held_by_node: u32,
    /// Who is to be told when the bus has confirmed.
    waiting: Vec<Waiting>,
    /// The last payload that was heard, where subscribers may get differences.
    last: Option<Box<Bytes>>,
}

/// Somebody who waits for the bus, and since when.
struct Waiting {
    asker: Asker,
    interest: Interest,
    since: Instant,
}

/// Keeps the node listening to a channel, for one lane, until dropped.
pub(crate) struct Interest {
    channel: Channel,
    /// `None`: the node wants the channel whether a lane does or not.
    lane: Option<usize>,
    window: Option<Duration>,
    confirmed: watch::Receiver<bool>,
    interests: Arc<Interests>,
}

impl Interests {
    pub(crate) fn new(bus: Arc<dyn Bus>, lanes: usize) -> Arc<Self> {
        Arc::new(Self {
            bus,
            lanes,
            table: Mutex::default(),
            waits: Mutex::default(),
        })
    }

    /// Listens to `channel` for `lane`. From now on the lane is given every publication there that the node hears; that it hears them
    /// all is certain once [`Interest::confirmed`]. `window`: how long the channel collects publications when it is
    /// busy, if not as usual.
    pub(crate) fn hold(self: &Arc<Self>, channel: &Channel, lane: Option<usize>, window: Option<Duration>) -> Interest {
        let mut table = self.table.lock();
        let entry = table.entry(channel.clone()).or_insert_with(|| Entry {
            generation: self.bus.subscribe(channel),
            confirmed: watch::Sender::new(false),
            held: vec![0; self.lanes].into(),
            held_by_node: 0,
            waiting: Vec::new(),
            last: None,
        });
        *entry.count(lane) += 1;
        let confirmed = entry.confirmed.subscribe();
        drop(table);
        Interest {
            channel: channel.clone(),
            lane,
            window,
            confirmed,
            interests: Arc::clone(self),
        }
    }

    /// Listens to `channel` for `asker`, at `now`. Returns the interest if everything published there is heard already; otherwise
    /// [`Interests::confirm`] or [`Interests::give_up`] will.
    pub(crate) fn ask(
        self: &Arc<Self>,
        channel: &Channel,
        window: Option<Duration>,
        asker: Asker,
        now: Instant,
    ) -> Option<Interest> {
        let interest = self.hold(channel, Some(asker.lane), window);
        let mut table = self.table.lock();
        if *interest.confirmed.borrow() {
            return Some(interest);
        }
        let entry = table.get_mut(channel).expect("it is held");
        entry.waiting.push(Waiting {
            asker,
            interest,
            since: now,
        });
        drop(table);
        self.waits.lock().push_back((now, channel.clone()));
        None
    }

    /// The bus has confirmed its subscription. Returns who waited for it.
    pub(crate) fn confirm(&self, channel: &Channel, generation: Generation) -> Vec<(Asker, Interest)> {
        let mut table = self.table.lock();
        let Some(entry) = table.get_mut(channel).filter(|entry| entry.generation == generation) else {
            return Vec::new();
        };
        entry.confirmed.send_replace(true);
        std::mem::take(&mut entry.waiting)
            .into_iter()
            .map(|waiting| (waiting.asker, waiting.interest))
            .collect()
    }

    /// Returns who has waited since `before` and longer, and lets them wait no more.
    pub(crate) fn give_up(&self, before: Instant) -> Vec<Asker> {
        let mut late: Vec<Waiting> = Vec::new();
        let mut waits = self.waits.lock();
        while waits.front().is_some_and(|(since, _)| *since <= before)
            && let Some((_, channel)) = waits.pop_front()
        {
            if let Some(entry) = self.table.lock().get_mut(&channel) {
                late.extend(entry.waiting.extract_if(.., |waiting| waiting.since <= before));
            }
        }
        drop(waits);
        // Dropping an interest takes the lock again.
        late.into_iter().map(|waiting| waiting.asker).collect()
    }

    /// The link is lost: no subscription is confirmed any more.
    pub(crate) fn lose(&self) {
        for entry in self.table.lock().values() {
            entry.confirmed.send_replace(false);
        }
    }

    /// For asking which lanes hear a publication.
    pub(crate) fn listening(&self) -> Listening<'_> {
        Listening(self.table.lock())
    }

    fn release(&self, channel: &Channel, lane: Option<usize>) {
        let mut table = self.table.lock();
        let Some(entry) = table.get_mut(channel) else { return };
        *entry.count(lane) -= 1;
        if entry.held_by_node == 0 && entry.held.iter().all(|held| *held == 0) {
            table.remove(channel);
            self.bus.unsubscribe(channel);
        }
    }
}

/// The table, locked.
pub(crate) struct Listening<'a>(MutexGuard<'a, HashMap<Channel, Entry>>);

impl Listening<'_> {
    /// Puts `data` in the place of the payload that was heard before it in `channel`, and returns that.
    pub(crate) fn succeed(&mut self, channel: &Channel, data: &Bytes) -> Option<Box<Bytes>> {
        let entry = self.0.get_mut(channel)?;
        entry.last.replace(Box::new(data.clone()))
    }
    /// The lanes that hear `channel`.
    pub(crate) fn lanes(&self, channel: &Channel) -> impl Iterator<Item = usize> + '_ {
        let held = self.0.get(channel).map(|entry| &entry.held[..]).unwrap_or_default();
        held.iter()
            .enumerate()
            .filter(|(_, held)| **held > 0)
            .map(|(lane, _)| lane)
    }
}

impl Entry {
    fn count(&mut self, lane: Option<usize>) -> &mut u32 {
        match lane {
            Some(lane) => &mut self.held[lane],
            None => &mut self.held_by_node,
        }
    }
}

impl Interest {
    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// How long the channel collects when it is busy, if not as usual.
    pub(crate) fn window(&self) -> Option<Duration> {
        self.window
    }

    /// Waits until the node hears everything that is published in the channel.
    pub(crate) async fn confirmed(&mut self) {
        // The sender lives in the table as long as this interest does.
        let _ = self.confirmed.wait_for(|confirmed| *confirmed).await;
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        self.interests.release(&self.channel, self.lane);
    }
}
