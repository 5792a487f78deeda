//! Redis goes away, freezes, falls silent and moves, under real gateways: clients keep their sockets, and messages flow again.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Scope, sleep};
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

use crate::cluster::{Blackhole, Client, Gateway, Redis, Side, free_port, wait_for};
use crate::interop::everybody_hears_everything;

/// How soon anything ill must be shown.
const NOTICED: Duration = Duration::from_secs(5);
/// How soon messages must flow once Redis is back.
const FLOWING: Duration = Duration::from_secs(2);

#[test]
fn killed_and_restarted_under_load() {
    outages(&[1, 2]);
}

/// What `scripts/outages` runs.
#[test]
#[ignore = "takes a minute or more"]
fn killed_and_restarted_many_times() {
    let rounds = std::env::var("FANFARE_OUTAGES").map_or(10, |rounds| rounds.parse().expect("a number"));
    let seconds: Vec<_> = (0..rounds).map(|round| 1 + round * 7 % 10).collect(); // each of 1 to 10, mixed
    outages(&seconds);
}

/// Two gateways, a few clients of each, and load from one client of each, while Redis is killed and stays away for so many seconds, again
/// and again.
#[track_caller]
fn outages(seconds: &[u64]) {
    let mut redis = Redis::start();
    let gateways = [
        Gateway::start(&redis.url(), &[]),
        Gateway::start(&redis.url(), &[("listener.transport", "attached")]),
    ];
    let load = Load::start(&gateways);
    std::thread::scope(|threads| {
        let _stop = load.run(threads);
        let mut flowing = load.flowing();
        for away in seconds {
            load.check_whole(&flowing);
            flowing = load.outage(&mut redis, &gateways, Duration::from_secs(*away));
        }
        load.check_whole(&flowing);
    });
    load.wait_until_heard();
    for client in &load.clients {
        assert_eq!(client.end(), None, "every client has kept its socket");
        assert!(
            (0..2).all(|sender| numbers(&client.texts(), sender).is_sorted_by(|a, b| a < b)),
            "once and in order"
        );
    }
    let everybody: Vec<_> = load.clients.iter().collect();
    everybody_hears_everything(&redis, &everybody[..2], &everybody);
    for gateway in &gateways {
        assert_eq!(gateway.metric("fanfare_bus_reconnects_total"), seconds.len() as f64);
        let gap = gateway.metric("fanfare_bus_gap_seconds_total");
        assert!(gap >= seconds.iter().sum::<u64>() as f64, "{gap} s");
    }
}

/// Clients of two gateways; the first two, one of each gateway, send numbered messages without a pause.
struct Load {
    clients: Vec<Client>,
    /// The last number that each of the two has sent.
    sent: [AtomicU64; 2],
    is_over: AtomicBool,
}

/// From which number on each client hears each sender again.
type Flowing = Vec<[u64; 2]>;

/// Ends the sending, also when a check fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Load {
    fn start(gateways: &[Gateway; 2]) -> Self {
        let clients = (0..8).map(|number| gateways[number % 2].client()).collect();
        Self {
            clients,
            sent: [const { AtomicU64::new(0) }; 2],
            is_over: AtomicBool::new(false),
        }
    }

    fn run<'scope>(&'scope self, threads: &'scope Scope<'scope, '_>) -> Stop<'scope> {
        for (sender, sent) in self.sent.iter().enumerate() {
            threads.spawn(move || {
                while !self.is_over.load(Ordering::SeqCst) {
                    let number = sent.load(Ordering::SeqCst) + 1;
                    self.clients[sender].send(&format!("[{sender},{number}]"));
                    sent.store(number, Ordering::SeqCst);
                    sleep(Duration::from_millis(5)); // the rate of the load
                }
            });
        }
        Stop(&self.is_over)
    }

    /// Waits until every client hears something of each sender that was sent from now on.
    #[track_caller]
    fn flowing(&self) -> Flowing {
        let sent = self.sent.each_ref().map(|sent| sent.load(Ordering::SeqCst));
        let first = |client: &Client, sender: usize| {
            client.wait_for("the load", |texts| {
                numbers(texts, sender).into_iter().find(|number| *number > sent[sender])
            })
        };
        self.clients
            .iter()
            .map(|client| [first(client, 0), first(client, 1)])
            .collect()
    }

    /// Waits until every client has heard the last that was sent.
    #[track_caller]
    fn wait_until_heard(&self) {
        for client in &self.clients {
            for (sender, sent) in self.sent.iter().enumerate() {
                client.wait_for_text(&format!("[{sender},{}]", sent.load(Ordering::SeqCst)));
            }
        }
    }

    /// Since messages flow, every client has heard all of them.
    #[track_caller]
    fn check_whole(&self, flowing: &Flowing) {
        for (client, from) in self.clients.iter().zip(flowing) {
            for (sender, from) in from.iter().enumerate() {
                let heard: Vec<_> = numbers(&client.texts(), sender)
                    .into_iter()
                    .filter(|number| number >= from)
                    .collect();
                let last = heard.last().copied().unwrap_or_default();
                assert_eq!(heard, (*from..=last).collect::<Vec<_>>(), "a hole");
            }
        }
    }

    /// One outage: it shows, and messages flow soon after it.
    #[track_caller]
    fn outage(&self, redis: &mut Redis, gateways: &[Gateway; 2], away: Duration) -> Flowing {
        redis.kill();
        let from = Instant::now();
        for gateway in gateways {
            wait_for("signs of the outage", || {
                (!is_link_up(gateway) && !is_publisher_up(gateway)).then_some(())
            });
            assert!(gateway.shows("link: down") && gateway.shows("publisher: down"));
            assert_eq!(status(gateway, "/readyz"), 200, "sockets are kept");
        }
        sleep(away.saturating_sub(from.elapsed())); // an outage has a length
        redis.restart();
        let from = Instant::now();
        let flowing = self.flowing();
        println!("away for {away:?}, messages flow after {:?}", from.elapsed());
        assert!(from.elapsed() < FLOWING, "messages flow after {:?}", from.elapsed());
        for gateway in gateways {
            wait_for("the end of the outage", || {
                (is_link_up(gateway) && is_publisher_up(gateway)).then_some(())
            });
        }
        flowing
    }
}

/// The numbers of one sender in what was heard.
fn numbers(texts: &[String], sender: usize) -> Vec<u64> {
    let prefix = format!("[{sender},");
    texts
        .iter()
        .filter_map(|text| text.strip_prefix(&prefix)?.strip_suffix(']')?.parse().ok())
        .collect()
}

fn is_link_up(gateway: &Gateway) -> bool {
    gateway.metric("fanfare_bus_up") == 1.0
}

fn is_publisher_up(gateway: &Gateway) -> bool {
    gateway.metric("fanfare_bus_publisher_up") == 1.0
}

#[track_caller]
fn status(gateway: &Gateway, path: &str) -> u16 {
    gateway.probe(path).expect("the admin listener answers").0
}

/// The client hears itself.
#[track_caller]
fn check_echo(client: &Client, text: &str) {
    client.send(text);
    client.wait_for_text(text);
}

/// Waits until it is so, which must be within `limit` of `from`.
#[track_caller]
fn check_within(limit: Duration, from: Instant, what: &str, is_so: impl Fn() -> bool) {
    wait_for(what, || is_so().then_some(()));
    assert!(from.elapsed() < limit, "{what} only after {:?}", from.elapsed());
}

// The worst moment for any of the following is right after a loop-back, which is when a gateway becomes ready.

#[test]
fn a_frozen_redis_is_noticed() {
    let redis = Redis::start();
    let gateway = Gateway::start(&redis.url(), &[("health.redis", "strict")]);
    redis.freeze();
    let from = Instant::now();
    check_within(NOTICED, from, "the silence", || {
        !is_link_up(&gateway) && !is_publisher_up(&gateway)
    });
    assert!(gateway.shows("link: down") && gateway.shows("publisher: down"));
    assert_eq!((status(&gateway, "/readyz"), status(&gateway, "/livez")), (503, 200));
    redis.thaw();
    let from = Instant::now();
    check_within(FLOWING, from, "its end", || status(&gateway, "/readyz") == 200);
    check_echo(&gateway.client(), "1");
}

#[test]
fn a_silent_link_is_noticed() {
    let redis = Redis::start();
    let hole = Blackhole::start(redis.address());
    let gateway = Gateway::start(&hole.url(), &[]);
    hole.swallow(Side::Link);
    let from = Instant::now();
    let client = gateway.client();
    check_within(NOTICED, from, "the silence", || !is_link_up(&gateway));
    assert!(gateway.shows("link: down") && gateway.shows("publisher: up") && gateway.shows("problem: "));
    assert!(is_publisher_up(&gateway));
    assert_eq!(status(&gateway, "/readyz"), 200, "sockets are kept");
    hole.mend();
    wait_for("a new link", || is_link_up(&gateway).then_some(()));
    check_echo(&client, "1");
}

#[test]
fn a_silent_publisher_is_noticed_and_the_link_kept() {
    let redis = Redis::start();
    let hole = Blackhole::start(redis.address());
    let gateway = Gateway::start(&hole.url(), &[]);
    let client = gateway.client();
    hole.swallow(Side::Publisher);
    let from = Instant::now();
    check_within(NOTICED, from, "the silence", || !is_publisher_up(&gateway));
    assert!(gateway.shows("link: up") && gateway.shows("publisher: down") && gateway.shows("problem: "));
    redis.publish("chat-channel", "\"from elsewhere\"");
    client.wait_for_text("\"from elsewhere\"");
    hole.mend();
    wait_for("a new connection", || is_publisher_up(&gateway).then_some(()));
    check_echo(&client, "1");
    assert!(is_link_up(&gateway));
    assert_eq!(
        gateway.metric("fanfare_bus_reconnects_total"),
        0.0,
        "the link was never in question"
    );
}

#[test]
fn started_before_redis() {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let gateway = Gateway::start_unready(&format!("redis://{address}"), &[]);
    wait_for("the admin listener", || gateway.probe("/livez"));
    assert_eq!((status(&gateway, "/livez"), status(&gateway, "/readyz")), (200, 503));
    assert!(gateway.shows("link: down") && gateway.shows("problem: "));
    let refused = TcpStream::connect(gateway.address())
        .map(drop)
        .map_err(|error| error.kind());
    assert_eq!(
        refused,
        Err(ErrorKind::ConnectionRefused),
        "clients try another instance"
    );

    let redis = Redis::start_at(address);
    check_within(FLOWING, Instant::now(), "readiness", || {
        status(&gateway, "/readyz") == 200
    });
    check_echo(&gateway.client(), "1");
    drop(redis);

    // One that still waits can be asked to leave.
    let waiting = Gateway::start_unready(&format!("redis://{address}"), &[]);
    wait_for("the admin listener", || waiting.probe("/livez"));
    waiting.terminate();
    assert!(waiting.wait().success());
}

/// A gateway in a namespace of its own, where `/etc/hosts` is a file of the test.
#[cfg(target_os = "linux")]
#[test]
fn moved_behind_its_name() {
    let hosts = NamedTempFile::new().expect("a file");
    let point_to = |ip: &str| std::fs::write(hosts.path(), format!("{ip} redis.example\n")).expect("written");
    point_to("127.0.0.1");
    let mut own = Command::new("unshare");
    own.args([
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        "mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"",
        "sh",
    ]);
    own.arg(hosts.path());
    if !Command::new("unshare")
        .args(["--map-root-user", "--mount", "true"])
        .status()
        .is_ok_and(|it| it.success())
    {
        println!("not run: this system does not let us have a namespace of our own");
        return;
    }
    let old = Redis::start();
    let port = old.address().port();
    own.arg(env!("CARGO_BIN_EXE_fanfare"));
    let gateway = Gateway::start_by(own, &format!("redis://redis.example:{port}"), &[]);
    gateway.wait_until_ready();
    let client = gateway.client();
    check_echo(&client, "1");

    old.kill();
    wait_for("the outage", || (!is_link_up(&gateway)).then_some(()));
    point_to("127.0.0.2");
    let new = Redis::start_at(SocketAddr::from(([127, 0, 0, 2], port)));
    check_within(FLOWING, Instant::now(), "the new address", || {
        is_link_up(&gateway) && is_publisher_up(&gateway)
    });
    check_echo(&client, "2");
    new.publish("chat-channel", "3");
    client.wait_for_text("3");
}
