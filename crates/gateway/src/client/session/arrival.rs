//! Who the client is: what it says when it comes, and when its token runs out.
//!
//! A client whom the server subscribes to channels is let in when all of them are heard. Invariant: until it is let in, its further requests
//! are held, in order, and it is told of nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use protocol::command::Connect;
use protocol::event::{Answer, Connected};
use protocol::{Channel, Close, CommandError, Request};
use uuid::Uuid;

use super::subscription::{Expiry, Source, Why, Wish};
use super::{Denial, Session, Stage, answer};
use crate::backend::Event;
use crate::channel_rules::Entry;
use crate::client::{Action, Moment};
use crate::grant::Grant;
use crate::token::{ConnectionClaims, Origin, TokenError};

/// Who a client is.
#[derive(Debug, Default)]
pub(super) struct Identity {
    /// "" is nobody in particular.
    pub(super) user: Arc<str>,
    /// What others may see of it; JSON, may be empty.
    pub(super) info: Bytes,
    /// When it has to have been shown that it may stay; `None`: it may.
    pub(super) expires: Option<Expiry>,
    /// The backend has let it in, and says how long.
    pub(super) is_of_backend: bool,
    /// The token that says so; `None`: none does.
    pub(super) token: Option<Box<Origin>>,
}

/// A client on its way in.
pub(super) struct Arrival {
    request: u32,
    pub(super) identity: Identity,
    /// What it is told when it is let in; JSON, may be empty.
    data: Bytes,
    /// Channels that are not heard yet; `None` while the backend is asked who it is.
    missing: Option<usize>,
    /// What it has asked for meanwhile.
    held: Vec<Request>,
}

impl Session {
    pub(super) fn connect(
        &mut self,
        id: u32,
        connect: Connect,
        at: Moment,
        actions: &mut Vec<Action>,
    ) -> Result<(), Denial> {
        if connect.token.is_empty() && self.terms.asks(Event::Connect) {
            self.stage = Stage::Arriving(Arrival::of(id));
            self.consult_connect(id, connect, actions);
            return Ok(());
        }
        let (identity, channels) = match self.identify(&connect, at) {
            Ok(identified) => identified,
            Err(denial) => {
                self.stage = Stage::Refused;
                return Err(denial);
            }
        };
        let channels = channels.into_iter().map(|(channel, grant)| {
            let wish = Wish::new(Why::Connect(id), connect.positions.contains_key(&channel));
            // What comes with the connection's token lasts as long as the connection.
            (channel, grant, Source::Connection, None, wish)
        });
        let channels = channels.collect();
        self.stage = Stage::Arriving(Arrival::of(id));
        self.arrive(identity, Bytes::new(), channels, at, actions)
    }

    /// It is known who the client is; it is let in when its channels are heard.
    pub(super) fn arrive(
        &mut self,
        identity: Identity,
        data: Bytes,
        channels: Vec<(Channel, Grant, Source, Option<Expiry>, Wish)>,
        at: Moment,
        actions: &mut Vec<Action>,
    ) -> Result<(), Denial> {
        let Stage::Arriving(arrival) = &mut self.stage else {
            return Ok(());
        };
        if channels.len() > self.terms.settings.channels {
            return Err(Close::ChannelLimit.into());
        }
        (arrival.identity, arrival.data, arrival.missing) = (identity, data, Some(channels.len()));
        for (channel, grant, source, expires, wish) in channels {
            if let Err(error) = self.subscribe_by_server(channel, grant, source, expires, wish, actions) {
                // Nothing of what was asked for before is wanted any more.
                self.subscriptions.clear();
                self.stage = Stage::Refused;
                actions.retain(|action| !matches!(action, Action::Subscribe { .. }));
                return Err(error.into());
            }
        }
        self.let_in(at, actions);
        Ok(())
    }

    /// Who says `connect`, and what the server subscribes it to.
    fn identify(&self, connect: &Connect, at: Moment) -> Result<(Identity, BTreeMap<Channel, Grant>), Denial> {
        if connect.token.is_empty() {
            return match self.terms.settings.anonymous {
                true => Ok(Default::default()),
                false => Err(CommandError::Unauthorized.into()),
            };
        }
        match self.terms.tokens.connection(&connect.token, at.wall) {
            Ok(claims) => Ok(Identity::of(claims, at)),
            Err(TokenError::Expired(_)) => Err(CommandError::TokenExpired.into()),
            Err(TokenError::Lapsed) => Err(CommandError::Expired.into()),
            Err(TokenError::UnknownKey { .. }) => Err(CommandError::Internal.into()),
            Err(error) => {
                tracing::debug!(%error, "refused a client");
                Err(Close::InvalidToken.into())
            }
        }
    }

    /// One of the channels that the server subscribes the client to is heard.
    pub(super) fn one_is_heard(&mut self, at: Moment, actions: &mut Vec<Action>) {
        if let Stage::Arriving(arrival) = &mut self.stage {
            arrival.missing = arrival.missing.map(|missing| missing.saturating_sub(1));
        }
        self.let_in(at, actions);
    }

    /// Lets the client in if nothing is missing, and does what it has asked for meanwhile.
    fn let_in(&mut self, at: Moment, actions: &mut Vec<Action>) {
        let arrival = match std::mem::replace(&mut self.stage, Stage::Refused) {
            Stage::Arriving(arrival) if arrival.missing == Some(0) => *arrival,
            other => {
                self.stage = other;
                return;
            }
        };
        let Arrival {
            request,
            identity,
            data,
            held,
            ..
        } = arrival;
        let expires = identity.expires.and_then(|expires| expires.told(at));
        actions.push(Action::Known {
            user: Arc::clone(&identity.user),
            client: self.id,
            secret: self.secret.as_deref().copied(),
        });
        self.stage = Stage::Known(Box::new(identity));
        let (subscriptions, entered) = self.activate_all(at, actions);
        let connected = Connected {
            client: self.id.to_string(),
            expires,
            data,
            subscriptions,
            ping: (!self.has_native_pings).then_some(self.terms.settings.ping_interval),
            session: self.secret.as_deref().map(Uuid::to_string).unwrap_or_default(),
            node: match self.secret {
                Some(_) if !self.is_one_way => self.terms.node.to_string(),
                _ => String::new(),
            },
        };
        actions.push(answer(request, Ok(Answer::Connected(Box::new(connected)))));
        actions.extend(entered);
        self.take(held.into_iter().map(Ok), at, actions);
    }

    /// Keeps a request until the client is let in.
    pub(super) fn hold(&mut self, request: Request, actions: &mut Vec<Action>) {
        let most = self.terms.settings.pending_commands;
        match &mut self.stage {
            Stage::Arriving(arrival) if arrival.held.len() < most => arrival.held.push(request),
            _ => actions.push(answer(request.id, Err(CommandError::TooManyRequests))),
        }
    }

    /// The node could not do what `request` asked for. Returns whether that was to let the client in, which is refused then.
    pub(super) fn arrival_failed(&mut self, request: u32, error: &CommandError, actions: &mut Vec<Action>) -> bool {
        if !matches!(&self.stage, Stage::Arriving(arrival) if arrival.request == request) {
            return false;
        }
        self.refuse_arrival(request, error.clone(), actions);
        true
    }

    pub(super) fn refuse_arrival(&mut self, request: u32, error: CommandError, actions: &mut Vec<Action>) {
        self.subscriptions.clear();
        self.stage = Stage::Refused;
        self.tell_error(request, error, actions);
    }

    /// A new token for the connection.
    pub(super) fn refresh(
        &mut self,
        id: u32,
        token: &str,
        at: Moment,
        actions: &mut Vec<Action>,
    ) -> Result<(), Denial> {
        if token.is_empty() {
            return Err(Close::BadRequest.into());
        }
        let claims = self
            .terms
            .tokens
            .connection(token, at.wall)
            .map_err(|error| match error {
                TokenError::Expired(_) | TokenError::Lapsed => Close::Expired.into(),
                TokenError::UnknownKey { .. } => CommandError::Internal.into(),
                TokenError::Invalid(_) | TokenError::WrongSubject(_) => Denial::from(Close::InvalidToken),
            })?;
        let (identity, channels) = Identity::of(claims, at);
        let Stage::Known(known) = &mut self.stage else {
            return Err(Close::BadRequest.into());
        };
        if known.is_of_backend {
            return Err(Close::BadRequest.into());
        }
        if known.user != identity.user {
            return Err(Close::InvalidToken.into());
        }
        let granted = self
            .subscriptions
            .iter()
            .filter(|(_, it)| it.source == Source::Connection);
        let is_same = granted.clone().count() == channels.len()
            && granted.clone().all(|(channel, _)| channels.contains_key(channel));
        if !is_same {
            // By connecting again it gets what the new token grants.
            return Err(Close::InsufficientState.into());
        }
        let expires = identity.expires.and_then(|expires| expires.told(at));
        **known = identity;
        actions.push(answer(id, Ok(Answer::Refreshed { expires })));
        Ok(())
    }

    /// Subscribes the client to a channel that it has not asked for itself.
    pub(super) fn subscribe_by_server(
        &mut self,
        channel: Channel,
        grant: Grant,
        source: Source,
        expires: Option<Expiry>,
        wish: Wish,
        actions: &mut Vec<Action>,
    ) -> Result<(), CommandError> {
        let terms = Arc::clone(&self.terms);
        let right = terms.rules.right(&channel).ok_or(CommandError::UnknownChannel)?;
        if right.entry(&channel, self.user()) == Entry::Closed {
            return Err(CommandError::PermissionDenied);
        }
        self.ask(channel, &right, source, grant, expires, wish, actions);
        Ok(())
    }
}

impl Arrival {
    /// Of a client that has just said `request`.
    fn of(request: u32) -> Box<Self> {
        Box::new(Self {
            request,
            identity: Identity::default(),
            data: Bytes::new(),
            missing: None,
            held: Vec::new(),
        })
    }
}

impl Identity {
    /// Who a token says it is, and what it grants.
    fn of(claims: ConnectionClaims, at: Moment) -> (Self, BTreeMap<Channel, Grant>) {
        let identity = Self {
            user: claims.user.into(),
            info: claims.info.unwrap_or_default(),
            expires: claims.expires.map(|expires| Expiry::by_client(at.until(expires))),
            is_of_backend: false,
            token: Some(Box::new(claims.origin)),
        };
        (identity, claims.channels)
    }
}

impl Moment {
    /// When `time` will be.
    pub(super) fn until(&self, time: SystemTime) -> Instant {
        self.now + time.duration_since(self.wall).unwrap_or_default()
    }
}
