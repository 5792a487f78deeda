//! What one client may do and has done: takes a message, answers with what to do about it.
//!
//! No I/O and no clock of its own; the lane that owns the socket acts on the answer. Nothing here depends on the dialect but the decoding.

use std::time::Instant;

use bus::Outgoing;
use bytes::Bytes;
use protocol::frame::{self, Kind, Message};
use protocol::{Close, Command, Dialect, Encoding, Request};

use crate::stats::Dropped;

/// Who is behind a connection, and how much of its allowance is used.
pub(crate) struct Client {
    dialect: Dialect,
    mode: Mode,
    allowance: Option<Box<Allowance>>,
    json_depth: usize,
}

/// What becomes of a client's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// They are published.
    Publishes,
    /// They are dropped: the client only hears.
    Listens,
    /// They come back to the client and to nobody else, for conformance suites.
    Echoes,
    /// They panic, to see what becomes of the others.
    #[cfg(test)]
    Panics,
}

/// What to do about a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Give it to the bus.
    Publish(Outgoing),
    /// Send these frames to the client.
    Reply(Bytes),
    /// Drop it, and count why; the connection stays.
    Drop(Dropped),
    /// Close the connection.
    Close(Close),
}

/// How many messages a client may send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    /// A second, on average.
    pub(crate) per_second: u32,
    /// At once, after a pause.
    pub(crate) burst: u32,
    /// Whether a message too many closes the connection, or is only dropped.
    pub(crate) closes: bool,
}

/// A token bucket.
struct Allowance {
    rate: Rate,
    left: f64,
    at: Instant,
}

impl Client {
    /// A client that has just been admitted.
    pub(crate) fn new(dialect: Dialect, mode: Mode, rate: Option<Rate>, json_depth: usize, now: Instant) -> Self {
        let allowance = rate.map(|rate| {
            Box::new(Allowance {
                rate,
                left: f64::from(rate.burst),
                at: now,
            })
        });
        Self {
            dialect,
            mode,
            allowance,
            json_depth,
        }
    }

    /// How its events are spelled.
    pub(crate) fn encoding(&self) -> Encoding {
        self.dialect.encoding()
    }

    /// What to do about `message`, received at `now`.
    pub(crate) fn receive(&mut self, message: Message, now: Instant) -> Action {
        if let Some(allowance) = &mut self.allowance
            && !allowance.take(now)
        {
            return match allowance.rate.closes {
                true => Action::Close(Close::Policy),
                false => Action::Drop(Dropped::RateLimit),
            };
        }
        #[cfg(test)]
        assert!(self.mode != Mode::Panics, "a client that panics");
        if self.mode == Mode::Echoes {
            return Action::Reply(match message.kind {
                Kind::Text => frame::text(&message.data),
                Kind::Binary => frame::binary(&message.data),
            });
        }
        match self.dialect.decode(message, self.json_depth).next() {
            Some(Ok(Request {
                command: Ok(Command::Publish { channel, data }),
                ..
            })) if self.mode == Mode::Publishes => Action::Publish(Outgoing { channel, data }),
            Some(Ok(_)) => Action::Drop(Dropped::NotAllowed),
            Some(Err(error)) => {
                tracing::debug!(%error, "dropped a message");
                Action::Drop(Dropped::Malformed)
            }
            None => Action::Drop(Dropped::Malformed),
        }
    }
}

impl Allowance {
    fn take(&mut self, now: Instant) -> bool {
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * f64::from(self.rate.per_second);
        self.left = (self.left + earned).min(f64::from(self.rate.burst));
        self.at = now;
        let may = self.left >= 1.0;
        if may {
            self.left -= 1.0;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use protocol::Channel;

    use super::*;

    fn client(mode: Mode, rate: Option<Rate>, now: Instant) -> Client {
        let channel = Channel::parse("news").expect("valid");
        Client::new(Dialect::Raw { channel }, mode, rate, 512, now)
    }

    fn text(data: &'static str) -> Message {
        Message {
            kind: Kind::Text,
            data: data.into(),
        }
    }

    #[test]
    fn publishes_what_it_may() {
        let now = Instant::now();
        let channel = Channel::parse("news").expect("valid");
        let publish = Action::Publish(Outgoing {
            channel,
            data: "{\"x\":1}".into(),
        });
        assert_eq!(
            client(Mode::Publishes, None, now).receive(text(r#"{"x": 1}"#), now),
            publish
        );
        assert_eq!(
            client(Mode::Listens, None, now).receive(text("1"), now),
            Action::Drop(Dropped::NotAllowed)
        );
        assert_eq!(
            client(Mode::Publishes, None, now).receive(text("{bad"), now),
            Action::Drop(Dropped::Malformed)
        );
        assert_eq!(
            client(Mode::Echoes, None, now).receive(text("{bad"), now),
            Action::Reply(frame::text(b"{bad"))
        );
    }

    #[test]
    fn an_allowance_is_used_up_and_earned_back() {
        let start = Instant::now();
        let rate = Rate {
            per_second: 10,
            burst: 3,
            closes: false,
        };
        let mut client = client(Mode::Publishes, Some(rate), start);
        let mut allowed = |after| {
            !matches!(
                client.receive(text("1"), start + Duration::from_millis(after)),
                Action::Drop(_)
            )
        };
        let pattern: Vec<bool> = [0, 0, 0, 0, 50, 100, 100, 5000, 5000, 5000, 5000]
            .into_iter()
            .map(&mut allowed)
            .collect();
        assert_eq!(
            pattern,
            [true, true, true, false, false, true, false, true, true, true, false]
        );
    }

    #[test]
    fn a_message_too_many_may_close() {
        let now = Instant::now();
        let rate = Rate {
            per_second: 1,
            burst: 1,
            closes: true,
        };
        let mut client = client(Mode::Publishes, Some(rate), now);
        assert!(matches!(client.receive(text("1"), now), Action::Publish(_)));
        assert_eq!(client.receive(text("1"), now), Action::Close(Close::Policy));
    }
}
