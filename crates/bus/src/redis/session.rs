//! One established subscribing connection, from its greeting to its end.
//!
//! What is heard goes into the queue to the listener in the order of the stream, in one batch for each read; while the queue is full
//! nothing is read, so Redis waits and not this process' memory. Invariant: nothing here waits but the one `select!`, so subscriptions,
//! the canary and the socket never hold each other up.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, pending};
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::FutureExt;
use futures_util::future::Fuse;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use super::canary::{Act, Canary};
use super::connect::Stream;
use super::hearing::{Heard, Word, read_reply};
use super::link::Link;
use super::resp::Reader;
use super::trouble::Trouble;
use super::wire::{Wire, command};
use crate::BusEvent;

/// How long changes of subscriptions are collected after some were said; the first after a pause are said at once.
const TICK: Duration = Duration::from_millis(5);
/// How often channels that Redis refused are tried again.
const RETRY_DENIED: Duration = Duration::from_secs(5);

/// One established connection.
pub(crate) struct Session<'a> {
    link: &'a Link,
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
    replies: Reader,
    out: BytesMut,
    is_flushed: bool,
    wire: Wire,
    pub(crate) canary: Canary,
    /// Heard, and on its way into the queue.
    pub(crate) events: VecDeque<BusEvent>,
    /// When to say what changed, if something did.
    say_at: Option<Instant>,
    said_at: Instant,
    retry_at: Instant,
    own_names: [String; 2],
}

/// What can wake a session.
enum Woken {
    Read(usize),
    Pushed,
    Written,
    Changed,
    Time,
    Published(bool),
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        link: &'a Link,
        reader: ReadHalf<Box<dyn Stream>>,
        writer: WriteHalf<Box<dyn Stream>>,
        replies: Reader,
    ) -> Self {
        let now = Instant::now();
        Self {
            link,
            reader,
            writer,
            replies,
            out: BytesMut::new(),
            is_flushed: true,
            wire: Wire::new(link.keys.clone()),
            canary: Canary::new(link.canary_interval, link.echo_deadline, now),
            events: VecDeque::new(),
            say_at: Some(now),
            said_at: now,
            retry_at: now + RETRY_DENIED,
            own_names: link.own_names(),
        }
    }

    /// Runs until the connection is of no use any more, and says why.
    pub(crate) async fn run(&mut self) -> Trouble {
        match self.turn_until_trouble().await {
            Ok(never) => match never {},
            Err(trouble) => trouble,
        }
    }

    async fn turn_until_trouble(&mut self) -> Result<Infallible, Trouble> {
        let link = self.link;
        let mut publishing = std::pin::pin!(Fuse::terminated());
        loop {
            let times = [self.saying_at(), self.canary_at(), Some(self.retry_at)];
            let woken = tokio::select! {
                read = self.reader.read_buf(self.replies.space()), if self.events.is_empty() => Woken::Read(read?),
                () = link.queue.push(&mut self.events), if !self.events.is_empty() => Woken::Pushed,
                written = write(&mut self.writer, &mut self.out), if !self.is_flushed => {
                    self.is_flushed = written?;
                    Woken::Written
                }
                () = link.wanted.changed.notified() => Woken::Changed,
                () = wait_until(times) => Woken::Time,
                is_published = &mut publishing => Woken::Published(is_published),
            };
            let now = Instant::now();
            let act = match woken {
                Woken::Read(0) => return Err(Trouble::Closed),
                Woken::Read(_) => self.read(now).await?,
                Woken::Pushed => {
                    self.canary.excuse(now);
                    Act::Nothing
                }
                Woken::Written => Act::Nothing,
                Woken::Changed => {
                    self.say_at = self.say_at.or(Some(now.max(self.said_at + TICK)));
                    Act::Nothing
                }
                Woken::Time => self.time(now),
                Woken::Published(is_published) => self.canary.published(is_published, now),
            };
            match act {
                Act::Nothing => {}
                Act::Publish(number) => {
                    publishing.set(link.publisher.loop_back(number).fuse());
                    self.ping();
                }
                Act::Ping => self.ping(),
                Act::Doubt => self.doubt(),
                Act::Drop(trouble) => return Err(trouble),
            }
        }
    }

    fn ping(&mut self) {
        command(&mut self.out, "PING", [].into_iter());
        self.is_flushed = false;
    }

    /// The canary is not judged while the link is not read.
    fn canary_at(&self) -> Option<Instant> {
        self.canary.wake_at().filter(|_| self.events.is_empty())
    }

    /// Nothing is said while the queue is full: what needs no words is confirmed at once, and would wait in `events` without a bound.
    fn saying_at(&self) -> Option<Instant> {
        self.say_at.filter(|_| self.events.is_empty())
    }

    fn time(&mut self, now: Instant) -> Act {
        if self.saying_at().is_some_and(|at| now >= at) {
            self.say(now);
        }
        if now >= self.retry_at {
            self.retry_at = now + RETRY_DENIED;
            let denied = self.wire.denied();
            self.link
                .wanted
                .change(|wishes| denied.iter().for_each(|channel| wishes.retry(channel)));
        }
        if self.canary_at().is_some_and(|at| now >= at) {
            self.canary.wake(now)
        } else {
            Act::Nothing
        }
    }

    /// Says on the link what changed about the wishes.
    fn say(&mut self, now: Instant) {
        self.say_at = None;
        self.said_at = now;
        let mut wishes = self.link.wanted.wishes();
        self.wire.say(&mut wishes, &mut self.out, &mut self.events);
        self.is_flushed &= self.out.is_empty();
        self.link.status.stats.subscriptions.set(wishes.confirmed() as u64);
    }

    fn doubt(&self) {
        let problem = Trouble::NoAnswer(self.link.echo_deadline).to_string();
        if self.link.status.unheard(problem.clone()) {
            tracing::warn!(problem, "the link to Redis is in doubt, waiting for it");
        }
    }

    /// Takes in everything that has arrived, and hands it to the listener.
    async fn read(&mut self, now: Instant) -> Result<Act, Trouble> {
        self.canary.progress();
        let act = self.take_replies(now)?;
        if !self.events.is_empty() && self.link.queue.push(&mut self.events).now_or_never().is_some() {
            yield_now().await; // lets the listener run, once per batch
        }
        Ok(act)
    }

    fn take_replies(&mut self, now: Instant) -> Result<Act, Trouble> {
        let link = self.link;
        let mut act = Act::Nothing;
        let mut wishes = link.wanted.wishes();
        while let Some(reply) = self.replies.next_reply()? {
            match read_reply(&reply)? {
                Heard::Message { name, payload } if self.own_names.iter().any(|own| own.as_bytes() == name) => {
                    match link.word(payload) {
                        Some(Word::LoopBack(number)) => {
                            if let Some(took) = self.canary.echo(number, now) {
                                link.heard(took, wishes.len());
                            }
                        }
                        Some(Word::Told { from, message }) => self.events.push_back(BusEvent::Told { from, message }),
                        None => {}
                    }
                }
                Heard::Message { name, payload } => {
                    self.events
                        .extend(link.publication(&wishes, name, payload).map(BusEvent::Publication));
                }
                Heard::Answer { verb, name } => self.wire.answered(verb, name, &mut wishes, &mut self.events)?,
                Heard::Pong => act = self.canary.pong(now),
                Heard::Refusal(reason) => {
                    self.wire.refused(&wishes, &mut self.out)?;
                    link.refused(&self.wire, &reason);
                }
            }
            if matches!(act, Act::Drop(_)) {
                break;
            }
        }
        if self.wire.denied().is_empty() {
            link.status.denied(None);
        }
        if !wishes.is_settled() {
            self.say_at = self.say_at.or(Some(now));
        }
        self.is_flushed &= self.out.is_empty();
        link.status.stats.subscriptions.set(wishes.confirmed() as u64);
        Ok(act)
    }
}

/// Writes some of `out`; whether everything, and nothing is left in the layers below.
async fn write(writer: &mut (impl AsyncWrite + Unpin), out: &mut BytesMut) -> io::Result<bool> {
    if out.is_empty() {
        writer.flush().await?;
        return Ok(true);
    }
    if writer.write_buf(out).await? == 0 {
        return Err(io::ErrorKind::WriteZero.into());
    }
    Ok(false)
}

/// Waits for the first of `times`.
fn wait_until<const N: usize>(times: [Option<Instant>; N]) -> impl Future<Output = ()> {
    let first = times.into_iter().flatten().min();
    async move {
        match first {
            Some(first) => sleep_until(first).await,
            None => pending().await,
        }
    }
}
