//! By what a lane knows its connections.

/// A socket's index on its lane. Taken out of the hub before the socket is removed, so it never names a successor.
pub(crate) type SocketKey = usize;

/// Names a connection of a lane, also after its place was taken by another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnectionId {
    pub(crate) key: SocketKey,
    pub(crate) generation: u32,
}
