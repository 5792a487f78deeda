//! What is counted of calls to the application's backend.

use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// The metrics of calls to the backend. Labels are of closed sets that the caller has.
#[derive(Debug)]
pub(crate) struct BackendMetrics {
    calls: IntCounterVec,
    duration: HistogramVec,
    breaker_open: IntGaugeVec,
    /// Calls that wait for their answer.
    pub(crate) in_flight: IntGauge,
}

impl BackendMetrics {
    /// Registered with a series for each of `events` and `outcomes`.
    pub(super) fn new(
        registry: &Registry,
        events: &[&'static str],
        outcomes: &[&'static str],
    ) -> Result<Self, prometheus::Error> {
        let calls = IntCounterVec::new(
            Opts::new(
                "fanfare_backend_calls_total",
                "Calls to the application's backend, by what it was asked and how it ended.",
            ),
            &["event", "outcome"],
        )?;
        let buckets = vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
        let duration = HistogramVec::new(
            HistogramOpts::new(
                "fanfare_backend_call_duration_seconds",
                "Time from a call to the application's backend to its end, retries included, by what it was asked.",
            )
            .buckets(buckets),
            &["event"],
        )?;
        let breaker_open = IntGaugeVec::new(
            Opts::new(
                "fanfare_backend_breaker_open",
                "1 while the backend is not asked because it did not answer, by what it would be asked.",
            ),
            &["event"],
        )?;
        let in_flight = IntGauge::new(
            "fanfare_backend_in_flight",
            "Calls to the application's backend that wait for their answer.",
        )?;
        for event in events {
            for outcome in outcomes {
                calls.with_label_values(&[event, outcome]);
            }
            duration.with_label_values(&[event]);
            breaker_open.with_label_values(&[event]);
        }
        registry.register(Box::new(calls.clone()))?;
        registry.register(Box::new(duration.clone()))?;
        registry.register(Box::new(breaker_open.clone()))?;
        registry.register(Box::new(in_flight.clone()))?;
        Ok(Self {
            calls,
            duration,
            breaker_open,
            in_flight,
        })
    }

    /// A call ended. `duration`: how long it waited, if it was made at all.
    pub(crate) fn ended(&self, event: &'static str, outcome: &'static str, duration: Option<Duration>) {
        self.calls.with_label_values(&[event, outcome]).inc();
        if let Some(duration) = duration {
            self.duration
                .with_label_values(&[event])
                .observe(duration.as_secs_f64());
        }
    }

    /// The backend is not asked from now on, or asked again.
    pub(crate) fn breaker(&self, event: &'static str, is_open: bool) {
        self.breaker_open.with_label_values(&[event]).set(is_open.into());
    }
}
