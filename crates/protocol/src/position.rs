//! How far somebody has read a channel.

/// A place in what was published in a channel, as clients know it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamPosition {
    /// Which life of the channel's history; empty when none was known.
    pub epoch: String,
    /// How many publications of that life are before and at this place.
    pub offset: u64,
}
