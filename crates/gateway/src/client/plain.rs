//! A client that talks in nothing but payloads, of one channel: what becomes of them.

use std::sync::Arc;
use std::time::Instant;

use bus::Outgoing;
use bytes::Bytes;
use protocol::frame::{self, Kind, Message};
use protocol::{Attributes, Channel, Command, Dialect, Request};
use uuid::Uuid;

use super::Action;
use crate::allowance::Allowance;
use crate::ask::Attendance;
use crate::stats::Dropped;

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
}

/// Who a plain WebSocket is.
pub(crate) struct Who {
    pub(crate) client: Uuid,
    pub(crate) user: Arc<str>,
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
        }
    }

    /// What to do about a message.
    pub(super) fn receive(&mut self, dialect: &Dialect, message: Message, json_depth: usize, now: Instant) -> Action {
        #[cfg(test)]
        assert!(self.mode != Mode::Panics, "a client that panics");
        if self.mode == Mode::Echoes {
            return Action::Send(match message.kind {
                Kind::Text => frame::text(&message.data),
                Kind::Binary => frame::binary(&message.data),
            });
        }
        match dialect.decode(message, json_depth).next() {
            Some(Ok(Request {
                command: Ok(Command::Publish { channel, data }),
                ..
            })) => self.publish(channel, data, now),
            Some(Ok(_)) => Action::Drop(Dropped::NotAllowed),
            Some(Err(error)) => {
                tracing::debug!(%error, "dropped a message");
                Action::Drop(Dropped::Malformed)
            }
            None => Action::Drop(Dropped::Malformed),
        }
    }

    fn publish(&mut self, channel: Channel, data: Bytes, now: Instant) -> Action {
        if self.mode != Mode::Publishes || self.message_size.is_some_and(|most| data.len() > most) {
            return Action::Drop(Dropped::NotAllowed);
        }
        if let Some(allowance) = &mut self.allowance
            && !allowance.take(now)
        {
            return Action::Drop(Dropped::RateLimit);
        }
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

    /// Says where others see it that the client has come.
    pub(super) fn enter(&self, actions: &mut Vec<Action>) {
        if let Some(who) = &self.who {
            actions.push(Action::Known {
                user: Arc::clone(&who.user),
                client: who.client,
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
