//! What the gateway tells a client, in no dialect's words.

use crate::{Close, Publication};

/// One thing a client is told.
#[derive(Debug)]
pub enum Event<'a> {
    /// Somebody published in a channel that the client subscribed to.
    Publication(&'a Publication),
    /// The connection ends, and why.
    Closing(Close),
}
