//! A client that talks in nothing but payloads, of one channel: what becomes of them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bus::Outgoing;
use bytes::Bytes;
use protocol::frame::{self, Kind, Message};
use protocol::{Attributes, Channel, Command, Dialect, Request};
use uuid::Uuid;

use super::Action;
use crate::allowance::Allowance;
use crate::backend::{Call, Caller, Failure, Question, Reply, Verdict};
use crate::lane::ask::Attendance;
use crate::stats::Dropped;
use crate::token::Origin;
use crate::token::revocation::Revocations;

/// A plain WebSocket in its channel.
pub(crate) struct Plain {
    pub(crate) mode: Mode,
    /// Who it is, if anybody has said so, or others see it.
    pub(crate) who: Option<Box<Who>>,
    /// How it is seen in its channel; `None` where nobody is.
    pub(crate) place: Option<Box<Attendance>>,
    /// When its token runs out; `None`: never.
    pub(crate) expires: Option<Instant>,
    /// Most bytes of a publication, if the channel's rule says.
    pub(crate) message_size: Option<usize>,
    /// How often it may publish, if the channel's rule says.
    pub(crate) allowance: Option<Box<Allowance>>,
    /// What waits for the backend's word, where it is asked about publications.
    pub(crate) approval: Option<Box<Approval>>,
}

/// Publications that the backend has to approve of, one after another so that they stay in order.
pub(crate) struct Approval {
    pub(crate) caller: Caller,
    /// The first is asked about.
    pub(crate) waiting: VecDeque<Bytes>,
    pub(crate) channel: Channel,
}

/// Most publications of one client that wait for the backend.
const MOST_WAITING: usize = 64;

impl Approval {
    /// Asks about the first that waits.
    fn ask(&self) -> Option<Action> {
        let data = self.waiting.front()?.clone();
        let question = Question::Publish {
            channel: self.channel.clone(),
            data,
        };
        let caller = self.caller.clone();
        Some(Action::Consult {
            call: Box::new(Call { caller, question }),
            number: 0,
        })
    }
}

/// Who a plain WebSocket is.
pub(crate) struct Who {
    pub(crate) client: Uuid,
    pub(crate) user: Arc<str>,
    /// What it came with; `None`: no token.
    pub(crate) bearing: Option<Box<Bearing>>,
}

/// A token that somebody is here with.
pub(crate) struct Bearing {
    pub(crate) token: Origin,
    pub(crate) revocations: Arc<Revocations>,
}

/// What becomes of the messages of a plain WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// They are published.
    Publishes,
    /// They are published if the backend approves.
    Asks,
    /// They are dropped: the client only hears.
    Listens,
    /// They come back to the client and to nobody else, for conformance suites.
    Echoes,
    /// They panic, to see what becomes of the others.
    #[cfg(test)]
    Panics,
}

impl Plain {
    /// A client whom nobody sees and nothing limits.
    pub(crate) fn new(mode: Mode) -> Self {
        Self {
            mode,
            who: None,
            place: None,
            expires: None,
            message_size: None,
            allowance: None,
            approval: None,
        }
    }

    /// What to do about a message.
    pub(super) fn receive(
        &mut self,
        dialect: &Dialect,
        message: Message,
        json_depth: usize,
        now: Instant,
    ) -> Option<Action> {
        #[cfg(test)]
        assert!(self.mode != Mode::Panics, "a client that panics");
        if self.mode == Mode::Echoes {
            return Some(Action::Send(match message.kind {
                Kind::Text => frame::text(&message.data),
                Kind::Binary => frame::binary(&message.data),
            }));
        }
        match dialect.decode(message, json_depth).next() {
            Some(Ok(Request {
                command: Ok(Command::Publish { channel, data }),
                ..
            })) => self.publish(channel, data, now),
            Some(Ok(_)) => Some(Action::Drop(Dropped::NotAllowed)),
            Some(Err(error)) => {
                tracing::debug!(%error, "dropped a message");
                Some(Action::Drop(Dropped::Malformed))
            }
            None => Some(Action::Drop(Dropped::Malformed)),
        }
    }

    fn publish(&mut self, channel: Channel, data: Bytes, now: Instant) -> Option<Action> {
        let may_publish = matches!(self.mode, Mode::Publishes | Mode::Asks);
        if !may_publish || self.message_size.is_some_and(|most| data.len() > most) {
            return Some(Action::Drop(Dropped::NotAllowed));
        }
        if let Some(allowance) = &mut self.allowance
            && !allowance.take(now)
        {
            return Some(Action::Drop(Dropped::RateLimit));
        }
        let Some(approval) = &mut self.approval else {
            return Some(self.published(channel, data));
        };
        if approval.waiting.len() >= MOST_WAITING {
            return Some(Action::Drop(Dropped::RateLimit));
        }
        approval.waiting.push_back(data);
        (approval.waiting.len() == 1).then(|| approval.ask()).flatten()
    }

    fn published(&self, channel: Channel, data: Bytes) -> Action {
        let mut outgoing = Outgoing::new(channel, data);
        // Where clients are seen, so is who publishes.
        outgoing.attributes = self.place.as_ref().map(|place| {
            Box::new(Attributes {
                publisher: Some((*place.client).clone()),
                ..Attributes::default()
            })
        });
        Action::Publish { outgoing, answer: None }
    }

    /// The backend has said whether the first publication that waits may be.
    pub(super) fn consulted(&mut self, outcome: Result<Verdict<Reply>, Failure>, actions: &mut Vec<Action>) {
        let Some(approval) = &mut self.approval else { return };
        let Some(data) = approval.waiting.pop_front() else {
            return;
        };
        let (channel, next) = (approval.channel.clone(), approval.ask());
        actions.push(match outcome {
            Ok(Verdict::Granted(Reply::Publish(granted))) => {
                let mut action = self.published(channel, granted.data.unwrap_or(data));
                if let Action::Publish { outgoing, .. } = &mut action {
                    if !granted.tags.is_empty() {
                        outgoing.attributes.get_or_insert_default().tags = granted.tags;
                    }
                    outgoing.once = Some(granted.idempotency_key).filter(|key| !key.is_empty());
                }
                action
            }
            Ok(Verdict::Granted(_) | Verdict::Nothing) => self.published(channel, data),
            Ok(Verdict::Refused(_)) => Action::Drop(Dropped::NotAllowed),
            Ok(Verdict::Disconnect(disconnect)) => Action::Close(disconnect.close()),
            Err(failure) => {
                tracing::debug!(%failure, "the backend did not answer");
                Action::Drop(Dropped::NotAllowed)
            }
        });
        actions.extend(next);
    }

    /// Whether it came with a token that is not believed any more.
    pub(super) fn is_revoked(&self, now: SystemTime) -> bool {
        let Some(Who {
            user,
            bearing: Some(bearing),
            ..
        }) = self.who.as_deref()
        else {
            return false;
        };
        bearing.revocations.is_revoked(user, &bearing.token, now)
    }

    /// Says where others see it that the client has come.
    pub(super) fn enter(&self, actions: &mut Vec<Action>) {
        if let Some(who) = &self.who {
            actions.push(Action::Known {
                user: Arc::clone(&who.user),
                client: who.client,
                secret: None,
            });
        }
        actions.extend(self.place.as_deref().cloned().map(Action::Attend));
    }

    /// Says where others see it that the client is gone.
    pub(super) fn exit(&mut self, actions: &mut Vec<Action>) {
        if let Some(place) = self.place.take() {
            actions.push(Action::Attend(Attendance { comes: false, ..*place }));
        }
    }
}
