//! Who on this lane subscribed to what, and what is about to be written to them.
//!
//! Owns the table of channels, and collects publications for the length of a turn of the loop, or of a merge window, so that a socket
//! gets one write for several of them. Does not know sockets: a subscriber is a key and an [`Encoding`]. Invariant: a channel is in the
//! table exactly while somebody here subscribes to it, and with it the [`Interest`] that keeps the node listening.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use globset::GlobMatcher;
use protocol::{Channel, Encoding, Filter, Publication, PublicationKind};
use slab::Slab;

use super::id::SocketKey;
use crate::client::Hearing;
use crate::lane::interest::Interest;

mod selected;
mod window;

use selected::Base;
use window::Pace;
pub(crate) use window::WindowSettings;

/// How many subscribers channels have on one lane.
pub(crate) type Counts = Vec<(Channel, usize)>;

/// Past this many bytes a collecting channel is written without waiting for its window.
pub(crate) const MOST_COLLECTED: usize = 256 * 1024;

/// The channels that have subscribers on this lane.
pub(crate) struct Hub {
    settings: WindowSettings,
    index: HashMap<Channel, usize>,
    audiences: Slab<Audience>,
    /// Channels to write at the end of this turn.
    ready: Vec<usize>,
    /// Channels in an open window, soonest first; an entry may be stale.
    waiting: BinaryHeap<Reverse<(Instant, usize)>>,
    subscriptions: usize,
}

/// One channel and its subscribers.
struct Audience {
    channel: Channel,
    subscribers: Vec<Subscriber>,
    pace: Pace,
    collected: Vec<Arc<Publication>>,
    collected_bytes: usize,
    /// When the open window closes.
    due: Option<Instant>,
    windows: WindowSettings,
    /// What those want to hear who do not want to hear everything.
    filters: Slab<Filter>,
    /// How many subscribers get differences.
    deltas: usize,
    /// The payload that was written last, while any subscriber gets differences.
    last: Option<Bytes>,
    _interest: Interest,
}

#[derive(Clone, Copy)]
struct Subscriber {
    key: SocketKey,
    encoding: Encoding,
    /// It is told who comes and goes.
    hears_joins: bool,
    /// Its filter's number; [`NO_FILTER`] for none.
    filter: u32,
    base: Base,
}

const NO_FILTER: u32 = u32::MAX;

/// A subscriber's place, for leaving without a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Membership {
    audience: usize,
    place: usize,
}

impl Membership {
    /// Takes over the place that `other` has in the same channel, if it is the same channel.
    pub(crate) fn correct(&mut self, other: Self) {
        if self.audience == other.audience {
            self.place = other.place;
        }
    }
}

/// What a flush did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Delivered {
    /// Publications times subscribers.
    pub(crate) deliveries: u64,
    /// Writes asked for.
    pub(crate) writes: u64,
}

impl Hub {
    pub(crate) fn new(settings: WindowSettings) -> Self {
        Self {
            settings,
            index: HashMap::new(),
            audiences: Slab::new(),
            ready: Vec::new(),
            waiting: BinaryHeap::new(),
            subscriptions: 0,
        }
    }

    /// Adds `key` to the subscribers of the channel that `interest` holds. Publications collected before are written first, so that the
    /// newcomer gets only what comes after.
    pub(crate) fn join(
        &mut self,
        key: SocketKey,
        encoding: Encoding,
        hearing: Hearing,
        interest: Interest,
        send: impl FnMut(SocketKey, &Bytes),
    ) -> (Membership, Delivered) {
        let channel = interest.channel().clone();
        let (audience, delivered) = match self.index.get(&channel) {
            Some(&audience) => (audience, self.write(audience, send)),
            None => {
                let audience = self
                    .audiences
                    .insert(Audience::new(channel.clone(), interest, &self.settings));
                self.index.insert(channel, audience);
                (audience, Delivered::default())
            }
        };
        let Audience {
            subscribers,
            filters,
            deltas,
            ..
        } = &mut self.audiences[audience];
        *deltas += usize::from(hearing.delta);
        let filter = hearing.filter.map(|filter| filters.insert(filter));
        subscribers.push(Subscriber {
            key,
            encoding,
            hears_joins: hearing.joins,
            filter: filter.map_or(NO_FILTER, |number| u32::try_from(number).unwrap_or(NO_FILTER)),
            base: match hearing.delta {
                true => Base::Missing,
                false => Base::Unwanted,
            },
        });
        self.subscriptions += 1;
        (
            Membership {
                audience,
                place: subscribers.len() - 1,
            },
            delivered,
        )
    }

    /// Writes what was collected in a subscriber's channel, window or not: before it is told something that must come after.
    pub(crate) fn settle(&mut self, membership: Membership, send: impl FnMut(SocketKey, &Bytes)) -> Delivered {
        self.write(membership.audience, send)
    }

    /// Whether a subscriber's place is in `channel`.
    pub(crate) fn is_in(&self, membership: Membership, channel: &Channel) -> bool {
        self.audiences
            .get(membership.audience)
            .is_some_and(|audience| audience.channel == *channel)
    }

    /// Removes a subscriber. The last subscriber of the channel took over the place; when that is somebody else, it is returned with its
    /// membership, which the caller must correct.
    pub(crate) fn leave(&mut self, membership: Membership) -> Option<(SocketKey, Membership)> {
        let audience = &mut self.audiences[membership.audience];
        let gone = audience.subscribers.swap_remove(membership.place);
        audience.filters.try_remove(gone.filter as usize);
        audience.deltas -= usize::from(gone.base != Base::Unwanted);
        self.subscriptions -= 1;
        if audience.subscribers.is_empty() {
            let audience = self.audiences.remove(membership.audience);
            self.index.remove(&audience.channel);
            self.ready.retain(|ready| *ready != membership.audience);
            return None;
        }
        audience
            .subscribers
            .get(membership.place)
            .map(|moved| (moved.key, membership))
    }

    /// Takes a publication that came at `now`; it is written by [`Hub::flush`] at the end of this turn, or later if the channel is collecting.
    pub(crate) fn collect(&mut self, publication: &Arc<Publication>, now: Instant) {
        let Some(&key) = self.index.get(&publication.channel) else {
            return;
        };
        let audience = &mut self.audiences[key];
        audience.pace.note(now);
        audience.collected_bytes += publication.data.len();
        audience.collected.push(Arc::clone(publication));
        if audience.collected.len() == 1 {
            let window = audience.pace.window(audience.subscribers.len(), &audience.windows);
            match window {
                Some(window) => {
                    let due = now + window;
                    audience.due = Some(due);
                    self.waiting.push(Reverse((due, key)));
                }
                None => self.ready.push(key),
            }
        } else if audience.collected_bytes > MOST_COLLECTED && audience.due.take().is_some() {
            self.ready.push(key);
        }
    }

    /// When the next window closes.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.waiting.peek().map(|Reverse((due, _))| *due)
    }

    /// Writes every channel that does not wait, and those whose window has closed at `now`.
    pub(crate) fn flush(&mut self, now: Instant, mut send: impl FnMut(SocketKey, &Bytes)) -> Delivered {
        let mut delivered = Delivered::default();
        while let Some(Reverse((due, key))) = self.waiting.peek().copied() {
            if due > now {
                break;
            }
            self.waiting.pop();
            if self
                .audiences
                .get(key)
                .is_some_and(|audience| audience.due == Some(due))
            {
                delivered.add(&self.write(key, &mut send));
            }
        }
        let mut ready = std::mem::take(&mut self.ready);
        for key in ready.drain(..) {
            delivered.add(&self.write(key, &mut send));
        }
        self.ready = ready;
        delivered
    }

    /// How many subscribers each channel has here whose name matches.
    pub(crate) fn count(&self, matcher: Option<&GlobMatcher>) -> Counts {
        let audiences = self.audiences.iter().map(|(_, audience)| audience);
        audiences
            .filter(|audience| matcher.is_none_or(|matcher| matcher.is_match(audience.channel.as_str())))
            .map(|audience| (audience.channel.clone(), audience.subscribers.len()))
            .collect()
    }

    /// How many channels have subscribers here, and how many subscriptions that makes.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.audiences.len(), self.subscriptions)
    }

    fn write(&mut self, key: usize, mut send: impl FnMut(SocketKey, &Bytes)) -> Delivered {
        let Some(audience) = self.audiences.get_mut(key) else {
            return Delivered::default();
        };
        audience.due = None;
        audience.collected_bytes = 0;
        let is_for_all = |publication: &Arc<Publication>| publication.kind == PublicationKind::Publication;
        let are_alike = audience.filters.is_empty() && audience.deltas == 0;
        if !are_alike || !audience.collected.iter().all(is_for_all) {
            return audience.write_selected(send);
        }
        let publications = &mut audience.collected;
        match publications.as_slice() {
            [] => return Delivered::default(),
            [publication] => {
                for subscriber in &audience.subscribers {
                    send(subscriber.key, publication.frame(subscriber.encoding));
                }
            }
            several => {
                let mut joined: [Option<Bytes>; Encoding::COUNT] = Default::default();
                for subscriber in &audience.subscribers {
                    let frames =
                        joined[subscriber.encoding as usize].get_or_insert_with(|| join(several, subscriber.encoding));
                    send(subscriber.key, frames);
                }
            }
        }
        let writes = audience.subscribers.len() as u64;
        let delivered = Delivered {
            deliveries: writes * publications.len() as u64,
            writes,
        };
        publications.clear();
        publications.shrink_to(16);
        delivered
    }
}

impl Audience {
    fn new(channel: Channel, interest: Interest, windows: &WindowSettings) -> Self {
        Self {
            windows: windows.of(interest.window()),
            channel,
            subscribers: Vec::new(),
            pace: Pace::default(),
            collected: Vec::new(),
            collected_bytes: 0,
            due: None,
            filters: Slab::new(),
            deltas: 0,
            last: None,
            _interest: interest,
        }
    }
}

impl Delivered {
    pub(crate) fn add(&mut self, other: &Self) {
        self.deliveries += other.deliveries;
        self.writes += other.writes;
    }
}

fn join(publications: &[Arc<Publication>], encoding: Encoding) -> Bytes {
    let length = publications
        .iter()
        .map(|publication| publication.frame(encoding).len())
        .sum();
    let mut joined = BytesMut::with_capacity(length);
    for publication in publications {
        joined.extend_from_slice(publication.frame(encoding));
    }
    joined.freeze()
}
