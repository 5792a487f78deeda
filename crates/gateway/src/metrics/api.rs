//! What is counted of the server API.
//!
//! Invariant: labels are from closed sets; whatever else is asked for has one label.

use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

use crate::config::Call;

/// What stands for every call that does not exist.
const UNKNOWN: &str = "unknown";

/// Calls, and how long they took.
pub(crate) struct ApiMetrics {
    calls: IntCounterVec,
    duration: HistogramVec,
}

/// What came of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A result.
    Ok,
    /// An error that the request is to blame for.
    Error,
    /// An error of ours.
    Internal,
    /// The call was not made: the key, the name or the body.
    Refused,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Ok, Self::Error, Self::Internal, Self::Refused];

    fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Internal => "internal",
            Self::Refused => "refused",
        }
    }
}

impl ApiMetrics {
    pub(super) fn new(registry: &Registry, buckets: &[f64]) -> Result<Self, prometheus::Error> {
        let calls = Opts::new(
            "fanfare_api_calls_total",
            "Calls of the server API, those in batches too, by method and outcome.",
        );
        let calls = IntCounterVec::new(calls, &["method", "outcome"])?;
        for method in Call::all().map(Call::name) {
            for outcome in Outcome::ALL {
                calls.with_label_values(&[method, outcome.label()]);
            }
        }
        calls.with_label_values(&[UNKNOWN, Outcome::Refused.label()]);
        let duration = HistogramOpts::new(
            "fanfare_api_call_duration_seconds",
            "Time from the body of a call to its result, by method.",
        );
        // A method has a histogram from its first call on; a dozen empty ones would be most of a scrape.
        let duration = HistogramVec::new(duration.buckets(buckets.to_vec()), &["method"])?;
        registry.register(Box::new(calls.clone()))?;
        registry.register(Box::new(duration.clone()))?;
        Ok(Self { calls, duration })
    }

    /// A call was made.
    pub(crate) fn count(&self, call: Call, outcome: Outcome, took: Duration) {
        self.calls.with_label_values(&[call.name(), outcome.label()]).inc();
        self.duration
            .with_label_values(&[call.name()])
            .observe(took.as_secs_f64());
    }

    /// A call was not made; `None`: there is no such call.
    pub(crate) fn refuse(&self, call: Option<Call>) {
        let method = call.map_or(UNKNOWN, Call::name);
        self.calls.with_label_values(&[method, Outcome::Refused.label()]).inc();
    }
}
