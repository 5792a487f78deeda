//! What a lane is given with a new socket.

use actix_web::http::header::HeaderValue;
use protocol::frame::Message;

use super::interest::Interest;
use crate::admission::Admitted;
use crate::client::Client;

/// The right to be connected: everything a lane needs but the socket.
pub(crate) struct Pass {
    pub(crate) lane: usize,
    pub(crate) client: Client,
    pub(crate) admitted: Admitted,
    /// The channel that opening the connection subscribes to.
    pub(crate) interest: Option<Interest>,
    /// What the client has said with its request.
    pub(crate) first: Option<Message>,
    /// The subprotocol to answer with.
    pub(crate) protocol: Option<HeaderValue>,
}
