//! The connections of one lane: who is open, who is closing, who is late, and what each is sent.
//!
//! Shared by both transports; a transport brings frames in and carries bytes out. Decides nothing about rights: it asks the client.
//! Invariant: between two turns, a connection is in the hub exactly while it is open.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use protocol::event::Answer;
use protocol::frame::{self, FrameError, Item as Frame, Limits};
use protocol::{Channel, Close, CommandError};

use crate::admission::Admitted;
use crate::backend::{Failure, Reply, Verdict};
use crate::client::{Action, Client, Hearing, Moment, Order};
use crate::lane::ask::{Ask, Asker};
use crate::lane::directory::{Directory, Place};
use crate::lane::drain::{Pace, Schedule};
use crate::lane::hub::{Delivered, Hub, Membership, WindowSettings};
use crate::lane::id::{ConnectionId, SocketKey};
use crate::lane::inbox::InboxLimits;
use crate::lane::interest::Interest;
use crate::stats::{Dropped, Ended, LaneStats};

mod connection;
mod deadlines;
mod recheck;
mod table;
#[cfg(test)]
mod tests;
mod wheel;

pub(crate) use connection::Wire;
use connection::{Connection, State};
pub(crate) use deadlines::Rhythm;
use deadlines::ticks;
use table::Table;
use wheel::Wheel;

/// So many bytes of pongs wait for the end of a read.
const MOST_PONGS: usize = 16 * 1024;

/// What a lane is told once, at its start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LaneSettings {
    pub(crate) frames: Limits,
    /// The most bytes one outbox may hold.
    pub(crate) outbox: usize,
    /// The most bytes all outboxes of the lane may hold; past it none may hold more than one turn brings.
    pub(crate) outboxes: usize,
    pub(crate) inbox: InboxLimits,
    pub(crate) windows: WindowSettings,
    pub(crate) ping_interval: Duration,
    pub(crate) ping_timeout: Duration,
    pub(crate) rhythm: Rhythm,
    /// Most connections of one user at this node; 0 for no limit.
    pub(crate) connections_per_user: usize,
    /// How long what waits may be written after a drain's Close.
    pub(crate) drain_timeout: Duration,
}

pub(crate) struct Connections<W> {
    settings: LaneSettings,
    stats: Arc<LaneStats>,
    pub(crate) hub: Hub,
    table: Table<W>,
    wheel: Wheel,
    generation: u32,
    schedule: Option<Schedule<ConnectionId>>,
    /// Whoever comes now is told to come back at once: no schedule has a place for it.
    is_leaving: bool,
    /// Channels that are heard for connections that have to wait for others.
    arrived: HashMap<SocketKey, Vec<Interest>>,
    /// Has just been entered in the directory.
    newcomer: Option<SocketKey>,
    directory: Arc<Directory>,
    /// For the node; whoever owns the lane hands it over.
    pub(crate) asks: Vec<Ask>,
    /// What a message asks for, while it is carried out.
    actions: Vec<Action>,
    /// Pongs for the connection that is being read; they go out in one piece.
    pongs: BytesMut,
    start: Instant,
    at: Moment,
}

impl<W: Wire> Connections<W> {
    pub(crate) fn new(settings: LaneSettings, stats: Arc<LaneStats>, directory: Arc<Directory>) -> Self {
        let at = Moment::now();
        Self {
            hub: Hub::new(settings.windows),
            table: Table::new(&settings),
            settings,
            stats,
            wheel: Wheel::new(),
            generation: 0,
            schedule: None,
            is_leaving: false,
            arrived: HashMap::new(),
            newcomer: None,
            directory,
            asks: Vec::new(),
            actions: Vec::new(),
            pongs: BytesMut::new(),
            start: at.now,
            at,
        }
    }

    /// Begins a turn.
    pub(crate) fn set_now(&mut self, now: Instant) {
        self.at = Moment {
            now,
            wall: SystemTime::now(),
        };
    }

    /// The id that the next connection will have.
    pub(crate) fn next_id(&self) -> ConnectionId {
        ConnectionId {
            key: self.table.slab.vacant_key(),
            generation: self.generation.wrapping_add(1),
        }
    }

    /// The key of a connection that is still there.
    pub(crate) fn find(&self, id: ConnectionId) -> Option<SocketKey> {
        self.table
            .slab
            .get(id.key)
            .filter(|connection| connection.generation == id.generation)
            .map(|_| id.key)
    }

    pub(crate) fn id(&self, key: SocketKey) -> Option<ConnectionId> {
        self.table.slab.get(key).map(|connection| ConnectionId {
            key,
            generation: connection.generation,
        })
    }

    pub(crate) fn wire(&mut self, key: SocketKey) -> Option<&mut W> {
        self.table.slab.get_mut(key).map(|connection| &mut connection.wire)
    }

    /// Takes a connection in: joins the hub first, if it has a channel already, and then sends `head`, so that nothing published after the
    /// client has read it is missed.
    pub(crate) fn open(
        &mut self,
        wire: W,
        client: Client,
        admitted: Admitted,
        interest: Option<Interest>,
        head: &Bytes,
    ) -> SocketKey {
        self.generation = self.generation.wrapping_add(1);
        let now = self.tick();
        let key = self
            .table
            .slab
            .insert(Connection::new(wire, self.generation, client, admitted, now));
        self.stats.opened.add(1);
        self.stats.talks(self.table.slab[key].client.encoding(), true);
        tracing::debug!(conn = %self.name(key), remote = %self.table.slab[key].admitted.address, "connected");
        self.table.slab[key].rhythm = now + ticks(self.settings.rhythm.connect_timeout);
        if let Some(interest) = interest {
            self.join(key, Hearing::default(), interest);
        }
        if !head.is_empty() {
            self.table.send(key, head);
        }
        self.let_client(key, |client, _, actions| client.opened(actions));
        self.watch(key);
        self.remove_doomed();
        if self.is_leaving {
            self.close(key, Close::Shutdown);
        }
        key
    }

    /// Whether frames of this connection are still looked at.
    pub(crate) fn hears(&self, key: SocketKey) -> bool {
        self.table
            .slab
            .get(key)
            .is_some_and(|connection| !matches!(connection.state, State::Closing(closing) if closing.is_deaf))
    }

    /// Acts on a frame of the client. Only that is a sign of life: bytes of a frame that never ends are none. After the last frame of a
    /// read, [`Connections::answered`] must be called.
    pub(crate) fn receive(&mut self, key: SocketKey, frame: Frame) {
        if !matches!(frame, Frame::Ping(_)) || self.pongs.len() > MOST_PONGS {
            self.answered(key);
        }
        let now = self.tick();
        let Some(connection) = self.table.slab.get_mut(key) else {
            return;
        };
        connection.heard = now;
        connection.is_pinged = false;
        match frame {
            Frame::Message(message) if connection.is_heard() => {
                self.stats.received_messages.add(1);
                self.let_client(key, |client, at, actions| client.receive(message, at, actions));
            }
            Frame::Ping(payload) => self.pongs.extend_from_slice(&frame::pong(&payload)),
            Frame::Message(_) | Frame::Pong(_) => {}
            Frame::Close { code, .. } => self.closed_by_client(key, code),
        }
    }

    /// Asks the client of a connection what to do, and does it.
    fn let_client(&mut self, key: SocketKey, ask: impl FnOnce(&mut Client, Moment, &mut Vec<Action>)) {
        let Some(connection) = self.table.slab.get_mut(key) else {
            return;
        };
        let mut actions = std::mem::take(&mut self.actions);
        ask(&mut connection.client, self.at, &mut actions);
        for action in actions.drain(..) {
            self.carry_out(key, action);
        }
        self.actions = actions;
        if let Some(newcomer) = self.newcomer.take() {
            // Its token was checked earlier, and nobody could find it until now.
            self.recheck_one(newcomer);
        }
    }

    fn carry_out(&mut self, key: SocketKey, action: Action) {
        let Some(connection) = self.id(key) else { return };
        let asker = |request| Asker {
            lane: self.stats.lane,
            connection,
            request,
        };
        match action {
            Action::Publish { outgoing, answer } => self.asks.push(Ask::Publish {
                outgoing,
                from: answer.map(asker),
            }),
            Action::Subscribe {
                channel,
                window,
                request,
            } => self.asks.push(Ask::Subscribe {
                channel,
                window,
                from: asker(request),
            }),
            Action::Join { channel, hearing } => {
                let Some(arrived) = self.arrived.get_mut(&key) else {
                    return;
                };
                let heard = arrived.iter().position(|interest| *interest.channel() == channel);
                if let Some(interest) = heard.map(|at| arrived.swap_remove(at)) {
                    self.join(key, hearing, interest);
                }
            }
            Action::Unsubscribe { channel } => self.leave_one(key, &channel),
            Action::Consult { call, number } => self.asks.push(Ask::Consult {
                call,
                from: asker(number),
            }),
            Action::Attend(attendance) => self.asks.push(Ask::Attend(attendance)),
            Action::Read { channel, what, request } => self.asks.push(Ask::Read {
                channel,
                what,
                from: asker(request),
            }),
            Action::Answer { request, result } => {
                self.stats.answered(result.as_ref());
                let answer = self.table.slab[key].client.answer(request, result.as_ref());
                self.send(key, &answer);
                if matches!(result, Ok(Answer::Refreshed { .. } | Answer::SubRefreshed { .. })) {
                    // What expires may do so earlier than before.
                    self.watch(key);
                }
            }
            Action::Send(frames) => self.send(key, &frames),
            Action::Tell(notice) => {
                let frame = self.table.slab[key].client.notice(&notice);
                self.send(key, &frame);
            }
            Action::Known { user, client, secret } => {
                let lane = self.stats.lane;
                let most = match user.is_empty() {
                    // Nobody in particular may be many.
                    true => 0,
                    false => self.settings.connections_per_user,
                };
                let of_user = self.directory.enter(user, client, secret, Place { lane, connection });
                if most > 0 && of_user > most {
                    return self.close(key, Close::ConnectionLimit);
                }
                self.newcomer = Some(key);
                if self.table.slab[key].client.is_known().is_some() {
                    self.begin_rhythm(key);
                }
            }
            Action::Pong => {
                let owed = &mut self.table.slab[key].owes_pongs;
                match owed.checked_sub(1) {
                    Some(left) => *owed = left,
                    None => self.close(key, Close::BadRequest),
                }
            }
            Action::Drop(reason) => self.stats.drop_some(reason, 1),
            Action::Close(close) => self.close(key, close),
        }
    }

    /// The node hears a channel that a connection asked for: it joins, and is told so, in one step.
    pub(crate) fn subscribed(&mut self, asker: Asker, interest: Interest) {
        let Some(key) = self.find(asker.connection) else { return };
        if self.table.slab[key].state != State::Open {
            return;
        }
        let channel = interest.channel().clone();
        self.arrived.entry(key).or_default().push(interest);
        self.let_client(key, |client, at, actions| {
            client.heard(&channel, asker.request, at, actions);
        });
        let is_arriving = |connection: &Connection<W>| connection.client.is_arriving();
        if !self.table.slab.get(key).is_some_and(is_arriving) {
            self.arrived.remove(&key);
        }
        self.watch(key);
    }

    /// The node has done something else that a connection asked for, or could not.
    pub(crate) fn answer(&mut self, asker: Asker, result: Result<Answer, CommandError>) {
        let Some(key) = self.find(asker.connection) else { return };
        self.let_client(key, |client, _, actions| {
            client.answered(asker.request, result, actions);
        });
    }

    /// The backend has said something about a connection, or could not be asked.
    pub(crate) fn consulted(&mut self, asker: Asker, outcome: Result<Verdict<Reply>, Failure>) {
        let Some(key) = self.find(asker.connection) else { return };
        if self.table.slab[key].state == State::Open {
            self.let_client(key, |client, at, actions| {
                client.consulted(asker.request, outcome, at, actions);
            });
            self.watch(key);
        }
    }

    /// The application wants something of a connection.
    pub(crate) fn obey(&mut self, id: ConnectionId, order: Order) {
        let Some(key) = self.find(id) else { return };
        if self.table.slab[key].state == State::Open {
            self.let_client(key, |client, at, actions| client.obey(order, at, actions));
            self.watch(key);
        }
    }

    /// Sends the pongs for what was received: one write for all of a read, since pings cost a client nothing.
    pub(crate) fn answered(&mut self, key: SocketKey) {
        if !self.pongs.is_empty() {
            let pongs = self.pongs.split().freeze();
            self.send(key, &pongs);
        }
    }

    /// The client broke the protocol.
    pub(crate) fn fail(&mut self, key: SocketKey, error: FrameError) {
        self.answered(key);
        tracing::debug!(conn = %self.name(key), %error, "a client broke the protocol");
        self.close(key, error.close());
    }

    /// The wire takes bytes again.
    pub(crate) fn write_on(&mut self, key: SocketKey) {
        if !self.table.slab.contains(key) {
            return;
        }
        match self.table.change(key, Connection::flush) {
            Ok(true) => self.finish_if_done(key),
            Ok(false) => {}
            Err(_) => self.end(key, Ended::Lost),
        }
    }

    /// Takes what waits for a connection, for a wire that fetches.
    pub(crate) fn take(&mut self, key: SocketKey, most: usize) -> Option<Bytes> {
        self.table.slab.get(key)?;
        self.table.change(key, |connection| connection.take(most))
    }

    /// Writes what was collected and is due.
    pub(crate) fn flush(&mut self) {
        let table = &mut self.table;
        let delivered = self.hub.flush(self.at.now, |key, frames| table.send(key, frames));
        self.count(&delivered);
        self.remove_doomed();
    }

    /// Begins to close a connection; what was collected for it goes out first.
    pub(crate) fn close(&mut self, key: SocketKey, close: Close) {
        // Left over only if handling a frame has panicked.
        self.pongs.clear();
        if self
            .table
            .slab
            .get(key)
            .is_none_or(|connection| connection.state != State::Open)
        {
            return;
        }
        for membership in self.table.slab[key].memberships.clone() {
            let table = &mut self.table;
            let delivered = self.hub.settle(membership, |key, frames| table.send(key, frames));
            self.count(&delivered);
        }
        self.leave(key);
        self.table.change(key, |connection| connection.close(close));
        self.finish_if_done(key);
        self.watch(key);
    }

    /// Ends a closing connection whose last bytes are out, and hangs up when only the client's answer is missing.
    pub(crate) fn finish_if_done(&mut self, key: SocketKey) {
        let Some(connection) = self.table.slab.get_mut(key) else {
            return;
        };
        let State::Closing(closing) = connection.state else {
            return;
        };
        if connection.waiting() > 0 {
            return;
        }
        if closing.is_answered {
            self.end(key, closing.why);
        } else if closing.is_deaf {
            // What the client still sends is read and thrown away until it hangs up too: a reset could overtake the Close.
            connection.wire.hang_up();
        }
    }

    /// The connection is over.
    pub(crate) fn end(&mut self, key: SocketKey, why: Ended) {
        self.leave(key);
        let name = tracing::enabled!(tracing::Level::DEBUG).then(|| self.name(key));
        let Some(mut connection) = self.table.slab.try_remove(key) else {
            return;
        };
        self.table.waiting -= connection.waiting();
        connection.wire.hang_up();
        let why = match connection.state {
            State::Closing(closing) => closing.why,
            State::Open => why,
        };
        self.stats.end_one(why);
        self.stats.talks(connection.client.encoding(), false);
        let remote = connection.admitted.address;
        let lasted = connection.admitted.ended();
        tracing::debug!(conn = name, %remote, reason = why.label(), ?lasted, "disconnected");
    }

    /// Ends every connection without a word.
    pub(crate) fn abandon(&mut self) {
        let everybody: Vec<SocketKey> = self.table.slab.iter().map(|(key, _)| key).collect();
        for key in everybody {
            self.table.slab[key].wire.reset();
            self.end(key, Ended::Lost);
        }
    }

    /// Closes every connection at `pace`.
    pub(crate) fn drain(&mut self, pace: Pace) {
        let everybody = self.table.slab.iter().map(|(key, connection)| ConnectionId {
            key,
            generation: connection.generation,
        });
        self.schedule = Some(Schedule::new(everybody.collect(), pace));
        self.is_leaving = true;
    }

    /// Ends a turn that began at `began`.
    pub(crate) fn report(&mut self, began: Instant) {
        self.stats.sent_bytes.add(std::mem::take(&mut self.table.sent_bytes));
        self.stats.connections.set(self.table.slab.len() as u64);
        self.stats.outbox_bytes.set(self.table.waiting as u64);
        let (channels, subscriptions) = self.hub.size();
        self.stats.channels.set(channels as u64);
        self.stats.subscriptions.set(subscriptions as u64);
        self.stats.tick(began, Instant::now());
    }

    /// What a connection is called in the log.
    fn name(&self, key: SocketKey) -> String {
        let generation = self.table.slab.get(key).map_or(0, |connection| connection.generation);
        format!("{}.{key}.{generation}", self.stats.lane)
    }

    fn closed_by_client(&mut self, key: SocketKey, code: Option<u16>) {
        match &mut self.table.slab[key].state {
            State::Open => self.close(key, Close::Answer { code }),
            State::Closing(closing) => {
                closing.is_answered = true;
                self.finish_if_done(key);
            }
        }
    }

    /// Sends whole frames to one connection, outside of a delivery to many.
    fn send(&mut self, key: SocketKey, frames: &Bytes) {
        self.table.send(key, frames);
        self.remove_doomed();
    }

    /// Connections that a delivery found too slow are out of the hub and get their Close; broken ones end.
    fn remove_doomed(&mut self) {
        let dropped = std::mem::take(&mut self.table.dropped);
        self.stats.drop_some(Dropped::SlowConsumer, dropped);
        while let Some(id) = self.table.doomed.pop() {
            let Some(key) = self.find(id) else { continue };
            match self.table.slab[key].state {
                State::Open => self.end(key, Ended::Lost),
                State::Closing(_) => {
                    self.leave(key);
                    self.watch(key);
                }
            }
        }
    }

    fn leave(&mut self, key: SocketKey) {
        self.arrived.remove(&key);
        let Some(connection) = self.table.slab.get_mut(key) else {
            return;
        };
        if let Some(client) = connection.client.known_as() {
            self.directory.leave(client);
        }
        self.let_client(key, |client, _, actions| client.leave(actions));
        let Some(connection) = self.table.slab.get_mut(key) else {
            return;
        };
        for membership in std::mem::take(&mut connection.memberships) {
            self.take_out(membership);
        }
    }

    fn join(&mut self, key: SocketKey, hearing: Hearing, interest: Interest) {
        let encoding = self.table.slab[key].client.encoding();
        let table = &mut self.table;
        let (membership, delivered) = self
            .hub
            .join(key, encoding, hearing, interest, |key, frames| table.send(key, frames));
        self.count(&delivered);
        let memberships = &mut self.table.slab[key].memberships;
        if memberships.len() == memberships.capacity() {
            // Most clients are in one channel.
            memberships.reserve_exact(memberships.len().max(1));
        }
        memberships.push(membership);
    }

    /// Takes a connection out of one channel; what was collected there goes out first.
    fn leave_one(&mut self, key: SocketKey, channel: &Channel) {
        let memberships = &self.table.slab[key].memberships;
        let Some(at) = memberships.iter().position(|place| self.hub.is_in(*place, channel)) else {
            return;
        };
        let membership = memberships[at];
        let table = &mut self.table;
        let delivered = self.hub.settle(membership, |key, frames| table.send(key, frames));
        self.count(&delivered);
        self.table.slab[key].memberships.swap_remove(at);
        self.take_out(membership);
        self.remove_doomed();
    }

    fn take_out(&mut self, membership: Membership) {
        if let Some((moved, place)) = self.hub.leave(membership) {
            self.table.slab[moved]
                .memberships
                .iter_mut()
                .for_each(|membership| membership.correct(place));
        }
    }

    fn count(&self, delivered: &Delivered) {
        self.stats.deliveries.add(delivered.deliveries);
        self.stats.writes.add(delivered.writes);
    }
}
