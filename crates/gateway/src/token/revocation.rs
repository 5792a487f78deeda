//! Tokens that are not believed any more, though nothing about them is wrong.
//!
//! A [`Revocation`] names one token, or all that a user was given before some time; [`Revocations`] is what this node knows of them. Knows
//! neither connections nor how nodes learn of it: that is `cluster/keeper.rs`. Invariant: what is known is known until its end, whatever
//! becomes of the place where it is kept.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use bus::notices;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use crate::token::Origin;

/// How long a revocation holds if nobody says until when its tokens could be used.
const USUAL_LIFE: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// The most that a node remembers: more than are kept for all nodes, because it also knows what was kept before.
const MOST: usize = 2 * notices::MOST;

/// Which tokens are not believed any more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Revocation {
    /// One.
    Token {
        /// Its name (`jti`).
        id: String,
        /// When it would be over anyway.
        #[serde(with = "millis")]
        until: SystemTime,
    },
    /// All of a user that were made earlier (`iat`), also those that do not say when they were made.
    User {
        /// Whose (`sub`).
        user: String,
        #[serde(with = "millis")]
        issued_before: SystemTime,
        /// When they would be over anyway.
        #[serde(with = "millis")]
        until: SystemTime,
    },
}

/// Why there can be no such revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RevocationError {
    /// A token without a name cannot be told from others.
    #[error("the name of the token is empty")]
    NoName,
    /// It could not be kept.
    #[error("the name is too long")]
    TooLong,
}

impl Revocation {
    /// Of the token `id`, until it would be over anyway; if that is not said, for a year.
    pub(crate) fn of_token(id: String, until: Option<SystemTime>, now: SystemTime) -> Result<Self, RevocationError> {
        if id.is_empty() {
            return Err(RevocationError::NoName);
        }
        let until = millis::round_up(until.unwrap_or(now + USUAL_LIFE));
        Self::Token { id, until }.checked()
    }

    /// Of all tokens of `user` that were made earlier, until the last of them would be over anyway; if that is not said, for a year.
    pub(crate) fn of_user(
        user: String,
        issued_before: SystemTime,
        until: Option<SystemTime>,
        now: SystemTime,
    ) -> Result<Self, RevocationError> {
        Self::User {
            user,
            issued_before: millis::round_up(issued_before),
            until: millis::round_up(until.unwrap_or(now + USUAL_LIFE)),
        }
        .checked()
    }

    fn checked(self) -> Result<Self, RevocationError> {
        match self.encode().len() <= notices::LONGEST {
            true => Ok(self),
            false => Err(RevocationError::TooLong),
        }
    }

    /// When it says nothing any more.
    pub(crate) fn until(&self) -> SystemTime {
        let (Self::Token { until, .. } | Self::User { until, .. }) = self;
        *until
    }

    pub(crate) fn encode(&self) -> String {
        serde_json::to_string(self).expect("names are texts, and times are numbers")
    }
}

/// The revocations that a node knows of. Any thread may ask.
#[derive(Debug, Default)]
pub(crate) struct Revocations(RwLock<Tables>);

#[derive(Debug, Default)]
struct Tables {
    /// Until when, by name.
    tokens: HashMap<String, SystemTime>,
    /// None of a user's makes another of them needless.
    users: HashMap<String, Vec<Era>>,
    /// That there is no room was told.
    is_full: bool,
}

/// A time whose tokens are not believed.
#[derive(Debug, Clone, Copy)]
struct Era {
    issued_before: SystemTime,
    until: SystemTime,
}

impl Revocations {
    /// Whether the token `origin` of `user` is not to be believed.
    pub(crate) fn is_revoked(&self, user: &str, origin: &Origin, now: SystemTime) -> bool {
        let tables = self.0.read();
        let named = || origin.id.as_ref().and_then(|id| tables.tokens.get(id));
        let is_in = |era: &Era| era.until > now && origin.issued.is_none_or(|issued| issued < era.issued_before);
        named().is_some_and(|until| *until > now) || tables.users.get(user).is_some_and(|eras| eras.iter().any(is_in))
    }

    /// Remembers a revocation. Whether it was not known before, and holds.
    pub(crate) fn add(&self, revocation: &Revocation, now: SystemTime) -> bool {
        if revocation.until() <= now {
            return false;
        }
        let mut tables = self.0.write();
        if tables.has(revocation) {
            return false;
        }
        if tables.tokens.len() + tables.users.len() >= MOST {
            if !std::mem::replace(&mut tables.is_full, true) {
                tracing::warn!(most = MOST, "too many tokens are revoked, another is not");
            }
            return false;
        }
        match revocation.clone() {
            Revocation::Token { id, until } => _ = tables.tokens.insert(id, until),
            Revocation::User {
                user,
                issued_before,
                until,
            } => {
                let era = Era { issued_before, until };
                let eras = tables.users.entry(user).or_default();
                eras.retain(|other| !era.covers(other));
                eras.push(era);
            }
        }
        true
    }

    /// All that is known, in no order.
    pub(crate) fn all(&self) -> Vec<Revocation> {
        let tables = self.0.read();
        let tokens = tables.tokens.iter().map(|(id, until)| Revocation::Token {
            id: id.clone(),
            until: *until,
        });
        let users = tables.users.iter().flat_map(|(user, eras)| {
            eras.iter().map(|era| Revocation::User {
                user: user.clone(),
                issued_before: era.issued_before,
                until: era.until,
            })
        });
        tokens.chain(users).collect()
    }

    /// Forgets what says nothing any more.
    pub(crate) fn forget(&self, now: SystemTime) {
        let mut tables = self.0.write();
        tables.tokens.retain(|_, until| *until > now);
        tables.users.retain(|_, eras| {
            eras.retain(|era| era.until > now);
            !eras.is_empty()
        });
        tables.is_full = false;
    }
}

impl Tables {
    /// Whether nothing new is said.
    fn has(&self, revocation: &Revocation) -> bool {
        match revocation {
            Revocation::Token { id, until } => self.tokens.get(id).is_some_and(|known| known >= until),
            Revocation::User {
                user,
                issued_before,
                until,
            } => {
                let era = Era {
                    issued_before: *issued_before,
                    until: *until,
                };
                let eras = self.users.get(user).into_iter().flatten();
                eras.into_iter().any(|known| known.covers(&era))
            }
        }
    }
}

impl Era {
    fn covers(&self, other: &Self) -> bool {
        self.issued_before >= other.issued_before && self.until >= other.until
    }
}

/// A time in milliseconds since 1970: what is written is read as the same, and written as the same again.
mod millis {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
        count(*time).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SystemTime, D::Error> {
        u64::deserialize(from).map(time)
    }

    /// The first whole millisecond that is not before `time`.
    pub(super) fn round_up(at: SystemTime) -> SystemTime {
        time(count(at))
    }

    fn count(time: SystemTime) -> u64 {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }

    fn time(millis: u64) -> SystemTime {
        let latest = UNIX_EPOCH + Duration::from_secs(1 << 40);
        UNIX_EPOCH
            .checked_add(Duration::from_millis(millis))
            .map_or(latest, |time| time.min(latest))
    }
}

#[cfg(test)]
mod tests;
