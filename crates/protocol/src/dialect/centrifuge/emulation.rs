//! Commands that come apart from the connection that they are for: it is the body of an HTTP response, and they are bodies of requests.

use bytes::Bytes;
use prost::Message as _;
use serde::Deserialize;

use super::{Format, wire};
use crate::DecodeError;
use crate::frame::{Kind, Message};

/// Commands, and whose they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emulation {
    /// Names the connection; known to its client only.
    pub session: String,
    /// The process that has the connection.
    pub node: String,
    /// The commands, as a frame would bring them.
    pub message: Message,
}

impl Emulation {
    /// Reads the body of a request.
    pub fn decode(format: Format, body: &[u8]) -> Result<Self, DecodeError> {
        #[derive(Deserialize)]
        struct Json {
            session: String,
            node: String,
            data: String,
        }
        let malformed = || DecodeError::Malformed("not commands for a connection");
        Ok(match format {
            Format::Json => {
                let Json { session, node, data } = match body.trim_ascii_start().first() {
                    Some(b'{') => serde_json::from_slice(body).map_err(|_| malformed())?,
                    // serde would take an array for a struct.
                    _ => return Err(malformed()),
                };
                Self {
                    session,
                    node,
                    message: message(Kind::Text, data.into()),
                }
            }
            Format::Protobuf => {
                let wire::EmulationRequest { node, session, data } =
                    wire::EmulationRequest::decode(body).map_err(|_| malformed())?;
                Self {
                    session,
                    node,
                    message: message(Kind::Binary, data),
                }
            }
        })
    }
}

fn message(kind: Kind, data: Bytes) -> Message {
    Message { kind, data }
}
