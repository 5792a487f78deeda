//! Key sets (JWKS) as text: which keys are in one, and which are left out.
//!
//! Sets are published by others, and grow kinds and uses that we do not know. So a key that is not for us is left out and told, and only a
//! set without any key for us is refused. Does not know where the text comes from.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use super::keys::{Key, KeyError, bytes};

/// A key of a set that is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("key {number}{} is left out: {reason}", kid.as_ref().map(|kid| format!(" ({kid:?})")).unwrap_or_default())]
pub(crate) struct LeftOut {
    /// Which one, from 1.
    pub(crate) number: usize,
    /// Its name, if it has one.
    pub(crate) kid: Option<String>,
    /// Why.
    pub(crate) reason: WhyLeftOut,
}

/// Why a key of a set is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WhyLeftOut {
    /// Its form or its kind is not known.
    #[error("its kind is not known")]
    UnknownKind,
    /// A shared secret. Sets are made to be published, and a secret that is published lets anyone sign.
    #[error("a shared secret does not belong in a key set; set tokens.hmac_secret")]
    Secret,
    /// It has the private half too.
    #[error("it is a private key, which only the issuer of tokens may have")]
    Private,
    /// For encryption, say.
    #[error("it is not for signatures")]
    Use,
    /// Of an algorithm that is not checked here.
    #[error("its algorithm is not supported")]
    Algorithm,
    /// Nothing that can check a signature.
    #[error("{0}")]
    Key(#[from] KeyError),
}

/// Why a text is no key set that could be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SetError {
    /// Not JSON, or not of that form.
    #[error("expected a key set: JSON of the form {{\"keys\": [...]}}")]
    NotASet,
    /// No key is left.
    #[error("there is no key for tokens in the set{}", .0.first().map(|first| format!("; {first}")).unwrap_or_default())]
    Empty(Vec<LeftOut>),
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

/// The keys of the set `text`, and those that are left out.
pub(super) fn parse(text: &str) -> Result<(Vec<Key>, Vec<LeftOut>), SetError> {
    let set: Set = serde_json::from_str(text).map_err(|_| SetError::NotASet)?;
    let (mut keys, mut left_out) = (Vec::new(), Vec::new());
    for (at, value) in set.keys.into_iter().enumerate() {
        let kid = value.get("kid").and_then(Value::as_str).map(str::to_owned);
        match key(value) {
            Ok(key) => keys.push(Key { kid, ..key }),
            Err(reason) => left_out.push(LeftOut {
                number: at + 1,
                kid,
                reason,
            }),
        }
    }
    match keys.is_empty() {
        true => Err(SetError::Empty(left_out)),
        false => Ok((keys, left_out)),
    }
}

fn key(value: Value) -> Result<Key, WhyLeftOut> {
    if value.get("kty").and_then(Value::as_str) == Some("oct") {
        return Err(WhyLeftOut::Secret);
    }
    if value.get("d").is_some() {
        return Err(WhyLeftOut::Private);
    }
    let jwk: Jwk = serde_json::from_value(value).map_err(|_| WhyLeftOut::UnknownKind)?;
    let is_for_signatures = jwk
        .common
        .public_key_use
        .as_ref()
        .is_none_or(|r#use| *r#use == PublicKeyUse::Signature);
    let operations = jwk.common.key_operations.as_ref();
    if !is_for_signatures || operations.is_some_and(|operations| !operations.contains(&KeyOperations::Verify)) {
        return Err(WhyLeftOut::Use);
    }
    let mut key = match &jwk.algorithm {
        AlgorithmParameters::RSA(parts) => {
            let part = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError::Unsupported);
            Key::rsa(&part(&parts.n)?, &part(&parts.e)?)?
        }
        AlgorithmParameters::EllipticCurve(parts) => {
            let point = DecodingKey::from_ec_components(&parts.x, &parts.y).map_err(|_| KeyError::Unsupported)?;
            let key = Key::curve(bytes(&point).unwrap_or_default())?;
            let is_its_curve = match parts.curve {
                EllipticCurve::P256 => key.algorithms == [Algorithm::ES256],
                EllipticCurve::P384 => key.algorithms == [Algorithm::ES384],
                _ => false,
            };
            is_its_curve.then_some(key).ok_or(KeyError::Unsupported)?
        }
        AlgorithmParameters::OctetKeyPair(parts) if parts.curve == EllipticCurve::Ed25519 => {
            Key::ed25519(&URL_SAFE_NO_PAD.decode(&parts.x).map_err(|_| KeyError::Unsupported)?)?
        }
        _ => return Err(WhyLeftOut::UnknownKind),
    };
    if let Some(only) = jwk.common.key_algorithm {
        key.algorithms
            .retain(|algorithm| KeyAlgorithm::from(*algorithm) == only);
    }
    match key.algorithms.is_empty() {
        true => Err(WhyLeftOut::Algorithm),
        false => Ok(key),
    }
}
