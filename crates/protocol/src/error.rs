//! Why a command was not carried out: every cause, with its code and text, in one table.

/// Why a command was not carried out. The connection stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The gateway, or something it needs, failed; the same command may succeed later.
    #[error("internal server error")]
    Internal,
    /// The client has not said who it is.
    #[error("unauthorized")]
    Unauthorized,
    /// No rule knows the channel.
    #[error("unknown channel")]
    UnknownChannel,
    /// A rule forbids it.
    #[error("permission denied")]
    PermissionDenied,
    /// No such method.
    #[error("method not found")]
    MethodNotFound,
    /// The connection has a subscription to the channel, or is about to.
    #[error("already subscribed")]
    AlreadySubscribed,
    /// More than the client may have.
    #[error("limit exceeded")]
    LimitExceeded,
    /// The command makes no sense.
    #[error("bad request")]
    BadRequest,
    /// It is turned off, here or in this channel.
    #[error("not available")]
    NotAvailable,
    /// The token is too old; a new one helps.
    #[error("token expired")]
    TokenExpired,
    /// What was granted is over.
    #[error("expired")]
    Expired,
    /// More than the client may ask for at a time; the same command may succeed later.
    #[error("too many requests")]
    TooManyRequests,
    /// What was missed is no longer known.
    #[error("unrecoverable position")]
    UnrecoverablePosition,
    /// The application's own.
    #[error("{message}")]
    Application {
        /// From 1 to 1999; its own ones from 400.
        code: u32,
        /// What clients are told.
        message: String,
        /// The same command may succeed later.
        is_temporary: bool,
    },
}

impl CommandError {
    /// The number that clients know it by.
    pub fn code(&self) -> u32 {
        match self {
            Self::Internal => 100,
            Self::Unauthorized => 101,
            Self::UnknownChannel => 102,
            Self::PermissionDenied => 103,
            Self::MethodNotFound => 104,
            Self::AlreadySubscribed => 105,
            Self::LimitExceeded => 106,
            Self::BadRequest => 107,
            Self::NotAvailable => 108,
            Self::TokenExpired => 109,
            Self::Expired => 110,
            Self::TooManyRequests => 111,
            Self::UnrecoverablePosition => 112,
            Self::Application { code, .. } => *code,
        }
    }

    /// Whether the same command may succeed later, so that a client tries again.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Internal | Self::TooManyRequests => true,
            Self::Application { is_temporary, .. } => *is_temporary,
            _ => false,
        }
    }
}
