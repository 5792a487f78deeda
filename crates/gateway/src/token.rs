//! Tokens (JWT): whether one may be believed, and what it says.
//!
//! An issuer whom the operator trusts signs who a client is, or that it may subscribe to a channel. Does not know connections or dialects,
//! and neither reads a clock nor a file while it judges. Invariant: nothing that a token says counts before its signature has been checked
//! with a key and an algorithm that the settings, not the token, brought together.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use parking_lot::RwLock;
use protocol::Channel;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::config::{HmacAlgorithm, Tokens};
use crate::token::revocation::Revocations;
use claims::{Claims, SubscriptionClaims};
use keys::Keys;

pub(crate) use claims::{ConnectionClaims, Origin};
pub(crate) use inspection::Inspection;
pub(crate) use remote::keep_keys;
pub(crate) use sources::{Inventory, SourceError};

mod bearer;
mod claims;
pub(crate) mod create;
mod inspection;
mod jwks;
mod keys;
mod missing;
pub(crate) mod remote;
pub(crate) mod revocation;
mod signatures;
pub(crate) mod sources;

/// The longest token. What is longer is refused before any of it is looked at.
pub(crate) const LONGEST: usize = 8 << 10;

/// Why a token is refused. Each variant has its own answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    /// It cannot be believed, and no other try makes it better.
    #[error("the token is invalid: {0}")]
    Invalid(#[from] Flaw),
    /// It names a key (`kid`) that is not here but may come, as it is looked for: the same token may be accepted in a few seconds.
    #[error("the token's key is not known yet")]
    UnknownKey {
        /// The name of the key.
        kid: String,
    },
    /// It can be believed, but not now: the client should fetch another one.
    #[error("the token {0}")]
    Expired(Untimely),
    /// It can be believed, but what it grants has already ended (`expire_at`).
    #[error("what the token grants has already ended (expire_at)")]
    Lapsed,
    /// It is somebody else's, or for something else.
    #[error("the token is for another {0}")]
    WrongSubject(Subject),
}

/// On which side of its time a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Untimely {
    /// After `exp`.
    #[error("has expired (exp)")]
    Over,
    /// Before `nbf`.
    #[error("is not valid yet (nbf)")]
    NotYet,
}

/// What a subscription token was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Subject {
    /// The client's user.
    #[error("user")]
    User,
    /// The channel.
    #[error("channel")]
    Channel,
    /// The connection.
    #[error("client")]
    Client,
}

/// What is wrong with a token. Contains nothing of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Flaw {
    /// More than [`LONGEST`] bytes.
    #[error("it is longer than {LONGEST} bytes")]
    TooLong,
    /// Not three parts in base64url, or not JSON in them.
    #[error("it is no JWT in compact form")]
    Malformed,
    /// Its header demands something (`crit`) that is not known here.
    #[error("its header demands what is not supported (crit)")]
    Critical,
    /// There is no key at all that could be meant.
    #[error("there is no key for it")]
    NoKey,
    /// Not an algorithm of the keys that could be meant, or none at all.
    #[error("its algorithm is not one of the key's")]
    Algorithm,
    /// Made with another key, or changed since.
    #[error("its signature is wrong")]
    Signature,
    /// A claim that is not what it has to be.
    #[error("its claim {0:?} cannot be understood")]
    Claim(&'static str),
    /// It never expires, and tokens have to.
    #[error("it never expires (no exp)")]
    NoExpiry,
    /// For somebody else (`aud`).
    #[error("it is not for this audience (aud)")]
    Audience,
    /// By somebody else (`iss`).
    #[error("it is by another issuer (iss)")]
    Issuer,
    /// For a subscription, and given as one for a connection.
    #[error("it is for a subscription (channel), not for a connection")]
    ForSubscription,
    /// It was taken back.
    #[error("it is revoked")]
    Revoked,
    /// For a connection, and given as one for a subscription.
    #[error("it is for a connection, not for a subscription (no channel)")]
    ForConnection,
}

/// What a token has to be besides signed.
#[derive(Debug)]
struct Rules {
    audience: Vec<String>,
    issuer: Option<String>,
    leeway: Duration,
    must_expire: bool,
}

/// Checks tokens by the settings and the keys that they name.
#[derive(Debug)]
pub(crate) struct Verifier {
    rules: Rules,
    sources: sources::Sources,
    /// The key set that is fetched, if one is.
    remote: Option<remote::Remote>,
    /// Replaced as a whole; a check works with the keys that there were when it began.
    keys: RwLock<Arc<Keys>>,
    revocations: Arc<Revocations>,
}

impl From<HmacAlgorithm> for Algorithm {
    fn from(algorithm: HmacAlgorithm) -> Self {
        match algorithm {
            HmacAlgorithm::Hs256 => Self::HS256,
            HmacAlgorithm::Hs384 => Self::HS384,
            HmacAlgorithm::Hs512 => Self::HS512,
        }
    }
}

/// The part of a token's header that matters before its signature.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Box<RawValue>>,
}

impl Verifier {
    /// With the keys of `tokens`, whose files are read now, and the keys that were left out. A set with a URL is fetched by
    /// [`remote::keep_keys`].
    pub(crate) fn new(tokens: &Tokens) -> Result<(Self, Inventory), SourceError> {
        let sources = sources::Sources::new(tokens);
        let (keys, inventory) = sources.read()?;
        let verifier = Self {
            rules: Rules {
                audience: tokens.audience.clone(),
                issuer: tokens.issuer.clone(),
                leeway: tokens.leeway,
                must_expire: tokens.require_exp,
            },
            sources,
            remote: remote::Remote::new(tokens)?,
            keys: RwLock::new(Arc::new(Keys {
                local: keys.into(),
                ..Keys::default()
            })),
            revocations: Arc::default(),
        };
        Ok((verifier, inventory))
    }

    /// Reads the files with keys again if they have changed. After an error the old keys stay.
    pub(crate) fn reload(&self) -> Result<Option<Inventory>, SourceError> {
        if !self.sources.have_changed() {
            return Ok(None);
        }
        let (keys, inventory) = self.sources.read()?;
        self.replace(|held| held.local = keys.into());
        Ok(Some(inventory))
    }

    /// Changes the keys that there are from now on.
    fn replace(&self, change: impl FnOnce(&mut Keys)) {
        change(Arc::make_mut(&mut self.keys.write()));
    }

    /// Checks a token that a client connects or stays connected with.
    pub(crate) fn connection(&self, token: &str, now: SystemTime) -> Result<ConnectionClaims, TokenError> {
        let claims = self.signed(token)?;
        if claims.has("channel") {
            return Err(Flaw::ForSubscription.into());
        }
        self.check_origin(&claims)?;
        self.check_times(&claims, now)?;
        let claims = claims.connection(now)?;
        self.check_revocations(&claims.user, &claims.origin, now)?;
        Ok(claims)
    }

    /// Checks a token with which `client`, whose user is `user`, subscribes to `channel` or stays subscribed.
    pub(crate) fn subscription(
        &self,
        token: &str,
        user: &str,
        client: &str,
        channel: &Channel,
        now: SystemTime,
    ) -> Result<SubscriptionClaims, TokenError> {
        let claims = self.signed(token)?;
        self.check_origin(&claims)?;
        self.check_times(&claims, now)?;
        let is = |name, wanted: &str| {
            claims
                .read::<String>(name)
                .map(|found| found.as_deref().unwrap_or_default() == wanted)
        };
        if claims.read::<String>("channel")?.is_none() {
            return Err(Flaw::ForConnection.into());
        }
        if !is("channel", channel.as_str())? {
            return Err(TokenError::WrongSubject(Subject::Channel));
        }
        if !is("sub", user)? {
            return Err(TokenError::WrongSubject(Subject::User));
        }
        if claims.read::<String>("client")?.is_some_and(|wanted| wanted != client) {
            return Err(TokenError::WrongSubject(Subject::Client));
        }
        let claims = claims.subscription(now)?;
        self.check_revocations(user, &claims.origin, now)?;
        Ok(claims)
    }

    /// Tokens that are not believed, though nothing is wrong about them.
    pub(crate) fn revocations(&self) -> &Arc<Revocations> {
        &self.revocations
    }

    /// The claims of `token`, if its signature is right.
    fn signed(&self, token: &str) -> Result<Claims, TokenError> {
        let (keys, header) = (Arc::clone(&self.keys.read()), header_of(token)?);
        let flaw = match signed_by(&keys, token, &header) {
            Ok(claims) => return Ok(claims),
            Err(flaw) => flaw,
        };
        // Only now: a token that names the shared secret is right, whatever it calls it.
        let (Some(remote), Some(kid)) = (&self.remote, header.kid) else {
            return Err(flaw.into());
        };
        match !keys.have(&kid) && remote.miss(&kid) {
            true => Err(TokenError::UnknownKey { kid }),
            false => Err(flaw.into()),
        }
    }

    fn check_origin(&self, claims: &Claims) -> Result<(), Flaw> {
        self.check_issuer(claims)?;
        self.check_audience(claims)
    }

    fn check_issuer(&self, claims: &Claims) -> Result<(), Flaw> {
        match &self.rules.issuer {
            Some(wanted) if claims.read::<String>("iss")?.as_ref() != Some(wanted) => Err(Flaw::Issuer),
            _ => Ok(()),
        }
    }

    fn check_audience(&self, claims: &Claims) -> Result<(), Flaw> {
        let wanted = &self.rules.audience;
        match wanted.is_empty() || claims.audience()?.iter().any(|audience| wanted.contains(audience)) {
            true => Ok(()),
            false => Err(Flaw::Audience),
        }
    }

    fn check_revocations(&self, user: &str, origin: &Origin, now: SystemTime) -> Result<(), Flaw> {
        match self.revocations.is_revoked(user, origin, now) {
            true => Err(Flaw::Revoked),
            false => Ok(()),
        }
    }

    fn check_times(&self, claims: &Claims, now: SystemTime) -> Result<(), TokenError> {
        claims.check_times(now, self.rules.leeway, self.rules.must_expire)
    }
}

/// The header of `token`, if there is nothing in the way of checking its signature.
fn header_of(token: &str) -> Result<Header, Flaw> {
    if token.len() > LONGEST {
        return Err(Flaw::TooLong);
    }
    let header: Header = serde_json::from_slice(&part(token, 0)?).map_err(|_| Flaw::Malformed)?;
    match header.crit {
        Some(_) => Err(Flaw::Critical),
        None => Ok(header),
    }
}

/// The claims of `token`, whose header is `header`, if one of `keys` signed it.
fn signed_by(keys: &Keys, token: &str, header: &Header) -> Result<Claims, Flaw> {
    // Before the keys: the same answer whatever keys there are.
    let algorithm = header.alg.parse::<Algorithm>().map_err(|_| Flaw::Algorithm)?;
    let (message, signature) = token.rsplit_once('.').ok_or(Flaw::Malformed)?;
    let mut flaw = Flaw::NoKey;
    for key in keys.for_token(header.kid.as_deref()) {
        if !key.algorithms.contains(&algorithm) {
            flaw = if flaw == Flaw::NoKey { Flaw::Algorithm } else { flaw };
            continue;
        }
        match jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key.key, algorithm) {
            Ok(true) => return claims(token),
            Ok(false) => flaw = Flaw::Signature,
            Err(_) => return Err(Flaw::Malformed),
        }
    }
    Err(flaw)
}

/// What a token says, believed or not.
fn claims(token: &str) -> Result<Claims, Flaw> {
    serde_json::from_slice(&part(token, 1)?).map_err(|_| Flaw::Malformed)
}

/// One of the three parts of a token, decoded.
fn part(token: &str, number: usize) -> Result<Vec<u8>, Flaw> {
    let parts: Vec<_> = token.split('.').collect();
    match parts.as_slice() {
        [_, _, _] => URL_SAFE_NO_PAD.decode(parts[number]).map_err(|_| Flaw::Malformed),
        _ => Err(Flaw::Malformed),
    }
}

#[cfg(test)]
mod tests;
