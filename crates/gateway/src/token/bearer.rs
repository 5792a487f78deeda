//! What a token says for one channel, given by whoever has no other way to say anything.

use std::time::SystemTime;

use bytes::Bytes;
use protocol::Channel;

use super::{Origin, TokenError, Verifier};
use crate::grant::Grant;

/// Who a client is, and whether it may subscribe to its channel.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bearer {
    /// Who it is; "" is nobody in particular.
    pub(crate) user: String,
    /// When it has to come with another token; `None` is never. Later than now.
    pub(crate) expires: Option<SystemTime>,
    /// What others may see of the client.
    pub(crate) info: Option<Bytes>,
    /// What comes with the subscription; `None`: the token says who the client is, and nothing of the channel.
    pub(crate) grant: Option<Grant>,
    /// Which token it was.
    pub(crate) origin: Origin,
}

impl Verifier {
    /// Checks a token that a client without commands comes with to `channel`: one for a subscription to it, or one for a connection.
    pub(crate) fn bearer(&self, token: &str, channel: &Channel, now: SystemTime) -> Result<Bearer, TokenError> {
        let claims = self.signed(token)?;
        if !claims.has("channel") {
            let mut claims = self.connection(token, now)?;
            return Ok(Bearer {
                user: claims.user,
                expires: claims.expires,
                info: claims.info,
                grant: claims.channels.remove(channel),
                origin: claims.origin,
            });
        }
        let user: String = claims.read("sub")?.unwrap_or_default();
        let claims = self.subscription(token, &user, "", channel, now)?;
        Ok(Bearer {
            user,
            expires: claims.expires,
            info: None,
            grant: Some(claims.grant),
            origin: claims.origin,
        })
    }
}
