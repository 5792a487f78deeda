//! What a token is and what is wrong with it, for people: every check by itself, where a verdict names only the first that fails.

use std::time::SystemTime;

use protocol::Channel;
use serde_json::Value;

use super::{Flaw, TokenError, Verifier, part};

/// Everything about one token.
#[derive(Debug)]
pub(crate) struct Inspection {
    /// Its header as it is, believed or not.
    pub(crate) header: Value,
    /// Its claims as they are, believed or not.
    pub(crate) claims: Value,
    /// Each check with its outcome.
    pub(crate) checks: [(&'static str, Result<(), TokenError>); 4],
    /// What it would be given for: a connection, or a subscription to this channel.
    pub(crate) channel: Option<String>,
    /// What the one who gives it would be told.
    pub(crate) verdict: Result<(), TokenError>,
}

impl Verifier {
    /// Looks at all of `token`, as if the one it was made for gave it.
    pub(crate) fn inspect(&self, token: &str, now: SystemTime) -> Result<Inspection, Flaw> {
        if token.len() > super::LONGEST {
            return Err(Flaw::TooLong);
        }
        let json = |number| -> Result<Value, Flaw> {
            serde_json::from_slice(&part(token, number)?).map_err(|_| Flaw::Malformed)
        };
        let (header, values) = (json(0)?, json(1)?);
        let claims = super::claims(token)?;
        let text = |name: &str| values.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let channel = values.get("channel").map(|_| text("channel"));
        let verdict = match &channel {
            None => self.connection(token, now).map(drop),
            Some(name) => Channel::parse(name)
                .map_err(|_| Flaw::Claim("channel").into())
                .and_then(|channel| {
                    self.subscription(token, &text("sub"), &text("client"), &channel, now)
                        .map(drop)
                }),
        };
        Ok(Inspection {
            checks: [
                ("signature", self.signed(token).map(drop)),
                ("times", self.check_times(&claims, now)),
                ("audience", self.check_audience(&claims).map_err(TokenError::from)),
                ("issuer", self.check_issuer(&claims).map_err(TokenError::from)),
            ],
            header,
            claims: values,
            channel,
            verdict,
        })
    }
}
