//! From a message to the requests in it, one after the other.

use std::collections::BTreeMap;

use bytes::{Buf, Bytes};
use prost::Message as _;

use super::{Format, wire};
use crate::command::{Command, Connect, History, Request, Subscribe};
use crate::filter::{Node, Test};
use crate::frame::Message;
use crate::{Channel, CommandError, DecodeError, Filter, StreamPosition, json};

/// Bits of `flag` in a subscribe command.
const REJECT_UNRECOVERED: i64 = 2;

/// The commands of one message that are still to be read.
#[derive(Debug)]
pub(crate) struct Commands {
    format: Format,
    rest: Bytes,
    max_depth: usize,
    /// Nothing was found yet, which a message must not leave so.
    is_first: bool,
}

/// What is wrong with a command: it is answered, or it ends the connection.
enum Wrong {
    Answered(CommandError),
    Fatal(DecodeError),
}

impl From<CommandError> for Wrong {
    fn from(error: CommandError) -> Self {
        Self::Answered(error)
    }
}

impl From<DecodeError> for Wrong {
    fn from(error: DecodeError) -> Self {
        Self::Fatal(error)
    }
}

impl Commands {
    pub(crate) fn new(format: Format, message: Message, max_depth: usize) -> Self {
        Self {
            format,
            rest: message.data,
            max_depth,
            is_first: true,
        }
    }

    fn end<T>(&mut self, error: &'static str) -> Option<Result<T, DecodeError>> {
        self.rest.clear();
        self.is_first = false;
        Some(Err(DecodeError::Malformed(error)))
    }
}

impl Iterator for Commands {
    type Item = Result<Request, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let command = match self.format {
            Format::Json => loop {
                if self.rest.is_empty() {
                    return if self.is_first {
                        self.end("a message without a command")
                    } else {
                        None
                    };
                }
                let end = self.rest.iter().position(|byte| *byte == b'\n');
                let line = self.rest.split_to(end.unwrap_or(self.rest.len()));
                if end.is_some() {
                    self.rest.advance(1);
                }
                if !line.trim_ascii_start().is_empty() {
                    break serde_json::from_slice(&line).ok();
                }
            },
            Format::Protobuf => {
                if self.rest.is_empty() {
                    return if self.is_first {
                        self.end("a message without a command")
                    } else {
                        None
                    };
                }
                wire::Command::decode_length_delimited(&mut self.rest).ok()
            }
        };
        self.is_first = false;
        let Some(command) = command else {
            return self.end("not a command");
        };
        let request = request(command, self.max_depth);
        if request.is_err() {
            self.rest.clear();
        }
        Some(request)
    }
}

fn request(wire: wire::Command, max_depth: usize) -> Result<Request, DecodeError> {
    let id = wire.id;
    if id == 0 && wire.send.is_none() {
        return Ok(Request {
            id,
            command: Ok(Command::Pong),
        });
    }
    match command(wire, max_depth) {
        Ok(command) => Ok(Request {
            id,
            command: Ok(command),
        }),
        Err(Wrong::Answered(error)) => Ok(Request {
            id,
            command: Err(error),
        }),
        Err(Wrong::Fatal(error)) => Err(error),
    }
}

/// What a command asks for; when it asks for several things, the first of this order.
fn command(wire: wire::Command, max_depth: usize) -> Result<Command, Wrong> {
    let payload = |data| payload(data, max_depth);
    Ok(if let Some(connect) = wire.connect {
        Command::Connect(Box::new(self::connect(connect, max_depth)?))
    } else if let Some(subscribe) = wire.subscribe {
        Command::Subscribe(Box::new(self::subscribe(subscribe, max_depth)?))
    } else if let Some(unsubscribe) = wire.unsubscribe {
        Command::Unsubscribe {
            channel: channel(&unsubscribe.channel)?,
        }
    } else if let Some(publish) = wire.publish {
        let channel = channel(&publish.channel)?;
        if publish.r#type != 0 {
            return Err(CommandError::NotAvailable.into());
        }
        let data = payload(publish.data)?;
        if data.is_empty() {
            return Err(CommandError::BadRequest.into());
        }
        Command::Publish { channel, data }
    } else if let Some(presence) = wire.presence {
        Command::Presence {
            channel: channel(&presence.channel)?,
        }
    } else if let Some(stats) = wire.presence_stats {
        Command::PresenceStats {
            channel: channel(&stats.channel)?,
        }
    } else if let Some(history) = wire.history {
        let channel = channel(&history.channel)?;
        let since = history.since.map(|since| position(since.epoch, since.offset));
        if history.reverse && since.as_ref().is_some_and(|since| since.offset == 0) {
            return Err(CommandError::BadRequest.into());
        }
        Command::History(History {
            channel,
            limit: history.limit,
            since,
            reverse: history.reverse,
        })
    } else if let Some(rpc) = wire.rpc {
        Command::Rpc {
            method: rpc.method,
            data: payload(rpc.data)?,
        }
    } else if let Some(send) = wire.send {
        Command::Send {
            data: payload(send.data)?,
        }
    } else if let Some(refresh) = wire.refresh {
        match refresh.token {
            token if token.is_empty() => return Err(DecodeError::Malformed("a refresh without a token").into()),
            token => Command::Refresh { token },
        }
    } else if let Some(refresh) = wire.sub_refresh {
        let channel = channel(&refresh.channel)?;
        match refresh.token {
            _ if refresh.r#type != 0 => return Err(CommandError::NotAvailable.into()),
            token if token.is_empty() => return Err(CommandError::BadRequest.into()),
            token => Command::SubRefresh { channel, token },
        }
    } else {
        return Err(DecodeError::Malformed("a command that asks for nothing").into());
    })
}

/// Who a client says it is.
pub(super) fn connect(wire: wire::ConnectRequest, max_depth: usize) -> Result<Connect, CommandError> {
    Ok(Connect {
        token: wire.token,
        data: payload(wire.data, max_depth)?,
        name: wire.name,
        version: wire.version,
        headers: wire.headers,
        positions: positions(wire.subs),
    })
}

fn subscribe(wire: wire::SubscribeRequest, max_depth: usize) -> Result<Subscribe, Wrong> {
    let channel = channel(&wire.channel)?;
    let delta = match wire.delta.as_str() {
        "" => false,
        "fossil" => true,
        _ => return Err(DecodeError::Malformed("an unknown kind of delta").into()),
    };
    if wire.r#type != 0 {
        return Err(CommandError::NotAvailable.into());
    }
    let filter = match wire.tf {
        Some(node) => Some(node_of(node).and_then(Filter::new).ok_or(CommandError::BadRequest)?),
        None => None,
    };
    Ok(Subscribe {
        channel,
        token: wire.token,
        data: payload(wire.data, max_depth)?,
        recover: wire.recover.then(|| position(wire.epoch, wire.offset)),
        must_recover: wire.flag & REJECT_UNRECOVERED != 0,
        positioned: wire.positioned,
        recoverable: wire.recoverable,
        join_leave: wire.join_leave,
        delta,
        filter,
    })
}

/// Positions of subscriptions that the server had made; names that no channel has were never among them.
fn positions(subs: BTreeMap<String, wire::SubscribeRequest>) -> BTreeMap<Channel, StreamPosition> {
    subs.into_iter()
        .filter(|(_, sub)| sub.recover)
        .filter_map(|(name, sub)| Some((Channel::parse(&name).ok()?, position(sub.epoch, sub.offset))))
        .collect()
}

fn position(epoch: String, offset: u64) -> StreamPosition {
    StreamPosition { epoch, offset }
}

fn channel(name: &str) -> Result<Channel, Wrong> {
    if name.is_empty() {
        return Err(DecodeError::Malformed("a command without a channel").into());
    }
    Channel::parse(name).map_err(|_| CommandError::BadRequest.into())
}

/// A payload in the form that goes on the bus. That it is a JSON text, Protobuf does not say.
fn payload(data: Bytes, max_depth: usize) -> Result<Bytes, CommandError> {
    if data.is_empty() {
        return Ok(data);
    }
    if std::str::from_utf8(&data).is_err() {
        return Err(CommandError::BadRequest);
    }
    json::compact(data, max_depth).map_err(|_| CommandError::BadRequest)
}

fn node_of(wire: wire::FilterNode) -> Option<Node> {
    let mut nodes = wire.nodes.into_iter();
    Some(match wire.op.as_str() {
        "" => Node::Tag {
            key: Some(wire.key).filter(|key| !key.is_empty())?,
            test: test_of(&wire.cmp, wire.val, wire.vals)?,
        },
        "and" => Node::And(nodes.map(node_of).collect::<Option<_>>()?),
        "or" => Node::Or(nodes.map(node_of).collect::<Option<_>>()?),
        "not" => {
            let node = node_of(nodes.next()?)?;
            if nodes.next().is_some() {
                return None;
            }
            Node::Not(Box::new(node))
        }
        _ => return None,
    })
}

fn test_of(cmp: &str, value: String, values: Vec<String>) -> Option<Test> {
    let number = || value.parse().ok();
    Some(match cmp {
        "eq" => Test::Equal(value),
        "neq" => Test::NotEqual(value),
        "in" => Test::In(values),
        "nin" => Test::NotIn(values),
        "ex" => Test::Exists,
        "nex" => Test::Missing,
        "sw" => Test::StartsWith(value),
        "ew" => Test::EndsWith(value),
        "ct" => Test::Contains(value),
        "lt" => Test::Less(number()?),
        "lte" => Test::AtMost(number()?),
        "gt" => Test::Greater(number()?),
        "gte" => Test::AtLeast(number()?),
        _ => return None,
    })
}
