//! What lanes, bus and admission count, added up at each scrape.
//!
//! They keep plain counters of their own, which are read on the admin listener's threads: a scrape costs the delivery path nothing.

use std::sync::{Arc, OnceLock};

use bus::{Bus, Counter};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};

use crate::admission::Admission;
use crate::lane::Lane;
use crate::stats::Dropped;

/// What others count, read at each scrape.
pub(super) struct Sums {
    lanes: Vec<Lane>,
    bus: Arc<dyn Bus>,
    admission: Arc<Admission>,
    descriptions: OnceLock<Vec<Desc>>,
}

impl Sums {
    pub(super) fn new(lanes: Vec<Lane>, bus: Arc<dyn Bus>, admission: Arc<Admission>) -> Self {
        Self {
            lanes,
            bus,
            admission,
            descriptions: OnceLock::new(),
        }
    }

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
            self.by_label(
                IntGaugeVec::new(
                    Opts::new(
                        "fanfare_clients",
                        "Connections open now, by what their clients talk in.",
                    ),
                    &["dialect"],
                )?,
                |lane| lane.stats.tongues().collect(),
            ),
            self.counted(
                "fanfare_commands_total",
                "Commands of clients that were carried out, by command.",
                "command",
                |lane| lane.stats.commands().collect(),
            )?,
            self.counted(
                "fanfare_command_errors_total",
                "Commands of clients that were answered with an error, by its code.",
                "code",
                |lane| lane.stats.errors().collect(),
            )?,
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
        let (name, help) = ("fanfare_connections_closed_total", "Connections ended, by reason.");
        self.counted(name, help, "reason", |lane| lane.stats.ended().collect())
    }

    /// What every lane counts by one label.
    fn counted(
        &self,
        name: &str,
        help: &str,
        label: &str,
        of: fn(&Lane) -> Vec<(&'static str, u64)>,
    ) -> Result<Box<dyn Collector>, prometheus::Error> {
        let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
        for (value, count) in self.lanes.iter().flat_map(of) {
            counters.with_label_values(&[value]).inc_by(count);
        }
        Ok(Box::new(counters))
    }

    /// What every lane has now by one label.
    fn by_label(&self, gauges: IntGaugeVec, of: fn(&Lane) -> Vec<(&'static str, u64)>) -> Box<dyn Collector> {
        for (value, count) in self.lanes.iter().flat_map(of) {
            gauges
                .with_label_values(&[value])
                .add(i64::try_from(count).unwrap_or(i64::MAX));
        }
        Box::new(gauges)
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
