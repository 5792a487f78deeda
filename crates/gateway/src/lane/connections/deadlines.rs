//! When a connection is looked at again: pings, deadlines, and the closes of a drain.
//!
//! A silent client of a plain WebSocket gets the WebSocket's own ping; one whose dialect has words for it is pinged on time, and has to say
//! first who it is. Invariant: every connection is on the wheel, at its date or before.

use std::time::{Duration, Instant};

use protocol::Close;

use super::Connections;
use super::connection::{State, Wire};
use super::wheel::Tick;
use crate::lane::drain::Schedule;
use crate::lane::id::SocketKey;
use crate::stats::Ended;

const TICK: Duration = Duration::from_millis(50);
/// How long a closing connection may take to read what waits for it and to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);
/// The same for one that broke the rules.
const SHORT_GOODBYE: Duration = Duration::from_millis(1500);

/// How clients are looked after whose dialect has words for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rhythm {
    /// How long a client may take to say who it is.
    pub(crate) connect_timeout: Duration,
    /// How often it is pinged.
    pub(crate) ping_interval: Duration,
    /// How long it may take to answer.
    pub(crate) pong_timeout: Duration,
}

impl<W: Wire> Connections<W> {
    /// Pings, deadlines and scheduled closes.
    pub(crate) fn look_at_due(&mut self) {
        let now = self.tick();
        let mut due = Vec::new();
        self.wheel.advance(now, &mut due);
        for key in due {
            match self.table.slab.get(key).map(|connection| connection.due) {
                Some(due) if due > now => self.wheel.add(key, due),
                Some(_) => self.look_at(key, now),
                None => {}
            }
        }
        if let Some(mut schedule) = self.schedule.take() {
            for id in schedule.due(self.at.now) {
                if let Some(key) = self.find(id) {
                    self.close(key, Close::Shutdown);
                }
            }
            self.schedule = Some(schedule).filter(|schedule| !schedule.is_over());
        }
        self.remove_doomed();
    }

    /// When something has to be done, if nothing comes in before.
    pub(crate) fn next_due(&mut self) -> Option<Instant> {
        let look = self.wheel.next().map(|tick| self.start + TICK * tick);
        let close = self.schedule.as_ref().map(Schedule::next);
        [self.hub.next_due(), look, close].into_iter().flatten().min()
    }

    /// Sets the date at which the wheel looks at a connection again.
    pub(super) fn watch(&mut self, key: SocketKey) {
        let now = self.tick();
        let Some(connection) = self.table.slab.get_mut(key) else {
            return;
        };
        let at = match connection.state {
            State::Closing(closing) if closing.is_deaf => now + ticks(SHORT_GOODBYE),
            State::Closing(closing) if closing.why == Ended::Drain && connection.waiting() > 0 => {
                now + ticks(GOODBYE.max(self.settings.drain_timeout))
            }
            State::Closing(_) => now + ticks(GOODBYE),
            State::Open if connection.client.is_known().is_some() => {
                let rhythm = &self.settings.rhythm;
                match connection.is_pinged {
                    // The last ping was one interval before the next.
                    true => connection.rhythm + ticks(rhythm.pong_timeout) - ticks(rhythm.ping_interval),
                    false => connection.rhythm,
                }
            }
            State::Open if connection.is_pinged => {
                connection.heard + ticks(self.settings.ping_interval + self.settings.ping_timeout)
            }
            State::Open => connection.heard + spread(ticks(self.settings.ping_interval), key),
        };
        let deadline = connection.client.deadline().filter(|_| connection.state == State::Open);
        let at = deadline.map_or(at, |deadline| at.min(self.ticks_until(deadline)));
        let connection = &mut self.table.slab[key];
        connection.due = at.max(now + 1);
        self.wheel.add(key, connection.due);
    }

    fn look_at(&mut self, key: SocketKey, now: Tick) {
        let connection = &mut self.table.slab[key];
        let is_over = connection
            .client
            .deadline()
            .is_some_and(|deadline| deadline <= self.at.now);
        if is_over && connection.state == State::Open {
            self.let_client(key, |client, at, actions| client.expire(at, actions));
            return self.watch(key);
        }
        let silence = now - connection.heard;
        match connection.state {
            State::Closing(mut closing) => {
                // Too slow even for the Close: give the kernel's memory back at once.
                connection.wire.reset();
                if closing.why == Ended::Drain && connection.waiting() > 0 {
                    closing.why = Ended::Lost;
                    connection.state = State::Closing(closing);
                }
                self.end(key, closing.why);
            }
            State::Open if connection.client.is_known().is_some() => self.keep_rhythm(key, now),
            State::Open if silence >= ticks(self.settings.ping_interval + self.settings.ping_timeout) => {
                connection.wire.reset();
                self.end(key, Ended::PingTimeout);
            }
            State::Open => {
                if !connection.is_pinged && silence >= spread(ticks(self.settings.ping_interval), key) {
                    connection.is_pinged = true;
                    let ping = connection.client.ping();
                    self.send(key, ping);
                }
                self.watch(key);
            }
        }
    }

    /// A client is known from now on: when it is pinged first.
    pub(super) fn begin_rhythm(&mut self, key: SocketKey) {
        // Not all at once, though many may have come at once.
        let interval = ticks(self.settings.rhythm.ping_interval);
        let now = self.tick();
        self.table.slab[key].rhythm = now + interval - rand::random_range(0..=interval / 2);
        self.watch(key);
    }

    /// Pings a client in its dialect's words, or finds that it is too late for something.
    fn keep_rhythm(&mut self, key: SocketKey, now: Tick) {
        let connection = &mut self.table.slab[key];
        let is_known = connection.client.is_known() == Some(true);
        if connection.is_pinged && is_known {
            return self.close(key, Close::NoPong);
        }
        if now >= connection.rhythm {
            if !is_known {
                return self.close(key, Close::Stale);
            }
            connection.is_pinged = connection.client.answers_pings();
            connection.owes_pongs = connection
                .owes_pongs
                .saturating_add(u8::from(connection.client.owes_pongs()));
            connection.rhythm = now + ticks(self.settings.rhythm.ping_interval);
            let ping = connection.client.ping();
            self.send(key, ping);
        }
        self.watch(key);
    }

    pub(super) fn tick(&self) -> Tick {
        ticks(self.at.now.saturating_duration_since(self.start))
    }

    /// The first tick at which `deadline` has passed.
    fn ticks_until(&self, deadline: Instant) -> Tick {
        ticks(deadline.saturating_duration_since(self.start)).saturating_add(1)
    }
}

pub(super) fn ticks(duration: Duration) -> Tick {
    Tick::try_from(duration.as_millis() / TICK.as_millis()).unwrap_or(Tick::MAX / 4)
}

/// Up to a tenth less, by key: connections that came together are not all pinged together.
fn spread(ticks: Tick, key: SocketKey) -> Tick {
    let share = Tick::try_from(key % 16).unwrap_or_default();
    ticks - ticks / 10 * share / 16
}
