//! Publishes, over one connection that many callers share.
//!
//! Owns that connection: opens it, gives it a name, notices its end at once because it drives it, and opens another. A batch is one
//! pipeline, so a caller's order is Redis' order. Invariant: without a live connection nothing waits; an answer that is late condemns the
//! connection, because nothing said after it can be trusted to be in time either.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Pipeline, RedisError, Value};
use bytes::Bytes;
use protocol::{Attributes, PublicationKind};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::backoff::Backoff;
use super::connect::Connector;
use super::keys::Keys;
use super::script::{Batch, Script};
use super::status::Status;
use super::trouble::{CLIENT, Trouble, error_words, is_command_forbidden, told};
use crate::envelope::{Envelope, Kind};
use crate::once;
use crate::{Addressee, Outgoing, PublishError};

static ONCE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("once.lua")));

/// The publishing side of a bus.
pub(crate) struct Publisher {
    pub(crate) connector: Connector,
    pub(crate) keys: Keys,
    pub(crate) node: Uuid,
    /// How long Redis may take to answer.
    pub(crate) patience: Duration,
    pub(crate) reconnect_max: Duration,
    pub(crate) status: Arc<Status>,
    pub(crate) line: Line,
    /// Whether some of the last publications were refused.
    pub(crate) refuses: AtomicBool,
}

/// What callers publish on: a connection, while there is one.
#[derive(Default)]
pub(crate) struct Line {
    current: Mutex<Current>,
    condemned: Notify,
}

/// One publication as Redis gets it.
struct Message {
    name: String,
    payload: Bytes,
    /// What remembers that it was published, if it must not be twice.
    once: Option<String>,
}

#[derive(Default)]
struct Current {
    connection: Option<MultiplexedConnection>,
    /// Tells this connection from its predecessors.
    number: u64,
    /// Why the connection is condemned, until it is closed.
    verdict: Option<Trouble>,
}

impl Publisher {
    /// The task `publisher`: keeps a connection.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut backoff = Backoff::new(self.reconnect_max);
        let mut is_told = false;
        loop {
            let problem = self.keep_one(&mut backoff, &mut is_told).await.to_string();
            let is_first = self.status.not_publishing(problem.clone());
            // While the link is down as well, its own warning tells of the outage.
            if !is_first && !is_told && self.status.health().link_up {
                is_told = true;
                tracing::warn!(
                    problem,
                    "cannot publish on Redis, trying to connect again until it takes publications"
                );
            } else {
                tracing::debug!(problem, "cannot publish on Redis");
            }
            sleep(backoff.pause()).await;
        }
    }

    /// One connection from its opening to its end.
    async fn keep_one(&self, backoff: &mut Backoff, is_told: &mut bool) -> Trouble {
        let stream = match self.connector.open().await {
            Ok(stream) => stream,
            Err(trouble) => return trouble,
        };
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let login = MultiplexedConnection::new_with_config(&self.connector.target.login, stream, config);
        let (connection, driver) = match timeout(self.patience, login).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return Trouble::Publisher(error),
            Err(_) => return Trouble::NoAnswer(self.patience),
        };
        let mut driver = std::pin::pin!(driver);
        tokio::select! {
            () = &mut driver => return Trouble::Closed,
            named = self.name(connection.clone()) => if let Err(trouble) = named { return trouble },
        }
        backoff.reset();
        self.status.publishing();
        if std::mem::take(is_told) {
            tracing::info!("Redis takes publications again");
        }
        self.line.set(Some(connection));
        let trouble = tokio::select! {
            () = &mut driver => Trouble::Closed,
            verdict = self.line.until_condemned() => verdict,
        };
        self.line.set(None);
        trouble
    }

    /// Tells Redis who this is. It may be forbidden, but it must be answered: only then is the connection known to live.
    async fn name(&self, mut connection: MultiplexedConnection) -> Result<(), Trouble> {
        let mut command = ::redis::cmd("CLIENT");
        command.arg("SETNAME").arg(format!("fanfare-publish-{}", self.node));
        let refusal = match timeout(self.patience, connection.send_packed_command(&command)).await {
            Ok(Ok(Value::ServerError(refusal))) => told(refusal.code(), refusal.details()),
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) if error.code().is_some() => error_words(&error),
            Ok(Err(error)) => return Err(Trouble::Publisher(error)),
            Err(_) => return Err(Trouble::NoAnswer(self.patience)),
        };
        if is_command_forbidden(&refusal) {
            return Ok(());
        }
        Err(Trouble::Refused {
            what: CLIENT,
            reason: refusal,
        })
    }

    /// Gives the connection up for another, because a link that is new hears nothing of what is published on it: it may lead to a Redis
    /// that has another name by now, or none.
    pub(crate) fn reconnect(&self) {
        let (_, number) = self.line.get();
        self.line.condemn(number, Trouble::Unheard);
    }

    /// Publishes nothing any more; for when the task is gone.
    pub(crate) fn end(&self) {
        self.line.set(None);
    }

    /// Publishes `batch` in its order.
    pub(crate) async fn publish(&self, batch: Vec<Outgoing>) -> Vec<Result<(), PublishError>> {
        let now = SystemTime::now();
        let messages: Vec<_> = batch.into_iter().map(|outgoing| self.message(outgoing, now)).collect();
        let answers = self.send(messages.iter().flatten()).await;
        if self.refuses.load(Ordering::Relaxed) && !answers.is_empty() && answers.iter().all(Result::is_ok) {
            self.refuses.store(false, Ordering::Relaxed);
            self.status.publishing();
        }
        let mut answers = answers.into_iter();
        let each = messages.into_iter().map(|message| {
            message?;
            answers.next().unwrap_or(Err(PublishError::Unknown))
        });
        each.collect()
    }

    /// What `outgoing` is on Redis.
    fn message(&self, outgoing: Outgoing, now: SystemTime) -> Result<Message, PublishError> {
        let name = self.keys.channel(&outgoing.channel);
        let once = outgoing.once.as_ref();
        let once = once.map(|key| self.keys.once(&outgoing.channel, once::hash(key)));
        let payload = if !self.keys.is_bare(&outgoing.channel) {
            self.seal(outgoing.kind.into(), now, outgoing.attributes, &outgoing.data)
        } else if outgoing.kind == PublicationKind::Publication {
            outgoing.data
        } else {
            let reason = "a bare channel has no joins and leaves".to_owned();
            return Err(PublishError::Refused { reason });
        };
        Ok(Message { name, payload, once })
    }

    /// Tells nodes `message`.
    pub(crate) async fn tell(&self, to: Addressee, message: &[u8]) -> Result<(), PublishError> {
        let name = match to {
            Addressee::Everyone => self.keys.nodes(),
            Addressee::Node(node) => self.keys.node(node),
        };
        let payload = self.seal(Kind::Told, SystemTime::now(), None, message);
        self.send_one(name, payload).await
    }

    /// Publishes the loop-back `number`; whether Redis took it.
    pub(crate) async fn loop_back(&self, number: u64) -> bool {
        let payload = self.seal(Kind::LoopBack, SystemTime::now(), None, &number.to_be_bytes());
        self.send_one(self.keys.node(self.node), payload).await == Ok(())
    }

    fn seal(&self, kind: Kind, published_at: SystemTime, attributes: Option<Box<Attributes>>, payload: &[u8]) -> Bytes {
        let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
        Envelope {
            kind,
            position: None,
            id,
            origin: self.node,
            published_at,
            attributes,
            payload,
        }
        .encode()
    }

    async fn send_one(&self, name: String, payload: Bytes) -> Result<(), PublishError> {
        let once = None;
        let answers = self.send([&Message { name, payload, once }].into_iter()).await;
        answers.into_iter().next().unwrap_or(Err(PublishError::Unknown))
    }

    async fn send(&self, messages: impl Iterator<Item = &Message>) -> Vec<Result<(), PublishError>> {
        let mut batch = Batch::default();
        for Message { name, payload, once } in messages {
            match once {
                None => batch.command("PUBLISH"),
                Some(once) => batch
                    .run(&ONCE, &[once])
                    .arg(u64::try_from(once::WINDOW.as_millis()).unwrap_or(u64::MAX)),
            }
            .arg(name)
            .arg(&payload[..]);
        }
        let count = batch.len();
        match self.ask(&batch.pipeline).await {
            Ok(answers) => answers.into_iter().map(|it| self.answer(it)).collect(),
            Err(PublishError::Refused { reason }) => vec![self.refusal(&reason); count],
            Err(error) => vec![Err(error); count],
        }
    }

    /// Sends `pipeline` and gives its answers, one for each command. What is asked here and what is published is carried out in the order in
    /// which it was first polled.
    pub(crate) async fn ask(&self, pipeline: &Pipeline) -> Result<Vec<Value>, PublishError> {
        let count = pipeline.len();
        if count == 0 {
            return Ok(Vec::new());
        }
        let (Some(mut connection), number) = self.line.get() else {
            return Err(PublishError::Unavailable);
        };
        let answers = timeout(self.patience, connection.send_packed_commands(pipeline, 0, count)).await;
        match answers {
            Ok(Ok(answers)) if answers.len() == count => Ok(answers),
            Ok(Err(error)) if !is_broken(&error) => Err(PublishError::Refused {
                reason: error_words(&error),
            }),
            _ => {
                self.line.condemn(number, Trouble::NoAnswer(self.patience));
                Err(PublishError::Unknown)
            }
        }
    }

    fn answer(&self, answer: Value) -> Result<(), PublishError> {
        match answer {
            Value::ServerError(refusal) => self.refusal(&told(refusal.code(), refusal.details())),
            _ => Ok(()),
        }
    }

    fn refusal(&self, reason: &str) -> Result<(), PublishError> {
        self.refuses.store(true, Ordering::Relaxed);
        self.status.publication_refused(reason);
        Err(PublishError::Refused {
            reason: reason.to_owned(),
        })
    }
}

impl Line {
    fn get(&self) -> (Option<MultiplexedConnection>, u64) {
        let current = self.lock();
        (current.connection.clone(), current.number)
    }

    fn set(&self, connection: Option<MultiplexedConnection>) {
        let mut current = self.lock();
        current.number += 1;
        current.connection = connection;
        current.verdict = None;
    }

    /// Waits until the current connection is condemned, and says why.
    async fn until_condemned(&self) -> Trouble {
        loop {
            if let Some(verdict) = self.lock().verdict.take() {
                return verdict;
            }
            self.condemned.notified().await;
        }
    }

    /// The connection `number` is of no use any more, if it is still the current one.
    fn condemn(&self, number: u64, verdict: Trouble) {
        let mut current = self.lock();
        if current.number == number && current.connection.take().is_some() {
            current.verdict = Some(verdict);
            self.condemned.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_broken(error: &RedisError) -> bool {
    error.is_io_error() || error.is_timeout() || error.is_unrecoverable_error()
}
