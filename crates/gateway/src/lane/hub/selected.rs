//! What each subscriber hears of what was collected, where not all hear the same: joins and leaves, tags that were asked for, differences.
//!
//! Those who hear the same share the same bytes all the same. Invariant: a difference goes only to who has what it differs from, written last.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use protocol::{Encoding, Filter, Publication, PublicationKind};

use super::{Audience, Delivered, SocketKey, Subscriber};

/// What a subscriber has that the next publication may differ from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    /// Everything is sent whole.
    Unwanted,
    /// Nothing yet.
    Missing,
    /// The payload that was written last.
    Last,
}

impl Audience {
    /// Writes to each subscriber what it wants to hear of what was collected.
    pub(super) fn write_selected(&mut self, mut send: impl FnMut(SocketKey, &Bytes)) -> Delivered {
        let mut delivered = Delivered::default();
        let collected = std::mem::take(&mut self.collected);
        let last = self.last.as_ref();
        let mut shared: [[[Option<Joined>; 3]; 2]; Encoding::COUNT] = Default::default();
        for subscriber in &mut self.subscribers {
            let own;
            let frames = match self.filters.get(subscriber.filter as usize) {
                Some(filter) => {
                    own = Joined::of(&collected, *subscriber, Some(filter), last);
                    &own
                }
                None => shared[subscriber.encoding as usize][usize::from(subscriber.hears_joins)]
                    [subscriber.base as usize]
                    .get_or_insert_with(|| Joined::of(&collected, *subscriber, None, last)),
            };
            if frames.has_base && subscriber.base == Base::Missing {
                subscriber.base = Base::Last;
            }
            if frames.publications > 0 {
                send(subscriber.key, &frames.bytes);
                delivered.add(&Delivered {
                    deliveries: frames.publications,
                    writes: 1,
                });
            }
        }
        let published = collected.iter().rev().find(|publication| is_data(publication));
        if let Some(publication) = published.filter(|_| self.deltas > 0) {
            self.last = Some(publication.data.clone());
        }
        delivered
    }
}

fn is_data(publication: &Publication) -> bool {
    publication.kind == PublicationKind::Publication
}

/// Frames in one piece, and how many.
struct Joined {
    bytes: Bytes,
    publications: u64,
    /// There is a payload among them that the next may differ from.
    has_base: bool,
}

impl Joined {
    /// What `subscriber` hears of `collected`, before which `last` was written.
    fn of(
        collected: &[Arc<Publication>],
        subscriber: Subscriber,
        filter: Option<&Filter>,
        last: Option<&Bytes>,
    ) -> Self {
        let mut base = last.filter(|_| subscriber.base == Base::Last).cloned();
        let wants = |publication: &&Arc<Publication>| match publication.kind {
            PublicationKind::Join | PublicationKind::Leave => subscriber.hears_joins,
            PublicationKind::Publication => filter.is_none_or(|filter| match &publication.attributes {
                Some(attributes) => filter.matches(&attributes.tags),
                None => filter.matches(&BTreeMap::new()),
            }),
        };
        let delta = subscriber
            .encoding
            .delta()
            .filter(|_| subscriber.base != Base::Unwanted);
        let mut has_base = false;
        let mut frame = |publication: &Arc<Publication>| {
            let encoding = match delta {
                Some((whole, patch)) if is_data(publication) => {
                    let before = base.replace(publication.data.clone());
                    has_base = true;
                    let is_next = |previous: &Bytes| {
                        before
                            .as_ref()
                            .is_some_and(|before| before.as_ptr() == previous.as_ptr())
                    };
                    match publication.previous.as_deref().is_some_and(is_next) {
                        true => patch,
                        false => whole,
                    }
                }
                _ => subscriber.encoding,
            };
            publication.frame(encoding).clone()
        };
        let frames: Vec<Bytes> = collected
            .iter()
            .filter(wants)
            .map(&mut frame)
            .filter(|frame| !frame.is_empty())
            .collect();
        let bytes = match frames.as_slice() {
            [frame] => frame.clone(),
            several => {
                let mut joined = BytesMut::with_capacity(several.iter().map(Bytes::len).sum());
                several.iter().for_each(|frame| joined.extend_from_slice(frame));
                joined.freeze()
            }
        };
        Self {
            bytes,
            publications: frames.len() as u64,
            has_base,
        }
    }
}
