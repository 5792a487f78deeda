//! A conversation in commands and answers: who the client is, and which channels it has.
//!
//! A state machine without I/O: takes requests, says what to do. Invariant: a channel is in the table exactly while the client is subscribed or
//! waits to be, and whatever expects an answer gets one.

use std::collections::HashMap;
use std::sync::Arc;

use bus::Outgoing;
use protocol::command::{Connect, Subscribe};
use protocol::dialect::Requests;
use protocol::event::{Answer, Connected, Recovery, Subscribed};
use protocol::{Attributes, Channel, ClientInfo, Close, Command, CommandError, Request};
use uuid::Uuid;

use super::Action;
use crate::channel_rules::{ChannelRules, Right};
use crate::config::Centrifuge;

pub(crate) struct Session {
    rules: Arc<ChannelRules>,
    settings: Arc<Centrifuge>,
    /// Names the connection among those of all processes.
    id: Uuid,
    stage: Stage,
    subscriptions: HashMap<Channel, Subscription>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It has not said who it is.
    New,
    /// It may not be here, and was told so.
    Refused,
    Known,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subscription {
    /// The node has not answered yet.
    Asked {
        request: u32,
        /// The client wants to know what it missed.
        recovers: bool,
    },
    Active,
}

impl Session {
    pub(crate) fn new(rules: Arc<ChannelRules>, settings: Arc<Centrifuge>) -> Self {
        Self {
            rules,
            settings,
            id: Uuid::new_v4(),
            stage: Stage::New,
            subscriptions: HashMap::new(),
        }
    }

    pub(super) fn is_known(&self) -> bool {
        self.stage == Stage::Known
    }

    /// What to do about the requests of one message.
    pub(super) fn receive(&mut self, requests: Requests, actions: &mut Vec<Action>) {
        for request in requests {
            let outcome = match request {
                Ok(request) => self.act(request, actions),
                Err(error) => {
                    tracing::debug!(%error, "a client broke its dialect");
                    Err(Close::BadRequest)
                }
            };
            if let Err(close) = outcome {
                actions.push(Action::Close(close));
                return;
            }
            if self.stage == Stage::Refused {
                return;
            }
        }
    }

    /// The node listens to a channel that `request` asked for. `None`: nobody waits for it any more. Otherwise the answer.
    pub(super) fn joined(&mut self, channel: &Channel, request: u32) -> Option<Answer> {
        let subscription = self.subscriptions.get_mut(channel)?;
        let Subscription::Asked {
            request: asked,
            recovers,
        } = *subscription
        else {
            return None;
        };
        if asked != request {
            return None;
        }
        *subscription = Subscription::Active;
        Some(Answer::Subscribed(Box::new(Subscribed {
            // Nothing of the past is kept, so what was missed is not known.
            recovery: recovers.then_some(Recovery::Lost),
            ..Subscribed::default()
        })))
    }

    /// The node could not do what `request` asked for.
    pub(super) fn failed(&mut self, request: u32) {
        self.subscriptions.retain(
            |_, subscription| !matches!(subscription, Subscription::Asked { request: asked, .. } if *asked == request),
        );
    }

    fn act(&mut self, request: Request, actions: &mut Vec<Action>) -> Result<(), Close> {
        let Request { id, command } = request;
        if matches!(command, Ok(Command::Pong)) {
            actions.push(Action::Pong);
            return Ok(());
        }
        match (self.stage, command) {
            (Stage::New, Ok(Command::Connect(connect))) => self.connect(id, *connect, actions),
            (Stage::New | Stage::Refused, _) | (Stage::Known, Ok(Command::Connect(_))) => Err(Close::BadRequest),
            (Stage::Known, Ok(command)) => self.carry_out(id, command, actions),
            (Stage::Known, Err(error)) => {
                actions.push(answer(id, Err(error)));
                Ok(())
            }
        }
    }

    fn connect(&mut self, id: u32, connect: Connect, actions: &mut Vec<Action>) -> Result<(), Close> {
        if !connect.token.is_empty() {
            // No key is known that could have signed it.
            return Err(Close::InvalidToken);
        }
        if !self.settings.anonymous {
            self.stage = Stage::Refused;
            actions.push(answer(id, Err(CommandError::Unauthorized)));
            return Ok(());
        }
        self.stage = Stage::Known;
        actions.push(answer(
            id,
            Ok(Answer::Connected(Box::new(Connected {
                client: self.id.to_string(),
                ping: Some(self.settings.ping_interval),
                ..Connected::default()
            }))),
        ));
        actions.push(Action::Known);
        Ok(())
    }

    fn carry_out(&mut self, id: u32, command: Command, actions: &mut Vec<Action>) -> Result<(), Close> {
        match command {
            Command::Subscribe(subscribe) => match self.subscribe(id, &subscribe) {
                Ok(ask) => actions.push(ask),
                Err(error) => actions.push(answer(id, Err(error))),
            },
            Command::Unsubscribe { channel } => {
                if self.subscriptions.remove(&channel).is_some() {
                    actions.push(Action::Unsubscribe { channel });
                }
                actions.push(answer(id, Ok(Answer::Unsubscribed)));
            }
            Command::Publish { channel, data } => match self.may_publish(&channel) {
                Ok(right) => actions.push(Action::Publish {
                    outgoing: Outgoing {
                        attributes: (!right.is_bare).then(|| self.attributes()),
                        ..Outgoing::new(channel, data)
                    },
                    answer: Some(id),
                }),
                Err(error) => actions.push(answer(id, Err(error))),
            },
            Command::Presence { channel } | Command::PresenceStats { channel } => {
                let error = self.closed(&channel).unwrap_or(CommandError::NotAvailable);
                actions.push(answer(id, Err(error)));
            }
            Command::History(history) => {
                let error = self.closed(&history.channel).unwrap_or(CommandError::NotAvailable);
                actions.push(answer(id, Err(error)));
            }
            Command::Rpc { .. } => actions.push(answer(id, Err(CommandError::NotAvailable))),
            Command::SubRefresh { channel, .. } if !self.subscriptions.contains_key(&channel) => {
                actions.push(answer(id, Err(CommandError::PermissionDenied)));
            }
            // Nothing here expires, and no key is known that could have signed a token.
            Command::Refresh { .. } | Command::SubRefresh { .. } => return Err(Close::InvalidToken),
            Command::Send { .. } => return Err(Close::NotAvailable),
            Command::Connect(_) | Command::Pong => unreachable!("handled before"),
        }
        Ok(())
    }

    fn subscribe(&mut self, id: u32, subscribe: &Subscribe) -> Result<Action, CommandError> {
        let channel = &subscribe.channel;
        if self.subscriptions.contains_key(channel) {
            return Err(CommandError::AlreadySubscribed);
        }
        if self.subscriptions.len() >= self.settings.channels {
            return Err(CommandError::LimitExceeded);
        }
        let right = self.rules.right(channel).ok_or(CommandError::UnknownChannel)?;
        if !right.may_subscribe || !subscribe.token.is_empty() {
            return Err(CommandError::PermissionDenied);
        }
        if subscribe.filter.is_some() {
            return Err(CommandError::BadRequest);
        }
        if subscribe.must_recover && subscribe.recover.is_some() {
            return Err(CommandError::UnrecoverablePosition);
        }
        let asked = Subscription::Asked {
            request: id,
            recovers: subscribe.recover.is_some(),
        };
        self.subscriptions.insert(channel.clone(), asked);
        Ok(Action::Subscribe {
            channel: channel.clone(),
            window: right.window,
            request: id,
        })
    }

    fn may_publish(&self, channel: &Channel) -> Result<Right, CommandError> {
        let right = self.rules.right(channel).ok_or(CommandError::UnknownChannel)?;
        let is_subscribed = self.subscriptions.get(channel) == Some(&Subscription::Active);
        match right.may_publish && is_subscribed {
            true => Ok(right),
            false => Err(CommandError::PermissionDenied),
        }
    }

    /// What travels with a publication of this client.
    fn attributes(&self) -> Box<Attributes> {
        Box::new(Attributes {
            publisher: Some(ClientInfo {
                client: self.id.to_string(),
                ..ClientInfo::default()
            }),
            ..Attributes::default()
        })
    }

    /// Why the client may not ask about `channel`, if it may not.
    fn closed(&self, channel: &Channel) -> Option<CommandError> {
        match self.rules.right(channel) {
            None => Some(CommandError::UnknownChannel),
            Some(right) if !right.may_subscribe => Some(CommandError::PermissionDenied),
            Some(_) => None,
        }
    }
}

fn answer(request: u32, result: Result<Answer, CommandError>) -> Action {
    Action::Answer { request, result }
}

#[cfg(test)]
mod tests {
    use protocol::dialect::Format;
    use protocol::frame::{Kind, Message};
    use protocol::{Dialect, Encoding, Event};

    use super::*;
    use crate::config::Config;

    fn session() -> Session {
        let mut config = Config {
            dev: true,
            ..Config::default()
        };
        config.centrifuge.anonymous = true;
        config.centrifuge.channels = 2;
        let rules = Arc::new(ChannelRules::new(&config));
        Session::new(rules, Arc::new(config.centrifuge))
    }

    /// What is to be done about a message, in words.
    fn does(session: &mut Session, message: &'static str) -> Vec<String> {
        let message = Message {
            kind: Kind::Text,
            data: message.into(),
        };
        let mut actions = Vec::new();
        session.receive(Dialect::Centrifuge(Format::Json).decode(message, 64), &mut actions);
        actions.iter().map(words).collect()
    }

    fn words(action: &Action) -> String {
        match action {
            Action::Answer {
                result: Ok(Answer::Connected(_)),
                ..
            } => "welcome".into(),
            Action::Answer { request, result } => {
                let (id, result) = (*request, result.as_ref());
                let frame = Encoding::CentrifugeJson.encode(&Event::Answer { id, result });
                String::from_utf8_lossy(&frame[2..]).into_owned()
            }
            Action::Subscribe { channel, request, .. } => format!("subscribe {channel} for {request}"),
            Action::Unsubscribe { channel } => format!("unsubscribe {channel}"),
            Action::Publish { outgoing, answer } => format!("publish in {} for {answer:?}", outgoing.channel),
            other => format!("{other:?}"),
        }
    }

    fn joins(session: &mut Session, channel: &str, request: u32) -> Option<bool> {
        let channel = Channel::parse(channel).expect("valid");
        match session.joined(&channel, request)? {
            Answer::Subscribed(subscribed) => Some(subscribed.recovery.is_some()),
            other => panic!("{other:?}"),
        }
    }

    const CONNECT: &str = r#"{"id":1,"connect":{}}"#;

    #[test]
    fn the_first_command_says_who_it_is() {
        assert_eq!(does(&mut session(), CONNECT), ["welcome", "Known"]);
        let nobody = does(&mut session(), r#"{"id":1,"subscribe":{"channel":"a"}}"#);
        assert_eq!(nobody, ["Close(BadRequest)"]);
        let mut twice = session();
        does(&mut twice, CONNECT);
        assert_eq!(does(&mut twice, CONNECT), ["Close(BadRequest)"]);
        let forged = does(&mut session(), r#"{"id":1,"connect":{"token":"t"}}"#);
        assert_eq!(forged, ["Close(InvalidToken)"]);
    }

    #[test]
    fn what_follows_a_refusal_is_not_looked_at() {
        let mut session = session();
        session.settings = Arc::new(Centrifuge {
            anonymous: false,
            ..Centrifuge::clone(&session.settings)
        });
        let refused = does(
            &mut session,
            "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}",
        );
        assert_eq!(refused, [r#"{"id":1,"error":{"code":101,"message":"unauthorized"}}"#]);
        assert_eq!(does(&mut session, CONNECT), ["Close(BadRequest)"]);
    }

    #[test]
    fn a_subscription_is_asked_for_once_and_answered_once() {
        let mut session = session();
        does(&mut session, CONNECT);
        let subscribe = r#"{"id":2,"subscribe":{"channel":"a"}}"#;
        assert_eq!(does(&mut session, subscribe), ["subscribe a for 2"]);
        let again = does(&mut session, r#"{"id":3,"subscribe":{"channel":"a"}}"#);
        assert_eq!(
            again,
            [r#"{"id":3,"error":{"code":105,"message":"already subscribed"}}"#]
        );
        // Only who is in the channel may publish there.
        let publish = r#"{"id":4,"publish":{"channel":"a","data":1}}"#;
        let early = does(&mut session, publish);
        assert_eq!(
            early,
            [r#"{"id":4,"error":{"code":103,"message":"permission denied"}}"#]
        );
        assert_eq!(joins(&mut session, "a", 9), None, "another's answer");
        assert_eq!(joins(&mut session, "a", 2), Some(false));
        assert_eq!(joins(&mut session, "a", 2), None);
        assert_eq!(does(&mut session, publish), ["publish in a for Some(4)"]);
    }

    #[test]
    fn who_leaves_while_waiting_is_not_taken_in() {
        let mut session = session();
        does(&mut session, CONNECT);
        does(&mut session, r#"{"id":2,"subscribe":{"channel":"a"}}"#);
        let left = does(&mut session, r#"{"id":3,"unsubscribe":{"channel":"a"}}"#);
        assert_eq!(left, ["unsubscribe a", r#"{"id":3,"unsubscribe":{}}"#]);
        does(&mut session, r#"{"id":4,"subscribe":{"channel":"a"}}"#);
        assert_eq!(joins(&mut session, "a", 2), None);
        assert_eq!(joins(&mut session, "a", 4), Some(false));
    }

    #[test]
    fn a_failed_subscription_makes_room() {
        let mut session = session();
        does(&mut session, CONNECT);
        does(
            &mut session,
            "{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}\n{\"id\":3,\"subscribe\":{\"channel\":\"b\"}}",
        );
        let third = r#"{"id":4,"subscribe":{"channel":"c"}}"#;
        assert_eq!(
            does(&mut session, third),
            [r#"{"id":4,"error":{"code":106,"message":"limit exceeded"}}"#]
        );
        session.failed(2);
        assert_eq!(does(&mut session, third), ["subscribe c for 4"]);
    }

    #[test]
    fn nothing_of_the_past_is_promised() {
        let mut session = session();
        does(&mut session, CONNECT);
        does(
            &mut session,
            r#"{"id":2,"subscribe":{"channel":"a","recover":true,"offset":4,"epoch":"e"}}"#,
        );
        assert_eq!(
            joins(&mut session, "a", 2),
            Some(true),
            "what was missed is lost, and said to be"
        );
        let strict = does(
            &mut session,
            r#"{"id":3,"subscribe":{"channel":"b","recover":true,"offset":4,"epoch":"e","flag":2}}"#,
        );
        assert_eq!(
            strict,
            [r#"{"id":3,"error":{"code":112,"message":"unrecoverable position"}}"#]
        );
    }
}
