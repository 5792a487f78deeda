//! Frames: decode after encode gives the same in any chunking, and arbitrary bytes never confuse parser or guard.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use protocol::frame::{self, Item, Kind, Limits, Message, Role};

use crate::checks;
use crate::checks::frame::{Parsed, chunks, parse};

const LIMITS: Limits = Limits {
    message_size: 64 * 1024,
    fragments: 16,
};

proptest! {
    #[test]
    fn what_was_sent_is_found(sent in vec(sent(), 0..6), mask: [u8; 4], sizes in vec(any::<u8>(), 0..4)) {
        for role in [Role::Server, Role::Client] {
            let stream: Vec<u8> = sent.iter().flat_map(|sent| sent.stream(role, mask)).collect();
            let items: Vec<Item> = sent.iter().flat_map(Sent::items).collect();
            let parsed = parse(role, &LIMITS, chunks(&stream, &sizes));
            prop_assert_eq!(parsed, Parsed { items, error: None, is_partial: false });
        }
    }

    #[test]
    fn any_stream(stream in vec(piece(), 0..8), server: bool, small: bool, sizes in vec(any::<u8>(), 1..4)) {
        let role = if server { Role::Server } else { Role::Client };
        let limits = if small { Limits { message_size: 40, fragments: 2 } } else { LIMITS };
        checks::frame::stream(role, &limits, &stream.concat(), &sizes);
    }
}

/// A message that was sent in fragments, each followed by a ping if it has one.
#[derive(Debug, Clone)]
struct Sent {
    kind: Kind,
    fragments: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Sent {
    fn stream(&self, role: Role, mask: [u8; 4]) -> Vec<u8> {
        let last = self.fragments.len() - 1;
        let mut stream = Vec::new();
        for (index, (data, ping)) in self.fragments.iter().enumerate() {
            let opcode = match self.kind {
                _ if index > 0 => 0,
                Kind::Text => 1,
                Kind::Binary => 2,
            };
            let mut bytes = match role {
                Role::Client => frame::binary(data).to_vec(),
                Role::Server => frame::client::binary(data, mask).to_vec(),
            };
            bytes[0] = if index == last { 0x80 | opcode } else { opcode };
            stream.extend(bytes);
            if let Some(ping) = ping {
                stream.extend(match role {
                    Role::Client => frame::ping(ping),
                    Role::Server => frame::client::ping(ping, mask),
                });
            }
        }
        stream
    }

    fn items(&self) -> Vec<Item> {
        let pings = self
            .fragments
            .iter()
            .map(|(_, ping)| ping.clone().map(|ping| Item::Ping(ping.into())));
        let mut items: Vec<Option<Item>> = pings.collect();
        let data = Bytes::from(
            self.fragments
                .iter()
                .flat_map(|(data, _)| data.clone())
                .collect::<Vec<u8>>(),
        );
        items.insert(items.len() - 1, Some(Item::Message(Message { kind: self.kind, data })));
        items.into_iter().flatten().collect()
    }
}

fn sent() -> impl Strategy<Value = Sent> {
    let text = ("\\PC{0,300}", Just(Kind::Text)).prop_map(|(text, kind)| (text.into_bytes(), kind));
    let binary = (vec(any::<u8>(), 0..700), Just(Kind::Binary));
    let pings = vec(proptest::option::of(vec(any::<u8>(), 0..126)), 1..5);
    (prop_oneof![text, binary], pings).prop_map(|((data, kind), pings)| {
        // Cut without regard to characters.
        let size = data.len().div_ceil(pings.len()).max(1);
        let mut parts = data.chunks(size);
        let fragments = pings
            .into_iter()
            .map(|ping| (parts.next().unwrap_or_default().to_vec(), ping))
            .collect();
        Sent { kind, fragments }
    })
}

/// Part of a stream: a frame with a good header, mostly, or just bytes.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let first =
        prop_oneof![8 => proptest::sample::select(b"\x81\x82\x01\x02\x80\x00\x89\x8a\x88".to_vec()), 1 => any::<u8>()];
    let payload = prop_oneof!["\\PC{0,40}".prop_map(String::into_bytes), vec(any::<u8>(), 0..150)];
    let framed = (first, payload, any::<bool>(), any::<[u8; 4]>()).prop_map(|(first, payload, masked, mask)| {
        let frame = if masked {
            frame::client::binary(&payload, mask)
        } else {
            frame::binary(&payload)
        };
        let mut bytes = frame.to_vec();
        bytes[0] = first;
        bytes
    });
    prop_oneof![6 => framed, 1 => vec(any::<u8>(), 0..20)]
}
