//! Asks the application's backend what clients may do, over HTTP.
//!
//! One question, one verdict: how connections live with it is not known here. A backend that fails costs its own questions and nothing else:
//! there is a bound on questions in flight and on the time of each, and a URL that keeps failing is left alone for a while. Invariant: what
//! may have been heard and changes something (publish, rpc) is never asked twice.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri};
use parking_lot::Mutex;
use prometheus::Registry;
use tokio::sync::Semaphore;

use crate::config;
use crate::config::Refusal;
use crate::http_client::{HttpClient, HttpError, TrustError};
use answer::Malformed;
use breaker::{Breaker, Change, Pass};
use headers::Headers;
use metrics::BackendMetrics;

mod answer;
mod breaker;
mod headers;
mod metrics;
mod question;

#[cfg(test)]
pub(crate) use answer::Subscription;
pub(crate) use answer::{Connection, Publication, Renewal, Reply, Verdict};
pub(crate) use headers::RealHeaders;
pub(crate) use question::{Call, Caller, Event, Question};

/// Longest pause before a question is asked again. It is random, so that questions that failed together do not come back together.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// The application's backend. To be shared.
#[derive(Debug)]
pub(crate) struct Backend {
    client: HttpClient,
    endpoints: [Option<Endpoint>; Event::ALL.len()],
    headers: Headers,
    statuses: Vec<config::StatusAnswer>,
    /// A place for each question in flight.
    places: Semaphore,
    timeout: Duration,
    retries: usize,
    includes_meta: bool,
    longest_answer: usize,
    metrics: BackendMetrics,
}

/// Where one kind of question is asked.
#[derive(Debug)]
struct Endpoint {
    event: Event,
    url: Uri,
    breaker: Mutex<Breaker>,
}

/// Why the backend cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackendError {
    /// No certificate can be trusted.
    #[error("cannot ask the backend over TLS")]
    Trust(#[from] TrustError),
    /// A metric is not valid.
    #[error("cannot set up metrics of the backend")]
    Metrics(#[from] prometheus::Error),
}

/// Why there is no verdict. For clients it is always the same: an internal error, and the same command may succeed later.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// There is no URL for it; see [`Backend::answers`].
    #[error("the backend has no URL for this")]
    NoEndpoint,
    /// Too many questions wait already (`backend.in_flight`). It was not asked.
    #[error("too many questions wait for the backend")]
    Busy,
    /// It has failed too often lately. It was not asked.
    #[error("the backend is left alone because it did not answer")]
    Open,
    /// What a client sent is not JSON. It was not asked.
    #[error("the question would not be JSON")]
    Question,
    /// It took too long.
    #[error("the backend did not answer within {0:?}")]
    Timeout(Duration),
    /// There was no connection, no whole answer, or too much of one.
    #[error("the backend {0}")]
    Http(#[from] HttpError),
    /// A status that stands for no answer.
    #[error("the backend answered with status {0}")]
    Status(StatusCode),
    /// What it said is no answer.
    #[error("the backend's answer is not understood: {0}")]
    Malformed(#[from] Malformed),
}

/// Every way that a call can end; the label of a metric.
const OUTCOMES: [&str; 13] = [
    "granted",
    "nothing",
    "refused",
    "disconnect",
    "busy",
    "open",
    "question",
    "timeout",
    "unreachable",
    "broken",
    "too_long",
    "status",
    "malformed",
];

impl Failure {
    fn label(&self) -> &'static str {
        match self {
            Self::NoEndpoint | Self::Question => "question",
            Self::Busy => "busy",
            Self::Open => "open",
            Self::Timeout(_) => "timeout",
            Self::Http(HttpError::Unreachable(_)) => "unreachable",
            Self::Http(HttpError::Broken(_)) => "broken",
            Self::Http(HttpError::TooLong(_)) => "too_long",
            Self::Status(_) => "status",
            Self::Malformed(_) => "malformed",
        }
    }

    /// Whether it shows that nobody answers there. An error of the application does not, or one client's question could keep all others from
    /// being asked.
    fn is_absence(&self) -> bool {
        match self {
            Self::Timeout(_) | Self::Http(HttpError::Unreachable(_) | HttpError::Broken(_)) => true,
            Self::Status(status) => is_temporary(*status),
            _ => false,
        }
    }

    /// Whether asking again may help and does no harm.
    fn allows_another(&self, event: Event) -> bool {
        match self {
            Self::Http(HttpError::Unreachable(_)) => true,
            Self::Http(HttpError::Broken(_)) => event.is_decision(),
            Self::Status(status) => event.is_decision() && is_temporary(*status),
            _ => false,
        }
    }
}

/// Whether a status says that something in front of the application could not reach it.
fn is_temporary(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}

impl Backend {
    /// The backend of `settings`; `None` if there is no URL.
    pub(crate) fn new(settings: &config::Backend, registry: &Registry) -> Result<Option<Self>, BackendError> {
        let urls = settings.urls();
        let (mut events, mut is_secure) = (Vec::new(), false);
        let endpoints = std::array::from_fn(|number| {
            let event = Event::ALL[number];
            let url = urls[number].1?;
            events.push(event.label());
            is_secure |= url.is_secure();
            Some(Endpoint {
                event,
                url: url.uri().clone(),
                breaker: Mutex::new(Breaker::new(settings.breaker_failures, settings.breaker_pause)),
            })
        });
        if events.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            client: HttpClient::new(settings.ca_file.as_deref(), is_secure)?,
            endpoints,
            headers: Headers::new(settings),
            statuses: settings.statuses.clone(),
            places: Semaphore::new(settings.in_flight.min(Semaphore::MAX_PERMITS)),
            timeout: settings.timeout,
            retries: settings.retries,
            includes_meta: settings.include_meta,
            longest_answer: settings.response_size,
            metrics: BackendMetrics::new(registry, &events, &OUTCOMES)?,
        }))
    }

    /// Whether there is a URL to ask about `event`.
    pub(crate) fn answers(&self, event: Event) -> bool {
        self.endpoint(event).is_some()
    }

    /// Of a client's request, the headers that questions about it have. To be kept with the connection.
    pub(crate) fn keep_headers<'a>(&self, request: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> RealHeaders {
        self.headers.keep(request)
    }

    /// Asks, and waits at most `backend.timeout`. Must be called on a runtime of tokio; may be dropped at any time.
    pub(crate) async fn call(&self, call: Call) -> Result<Verdict<Reply>, Failure> {
        let event = call.question.event();
        let endpoint = self.endpoint(event).ok_or(Failure::NoEndpoint)?;
        let begin = Instant::now();
        let outcome = self.ask(endpoint, &call).await;
        let label = match &outcome {
            Ok(Verdict::Granted(_)) => "granted",
            Ok(Verdict::Nothing) => "nothing",
            Ok(Verdict::Refused(_)) => "refused",
            Ok(Verdict::Disconnect(_)) => "disconnect",
            Err(failure) => failure.label(),
        };
        let was_asked = !matches!(outcome, Err(Failure::Busy | Failure::Open | Failure::Question));
        self.metrics
            .ended(event.label(), label, was_asked.then(|| begin.elapsed()));
        outcome
    }

    fn endpoint(&self, event: Event) -> Option<&Endpoint> {
        self.endpoints.iter().flatten().find(|endpoint| endpoint.event == event)
    }

    async fn ask(&self, endpoint: &Endpoint, call: &Call) -> Result<Verdict<Reply>, Failure> {
        let _place = self.places.try_acquire().map_err(|_| Failure::Busy)?;
        let body = call.encode(self.includes_meta).map_err(|_| Failure::Question)?;
        let headers = self.headers.of_question(&call.caller.headers, &call.caller.emulated);
        let attempt = Attempt::begin(endpoint, &self.metrics).ok_or(Failure::Open)?;
        let asked = tokio::time::timeout(self.timeout, self.ask_until_told(endpoint, headers, body)).await;
        let outcome = asked.unwrap_or(Err(Failure::Timeout(self.timeout)));
        attempt.end(outcome.as_ref().err());
        outcome
    }

    /// Asks, and again where that may help.
    async fn ask_until_told(
        &self,
        endpoint: &Endpoint,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Verdict<Reply>, Failure> {
        let mut left = self.retries;
        loop {
            match self.ask_once(endpoint, headers.clone(), body.clone()).await {
                Err(failure) if left > 0 && failure.allows_another(endpoint.event) => left -= 1,
                outcome => return outcome,
            }
            tokio::time::sleep(LONGEST_PAUSE.mul_f64(rand::random::<f64>())).await;
        }
    }

    async fn ask_once(&self, endpoint: &Endpoint, headers: HeaderMap, body: Bytes) -> Result<Verdict<Reply>, Failure> {
        let answer = self
            .client
            .post(&endpoint.url, headers, body, self.longest_answer)
            .await?;
        if answer.status == StatusCode::OK {
            return Ok(answer::decode(endpoint.event, &answer.body)?);
        }
        let meant = self
            .statuses
            .iter()
            .find(|meant| meant.status == answer.status.as_u16());
        match meant.map(|meant| meant.answer.clone()) {
            Some(Refusal::Error(error)) => Ok(Verdict::Refused(error)),
            Some(Refusal::Disconnect(disconnect)) => Ok(Verdict::Disconnect(disconnect)),
            None => Err(Failure::Status(answer.status)),
        }
    }
}

/// A question in flight; also when nobody waits for its end, the breaker and the gauge learn of it.
struct Attempt<'a> {
    endpoint: &'a Endpoint,
    metrics: &'a BackendMetrics,
    pass: Option<Pass>,
}

impl<'a> Attempt<'a> {
    fn begin(endpoint: &'a Endpoint, metrics: &'a BackendMetrics) -> Option<Self> {
        let pass = endpoint.breaker.lock().admit(Instant::now())?;
        metrics.in_flight.inc();
        Some(Self {
            endpoint,
            metrics,
            pass: Some(pass),
        })
    }

    fn end(mut self, failure: Option<&Failure>) {
        let Some(pass) = self.pass.take() else { return };
        let event = self.endpoint.event.label();
        let mut breaker = self.endpoint.breaker.lock();
        let change = match failure.filter(|failure| failure.is_absence()) {
            Some(_) => breaker.failed(pass, Instant::now()),
            None => breaker.succeeded(pass),
        };
        match change {
            Some(Change::Opened) => {
                self.metrics.breaker(event, true);
                let error = failure.map(ToString::to_string);
                tracing::warn!(event, error, "the backend does not answer and is left alone");
            }
            Some(Change::Closed) => {
                self.metrics.breaker(event, false);
                tracing::info!(event, "the backend answers again");
            }
            None => {}
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
        if let Some(pass) = self.pass {
            self.endpoint.breaker.lock().abandoned(pass, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests;
