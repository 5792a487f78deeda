//! Connection tokens: JWT with a user and an end, signed with HS256 by a secret that the server knows too.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

/// Makes tokens with one secret.
pub(crate) struct Issuer(hmac::Key);

impl Issuer {
    pub(crate) fn new(secret: &str) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()))
    }

    /// A token of a user with this number that ends at `expires_at`, in seconds of Unix time.
    pub(crate) fn token(&self, user: usize, expires_at: u64) -> String {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        let claims = format!(r#"{{"exp":{expires_at},"sub":"user-{user}"}}"#);
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
        let signature = hmac::sign(&self.0, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[cfg(test)]
mod tests {
    use super::Issuer;

    #[test]
    fn agrees_with_another_implementation() {
        let token = Issuer::new("a secret of the load test, 32 bytes").token(7, 1_900_000_000);
        let expected = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjE5MDAwMDAwMDAsInN1YiI6InVzZXItNyJ9.\
                        jpPWcfsk9RyY0mBFLYlCtNYOcqTfDprSEsf_1GtWp4M";
        assert_eq!(token, expected, "as hmac and base64 of Python make it");
    }
}
