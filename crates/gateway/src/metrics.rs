//! The metrics that are written where things happen, and the text of all of them.
//!
//! What is counted elsewhere is added up by [`sums`] when somebody scrapes. No label ever names a channel, a client or a node.

use std::sync::Arc;

use bus::Bus;
use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::admission::{Admission, Full};
use crate::lane::Lane;

mod api;
mod sums;

use api::ApiMetrics;
pub(crate) use api::Outcome;
use sums::Sums;

/// The metrics, ready to be written and scraped.
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) published: IntCounter,
    pub(crate) publish_errors: IntCounterVec,
    pub(crate) bus_publish_duration: Histogram,
    pub(crate) delivery_latency: Histogram,
    pub(crate) handshake_duration: Histogram,
    pub(crate) connection_duration: Histogram,
    pub(crate) rejected: IntCounterVec,
    pub(crate) draining: IntGauge,
    pub(crate) api: ApiMetrics,
}

/// Why a connection was not let in; the label of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rejected {
    Capacity,
    Address,
    Origin,
    Channel,
    Token,
    BadRequest,
    Draining,
    Bus,
    Backend,
}

impl Rejected {
    const ALL: [Self; 9] = [
        Self::Capacity,
        Self::Address,
        Self::Origin,
        Self::Channel,
        Self::Token,
        Self::BadRequest,
        Self::Draining,
        Self::Bus,
        Self::Backend,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Capacity => "capacity",
            Self::Address => "address",
            Self::Origin => "origin",
            Self::Channel => "channel",
            Self::Token => "token",
            Self::BadRequest => "bad_request",
            Self::Draining => "draining",
            Self::Bus => "bus",
            Self::Backend => "backend",
        }
    }
}

impl From<Full> for Rejected {
    fn from(full: Full) -> Self {
        match full {
            Full::Node => Self::Capacity,
            Full::Address => Self::Address,
        }
    }
}

impl Metrics {
    pub(crate) fn new() -> Result<Arc<Self>, prometheus::Error> {
        let registry = Registry::new();
        let seconds = |name: &str, help: &str, buckets: &[f64]| -> Result<Histogram, prometheus::Error> {
            let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?;
            registry.register(Box::new(histogram.clone()))?;
            Ok(histogram)
        };
        let quick = [
            0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
        ];
        let long = [1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0];
        let bus_publish_duration = seconds(
            "fanfare_bus_publish_duration_seconds",
            "Time from a batch of publications to the answer of the bus.",
            &quick,
        )?;
        let delivery_latency = seconds(
            "fanfare_delivery_latency_seconds",
            "Time from the publishing node's bus to the lanes of this node, by both clocks; bare channels carry no time.",
            &quick,
        )?;
        let handshake_duration = seconds(
            "fanfare_handshake_duration_seconds",
            "Time from a WebSocket request to its connection.",
            &quick,
        )?;
        let connection_duration = seconds(
            "fanfare_connection_duration_seconds",
            "How long connections lasted.",
            &long,
        )?;

        let published = IntCounter::new(
            "fanfare_bus_published_total",
            "Publications of clients that the bus took.",
        )?;
        let publish_errors = IntCounterVec::new(
            Opts::new(
                "fanfare_bus_publish_errors_total",
                "Publications of clients that the bus did not take, by reason.",
            ),
            &["reason"],
        )?;
        for reason in ["unavailable", "unknown", "refused"] {
            publish_errors.with_label_values(&[reason]);
        }
        let rejected = IntCounterVec::new(
            Opts::new(
                "fanfare_connections_rejected_total",
                "Connections that were not let in, by reason.",
            ),
            &["reason"],
        )?;
        for reason in Rejected::ALL {
            rejected.with_label_values(&[reason.label()]);
        }
        let draining = IntGauge::new("fanfare_draining", "1 while this node is leaving.")?;
        let build = IntGaugeVec::new(
            Opts::new("fanfare_build_info", "Always 1; what is running."),
            &["version", "revision", "rustc"],
        )?;
        build
            .with_label_values(&[env!("CARGO_PKG_VERSION"), crate::REVISION, env!("FANFARE_RUSTC")])
            .set(1);
        registry.register(Box::new(published.clone()))?;
        registry.register(Box::new(publish_errors.clone()))?;
        registry.register(Box::new(rejected.clone()))?;
        registry.register(Box::new(draining.clone()))?;
        registry.register(Box::new(build))?;
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        let api = ApiMetrics::new(&registry, &quick)?;
        Ok(Arc::new(Self {
            registry,
            published,
            publish_errors,
            bus_publish_duration,
            delivery_latency,
            handshake_duration,
            connection_duration,
            rejected,
            draining,
            api,
        }))
    }

    /// Adds what lanes, bus and admission count.
    pub(crate) fn watch(
        &self,
        lanes: Vec<Lane>,
        bus: Arc<dyn Bus>,
        admission: Arc<Admission>,
    ) -> Result<(), prometheus::Error> {
        self.registry.register(Box::new(Sums::new(lanes, bus, admission)))
    }

    /// Where others add what they count.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(crate) fn reject(&self, reason: Rejected) {
        self.rejected.with_label_values(&[reason.label()]).inc();
    }

    /// Everything in the text format of Prometheus.
    pub(crate) fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}
