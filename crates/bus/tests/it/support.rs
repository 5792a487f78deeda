//! What the tests stand on: a redis-server of their own, a bus with its listener, a proxy that can swallow connections, a server that
//! answers what it is told to. Everything lives on loopback, on free ports, and ends with the test.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bus::redis::Resolve;
use bus::{Bus, BusEvent, Events, Generation, Incoming, MemoryBus, Outgoing, QueueLimits, RedisBus, RedisConfig};
use bytes::Bytes;
use protocol::Channel;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How long anything that must happen may take; generous, because the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

pub(crate) fn channel(name: &str) -> Channel {
    Channel::parse(name).expect("valid")
}

/// A redis-server in a directory of its own.
pub(crate) struct Redis {
    child: Child,
    arguments: Vec<String>,
    dir: TempDir,
    pub(crate) port: u16,
}

impl Redis {
    pub(crate) async fn start() -> Self {
        Self::start_with(|port, _| vec!["--port".into(), port.to_string()]).await
    }

    /// Starts one with the arguments that `arguments` makes of a free port and the directory.
    pub(crate) async fn start_with(arguments: impl Fn(u16, &Path) -> Vec<String>) -> Self {
        for _ in 0..5 {
            if let Some(redis) = Self::try_start(free_port(), &arguments).await {
                return redis;
            }
        }
        panic!("redis-server does not start");
    }

    /// Starts one with the configuration and the users that are deployed on Kubernetes, and one more user who may look.
    pub(crate) async fn start_deployed() -> Self {
        let users = Self::deployed_users().replace("GATEWAY_PASSWORD", ">g4teway");
        let users = users.replace("PROBE_PASSWORD", ">pr0be") + "user operator on >0perator +acl|log\n";
        Self::start_with(move |port, dir| {
            let file = dir.join("users.acl");
            std::fs::write(&file, &users).expect("written");
            let conf = concat!(env!("CARGO_MANIFEST_DIR"), "/../../k8s/base/redis/redis.conf");
            let file = file.to_str().expect("text");
            let port = port.to_string();
            let over = ["--port", &port, "--bind", "127.0.0.1", "--aclfile", file];
            ["--include", conf].into_iter().chain(over).map(str::to_owned).collect()
        })
        .await
    }

    /// The users that are deployed, without their passwords.
    pub(crate) fn deployed_users() -> String {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../k8s/base/redis/users.acl");
        std::fs::read_to_string(file).expect("the file is there")
    }

    /// What a gateway that is deployed knows of such a Redis.
    pub(crate) fn deployed_config(&self) -> RedisConfig {
        let mut config = RedisConfig::new(self.url());
        config.username = Some("fanfare".to_owned());
        config.password = Some("g4teway".to_owned());
        config
    }

    /// What such a Redis has refused to somebody.
    pub(crate) async fn denied(&self) -> Vec<redis::Value> {
        let client = redis::Client::open(format!("redis://operator:0perator@127.0.0.1:{}", self.port)).expect("a URL");
        let mut connection = client.get_multiplexed_async_connection().await.expect("a connection");
        let log = redis::cmd("ACL").arg("LOG").query_async(&mut connection).await;
        log.expect("an answer")
    }

    /// Starts one at that port.
    pub(crate) async fn start_at(port: u16) -> Self {
        let redis = Self::try_start(port, &|port, _| vec!["--port".into(), port.to_string()]).await;
        redis.expect("redis-server starts")
    }

    async fn try_start(port: u16, arguments: &impl Fn(u16, &Path) -> Vec<String>) -> Option<Self> {
        let dir = TempDir::new().expect("a directory");
        let arguments = arguments(port, dir.path());
        let child = spawn(&arguments, dir.path());
        let mut redis = Self {
            child,
            arguments,
            dir,
            port,
        };
        is_listening(&mut redis.child, port).await.then_some(redis)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// As `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    pub(crate) async fn restart(&mut self) {
        self.child = spawn(&self.arguments, self.dir.path());
        assert!(
            is_listening(&mut self.child, self.port).await,
            "redis-server does not start again"
        );
    }

    /// Sends it a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(
            Command::new("sh")
                .args(["-c", &kill])
                .status()
                .expect("a shell")
                .success()
        );
    }

    /// A connection as the default user.
    pub(crate) async fn operator(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.url()).expect("a URL");
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
        let connection = client.get_multiplexed_async_connection_with_config(&config).await;
        connection.expect("a connection")
    }

    /// Asks it as the default user.
    pub(crate) async fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let answer = redis::Cmd::new()
            .arg(words)
            .query_async(&mut self.operator().await)
            .await;
        answer.expect("an answer")
    }

    /// Publishes as a stranger would.
    pub(crate) async fn publish(&self, name: &str, payload: &[u8]) {
        let mut command = redis::cmd("PUBLISH");
        let heard: i64 = command
            .arg(name)
            .arg(payload)
            .query_async(&mut self.operator().await)
            .await
            .expect("taken");
        assert_eq!(heard, 1, "somebody is subscribed to {name}");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(arguments: &[String], dir: &Path) -> Child {
    Command::new("redis-server")
        .args(["--save", "", "--bind", "127.0.0.1", "--dir"])
        .arg(dir)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed")
}

async fn is_listening(child: &mut Child, port: u16) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline && child.try_wait().is_ok_and(|ended| ended.is_none()) {
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok() {
            return true;
        }
        sleep(Duration::from_millis(5)).await;
    }
    false
}

/// A port that nothing listens on, outside the range that the kernel gives to clients, so that no connection takes it meanwhile.
pub(crate) fn free_port() -> u16 {
    let ports = std::iter::repeat_with(|| rand::random_range(10_000..32_000_u16)).take(1000);
    let is_free = |port: &u16| StdListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    ports.into_iter().find(is_free).expect("a free port")
}

/// A bus and its listener.
pub(crate) struct Node {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) events: Events,
}

impl Node {
    pub(crate) fn memory(limits: QueueLimits) -> Self {
        let (bus, events) = MemoryBus::start(limits);
        Self { bus, events }
    }

    /// One on Redis, without waiting for it.
    pub(crate) fn start(config: RedisConfig) -> Self {
        let (bus, events) = RedisBus::start(config, Some(channel("chat-channel"))).expect("valid settings");
        Self { bus, events }
    }

    /// One on Redis that hears itself.
    pub(crate) async fn up(config: RedisConfig) -> Self {
        let node = Self::start(config);
        node.until(|health| health.was_up && health.link_up && health.publisher_up)
            .await;
        node
    }

    /// Waits for the health that `is_right` describes.
    #[track_caller]
    pub(crate) fn until(&self, is_right: impl Fn(&bus::Health) -> bool) -> impl Future<Output = Duration> {
        let (bus, from, place) = (Arc::clone(&self.bus), Instant::now(), std::panic::Location::caller());
        async move {
            while !is_right(&bus.health()) {
                assert!(from.elapsed() < PATIENCE, "{place}: {:?}", bus.health());
                sleep(Duration::from_millis(5)).await;
            }
            from.elapsed()
        }
    }

    /// Waits until the problem of its health contains `words`.
    #[track_caller]
    pub(crate) fn until_problem(&self, words: &'static str) -> impl Future<Output = Duration> {
        self.until(move |health| health.problem.as_ref().is_some_and(|problem| problem.contains(words)))
    }

    #[track_caller]
    pub(crate) fn next(&mut self) -> impl Future<Output = BusEvent> {
        let place = std::panic::Location::caller();
        async move {
            let event = timeout(PATIENCE, self.events.recv()).await;
            event
                .unwrap_or_else(|_| panic!("{place}: nothing heard"))
                .expect("the bus is open")
        }
    }

    /// The next thing heard must be a publication.
    #[track_caller]
    pub(crate) fn heard(&mut self) -> impl Future<Output = Incoming> {
        let place = std::panic::Location::caller();
        async move {
            match self.next().await {
                BusEvent::Publication(incoming) => incoming,
                other => panic!("{place}: {other:?} instead of a publication"),
            }
        }
    }

    /// Subscribes, and waits for the confirmation, which must be the next thing heard.
    #[track_caller]
    pub(crate) fn subscribed(&mut self, name: &str) -> impl Future<Output = Generation> {
        let (channel, place) = (channel(name), std::panic::Location::caller());
        async move {
            let generation = self.bus.subscribe(&channel);
            assert_eq!(
                self.next().await,
                BusEvent::Subscribed { channel, generation },
                "{place}"
            );
            generation
        }
    }

    /// Publishes one, which must be taken.
    pub(crate) async fn publish(&self, name: &str, data: &str) {
        assert_eq!(self.bus.publish(vec![outgoing(name, data)]).await, [Ok(())]);
    }
}

pub(crate) fn outgoing(name: &str, data: &str) -> Outgoing {
    Outgoing::new(channel(name), Bytes::copy_from_slice(data.as_bytes()))
}

/// Forwards to one address, and can swallow connections: they stay open, and nothing passes any more.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    holes: Arc<Mutex<HashMap<&'static str, watch::Sender<u64>>>>,
    _tasks: JoinSet<()>,
}

/// What a client calls itself on connections for publishing and for the link.
pub(crate) const KINDS: [&str; 2] = ["fanfare-publish", "fanfare-link"];

impl Proxy {
    pub(crate) async fn start(to: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let holes = Arc::new(Mutex::new(KINDS.map(|kind| (kind, watch::Sender::new(0))).into()));
        let mut tasks = JoinSet::new();
        let known = Arc::clone(&holes);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(forward(client, to, Arc::clone(&known)));
            }
        });
        Self {
            port,
            holes,
            _tasks: tasks,
        }
    }

    /// Swallows every connection of that kind that is open now.
    pub(crate) fn swallow(&self, kind: &str) {
        self.holes.lock().expect("not poisoned")[kind].send_modify(|count| *count += 1);
    }
}

type Holes = Arc<Mutex<HashMap<&'static str, watch::Sender<u64>>>>;

async fn forward(mut client: TcpStream, to: u16, holes: Holes) {
    let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await else {
        return;
    };
    let mut hole = None;
    let (mut up, mut down) = ([0; 4096], [0; 4096]);
    loop {
        let swallowed = async {
            match &mut hole {
                Some(hole) => watch::Receiver::<u64>::changed(hole).await.is_ok(),
                None => std::future::pending().await,
            }
        };
        let forwarded = tokio::select! {
            read = client.read(&mut up) => match read {
                Ok(count) if count > 0 => {
                    let text = String::from_utf8_lossy(&up[..count]);
                    if let Some(kind) = KINDS.iter().find(|kind| text.contains(**kind)) {
                        hole = Some(holes.lock().expect("not poisoned")[*kind].subscribe());
                    }
                    server.write_all(&up[..count]).await
                }
                _ => return,
            },
            read = server.read(&mut down) => match read {
                Ok(count) if count > 0 => client.write_all(&down[..count]).await,
                _ => return,
            },
            _ = swallowed => std::future::pending().await,
        };
        if forwarded.is_err() {
            return;
        }
    }
}

/// A name server whose answer can be changed.
#[derive(Default)]
pub(crate) struct Names {
    answer: Mutex<Vec<SocketAddr>>,
    asked: AtomicUsize,
}

impl Names {
    pub(crate) fn set(&self, ports: &[u16]) {
        *self.answer.lock().expect("not poisoned") = ports
            .iter()
            .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, *port)))
            .collect();
    }

    /// Waits until it was asked `times` times.
    pub(crate) async fn until_asked(&self, times: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.asked.load(Ordering::Relaxed) < times {
            assert!(Instant::now() < deadline, "not asked {times} times");
            sleep(Duration::from_millis(5)).await;
        }
    }
}

#[async_trait]
impl Resolve for Names {
    async fn resolve(&self, host: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        assert_eq!(host, "redis.example");
        self.asked.fetch_add(1, Ordering::Relaxed);
        Ok(self.answer.lock().expect("not poisoned").clone())
    }
}

/// A port that swallows what is sent to it: its backlog is full, so the kernel drops whoever wants to connect.
pub(crate) struct Hole {
    pub(crate) port: u16,
    _listener: socket2::Socket,
    _waiting: Vec<StdStream>,
}

impl Hole {
    pub(crate) fn dig() -> Self {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        listener.bind(&any.into()).expect("a free port");
        listener.listen(0).expect("listening");
        let address = listener.local_addr().expect("bound").as_socket().expect("of IP");
        let connect = || StdStream::connect_timeout(&address, Duration::from_millis(100)).ok();
        let waiting = std::iter::repeat_with(connect).take(100).map_while(|it| it).collect();
        Self {
            port: address.port(),
            _listener: listener,
            _waiting: waiting,
        }
    }
}

/// Answers every read with what `answer` makes of it.
pub(crate) async fn fake_redis(answer: fn(&str) -> Vec<u8>) -> (u16, JoinSet<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut client, _)) = listener.accept().await {
            connections.spawn(async move {
                let mut bytes = [0; 65_536];
                while let Ok(count @ 1..) = client.read(&mut bytes).await {
                    let asked = String::from_utf8_lossy(&bytes[..count]);
                    if client.write_all(&answer(&asked)).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (port, tasks)
}
