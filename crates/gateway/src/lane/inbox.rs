//! What the node has for one lane, in one order: publications, new connections, the beginning of a drain.
//!
//! Bounded: past its limits publications are dropped whole and counted, with a warning now and then; connections and
//! the drain always find room, they are bounded by admission. Neither side ever waits for the other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::Counter;
use bytes::Bytes;
use globset::GlobMatcher;
use parking_lot::Mutex;
use protocol::event::Answer;
use protocol::frame::Message;
use protocol::{CommandError, Publication};
use tokio::sync::mpsc::UnboundedSender;

use crate::admission::Admitted;
use crate::backend::{Failure, Reply, Verdict};
use crate::client::{Client, Order};
use crate::lane::ask::Asker;
use crate::lane::drain::Pace;
use crate::lane::hub::Counts;
use crate::lane::id::ConnectionId;
use crate::lane::id::SocketKey;
use crate::lane::interest::Interest;

/// One thing for a lane to do.
pub(crate) enum Item {
    /// Hand this, which came at that time, to every subscriber.
    Publication(Arc<Publication>, Instant),
    /// A new connection, subscribed before its handshake is answered.
    Open(Box<Handover>),
    /// Everything published from here on in a channel that somebody asked for is heard.
    Subscribed(Box<(Asker, Interest)>),
    /// What came of something else that somebody asked for.
    Answer(Box<(Asker, Result<Answer, CommandError>)>),
    /// Commands that have come apart from their connection.
    Commands(Box<(ConnectionId, Message)>),
    /// What the backend said to a question of a connection.
    Consulted(Box<(Asker, Result<Verdict<Reply>, Failure>)>),
    /// Something that the application wants of a connection.
    Order(Box<(ConnectionId, Order)>),
    /// Tokens were revoked: have those go who are here with one.
    Recheck(Recheck),
    /// Say how many subscribers the channels that match have.
    Count(Box<(Option<Arc<GlobMatcher>>, UnboundedSender<Counts>)>),
    /// Close every connection at this pace.
    Drain(Pace),
    /// Stand still for that long; how tests make a lane fall behind.
    Pause(Duration),
    /// End the lane.
    Stop,
}

/// Who may be here with a token that was revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recheck {
    One(ConnectionId),
    /// Everybody, from this key on.
    From(SocketKey),
}

/// A connection on its way to its lane.
pub(crate) struct Handover {
    pub(crate) stream: std::net::TcpStream,
    /// The answer to the handshake, not yet written.
    pub(crate) head: Bytes,
    /// What the client sent right after its request.
    pub(crate) early: Bytes,
    pub(crate) client: Client,
    pub(crate) admitted: Admitted,
    /// The channel that opening the connection has subscribed to.
    pub(crate) interest: Option<Interest>,
    /// What the client has said with its request.
    pub(crate) first: Option<Message>,
}

/// The queue from the node to one lane.
pub(crate) struct Inbox {
    queue: Mutex<Queue>,
    wake: Box<dyn Fn() + Send + Sync>,
    limits: InboxLimits,
    /// Publications dropped because the lane was behind.
    pub(crate) dropped: Counter,
}

/// The most publications that wait for one lane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InboxLimits {
    pub(crate) publications: usize,
    pub(crate) bytes: usize,
    /// So many bytes are taken in one turn of the lane.
    pub(crate) turn_bytes: usize,
}

/// A lane that stays behind warns no more often than this.
const WARNING_PAUSE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    publications: usize,
    bytes: usize,
    is_woken: bool,
    warned: Option<Instant>,
}

impl Inbox {
    /// An empty inbox of a lane that `wake` wakes.
    pub(crate) fn new(limits: InboxLimits, wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            queue: Mutex::default(),
            wake: Box::new(wake),
            limits,
            dropped: Counter::default(),
        }
    }

    /// Adds publications that came at `now`, in order, and empties `publications`.
    pub(crate) fn publish(&self, publications: &mut Vec<Arc<Publication>>, now: Instant) {
        if publications.is_empty() {
            return;
        }
        let mut queue = self.queue.lock();
        for publication in publications.drain(..) {
            if queue.publications >= self.limits.publications || queue.bytes >= self.limits.bytes {
                self.dropped.add(1);
                if queue.warned.is_none_or(|warned| now - warned > WARNING_PAUSE) {
                    queue.warned = Some(now);
                    tracing::warn!(
                        waiting = queue.publications,
                        bytes = queue.bytes,
                        "a lane is behind, it loses publications"
                    );
                }
                continue;
            }
            queue.publications += 1;
            queue.bytes += publication.data.len();
            queue.items.push_back(Item::Publication(publication, now));
        }
        self.wake_once(&mut queue.is_woken);
    }

    /// Adds anything else.
    pub(crate) fn push(&self, item: Item) {
        let mut queue = self.queue.lock();
        queue.items.push_back(item);
        self.wake_once(&mut queue.is_woken);
    }

    /// Wakes the lane without adding anything.
    pub(crate) fn wake(&self) {
        self.wake_once(&mut self.queue.lock().is_woken);
    }

    /// Takes what waits, into the empty `items`: everything, or when that is much, a share of it. Returns whether something is left.
    ///
    /// A lane that was late would otherwise write more at once than a healthy client's outbox may hold.
    pub(crate) fn take(&self, items: &mut VecDeque<Item>) -> bool {
        debug_assert!(items.is_empty());
        let mut queue = self.queue.lock();
        if queue.bytes <= self.limits.turn_bytes {
            std::mem::swap(&mut queue.items, items);
            queue.publications = 0;
            queue.bytes = 0;
        } else {
            let mut taken = 0;
            while taken < self.limits.turn_bytes
                && let Some(item) = queue.items.pop_front()
            {
                if let Item::Publication(publication, _) = &item {
                    taken += publication.data.len();
                    queue.publications -= 1;
                }
                items.push_back(item);
            }
            queue.bytes -= taken;
        }
        queue.is_woken = false;
        !queue.items.is_empty()
    }

    fn wake_once(&self, is_woken: &mut bool) {
        if !std::mem::replace(is_woken, true) {
            (self.wake)();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;
    use protocol::Channel;

    use super::*;

    #[test]
    fn a_full_inbox_drops_whole_publications_and_keeps_the_rest() {
        let wakes = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&wakes);
        let limits = InboxLimits {
            publications: 3,
            bytes: 1000,
            turn_bytes: 1000,
        };
        let inbox = Inbox::new(limits, move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let channel = Channel::parse("news").expect("valid");
        let publication = |size| Arc::new(Publication::new(channel.clone(), Bytes::from(vec![b'1'; size])));

        inbox.publish(&mut (0..5).map(|_| publication(1)).collect(), Instant::now());
        inbox.push(Item::Stop);
        assert_eq!((inbox.dropped.get(), wakes.load(Ordering::Relaxed)), (2, 1));

        let mut items = VecDeque::new();
        inbox.take(&mut items);
        assert_eq!(items.len(), 4);
        assert!(matches!(items.back(), Some(Item::Stop)));

        inbox.publish(&mut vec![publication(1000), publication(1)], Instant::now());
        assert_eq!((inbox.dropped.get(), wakes.load(Ordering::Relaxed)), (3, 2));
    }

    #[test]
    fn much_is_taken_in_shares() {
        let limits = InboxLimits {
            publications: 100,
            bytes: 1000,
            turn_bytes: 100,
        };
        let inbox = Inbox::new(limits, || {});
        let channel = Channel::parse("news").expect("valid");
        let publication = |size| Arc::new(Publication::new(channel.clone(), Bytes::from(vec![b'1'; size])));
        inbox.publish(&mut [60, 60, 60].map(publication).into(), Instant::now());
        inbox.push(Item::Stop);

        let mut items = VecDeque::new();
        assert!(inbox.take(&mut items));
        assert_eq!(items.drain(..).count(), 2);
        assert!(!inbox.take(&mut items));
        assert_eq!(items.drain(..).count(), 2);
        inbox.publish(&mut vec![publication(999), publication(1)], Instant::now());
        assert!(inbox.take(&mut items), "the room was given back");
        assert_eq!((items.len(), inbox.dropped.get()), (1, 0));
    }
}
