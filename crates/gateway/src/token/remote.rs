//! A key set that is fetched by its URL, and the task that keeps all keys up to date.
//!
//! Checks never wait for it: they leave word which key they miss ([`TokenError::UnknownKey`](super::TokenError)), and go on. Invariant: what
//! cannot be fetched changes nothing, and the issuer is asked at most every [`PAUSE`], whatever tokens say.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::jwks::{self, SetError};
use super::missing::Missing;
use super::sources::LONGEST_SET;
use super::{Inventory, Verifier};
use crate::config::{HttpUrl, Tokens};
use crate::http_client::{HttpClient, HttpError, TrustError};

/// Shortest time between two fetches.
const PAUSE: Duration = Duration::from_secs(10);
/// How long a fetch may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often the files with keys are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Where a key set is fetched.
#[derive(Debug)]
pub(super) struct Remote {
    url: HttpUrl,
    client: HttpClient,
    refresh: Duration,
    missing: Mutex<Missing>,
    /// Wakes the task when a key is missed.
    missed: Notify,
}

/// Why a key set was not fetched. The keys that there are stay.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// There was no whole answer.
    #[error("{url} {source}")]
    Http {
        /// Where.
        url: HttpUrl,
        /// What is wrong.
        source: HttpError,
    },
    /// It took too long.
    #[error("{url} did not answer within {TIMEOUT:?}")]
    Timeout {
        /// Where.
        url: HttpUrl,
    },
    /// The answer is not one with a key set.
    #[error("{url} answered with status {status}")]
    Status {
        /// Where.
        url: HttpUrl,
        /// Which.
        status: u16,
    },
    /// It is not a key set that can be used.
    #[error("{url}: {source}")]
    Set {
        /// Where.
        url: HttpUrl,
        /// What is wrong.
        source: SetError,
    },
}

impl Remote {
    /// The place that `tokens` names, if it names one.
    pub(super) fn new(tokens: &Tokens) -> Result<Option<Self>, TrustError> {
        let Some(url) = tokens.jwks_url.clone() else {
            return Ok(None);
        };
        Ok(Some(Self {
            client: HttpClient::new(tokens.jwks_ca_file.as_deref(), url.is_secure())?,
            url,
            refresh: tokens.jwks_refresh,
            missing: Mutex::default(),
            missed: Notify::new(),
        }))
    }

    /// A token names a key that is not here. Whether it may come.
    pub(super) fn miss(&self, kid: &str) -> bool {
        // Also for one that was not there lately: the issuer may be slower with its set than with its tokens.
        self.missed.notify_one();
        self.missing.lock().miss(kid)
    }
}

impl Verifier {
    /// Fetches the key set, and uses it from now on instead of the one fetched before. `None`: there is no URL. Must be called on a runtime
    /// of tokio.
    pub(crate) async fn fetch(&self) -> Result<Option<Inventory>, FetchError> {
        let Some(remote) = &self.remote else {
            return Ok(None);
        };
        remote.missing.lock().begin();
        let outcome = remote.fetch().await;
        match outcome {
            Ok((keys, left_out)) => {
                let inventory = Inventory {
                    keys: keys.len(),
                    left_out,
                };
                // Before names count as unknown: nobody finds a new key neither here nor still to come.
                self.replace(|held| held.fetched = keys.into());
                remote.missing.lock().end();
                Ok(Some(inventory))
            }
            Err(error) => {
                remote.missing.lock().fail();
                Err(error)
            }
        }
    }
}

impl Remote {
    async fn fetch(&self) -> Result<(Vec<super::keys::Key>, Vec<jwks::LeftOut>), FetchError> {
        let url = || self.url.clone();
        let answer = tokio::time::timeout(TIMEOUT, self.client.get(self.url.uri(), LONGEST_SET))
            .await
            .map_err(|_| FetchError::Timeout { url: url() })?
            .map_err(|source| FetchError::Http { url: url(), source })?;
        if answer.status != http::StatusCode::OK {
            return Err(FetchError::Status {
                url: url(),
                status: answer.status.as_u16(),
            });
        }
        jwks::parse(&String::from_utf8_lossy(&answer.body)).map_err(|source| FetchError::Set { url: url(), source })
    }
}

/// Keeps the keys of `verifier` up to date: reads its files again when they change, and fetches its key set at once, every
/// `tokens.jwks_refresh`, and when a token names a key that is not here. A task of the node for as long as tokens are checked; never ends,
/// and may be dropped at any time.
pub(crate) async fn keep_keys(verifier: Arc<Verifier>) {
    keep_keys_with(verifier, PAUSE).await;
}

/// The same with another shortest time between two fetches.
pub(super) async fn keep_keys_with(verifier: Arc<Verifier>, pause: Duration) {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut fetches = Fetches {
        next: Instant::now(),
        earliest: Instant::now(),
        is_failing: false,
    };
    loop {
        tokio::select! {
            _ = look.tick() => reload(&verifier).await,
            () = fetches.due(&verifier) => fetches.run(&verifier, pause).await,
        }
    }
}

/// When the set is fetched.
struct Fetches {
    /// Without any token that needs it.
    next: Instant,
    /// With one.
    earliest: Instant,
    /// Whether the outage was told.
    is_failing: bool,
}

impl Fetches {
    /// Waits until the set should be fetched; without a URL, for ever.
    async fn due(&self, verifier: &Verifier) {
        let Some(remote) = &verifier.remote else {
            return std::future::pending().await;
        };
        tokio::select! {
            () = sleep_until(self.next) => {}
            () = async {
                // In this order: who takes the word of a token has to fetch at once, or it would be lost.
                sleep_until(self.earliest).await;
                remote.missed.notified().await;
            } => {}
        }
    }

    async fn run(&mut self, verifier: &Verifier, pause: Duration) {
        let outcome = verifier.fetch().await;
        let now = Instant::now();
        self.earliest = now + pause;
        // Up to a tenth later, so that processes that were started together do not stay together.
        let spread = |time: Duration| now + time.mul_f64(1.0 + rand::random::<f64>() / 10.0);
        let refresh = verifier.remote.as_ref().map_or(pause, |remote| remote.refresh);
        self.next = spread(if outcome.is_ok() { refresh } else { pause });
        match outcome {
            Ok(inventory) => {
                if self.is_failing {
                    tracing::info!("the key set can be fetched again");
                }
                self.is_failing = false;
                for key in inventory.into_iter().flat_map(|inventory| inventory.left_out) {
                    tracing::debug!(setting = "tokens.jwks_url", "{key}");
                }
            }
            Err(error) if !self.is_failing => {
                self.is_failing = true;
                tracing::warn!(%error, "the key set cannot be fetched, the keys that there are stay");
            }
            Err(error) => tracing::debug!(%error, "the key set still cannot be fetched"),
        }
    }
}

/// Reads the files with keys again if they have changed; not on this thread, which has more to do.
async fn reload(verifier: &Arc<Verifier>) {
    let verifier = Arc::clone(verifier);
    match tokio::task::spawn_blocking(move || verifier.reload()).await {
        Ok(Ok(Some(inventory))) => {
            tracing::info!(keys = inventory.keys, "the keys for tokens were read again");
            for key in inventory.left_out {
                tracing::warn!(setting = "tokens.jwks_file", "{key}");
            }
        }
        Ok(Ok(None)) => {}
        Ok(Err(error)) => tracing::error!(%error, "the new keys cannot be used, the old ones stay"),
        Err(error) => tracing::error!(%error, "the files with keys cannot be looked at"),
    }
}
