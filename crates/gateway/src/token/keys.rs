//! The keys that tokens may be signed with, and which of them counts for a token.
//!
//! Does not know where keys are kept. Invariant: the algorithms of a key come from its own kind or from the settings, never from a token,
//! so a token cannot have a public key taken for a shared secret.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, DecodingKey};
use simple_asn1::ASN1Block;

use super::signatures;

/// Fewest bits of an RSA modulus.
const RSA_FEWEST: usize = 2048;
/// Most bits of an RSA modulus.
const RSA_MOST: usize = 8192;

/// One key, with the algorithms that it is for.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) kid: Option<String>,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) key: DecodingKey,
}

/// Why something is no key for tokens. Says nothing of the key itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyError {
    /// It is not PEM, or says that it is something else.
    #[error("expected one public key in PEM, below a line \"-----BEGIN PUBLIC KEY-----\"")]
    NotPem,
    /// The secret half of a key.
    #[error("this is a private key, which only the issuer of tokens may have; the public key belongs here")]
    Private,
    /// Several keys in one PEM file.
    #[error("there is more than one key; several belong in a key set (tokens.jwks_file)")]
    Several,
    /// Its kind is not known, or broken.
    #[error("expected a key of RSA, of the curve P-256 or P-384, or Ed25519")]
    Unsupported,
    /// RSA, of an unusual length.
    #[error("expected an RSA key of {RSA_FEWEST} to {RSA_MOST} bits, this one has {0}")]
    RsaLength(usize),
}

impl Key {
    /// A secret that the issuer of tokens shares.
    pub(super) fn secret(secret: &[u8], algorithms: &[Algorithm]) -> Self {
        Self::new(DecodingKey::from_secret(secret), algorithms)
    }

    /// The public key of the PEM text `pem`, whatever its kind.
    pub(super) fn pem(pem: &str) -> Result<Self, KeyError> {
        if pem.contains("PRIVATE KEY-----") {
            return Err(KeyError::Private);
        }
        match pem.matches("-----BEGIN ").count() {
            1 if pem.contains("-----BEGIN PUBLIC KEY-----") || pem.contains("-----BEGIN RSA PUBLIC KEY-----") => {}
            0 | 1 => return Err(KeyError::NotPem),
            _ => return Err(KeyError::Several),
        }
        let pem = pem.as_bytes();
        if let Some(der) = DecodingKey::from_rsa_pem(pem).ok().as_ref().and_then(bytes) {
            let (n, e) = rsa_parts(der).ok_or(KeyError::Unsupported)?;
            return Self::rsa(&n, &e);
        }
        let other = DecodingKey::from_ec_pem(pem).or_else(|_| DecodingKey::from_ed_pem(pem));
        let other = other.map_err(|_| KeyError::Unsupported)?;
        let point = bytes(&other).ok_or(KeyError::Unsupported)?;
        match point.len() {
            32 => Self::ed25519(point),
            _ => Self::curve(point),
        }
    }

    /// An RSA key of modulus `n` and exponent `e`.
    pub(super) fn rsa(n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        let (n, e) = (without_zeros(n), without_zeros(e));
        let bits = n.first().map_or(0, |first| {
            n.len() * 8 - usize::try_from(first.leading_zeros()).unwrap_or_default()
        });
        if !(RSA_FEWEST..=RSA_MOST).contains(&bits) {
            return Err(KeyError::RsaLength(bits));
        }
        let is_odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
        if !is_odd(n) || !is_odd(e) || e == [1] || e.len() > 4 {
            return Err(KeyError::Unsupported);
        }
        let algorithms = [Algorithm::RS256, Algorithm::RS384, Algorithm::RS512];
        Ok(Self::new(DecodingKey::from_rsa_raw_components(n, e), &algorithms))
    }

    /// A key of a point on P-256 or P-384, which its length tells.
    pub(super) fn curve(point: &[u8]) -> Result<Self, KeyError> {
        let algorithm = match (point.first(), point.len()) {
            (Some(4), 65) => Algorithm::ES256,
            (Some(4), 97) => Algorithm::ES384,
            _ => return Err(KeyError::Unsupported),
        };
        Ok(Self::new(DecodingKey::from_ec_der(point), &[algorithm]))
    }

    /// A key of Ed25519.
    pub(super) fn ed25519(key: &[u8]) -> Result<Self, KeyError> {
        match key.len() {
            32 => Ok(Self::new(DecodingKey::from_ed_der(key), &[Algorithm::EdDSA])),
            _ => Err(KeyError::Unsupported),
        }
    }

    fn new(key: DecodingKey, algorithms: &[Algorithm]) -> Self {
        signatures::install();
        Self {
            kid: None,
            algorithms: algorithms.to_vec(),
            key,
        }
    }
}

/// What a key is made of, unless it is RSA.
pub(super) fn bytes(key: &DecodingKey) -> Option<&[u8]> {
    key.try_get_as_bytes().ok()
}

/// Modulus and exponent of an RSA key in DER.
fn rsa_parts(der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    match simple_asn1::from_der(der).ok()?.as_slice() {
        [ASN1Block::Sequence(_, parts)] => match parts.as_slice() {
            [ASN1Block::Integer(_, n), ASN1Block::Integer(_, e)] => Some((n.to_bytes_be().1, e.to_bytes_be().1)),
            _ => None,
        },
        _ => None,
    }
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// All keys at one time. Another collection takes its place as a whole.
#[derive(Debug, Default, Clone)]
pub(super) struct Keys {
    /// Those of the settings and files.
    pub(super) local: Arc<[Key]>,
    /// Those of the set that was fetched last.
    pub(super) fetched: Arc<[Key]>,
}

impl Keys {
    /// The keys that a token with this `kid` may be signed with.
    ///
    /// A key that has a name is only for tokens that name it. A token that names no key, or one that is not here, must be signed with a key
    /// without a name: issuers often name a shared secret although we know it under no name. The name is compared and nothing else; it is no
    /// path and no query.
    pub(super) fn for_token<'a>(&'a self, kid: Option<&'a str>) -> impl Iterator<Item = &'a Key> {
        let wanted = kid.filter(|kid| self.have(kid));
        self.all().filter(move |key| key.kid.as_deref() == wanted)
    }

    /// Whether one of them is called `kid`.
    pub(super) fn have(&self, kid: &str) -> bool {
        self.all().any(|key| key.kid.as_deref() == Some(kid))
    }

    fn all(&self) -> impl Iterator<Item = &Key> {
        self.local.iter().chain(self.fetched.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pem: &str, expected: KeyError) {
        assert_eq!(Key::pem(pem).map(|key| key.algorithms), Err(expected), "{pem}");
    }

    #[test]
    fn what_is_no_key() {
        check("", KeyError::NotPem);
        check("secret", KeyError::NotPem);
        check(
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            KeyError::NotPem,
        );
        check(
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
            KeyError::Unsupported,
        );
        check("-----BEGIN PUBLIC KEY-----\n", KeyError::Unsupported);
        check("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n", KeyError::Private);
        check("-----BEGIN PRIVATE KEY-----\nAAAA\n", KeyError::Private);
        check(
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n-----BEGIN PUBLIC KEY-----\n",
            KeyError::Several,
        );
    }

    #[test]
    fn parts_of_rsa() {
        let check = |n: &[u8], e: &[u8], expected: Result<usize, KeyError>| {
            assert_eq!(Key::rsa(n, e).map(|key| key.algorithms.len()), expected, "{e:?}");
        };
        let long = [0x81; 256];
        check(&long, &[1, 0, 1], Ok(3));
        check(&[&[0, 0], &long[..]].concat(), &[0, 1, 0, 1], Ok(3));
        check(&long, &[1], Err(KeyError::Unsupported));
        check(&long, &[2], Err(KeyError::Unsupported));
        check(&long, &[], Err(KeyError::Unsupported));
        check(&long, &[1; 5], Err(KeyError::Unsupported));
        check(&[0x81; 255], &[3], Err(KeyError::RsaLength(2040)));
        check(&[0x81; 1025], &[3], Err(KeyError::RsaLength(8200)));
        check(&[], &[3], Err(KeyError::RsaLength(0)));
        check(&[0; 256], &[3], Err(KeyError::RsaLength(0)));
    }
}
