//! Publications for subscribers that get differences.
//!
//! In JSON every payload is a string then: the text itself, or the patch. Invariant: `delta` stands at patches only.

use bytes::Bytes;
use prost::Message as _;

use super::encode::{carry, reply};
use crate::dialect::{Carrier, Encoding};
use crate::{Event, frame};

pub(crate) fn encode(encoding: Encoding, event: &Event<'_>) -> Bytes {
    let mut reply = reply(event);
    if let (Event::Publication(publication), Some(told)) =
        (event, reply.push.as_mut().and_then(|push| push.r#pub.as_mut()))
    {
        let patch = match encoding {
            Encoding::CentrifugeJsonPatch => publication.patch().filter(|patch| std::str::from_utf8(patch).is_ok()),
            Encoding::CentrifugeProtobufPatch => publication.patch(),
            _ => None,
        };
        told.delta = patch.is_some();
        let data = patch.unwrap_or(&publication.data);
        told.data = match encoding {
            Encoding::CentrifugeProtobufPatch => data.clone(),
            // A text is never refused.
            _ => serde_json::to_vec(&String::from_utf8_lossy(data))
                .unwrap_or_default()
                .into(),
        };
    }
    match encoding {
        Encoding::CentrifugeProtobufPatch => frame::binary(&reply.encode_length_delimited_to_vec()),
        // Nothing in the structs can fail to be JSON: keys are strings, and payloads are checked.
        _ => carry(
            Carrier::Frames,
            &serde_json::to_vec(&reply).unwrap_or_else(|_| b"{}".to_vec()),
        ),
    }
}
