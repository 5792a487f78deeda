//! What stands on Redis for one member, beside its client's id.
//!
//! A version, 1, and then three texts after their length (4, big-endian): the user, what is said of the connection, and what is said of it in
//! the channel. The script that counts users reads the first of them.

use bytes::{BufMut, Bytes, BytesMut};
use protocol::ClientInfo;

use crate::envelope::{put_text, take_text};

const VERSION: u8 = 1;

pub(crate) fn encode(client: &ClientInfo) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(VERSION);
    put_text(&mut bytes, client.user.as_bytes());
    put_text(&mut bytes, &client.connection);
    put_text(&mut bytes, &client.channel);
    bytes.freeze()
}

/// The member that `value` stands for; never panics, whatever the bytes.
pub(crate) fn decode(client: &[u8], value: &[u8]) -> Option<ClientInfo> {
    let mut rest = value.strip_prefix(&[VERSION])?;
    let mut text = || take_text(&mut rest).ok();
    let member = ClientInfo {
        user: text()?.to_owned(),
        client: std::str::from_utf8(client).ok()?.to_owned(),
        connection: Bytes::copy_from_slice(text()?.as_bytes()),
        channel: Bytes::copy_from_slice(text()?.as_bytes()),
    };
    rest.is_empty().then_some(member)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn recorded_bytes() {
        let member = ClientInfo {
            user: "u".into(),
            client: "c1".into(),
            connection: Bytes::from_static(b"{}"),
            channel: Bytes::new(),
        };
        let recorded = b"\x01\0\0\0\x01u\0\0\0\x02{}\0\0\0\0";
        assert_eq!(encode(&member)[..], recorded[..]);
        assert_eq!(decode(b"c1", recorded), Some(member));
        for end in 0..recorded.len() {
            assert_eq!(decode(b"c1", &recorded[..end]), None, "{end}");
        }
        assert_eq!(decode(b"c1", &[&recorded[..], b"x"].concat()), None);
        assert_eq!(decode(b"\xff", recorded), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Some(member) = decode(b"c", &bytes) {
                prop_assert_eq!(&encode(&member)[..], &bytes[..]);
            }
        }
    }
}
