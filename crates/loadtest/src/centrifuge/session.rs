//! One client's conversation: connect and subscribe to its channel in one message, then publish and hear.
//!
//! A state machine without I/O and clock. Invariant: nothing is taken for an answer that was not asked for, and a publication only once the
//! subscription is confirmed.

use bytes::Bytes;
use protocol::Channel;
use protocol::dialect::Format;

use super::{Answer, Command, Reply, write};

const CONNECT: u32 = 1;
const SUBSCRIBE: u32 = 2;

/// A conversation at some point of it.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    format: Format,
    channel: Channel,
    token: Option<String>,
    stage: Stage,
    wants_pongs: bool,
    /// The id of the last command.
    last: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connecting,
    Subscribing,
    Subscribed,
}

/// What arrives at a client once its channel is open, in any dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Arrival<'a> {
    /// The payload of a publication.
    Publication(&'a [u8]),
    /// A publication that says it is of a channel which is not the client's.
    Misdelivered,
    /// A publish command has succeeded.
    Published,
    /// A publish command has failed.
    Refused(String),
}

/// What a reply means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard<'a> {
    /// Nothing more.
    Nothing,
    /// [`Session::pong`] is wanted.
    Ping,
    /// The subscription has begun.
    Subscribed,
    /// Something that was waited for.
    Arrival(Arrival<'a>),
}

impl Session {
    /// A conversation that has not begun, of a client that shows `token` if it has one.
    pub(crate) fn new(format: Format, channel: Channel, token: Option<String>) -> Self {
        Self {
            format,
            channel,
            token,
            stage: Stage::Connecting,
            wants_pongs: false,
            last: SUBSCRIBE,
        }
    }

    /// How messages are written.
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// What the handshake asks for.
    pub(crate) fn subprotocol(&self) -> Option<&'static str> {
        match self.format {
            Format::Json => None, // the default, which SDKs do not name
            Format::Protobuf => Some("centrifuge-protobuf"),
        }
    }

    /// The first frame.
    pub(crate) fn greeting(&mut self) -> Bytes {
        let token = self.token.take();
        let connect = Command::Connect {
            id: CONNECT,
            token: token.as_deref(),
        };
        let subscribe = Command::Subscribe {
            id: SUBSCRIBE,
            channel: &self.channel,
        };
        write(self.format, &[connect, subscribe])
    }

    /// The frame that publishes the JSON text `data`.
    pub(crate) fn publish(&mut self, data: &[u8]) -> Bytes {
        self.last += 1;
        let publish = Command::Publish {
            id: self.last,
            channel: &self.channel,
            data,
        };
        write(self.format, &[publish])
    }

    /// The frame that answers a ping.
    pub(crate) fn pong(&self) -> Bytes {
        write(self.format, &[Command::Pong])
    }

    /// Takes in a reply. An error, in words, is the end of the conversation.
    pub(crate) fn hear<'a>(&mut self, reply: Reply<'a>) -> Result<Heard<'a>, String> {
        match (self.stage, reply) {
            (Stage::Subscribed, Reply::Publication { channel, data }) => {
                let is_own = channel == self.channel.as_str().as_bytes();
                Ok(Heard::Arrival(match is_own {
                    true => Arrival::Publication(data),
                    false => Arrival::Misdelivered,
                }))
            }
            (_, Reply::Publication { .. }) => Err("sent a publication before the subscription".to_owned()),
            (_, Reply::Ping) if self.wants_pongs => Ok(Heard::Ping),
            (_, Reply::Ping | Reply::Other) => Ok(Heard::Nothing),
            (_, Reply::Ended { code }) => Err(format!("ended by a push with {code}")),
            (stage, Reply::Answer { id, result }) => self.answer(stage, id, result.map_err(|why| why.to_string())),
        }
    }

    fn answer<'a>(&mut self, stage: Stage, id: u32, result: Result<Answer, String>) -> Result<Heard<'a>, String> {
        match (stage, id, result) {
            (Stage::Connecting, CONNECT, Ok(Answer::Connected { wants_pongs })) => {
                self.wants_pongs = wants_pongs;
                self.stage = Stage::Subscribing;
                Ok(Heard::Nothing)
            }
            (Stage::Connecting, CONNECT, Err(why)) => Err(format!("connect refused: {why}")),
            (Stage::Subscribing, SUBSCRIBE, Ok(Answer::Subscribed)) => {
                self.stage = Stage::Subscribed;
                Ok(Heard::Subscribed)
            }
            (Stage::Subscribing, SUBSCRIBE, Err(why)) => Err(format!("subscribe refused: {why}")),
            (Stage::Subscribed, id, result) if id > SUBSCRIBE && id <= self.last => match result {
                Ok(Answer::Published) => Ok(Heard::Arrival(Arrival::Published)),
                Err(why) => Ok(Heard::Arrival(Arrival::Refused(why))),
                Ok(_) => Err("sent an answer of another kind than was asked for".to_owned()),
            },
            _ => Err("sent an answer to nothing that was asked".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::Channel;
    use protocol::dialect::Format;
    use protocol::frame::{Item, Limits, Parser, Role};

    use super::super::replies;
    use super::{Arrival, Heard, Session};

    const LIMITS: Limits = Limits {
        message_size: 1 << 16,
        fragments: 1,
    };

    const CONNECTED: &str = r#"{"id":1,"connect":{"client":"c","ping":25,"pong":true}}"#;
    const SUBSCRIBED: &str = r#"{"id":2,"subscribe":{}}"#;
    const PUBLICATION: &str = r#"{"push":{"channel":"a","pub":{"data":1}}}"#;

    fn session() -> Session {
        Session::new(
            Format::Json,
            Channel::parse("a").expect("a channel"),
            Some("t".to_owned()),
        )
    }

    /// A session after its subscription and two publish commands.
    fn subscribed() -> Session {
        let mut session = session();
        session.greeting();
        hear(&mut session, CONNECTED).expect("connected");
        hear(&mut session, SUBSCRIBED).expect("subscribed");
        session.publish(b"1");
        session.publish(b"2");
        session
    }

    fn hear<'a>(session: &mut Session, message: &'a str) -> Result<Heard<'a>, String> {
        let reply = replies(Format::Json, message.as_bytes()).next().expect("a reply");
        session.hear(reply.expect("well formed"))
    }

    #[track_caller]
    fn check(mut session: Session, message: &str, expected: &Result<Heard<'_>, &str>) {
        let heard = hear(&mut session, message);
        assert_eq!(
            heard.as_ref().map_err(String::as_str),
            expected.as_ref().map_err(|why| *why),
            "{message}"
        );
    }

    #[test]
    fn connect_and_subscribe_are_one_frame() {
        let frame = session().greeting();
        let mut parser = Parser::new(Role::Server);
        let Ok(Some(Item::Message(message))) = parser.next(&mut &frame[..], &LIMITS) else {
            panic!("not a frame: {frame:?}");
        };
        assert_eq!(
            message.data,
            "{\"id\":1,\"connect\":{\"token\":\"t\"}}\n{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}"
        );
    }

    #[test]
    fn answers_in_order() {
        let mut session = session();
        session.greeting();
        assert_eq!(
            hear(&mut session, "{}"),
            Ok(Heard::Nothing),
            "nobody asked for pongs yet"
        );
        assert_eq!(hear(&mut session, CONNECTED), Ok(Heard::Nothing));
        assert_eq!(hear(&mut session, "{}"), Ok(Heard::Ping));
        assert_eq!(hear(&mut session, SUBSCRIBED), Ok(Heard::Subscribed));
        assert_eq!(
            hear(&mut session, PUBLICATION),
            Ok(Heard::Arrival(Arrival::Publication(b"1")))
        );
    }

    #[test]
    fn what_comes_once_subscribed() {
        let arrival = |arrival| Ok(Heard::Arrival(arrival));
        check(subscribed(), r#"{"id":4,"publish":{}}"#, &arrival(Arrival::Published));
        check(
            subscribed(),
            r#"{"id":3,"error":{"code":103,"message":"no"}}"#,
            &arrival(Arrival::Refused("error 103: no".to_owned())),
        );
        check(
            subscribed(),
            &PUBLICATION.replace(r#""a""#, r#""b""#),
            &arrival(Arrival::Misdelivered),
        );
        check(
            subscribed(),
            r#"{"push":{"channel":"a","leave":{"info":{}}}}"#,
            &Ok(Heard::Nothing),
        );
        check(
            subscribed(),
            r#"{"push":{"channel":"a","unsubscribe":{"code":2500}}}"#,
            &Err("ended by a push with 2500"),
        );
    }

    #[test]
    fn what_must_not_come_ends_it() {
        check(
            session(),
            r#"{"id":1,"error":{"code":101,"message":"who"}}"#,
            &Err("connect refused: error 101: who"),
        );
        let mut connected = session();
        hear(&mut connected, CONNECTED).expect("connected");
        check(
            connected.clone(),
            r#"{"id":2,"error":{"code":103,"message":"no"}}"#,
            &Err("subscribe refused: error 103: no"),
        );
        check(
            connected.clone(),
            PUBLICATION,
            &Err("sent a publication before the subscription"),
        );
        let nothing = Err("sent an answer to nothing that was asked");
        check(connected, CONNECTED, &nothing);
        check(session(), SUBSCRIBED, &nothing);
        check(subscribed(), SUBSCRIBED, &nothing);
        check(subscribed(), r#"{"id":5,"publish":{}}"#, &nothing);
        check(
            subscribed(),
            r#"{"id":4,"subscribe":{}}"#,
            &Err("sent an answer of another kind than was asked for"),
        );
    }
}
