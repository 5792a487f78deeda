//! Any message to the raw dialect. What is text is also checked against serde_json.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use protocol::frame::{Kind, Message};
use protocol::{Channel, Command, Dialect};

#[path = "../../tests/checks/json.rs"]
mod checks;

fuzz_target!(|input: &[u8]| {
    let channel = Channel::parse("news").expect("valid");
    let dialect = Dialect::Raw {
        channel: channel.clone(),
    };
    let message = Message {
        kind: Kind::Binary,
        data: Bytes::copy_from_slice(input),
    };
    if let Some(Ok(request)) = dialect.decode(message, 512).next() {
        let Ok(Command::Publish { channel: to, data }) = request.command else {
            panic!("not a publication")
        };
        assert_eq!(to, channel);
        assert!(!data.is_empty() && data.len() <= input.len());
    }
    if let Ok(text) = std::str::from_utf8(input) {
        checks::text(text);
    }
});
