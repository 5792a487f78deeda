//! Who a client is, as other clients see it.

use bytes::Bytes;

/// One client in a channel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientInfo {
    /// The user behind it; empty when nobody has said who it is.
    pub user: String,
    /// The connection's id, unique among all processes.
    pub client: String,
    /// What the application says of the connection; JSON text, may be empty.
    pub connection: Bytes,
    /// What the application says of the connection in this channel; JSON text, may be empty.
    pub channel: Bytes,
}

impl ClientInfo {
    /// About the bytes that it takes.
    pub fn size(&self) -> usize {
        let texts = [
            self.user.len(),
            self.client.len(),
            self.connection.len(),
            self.channel.len(),
        ];
        texts.into_iter().fold(0, usize::saturating_add)
    }
}
