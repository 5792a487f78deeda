//! Any bytes from Redis, whole and in pieces: the same replies, and never more held than the bounds allow.
#![no_main]

use bus::redis::resp::Reader;
use libfuzzer_sys::fuzz_target;

const MAX_BULK: usize = 64;
/// Four items within their bounds, and the line that announces them.
const MAX_HELD: usize = 5 * 4096 + 4 * (MAX_BULK + 2);

fuzz_target!(|input: &[u8]| {
    let Some((&sizes, stream)) = input.split_first_chunk::<4>() else {
        return;
    };
    let whole = read(stream, &[255; 4], false);
    assert_eq!(read(stream, &sizes, true), whole);
});

/// The replies as text, and whether the bytes are RESP to the end.
fn read(mut stream: &[u8], sizes: &[u8; 4], is_bounded: bool) -> (Vec<String>, bool) {
    let mut reader = Reader::new(MAX_BULK);
    let mut replies = Vec::new();
    for size in sizes.iter().cycle() {
        if stream.is_empty() {
            break;
        }
        let (piece, rest) = stream.split_at(usize::from(*size).clamp(1, stream.len()));
        stream = rest;
        reader.space().extend_from_slice(piece);
        loop {
            match reader.next_reply() {
                Ok(Some(reply)) => replies.push(format!("{reply:?}")),
                Ok(None) => break,
                Err(_) => return (replies, false),
            }
        }
        assert!(!is_bounded || reader.held() <= MAX_HELD);
    }
    (replies, true)
}
