//! A gateway inside this process, and a client that does exactly what it is told and nothing more.
//!
//! The gateway runs on threads of its own, so that a test is plain blocking code. A [`Socket`] answers no ping and no Close by itself, and
//! reads only when asked: what it does not do is part of a test. Invariant: nothing waits longer than [`PATIENCE`].

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use gateway::config::{Config, Secret, Transport};
use gateway::{Drained, Gateway};
use tokio::sync::{mpsc as orders, oneshot};

mod http;
mod socket;

pub(crate) use crate::cluster::{PATIENCE, Redis, get, wait_for};
pub(crate) use http::{Answer, ask, ask_on, upgrade};
pub(crate) use socket::{MASK, Socket, frame_header, narrow_client};

/// Makes a test of every function, on both transports.
macro_rules! on_both_transports {
    ($($test:ident)+) => {
        mod reactor {
            $(#[test] fn $test() { super::$test(gateway::config::Transport::Reactor) })+
        }
        mod attached {
            $(#[test] fn $test() { super::$test(gateway::config::Transport::Attached) })+
        }
    };
}
pub(crate) use on_both_transports;

/// Settings for a gateway of a test: loopback, free ports, two lanes, the memory bus.
pub(crate) fn config(transport: Transport) -> Config {
    let mut config = Config::default();
    config.listener.address = Ipv4Addr::LOCALHOST.into();
    config.listener.port = 0;
    config.listener.transport = transport;
    config.listener.reactors = 2;
    config
}

/// The same on a Redis.
pub(crate) fn config_on(redis: &Redis, transport: Transport) -> Config {
    let mut config = config(transport);
    config.redis.url = Some(Secret::new(redis.url()));
    config
}

/// A gateway in this process. It is stopped when dropped.
pub(crate) struct Server {
    public: SocketAddr,
    admin: SocketAddr,
    orders: Option<orders::UnboundedSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

enum Order {
    Pause(usize, Duration),
    Revoke(Revoke, mpsc::Sender<Result<(), String>>),
    Drain {
        hurry: oneshot::Receiver<()>,
        done: mpsc::Sender<Drained>,
    },
}

/// Which tokens are to be believed no more.
pub(crate) enum Revoke {
    /// This one, until then.
    Token(String, Option<SystemTime>),
    /// All of a user that were made before.
    User(String, SystemTime),
}

/// A gateway that is leaving.
pub(crate) struct Draining {
    hurry: Option<oneshot::Sender<()>>,
    done: mpsc::Receiver<Drained>,
}

impl Server {
    /// Starts one and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(config: Config) -> Self {
        let (orders, received) = orders::unbounded_channel();
        let (started, addresses) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(run(config, started, received));
        });
        let (public, admin) = addresses.recv_timeout(PATIENCE).expect("the gateway starts");
        // On Redis that is when its first word to itself has come back.
        wait_for("a ready gateway", || {
            get(admin, "/readyz").filter(|(status, _)| *status == 200)
        });
        Self {
            public,
            admin,
            orders: Some(orders),
            thread: Some(thread),
        }
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.public
    }

    /// Where probes and metrics are.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// A client of `/`.
    #[track_caller]
    pub(crate) fn client(&self) -> Socket {
        Socket::connect(self.public, "/")
    }

    /// A client of another path.
    #[track_caller]
    pub(crate) fn client_of(&self, path: &str) -> Socket {
        Socket::connect(self.public, path)
    }

    /// The answer to a request, written as it stands.
    #[track_caller]
    pub(crate) fn ask(&self, request: impl AsRef<[u8]>) -> Answer {
        ask(self.public, request)
    }

    /// A metric by its name, with its labels if it has some.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let (_, text) = get(self.admin, "/metrics").expect("the admin listener answers");
        metric(&text, name)
    }

    /// Waits until a metric has that value.
    #[track_caller]
    pub(crate) fn wait_for_metric(&self, name: &str, value: f64) {
        wait_for(&format!("{name} = {value}"), || {
            (self.metric(name) == value).then_some(())
        });
    }

    #[track_caller]
    pub(crate) fn wait_for_connections(&self, count: u32) {
        self.wait_for_metric("fanfare_connections", f64::from(count));
    }

    /// Makes a lane stand still.
    pub(crate) fn pause_lane(&self, lane: usize, pause: Duration) {
        self.order(Order::Pause(lane, pause));
    }

    /// Has tokens revoked; what it says against that.
    #[track_caller]
    pub(crate) fn revoke(&self, revoke: Revoke) -> Result<(), String> {
        let (done, outcome) = mpsc::channel();
        self.order(Order::Revoke(revoke, done));
        outcome.recv_timeout(PATIENCE).expect("an answer")
    }

    /// Begins to leave.
    pub(crate) fn drain(&self) -> Draining {
        let (hurry, hurried) = oneshot::channel();
        let (done, drained) = mpsc::channel();
        self.order(Order::Drain { hurry: hurried, done });
        Draining {
            hurry: Some(hurry),
            done: drained,
        }
    }

    fn order(&self, order: Order) {
        let orders = self.orders.as_ref().expect("taken only by drop");
        assert!(orders.send(order).is_ok(), "the gateway has ended");
    }
}

impl Draining {
    /// As a second signal does.
    pub(crate) fn hurry(&mut self) {
        let _ = self.hurry.take().map(|hurry| hurry.send(()));
    }

    /// Waits until it has left.
    #[track_caller]
    pub(crate) fn wait(&self) -> Drained {
        self.done.recv_timeout(PATIENCE).expect("the drain ends")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.orders = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

async fn run(
    config: Config,
    started: mpsc::Sender<(SocketAddr, SocketAddr)>,
    mut orders: orders::UnboundedReceiver<Order>,
) {
    let gateway = Gateway::start(config).await.expect("it starts");
    let _ = started.send((gateway.public_address(), gateway.admin_address()));
    while let Some(order) = orders.recv().await {
        match order {
            Order::Pause(lane, pause) => gateway.pause_lane(lane, pause),
            Order::Revoke(revoke, done) => {
                let outcome = match revoke {
                    Revoke::Token(id, until) => gateway.revoke_token(&id, until).await,
                    Revoke::User(user, before) => gateway.invalidate_user_tokens(&user, before).await,
                };
                let _ = done.send(outcome.map_err(|error| error.to_string()));
            }
            Order::Drain { hurry, done } => {
                let hurried = async {
                    if hurry.await.is_err() {
                        std::future::pending::<()>().await;
                    }
                };
                let _ = done.send(gateway.drain(hurried).await);
                return;
            }
        }
    }
    gateway.stop().await;
}

/// A metric in the text of a scrape.
#[track_caller]
pub(crate) fn metric(text: &str, name: &str) -> f64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = value.unwrap_or_else(|| panic!("no metric {name} in\n{text}"));
    value.parse().expect("a number")
}
