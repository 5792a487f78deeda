//! What a lane wants of the node for one of its connections, and who gets the answer.

use std::time::Duration;

use bus::Outgoing;
use protocol::{Channel, ClientInfo};
use tokio::sync::oneshot;

use crate::backend::Call;
use crate::lane::id::ConnectionId;

/// Something that only the node can do.
#[derive(Debug)]
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
    /// Let everybody know that a client has come to a channel, or has left it.
    Attend(Attendance),
    /// Say so when everything that was asked for before is done.
    Settle(oneshot::Sender<()>),
    /// Ask the backend, and bring `from` its word; the request is the number of the question.
    Consult {
        /// What.
        call: Box<Call>,
        /// Who asks.
        from: Asker,
    },
    /// Look who is in a channel, and answer `from`.
    Read {
        /// Which channel.
        channel: Channel,
        /// What about it.
        what: Reading,
        /// Who asks.
        from: Asker,
    },
}

/// A client comes to a channel, or leaves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attendance {
    pub(crate) channel: Channel,
    /// Who it is, as others in the channel see it.
    pub(crate) client: Box<ClientInfo>,
    /// It comes; otherwise it leaves.
    pub(crate) comes: bool,
    /// It is counted as present.
    pub(crate) is_present: bool,
    /// Subscribers who want to hear of it are told.
    pub(crate) is_announced: bool,
}

/// A question about a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Who is in it.
    Members,
    /// How many are in it.
    Count,
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
            Self::Subscribe { channel, .. } | Self::Read { channel, .. } => channel.as_str().len(),
            Self::Settle(_) => 0,
            Self::Consult { .. } => size_of::<Call>(),
            Self::Attend(attendance) => attendance.client.connection.len() + attendance.client.channel.len(),
        }
    }
}
