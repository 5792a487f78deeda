//! Which channels a client has, how it came to them, and how it loses them.
//!
//! Invariant: a channel is in the table exactly while the client is subscribed or waits to be.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::command::Subscribe;
use protocol::event::{Answer, Recovery, Subscribed, Unsubscribed};
use protocol::{Channel, Close, CommandError};

use super::subscription::{Expiry, Progress, Source, Subscription, Why, Wish};
use super::{Denial, Session, answer};
use crate::backend::Event;
use crate::channel_rules::{Entry, Right, Standing};
use crate::client::{Action, Hearing, Moment, Notice};
use crate::grant::Grant;
use crate::token::{Origin, TokenError};

/// That a client may subscribe, by whose word, and how.
struct Admitted {
    source: Source,
    grant: Grant,
    expires: Option<Expiry>,
    token: Option<Box<Origin>>,
}

impl Session {
    pub(super) fn subscribe(
        &mut self,
        id: u32,
        asked: Subscribe,
        at: Moment,
        actions: &mut Vec<Action>,
    ) -> Result<(), Denial> {
        let channel = &asked.channel;
        if self.subscriptions.has(channel) {
            return Err(CommandError::AlreadySubscribed.into());
        }
        if self.subscriptions.len() >= self.terms.settings.channels {
            return Err(CommandError::LimitExceeded.into());
        }
        let terms = Arc::clone(&self.terms);
        let right = terms.rules.right(channel).ok_or(CommandError::UnknownChannel)?;
        if asked.filter.is_some() && !right.rule().tags_filter {
            return Err(CommandError::BadRequest.into());
        }
        if asked.must_recover && asked.recover.is_some() {
            return Err(CommandError::UnrecoverablePosition.into());
        }
        let admitted = self.admit(&asked, &right, at)?;
        self.pending += 1;
        if admitted.is_none() {
            self.consult_subscribe(id, &asked, actions);
        }
        let mut wish = Wish {
            is_asked_about: admitted.is_none(),
            joins: asked.join_leave,
            delta: asked.delta,
            filter: asked.filter,
            ..Wish::new(Why::Request(id), asked.recover.is_some())
        };
        match admitted {
            Some(Admitted {
                source,
                grant,
                expires,
                token,
            }) => {
                wish.token = token;
                self.ask(asked.channel, &right, source, grant, expires, wish, actions);
            }
            // The channel is its own meanwhile.
            None => {
                let subscription = Subscription::new(Source::Backend, None, wish);
                self.subscriptions.insert(asked.channel, subscription);
            }
        }
        Ok(())
    }

    /// By whose word a client may subscribe as it asks to; `None`: the backend has to be asked.
    fn admit(&self, asked: &Subscribe, right: &Right<'_>, at: Moment) -> Result<Option<Admitted>, Denial> {
        match right.entry(&asked.channel, self.user()) {
            Entry::Closed => return Err(CommandError::PermissionDenied.into()),
            Entry::Open if asked.token.is_empty() => {
                return Ok(Some(Admitted {
                    source: Source::Rule,
                    grant: Grant::default(),
                    expires: None,
                    token: None,
                }));
            }
            Entry::Backend if asked.token.is_empty() && self.terms.asks(Event::Subscribe) => return Ok(None),
            Entry::Token | Entry::Backend if asked.token.is_empty() => {
                return Err(CommandError::PermissionDenied.into());
            }
            Entry::Open | Entry::Token | Entry::Backend => {}
        }
        let client = self.id.to_string();
        let claims = self
            .terms
            .tokens
            .subscription(&asked.token, self.user(), &client, &asked.channel, at.wall);
        match claims {
            Ok(claims) => {
                let expires = claims.expires.map(|expires| Expiry::by_client(at.until(expires)));
                Ok(Some(Admitted {
                    source: Source::Token,
                    grant: claims.grant,
                    expires,
                    token: Some(Box::new(claims.origin)),
                }))
            }
            Err(TokenError::Expired(_)) => Err(CommandError::TokenExpired.into()),
            Err(TokenError::Lapsed) => Err(CommandError::Expired.into()),
            Err(TokenError::UnknownKey { .. }) => Err(CommandError::Internal.into()),
            Err(TokenError::WrongSubject(_)) => Err(Close::InvalidToken.into()),
            Err(TokenError::Invalid(flaw)) => {
                tracing::debug!(%flaw, "refused a subscription");
                Err(CommandError::PermissionDenied.into())
            }
        }
    }

    /// Has the node listen to a channel for the client.
    #[expect(
        clippy::too_many_arguments,
        reason = "what a subscription is made of, from three places"
    )]
    pub(super) fn ask(
        &mut self,
        channel: Channel,
        right: &Right<'_>,
        source: Source,
        grant: Grant,
        expires: Option<Expiry>,
        mut wish: Wish,
        actions: &mut Vec<Action>,
    ) {
        let rule = right.rule();
        let overrides = grant.overrides;
        let is_present = overrides.presence.unwrap_or(rule.presence);
        let is_announced = overrides.join_leave.unwrap_or(rule.join_leave);
        let is_told = overrides.force_push_join_leave.unwrap_or(rule.force_push_join_leave);
        wish.joins = is_announced && (wish.joins || is_told);
        // Streams have no forms for it, and a filter would leave out what the next one differs from.
        wish.delta &= rule.delta && self.secret.is_none() && wish.filter.is_none() && !right.is_bare;
        wish.data = grant.data.unwrap_or_default();
        wish.is_asked_about = false;
        let token = wish.token.take();
        actions.push(Action::Subscribe {
            channel: channel.clone(),
            window: rule.window,
            request: wish.why.request(),
        });
        let mut subscription = Subscription::new(source, expires, wish);
        subscription.info = grant.info.unwrap_or_default();
        subscription.token = token;
        subscription.is_present = is_present && !right.is_bare;
        subscription.is_announced = is_announced && !right.is_bare;
        self.subscriptions.insert(channel, subscription);
    }

    /// The backend lets the client subscribe to a channel, like this.
    pub(super) fn subscription_approved(
        &mut self,
        channel: &Channel,
        request: u32,
        grant: Grant,
        expires: Option<Expiry>,
        actions: &mut Vec<Action>,
    ) {
        let terms = Arc::clone(&self.terms);
        let (Some((channel, wish)), Some(right)) =
            (self.take_asked_about(channel, request), terms.rules.right(channel))
        else {
            return;
        };
        self.ask(channel, &right, Source::Backend, grant, expires, wish, actions);
    }

    /// The backend does not let the client subscribe to a channel.
    pub(super) fn subscription_refused(
        &mut self,
        channel: &Channel,
        request: u32,
        error: CommandError,
        actions: &mut Vec<Action>,
    ) {
        if self.take_asked_about(channel, request).is_some() {
            self.pending = self.pending.saturating_sub(1);
            actions.push(answer(request, Err(error)));
        }
    }

    /// Takes a channel out that the backend was asked about for `request`, if the client has not left it meanwhile.
    fn take_asked_about(&mut self, channel: &Channel, request: u32) -> Option<(Channel, Wish)> {
        let why = Why::Request(request);
        let is_it = |wish: &Wish| wish.is_asked_about && wish.why == why;
        let waits = |it: &&Subscription| matches!(&it.progress, Progress::Asked(wish) if is_it(wish));
        self.subscriptions.get(channel).filter(waits)?;
        match self.subscriptions.remove(channel)? {
            (
                channel,
                Subscription {
                    progress: Progress::Asked(wish),
                    ..
                },
            ) => Some((channel, *wish)),
            _ => None,
        }
    }

    /// The node hears a channel that `request` asked for, from here on.
    pub(in crate::client) fn heard(&mut self, channel: &Channel, request: u32, at: Moment, actions: &mut Vec<Action>) {
        let Some(subscription) = self.subscriptions.get_mut(channel) else {
            return;
        };
        let Progress::Asked(wish) = &mut subscription.progress else {
            return;
        };
        if wish.why.request() != request || wish.is_heard || wish.is_asked_about {
            return;
        }
        wish.is_heard = true;
        match wish.why {
            Why::Connect(_) => self.one_is_heard(at, actions),
            Why::Request(id) => {
                self.pending = self.pending.saturating_sub(1);
                let (subscribed, entered) = self.activate(channel, at, actions);
                actions.push(answer(id, Ok(Answer::Subscribed(Box::new(subscribed)))));
                actions.extend(entered);
            }
            Why::Order => {
                let (subscribed, entered) = self.activate(channel, at, actions);
                actions.push(Action::Tell(Notice::Subscribed {
                    channel: channel.clone(),
                    subscribed: Box::new(subscribed),
                }));
                actions.extend(entered);
            }
        }
    }

    /// Makes every subscription active that has waited for the client to be let in. Returns what the client is told of each, and what
    /// comes after that.
    pub(super) fn activate_all(
        &mut self,
        at: Moment,
        actions: &mut Vec<Action>,
    ) -> (BTreeMap<Channel, Subscribed>, Vec<Action>) {
        let channels: Vec<Channel> = self.subscriptions.names().cloned().collect();
        let mut all = BTreeMap::new();
        let mut later = Vec::new();
        for channel in channels {
            let (subscribed, entered) = self.activate(&channel, at, actions);
            later.extend(entered);
            all.insert(channel, subscribed);
        }
        (all, later)
    }

    fn activate(&mut self, channel: &Channel, at: Moment, actions: &mut Vec<Action>) -> (Subscribed, Option<Action>) {
        let info = self.info(channel);
        let Some(subscription) = self.subscriptions.get_mut(channel) else {
            return (Subscribed::default(), None);
        };
        let Progress::Asked(wish) = std::mem::replace(&mut subscription.progress, Progress::Active) else {
            return (Subscribed::default(), None);
        };
        let subscribed = Subscribed {
            expires: subscription.expires.and_then(|expires| expires.told(at)),
            data: wish.data,
            // Nothing of the past is kept, so what was missed is not known.
            recovery: wish.recovers.then_some(Recovery::Lost),
            delta: wish.delta,
            ..Subscribed::default()
        };
        actions.push(Action::Join {
            channel: channel.clone(),
            hearing: Hearing {
                joins: wish.joins,
                delta: wish.delta,
                filter: wish.filter,
            },
        });
        let entered = subscription.attendance(channel.clone(), info, true);
        (subscribed, entered)
    }

    /// The node could not do what `request` asked for.
    pub(super) fn subscription_failed(&mut self, request: u32) {
        self.subscriptions.retain(
            |subscription| !matches!(&subscription.progress, Progress::Asked(wish) if wish.why.request() == request),
        );
    }

    /// Takes the client out of a channel, if it is there.
    pub(super) fn unsubscribe(&mut self, channel: &Channel, actions: &mut Vec<Action>) -> bool {
        let Some((channel, subscription)) = self.subscriptions.remove(channel) else {
            return false;
        };
        if let Progress::Asked(wish) = &subscription.progress
            && let Why::Request(id) = wish.why
        {
            self.pending = self.pending.saturating_sub(1);
            // Whoever asked waits for a word, and an error would be taken for the next try's.
            actions.push(answer(id, Ok(Answer::Subscribed(Box::default()))));
        }
        actions.push(Action::Unsubscribe {
            channel: channel.clone(),
        });
        self.exit(channel, &subscription, actions);
        true
    }

    /// Says where others see it that the client is not in a channel any more.
    pub(super) fn exit(&self, channel: Channel, subscription: &Subscription, actions: &mut Vec<Action>) {
        let is_seen = subscription.is_present || subscription.is_announced;
        if is_seen && matches!(subscription.progress, Progress::Active) {
            let mut client = self.info(&channel);
            client.channel = subscription.info.clone();
            actions.extend(subscription.attendance(channel, client, false));
        }
    }

    /// Nobody has shown in time that the client may stay in a channel.
    pub(super) fn subscription_expired(&mut self, channel: Channel, actions: &mut Vec<Action>) {
        let source = self.subscriptions.get(&channel).map(|subscription| subscription.source);
        if source.is_some_and(Source::is_server_side) {
            return actions.push(Action::Close(Close::SubscriptionExpired));
        }
        self.unsubscribe(&channel, actions);
        let why = Unsubscribed::Expired;
        actions.push(Action::Tell(Notice::Unsubscribed { channel, why }));
    }

    /// A new token for a subscription.
    pub(super) fn sub_refresh(
        &mut self,
        id: u32,
        channel: &Channel,
        token: &str,
        at: Moment,
        actions: &mut Vec<Action>,
    ) -> Result<(), Denial> {
        if !self.is_subscribed(channel) {
            return Err(CommandError::PermissionDenied.into());
        }
        if token.is_empty() {
            return Err(CommandError::BadRequest.into());
        }
        let client = self.id.to_string();
        let claims = self
            .terms
            .tokens
            .subscription(token, self.user(), &client, channel, at.wall);
        match claims {
            Ok(claims) => {
                let expires = claims.expires.map(|expires| Expiry::by_client(at.until(expires)));
                if let Some(subscription) = self.subscriptions.get_mut(channel) {
                    subscription.expires = expires;
                    if subscription.source == Source::Token {
                        subscription.token = Some(Box::new(claims.origin));
                    }
                }
                let expires = expires.and_then(|expires| expires.told(at));
                actions.push(answer(id, Ok(Answer::SubRefreshed { expires })));
                Ok(())
            }
            Err(TokenError::Expired(_) | TokenError::Lapsed) => {
                // First: told only that the token is too old, a client would give the channel up for good.
                self.subscription_expired(channel.clone(), actions);
                Err(CommandError::TokenExpired.into())
            }
            Err(TokenError::UnknownKey { .. }) => Err(CommandError::Internal.into()),
            Err(error) => {
                tracing::debug!(%error, "refused to renew a subscription");
                Err(Close::InvalidToken.into())
            }
        }
    }

    pub(super) fn is_subscribed(&self, channel: &Channel) -> bool {
        self.standing(channel) != Standing::Outside
    }

    /// How the client came to a channel.
    pub(super) fn standing(&self, channel: &Channel) -> Standing {
        match self.subscriptions.get(channel) {
            Some(Subscription {
                progress: Progress::Active,
                source,
                ..
            }) => match source {
                Source::Token | Source::Connection => Standing::ByToken,
                Source::Rule | Source::Backend | Source::Server => Standing::Subscribed,
            },
            _ => Standing::Outside,
        }
    }
}
