//! `fanfare token`: tokens are looked at by the settings of the gateway, so what is true here is true there.
//!
//! Invariant: no secret is printed, and no token.

use std::io::Read;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Subcommand;
use serde_json::{Map, Value, json};

use super::{load, print};
use crate::config::{Sources, Tokens};
use crate::token::{Inspection, LONGEST, Verifier};

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Show what a token says and whether it would be accepted; exit 0 only if it would
    ///
    /// Prints header and claims as JSON, with the outcome of each check under the keys and rules of the settings: signature, times, audience
    /// and issuer. A token with a channel is judged as its user's subscription to it, any other one as a connection's.
    Inspect {
        /// The token; - reads it from stdin, which keeps it out of the list of processes
        token: String,
    },
}

impl TokenCommand {
    pub(super) fn run(self, sources: &Sources) -> ExitCode {
        let tokens = match load(sources) {
            Ok(loaded) => loaded.config.tokens,
            Err(code) => return code,
        };
        match self {
            Self::Inspect { token } => inspect(&token, &tokens),
        }
    }
}

fn inspect(token: &str, tokens: &Tokens) -> ExitCode {
    let refused = |why: &dyn std::fmt::Display| {
        eprintln!("fanfare: {why}");
        ExitCode::FAILURE
    };
    let (verifier, inventory) = match Verifier::new(tokens) {
        Ok(made) => made,
        Err(error) => return refused(&error),
    };
    for key in &inventory.left_out {
        eprintln!("fanfare: tokens.jwks_file: {key}");
    }
    if inventory.keys == 0 {
        eprintln!("fanfare: there is no key: set tokens.hmac_secret, tokens.public_key_file or tokens.jwks_file");
    }
    let token = match token {
        "-" => from_stdin(),
        token => Ok(token.to_owned()),
    };
    let inspection = match token {
        Ok(token) => verifier.inspect(token.trim(), SystemTime::now()),
        Err(error) => return refused(&format!("cannot read stdin: {error}")),
    };
    match inspection {
        Ok(inspection) => {
            let printed = print(page(&inspection).as_bytes());
            match &inspection.verdict {
                Ok(()) => printed,
                Err(error) => refused(error),
            }
        }
        Err(flaw) => refused(&format!("the token is invalid: {flaw}")),
    }
}

fn from_stdin() -> std::io::Result<String> {
    let mut text = String::new();
    // A little more than a token may have, so that a longer one is seen to be longer.
    let most = u64::try_from(LONGEST + 16).unwrap_or(u64::MAX);
    std::io::stdin().lock().take(most).read_to_string(&mut text)?;
    Ok(text)
}

fn page(inspection: &Inspection) -> String {
    let outcome = |outcome: &Result<(), crate::token::TokenError>| match outcome {
        Ok(()) => Value::from("ok"),
        Err(error) => error.to_string().into(),
    };
    let checks: Map<_, _> = inspection
        .checks
        .iter()
        .map(|(name, result)| ((*name).to_owned(), outcome(result)))
        .collect();
    let page = json!({
        "header": inspection.header,
        "claims": inspection.claims,
        "for": if inspection.channel.is_some() { "subscription" } else { "connection" },
        "checks": checks,
        "accepted": inspection.verdict.is_ok(),
    });
    let text = format!("{page:#}\n");
    // What a stranger wrote must not steer the terminal. JSON has no such character outside of a text, and this is how it escapes one.
    text.chars()
        .map(|letter| match letter {
            '\n' => "\n".to_owned(),
            letter if letter.is_control() => format!("\\u{:04x}", u32::from(letter)),
            letter => letter.to_string(),
        })
        .collect()
}
