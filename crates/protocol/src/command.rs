//! What a client asks of the gateway, in no dialect's words.

use bytes::Bytes;

use crate::Channel;

/// One request of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Hear what is published in `channel` from now on.
    Subscribe {
        /// The channel to join.
        channel: Channel,
    },
    /// Send `data` to every subscriber of `channel`.
    Publish {
        /// Where to.
        channel: Channel,
        /// What; already in the form that goes on the bus.
        data: Bytes,
    },
}
