//! The subscribing connection: connects, subscribes, hears, notices its own death, and starts again.
//!
//! One task, one connection at a time. What is heard goes into the queue to the listener in the order of the stream, in one batch for
//! each read; while the queue is full nothing is read, so Redis waits and not this process' memory. Invariant: after an established
//! link is lost, the listener hears `LinkLost`, once, before anything of the next one.

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::Fuse;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use uuid::Uuid;

use super::backoff::Backoff;
use super::canary::{Act, Canary};
use super::connect::{Connector, Stream};
use super::keys::{Keys, Named};
use super::publish::Publisher;
use super::resp::{Reader, Reply, Value};
use super::status::Status;
use super::trouble::{Trouble, words};
use super::wire::{Verb, Wire, command};
use super::wishes::Wishes;
use crate::envelope::{Envelope, Kind};
use crate::queue::Queue;
use crate::{BusEvent, Incoming};

/// How long changes of subscriptions are collected after some were said; the first after a pause are said at once.
const TICK: Duration = Duration::from_millis(5);
/// How often channels that Redis refused are tried again.
const RETRY_DENIED: Duration = Duration::from_secs(5);

/// The subscribing side of a bus.
pub(crate) struct Link {
    pub(crate) connector: Connector,
    pub(crate) keys: Keys,
    pub(crate) node: Uuid,
    /// How long Redis may take to answer while it is greeted.
    pub(crate) patience: Duration,
    pub(crate) canary_interval: Duration,
    pub(crate) echo_deadline: Duration,
    pub(crate) reconnect_max: Duration,
    pub(crate) max_publication: usize,
    pub(crate) wanted: Arc<Wanted>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) status: Arc<Status>,
    pub(crate) queue: Arc<Queue>,
}

/// The wishes, and how the link learns that they changed.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    wishes: Mutex<Wishes>,
    changed: Notify,
}

impl Wanted {
    /// Changes the wishes, and tells the link.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Wishes) -> T) -> T {
        let outcome = change(&mut self.wishes());
        self.changed.notify_one();
        outcome
    }

    fn wishes(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    /// The task `link`.
    pub(crate) async fn run(self) {
        let mut backoff = Backoff::new(self.reconnect_max);
        loop {
            let trouble = match self.establish().await {
                Ok(session) => self.lead(session, &mut backoff).await,
                Err(trouble) => trouble,
            };
            self.tell(&trouble);
            sleep(backoff.pause()).await;
        }
    }

    fn tell(&self, trouble: &Trouble) {
        let problem = trouble.to_string();
        if self.status.unheard(problem.clone()) {
            tracing::warn!(problem, "no link to Redis, trying to connect again until it is back");
        } else {
            tracing::debug!(problem, "still no link to Redis");
        }
    }

    /// Uses an established connection until it ends.
    async fn lead(&self, mut session: Session<'_>, backoff: &mut Backoff) -> Trouble {
        self.wanted.change(Wishes::link);
        let trouble = session.run().await;
        self.wanted.change(Wishes::unlink);
        self.status.stats.subscriptions.set(0);
        self.status.lost();
        self.tell(&trouble);
        if session.canary.has_heard() {
            backoff.reset();
        }
        session.events.push_back(BusEvent::LinkLost);
        self.queue.push(&mut session.events).await;
        trouble
    }

    /// Connects, logs in, and subscribes to the node's own channel.
    async fn establish(&self) -> Result<Session<'_>, Trouble> {
        let (mut reader, mut writer) = split(self.connector.open().await?);
        let mut replies = Reader::new(self.max_publication);
        let greeting = self.greet(&mut reader, &mut writer, &mut replies);
        timeout(self.patience, greeting)
            .await
            .map_err(|_| Trouble::NoAnswer(self.patience))??;
        Ok(Session::new(self, reader, writer, replies))
    }

    async fn greet(
        &self,
        reader: &mut ReadHalf<Box<dyn Stream>>,
        writer: &mut WriteHalf<Box<dyn Stream>>,
        replies: &mut Reader,
    ) -> Result<(), Trouble> {
        let mut out = BytesMut::new();
        let login = &self.connector.target.login;
        let auth: Vec<_> = login.username().into_iter().chain(login.password()).collect();
        let logs_in = login.password().is_some();
        if logs_in {
            command(&mut out, "AUTH", auth.into_iter());
        }
        let name = format!("fanfare-link-{}", self.node);
        command(&mut out, "CLIENT", ["SETNAME", &name].into_iter());
        let own = self.keys.node(self.node);
        command(&mut out, "SUBSCRIBE", [own.as_str()].into_iter());
        writer.write_all(&out).await?;
        writer.flush().await?;
        if logs_in {
            accepted("the login", next(reader, replies).await?)?;
        }
        // The name is only a help for whoever looks at Redis, so it may be forbidden.
        let _ = accepted("the name", next(reader, replies).await?);
        accepted(
            "the subscription of the node's own channel",
            next(reader, replies).await?,
        )
    }
}

/// The refusal in the next reply, if it is one.
async fn next(reader: &mut ReadHalf<Box<dyn Stream>>, replies: &mut Reader) -> Result<Option<String>, Trouble> {
    loop {
        if let Some(reply) = replies.next_reply()? {
            return Ok(match reply {
                Reply::One(Value::Error(refusal)) => Some(words(refusal)),
                _ => None,
            });
        }
        if reader.read_buf(replies.space()).await? == 0 {
            return Err(Trouble::Closed);
        }
    }
}

fn accepted(what: &'static str, refusal: Option<String>) -> Result<(), Trouble> {
    refusal.map_or(Ok(()), |reason| Err(Trouble::Refused { what, reason }))
}

/// One established connection.
struct Session<'a> {
    link: &'a Link,
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
    replies: Reader,
    out: BytesMut,
    is_flushed: bool,
    wire: Wire,
    canary: Canary,
    /// Heard, and on its way into the queue.
    events: VecDeque<BusEvent>,
    /// When to say what changed, if something did.
    say_at: Option<Instant>,
    said_at: Instant,
    retry_at: Instant,
    own_name: String,
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
    fn new(
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
            own_name: link.keys.node(link.node),
        }
    }

    /// Runs until the connection is of no use any more, and says why.
    async fn run(&mut self) -> Trouble {
        match self.turn_until_trouble().await {
            Ok(never) => match never {},
            Err(trouble) => trouble,
        }
    }

    async fn turn_until_trouble(&mut self) -> Result<std::convert::Infallible, Trouble> {
        let link = self.link;
        let mut publishing = std::pin::pin!(Fuse::terminated());
        loop {
            let times = [self.say_at, self.canary_at(), Some(self.retry_at)];
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
                Act::Publish(number) => publishing.set(link.publisher.loop_back(number).fuse()),
                Act::Ping => {
                    command(&mut self.out, "PING", [].into_iter());
                    self.is_flushed = false;
                }
                Act::Doubt => self.doubt(),
                Act::Drop(trouble) => return Err(trouble),
            }
        }
    }

    /// The canary is not judged while the link is not read.
    fn canary_at(&self) -> Option<Instant> {
        self.canary.wake_at().filter(|_| self.events.is_empty())
    }

    fn time(&mut self, now: Instant) -> Act {
        if self.say_at.is_some_and(|at| now >= at) {
            self.say(now);
        }
        if now >= self.retry_at {
            self.retry_at = now + RETRY_DENIED;
            let denied = self.wire.take_denied();
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
                Said::Message { name, payload } if name == self.own_name.as_bytes() => {
                    if let Some(number) = link.loop_back_number(payload)
                        && let Some(took) = self.canary.echo(number, now)
                    {
                        link.heard(took, wishes.len());
                    }
                }
                Said::Message { name, payload } => {
                    self.events
                        .extend(link.publication(&wishes, name, payload).map(BusEvent::Publication));
                }
                Said::Answer { verb, name } => self.wire.answered(verb, name, &mut wishes, &mut self.events)?,
                Said::Pong => act = self.canary.pong(now),
                Said::Refusal(reason) => {
                    self.wire.refused(&wishes, &mut self.out)?;
                    link.refused(&self.wire, &reason);
                }
            }
            if matches!(act, Act::Drop(_)) {
                break;
            }
        }
        if self.wire.denied().is_none() {
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

impl Link {
    /// What a message on a channel is for the listener: nothing, if nobody wants it or nobody could read it.
    fn publication(&self, wishes: &Wishes, name: &[u8], payload: Option<&[u8]>) -> Option<Incoming> {
        let named = self.keys.read(name)?;
        let (Named::Bare(text) | Named::Channel(text)) = named;
        let channel = wishes.heard(text)?.clone();
        self.status.stats.received.add(1);
        let incoming = payload.and_then(|payload| match named {
            Named::Bare(_) => {
                std::str::from_utf8(payload).ok()?;
                Some(Incoming {
                    channel,
                    data: Bytes::copy_from_slice(payload),
                    published_at: None,
                })
            }
            Named::Channel(_) => {
                let envelope = Envelope::decode(payload)
                    .ok()
                    .filter(|it| it.kind == Kind::Publication)?;
                let published_at = Some(envelope.published_at).filter(|it| *it > UNIX_EPOCH);
                Some(Incoming {
                    channel,
                    data: Bytes::copy_from_slice(envelope.payload),
                    published_at,
                })
            }
        });
        if incoming.is_none() {
            self.status.stats.malformed.add(1);
        }
        incoming
    }

    /// The number of a loop-back that this node sent itself.
    fn loop_back_number(&self, payload: Option<&[u8]>) -> Option<u64> {
        let envelope = Envelope::decode(payload?).ok()?;
        let is_ours = envelope.kind == Kind::LoopBack && envelope.origin == self.node;
        let number = envelope.payload.try_into().ok().filter(|_| is_ours)?;
        Some(u64::from_be_bytes(number))
    }

    fn heard(&self, took: Duration, channels: usize) {
        if let Some(outage) = self.status.heard(took) {
            tracing::info!(?outage, channels, "the link to Redis is up");
        }
    }

    fn refused(&self, wire: &Wire, reason: &str) {
        let Some(channel) = wire.denied() else { return };
        let problem = format!("Redis refuses the subscription of {channel} and perhaps others: {reason}");
        if self.status.denied(Some(problem.clone())) {
            tracing::warn!(
                problem,
                "some channels are not heard; they are tried again every few seconds"
            );
        }
    }
}

/// What a reply means on a subscribing connection.
enum Said<'a> {
    /// Somebody published; `None` if it was over the bound and passed over.
    Message { name: &'a [u8], payload: Option<&'a [u8]> },
    /// A subscription was changed.
    Answer { verb: Verb, name: &'a [u8] },
    /// The answer to PING.
    Pong,
    /// A command was refused.
    Refusal(String),
}

fn read_reply<'a>(reply: &Reply<&'a [u8]>) -> Result<Said<'a>, Trouble> {
    match reply {
        Reply::One(Value::Status(b"PONG")) => Ok(Said::Pong),
        Reply::One(Value::Error(reason)) => Ok(Said::Refusal(words(reason))),
        Reply::Many {
            items: [Value::Bulk(b"pong"), ..],
            len: 2,
        } => Ok(Said::Pong),
        Reply::Many {
            items: [Value::Bulk(b"message"), Value::Bulk(name), payload, _],
            len: 3,
        } => match payload {
            Value::Bulk(payload) => Ok(Said::Message {
                name,
                payload: Some(payload),
            }),
            Value::TooLong(_) => Ok(Said::Message { name, payload: None }),
            _ => Err(Trouble::Unexpected),
        },
        Reply::Many {
            items: [Value::Bulk(verb), Value::Bulk(name), Value::Integer(_), _],
            len: 3,
        } => match *verb {
            b"subscribe" => Ok(Said::Answer {
                verb: Verb::Subscribe,
                name,
            }),
            b"unsubscribe" => Ok(Said::Answer {
                verb: Verb::Unsubscribe,
                name,
            }),
            _ => Err(Trouble::Unexpected),
        },
        _ => Err(Trouble::Unexpected),
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
