//! The node's own thread: the bus and the relay on one runtime, apart from everything that serves clients.
//!
//! A busy runtime rests between its turns like a reactor does. Invariant: every task of the node is started here, and ends with it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bus::{Bus, Events, MemoryBus, QueueLimits, RedisBus, vital};
use tokio::sync::{mpsc, oneshot};

use super::Node;
use crate::StartError;
use crate::config::Config;
use crate::lane::Lane;
use crate::lane::outbound::Outbound;
use crate::lane::rest::{Rest, Work};
use crate::node::presence;
use crate::node::relay::Relay;
use crate::token::keep_keys;

/// How often the node's own loops show that they turn.
const PULSE: Duration = Duration::from_secs(1);

/// The thread of the node: one runtime for the bus and the relay, apart from everything that serves clients.
pub(crate) struct NodeThread {
    runtime: tokio::runtime::Handle,
    work: Arc<Work>,
    events: Mutex<Option<Events>>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl NodeThread {
    /// Starts the thread, and on it the bus that `config` asks for, of a node with these lanes.
    pub(crate) fn start(config: &Config, lanes: Vec<Lane>) -> Result<(Self, Arc<dyn Bus>), StartError> {
        let work = Arc::new(Work::default());
        let done = Arc::clone(&work);
        let rest = Mutex::new(Rest::new(Instant::now()));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .on_thread_park(move || {
                let delivered = lanes.iter().map(|lane| lane.stats.deliveries.get()).sum();
                let turn = done.take(delivered);
                let rest = rest.lock().map(|mut rest| rest.after(turn, Instant::now()));
                if let Ok(Some(rest)) = rest {
                    std::thread::sleep(rest);
                }
            })
            .build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("node".into()).spawn(move || {
            let _ = runtime.block_on(stopped);
            // A name that is being resolved would hold it up for as long as the resolver likes.
            runtime.shutdown_background();
        })?;
        let (bus, events) = {
            let _inside = handle.enter();
            start_bus(config)?
        };
        Ok((
            Self {
                runtime: handle,
                work,
                events: Mutex::new(Some(events)),
                stop,
                thread,
            },
            bus,
        ))
    }

    /// Starts the tasks: `deliver` and `serve` of the relay, `attend` for presence, `keys` and
    /// `revocations` for tokens, and `pulse`.
    pub(crate) fn run(&self, node: &Arc<Node>, outbound: Arc<Outbound>, public: SocketAddr) {
        let events = self
            .events
            .lock()
            .ok()
            .and_then(|mut events| events.take())
            .expect("run is called once");
        let relay = Relay {
            node: Arc::clone(node),
            outbound,
            work: Arc::clone(&self.work),
        };
        self.runtime.spawn(vital("deliver", relay.clone().deliver(events)));
        let (attendants, queue) = mpsc::channel(presence::QUEUE);
        self.runtime.spawn(vital("serve", relay.serve(attendants)));
        self.runtime
            .spawn(vital("attend", presence::attend(Arc::clone(node), queue)));
        self.runtime.spawn(vital("pulse", pulse(Arc::clone(node), public)));
        let keys = keep_keys(Arc::clone(&node.terms.tokens));
        self.runtime.spawn(vital("keys", keys));
        let revocations = Arc::clone(node.cluster.keeper()).keep();
        self.runtime.spawn(vital("revocations", revocations));
    }

    /// Ends the tasks and the thread.
    pub(crate) fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

/// Shows that the node's runtime turns, and knocks at the public listener so that its accept loop shows the same.
async fn pulse(node: Arc<Node>, public: SocketAddr) {
    let own = match public {
        SocketAddr::V4(address) if address.ip().is_unspecified() => {
            SocketAddr::from((Ipv4Addr::LOCALHOST, public.port()))
        }
        SocketAddr::V6(address) if address.ip().is_unspecified() => {
            SocketAddr::from((Ipv6Addr::LOCALHOST, public.port()))
        }
        _ => public,
    };
    let mut interval = tokio::time::interval(PULSE);
    loop {
        interval.tick().await;
        node.node_pulse.beat();
        if !node.is_closed() {
            // Whether it succeeds shows in the accept loop's own pulse.
            let _ = tokio::time::timeout(PULSE, tokio::net::TcpStream::connect(own)).await;
        }
    }
}

fn start_bus(config: &Config) -> Result<(Arc<dyn Bus>, Events), StartError> {
    match config.bus_config() {
        Some(redis) => {
            let (bus, events) = RedisBus::start(redis, config.raw.channel.clone())?;
            Ok((bus, events))
        }
        None => {
            let limits = QueueLimits {
                messages: config.redis.queue,
                bytes: config.redis.queue_bytes,
            };
            let (bus, events) = MemoryBus::start(limits);
            Ok((bus, events))
        }
    }
}
