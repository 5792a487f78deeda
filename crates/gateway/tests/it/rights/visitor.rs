//! Somebody at a gateway, in any dialect and by any way of carrying it, as one kind of value.
//!
//! Does not know rules, nor what should be told. Invariant: what is heard while an answer is awaited is kept, so nothing heard is lost.

use std::collections::VecDeque;
use std::net::SocketAddr;

use protocol::frame::{Item, client};
use serde_json::{Value, json};

use super::protobuf;
use crate::streams::{Stream, post, says};
use crate::support::{MASK, Socket, upgrade};

/// How somebody talks to a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Talk {
    /// A plain WebSocket, which is in a channel or nowhere.
    Raw,
    Json,
    Protobuf,
    /// Lines of an answer; commands come apart.
    Lines,
    /// Events of an answer; commands come apart.
    Events,
    OneWaySocket,
    OneWayLines,
    OneWayEvents,
}

/// What somebody is told of what it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// It has what it wanted.
    Yes,
    /// The request was answered with that status, in place of a WebSocket.
    Status(u16),
    /// The command was answered with that error.
    Error(u16),
    /// The connection was closed with that code.
    Closed(u16),
    /// Not a word, and nothing came of it.
    Nothing,
}

pub(super) struct Visitor {
    carrier: Carrier,
    /// What it was told when it connected.
    pub(super) welcome: Value,
    kept: VecDeque<Value>,
    requests: u32,
    is_one_way: bool,
    /// Where it says what it says apart.
    apart: SocketAddr,
}

enum Carrier {
    Raw(Socket),
    Json(Socket),
    Protobuf(Socket),
    Stream(Box<Stream>),
}

impl Visitor {
    /// A plain WebSocket.
    pub(super) fn raw(home: SocketAddr, path: &str) -> (Option<Self>, Told) {
        let (socket, answer) = Socket::ask(home, upgrade(path, &[]));
        match socket {
            Some(socket) => (Some(Self::new(Carrier::Raw(socket), home)), Told::Yes),
            None => (None, Told::Status(answer.status)),
        }
    }

    /// Connects by the Centrifuge protocol with that request; what it says without a WebSocket goes to `apart`.
    pub(super) fn connect(talk: Talk, home: SocketAddr, apart: SocketAddr, request: &Value) -> (Self, Told) {
        let command = json!({"id": 1, "connect": request});
        let socket = |path: &str| Socket::connect(home, path);
        let stream = |path: &str, said: &Value| {
            let request = post(path, "application/json", &said.to_string());
            Carrier::Stream(Box::new(Stream::open(home, &request)))
        };
        let (carrier, said) = match talk {
            Talk::Raw => unreachable!("it has no request"),
            Talk::Json => (Carrier::Json(socket("/connection/websocket")), Some(&command)),
            Talk::Protobuf => {
                let path = "/connection/websocket?cf_protocol=protobuf";
                (Carrier::Protobuf(socket(path)), Some(&command))
            }
            Talk::Lines => (stream("/connection/http_stream", &command), None),
            Talk::Events => (stream("/connection/sse", &command), None),
            Talk::OneWaySocket => (Carrier::Json(socket("/connection/uni_websocket")), Some(request)),
            Talk::OneWayLines => (stream("/connection/uni_http_stream", request), None),
            Talk::OneWayEvents => (stream("/connection/uni_sse", request), None),
        };
        let mut visitor = Self::new(carrier, apart);
        visitor.is_one_way = matches!(talk, Talk::OneWaySocket | Talk::OneWayLines | Talk::OneWayEvents);
        if let Some(said) = said {
            visitor.write(said);
        }
        let mut answer = visitor.next().expect("an answer");
        visitor.welcome = answer["connect"].take();
        (visitor, told(&answer))
    }

    fn new(carrier: Carrier, apart: SocketAddr) -> Self {
        Self {
            carrier,
            welcome: Value::Null,
            kept: VecDeque::new(),
            requests: 1,
            is_one_way: false,
            apart,
        }
    }

    /// The answer to a command.
    #[track_caller]
    pub(super) fn asks(&mut self, command: &Value) -> Told {
        let id = self.say(command);
        loop {
            let answer = self.next().expect("an answer");
            if answer["id"] == json!(id) || answer.get("disconnect").is_some() {
                return told(&answer);
            }
            self.kept.push_back(answer);
        }
    }

    /// Says a command; who only hears is not answered. Returns its id.
    pub(super) fn say(&mut self, command: &Value) -> u32 {
        self.requests += 1;
        let mut command = command.clone();
        command["id"] = json!(self.requests);
        match (&self.carrier, self.is_one_way) {
            (Carrier::Stream(_), _) => {
                assert_eq!(says(self.apart, &self.welcome, &[command]).status, 204);
            }
            _ => self.write(&command),
        }
        self.requests
    }

    /// Publishes as a plain WebSocket does.
    pub(super) fn send(&mut self, data: &Value) {
        self.write(data);
    }

    fn write(&mut self, said: &Value) {
        match &mut self.carrier {
            Carrier::Raw(socket) | Carrier::Json(socket) => socket.send(said.to_string()),
            Carrier::Protobuf(socket) => socket.write(client::binary(&protobuf::encode(said), MASK)),
            Carrier::Stream(_) => unreachable!("a stream says nothing"),
        }
    }

    /// Waits until a WebSocket has answered a ping, and so has taken all that was said before.
    #[track_caller]
    pub(super) fn settle(&mut self) {
        let (Carrier::Raw(socket) | Carrier::Json(socket)) = &mut self.carrier else {
            return;
        };
        socket.write(client::ping(b"settled", MASK));
        loop {
            match socket.next() {
                Some(Item::Pong(data)) if data == "settled" => return,
                Some(Item::Message(message)) => {
                    self.kept
                        .push_back(serde_json::from_slice(&message.data).expect("JSON"));
                }
                Some(_) => {}
                None => panic!("the end"),
            }
        }
    }

    /// Waits for the push that says that it is in a channel.
    #[track_caller]
    pub(super) fn is_subscribed(&mut self, channel: &str) {
        loop {
            let told = self.next().expect("a push");
            let push = told.get("push").unwrap_or(&told);
            if push["channel"] == channel && push.get("subscribe").is_some() {
                return;
            }
            self.kept.push_back(told);
        }
    }

    /// All that it hears up to the publication of `last`, or to the end of the connection.
    pub(super) fn hears_until(&mut self, last: &Value) -> Vec<Value> {
        let mut heard = Vec::new();
        let kept: Vec<Value> = self.kept.drain(..).collect();
        let mut kept = kept.into_iter();
        loop {
            let Some(told) = kept.next().or_else(|| self.next()) else {
                return heard;
            };
            let push = told.get("push").unwrap_or(&told);
            if push.get("disconnect").is_some() {
                // There is nothing after that, however often somebody asks.
                self.kept.push_back(told);
                return heard;
            }
            let publication = match &self.carrier {
                Carrier::Raw(_) => Some(&told),
                _ => push.get("pub").map(|publication| &publication["data"]),
            };
            match publication {
                Some(data) if data == last => return heard,
                Some(data) => heard.push(data.clone()),
                None => {}
            }
        }
    }

    /// What comes next; `None` at the end.
    #[track_caller]
    fn next(&mut self) -> Option<Value> {
        let (socket, is_protobuf) = match &mut self.carrier {
            Carrier::Stream(stream) => return stream.told_or_end(),
            Carrier::Protobuf(socket) => (socket, true),
            Carrier::Raw(socket) | Carrier::Json(socket) => (socket, false),
        };
        loop {
            match socket.next()? {
                Item::Message(message) if is_protobuf => {
                    let mut replies = protobuf::decode(&message.data);
                    assert_eq!(replies.len(), 1, "{replies:?}");
                    return replies.pop();
                }
                Item::Message(message) => return Some(serde_json::from_slice(&message.data).expect("JSON")),
                Item::Close { code, .. } => return code.map(|code| json!({"disconnect": {"code": code}})),
                Item::Ping(_) | Item::Pong(_) => {}
            }
        }
    }
}

fn told(answer: &Value) -> Told {
    let code = |part: &str| {
        let code = answer.get(part)?["code"].as_u64()?;
        Some(u16::try_from(code).expect("a code"))
    };
    match (code("error"), code("disconnect")) {
        (Some(error), _) => Told::Error(error),
        (_, Some(close)) => Told::Closed(close),
        (None, None) => Told::Yes,
    }
}
