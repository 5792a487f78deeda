//! What holds for any message to the Centrifuge dialect; shared by properties and fuzzing.

use bytes::Bytes;
use protocol::dialect::{Carrier, Format};
use protocol::frame::{Kind, Message};
use protocol::{Command, Dialect};

/// Decodes `bytes` as a message of either encoding. What comes out is no larger than what went in, and nothing follows an error.
pub(crate) fn message(bytes: &[u8]) {
    for format in [Format::Json, Format::Protobuf] {
        let data = Bytes::copy_from_slice(bytes);
        let kind = Kind::Binary;
        let mut has_ended = false;
        let mut commands = 0;
        for request in Dialect::Centrifuge(format, Carrier::Frames).decode(Message { kind, data }, 64) {
            assert!(!has_ended, "{bytes:?}");
            has_ended = request.is_err();
            commands += 1;
            let command = request.ok().and_then(|request| request.command.ok());
            if let Some(Command::Publish { data, .. } | Command::Rpc { data, .. } | Command::Send { data }) = command {
                assert!(data.len() <= bytes.len());
                assert!(data.is_empty() || serde_json::from_slice::<&serde_json::value::RawValue>(&data).is_ok());
                assert!(!data.contains(&b'\n'));
            }
        }
        assert!(commands > 0 && commands <= bytes.len().max(1), "{bytes:?}");
    }
}
