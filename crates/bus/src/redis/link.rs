//! The subscribing connection: connects, logs in, and starts again when a [`Session`] has ended.
//!
//! One task, one connection at a time. Invariant: after an established link is lost, the listener hears `LinkLost`, once, before anything
//! of the next one.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::backoff::Backoff;
use super::connect::{Connector, Stream};
use super::keys::Keys;
use super::publish::Publisher;
use super::resp::{Reader, Reply, Value};
use super::session::Session;
use super::status::Status;
use super::trouble::{CLIENT, Trouble, is_command_forbidden, words};
use super::wire::command;
use super::wishes::{Wanted, Wishes};
use crate::BusEvent;
use crate::queue::Queue;

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
        match trouble {
            _ if session.canary.has_heard() => backoff.reset(),
            // Both connections may be well and lead to two servers, if Redis moved while the old one lives on.
            Trouble::Deaf | Trouble::Silent(_) => self.publisher.reconnect(),
            _ => {}
        }
        session.events.push_back(BusEvent::LinkLost);
        self.queue.push(&mut session.events).await;
        trouble
    }

    /// Connects, logs in, and subscribes to what is for this node, so that it hears that before anything else.
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
        command(&mut out, "PING", [].into_iter());
        for own in self.own_names() {
            command(&mut out, "SUBSCRIBE", [own.as_str()].into_iter());
        }
        // A Redis that takes no more clients says so and hangs up, perhaps before anything is written; its words can still be read.
        let _ = writer.write_all(&out).await;
        let _ = writer.flush().await;
        if logs_in {
            accepted("the login", next(reader, replies).await?)?;
        }
        // The name is only a help for whoever looks at Redis, so it may be forbidden; all else is said to this client, whatever it asks.
        let named = next(reader, replies).await?;
        accepted(CLIENT, named.filter(|reason| !is_command_forbidden(reason)))?;
        accepted("PING", next(reader, replies).await?)?;
        accepted(
            "the subscription of the node's own channel",
            next(reader, replies).await?,
        )?;
        accepted(
            "the subscription of the channel of all nodes",
            next(reader, replies).await?,
        )
    }

    /// Where this node is spoken to: alone, and with all others.
    pub(crate) fn own_names(&self) -> [String; 2] {
        [self.keys.node(self.node), self.keys.nodes()]
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
