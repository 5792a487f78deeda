//! What the application's backend is asked about a client, and what comes of its word.
//!
//! Decides when to ask and what an answer means; the node asks. Publications are asked about one after another, so that they stay in order;
//! all else may be answered in any order. Invariant: each question is answered once, and whoever waits for it at the client gets a word.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bus::Outgoing;
use bytes::Bytes;
use protocol::command::{Connect, Subscribe};
use protocol::event::Answer;
use protocol::{Channel, Close, CommandError};

use super::arrival::Identity;
use super::subscription::{Expiry, Source, Why, Wish};
use super::{Denial, Session, Stage, answer};
use crate::backend::{self, Call, Caller, Event, Failure, Publication, Question, Renewal, Reply, Verdict};
use crate::client::{Action, Moment, Origin};
use crate::grant::Grant;

/// How long something lives on of which the backend did not say whether it may.
const AGAIN: Duration = Duration::from_secs(60);

/// What a session and the backend have to do with each other.
#[derive(Default)]
pub(super) struct Consultations {
    /// What the next question is called.
    next: u32,
    open: HashMap<u32, Matter>,
    /// Publications that wait for the one before them; the first is asked about.
    publications: VecDeque<Pending>,
    /// What the client sent as headers in its protocol.
    emulated: Arc<BTreeMap<String, String>>,
    /// What only backends may see of the client.
    meta: Option<Bytes>,
}

/// What a question is about.
enum Matter {
    Connect { request: u32, recovers: Vec<Channel> },
    Refresh,
    Subscribe { request: u32, channel: Channel },
    Publish,
    SubRefresh { channel: Channel },
    Rpc { request: u32 },
}

/// A publication of the client that is not approved yet.
struct Pending {
    request: u32,
    channel: Channel,
    data: Bytes,
}

impl Session {
    /// Asks who a client is that says nothing of it itself.
    pub(super) fn consult_connect(&mut self, request: u32, connect: Connect, actions: &mut Vec<Action>) {
        let consultations = self.consultations.get_or_insert_default();
        consultations.emulated = Arc::new(connect.headers);
        let channels: Vec<Channel> = connect.positions.into_keys().collect();
        let question = Question::Connect {
            name: connect.name,
            version: connect.version,
            channels: channels.clone(),
            data: connect.data,
        };
        let recovers = channels;
        self.ask_backend(question, Matter::Connect { request, recovers }, actions);
    }

    /// Asks whether the client may subscribe as it asks to; the channel is its own meanwhile.
    pub(super) fn consult_subscribe(&mut self, request: u32, asked: &Subscribe, actions: &mut Vec<Action>) {
        let channel = asked.channel.clone();
        let question = Question::Subscribe {
            channel: channel.clone(),
            token: asked.token.clone(),
            data: asked.data.clone(),
        };
        self.ask_backend(question, Matter::Subscribe { request, channel }, actions);
    }

    /// Asks whether the client may publish that, after all that it wanted to publish before.
    pub(super) fn consult_publish(&mut self, request: u32, channel: Channel, data: Bytes, actions: &mut Vec<Action>) {
        let publications = &mut self.consultations.get_or_insert_default().publications;
        publications.push_back(Pending { request, channel, data });
        self.pending += 1;
        if publications.len() == 1 {
            self.ask_about_first(actions);
        }
    }

    pub(super) fn consult_rpc(
        &mut self,
        request: u32,
        method: String,
        data: Bytes,
        actions: &mut Vec<Action>,
    ) -> Result<(), Denial> {
        if !self.terms.asks(Event::Rpc) {
            return Err(CommandError::NotAvailable.into());
        }
        self.pending += 1;
        self.ask_backend(Question::Rpc { method, data }, Matter::Rpc { request }, actions);
        Ok(())
    }

    /// Asks whether the connection may go on.
    pub(super) fn consult_refresh(&mut self, actions: &mut Vec<Action>) {
        self.ask_backend(Question::Refresh, Matter::Refresh, actions);
    }

    /// Asks whether a subscription may go on.
    pub(super) fn consult_sub_refresh(&mut self, channel: Channel, actions: &mut Vec<Action>) {
        let question = Question::SubRefresh {
            channel: channel.clone(),
        };
        self.ask_backend(question, Matter::SubRefresh { channel }, actions);
    }

    fn ask_backend(&mut self, question: Question, matter: Matter, actions: &mut Vec<Action>) {
        let user = self.user().to_owned();
        let consultations = self.consultations.get_or_insert_default();
        consultations.next = consultations.next.wrapping_add(1);
        let number = consultations.next;
        consultations.open.insert(number, matter);
        let Origin {
            transport,
            protocol,
            headers,
        } = &*self.origin;
        let caller = Caller {
            client: self.id.to_string(),
            user,
            meta: consultations.meta.clone(),
            transport,
            protocol,
            headers: Arc::clone(headers),
            emulated: Arc::clone(&consultations.emulated),
        };
        actions.push(Action::Consult {
            call: Box::new(Call { caller, question }),
            number,
        });
    }

    fn ask_about_first(&mut self, actions: &mut Vec<Action>) {
        let first = self.consultations.as_ref().and_then(|it| it.publications.front());
        let Some(Pending { channel, data, .. }) = first else {
            return;
        };
        let question = Question::Publish {
            channel: channel.clone(),
            data: data.clone(),
        };
        self.ask_backend(question, Matter::Publish, actions);
    }

    /// The backend has answered question `number`, or could not be asked.
    pub(in crate::client) fn consulted(
        &mut self,
        number: u32,
        outcome: Result<Verdict<Reply>, Failure>,
        at: Moment,
        actions: &mut Vec<Action>,
    ) {
        let Some(matter) = self.consultations.as_mut().and_then(|it| it.open.remove(&number)) else {
            return;
        };
        if let Err(failure) = &outcome {
            tracing::debug!(%failure, "the backend did not answer");
        }
        if let Ok(Verdict::Disconnect(disconnect)) = &outcome {
            return actions.push(Action::Close(disconnect.close()));
        }
        match matter {
            Matter::Connect { request, recovers } => self.connect_consulted(request, &recovers, outcome, at, actions),
            Matter::Refresh => self.refresh_consulted(outcome, at, actions),
            Matter::Subscribe { request, channel } => self.subscribe_consulted(request, &channel, outcome, at, actions),
            Matter::Publish => self.publish_consulted(outcome, actions),
            Matter::SubRefresh { channel } => self.sub_refresh_consulted(channel, outcome, at, actions),
            Matter::Rpc { request } => {
                self.pending = self.pending.saturating_sub(1);
                let result = match verdict(outcome) {
                    Ok(Some(Reply::Rpc(data))) => Ok(Answer::Rpc { data }),
                    Ok(_) => Ok(Answer::Rpc { data: Bytes::new() }),
                    Err(error) => Err(error),
                };
                actions.push(answer(request, result));
            }
        }
    }

    fn connect_consulted(
        &mut self,
        request: u32,
        recovers: &[Channel],
        outcome: Result<Verdict<Reply>, Failure>,
        at: Moment,
        actions: &mut Vec<Action>,
    ) {
        let granted = match verdict(outcome) {
            Ok(Some(Reply::Connect(granted))) => *granted,
            Ok(_) if self.terms.settings.anonymous => backend::Connection::default(),
            Ok(_) => return self.refuse_arrival(request, CommandError::Unauthorized, actions),
            Err(error) => return self.refuse_arrival(request, error, actions),
        };
        let is_over = |expires: Option<std::time::SystemTime>| expires.is_some_and(|expires| expires <= at.wall);
        if is_over(granted.expires) || granted.channels.values().any(|it| is_over(it.expires)) {
            return self.refuse_arrival(request, CommandError::Expired, actions);
        }
        self.consultations.get_or_insert_default().meta = granted.meta;
        let identity = Identity {
            user: granted.user.into(),
            info: granted.info.unwrap_or_default(),
            expires: granted.expires.map(|expires| Expiry::by_server(at.until(expires))),
            is_of_backend: true,
            token: None,
        };
        let channels = granted.channels.into_iter().map(|(channel, subscription)| {
            let expires = subscription.expires.map(|expires| Expiry::by_server(at.until(expires)));
            let wish = Wish::new(Why::Connect(request), recovers.contains(&channel));
            (channel, subscription.grant, Source::Server, expires, wish)
        });
        let channels = channels.collect();
        if let Err(denial) = self.arrive(identity, granted.data.unwrap_or_default(), channels, at, actions) {
            match denial {
                Denial::Error(error) => self.tell_error(request, error, actions),
                Denial::Close(close) => actions.push(Action::Close(close)),
            }
        }
    }

    fn refresh_consulted(&mut self, outcome: Result<Verdict<Reply>, Failure>, at: Moment, actions: &mut Vec<Action>) {
        let (renewal, failed) = renewal(outcome);
        let Stage::Known(identity) = &mut self.stage else {
            return;
        };
        match renewal {
            Some(Renewal::Kept { expires, info, meta }) => {
                identity.expires = expires.map(|expires| Expiry::by_server(at.until(expires)));
                if let Some(info) = info {
                    identity.info = info;
                }
                if meta.is_some() {
                    self.consultations.get_or_insert_default().meta = meta;
                }
            }
            _ if failed => identity.expires = Some(Expiry::by_server(at.now + AGAIN)),
            _ => actions.push(Action::Close(Close::Expired)),
        }
    }

    fn sub_refresh_consulted(
        &mut self,
        channel: Channel,
        outcome: Result<Verdict<Reply>, Failure>,
        at: Moment,
        actions: &mut Vec<Action>,
    ) {
        let (renewal, failed) = renewal(outcome);
        let Some(subscription) = self.subscriptions.get_mut(&channel) else {
            return;
        };
        match renewal {
            Some(Renewal::Kept { expires, info, .. }) => {
                subscription.expires = expires.map(|expires| Expiry::by_server(at.until(expires)));
                if let Some(info) = info {
                    subscription.info = info;
                }
            }
            _ if failed => subscription.expires = Some(Expiry::by_server(at.now + AGAIN)),
            _ => self.subscription_expired(channel, actions),
        }
    }

    fn subscribe_consulted(
        &mut self,
        request: u32,
        channel: &Channel,
        outcome: Result<Verdict<Reply>, Failure>,
        at: Moment,
        actions: &mut Vec<Action>,
    ) {
        let (grant, expires) = match verdict(outcome) {
            Ok(Some(Reply::Subscribe(granted))) => (granted.grant, granted.expires),
            Ok(_) => (Grant::default(), None),
            Err(error) => return self.subscription_refused(channel, request, error, actions),
        };
        if expires.is_some_and(|expires| expires <= at.wall) {
            return self.subscription_refused(channel, request, CommandError::Expired, actions);
        }
        let expires = expires.map(|expires| Expiry::by_server(at.until(expires)));
        self.subscription_approved(channel, request, grant, expires, actions);
    }

    fn publish_consulted(&mut self, outcome: Result<Verdict<Reply>, Failure>, actions: &mut Vec<Action>) {
        let publications = self.consultations.as_mut().map(|it| &mut it.publications);
        let Some(Pending { request, channel, data }) = publications.and_then(VecDeque::pop_front) else {
            return;
        };
        match verdict(outcome) {
            Ok(reply) => {
                let Publication {
                    data: instead,
                    tags,
                    idempotency_key,
                    ..
                } = match reply {
                    Some(Reply::Publish(publication)) => *publication,
                    _ => Publication::default(),
                };
                let is_bare = self.terms.rules.right(&channel).is_none_or(|right| right.is_bare);
                let mut outgoing = Outgoing::new(channel, instead.unwrap_or(data));
                if !is_bare {
                    let mut attributes = self.attributes(&outgoing.channel);
                    attributes.tags = tags;
                    outgoing.attributes = Some(attributes);
                    outgoing.once = Some(idempotency_key).filter(|key| !key.is_empty());
                }
                // It still waits for its answer, from the bus.
                actions.push(Action::Publish {
                    outgoing,
                    answer: Some(request),
                });
            }
            Err(error) => {
                self.pending = self.pending.saturating_sub(1);
                actions.push(answer(request, Err(error)));
            }
        }
        self.ask_about_first(actions);
    }
}

/// What the backend said; `None`: nothing in particular.
fn verdict(outcome: Result<Verdict<Reply>, Failure>) -> Result<Option<Reply>, CommandError> {
    match outcome {
        Ok(Verdict::Granted(reply)) => Ok(Some(reply)),
        Ok(Verdict::Refused(error)) => Err(error),
        Ok(Verdict::Nothing | Verdict::Disconnect(_)) => Ok(None),
        Err(_) => Err(CommandError::Internal),
    }
}

/// Whether something goes on, and whether that could not be learnt.
fn renewal(outcome: Result<Verdict<Reply>, Failure>) -> (Option<Renewal>, bool) {
    match outcome {
        Ok(Verdict::Granted(Reply::Refresh(renewal) | Reply::SubRefresh(renewal))) => (Some(renewal), false),
        Ok(_) => (None, false),
        Err(_) => (None, true),
    }
}
