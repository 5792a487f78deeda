//! What clients talk in, and what their commands were answered with: the closed sets that metrics count by.

use protocol::event::Answer;
use protocol::{CommandError, Encoding};

/// What a client talks in, whatever carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tongue {
    /// Payloads alone.
    Raw,
    /// The Centrifuge protocol, in JSON.
    Json,
    /// The same in Protobuf.
    Protobuf,
    /// The same, for clients that only hear.
    OneWay,
}

impl Tongue {
    /// Every tongue, in the order of their numbers.
    pub(crate) const ALL: [Self; 4] = [Self::Raw, Self::Json, Self::Protobuf, Self::OneWay];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Json => "centrifuge_json",
            Self::Protobuf => "centrifuge_protobuf",
            Self::OneWay => "centrifuge_one_way",
        }
    }
}

impl From<Encoding> for Tongue {
    fn from(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Raw => Self::Raw,
            Encoding::CentrifugeJson
            | Encoding::CentrifugeJsonWhole
            | Encoding::CentrifugeJsonPatch
            | Encoding::CentrifugeLines
            | Encoding::CentrifugeEvents => Self::Json,
            Encoding::CentrifugeProtobuf | Encoding::CentrifugeProtobufPatch | Encoding::CentrifugeStream => {
                Self::Protobuf
            }
            Encoding::OneWay | Encoding::OneWayLines | Encoding::OneWayEvents => Self::OneWay,
        }
    }
}

/// Commands that can be carried out, in the order of their numbers.
pub(crate) const COMMANDS: [&str; 10] = [
    "connect",
    "subscribe",
    "unsubscribe",
    "publish",
    "presence",
    "presence_stats",
    "history",
    "rpc",
    "refresh",
    "sub_refresh",
];

/// The number of the command that is answered so.
pub(super) fn command(answer: &Answer) -> usize {
    match answer {
        Answer::Connected(_) => 0,
        Answer::Subscribed(_) => 1,
        Answer::Unsubscribed => 2,
        Answer::Published => 3,
        Answer::Presence(_) => 4,
        Answer::PresenceStats { .. } => 5,
        Answer::History { .. } => 6,
        Answer::Rpc { .. } => 7,
        Answer::Refreshed { .. } => 8,
        Answer::SubRefreshed { .. } => 9,
    }
}

/// Errors of commands, in the order of their numbers; those of applications are one.
pub(crate) const ERRORS: [&str; 14] = [
    "100",
    "101",
    "102",
    "103",
    "104",
    "105",
    "106",
    "107",
    "108",
    "109",
    "110",
    "111",
    "112",
    "application",
];

/// The number of an error.
pub(super) fn error(error: &CommandError) -> usize {
    let known = || usize::try_from(error.code().checked_sub(100)?).ok();
    match error {
        CommandError::Application { .. } => ERRORS.len() - 1,
        _ => known().filter(|number| *number < ERRORS.len()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_counted_by_their_codes() {
        assert_eq!(ERRORS[error(&CommandError::Internal)], "100");
        assert_eq!(ERRORS[error(&CommandError::UnrecoverablePosition)], "112");
        let application = CommandError::Application {
            code: 103,
            message: String::new(),
            is_temporary: false,
        };
        assert_eq!(ERRORS[error(&application)], "application");
        assert_eq!(COMMANDS[command(&Answer::Published)], "publish");
    }
}
