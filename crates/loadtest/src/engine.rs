//! The poll loop: all connections of a run, on one thread.
//!
//! Owns the sockets and counts how they fared. What arrives is the business of whoever calls [`Engine::turn`]. Connections that
//! are to stall leave the poll when they are open, until [`Engine::read_on`].
//! Invariant: a connection's index is its poll token, and `open` is the number of sockets that have finished their handshake.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
#[cfg(target_os = "linux")]
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::{Events, Interest, Poll, Token};
#[cfg(target_os = "linux")]
use nix::poll::{PollFd, PollFlags, ppoll};
use protocol::frame;
use rustls::ClientConfig;

use crate::centrifuge::Arrival;
use crate::client::Client;
use crate::socket::{Opened, Progress, Socket};

/// Read at once; a merged write of a busy channel fits.
const BUFFER: usize = 64 * 1024;

/// So many sockets are worked through before it is looked whether a message is due: with more, reading a wide channel makes it late.
const EVENTS: usize = 64;

/// Bytes that the kernel takes for a connection that does not read; Linux doubles them, and has 2304 as its least.
const STALLED_BUFFER: usize = 4 * 1024;

/// Gets what arrives: the connection's index, what it is, and when it was read.
pub(crate) type Deliver<'a> = dyn FnMut(usize, Arrival<'_>, Instant) + 'a;

/// All connections of a run.
pub(crate) struct Engine {
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    tls: Option<Arc<ClientConfig>>,
    sources: u8,
    stalled: Range<usize>,
    sockets: Vec<Option<Socket>>,
    open: usize,
    /// How long handshakes took, from connect to 101, in microseconds.
    pub(crate) handshakes: Histogram<u64>,
    /// How long subscriptions took, from connect to the answer to subscribe, in microseconds.
    pub(crate) subscriptions: Histogram<u64>,
    /// When the first of them was asked for, and the last answered.
    pub(crate) subscribing: Option<(Instant, Instant)>,
    /// Why connections could not be opened, and how often.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Why open connections ended, and how often. What the run itself closes does not count.
    pub(crate) ended: BTreeMap<String, u64>,
    /// The same for connections that were to stall.
    pub(crate) stalled_ended: BTreeMap<String, u64>,
    /// Connections whose opening failed since someone last looked.
    failed: Vec<usize>,
}

impl Engine {
    /// An engine for connections `0..connections`, none of them open, of which `stalled` will not read; `sources` loopback addresses take
    /// turns.
    pub(crate) fn new(
        connections: usize,
        stalled: Range<usize>,
        sources: u8,
        tls: Option<Arc<ClientConfig>>,
    ) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS),
            buffer: vec![0; BUFFER],
            tls,
            sources: sources.max(1),
            stalled,
            sockets: (0..connections).map(|_| None).collect(),
            open: 0,
            handshakes: latencies(),
            subscriptions: latencies(),
            subscribing: None,
            refused: BTreeMap::new(),
            ended: BTreeMap::new(),
            stalled_ended: BTreeMap::new(),
            failed: Vec::new(),
        })
    }

    /// How many connections are open.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// The connections whose opening has failed since the last call.
    pub(crate) fn take_failed(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.failed)
    }

    /// Begins connection `index`; how it went shows in later turns.
    pub(crate) fn connect(&mut self, index: usize, client: &Client) {
        let source = u8::try_from(index % usize::from(self.sources)).unwrap_or(0) + 1;
        let receive_buffer = self.stalled.contains(&index).then_some(STALLED_BUFFER);
        let begun = Socket::connect(client, source, receive_buffer, self.tls.as_ref()).and_then(|mut socket| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(socket.tcp(), Token(index), interest)?;
            Ok(socket)
        });
        match begun {
            Ok(socket) => self.sockets[index] = Some(socket),
            Err(error) => self.refuse(index, error.to_string()),
        }
    }

    /// Waits until something happens, but not past `until`, and works through what did.
    pub(crate) fn turn(&mut self, until: Instant, deliver: &mut Deliver<'_>) -> io::Result<()> {
        match self.poll(until.saturating_duration_since(Instant::now())) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            let index = event.token().0;
            let has_ended = event.is_read_closed() || event.is_error();
            let Some(socket) = &mut self.sockets[index] else {
                continue;
            };
            let was_open = socket.is_open();
            let outcome = socket.advance(&mut self.buffer, has_ended, &mut |arrival, now| {
                deliver(index, arrival, now);
            });
            match outcome {
                Ok(Progress::Same) => {}
                Ok(Progress::Opened(opened)) => {
                    if self.stalled.contains(&index) {
                        self.poll.registry().deregister(socket.tcp())?;
                    }
                    self.opened(opened);
                }
                Err(reason) => self.lose(index, was_open, reason),
            }
        }
        self.events = events;
        Ok(())
    }

    /// Waits for events, but no longer than `timeout`. `epoll_wait` counts whole milliseconds, so that every message would be sent up to one
    /// too late and be that much slower in the report; `ppoll` is exact.
    fn poll(&mut self, timeout: Duration) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if !timeout.is_zero() {
            let mut epoll = [PollFd::new(self.poll.registry().as_fd(), PollFlags::POLLIN)];
            ppoll(&mut epoll, Some(timeout.into()), None)?;
            return self.poll.poll(&mut self.events, Some(Duration::ZERO));
        }
        self.poll.poll(&mut self.events, Some(timeout))
    }

    /// Turns until `until` has come or `is_done` says so.
    pub(crate) fn turn_until(
        &mut self,
        until: Instant,
        deliver: &mut Deliver<'_>,
        is_done: impl Fn(&Self) -> bool,
    ) -> io::Result<()> {
        while !is_done(self) && Instant::now() < until {
            self.turn(until, deliver)?;
        }
        Ok(())
    }

    /// Publishes the JSON text `data` on connection `index`; false if it is not open.
    pub(crate) fn publish(&mut self, index: usize, data: &[u8]) -> bool {
        self.on_open(index, |socket| socket.publish(data))
    }

    fn on_open(&mut self, index: usize, act: impl FnOnce(&mut Socket) -> Result<(), String>) -> bool {
        let Some(socket) = self.sockets[index].as_mut().filter(|socket| socket.is_open()) else {
            return false;
        };
        match act(socket) {
            Ok(()) => true,
            Err(reason) => {
                self.lose(index, true, reason);
                false
            }
        }
    }

    /// Lets the stalled connections read, until the servers have ended all of them or `until` has come. What they read is nobody's.
    pub(crate) fn read_on(&mut self, until: Instant) -> io::Result<()> {
        for index in self.stalled.clone() {
            if let Some(socket) = &mut self.sockets[index] {
                let interest = Interest::READABLE | Interest::WRITABLE;
                self.poll.registry().register(socket.tcp(), Token(index), interest)?;
            }
        }
        let stalled = self.stalled.clone();
        self.turn_until(until, &mut |_, _, _| {}, |engine| {
            engine.sockets[stalled.clone()].iter().all(Option::is_none)
        })
    }

    /// Drops every connection at once, as a failed load balancer would.
    pub(crate) fn drop_all(&mut self) {
        self.sockets.iter_mut().for_each(|socket| *socket = None);
        self.open = 0;
    }

    /// Closes every connection with a Close frame, and drops what the servers have not closed within `patience`.
    pub(crate) fn close_all(&mut self, patience: Duration) -> io::Result<()> {
        let before = self.ended.clone();
        for index in 0..self.sockets.len() {
            let close = frame::client::close(Some((1000, "")), rand::random());
            self.on_open(index, |socket| socket.send(&close));
        }
        self.turn_until(Instant::now() + patience, &mut |_, _, _| {}, |engine| engine.open == 0)?;
        self.drop_all();
        self.ended = before; // what was closed here did not end by itself
        Ok(())
    }

    fn opened(&mut self, opened: Opened) {
        self.open += 1;
        self.handshakes.saturating_record(micros(opened.handshake));
        if let Some(greeted_at) = opened.greeted_at {
            let now = Instant::now();
            self.subscriptions.saturating_record(micros(now - greeted_at));
            let first = self.subscribing.map_or(greeted_at, |(first, _)| first.min(greeted_at));
            self.subscribing = Some((first, now));
        }
    }

    fn lose(&mut self, index: usize, was_open: bool, reason: String) {
        self.sockets[index] = None;
        if was_open {
            self.open -= 1;
            let ended = match self.stalled.contains(&index) {
                true => &mut self.stalled_ended,
                false => &mut self.ended,
            };
            *ended.entry(reason).or_default() += 1;
        } else {
            self.refuse(index, reason);
        }
    }

    fn refuse(&mut self, index: usize, reason: String) {
        self.failed.push(index);
        *self.refused.entry(reason).or_default() += 1;
    }
}

/// An empty histogram of microseconds, from 1 us to 10 minutes, to three digits.
pub(crate) fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("bounds that hdrhistogram allows")
}

/// Whole microseconds, at least one.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).max(1)
}
