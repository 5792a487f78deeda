//! Tokens of our own making, signed with the shared secret: for trying out, and for backends that would rather call a program.

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Map, Value};

use super::signatures;
use crate::config::Tokens;

/// Why no token can be made.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CreateError {
    /// There is nothing to sign with.
    #[error("there is no secret to sign with: set tokens.hmac_secret or tokens.hmac_secret_file")]
    NoSecret,
}

/// A token with these claims, signed with the first algorithm of the settings that is for secrets.
pub(crate) fn create(claims: &Map<String, Value>, tokens: &Tokens) -> Result<String, CreateError> {
    let secret = tokens.hmac_secret.as_ref().ok_or(CreateError::NoSecret)?;
    let algorithm = tokens.hmac_algorithms.first().ok_or(CreateError::NoSecret)?;
    signatures::install();
    let key = EncodingKey::from_secret(secret.expose().as_bytes());
    Ok(jsonwebtoken::encode(&Header::new((*algorithm).into()), claims, &key)
        .expect("claims are JSON, and ring signs with any secret"))
}
