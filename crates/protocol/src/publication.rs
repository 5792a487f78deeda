//! Data sent to a channel, and the frames that carry it to subscribers.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use bytes::Bytes;

use crate::{Channel, ClientInfo, Encoding, Event};

/// One publication on its way to the subscribers of one node. Shared by `Arc`: whoever asks first for an [`Encoding`] makes its
/// frame, everybody else gets the same bytes.
#[derive(Debug)]
pub struct Publication {
    /// Where it was published.
    pub channel: Channel,
    /// What was published; JSON text for every dialect so far.
    pub data: Bytes,
    /// Who published it, if a client did that others may know.
    pub info: Option<Box<ClientInfo>>,
    /// What filters can ask about.
    pub tags: BTreeMap<String, String>,
    frames: [OnceLock<Bytes>; Encoding::COUNT],
}

impl Publication {
    /// A publication of `data` in `channel`, not encoded yet.
    pub fn new(channel: Channel, data: Bytes) -> Self {
        Self {
            channel,
            data,
            info: None,
            tags: BTreeMap::new(),
            frames: Default::default(),
        }
    }

    /// The whole WebSocket frame, header included, that carries this publication in `encoding`.
    #[expect(clippy::indexing_slicing, reason = "there is a place for each encoding")]
    pub fn frame(&self, encoding: Encoding) -> &Bytes {
        self.frames[encoding as usize].get_or_init(|| encoding.encode(&Event::Publication(self)))
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
