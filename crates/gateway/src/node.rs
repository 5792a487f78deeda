//! What the parts of one node share, put together once at start.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bus::{Bus, Counter};

use crate::admission::Admission;
use crate::allowance::Rate;
use crate::backend::Backend;
use crate::channel_rules::ChannelRules;
use crate::client::{MessageLimit, Terms};
use crate::cluster::Cluster;
use crate::config::{Carriage, Centrifuge, Config, Excess};
use crate::lane::Lane;
use crate::lane::connections::LaneSettings;
use crate::lane::directory::Directory;
use crate::lane::interest::Interests;
use crate::metrics::Metrics;
use crate::token::Verifier;

pub(crate) mod relay;

mod errands;
mod presence;
mod thread;

pub(crate) use thread::NodeThread;

/// One node.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) config: Config,
    /// Whether clients of the bare channel hear only themselves.
    pub(crate) echoes: bool,
    pub(crate) rules: Arc<ChannelRules>,
    /// What holds for clients that talk in commands.
    pub(crate) terms: Arc<Terms>,
    pub(crate) message_limit: Option<MessageLimit>,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) interests: Arc<Interests>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) lane_settings: LaneSettings,
    pub(crate) node_pulse: Pulse,
    pub(crate) accept_pulse: Pulse,
    pub(crate) is_draining: AtomicBool,
    is_closed: AtomicBool,
    /// So many lanes, the first, are reactors; the others belong to workers of the public listener.
    pub(crate) reactors: usize,
    next_reactor: AtomicUsize,
}

/// What a node is made of.
pub(crate) struct Parts {
    pub(crate) lane_settings: LaneSettings,
    pub(crate) lanes: Vec<Lane>,
    /// How many of the lanes, the first, are reactors.
    pub(crate) reactors: usize,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) interests: Arc<Interests>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) tokens: Arc<Verifier>,
    pub(crate) backend: Option<Arc<Backend>>,
}

/// Shows that a loop still turns.
pub(crate) struct Pulse {
    start: Instant,
    /// Milliseconds from `start` to the last beat.
    beat: Counter,
}

impl Node {
    /// Puts the parts together. Nobody is let in yet.
    pub(crate) fn new(name: String, config: Config, echoes: bool, parts: Parts) -> Self {
        let Parts {
            lane_settings,
            lanes,
            reactors,
            bus,
            interests,
            admission,
            metrics,
            directory,
            tokens,
            backend,
        } = parts;
        let limits = &config.limits;
        let burst = if limits.message_burst > 0 {
            limits.message_burst
        } else {
            limits.message_rate
        };
        let message_limit = MessageLimit {
            rate: Rate {
                per_second: limits.message_rate,
                burst,
            },
            closes: limits.message_excess == Excess::Close,
        };
        let revocations = Arc::clone(tokens.revocations());
        let cluster = Cluster::new(Arc::clone(&bus), directory, lanes.clone(), name.clone(), revocations);
        let rules = Arc::new(ChannelRules::new(&config));
        let terms = Terms {
            rules: Arc::clone(&rules),
            settings: Centrifuge {
                anonymous: config.centrifuge.anonymous || config.dev,
                transports: match config.dev {
                    true => Carriage::ALL.to_vec(),
                    false => config.centrifuge.transports.clone(),
                },
                ..config.centrifuge.clone()
            },
            rates: config.rates.clone(),
            tokens,
            backend,
            node: bus.node(),
            untold: Arc::default(),
        };
        Self {
            rules,
            terms: Arc::new(terms),
            cluster: Arc::new(cluster),
            echoes,
            message_limit: Some(message_limit).filter(|limit| limit.rate.per_second > 0),
            config,
            bus,
            interests,
            admission,
            metrics,
            lanes,
            lane_settings,
            node_pulse: Pulse::new(),
            accept_pulse: Pulse::new(),
            name,
            is_draining: AtomicBool::new(false),
            is_closed: AtomicBool::new(true),
            reactors,
            next_reactor: AtomicUsize::new(0),
        }
    }

    /// The reactor for the next connection.
    pub(crate) fn pick_reactor(&self) -> usize {
        self.next_reactor.fetch_add(1, Ordering::Relaxed) % self.reactors.max(1)
    }

    /// Whether new connections are refused, which they are until the bus is heard.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Lets connections in from now on.
    pub(crate) fn open_door(&self) {
        self.accept_pulse.beat();
        self.is_closed.store(false, Ordering::Release);
    }

    /// Refuses new connections from now on.
    pub(crate) fn close_door(&self) {
        self.is_closed.store(true, Ordering::Release);
    }
}

impl Pulse {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            beat: Counter::default(),
        }
    }

    pub(crate) fn beat(&self) {
        self.beat
            .set(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX));
    }

    /// How long ago the last beat was.
    pub(crate) fn silence(&self) -> Duration {
        self.start
            .elapsed()
            .saturating_sub(Duration::from_millis(self.beat.get()))
    }
}
