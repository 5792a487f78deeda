//! Why the gateway ends a connection: every reason, with its code and text in each dialect, in one table.

/// Why the gateway closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
}

impl Close {
    /// The close code and reason of plain WebSocket (RFC 6455, section 7.4; 1013 by the IANA registry). `None` is an empty Close.
    pub fn websocket(self) -> Option<(u16, &'static str)> {
        Some(match self {
            Self::Answer { code } => (code?, ""),
            Self::Shutdown => (1001, "shutdown"),
            Self::Protocol => (1002, "protocol error"),
            Self::InvalidUtf8 => (1007, "invalid UTF-8"),
            Self::Policy => (1008, "policy violation"),
            Self::TooLarge => (1009, "message too large"),
            Self::Internal => (1011, "internal error"),
            Self::SlowConsumer => (1013, "slow consumer"),
        })
    }
}
