//! Plain WebSocket: every message is a JSON text for the connection's one channel, every publication comes as one text frame.
//!
//! Nothing is wrapped, answered or confirmed, so any WebSocket client is a client.

use bytes::Bytes;

use crate::frame::{self, Kind, Message};
use crate::{Channel, Command, DecodeError, Event, PublicationKind, Request, json};

pub(super) fn encode(event: &Event<'_>) -> Bytes {
    match event {
        Event::Publication(publication) => match publication.kind {
            PublicationKind::Publication => frame::text(&publication.data),
            PublicationKind::Join | PublicationKind::Leave => Bytes::new(),
        },
        Event::Ping => frame::ping(b""),
        Event::Closing(close) => frame::close(close.websocket()),
        Event::Subscribed { .. } | Event::Unsubscribed { .. } | Event::Refreshed { .. } | Event::Answer { .. } => {
            Bytes::new()
        }
    }
}

pub(super) fn decode(channel: &Channel, message: Message, max_depth: usize) -> Result<Request, DecodeError> {
    // A text message was checked as it arrived; a binary one counts as text if it could have been.
    if message.kind == Kind::Binary && std::str::from_utf8(&message.data).is_err() {
        return Err(DecodeError::Binary);
    }
    let data = json::compact(message.data, max_depth)?;
    Ok(Request {
        id: 0,
        command: Ok(Command::Publish {
            channel: channel.clone(),
            data,
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Publication;

    fn decode_text(data: &[u8]) -> Result<String, DecodeError> {
        let channel = Channel::parse("news").expect("valid");
        let message = Message {
            kind: Kind::Text,
            data: data.to_vec().into(),
        };
        decode(&channel, message, 512).map(|request| match request.command {
            Ok(Command::Publish { data, .. }) => String::from_utf8(data.to_vec()).expect("UTF-8 in, UTF-8 out"),
            other => panic!("not a publication: {other:?}"),
        })
    }

    #[test]
    fn who_comes_and_goes_is_not_told() {
        let mut publication = Publication::new(Channel::parse("news").expect("valid"), Bytes::from_static(b"1"));
        assert_eq!(&encode(&Event::Publication(&publication))[..], b"\x81\x011");
        for kind in [PublicationKind::Join, PublicationKind::Leave] {
            publication.kind = kind;
            assert!(encode(&Event::Publication(&publication)).is_empty(), "{kind:?}");
        }
    }

    #[test]
    fn every_message_is_a_publication() {
        for (sent, published) in [
            (r#"{"x": 1}"#, r#"{"x":1}"#),
            ("42", "42"),
            (r#""s""#, r#""s""#),
            ("null", "null"),
            ("[]", "[]"),
            (" \t\r\n[1, 2] ", "[1,2]"),
        ] {
            assert_eq!(decode_text(sent.as_bytes()).as_deref(), Ok(published), "{sent}");
        }
    }

    #[test]
    fn what_is_not_json_is_dropped() {
        let deep = "[".repeat(5000) + &"]".repeat(5000);
        for sent in ["{bad", "", "  ", "[1,]", "\u{feff}{}", "NaN", "1 2", deep.as_str()] {
            assert!(
                matches!(decode_text(sent.as_bytes()), Err(DecodeError::Json(_))),
                "{sent}"
            );
        }
    }

    #[test]
    fn binary_counts_as_text_when_it_is_utf8() {
        let channel = Channel::parse("news").expect("valid");
        let binary = |data: &'static [u8]| Message {
            kind: Kind::Binary,
            data: Bytes::from_static(data),
        };
        assert!(decode(&channel, binary(b"{}"), 512).is_ok());
        assert_eq!(decode(&channel, binary(b"\"\xff\""), 512), Err(DecodeError::Binary));
    }
}
