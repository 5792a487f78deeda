//! What one client may do and has done: takes a message, answers with what to do about it.
//!
//! No I/O and no clock of its own; the lane that owns the socket acts on the answer. A plain WebSocket only publishes; what a client says in
//! commands is a [`Session`].

use std::time::{Duration, Instant};

use bus::Outgoing;
use bytes::Bytes;
use protocol::event::Answer;
use protocol::frame::{self, Kind, Message};
use protocol::{Channel, Close, Command, CommandError, Dialect, Encoding, Event, Request};

use crate::stats::Dropped;

mod session;

pub(crate) use session::Session;

/// Who is behind a connection, and how much of its allowance is used.
pub(crate) struct Client {
    dialect: Dialect,
    talk: Talk,
    allowance: Option<Box<Allowance>>,
    json_depth: usize,
}

/// How a client talks.
pub(crate) enum Talk {
    /// Every message is the same thing, for one channel.
    Plain(Mode),
    /// In commands, which are answered.
    Session(Box<Session>),
}

/// What becomes of the messages of a plain WebSocket.
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
#[derive(Debug, PartialEq)]
pub(crate) enum Action {
    /// Give it to the bus, and if the request has an id, answer it.
    Publish { outgoing: Outgoing, answer: Option<u32> },
    /// Have the node listen to a channel, and tell the client with [`Client::joined`].
    Subscribe {
        channel: Channel,
        window: Option<Duration>,
        request: u32,
    },
    /// Take the client out of a channel.
    Unsubscribe { channel: Channel },
    /// Answer a request.
    Answer {
        request: u32,
        result: Result<Answer, CommandError>,
    },
    /// Send these frames to the client.
    Send(Bytes),
    /// The client is known from now on, and pinged.
    Known,
    /// The client has answered a ping.
    Pong,
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
    pub(crate) fn new(dialect: Dialect, talk: Talk, rate: Option<Rate>, json_depth: usize, now: Instant) -> Self {
        let allowance = rate.map(|rate| {
            Box::new(Allowance {
                rate,
                left: f64::from(rate.burst),
                at: now,
            })
        });
        Self {
            dialect,
            talk,
            allowance,
            json_depth,
        }
    }

    /// How its events are spelled.
    pub(crate) fn encoding(&self) -> Encoding {
        self.dialect.encoding()
    }

    /// Whether the client is pinged in its dialect's words, on time; `None`: by WebSocket's pings, when it is silent.
    pub(crate) fn is_known(&self) -> Option<bool> {
        match &self.talk {
            Talk::Plain(_) => None,
            Talk::Session(session) => Some(session.is_known()),
        }
    }

    /// Adds to `actions` what to do about `message`, received at `now`.
    pub(crate) fn receive(&mut self, message: Message, now: Instant, actions: &mut Vec<Action>) {
        if let Some(allowance) = &mut self.allowance
            && !allowance.take(now)
        {
            return actions.push(match allowance.rate.closes {
                true => Action::Close(Close::Policy),
                false => Action::Drop(Dropped::RateLimit),
            });
        }
        match &mut self.talk {
            Talk::Plain(mode) => actions.push(receive_plain(&self.dialect, *mode, message, self.json_depth)),
            Talk::Session(session) => session.receive(self.dialect.decode(message, self.json_depth), actions),
        }
    }

    /// The node listens to `channel` for `request`. Returns the answer for the client, or `None` if it does not want the channel any more.
    pub(crate) fn joined(&mut self, channel: &Channel, request: u32) -> Option<Bytes> {
        let Talk::Session(session) = &mut self.talk else {
            return None;
        };
        let answer = session.joined(channel, request)?;
        Some(self.answer(request, Ok(&answer)))
    }

    /// The node did what `request` asked for, or could not. Returns the answer for the client.
    pub(crate) fn answered(&mut self, request: u32, result: Result<&Answer, &CommandError>) -> Bytes {
        if let (Talk::Session(session), Err(_)) = (&mut self.talk, result) {
            session.failed(request);
        }
        self.answer(request, result)
    }

    /// The answer to request `id`, spelled for the client.
    pub(crate) fn answer(&self, id: u32, result: Result<&Answer, &CommandError>) -> Bytes {
        self.encoding().encode(&Event::Answer { id, result })
    }
}

fn receive_plain(dialect: &Dialect, mode: Mode, message: Message, json_depth: usize) -> Action {
    #[cfg(test)]
    assert!(mode != Mode::Panics, "a client that panics");
    if mode == Mode::Echoes {
        return Action::Send(match message.kind {
            Kind::Text => frame::text(&message.data),
            Kind::Binary => frame::binary(&message.data),
        });
    }
    match dialect.decode(message, json_depth).next() {
        Some(Ok(Request {
            command: Ok(Command::Publish { channel, data }),
            ..
        })) if mode == Mode::Publishes => Action::Publish {
            outgoing: Outgoing::new(channel, data),
            answer: None,
        },
        Some(Ok(_)) => Action::Drop(Dropped::NotAllowed),
        Some(Err(error)) => {
            tracing::debug!(%error, "dropped a message");
            Action::Drop(Dropped::Malformed)
        }
        None => Action::Drop(Dropped::Malformed),
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
    use super::*;

    fn client(mode: Mode, rate: Option<Rate>, now: Instant) -> Client {
        let channel = Channel::parse("news").expect("valid");
        Client::new(Dialect::Raw { channel }, Talk::Plain(mode), rate, 512, now)
    }

    fn receive(client: &mut Client, data: &'static str, now: Instant) -> Action {
        let mut actions = Vec::new();
        client.receive(text(data), now, &mut actions);
        assert_eq!(actions.len(), 1, "{actions:?}");
        actions.remove(0)
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
        let data = "{\"x\":1}".into();
        let publish = Action::Publish {
            outgoing: Outgoing::new(channel, data),
            answer: None,
        };
        assert_eq!(
            receive(&mut client(Mode::Publishes, None, now), r#"{"x": 1}"#, now),
            publish
        );
        assert_eq!(
            receive(&mut client(Mode::Listens, None, now), "1", now),
            Action::Drop(Dropped::NotAllowed)
        );
        assert_eq!(
            receive(&mut client(Mode::Publishes, None, now), "{bad", now),
            Action::Drop(Dropped::Malformed)
        );
        assert_eq!(
            receive(&mut client(Mode::Echoes, None, now), "{bad", now),
            Action::Send(frame::text(b"{bad"))
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
                receive(&mut client, "1", start + Duration::from_millis(after)),
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
        assert!(matches!(receive(&mut client, "1", now), Action::Publish { .. }));
        assert_eq!(receive(&mut client, "1", now), Action::Close(Close::Policy));
    }
}
