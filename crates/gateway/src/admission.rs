//! How many connections there may be: in all, from one address, and unfinished ones.
//!
//! Each count is a guard that gives its place back when dropped. Invariant: a count never exceeds its limit.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use parking_lot::Mutex;
use prometheus::Histogram;

/// Who may come in. A limit of 0 is none.
pub(crate) struct Admission {
    connections: AtomicUsize,
    most: usize,
    most_per_address: usize,
    most_handshakes: usize,
    most_handshakes_per_address: usize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
    handshakes_by_address: Mutex<HashMap<IpAddr, usize>>,
    handshakes: AtomicUsize,
    trusted_proxies: Vec<IpNet>,
    durations: Histogram,
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    #[error("this node has all the connections it may have")]
    Node,
    #[error("too many connections from this address")]
    Address,
}

/// The limits of an [`Admission`].
pub(crate) struct AdmissionLimits {
    pub(crate) connections: usize,
    pub(crate) connections_per_address: usize,
    pub(crate) handshakes: usize,
    pub(crate) handshakes_per_address: usize,
    pub(crate) trusted_proxies: Vec<IpNet>,
}

/// A connection's place.
pub(crate) struct Admitted {
    admission: Arc<Admission>,
    /// Whose it is.
    pub(crate) address: IpAddr,
    is_counted: bool,
    since: Instant,
}

/// The place of a connection whose handshake is not finished.
pub(crate) struct Handshake {
    admission: Arc<Admission>,
    address: Option<IpAddr>,
    is_finished: AtomicBool,
}

impl Admission {
    /// `durations` observes how long connections last, in seconds.
    pub(crate) fn new(limits: AdmissionLimits, durations: Histogram) -> Arc<Self> {
        Arc::new(Self {
            connections: AtomicUsize::new(0),
            most: limits.connections,
            most_per_address: limits.connections_per_address,
            most_handshakes: limits.handshakes,
            most_handshakes_per_address: limits.handshakes_per_address,
            by_address: Mutex::default(),
            handshakes_by_address: Mutex::default(),
            handshakes: AtomicUsize::new(0),
            trusted_proxies: limits.trusted_proxies,
            durations,
        })
    }

    /// Lets a connection of `address` in.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Admitted, Full> {
        let one_more = |now| (now < self.most).then_some(now + 1);
        if self
            .connections
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .is_err()
        {
            return Err(Full::Node);
        }
        let mut admitted = Admitted {
            admission: Arc::clone(self),
            address,
            is_counted: false,
            since: Instant::now(),
        };
        if self.most_per_address > 0 {
            if !take(&self.by_address, address, self.most_per_address) {
                return Err(Full::Address);
            }
            admitted.is_counted = true;
        }
        Ok(admitted)
    }

    /// Lets `peer` begin a handshake, unless too many are unfinished, in all or of its own. Trusted proxies speak for many clients; of
    /// theirs only the sum is limited.
    pub(crate) fn begin_handshake(self: &Arc<Self>, peer: IpAddr) -> Result<Handshake, Full> {
        let one_more = |now| (now < self.most_handshakes).then_some(now + 1);
        self.handshakes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .map_err(|_| Full::Node)?;
        let mut handshake = Handshake {
            admission: Arc::clone(self),
            address: None,
            is_finished: AtomicBool::new(false),
        };
        if self.most_handshakes_per_address > 0 && !self.is_trusted(peer) {
            if !take(&self.handshakes_by_address, peer, self.most_handshakes_per_address) {
                return Err(Full::Address);
            }
            handshake.address = Some(peer);
        }
        Ok(handshake)
    }

    /// The client's address: `peer`, unless that is a trusted proxy; then the last address of `forwarded` (the values of
    /// `X-Forwarded-For`, in order) that is not one.
    pub(crate) fn client_address<'a>(
        &self,
        peer: IpAddr,
        forwarded: impl DoubleEndedIterator<Item = &'a str>,
    ) -> IpAddr {
        let mut client = peer;
        for hop in forwarded.rev().flat_map(|value| value.rsplit(',')) {
            if !self.is_trusted(client) {
                break;
            }
            match hop.trim().parse() {
                Ok(address) => client = IpAddr::to_canonical(&address),
                Err(_) => break,
            }
        }
        client
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Connections whose handshake is not finished.
    pub(crate) fn handshakes(&self) -> usize {
        self.handshakes.load(Ordering::Relaxed)
    }

    fn is_trusted(&self, address: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(&address))
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.admission.connections.fetch_sub(1, Ordering::Relaxed);
        if self.is_counted {
            give_back(&self.admission.by_address, self.address);
        }
    }
}

impl Admitted {
    /// The connection was established and is over now, after so long.
    pub(crate) fn ended(self) -> Duration {
        let lasted = self.since.elapsed();
        self.admission.durations.observe(lasted.as_secs_f64());
        lasted
    }
}

impl Handshake {
    /// Gives the place back: the connection has been let in.
    pub(crate) fn finish(&self) {
        if self.is_finished.swap(true, Ordering::Relaxed) {
            return;
        }
        self.admission.handshakes.fetch_sub(1, Ordering::Relaxed);
        if let Some(address) = self.address {
            give_back(&self.admission.handshakes_by_address, address);
        }
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.finish();
    }
}

fn take(counts: &Mutex<HashMap<IpAddr, usize>>, address: IpAddr, most: usize) -> bool {
    let mut counts = counts.lock();
    let count = counts.entry(address).or_default();
    let may = *count < most;
    if may {
        *count += 1;
    }
    may
}

fn give_back(counts: &Mutex<HashMap<IpAddr, usize>>, address: IpAddr) {
    let mut counts = counts.lock();
    if let Some(count) = counts.get_mut(&address) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(connections: usize, per_address: usize, handshakes: usize, trusted: &[&str]) -> Arc<Admission> {
        let limits = AdmissionLimits {
            connections,
            connections_per_address: per_address,
            handshakes: 1000,
            handshakes_per_address: handshakes,
            trusted_proxies: trusted
                .iter()
                .map(|network| network.parse().expect("a network"))
                .collect(),
        };
        Admission::new(
            limits,
            Histogram::with_opts(prometheus::HistogramOpts::new("d", "d")).expect("valid"),
        )
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn places_are_limited_and_given_back() {
        let admission = admission(3, 2, 0, &[]);
        let (one, other) = (ip("10.0.0.1"), ip("10.0.0.2"));
        let first = admission.admit(one).ok();
        let second = admission.admit(one).ok();
        assert!(first.is_some() && second.is_some());
        assert_eq!(admission.admit(one).err(), Some(Full::Address));
        let _third = admission.admit(other).expect("room");
        assert_eq!(admission.admit(ip("10.0.0.3")).err(), Some(Full::Node));
        drop(first);
        assert!(admission.admit(one).is_ok());
        assert_eq!(admission.connections(), 2);
    }

    #[test]
    fn handshakes_of_an_address_are_limited_but_not_of_a_trusted_proxy() {
        let admission = admission(10, 0, 1, &["10.1.0.0/16"]);
        let held = admission.begin_handshake(ip("10.0.0.1")).expect("room");
        assert_eq!(admission.begin_handshake(ip("10.0.0.1")).err(), Some(Full::Address));
        let proxied: Vec<_> = (0..5).map(|_| admission.begin_handshake(ip("10.1.2.3"))).collect();
        assert!(proxied.iter().all(Result::is_ok));
        assert_eq!(admission.handshakes(), 6);
        drop(held);
        assert!(admission.begin_handshake(ip("10.0.0.1")).is_ok());
    }

    #[track_caller]
    fn check_address(peer: &str, forwarded: &[&str], expected: &str) {
        let admission = admission(10, 0, 0, &["10.1.0.0/16"]);
        assert_eq!(
            admission.client_address(ip(peer), forwarded.iter().copied()),
            ip(expected)
        );
    }

    #[test]
    fn forwarded_addresses_count_only_from_trusted_proxies() {
        check_address("8.8.8.8", &["1.1.1.1"], "8.8.8.8");
        check_address("10.1.0.1", &["1.1.1.1"], "1.1.1.1");
        check_address("10.1.0.1", &["6.6.6.6, 1.1.1.1"], "1.1.1.1");
        check_address("10.1.0.1", &["6.6.6.6, 1.1.1.1", "10.1.0.2"], "1.1.1.1");
        check_address("10.1.0.1", &["nonsense"], "10.1.0.1");
        check_address("10.1.0.1", &[], "10.1.0.1");
    }
}
