//! What the application wants of a connection, by the server API.

use std::time::SystemTime;

use bytes::Bytes;
use protocol::event::Unsubscribed;
use protocol::{Channel, Close};

use super::subscription::{Expiry, Source, Why, Wish};
use super::{Session, Stage};
use crate::client::{Action, Moment, Notice};
use crate::grant::Grant;

/// One thing that the application wants of a connection.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Order {
    /// It hears a channel from now on.
    Subscribe {
        channel: Channel,
        grant: Grant,
        /// `None`: for good.
        expires: Option<SystemTime>,
    },
    /// It hears a channel no more; without one, none.
    Unsubscribe {
        channel: Option<Channel>,
        why: Unsubscribed,
    },
    /// It lasts so long, and others see this of it.
    Refresh {
        /// It is over now.
        is_over: bool,
        /// `None`: for good.
        expires: Option<SystemTime>,
        /// JSON; `None` leaves it as it is.
        info: Option<Bytes>,
    },
    /// It ends.
    Close(Close),
}

impl Session {
    /// Does what the application wants.
    pub(in crate::client) fn obey(&mut self, order: Order, at: Moment, actions: &mut Vec<Action>) {
        match order {
            Order::Subscribe {
                channel,
                grant,
                expires,
            } => self.subscribe_by_order(channel, grant, expires, at, actions),
            Order::Unsubscribe { channel, why } => {
                let channels = match channel {
                    Some(channel) => vec![channel],
                    None => self.subscriptions.names().cloned().collect(),
                };
                for channel in channels {
                    if self.unsubscribe(&channel, actions) {
                        let why = why.clone();
                        actions.push(Action::Tell(Notice::Unsubscribed { channel, why }));
                    }
                }
            }
            Order::Refresh { is_over: true, .. } => actions.push(Action::Close(Close::Expired)),
            Order::Refresh { expires, info, .. } => {
                let Stage::Known(identity) = &mut self.stage else {
                    return;
                };
                identity.expires = expires.map(|expires| Expiry::by_client(at.until(expires)));
                if let Some(info) = info {
                    identity.info = info;
                }
                let expires = identity.expires.and_then(|expires| expires.told(at));
                actions.push(Action::Tell(Notice::Refreshed { expires }));
            }
            Order::Close(close) => actions.push(Action::Close(close)),
        }
    }

    fn subscribe_by_order(
        &mut self,
        channel: Channel,
        grant: Grant,
        expires: Option<SystemTime>,
        at: Moment,
        actions: &mut Vec<Action>,
    ) {
        // Nobody waits for an answer: the API has said already which channels there are.
        if self.subscriptions.has(&channel) {
            return;
        }
        if self.subscriptions.len() >= self.terms.settings.channels {
            tracing::debug!(%channel, "a client has too many channels for one more by the server API");
            return;
        }
        let expires = expires.map(|expires| Expiry::by_server(at.until(expires)));
        let wish = Wish::new(Why::Order, false);
        if let Err(error) = self.subscribe_by_server(channel, grant, Source::Server, expires, wish, actions) {
            tracing::debug!(%error, "a subscription by the server API is against the rules");
        }
    }
}
