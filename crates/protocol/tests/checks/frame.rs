//! What holds for any stream of bytes, cut into any chunks.

use protocol::frame::{self, FrameError, Guard, Item, Kind, Limits, Parser, Role};

/// What a parser made of a stream.
#[derive(Debug, PartialEq)]
pub(crate) struct Parsed {
    pub(crate) items: Vec<Item>,
    pub(crate) error: Option<FrameError>,
    pub(crate) is_partial: bool,
}

/// Parser and guard find the same in any chunking and agree with each other; what was found can be written and read again.
pub(crate) fn stream(role: Role, limits: &Limits, stream: &[u8], chunk_sizes: &[u8]) {
    let whole = parse(role, limits, [stream]);
    assert_eq!(whole, parse(role, limits, chunks(stream, chunk_sizes)));

    let refusal = guard(role, limits, [stream]);
    let in_chunks = guard(role, limits, chunks(stream, chunk_sizes));
    assert_eq!(refusal.map(|(_, error)| error), in_chunks.map(|(_, error)| error));
    match refusal {
        // What follows bad payload is not parsed any more, but guarded.
        _ if is_from_payload(whole.error) => {}
        None => assert_eq!(whole.error, None),
        Some((good, error)) => {
            assert_eq!(whole.error, Some(error));
            let before = parse(role, limits, [&stream[..good]]);
            assert_eq!(
                (before.items, before.error),
                (whole.items.clone(), None),
                "all good frames may be passed on"
            );
            assert_eq!(guard(role, limits, [&stream[..good]]), None);
        }
    }
    for item in &whole.items {
        survives_the_wire(item);
    }
}

/// Feeds the chunks to a new parser.
pub(crate) fn parse<'a>(role: Role, limits: &Limits, chunks: impl IntoIterator<Item = &'a [u8]>) -> Parsed {
    let mut parser = Parser::new(role);
    let mut items = Vec::new();
    for mut chunk in chunks {
        loop {
            match parser.next(&mut chunk, limits) {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(error) => {
                    return Parsed {
                        items,
                        error: Some(error),
                        is_partial: parser.is_partial(),
                    };
                }
            }
        }
        assert!(chunk.is_empty(), "the parser stopped before the end of its input");
    }
    Parsed {
        items,
        error: None,
        is_partial: parser.is_partial(),
    }
}

/// Cuts `stream` into chunks of `sizes` in turn, 0 meaning 1; into one chunk if there are no sizes.
pub(crate) fn chunks<'a>(mut stream: &'a [u8], sizes: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut sizes = sizes.iter().map(|&size| usize::from(size).max(1)).cycle();
    std::iter::from_fn(move || {
        let size = sizes.next().unwrap_or(usize::MAX).min(stream.len());
        let (chunk, rest) = stream.split_at(size);
        stream = rest;
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// The refusal, with how many bytes of the whole stream come before it by the guard's account.
fn guard<'a>(role: Role, limits: &Limits, chunks: impl IntoIterator<Item = &'a [u8]>) -> Option<(usize, FrameError)> {
    let mut guard = Guard::new(role);
    let mut passed = 0;
    for chunk in chunks {
        if let Err((good, error)) = guard.check(chunk, limits) {
            assert!(good < chunk.len(), "the last byte of the bad header is in this chunk");
            return Some((passed + good, error));
        }
        passed += chunk.len();
    }
    None
}

fn is_from_payload(error: Option<FrameError>) -> bool {
    matches!(
        error,
        Some(FrameError::InvalidUtf8 | FrameError::Protocol("a close code that may not be sent"))
    )
}

fn survives_the_wire(item: &Item) {
    let mask = [0x12, 0, 0xff, 0x80];
    let limits = Limits {
        message_size: usize::MAX,
        fragments: 1,
    };
    let (server, client) = match item {
        Item::Message(message) if message.kind == Kind::Text => {
            (frame::text(&message.data), frame::client::text(&message.data, mask))
        }
        Item::Message(message) => (frame::binary(&message.data), frame::client::binary(&message.data, mask)),
        Item::Ping(data) => (frame::ping(data), frame::client::ping(data, mask)),
        Item::Pong(data) => (frame::pong(data), frame::client::pong(data, mask)),
        Item::Close { code, reason } => {
            let content = code.map(|code| (code, reason.as_str()));
            (frame::close(content), frame::client::close(content, mask))
        }
    };
    for (role, bytes) in [(Role::Client, server), (Role::Server, client)] {
        let again = parse(role, &limits, [&bytes[..]]);
        assert_eq!(
            again,
            Parsed {
                items: vec![item.clone()],
                error: None,
                is_partial: false
            }
        );
    }
}
