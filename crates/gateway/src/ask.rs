//! What a lane wants of the node for one of its connections, and who gets the answer.

use std::time::Duration;

use bus::Outgoing;
use protocol::Channel;

use crate::connections::ConnectionId;

/// Something that only the node can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Publish this; `from` wants to know what came of it.
    Publish {
        /// What, and where.
        outgoing: Outgoing,
        /// `None`: nobody.
        from: Option<Asker>,
    },
    /// Listen to a channel for `from`, who is answered when everything published there is heard.
    Subscribe {
        /// Which channel.
        channel: Channel,
        /// How long it collects when it is busy, if not as usual.
        window: Option<Duration>,
        /// Who.
        from: Asker,
    },
}

/// One request of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asker {
    pub(crate) lane: usize,
    pub(crate) connection: ConnectionId,
    /// The id that the client gave the request.
    pub(crate) request: u32,
}

impl Ask {
    /// The bytes that it takes in a queue, beyond its own size.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Publish { outgoing, .. } => {
                let attributes = outgoing.attributes.as_ref().map_or(0, |attributes| attributes.size());
                outgoing.data.len() + attributes
            }
            Self::Subscribe { channel, .. } => channel.as_str().len(),
        }
    }
}
