//! Why the gateway ends a connection: every reason, with its code and text in each dialect, in one table.

use crate::reason::ApplicationReason;

/// Why the gateway closes a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Close {
    /// The client closed first; its code is answered with the same.
    Answer {
        /// The client's code; `None` when it gave none.
        code: Option<u16>,
    },
    /// This process is leaving; the client finds another one by connecting again.
    Shutdown,
    /// The client reads slower than its channels speak, and its outbox is full.
    SlowConsumer,
    /// A frame broke RFC 6455.
    Protocol,
    /// A text message or close reason was not UTF-8.
    InvalidUtf8,
    /// A frame or message was announced that is larger than the limit.
    TooLarge,
    /// A rule was broken: too many fragments, too many messages.
    Policy,
    /// The gateway failed while it handled this connection.
    Internal,
    /// The client's token is not one of ours.
    InvalidToken,
    /// What the client sent is not of its dialect, or does not belong there.
    BadRequest,
    /// The client has not said in time who it is.
    Stale,
    /// The connection was to last so long and was not refreshed.
    Expired,
    /// A subscription that the server had made was to last so long and was not refreshed.
    SubscriptionExpired,
    /// The application wanted it.
    ByServer,
    /// The application wanted it and says why. Clients of the Centrifuge protocol come back after a code below 3500 or from 4000 to 4499.
    Application(ApplicationReason<3000, 4999>),
    /// Another process has more room for it; the client finds one by connecting again.
    Reconnect,
    /// What the client knows is no longer true: it has to come back with a new token, and without its positions.
    StateInvalidated,
    /// The client has made too many mistakes.
    TooManyErrors,
    /// The user has too many connections.
    ConnectionLimit,
    /// The server would have to subscribe the client to too many channels.
    ChannelLimit,
    /// Publications may have been lost; the client recovers them by connecting again.
    InsufficientState,
    /// A ping was not answered.
    NoPong,
    /// The client may not be here.
    PermissionDenied,
    /// The client asked for something that it cannot be told is turned off.
    NotAvailable,
}

impl Close {
    /// The close code and reason of plain WebSocket (RFC 6455, section 7.4; 1013 by the IANA registry). `None` is an empty Close.
    pub fn websocket(&self) -> Option<(u16, &str)> {
        Some(match self {
            Self::Answer { code } => ((*code)?, ""),
            Self::Application(reason) => (reason.code(), reason.text()),
            Self::Shutdown => (1001, "shutdown"),
            Self::Protocol => (1002, "protocol error"),
            Self::InvalidUtf8 => (1007, "invalid UTF-8"),
            Self::Policy => (1008, "policy violation"),
            Self::TooLarge => (1009, "message too large"),
            Self::Internal => (1011, "internal error"),
            Self::SlowConsumer => (1013, "slow consumer"),
            Self::InvalidToken
            | Self::BadRequest
            | Self::Stale
            | Self::ByServer
            | Self::ConnectionLimit
            | Self::ChannelLimit
            | Self::PermissionDenied
            | Self::NotAvailable
            | Self::TooManyErrors => (1008, "policy violation"),
            Self::Expired
            | Self::SubscriptionExpired
            | Self::InsufficientState
            | Self::Reconnect
            | Self::StateInvalidated
            | Self::NoPong => (1001, "come back"),
        })
    }

    /// The close code and reason of the Centrifuge protocol: clients come back after one below 3500, and give up after another. `None` is an
    /// empty Close. No reason is empty or a JSON text, because clients would read something else into it.
    pub fn centrifuge(&self) -> Option<(u16, &str)> {
        Some(match self {
            Self::Answer { code } => ((*code)?, ""),
            Self::Application(reason) => (reason.code(), reason.text()),
            Self::Protocol => (1002, "protocol error"),
            Self::InvalidUtf8 => (1007, "invalid UTF-8"),
            Self::Shutdown => (3001, "shutdown"),
            Self::Internal => (3004, "internal server error"),
            Self::Expired => (3005, "connection expired"),
            Self::SubscriptionExpired => (3006, "subscription expired"),
            Self::SlowConsumer => (3008, "slow"),
            Self::InsufficientState => (3010, "insufficient state"),
            Self::Reconnect => (3011, "force reconnect"),
            Self::NoPong => (3012, "no pong"),
            Self::Policy => (3013, "too many requests"),
            Self::StateInvalidated => (3014, "state invalidated"),
            Self::InvalidToken => (3500, "invalid token"),
            // Of 1009 some clients make an end for good, without a word about why.
            Self::TooLarge => (3501, "message too large"),
            Self::BadRequest => (3501, "bad request"),
            Self::Stale => (3502, "stale"),
            Self::ByServer => (3503, "force disconnect"),
            Self::ConnectionLimit => (3504, "connection limit"),
            Self::ChannelLimit => (3505, "channel limit"),
            Self::PermissionDenied => (3507, "permission denied"),
            Self::NotAvailable => (3508, "not available"),
            Self::TooManyErrors => (3509, "too many errors"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_is_quoted() {
        let spam = Close::Application(ApplicationReason::new(4500, "spam").expect("valid"));
        assert_eq!(spam.centrifuge(), Some((4500, "spam")));
        assert_eq!(spam.websocket(), Some((4500, "spam")));
    }
}
