//! Whether the bus hears itself, and what follows if not.
//!
//! A round is: publish a numbered loop-back, and ask PING on the link; if the loop-back has not come back when Redis says that it took it,
//! ask PING again. Redis keeps the order of what it sends on one connection, so a PONG to that without the loop-back before it proves a
//! deaf link at once, however far the reading lags; no PONG and no byte until the deadline means a silent one. Without a publication
//! nothing is proved, and the link stays; but if the first PING was not answered either, it is in doubt, as soon as the deadline of the
//! round has passed. Two healthy connections to two servers look like a deaf link; what follows from that is the link's business.
//! A state machine without I/O: it is told what happens and says what to do.

use std::time::Duration;

use tokio::time::Instant;

use super::trouble::Trouble;

/// How soon to try again after a round in which nothing was published.
const IMPATIENT: Duration = Duration::from_millis(50);

/// The rounds on one connection.
#[derive(Debug)]
pub(crate) struct Canary {
    interval: Duration,
    deadline: Duration,
    number: u64,
    next_round: Instant,
    phase: Phase,
    /// Whether a loop-back has come back on this connection.
    has_heard: bool,
    /// Whether anything arrived since the deadline was set.
    has_progress: bool,
    /// PINGs without an answer yet; only the answer to the last one says something about this round.
    pings: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    /// The answer of the publisher is awaited.
    Publishing {
        since: Instant,
        is_heard: bool,
    },
    /// The answer to PING is awaited on the link.
    Probing {
        since: Instant,
        is_published: bool,
        until: Instant,
    },
}

/// What to do.
#[derive(Debug)]
pub(crate) enum Act {
    Nothing,
    /// Publish the loop-back of that number, and ask PING on the link.
    Publish(u64),
    /// Ask PING on the link.
    Ping,
    /// The link may be ill; say so, keep it.
    Doubt,
    /// The link is ill for certain; drop it.
    Drop(Trouble),
}

impl Canary {
    pub(crate) fn new(interval: Duration, deadline: Duration, now: Instant) -> Self {
        Self {
            interval,
            deadline,
            number: 0,
            next_round: now,
            phase: Phase::Idle,
            has_heard: false,
            has_progress: false,
            pings: 0,
        }
    }

    /// Whether a loop-back has come back on this connection.
    pub(crate) fn has_heard(&self) -> bool {
        self.has_heard
    }

    /// When to call [`wake`](Self::wake).
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Idle => Some(self.next_round),
            Phase::Publishing { .. } => None,
            Phase::Probing { until, .. } => Some(until),
        }
    }

    /// The time has come.
    pub(crate) fn wake(&mut self, now: Instant) -> Act {
        match self.phase {
            Phase::Idle if now >= self.next_round => {
                self.number += 1;
                self.has_progress = false;
                self.pings += 1;
                self.next_round = now + self.interval;
                self.phase = Phase::Publishing {
                    since: now,
                    is_heard: false,
                };
                Act::Publish(self.number)
            }
            Phase::Probing {
                is_published,
                until,
                since,
            } if now >= until => {
                if self.has_progress && is_published {
                    self.has_progress = false;
                    self.phase = Phase::Probing {
                        since,
                        is_published,
                        until: now + self.deadline,
                    };
                    return Act::Doubt;
                }
                if is_published {
                    return Act::Drop(Trouble::Silent(self.deadline));
                }
                self.end_unpublished(now)
            }
            _ => Act::Nothing,
        }
    }

    /// The publisher answered whether Redis took the loop-back.
    pub(crate) fn published(&mut self, is_published: bool, now: Instant) -> Act {
        match self.phase {
            Phase::Publishing { is_heard: false, since } if is_published => {
                self.has_progress = false;
                self.pings += 1;
                self.phase = Phase::Probing {
                    since,
                    is_published,
                    until: now + self.deadline,
                };
                Act::Ping
            }
            Phase::Publishing { is_heard: false, since } => {
                let until = since + self.deadline;
                if self.has_progress || now >= until {
                    return self.end_unpublished(now);
                }
                self.phase = Phase::Probing {
                    since,
                    is_published,
                    until,
                };
                Act::Nothing
            }
            Phase::Publishing { .. } => {
                self.phase = Phase::Idle;
                Act::Nothing
            }
            Phase::Idle | Phase::Probing { .. } => Act::Nothing,
        }
    }

    /// The loop-back `number` came back. How long it took, if it is the one of this round.
    pub(crate) fn echo(&mut self, number: u64, now: Instant) -> Option<Duration> {
        if number != self.number {
            return None;
        }
        let since = match &mut self.phase {
            Phase::Publishing { since, is_heard } => {
                *is_heard = true;
                *since
            }
            Phase::Probing { since, .. } => *since,
            Phase::Idle => return None,
        };
        self.has_heard = true;
        if matches!(self.phase, Phase::Probing { .. }) {
            self.phase = Phase::Idle;
        }
        Some(now - since)
    }

    /// An answer to PING came.
    pub(crate) fn pong(&mut self, now: Instant) -> Act {
        self.pings = self.pings.saturating_sub(1);
        match self.phase {
            _ if self.pings > 0 => Act::Nothing,
            Phase::Probing { is_published: true, .. } => Act::Drop(Trouble::Deaf),
            Phase::Probing {
                is_published: false, ..
            } => self.end_unpublished(now),
            Phase::Idle | Phase::Publishing { .. } => Act::Nothing,
        }
    }

    /// Something arrived.
    pub(crate) fn progress(&mut self) {
        self.has_progress = true;
    }

    /// The link was not read for a while, so what is missing may be on its way.
    pub(crate) fn excuse(&mut self, now: Instant) {
        if let Phase::Probing { until, .. } = &mut self.phase {
            *until = now + self.deadline;
        }
    }

    /// Ends a round without a publication, in which the link may still have shown that it lives.
    fn end_unpublished(&mut self, now: Instant) -> Act {
        self.phase = Phase::Idle;
        self.next_round = now + IMPATIENT;
        if self.has_progress { Act::Nothing } else { Act::Doubt }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(2);
    const DEADLINE: Duration = Duration::from_secs(1);

    /// Runs one round; each letter is what happens: `p` published, `f` failed to publish, `e` echo, `o` pong, `b` bytes, `x` excuse,
    /// `.` the deadline passes, `w` as much time passes without a look. Gives the acts that were asked for, by their first letter.
    #[track_caller]
    fn check(happens: &str, expected: &str) {
        let mut now = Instant::now();
        let mut canary = Canary::new(INTERVAL, DEADLINE, now);
        let mut acts = Vec::new();
        acts.push(canary.wake(now));
        for what in happens.chars() {
            acts.push(match what {
                'p' | 'f' => canary.published(what == 'p', now),
                'e' => canary.echo(canary.number, now).map_or(Act::Nothing, |_| Act::Nothing),
                'o' => {
                    canary.progress();
                    canary.pong(now)
                }
                'b' => {
                    canary.progress();
                    Act::Nothing
                }
                'w' => {
                    now += DEADLINE;
                    Act::Nothing
                }
                'x' => {
                    now += DEADLINE;
                    canary.excuse(now);
                    canary.wake(now)
                }
                _ => {
                    now = canary.wake_at().unwrap_or(now);
                    canary.wake(now)
                }
            });
        }
        let acts: String = acts
            .iter()
            .filter_map(|act| match act {
                Act::Nothing => None,
                Act::Publish(_) => Some('P'),
                Act::Ping => Some('?'),
                Act::Doubt => Some('D'),
                Act::Drop(Trouble::Deaf) => Some('d'),
                Act::Drop(_) => Some('s'),
            })
            .collect();
        assert_eq!(acts, expected, "{happens}");
    }

    #[test]
    fn only_a_missing_echo_with_a_live_publisher_drops_the_link() {
        check("ep.", "PP"); // heard before the answer, next round
        check("pe.", "P?P"); // heard after the answer
        check("peoo.", "P?P"); // the PONGs come later
        check("po", "P?"); // the PONG of the start of the round proves nothing
        check("poo", "P?d"); // the second one, but no loop-back before it
        check("p.", "P?s"); // nothing at all
        check("pb.", "P?D"); // it lags, but it moves
        check("pb.b.e.", "P?DDP");
        check("pb..", "P?Ds"); // and then it stops
        check("fo.", "PP"); // the publisher is ill, the link is not
        check("bowf.", "PP");
        check("fb..", "PP");
        check("f.", "PD"); // neither answers
        check("wf", "PD"); // and no more time is given
        check("f..", "PDP"); // and the next round comes
        check("f..poo", "PDP?"); // a late PONG of the round before proves nothing
        check("f..pooo", "PDP?d");
        check("px.", "P?s"); // not read for a while: excused once
    }

    #[test]
    fn rounds_are_told_apart_and_timed() {
        let start = Instant::now();
        let mut canary = Canary::new(INTERVAL, DEADLINE, start);
        assert!(matches!(canary.wake(start), Act::Publish(1)));
        canary.progress();
        assert!(matches!(canary.published(false, start), Act::Nothing));
        assert_eq!(canary.wake_at(), Some(start + IMPATIENT), "nothing was published");
        let second = start + IMPATIENT;
        assert!(matches!(canary.wake(second), Act::Publish(2)));
        assert_eq!(canary.echo(1, second), None, "an old one");
        assert_eq!(canary.echo(2, second + DEADLINE), Some(DEADLINE));
        assert!(matches!(canary.published(true, second), Act::Nothing));
        assert_eq!(canary.wake_at(), Some(second + INTERVAL));
    }
}
