//! Two gateways behind HAProxy and behind nginx, each with its file of `deploy` as it is.

use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::cluster::{Balancer, Client, End, Gateway, NodeServer, Redis, wait_for};
use crate::interop::everybody_hears_everything;

/// What stands behind a load balancer.
struct Cluster {
    redis: Redis,
    a: Gateway,
    b: Gateway,
}

impl Cluster {
    fn start(settings: &[(&str, &str)]) -> Self {
        let redis = Redis::start();
        let a = Gateway::start(&redis.url(), settings);
        let b = Gateway::start(&redis.url(), settings);
        Self { redis, a, b }
    }

    /// How many clients each instance has, once they are `all` together.
    #[track_caller]
    fn shares(&self, all: usize) -> (usize, usize) {
        wait_for("all connections", || {
            let shares = (self.a.connections(), self.b.connections());
            (shares.0 + shares.1 == all).then_some(shares)
        })
    }
}

fn several(balancer: &Balancer, count: usize) -> Vec<Client> {
    (0..count).map(|_| balancer.client()).collect()
}

/// Waits until so many of `clients` were closed, each told to come back.
#[track_caller]
fn check_told(clients: &[Client], count: usize) {
    let ends = wait_for("the closed connections", || {
        let ends: Vec<_> = clients.iter().filter_map(Client::end).collect();
        (ends.len() >= count).then_some(ends)
    });
    assert_eq!(ends, vec![End::Closed(Some(1001)); count]);
}

fn stayed<'a>(clients: impl IntoIterator<Item = &'a Client>) -> Vec<&'a Client> {
    clients.into_iter().filter(|client| client.end().is_none()).collect()
}

/// Clients come to both instances, and take part with those of the Node server.
#[track_caller]
fn check_everybody_hears(cluster: &Cluster, balancer: &Balancer) {
    let node = NodeServer::start(&cluster.redis.url());
    let clients = several(balancer, 8);
    assert_eq!(cluster.shares(8), (4, 4), "the least connections");
    let of_node = node.client();
    let everybody: Vec<_> = clients.iter().chain([&of_node]).collect();
    everybody_hears_everything(&cluster.redis, &[&clients[0], &clients[1], &of_node], &everybody);
}

#[test]
fn haproxy_drains_and_takes_back() {
    // It still accepts when HAProxy has noticed: what keeps new clients away is /readyz.
    let mut cluster = Cluster::start(&[("drain.delay", "5s"), ("drain.window", "500ms")]);
    let balancer = Balancer::haproxy(&cluster.a, &cluster.b);
    check_everybody_hears(&cluster, &balancer);

    let old = several(&balancer, 8);
    cluster.a.terminate();
    wait_for("a gateway that is not ready", || {
        (cluster.a.probe("/readyz")?.0 == 503).then_some(())
    });
    balancer.wait_until_it_says("Server fanfare/a is DOWN");
    let opened = cluster.a.metric("fanfare_connections_opened_total");
    let new = several(&balancer, 8);
    assert_eq!(
        cluster.a.metric("fanfare_connections_opened_total"),
        opened,
        "none came to the instance that leaves"
    );
    drop(cluster.a.client()); // though it would have let them in
    assert!(cluster.a.wait().success());

    // Whoever was there was told to come back; everybody else stays and hears.
    check_told(&old, 4);
    let stayed = stayed(old.iter().chain(&new));
    assert_eq!((stayed.len(), cluster.b.connections()), (12, 12));
    everybody_hears_everything(&cluster.redis, &[stayed[0], stayed[11]], &stayed);

    cluster.a.restart();
    balancer.wait_until_it_says("Server fanfare/a is UP");
    wait_for("clients on the instance that is back", || {
        let _client = balancer.client();
        (cluster.a.connections() > 0).then_some(())
    });
}

#[test]
fn nginx_passes_over_an_instance_that_stops() {
    // As the head of the file advises.
    let mut cluster = Cluster::start(&[("drain.delay", "0s"), ("drain.window", "500ms")]);
    let dir = TempDir::new().expect("a directory");
    let balancer = Balancer::nginx(&cluster.a, &cluster.b, dir.path());
    check_everybody_hears(&cluster, &balancer);

    let old = several(&balancer, 8);
    cluster.a.terminate();
    wait_for("a gateway that leaves", || {
        cluster
            .a
            .probe("/readyz")
            .is_none_or(|(status, _)| status == 503)
            .then_some(())
    });
    // While it drains and after it has ended every client gets in, one after the other.
    let during = several(&balancer, 8);
    assert!(cluster.a.wait().success());
    let after = several(&balancer, 8);
    check_told(&old, 4);
    let stayed = stayed(old.iter().chain(&during).chain(&after));
    assert!(stayed.len() >= 4 + 8, "{}", stayed.len());
    assert_eq!(cluster.b.connections(), stayed.len());
    everybody_hears_everything(&cluster.redis, &[stayed[0], &after[7]], &stayed);

    cluster.a.restart();
    let from = Instant::now();
    wait_for("clients on the instance that is back", || {
        let _client = balancer.client();
        (cluster.a.connections() > 0).then_some(())
    });
    assert!(from.elapsed() < Duration::from_secs(10), "{:?}", from.elapsed());
}
