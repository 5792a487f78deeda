//! How the link and the publisher are, for [`Bus::health`](crate::Bus::health) and the log.
//!
//! Keeps one story for each outage: it begins with the first trouble, and ends when a loop-back comes back. Says which moments deserve a
//! line in the log, but writes none.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::{Health, Stats};

/// The state of one bus, shared by its tasks.
#[derive(Debug)]
pub(crate) struct Status {
    now: Mutex<Now>,
    pub(crate) stats: Stats,
}

#[derive(Debug)]
struct Now {
    link_up: bool,
    was_heard: bool,
    /// The other processes can learn that this one is there.
    is_known: bool,
    since: SystemTime,
    loop_back: Option<Duration>,
    link_problem: Option<String>,
    /// A channel that Redis does not let this bus subscribe.
    denied: Option<String>,
    publisher_up: bool,
    publisher_problem: Option<String>,
    outage: Option<Instant>,
    gap: Option<Instant>,
}

impl Status {
    pub(crate) fn new() -> Self {
        let now = Now {
            link_up: false,
            was_heard: false,
            is_known: false,
            since: SystemTime::now(),
            loop_back: None,
            link_problem: Some("not connected yet".to_owned()),
            denied: None,
            publisher_up: false,
            publisher_problem: None,
            outage: None,
            gap: None,
        };
        Self {
            now: Mutex::new(now),
            stats: Stats::default(),
        }
    }

    /// A loop-back came back after `took`. Says how long the outage was that this ends, if it ends one.
    pub(crate) fn heard(&self, took: Duration) -> Option<Duration> {
        let mut now = self.now();
        now.loop_back = Some(took);
        now.link_problem = None;
        now.was_heard = true;
        now.turn(true);
        if let Some(gap) = now.gap.take() {
            self.stats.reconnects.add(1);
            self.stats
                .gap_millis
                .add(u64::try_from(gap.elapsed().as_millis()).unwrap_or(u64::MAX));
        }
        now.outage.take().map(|outage| outage.elapsed())
    }

    /// This process is among those that Redis says are alive, or Redis does not want to keep that.
    pub(crate) fn known(&self) {
        self.now().is_known = true;
    }

    /// Loop-backs do not come back, or there is no link. Says whether this begins an outage.
    pub(crate) fn unheard(&self, problem: String) -> bool {
        let mut now = self.now();
        now.turn(false);
        now.link_problem = Some(problem);
        let is_news = now.outage.is_none();
        now.outage.get_or_insert_with(Instant::now);
        is_news
    }

    /// An established link is gone.
    pub(crate) fn lost(&self) {
        let mut now = self.now();
        now.denied = None;
        now.gap = now.gap.or_else(|| Some(Instant::now()));
    }

    /// Redis denies a channel, or none any more. Says whether the first is news.
    pub(crate) fn denied(&self, problem: Option<String>) -> bool {
        let mut now = self.now();
        let is_news = problem.is_some() && now.denied.is_none();
        now.denied = problem;
        is_news
    }

    /// The bus is closed.
    pub(crate) fn end(&self) {
        let mut now = self.now();
        now.turn(false);
        now.publisher_up = false;
        now.link_problem = Some("closed".to_owned());
    }

    /// The publisher is connected, or a publication was taken.
    pub(crate) fn publishing(&self) {
        let mut now = self.now();
        now.publisher_up = true;
        now.publisher_problem = None;
    }

    /// The publisher has no connection. Says whether this is news.
    pub(crate) fn not_publishing(&self, problem: String) -> bool {
        let mut now = self.now();
        let is_news = now.publisher_up || now.publisher_problem.is_none();
        now.publisher_up = false;
        now.publisher_problem = Some(problem);
        is_news
    }

    /// Redis answers, but refused a publication.
    pub(crate) fn publication_refused(&self, reason: &str) {
        self.now().publisher_problem = Some(format!("Redis refuses publications: {reason}"));
    }

    /// The state for others to see.
    pub(crate) fn health(&self) -> Health {
        let now = self.now();
        let problems: Vec<_> = [&now.link_problem, &now.denied, &now.publisher_problem]
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        Health {
            kind: "redis",
            link_up: now.link_up,
            publisher_up: now.publisher_up,
            was_up: now.was_heard && now.is_known,
            since: now.since,
            loop_back: now.loop_back,
            problem: (!problems.is_empty()).then(|| problems.join("; ")),
        }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Now {
    fn turn(&mut self, up: bool) {
        if self.link_up != up {
            self.link_up = up;
            self.since = SystemTime::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_outage_is_one_story() {
        let status = Status::new();
        assert!(status.unheard("no connection".into()));
        assert!(!status.unheard("still none".into()));
        assert_eq!(status.health().problem.as_deref(), Some("still none"));
        assert!(status.heard(Duration::from_millis(1)).is_some());
        assert!(!status.health().was_up, "the others do not know of it");
        status.known();
        assert_eq!(
            (status.health().link_up, status.health().was_up, status.health().problem),
            (true, true, None)
        );
        assert_eq!(
            status.stats.reconnects.get(),
            0,
            "the first connection is no reconnection"
        );
        status.lost();
        assert!(status.unheard("gone".into()));
        status.lost();
        assert!(status.heard(Duration::from_millis(1)).is_some());
        assert!(status.heard(Duration::from_millis(1)).is_none());
        assert_eq!(status.stats.reconnects.get(), 1);
    }
}
