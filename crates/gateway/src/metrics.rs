//! Every metric, its help text and its labels.
//!
//! Lanes and the bus keep plain counters of their own; they are added up here when somebody scrapes, on the admin listener's thread, so
//! that a scrape costs the delivery path nothing. No label ever names a channel, a client or a node.

use std::sync::{Arc, OnceLock};

use bus::{Bus, Counter};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::admission::{Admission, Full};
use crate::lane::Lane;
use crate::stats::Dropped;

/// The metrics that are written where things happen.
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
}

/// Why a connection was not let in; the label of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rejected {
    Capacity,
    Address,
    Origin,
    Channel,
    BadRequest,
    Draining,
    Bus,
}

impl Rejected {
    const ALL: [Self; 7] = [
        Self::Capacity,
        Self::Address,
        Self::Origin,
        Self::Channel,
        Self::BadRequest,
        Self::Draining,
        Self::Bus,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Capacity => "capacity",
            Self::Address => "address",
            Self::Origin => "origin",
            Self::Channel => "channel",
            Self::BadRequest => "bad_request",
            Self::Draining => "draining",
            Self::Bus => "bus",
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
            .with_label_values(&[
                env!("CARGO_PKG_VERSION"),
                env!("FANFARE_REVISION"),
                env!("FANFARE_RUSTC"),
            ])
            .set(1);
        registry.register(Box::new(published.clone()))?;
        registry.register(Box::new(publish_errors.clone()))?;
        registry.register(Box::new(rejected.clone()))?;
        registry.register(Box::new(draining.clone()))?;
        registry.register(Box::new(build))?;
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
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
        }))
    }

    /// Adds what lanes, bus and admission count.
    pub(crate) fn watch(
        &self,
        lanes: Vec<Lane>,
        bus: Arc<dyn Bus>,
        admission: Arc<Admission>,
    ) -> Result<(), prometheus::Error> {
        self.registry.register(Box::new(Sums {
            lanes,
            bus,
            admission,
            descriptions: OnceLock::new(),
        }))
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

/// What others count, read at each scrape.
struct Sums {
    lanes: Vec<Lane>,
    bus: Arc<dyn Bus>,
    admission: Arc<Admission>,
    descriptions: OnceLock<Vec<Desc>>,
}

impl Sums {
    fn families(&self) -> Result<Vec<Box<dyn Collector>>, prometheus::Error> {
        let lanes = |value: fn(&Lane) -> u64| -> u64 { self.lanes.iter().map(value).sum() };
        let health = self.bus.health();
        let stats = self.bus.stats();
        Ok(vec![
            gauge(
                "fanfare_connections",
                "Connections open now.",
                lanes(|lane| lane.stats.connections.get()),
            )?,
            gauge(
                "fanfare_connections_max",
                "Connections that this node may have.",
                self.admission.most() as u64,
            )?,
            gauge(
                "fanfare_handshakes",
                "Connections whose handshake is not finished.",
                self.admission.handshakes() as u64,
            )?,
            counter(
                "fanfare_connections_opened_total",
                "Connections opened.",
                lanes(|lane| lane.stats.opened.get()),
            )?,
            self.ended()?,
            gauge(
                "fanfare_channels",
                "Channels with subscribers, summed over lanes.",
                lanes(|lane| lane.stats.channels.get()),
            )?,
            gauge(
                "fanfare_subscriptions",
                "Subscriptions of clients.",
                lanes(|lane| lane.stats.subscriptions.get()),
            )?,
            counter(
                "fanfare_messages_received_total",
                "Messages of clients.",
                lanes(|lane| lane.stats.received_messages.get()),
            )?,
            counter(
                "fanfare_received_bytes_total",
                "Bytes of clients, after the handshake.",
                lanes(|lane| lane.stats.received_bytes.get()),
            )?,
            counter(
                "fanfare_messages_sent_total",
                "Publications handed to clients, each client counted.",
                lanes(|lane| lane.stats.deliveries.get()),
            )?,
            counter(
                "fanfare_writes_total",
                "Writes that carried them; fewer when busy channels are merged.",
                lanes(|lane| lane.stats.writes.get()),
            )?,
            counter(
                "fanfare_sent_bytes_total",
                "Bytes handed to clients.",
                lanes(|lane| lane.stats.sent_bytes.get()),
            )?,
            self.dropped()?,
            gauge(
                "fanfare_send_queue_bytes",
                "Bytes that wait for slow clients.",
                lanes(|lane| lane.stats.outbox_bytes.get()),
            )?,
            counter(
                "fanfare_panics_total",
                "Connections closed because handling them failed.",
                lanes(|lane| lane.stats.panics.get()),
            )?,
            self.slowest_turn()?,
            gauge(
                "fanfare_bus_up",
                "1 while publications of other nodes are heard.",
                u64::from(health.link_up),
            )?,
            gauge(
                "fanfare_bus_publisher_up",
                "1 while publications are taken.",
                u64::from(health.publisher_up),
            )?,
            counter(
                "fanfare_bus_reconnects_total",
                "Times the link was established again.",
                stats.reconnects.get(),
            )?,
            seconds(
                "fanfare_bus_gap_seconds_total",
                "Time without a link.",
                stats.gap_millis.get() as f64 / 1000.0,
            )?,
            gauge(
                "fanfare_bus_subscriptions",
                "Channels subscribed on the bus.",
                stats.subscriptions.get(),
            )?,
            counter(
                "fanfare_bus_messages_received_total",
                "Publications heard from the bus.",
                stats.received.get(),
            )?,
            counter(
                "fanfare_bus_malformed_total",
                "Publications heard that could not be passed on.",
                stats.malformed.get(),
            )?,
            self.pool(&stats.pool_in_use, &stats.pool_idle)?,
        ])
    }

    fn ended(&self) -> Result<Box<dyn Collector>, prometheus::Error> {
        let opts = Opts::new("fanfare_connections_closed_total", "Connections ended, by reason.");
        let counters = IntCounterVec::new(opts, &["reason"])?;
        for lane in &self.lanes {
            for (reason, count) in lane.stats.ended() {
                counters.with_label_values(&[reason]).inc_by(count);
            }
        }
        Ok(Box::new(counters))
    }

    fn dropped(&self) -> Result<Box<dyn Collector>, prometheus::Error> {
        let opts = Opts::new(
            "fanfare_messages_dropped_total",
            "Messages and publications dropped, by reason.",
        );
        let counters = IntCounterVec::new(opts, &["reason"])?;
        counters
            .with_label_values(&["lane_behind"])
            .inc_by(self.lanes.iter().map(|lane| lane.inbox.dropped.get()).sum());
        for reason in Dropped::ALL {
            let count = self.lanes.iter().map(|lane| lane.stats.dropped(reason)).sum();
            counters.with_label_values(&[reason.label()]).inc_by(count);
        }
        Ok(Box::new(counters))
    }

    fn slowest_turn(&self) -> Result<Box<dyn Collector>, prometheus::Error> {
        let gauge = Gauge::new(
            "fanfare_event_loop_lag_seconds",
            "The longest turn of a lane since the last scrape.",
        )?;
        let slowest = self
            .lanes
            .iter()
            .map(|lane| lane.stats.take_slowest_turn())
            .max()
            .unwrap_or_default();
        gauge.set(slowest.as_secs_f64());
        Ok(Box::new(gauge))
    }

    fn pool(&self, in_use: &Counter, idle: &Counter) -> Result<Box<dyn Collector>, prometheus::Error> {
        let gauges = IntGaugeVec::new(
            Opts::new("fanfare_pool_connections", "Connections of the pool, by state."),
            &["state"],
        )?;
        for (state, count) in [("in_use", in_use), ("idle", idle)] {
            gauges
                .with_label_values(&[state])
                .set(i64::try_from(count.get()).unwrap_or(i64::MAX));
        }
        Ok(Box::new(gauges))
    }
}

impl Collector for Sums {
    fn desc(&self) -> Vec<&Desc> {
        let describe = || {
            let families = self.families().unwrap_or_default();
            families
                .iter()
                .flat_map(|family| family.desc().into_iter().cloned().collect::<Vec<_>>())
                .collect()
        };
        self.descriptions.get_or_init(describe).iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.families()
            .unwrap_or_default()
            .iter()
            .flat_map(|family| family.collect())
            .collect()
    }
}

fn counter(name: &str, help: &str, value: u64) -> Result<Box<dyn Collector>, prometheus::Error> {
    let counter = IntCounter::new(name, help)?;
    counter.inc_by(value);
    Ok(Box::new(counter))
}

fn seconds(name: &str, help: &str, value: f64) -> Result<Box<dyn Collector>, prometheus::Error> {
    let counter = prometheus::Counter::new(name, help)?;
    counter.inc_by(value);
    Ok(Box::new(counter))
}

fn gauge(name: &str, help: &str, value: u64) -> Result<Box<dyn Collector>, prometheus::Error> {
    let gauge = IntGauge::new(name, help)?;
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    Ok(Box::new(gauge))
}
