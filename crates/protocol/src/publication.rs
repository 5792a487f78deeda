//! Data sent to a channel, and the frames that carry it to subscribers.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use bytes::Bytes;

use crate::{Channel, ClientInfo, Encoding, Event, delta};

/// What a publication tells subscribers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum PublicationKind {
    /// Data.
    #[default]
    Publication,
    /// That its publisher subscribed to the channel; there is no payload.
    Join,
    /// That its publisher is no longer a subscriber of the channel; there is no payload.
    Leave,
}

/// What travels with a payload, in the channels where anything does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// The client that published it; `None` when a server did.
    pub publisher: Option<ClientInfo>,
    /// What filters can ask about.
    pub tags: BTreeMap<String, String>,
}

impl Attributes {
    /// About the bytes that they take.
    pub fn size(&self) -> usize {
        let tags = self
            .tags
            .iter()
            .map(|(name, value)| name.len().saturating_add(value.len()));
        let publisher = self.publisher.iter().map(ClientInfo::size);
        tags.chain(publisher).fold(0, usize::saturating_add)
    }
}

/// So many encodings are usual: those of WebSockets.
const USUAL: usize = 3;

#[derive(Debug, Default)]
struct Others {
    frames: [OnceLock<Bytes>; Encoding::COUNT - USUAL],
    /// How the payload differs from the one before; `None` where that is not shorter.
    patch: OnceLock<Option<Bytes>>,
}

/// One publication on its way to the subscribers of one node. Shared by `Arc`: whoever asks first for an [`Encoding`] makes its
/// frame, everybody else gets the same bytes.
#[derive(Debug)]
pub struct Publication {
    /// What it tells.
    pub kind: PublicationKind,
    /// Where it was published.
    pub channel: Channel,
    /// What was published; JSON text for every dialect so far.
    pub data: Bytes,
    /// What travels with it, if anything does.
    pub attributes: Option<Box<Attributes>>,
    /// The payload of the publication before it in its channel, where subscribers may get differences and there was one.
    pub previous: Option<Box<Bytes>>,
    /// In the usual encodings. Boxed, because many a publication waits in a queue and few are told in every encoding.
    frames: [OnceLock<Box<Bytes>>; USUAL],
    /// In all others.
    others: OnceLock<Box<Others>>,
}

impl Publication {
    /// A publication of `data` in `channel`, not encoded yet.
    pub fn new(channel: Channel, data: Bytes) -> Self {
        Self {
            kind: PublicationKind::Publication,
            channel,
            data,
            attributes: None,
            previous: None,
            frames: Default::default(),
            others: OnceLock::new(),
        }
    }

    /// The whole WebSocket frame, header included, that carries this publication in `encoding`; empty if the encoding has no words for it.
    #[expect(clippy::indexing_slicing, reason = "there is a place for each encoding")]
    pub fn frame(&self, encoding: Encoding) -> &Bytes {
        let number = encoding as usize;
        let encode = || encoding.encode(&Event::Publication(self));
        match number.checked_sub(USUAL) {
            None => self.frames[number].get_or_init(|| Box::new(encode())),
            Some(number) => self.others.get_or_init(Box::default).frames[number].get_or_init(encode),
        }
    }

    /// How the payload differs from [`previous`](Self::previous), where telling that is shorter.
    pub fn patch(&self) -> Option<&Bytes> {
        let previous = self.previous.as_ref()?;
        let make = || delta::create(previous, &self.data);
        self.others.get_or_init(Box::default).patch.get_or_init(make).as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_made_once() {
        let channel = Channel::parse("news").expect("valid");
        let publication = Publication::new(channel, Bytes::from_static(b"{}"));
        let first = publication.frame(Encoding::Raw).clone();
        assert_eq!(&first[..], b"\x81\x02{}");
        assert_eq!(first.as_ptr(), publication.frame(Encoding::Raw).as_ptr());
    }
}
