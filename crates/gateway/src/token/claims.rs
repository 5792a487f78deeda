//! What tokens say, read once into types that cannot be wrong.
//!
//! Does not know keys or signatures: whoever calls has checked them. Claims that are not named here are no business of ours and are ignored.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use protocol::Channel;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{Flaw, TokenError, Untimely};
use crate::grant::{Grant, Overrides, compact, time};

/// The longest that a token is good for, whatever it says: a connection is asked for a new one after that.
const LONGEST_LIFE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Who may connect, until when, and what they are subscribed to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ConnectionClaims {
    /// Who it is; "" is nobody in particular.
    pub(crate) user: String,
    /// When a new token is needed; `None` is never. Later than now.
    pub(crate) expires: Option<SystemTime>,
    /// What others may see of the client.
    pub(crate) info: Option<Bytes>,
    /// What only backends may see; JSON.
    pub(crate) meta: Option<Bytes>,
    /// What the client is subscribed to from the start.
    pub(crate) channels: BTreeMap<Channel, Grant>,
    /// Which token it was.
    pub(crate) origin: Origin,
}

/// That a client may subscribe to the channel it asked for, and how long.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SubscriptionClaims {
    /// When a new token is needed; `None` is never. Later than now.
    pub(crate) expires: Option<SystemTime>,
    /// What comes with the subscription.
    pub(crate) grant: Grant,
    /// Which token it was.
    pub(crate) origin: Origin,
}

/// What makes one token another than the next.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Origin {
    /// Its name (`jti`).
    pub(crate) id: Option<String>,
    /// When it was made (`iat`).
    pub(crate) issued: Option<SystemTime>,
}

/// All claims of a token, each as the JSON that it is.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Claims(BTreeMap<String, Box<RawValue>>);

impl Claims {
    /// The claim `name` if it is there and not null.
    pub(super) fn read<T: DeserializeOwned>(&self, name: &'static str) -> Result<Option<T>, Flaw> {
        match self.0.get(name) {
            Some(value) => serde_json::from_str(value.get()).map_err(|_| Flaw::Claim(name)),
            None => Ok(None),
        }
    }

    /// Whether there is a claim `name`, even if it is null.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The time in the claim `name`; fractions of a second are allowed.
    fn time(&self, name: &'static str) -> Result<Option<SystemTime>, Flaw> {
        Ok(self.read::<f64>(name)?.map(time))
    }

    /// Who it was made for; one or several.
    pub(super) fn audience(&self) -> Result<Vec<String>, Flaw> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Audience {
            One(String),
            Several(Vec<String>),
        }
        Ok(match self.read("aud")? {
            Some(Audience::One(one)) => vec![one],
            Some(Audience::Several(several)) => several,
            None => Vec::new(),
        })
    }

    /// Whether `now` is within the times of the token, which clocks that are `leeway` apart may see differently.
    pub(super) fn check_times(&self, now: SystemTime, leeway: Duration, must_expire: bool) -> Result<(), TokenError> {
        let (begin, end) = (self.time("nbf")?, self.time("exp")?);
        if must_expire && end.is_none() {
            return Err(Flaw::NoExpiry.into());
        }
        if end.is_some_and(|end| now >= end + leeway) {
            return Err(TokenError::Expired(Untimely::Over));
        }
        match begin.is_some_and(|begin| now + leeway < begin) {
            true => Err(TokenError::Expired(Untimely::NotYet)),
            false => Ok(()),
        }
    }

    /// Until when what the token grants holds.
    fn expires(&self, now: SystemTime) -> Result<Option<SystemTime>, TokenError> {
        let end = match self.read::<f64>("expire_at")? {
            // Within the leeway, what has just ended would be over before it began.
            None => self.time("exp")?.map(|end| end.max(now + Duration::from_secs(1))),
            Some(0.0) => None,
            Some(seconds) => Some(time(seconds)),
        };
        match end.is_some_and(|end| end <= now) {
            true => Err(TokenError::Lapsed),
            false => Ok(end.map(|end| end.min(now + LONGEST_LIFE))),
        }
    }

    fn origin(&self) -> Result<Origin, Flaw> {
        Ok(Origin {
            id: self.read("jti")?,
            issued: self.time("iat")?,
        })
    }

    fn grant(&self) -> Result<Grant, Flaw> {
        let json = |name| self.read::<Box<RawValue>>(name);
        Ok(Grant {
            info: payload("info", json("info")?, self.read("b64info")?)?,
            data: payload("data", json("data")?, self.read("b64data")?)?,
            overrides: self.read("override")?.unwrap_or_default(),
        })
    }

    /// What the token says of a connection.
    pub(super) fn connection(&self, now: SystemTime) -> Result<ConnectionClaims, TokenError> {
        Ok(ConnectionClaims {
            user: self.read("sub")?.unwrap_or_default(),
            info: self.grant()?.info,
            meta: payload("meta", self.read("meta")?, None)?,
            channels: self.channels()?,
            origin: self.origin()?,
            expires: self.expires(now)?,
        })
    }

    /// The channels of a connection. With `subs`, which has options, `channels` does not count.
    fn channels(&self) -> Result<BTreeMap<Channel, Grant>, Flaw> {
        #[derive(Deserialize)]
        struct Options {
            info: Option<Box<RawValue>>,
            b64info: Option<String>,
            data: Option<Box<RawValue>>,
            b64data: Option<String>,
            r#override: Option<Overrides>,
        }
        let parse = |name: &str, claim| Channel::parse(name).map_err(|_| Flaw::Claim(claim));
        let subs: BTreeMap<String, Option<Options>> = self.read("subs")?.unwrap_or_default();
        let plain: Vec<String> = self.read("channels")?.unwrap_or_default();
        if subs.is_empty() {
            let channels = plain
                .iter()
                .map(|name| Ok((parse(name, "channels")?, Grant::default())));
            return channels.collect();
        }
        let channels = subs.into_iter().map(|(name, options)| {
            let grant = match options {
                None => Grant::default(),
                Some(options) => Grant {
                    info: payload("subs", options.info, options.b64info)?,
                    data: payload("subs", options.data, options.b64data)?,
                    overrides: options.r#override.unwrap_or_default(),
                },
            };
            Ok((parse(&name, "subs")?, grant))
        });
        channels.collect()
    }

    /// What the token says of a subscription.
    pub(super) fn subscription(&self, now: SystemTime) -> Result<SubscriptionClaims, TokenError> {
        Ok(SubscriptionClaims {
            grant: self.grant()?,
            origin: self.origin()?,
            expires: self.expires(now)?,
        })
    }
}

/// Bytes that are given in base64, or else as JSON. Whitespace goes: a dialect may end its messages with a line break.
fn payload(claim: &'static str, json: Option<Box<RawValue>>, base64: Option<String>) -> Result<Option<Bytes>, Flaw> {
    let flaw = || Flaw::Claim(claim);
    match (base64, json) {
        (Some(text), _) => STANDARD
            .decode(text)
            .map(|bytes| Some(bytes.into()))
            .map_err(|_| flaw()),
        (None, Some(json)) => compact(json).map(Some).map_err(|_| flaw()),
        (None, None) => Ok(None),
    }
}
