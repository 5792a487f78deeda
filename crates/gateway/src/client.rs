//! What one client may do and has done: takes a message, answers with what to do about it.
//!
//! No I/O and no clock of its own; the lane that owns the socket acts on the answer. A plain WebSocket only publishes; what a client says in
//! commands is a [`Session`].

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bus::Outgoing;
use bytes::Bytes;
use protocol::event::{Answer, Subscribed, Unsubscribed};
use protocol::frame::Message;
use protocol::{Channel, Close, CommandError, Dialect, Encoding, Event, Filter};

use uuid::Uuid;

use crate::allowance::{Allowance, Rate};
use crate::backend::{Call, Failure, RealHeaders, Reply, Verdict};
use crate::lane::ask::{Attendance, Reading};
use crate::stats::Dropped;

mod plain;
mod session;

pub(crate) use plain::{Approval, Bearing, Mode, Plain, Who};
pub(crate) use session::{Order, Session, Terms};

/// Who is behind a connection, and how much of its allowance is used.
pub(crate) struct Client {
    dialect: Dialect,
    talk: Talk,
    messages: Option<Box<Messages>>,
    json_depth: usize,
}

/// How a client talks.
pub(crate) enum Talk {
    /// Every message is the same thing, for one channel.
    Plain(Plain),
    /// In commands, which are answered.
    Session(Box<Session>),
}

/// How many messages a client may send, and what becomes of one too many.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MessageLimit {
    pub(crate) rate: Rate,
    /// Whether a message too many closes the connection, or is only dropped.
    pub(crate) closes: bool,
}

struct Messages {
    allowance: Allowance,
    closes: bool,
}

/// How a client came, for the backend to know.
#[derive(Debug, Default)]
pub(crate) struct Origin {
    /// Such as `websocket`.
    pub(crate) transport: &'static str,
    /// `json` or `protobuf`.
    pub(crate) protocol: &'static str,
    /// Of its request.
    pub(crate) headers: Arc<RealHeaders>,
}

/// The time, by both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// For what lasts.
    pub(crate) now: Instant,
    /// For what tokens say.
    pub(crate) wall: SystemTime,
}

/// What to do about a message.
#[derive(Debug, PartialEq)]
pub(crate) enum Action {
    /// Give it to the bus, and if the request has an id, answer it.
    Publish { outgoing: Outgoing, answer: Option<u32> },
    /// Have the node listen to a channel, and say so by [`Client::heard`].
    Subscribe {
        channel: Channel,
        window: Option<Duration>,
        request: u32,
    },
    /// Take the client into a channel that the node listens to.
    Join { channel: Channel, hearing: Hearing },
    /// Take the client out of a channel.
    Unsubscribe { channel: Channel },
    /// Let everybody know that the client has come to a channel, or has left it.
    Attend(Attendance),
    /// Have the node look who is in a channel, and answer.
    Read {
        channel: Channel,
        what: Reading,
        request: u32,
    },
    /// Have the backend asked, and say by [`Client::consulted`] what came of it.
    Consult { call: Box<Call>, number: u32 },
    /// Answer a request.
    Answer {
        request: u32,
        result: Result<Answer, CommandError>,
    },
    /// Tell the client what it has not asked for.
    Tell(Notice),
    /// Send these frames to the client.
    Send(Bytes),
    /// The client is known from now on, and pinged.
    Known {
        user: Arc<str>,
        client: Uuid,
        /// Names the connection in requests that come apart from it.
        secret: Option<Uuid>,
    },
    /// The client has answered a ping.
    Pong,
    /// Drop it, and count why; the connection stays.
    Drop(Dropped),
    /// Close the connection.
    Close(Close),
}

/// Which of a channel's events a client hears, and how.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Hearing {
    /// Who comes and goes too.
    pub(crate) joins: bool,
    /// Publications may come as differences.
    pub(crate) delta: bool,
    /// Only publications whose tags match.
    pub(crate) filter: Option<Filter>,
}

/// What a client is told without having asked.
#[derive(Debug, PartialEq)]
pub(crate) enum Notice {
    /// It has been subscribed.
    Subscribed {
        channel: Channel,
        subscribed: Box<Subscribed>,
    },
    /// A subscription has ended.
    Unsubscribed { channel: Channel, why: Unsubscribed },
    /// It lasts so long from now; `None`: for good.
    Refreshed { expires: Option<Duration> },
}

impl Client {
    /// A client that has just been admitted.
    pub(crate) fn new(
        dialect: Dialect,
        talk: Talk,
        messages: Option<MessageLimit>,
        json_depth: usize,
        now: Instant,
    ) -> Self {
        let messages = messages.map(|limit| {
            Box::new(Messages {
                allowance: Allowance::new(limit.rate, now),
                closes: limit.closes,
            })
        });
        Self {
            dialect,
            talk,
            messages,
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

    /// What the client is pinged with.
    pub(crate) fn ping(&self) -> &'static Bytes {
        match &self.talk {
            Talk::Session(session) if session.has_native_pings() => Encoding::Raw.ping(),
            Talk::Session(_) | Talk::Plain(_) => self.encoding().ping(),
        }
    }

    /// Whether the client answers pings in its dialect's words, or by those of WebSocket.
    pub(crate) fn answers_pings(&self) -> bool {
        !self.encoding().is_stream() || self.owes_pongs()
    }

    /// Whether it answers them in its dialect's words.
    pub(crate) fn owes_pongs(&self) -> bool {
        matches!(&self.talk, Talk::Session(session) if session.answers_pings())
    }

    /// The name of a client that others can name.
    pub(crate) fn known_as(&self) -> Option<Uuid> {
        match &self.talk {
            Talk::Plain(plain) => plain.who.as_ref().map(|who| who.client),
            Talk::Session(session) => Some(session.id()).filter(|_| session.is_known()),
        }
    }

    /// Whether channels that the node hears for the client may have to wait for others.
    pub(crate) fn is_arriving(&self) -> bool {
        matches!(&self.talk, Talk::Session(session) if session.is_arriving())
    }

    /// Adds to `actions` what to do now that the connection is open.
    pub(crate) fn opened(&self, actions: &mut Vec<Action>) {
        if let Talk::Plain(plain) = &self.talk {
            plain.enter(actions);
        }
    }

    /// Adds to `actions` what to do about `message`.
    pub(crate) fn receive(&mut self, message: Message, at: Moment, actions: &mut Vec<Action>) {
        if let Some(messages) = &mut self.messages
            && !messages.allowance.take(at.now)
        {
            return actions.push(match messages.closes {
                true => Action::Close(Close::Policy),
                false => Action::Drop(Dropped::RateLimit),
            });
        }
        match &mut self.talk {
            Talk::Plain(plain) => actions.extend(plain.receive(&self.dialect, message, self.json_depth, at.now)),
            Talk::Session(session) => session.receive(self.dialect.decode(message, self.json_depth), at, actions),
        }
    }

    /// The node listens to `channel` for `request`: adds what to do about it.
    pub(crate) fn heard(&mut self, channel: &Channel, request: u32, at: Moment, actions: &mut Vec<Action>) {
        if let Talk::Session(session) = &mut self.talk {
            session.heard(channel, request, at, actions);
        }
    }

    /// The node did what `request` asked for, or could not: adds what to do about it.
    pub(crate) fn answered(&mut self, request: u32, result: Result<Answer, CommandError>, actions: &mut Vec<Action>) {
        if let Talk::Session(session) = &mut self.talk {
            session.answered(request, result, actions);
        }
    }

    /// The backend has answered question `number`, or could not be asked: adds what to do about it.
    pub(crate) fn consulted(
        &mut self,
        number: u32,
        outcome: Result<Verdict<Reply>, Failure>,
        at: Moment,
        actions: &mut Vec<Action>,
    ) {
        match &mut self.talk {
            Talk::Plain(plain) => plain.consulted(outcome, actions),
            Talk::Session(session) => session.consulted(number, outcome, at, actions),
        }
    }

    /// The application wants something of the client: adds what to do about it.
    pub(crate) fn obey(&mut self, order: Order, at: Moment, actions: &mut Vec<Action>) {
        match &mut self.talk {
            Talk::Session(session) => session.obey(order, at, actions),
            Talk::Plain(_) => {}
        }
    }

    /// Tokens were revoked: adds what to do if one of the client's is among them.
    pub(crate) fn recheck(&mut self, at: Moment, actions: &mut Vec<Action>) {
        match &mut self.talk {
            Talk::Plain(plain) if plain.is_revoked(at.wall) => actions.push(Action::Close(Close::StateInvalidated)),
            Talk::Plain(_) => {}
            Talk::Session(session) => session.recheck(at, actions),
        }
    }

    /// When something of the client's expires.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match &self.talk {
            Talk::Plain(plain) => plain.expires,
            Talk::Session(session) => session.deadline(),
        }
    }

    /// Adds what to do about what has expired.
    pub(crate) fn expire(&mut self, at: Moment, actions: &mut Vec<Action>) {
        match &mut self.talk {
            Talk::Plain(plain) if plain.expires.is_some_and(|expires| expires <= at.now) => {
                actions.push(Action::Close(Close::Expired));
            }
            Talk::Plain(_) => {}
            Talk::Session(session) => session.expire(at, actions),
        }
    }

    /// The connection is over, or closing: adds what others are to know.
    pub(crate) fn leave(&mut self, actions: &mut Vec<Action>) {
        match &mut self.talk {
            Talk::Plain(plain) => plain.exit(actions),
            Talk::Session(session) => session.leave(actions),
        }
    }

    /// The answer to request `id`, spelled for the client.
    pub(crate) fn answer(&self, id: u32, result: Result<&Answer, &CommandError>) -> Bytes {
        self.encoding().encode(&Event::Answer { id, result })
    }

    /// A notice, spelled for the client.
    pub(crate) fn notice(&self, notice: &Notice) -> Bytes {
        self.encoding().encode(&match notice {
            Notice::Subscribed { channel, subscribed } => Event::Subscribed { channel, subscribed },
            Notice::Unsubscribed { channel, why } => Event::Unsubscribed { channel, why },
            Notice::Refreshed { expires } => Event::Refreshed { expires: *expires },
        })
    }
}

impl Moment {
    /// Now.
    pub(crate) fn now() -> Self {
        Self {
            now: Instant::now(),
            wall: SystemTime::now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::frame::{self, Kind};

    fn client(mode: Mode, limit: Option<MessageLimit>, at: Moment) -> Client {
        let channel = Channel::parse("news").expect("valid");
        Client::new(
            Dialect::Raw { channel },
            Talk::Plain(Plain::new(mode)),
            limit,
            512,
            at.now,
        )
    }

    fn receive(client: &mut Client, data: &'static str, at: Moment) -> Action {
        let mut actions = Vec::new();
        client.receive(text(data), at, &mut actions);
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
        let now = Moment::now();
        let channel = Channel::parse("news").expect("valid");
        let publish = Action::Publish {
            outgoing: Outgoing::new(channel, "{\"x\":1}".into()),
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
    fn a_message_too_many_is_dropped_or_closes() {
        let now = Moment::now();
        let rate = Rate {
            per_second: 1,
            burst: 1,
        };
        for (closes, expected) in [
            (false, Action::Drop(Dropped::RateLimit)),
            (true, Action::Close(Close::Policy)),
        ] {
            let mut client = client(Mode::Publishes, Some(MessageLimit { rate, closes }), now);
            assert!(matches!(receive(&mut client, "1", now), Action::Publish { .. }));
            assert_eq!(receive(&mut client, "1", now), expected);
        }
    }

    #[test]
    fn a_rule_may_limit_what_a_plain_websocket_publishes() {
        let now = Moment::now();
        let mut client = client(Mode::Publishes, None, now);
        let Talk::Plain(plain) = &mut client.talk else {
            unreachable!()
        };
        let rate = Rate {
            per_second: 1,
            burst: 2,
        };
        plain.message_size = Some(3);
        plain.allowance = Some(Box::new(Allowance::new(rate, now.now)));
        assert_eq!(receive(&mut client, "1234", now), Action::Drop(Dropped::NotAllowed));
        for _ in 0..2 {
            assert!(matches!(receive(&mut client, "123", now), Action::Publish { .. }));
        }
        assert_eq!(receive(&mut client, "123", now), Action::Drop(Dropped::RateLimit));
    }
}
