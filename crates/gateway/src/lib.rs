//! Ends WebSocket connections and joins them through the bus.
//!
//! [`Gateway::start`] is the only place where the parts meet. One node is: a thread with the bus and the relay, lanes with the sockets
//! (reactor threads, or actix workers), the public listener, and the admin listener.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use actix_server::ServerHandle;
use bus::RedisConfigError;
use protocol::frame::Limits;
use socket2::{Domain, Socket, Type};

use crate::admission::{Admission, AdmissionLimits};
use crate::backend::Backend;
use crate::config::Config;
use crate::lane::Lane;
use crate::lane::connections::{LaneSettings, Rhythm};
use crate::lane::directory::Directory;
use crate::lane::drain::Pace;
use crate::lane::hub::{MOST_COLLECTED, WindowSettings};
use crate::lane::inbox::{InboxLimits, Item};
use crate::lane::interest::{Interest, Interests};
use crate::lane::outbound::Outbound;
use crate::lane::{attached, reactor};
use crate::listener::server::Sockets;
use crate::listener::{admin, server};
use crate::metrics::Metrics;
use crate::node::{Node, NodeThread, Parts};
use crate::token::Verifier;
use crate::token::revocation::Revocation;

pub mod api;
pub mod channel_rules;
pub mod cli;
pub mod config;
pub mod logging;
pub mod systemd;

mod admission;
mod allowance;
mod backend;
mod client;
mod cluster;
mod disconnect;
mod files;
mod grant;
mod http_client;
mod lane;
mod listener;
mod metrics;
mod node;
mod stats;
mod token;

pub use listener::tls::TlsError;

/// Which source this program was built from.
pub const REVISION: &str = env!("FANFARE_REVISION");
/// How long nobody is let in because it is not known yet which tokens are revoked.
const READING: Duration = Duration::from_secs(3);

/// A running node.
pub struct Gateway {
    node: Arc<Node>,
    public: SocketAddr,
    admin: SocketAddr,
    public_server: ServerHandle,
    admin_server: ServerHandle,
    reactors: Vec<JoinHandle<()>>,
    node_thread: NodeThread,
    /// Keeps the bare channel subscribed.
    _bare: Option<Interest>,
    outbound: Arc<Outbound>,
}

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The certificate cannot be used.
    #[error("cannot serve TLS")]
    Tls(#[from] TlsError),
    /// The settings of Redis cannot be used.
    #[error("cannot use Redis as configured")]
    Redis(#[from] RedisConfigError),
    /// The system gave no thread, socket or the like.
    #[error("cannot start")]
    System(#[from] io::Error),
    /// The application's backend cannot be asked.
    #[error("cannot ask the backend")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The keys of tokens cannot be used.
    #[error("cannot check tokens")]
    Tokens(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A metric is not valid.
    #[error("cannot set up metrics")]
    Metrics(#[from] prometheus::Error),
}

/// Why something that a node was asked for was not done.
type Refused = Box<dyn std::error::Error + Send + Sync>;

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Every connection was closed in time.
    Completely,
    /// Some were cut at the limit, or because a second signal came.
    Cut {
        /// How many.
        connections: usize,
    },
}

/// Whether a node lives, for whoever watches over it, also while it drains.
pub struct Liveness(Arc<Node>);

impl Liveness {
    /// Whether every loop of the node turns; what `/livez` says.
    pub fn is_alive(&self) -> bool {
        admin::liveness(&self.0).is_good()
    }
}

impl Gateway {
    /// Starts a node. Must be called inside an actix system; returns when clients are accepted, which is when the bare channel is heard:
    /// while Redis is away it waits, with the admin listener up.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Self::start_as(config, false).await
    }

    /// Starts a node whose clients of `/` hear only themselves, for suites that test the frames.
    #[doc(hidden)]
    pub async fn start_echo(config: Config) -> Result<Self, StartError> {
        Self::start_as(config, true).await
    }

    async fn start_as(config: Config, echoes: bool) -> Result<Self, StartError> {
        let name = config.node.name.clone().unwrap_or_else(random_name);
        let metrics = Metrics::new()?;
        let sockets = Sockets::from_config(&config.listener)?;
        let tokens = tokens(&config)?;
        let backlog = config.listener.backlog;
        let (public_socket, public) = bind(SocketAddr::new(config.listener.address, config.listener.port))?;
        let (admin_socket, admin) = bind(config.admin_address())?;

        let lane_count = match config.listener.reactors {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        };
        let lane_settings = lane_settings(&config, lane_count);
        let outbound = Arc::new(Outbound::new(
            config.limits.publish_queue,
            config.limits.publish_queue_bytes,
        ));
        let directory = Arc::<Directory>::default();
        let (mut lanes, reactors) = match &sockets {
            Sockets::Reactor => start_reactors(lane_count, lane_settings, &outbound, &directory)?,
            Sockets::Attached(_) => Default::default(),
        };
        // Those of the workers, for what stays with them.
        let workers = lanes.len()..lanes.len() + lane_count;
        lanes.extend(workers.map(|number| attached::lane(number, &lane_settings)));

        let backend =
            Backend::new(&config.backend, metrics.registry()).map_err(|error| StartError::Backend(error.into()))?;
        let (node_thread, bus) = NodeThread::start(&config, lanes.clone())?;
        let interests = Interests::new(Arc::clone(&bus), lanes.len());
        let limits = AdmissionLimits {
            connections: most_connections(config.limits.connections, config.limits.handshakes * lane_count)?,
            connections_per_address: config.limits.connections_per_address,
            handshakes: config.limits.handshakes * lane_count,
            handshakes_per_address: config.limits.handshakes_per_address,
            trusted_proxies: config.listener.trusted_proxies.clone(),
        };
        let admission = Admission::new(limits, metrics.connection_duration.clone());
        metrics.watch(lanes.clone(), Arc::clone(&bus), Arc::clone(&admission))?;
        let bare = config.raw.channel.clone();
        let node = Arc::new(Node::new(
            name,
            config,
            echoes,
            Parts {
                lane_settings,
                lanes,
                reactors: reactors.len(),
                bus,
                interests,
                admission,
                metrics,
                directory,
                tokens,
                backend: backend.map(Arc::new),
            },
        ));
        node_thread.run(&node, Arc::clone(&outbound), public);

        let admin_server = admin::start(&node, listen(admin_socket, admin, 128)?)?;
        let admin_handle = admin_server.handle();
        actix_web::rt::spawn(admin_server);
        tracing::info!(node = node.name, %admin, "the admin listener answers");

        let mut bare = bare.map(|channel| node.interests.hold(&channel, None, None));
        if let Some(bare) = &mut bare {
            bare.confirmed().await;
        }
        if tokio::time::timeout(READING, node.cluster.keeper().loaded())
            .await
            .is_err()
        {
            tracing::warn!("it cannot be read yet which tokens are revoked, so none is until it can");
        }
        // Not before: clients and load balancers would be left hanging in the backlog instead of trying another node.
        let public_listener = listen(public_socket, public, backlog)?;
        let public_server = server::start(&node, Arc::clone(&outbound), sockets, public_listener, lane_count)?;
        let public_handle = public_server.handle();
        actix_web::rt::spawn(public_server);
        node.open_door();
        tracing::info!(node = node.name, %public, "clients are accepted");
        Ok(Self {
            node,
            public,
            admin,
            public_server: public_handle,
            admin_server: admin_handle,
            reactors,
            node_thread,
            _bare: bare,
            outbound,
        })
    }

    /// Where clients connect.
    pub fn public_address(&self) -> SocketAddr {
        self.public
    }

    /// Where probes and metrics are.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// For watching over the node.
    pub fn liveness(&self) -> Liveness {
        Liveness(Arc::clone(&self.node))
    }

    /// Connections now.
    pub fn connections(&self) -> usize {
        self.node.admission.connections()
    }

    /// Makes every lane stand still for a while, to see what happens when one falls behind.
    #[doc(hidden)]
    pub fn pause_lane(&self, lane: usize, pause: Duration) {
        self.node.lanes[lane].inbox.push(Item::Pause(pause));
    }

    /// Has no node believe a token any more, by its name, until it would be over anyway.
    #[doc(hidden)]
    pub async fn revoke_token(&self, id: &str, until: Option<SystemTime>) -> Result<(), Refused> {
        let revocation = Revocation::of_token(id.to_owned(), until, SystemTime::now())?;
        Ok(self.node.cluster.revoke(revocation).await?)
    }

    /// Has no node believe the tokens of a user any more that were made earlier.
    #[doc(hidden)]
    pub async fn invalidate_user_tokens(&self, user: &str, issued_before: SystemTime) -> Result<(), Refused> {
        let revocation = Revocation::of_user(user.to_owned(), issued_before, None, SystemTime::now())?;
        Ok(self.node.cluster.revoke(revocation).await?)
    }

    /// Leaves: not ready at once, still accepting for `drain.delay`, then closing everybody over `drain.window`. Ends when the last
    /// connection is gone, at the limit, or at once when `hurry` is ready.
    pub async fn drain(self, hurry: impl Future<Output = ()>) -> Drained {
        self.node.is_draining.store(true, Ordering::Release);
        self.node.metrics.draining.set(1);
        let drain = self.node.config.drain.clone();
        let limit = Instant::now() + drain.delay + drain.window + drain.timeout;
        tracing::info!(connections = self.connections(), delay = ?drain.delay, window = ?drain.window, "draining");
        let orderly = async {
            tokio::time::sleep(drain.delay).await;
            self.node.close_door();
            let stopped = actix_web::rt::spawn(self.public_server.stop(true));
            let pace = Pace {
                begin: Instant::now(),
                window: drain.window,
            };
            self.node
                .lanes
                .iter()
                .for_each(|lane| lane.inbox.push(Item::Drain(pace)));
            let gone = async {
                while self.connections() > 0 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            let _ = tokio::time::timeout(drain.window + drain.timeout, gone).await;
            drop(stopped);
        };
        let patience = tokio::select! {
            () = orderly => limit.saturating_duration_since(Instant::now()),
            () = hurry => {
                tracing::warn!("told to hurry");
                Duration::ZERO
            }
        };
        let left = self.connections();
        self.end(patience).await;
        match left {
            0 => Drained::Completely,
            connections => Drained::Cut { connections },
        }
    }

    /// Ends at once, without a word to clients.
    pub async fn stop(self) {
        self.end(Duration::ZERO).await;
    }

    /// Ends, once the bus has what the last clients said, or after `patience`.
    async fn end(self, patience: Duration) {
        self.node.close_door();
        for lane in &self.node.lanes {
            lane.inbox.push(Item::Stop);
        }
        self.public_server.stop(false).await;
        self.admin_server.stop(false).await;
        for reactor in self.reactors {
            let _ = reactor.join();
        }
        let _ = tokio::time::timeout(patience, self.outbound.drained()).await;
        self.node.bus.close().await;
        self.node_thread.stop();
    }
}

fn tokens(config: &Config) -> Result<Arc<Verifier>, StartError> {
    let (verifier, inventory) = Verifier::new(&config.tokens).map_err(|error| StartError::Tokens(error.into()))?;
    for key in &inventory.left_out {
        tracing::warn!(%key, "a key of the set is not used");
    }
    Ok(Arc::new(verifier))
}

fn start_reactors(
    count: usize,
    settings: LaneSettings,
    outbound: &Arc<Outbound>,
    directory: &Arc<Directory>,
) -> Result<(Vec<Lane>, Vec<JoinHandle<()>>), StartError> {
    let started: Result<Vec<_>, _> = (0..count)
        .map(|number| reactor::start(number, settings, Arc::clone(outbound), Arc::clone(directory)))
        .collect();
    Ok(started?.into_iter().unzip())
}

fn lane_settings(config: &Config, lanes: usize) -> LaneSettings {
    let limits = &config.limits;
    LaneSettings {
        frames: Limits {
            message_size: limits.message_size,
            fragments: u32::try_from(limits.fragments).unwrap_or(u32::MAX),
        },
        outbox: limits.outbox,
        // Never less than one outbox.
        outboxes: (limits.outboxes / lanes).max(limits.outbox),
        inbox: InboxLimits {
            publications: limits.reactor_queue,
            bytes: limits.reactor_queue_bytes,
            // Half of what an outbox holds: a healthy client of a lane that was late must not overflow.
            turn_bytes: (limits.outbox / 2).clamp(1, MOST_COLLECTED),
        },
        windows: WindowSettings {
            window: config.delivery.window,
            longest: config.delivery.window_max,
            fan_out: config.delivery.window_fanout,
        },
        ping_interval: config.ping.interval,
        rhythm: Rhythm {
            connect_timeout: config.centrifuge.connect_timeout,
            ping_interval: config.centrifuge.ping_interval,
            pong_timeout: config.centrifuge.pong_timeout,
        },
        connections_per_user: limits.connections_per_user,
        ping_timeout: config.ping.timeout,
        drain_timeout: config.drain.timeout,
    }
}

/// Takes an address; connections to it are still refused.
fn bind(address: SocketAddr) -> Result<(Socket, SocketAddr), StartError> {
    let bind = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        let bound = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok((socket, bound))
    };
    bind().map_err(|source| StartError::Listen { address, source })
}

fn listen(socket: Socket, address: SocketAddr, backlog: u32) -> Result<TcpListener, StartError> {
    match socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX)) {
        Ok(()) => Ok(TcpListener::from(socket)),
        Err(source) => Err(StartError::Listen { address, source }),
    }
}

/// As many connections as are wanted, or as there may be files.
fn most_connections(wanted: usize, handshakes: usize) -> io::Result<usize> {
    let room = files::room_for_connections(handshakes)?;
    if wanted > room {
        tracing::warn!(
            wanted,
            room,
            "limits.connections is lowered: the system allows too few open files"
        );
    }
    Ok(wanted.min(room))
}

fn random_name() -> String {
    uuid::Uuid::new_v4().simple().to_string().split_off(24)
}
