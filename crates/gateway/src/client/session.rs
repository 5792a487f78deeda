//! A conversation in commands and answers: who carries out which command, and when.
//!
//! A state machine without I/O: takes requests, says what to do. Who the client is stands in `arrival`, which channels it has in
//! `subscriptions`, and what the application wants of it in `orders`. Invariant: whatever expects an answer gets one, unless the connection
//! is closed.

use std::sync::Arc;
use std::time::Instant;

use bus::Outgoing;
use bytes::Bytes;
use protocol::dialect::{DecodeError, Requests};
use protocol::event::{Answer, Unsubscribed};
use protocol::{Attributes, Channel, ClientInfo, Close, Command, CommandError, Request};
use uuid::Uuid;

use super::{Action, Moment, Notice, Origin};
use crate::allowance::{Allowance, ByChannel, Rate};
use crate::backend::{Backend, Event};
use crate::channel_rules::{ChannelRules, Right};
use crate::config::{Centrifuge, Rates};
use crate::lane::ask::Reading;
use crate::token::{self, Verifier};

mod arrival;
mod consult;
mod orders;
mod subscription;
mod subscriptions;
mod table;
#[cfg(test)]
mod tests;

use arrival::{Arrival, Identity};
use consult::Consultations;
pub(crate) use orders::Order;
use subscription::Expiry;
use table::Table;

/// What holds for every session of a node.
pub(crate) struct Terms {
    pub(crate) rules: Arc<ChannelRules>,
    pub(crate) settings: Centrifuge,
    pub(crate) rates: Rates,
    pub(crate) tokens: Arc<Verifier>,
    /// `None`: there is none to ask.
    pub(crate) backend: Option<Arc<Backend>>,
    /// The process, by its name on the bus.
    pub(crate) node: Uuid,
    /// Stands for how every client came, where there is nobody to tell it to.
    pub(crate) untold: Arc<Origin>,
}

impl Terms {
    /// Whether the backend is asked about `event`.
    pub(crate) fn asks(&self, event: Event) -> bool {
        self.backend.as_ref().is_some_and(|backend| backend.answers(event))
    }
}

pub(crate) struct Session {
    terms: Arc<Terms>,
    /// How the client came.
    origin: Arc<Origin>,
    /// Names the connection in requests that come apart from it; known to its client only.
    secret: Option<Box<Uuid>>,
    /// The client only hears.
    is_one_way: bool,
    /// The client is pinged by its WebSocket alone.
    has_native_pings: bool,
    /// Names the connection among those of all processes.
    id: Uuid,
    stage: Stage,
    subscriptions: Table,
    /// Requests that the node has still to answer.
    pending: usize,
    /// What is left of the client's rates; made when first asked for.
    budget: Option<Box<Budget>>,
    /// What the backend is asked; made when it is first asked.
    consultations: Option<Box<Consultations>>,
}

enum Stage {
    /// It has not said who it is.
    New,
    /// It has, and waits to be let in.
    Arriving(Box<Arrival>),
    /// It may not be here, and was told so.
    Refused,
    Known(Box<Identity>),
}

/// Why a command is not carried out.
#[derive(Debug)]
enum Denial {
    /// The client is told, and stays.
    Error(CommandError),
    /// The connection ends.
    Close(Close),
}

impl From<CommandError> for Denial {
    fn from(error: CommandError) -> Self {
        Self::Error(error)
    }
}

impl From<Close> for Denial {
    fn from(close: Close) -> Self {
        Self::Close(close)
    }
}

/// Commands that a client has a common rate for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Subscribe,
    Publish,
    Read,
    Rpc,
    Refresh,
}

#[derive(Default)]
struct Budget {
    by_kind: [Option<Allowance>; 5],
    publications: ByChannel,
}

impl Session {
    pub(crate) fn new(terms: Arc<Terms>, origin: Arc<Origin>) -> Self {
        Self {
            terms,
            origin,
            secret: None,
            is_one_way: false,
            has_native_pings: false,
            id: Uuid::new_v4(),
            stage: Stage::New,
            subscriptions: Table::default(),
            pending: 0,
            budget: None,
            consultations: None,
        }
    }

    /// Names the connection among those of all processes.
    pub(super) fn id(&self) -> Uuid {
        self.id
    }

    /// The same for a client whose commands come apart from the connection, or that only hears.
    pub(crate) fn apart(self, is_one_way: bool) -> Self {
        Self {
            secret: Some(Box::new(Uuid::new_v4())),
            is_one_way,
            ..self
        }
    }

    /// The same for a client whose WebSocket answers pings, because nobody is there who would say the dialect's words for it.
    pub(crate) fn with_native_pings(self) -> Self {
        Self {
            has_native_pings: true,
            ..self
        }
    }

    pub(super) fn has_native_pings(&self) -> bool {
        self.has_native_pings
    }

    /// Whether the client answers pings in its dialect's words.
    pub(super) fn answers_pings(&self) -> bool {
        !self.is_one_way && !self.has_native_pings
    }

    pub(super) fn is_known(&self) -> bool {
        matches!(self.stage, Stage::Known(_))
    }

    /// Whether channels that are heard wait for others before the client is told of any.
    pub(super) fn is_arriving(&self) -> bool {
        matches!(self.stage, Stage::Arriving(_))
    }

    /// What to do about the requests of one message.
    pub(super) fn receive(&mut self, requests: Requests, at: Moment, actions: &mut Vec<Action>) {
        self.take(requests, at, actions);
    }

    fn take(
        &mut self,
        requests: impl IntoIterator<Item = Result<Request, DecodeError>>,
        at: Moment,
        actions: &mut Vec<Action>,
    ) {
        for request in requests {
            match request {
                Ok(request) if self.is_arriving() => self.hold(request, actions),
                Ok(request) => self.act(request, at, actions),
                Err(error) => {
                    tracing::debug!(%error, "a client broke its dialect");
                    actions.push(Action::Close(Close::BadRequest));
                }
            }
            if matches!(self.stage, Stage::Refused) || matches!(actions.last(), Some(Action::Close(_))) {
                return;
            }
        }
    }

    /// The node did what `request` asked for, or could not.
    pub(super) fn answered(&mut self, request: u32, result: Result<Answer, CommandError>, actions: &mut Vec<Action>) {
        self.pending = self.pending.saturating_sub(1);
        if let Err(error) = &result {
            if self.arrival_failed(request, error, actions) {
                return;
            }
            self.subscription_failed(request);
        }
        if request != 0 {
            actions.push(Action::Answer { request, result });
        }
    }

    /// When something of the client's expires next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let grace = self.terms.settings.refresh_grace;
        let connection = match &self.stage {
            Stage::Known(identity) => identity.expires,
            _ => None,
        };
        let subscriptions = self
            .subscriptions
            .iter()
            .filter_map(|(_, subscription)| subscription.expires);
        subscriptions
            .chain(connection)
            .map(|expires| expires.deadline(grace))
            .min()
    }

    /// Ends what has expired.
    pub(super) fn expire(&mut self, at: Moment, actions: &mut Vec<Action>) {
        let Stage::Known(identity) = &mut self.stage else {
            return;
        };
        let grace = self.terms.settings.refresh_grace;
        let is_over = |expires: Expiry| expires.deadline(grace) <= at.now;
        if let Some(expires) = identity.expires.filter(|expires| is_over(*expires)) {
            if !expires.is_of_server || !self.terms.asks(Event::Refresh) {
                return actions.push(Action::Close(Close::Expired));
            }
            // Until the backend has answered.
            identity.expires = None;
            self.consult_refresh(actions);
        }
        let asks = self.terms.asks(Event::SubRefresh);
        let mut over = Vec::new();
        for (channel, subscription) in self.subscriptions.iter_mut() {
            if let Some(expires) = subscription.expires.filter(|expires| is_over(*expires)) {
                subscription.expires = None;
                over.push((channel.clone(), expires.is_of_server && asks));
            }
        }
        for (channel, is_asked_about) in over {
            match is_asked_about {
                true => self.consult_sub_refresh(channel, actions),
                false => self.subscription_expired(channel, actions),
            }
        }
    }

    /// Tokens were revoked: ends what came with one of them. The client is to ask for new ones.
    pub(super) fn recheck(&mut self, at: Moment, actions: &mut Vec<Action>) {
        let Stage::Known(identity) = &self.stage else {
            return;
        };
        let revocations = self.terms.tokens.revocations();
        let is_revoked = |token: &Option<Box<token::Origin>>| {
            let token = token.as_deref();
            token.is_some_and(|token| revocations.is_revoked(&identity.user, token, at.wall))
        };
        if is_revoked(&identity.token) {
            return actions.push(Action::Close(Close::StateInvalidated));
        }
        let revoked = self.subscriptions.iter().filter(|(_, it)| is_revoked(&it.token));
        for channel in revoked.map(|(channel, _)| channel.clone()).collect::<Vec<_>>() {
            self.unsubscribe(&channel, actions);
            let why = Unsubscribed::StateInvalidated;
            actions.push(Action::Tell(Notice::Unsubscribed { channel, why }));
        }
    }

    /// The connection is over: says so where others see it.
    pub(super) fn leave(&mut self, actions: &mut Vec<Action>) {
        for (channel, subscription) in self.subscriptions.drain() {
            self.exit(channel, &subscription, actions);
        }
    }

    fn act(&mut self, request: Request, at: Moment, actions: &mut Vec<Action>) {
        let Request { id, command } = request;
        if matches!(command, Ok(Command::Pong)) {
            return actions.push(Action::Pong);
        }
        let outcome = match (&self.stage, command) {
            // It has said what it had to say.
            (Stage::Known(_), _) if self.is_one_way => Ok(()),
            (Stage::New, Ok(Command::Connect(connect))) => self.connect(id, *connect, at, actions),
            (Stage::Known(_), Ok(Command::Connect(_))) => Err(Close::BadRequest.into()),
            (Stage::Known(_), Ok(command)) => self.carry_out(id, command, at, actions),
            // Nobody waits for an answer, so there is no telling what is wrong with it.
            (Stage::Known(_), Err(_)) if id == 0 => Err(Close::BadRequest.into()),
            (Stage::Known(_), Err(error)) => Err(error.into()),
            _ => Err(Close::BadRequest.into()),
        };
        match outcome {
            Ok(()) => {}
            Err(Denial::Error(error)) => self.tell_error(id, error, actions),
            Err(Denial::Close(close)) => actions.push(Action::Close(close)),
        }
    }

    /// Says that a request was not carried out; who only hears is told by the end of the connection.
    fn tell_error(&self, request: u32, error: CommandError, actions: &mut Vec<Action>) {
        actions.push(match (self.is_one_way, &error) {
            (false, _) => answer(request, Err(error)),
            (true, CommandError::TokenExpired | CommandError::Expired) => Action::Close(Close::Expired),
            (true, error) if error.is_temporary() => Action::Close(Close::Internal),
            (true, _) => Action::Close(Close::PermissionDenied),
        });
    }

    fn carry_out(&mut self, id: u32, command: Command, at: Moment, actions: &mut Vec<Action>) -> Result<(), Denial> {
        if self.pending >= self.terms.settings.pending_commands {
            return Err(CommandError::TooManyRequests.into());
        }
        if let Some(kind) = kind(&command)
            && !self.may_afford(kind, at.now)
        {
            return Err(CommandError::TooManyRequests.into());
        }
        match command {
            Command::Subscribe(subscribe) => self.subscribe(id, *subscribe, at, actions),
            Command::Unsubscribe { channel } => {
                self.unsubscribe(&channel, actions);
                actions.push(answer(id, Ok(Answer::Unsubscribed)));
                Ok(())
            }
            Command::Publish { channel, data } => self.publish(id, channel, data, at, actions),
            Command::Presence { channel } => self.read(id, channel, Reading::Members, actions),
            Command::PresenceStats { channel } => self.read(id, channel, Reading::Count, actions),
            Command::History(history) => {
                self.open(&history.channel)?;
                Err(CommandError::NotAvailable.into())
            }
            Command::Rpc { method, data } => self.consult_rpc(id, method, data, actions),
            Command::Refresh { token } => self.refresh(id, &token, at, actions),
            Command::SubRefresh { channel, token } => self.sub_refresh(id, &channel, &token, at, actions),
            Command::Send { .. } => Err(Close::NotAvailable.into()),
            Command::Connect(_) | Command::Pong => unreachable!("handled before"),
        }
    }

    fn publish(
        &mut self,
        id: u32,
        channel: Channel,
        data: Bytes,
        at: Moment,
        actions: &mut Vec<Action>,
    ) -> Result<(), Denial> {
        let terms = Arc::clone(&self.terms);
        let right = terms.rules.right(&channel).ok_or(CommandError::UnknownChannel)?;
        let may_publish = right.may_publish(self.standing(&channel));
        if may_publish == Some(false) || may_publish.is_none() && !terms.asks(Event::Publish) {
            return Err(CommandError::PermissionDenied.into());
        }
        self.check_publication(&channel, &data, &right, at.now)?;
        if may_publish.is_none() {
            self.consult_publish(id, channel, data, actions);
            return Ok(());
        }
        let mut outgoing = Outgoing::new(channel, data);
        outgoing.attributes = (!right.is_bare).then(|| self.attributes(&outgoing.channel));
        self.pending += 1;
        actions.push(Action::Publish {
            outgoing,
            answer: Some(id),
        });
        Ok(())
    }

    /// Whether a publication keeps to the limits of its channel's rule.
    fn check_publication(
        &mut self,
        channel: &Channel,
        data: &Bytes,
        right: &Right<'_>,
        now: Instant,
    ) -> Result<(), CommandError> {
        let rule = right.rule();
        if rule.message_size.is_some_and(|most| data.len() > most) {
            return Err(CommandError::LimitExceeded);
        }
        if let Some(rate) = rule.publish_rate() {
            let budget = self.budget.get_or_insert_default();
            if !budget.publications.take(channel, rate, now) {
                return Err(CommandError::TooManyRequests);
            }
        }
        Ok(())
    }

    fn read(&mut self, id: u32, channel: Channel, what: Reading, actions: &mut Vec<Action>) -> Result<(), Denial> {
        if !self.open(&channel)?.rule().presence {
            return Err(CommandError::NotAvailable.into());
        }
        if !self.is_subscribed(&channel) {
            return Err(CommandError::PermissionDenied.into());
        }
        self.pending += 1;
        actions.push(Action::Read {
            channel,
            what,
            request: id,
        });
        Ok(())
    }

    /// The rights in a channel that somebody may be in.
    fn open(&self, channel: &Channel) -> Result<Right<'_>, CommandError> {
        let right = self.terms.rules.right(channel).ok_or(CommandError::UnknownChannel)?;
        match right.is_closed() {
            true => Err(CommandError::PermissionDenied),
            false => Ok(right),
        }
    }

    fn user(&self) -> &str {
        match &self.stage {
            Stage::Known(identity) => &identity.user,
            Stage::Arriving(arrival) => &arrival.identity.user,
            Stage::New | Stage::Refused => "",
        }
    }

    /// Who the client is, as others in `channel` see it.
    fn info(&self, channel: &Channel) -> ClientInfo {
        let of_channel = self
            .subscriptions
            .get(channel)
            .map(|subscription| subscription.info.clone());
        let (user, connection) = match &self.stage {
            Stage::Known(identity) => (identity.user.to_string(), identity.info.clone()),
            _ => Default::default(),
        };
        ClientInfo {
            user,
            client: self.id.to_string(),
            connection,
            channel: of_channel.unwrap_or_default(),
        }
    }

    /// What travels with a publication of this client.
    fn attributes(&self, channel: &Channel) -> Box<Attributes> {
        Box::new(Attributes {
            publisher: Some(self.info(channel)),
            ..Attributes::default()
        })
    }

    fn may_afford(&mut self, kind: Kind, now: Instant) -> bool {
        let rates = &self.terms.rates;
        let per_second = match kind {
            Kind::Subscribe => rates.subscribe,
            Kind::Publish => rates.publish,
            Kind::Read => rates.read,
            Kind::Rpc => rates.rpc,
            Kind::Refresh => rates.refresh,
        };
        let Some(rate) = Rate::over(per_second, rates.burst) else {
            return true;
        };
        let budget = self.budget.get_or_insert_default();
        budget.by_kind[kind as usize]
            .get_or_insert_with(|| Allowance::new(rate, now))
            .take(now)
    }
}

fn kind(command: &Command) -> Option<Kind> {
    match command {
        Command::Subscribe(_) => Some(Kind::Subscribe),
        Command::Publish { .. } => Some(Kind::Publish),
        Command::Presence { .. } | Command::PresenceStats { .. } | Command::History(_) => Some(Kind::Read),
        Command::Rpc { .. } | Command::Send { .. } => Some(Kind::Rpc),
        Command::Refresh { .. } | Command::SubRefresh { .. } => Some(Kind::Refresh),
        Command::Connect(_) | Command::Unsubscribe { .. } | Command::Pong => None,
    }
}

fn answer(request: u32, result: Result<Answer, CommandError>) -> Action {
    Action::Answer { request, result }
}
