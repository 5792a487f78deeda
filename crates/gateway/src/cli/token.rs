//! `fanfare token`: tokens are made and looked at by the settings of the gateway, so what is true here is true there.
//!
//! Invariant: no secret is printed, and a token only by `create`.

use std::io::Read;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use protocol::{Channel, ChannelError};
use serde_json::{Map, Value, json};

use super::{WRONG_SETTINGS, load, print};
use crate::config::{Sources, Tokens};
use crate::token::create::create;
use crate::token::{Inspection, Inventory, LONGEST, Verifier};

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Print a token signed with tokens.hmac_secret
    Create(Create),
    /// Show what a token says and whether it would be accepted; exit 0 only if it would
    ///
    /// Prints header and claims as JSON, with the outcome of each check under the keys and rules of the settings: signature, times, audience
    /// and issuer. A key set with a URL is fetched. A token with a channel is judged as its user's subscription to it, any other one as a connection's.
    Inspect {
        /// The token; - reads it from stdin, which keeps it out of the list of processes
        token: String,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Settings say what else a token must have: tokens.audience and tokens.issuer are put in.")]
pub(super) struct Create {
    /// Who it is for (sub)
    #[arg(long)]
    user: String,
    /// Makes it a token for subscribing to this channel instead of one for connecting
    #[arg(long, value_parser = channel)]
    channel: Option<Channel>,
    /// How long it holds, such as 30s, 1h or 7days
    #[arg(long, default_value = "1h", value_parser = lifetime)]
    ttl: Duration,
    /// What others may see of the client, as JSON
    #[arg(long, value_name = "JSON", value_parser = json)]
    info: Option<Value>,
    /// Another claim, over those above; its value is JSON, or else text. May be given several times
    #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = claim)]
    claims: Vec<(String, Value)>,
}

fn channel(name: &str) -> Result<Channel, ChannelError> {
    Channel::parse(name)
}

fn lifetime(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(lifetime) if lifetime >= Duration::from_secs(1) => Ok(lifetime),
        Ok(_) => Err("expected at least 1s".into()),
        Err(_) => Err("expected a duration with its unit such as 30s, 1h or 7days".into()),
    }
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("expected JSON such as {{\"name\":\"Anna\"}}: {error}"))
}

fn claim(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
            Ok((name.to_owned(), value))
        }
        _ => Err("expected NAME=VALUE".into()),
    }
}

impl TokenCommand {
    pub(super) fn run(self, sources: &Sources) -> ExitCode {
        let tokens = match load(sources) {
            Ok(loaded) => loaded.config.tokens,
            Err(code) => return code,
        };
        match self {
            Self::Create(wanted) => match create(&wanted.claims(&tokens, SystemTime::now()), &tokens) {
                Ok(token) => print(format!("{token}\n").as_bytes()),
                Err(error) => {
                    eprintln!("fanfare: {error}");
                    ExitCode::from(WRONG_SETTINGS)
                }
            },
            Self::Inspect { token } => inspect(&token, &tokens),
        }
    }
}

impl Create {
    fn claims(self, tokens: &Tokens, now: SystemTime) -> Map<String, Value> {
        let seconds = |time: SystemTime| {
            time.duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0, |since| since.as_secs())
        };
        let mut claims = Map::new();
        let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        set("sub", self.user.into());
        set("iat", seconds(now).into());
        set("exp", seconds(now).saturating_add(self.ttl.as_secs()).into());
        if let Some(channel) = self.channel {
            set("channel", channel.as_str().into());
        }
        if let Some(info) = self.info {
            set("info", info);
        }
        if let Some(audience) = tokens.audience.first() {
            set("aud", audience.as_str().into());
        }
        if let Some(issuer) = &tokens.issuer {
            set("iss", issuer.as_str().into());
        }
        claims.extend(self.claims);
        claims
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
    let fetched = match fetch(&verifier) {
        Ok(fetched) => fetched,
        // The other keys may do.
        Err(error) => {
            eprintln!("fanfare: tokens.jwks_url: {error}");
            None
        }
    };
    let fetched_keys = fetched.as_ref().map_or(0, |fetched| fetched.keys);
    for key in fetched.iter().flat_map(|fetched| &fetched.left_out) {
        eprintln!("fanfare: tokens.jwks_url: {key}");
    }
    if inventory.keys + fetched_keys == 0 {
        eprintln!(
            "fanfare: there is no key: set tokens.hmac_secret, tokens.public_key_file, tokens.jwks_file or tokens.jwks_url"
        );
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

/// Fetches the key set if there is a URL, so that what is told here is what a gateway would find.
fn fetch(verifier: &Verifier) -> Result<Option<Inventory>, Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(verifier.fetch())?)
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
