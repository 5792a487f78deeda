//! The nodes together: what one asks all others to do, or to tell.
//!
//! An order reaches every connection that it is for, on whichever node; a survey asks every node that lives and says which did not answer in
//! time. Knows the bus and who is connected here, and neither sockets nor HTTP. Invariant: whoever asks is a node too, and is told by the
//! same road as the others.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bus::{Addressee, Bus, PublishError, StoreError};
use bytes::Bytes;
use globset::GlobMatcher;
use parking_lot::Mutex;
use protocol::frame::Message as Frame;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::client::Order;
use crate::lane::Lane;
use crate::lane::directory::Directory;
use crate::lane::hub::Counts;
use crate::lane::inbox::Item;
use crate::token::revocation::{Revocation, Revocations};

mod keeper;
mod message;
mod process;

use keeper::Keeper;
pub(crate) use keeper::RevokeError;
use message::Message;
pub(crate) use message::{NodeReport, Question, Reply, Whom};
use process::Process;

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// This node among the others.
pub(crate) struct Cluster {
    bus: Arc<dyn Bus>,
    directory: Arc<Directory>,
    lanes: Vec<Lane>,
    keeper: Arc<Keeper>,
    name: String,
    started: std::time::Instant,
    process: Process,
    /// Who waits for answers, by the number of the survey.
    surveys: Mutex<HashMap<u64, mpsc::UnboundedSender<(Uuid, Reply)>>>,
    next: AtomicU64,
}

/// Why another node was not reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    #[error("it is not known which nodes there are")]
    Nodes(#[from] StoreError),
    #[error("it was not told")]
    Tell(#[from] PublishError),
}

/// What came of a survey.
#[derive(Debug)]
pub(crate) struct Survey {
    /// Who answered what.
    pub(crate) replies: BTreeMap<Uuid, Reply>,
    /// A node did not answer in time, or it could not be learnt which there are.
    pub(crate) is_partial: bool,
}

/// A survey that waits for answers, until this is dropped: whoever asks may give up.
struct Pending<'a> {
    of: &'a Cluster,
    number: u64,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.of.surveys.lock().remove(&self.number);
    }
}

impl Cluster {
    pub(crate) fn new(
        bus: Arc<dyn Bus>,
        directory: Arc<Directory>,
        lanes: Vec<Lane>,
        name: String,
        revocations: Arc<Revocations>,
    ) -> Self {
        let keeper = Keeper::new(Arc::clone(&bus), Arc::clone(&directory), lanes.clone(), revocations);
        Self {
            keeper: Arc::new(keeper),
            bus,
            directory,
            lanes,
            name,
            started: std::time::Instant::now(),
            process: Process::new(),
            surveys: Mutex::default(),
            next: AtomicU64::new(1),
        }
    }

    /// Who is connected to this node.
    pub(crate) fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Has every connection of `whom` obey, on all nodes. Returns when the bus has taken it.
    pub(crate) async fn order(&self, whom: Whom, order: Order) -> Result<(), PublishError> {
        let message = Message::order(whom, order).encode();
        self.bus.tell(Addressee::Everyone, message).await
    }

    /// Passes commands on to the connection that `session` names, on `node`. Whether there is such a node.
    pub(crate) async fn pass_commands(&self, node: Uuid, session: Uuid, message: Frame) -> Result<bool, ClusterError> {
        if node == self.bus.node() {
            self.pass_on_commands(session, message);
            return Ok(true);
        }
        if !self.bus.presence().nodes().await?.contains(&node) {
            return Ok(false);
        }
        let message = Message::commands(session, message).encode();
        self.bus.tell(Addressee::Node(node), message).await?;
        Ok(true)
    }

    fn pass_on_commands(&self, session: Uuid, message: Frame) {
        if let Some((_, place)) = self.directory.find_secret(session) {
            let commands = Item::Commands(Box::new((place.connection, message)));
            self.lanes[place.lane].inbox.push(commands);
        }
    }

    /// What this node does about revocations.
    pub(crate) fn keeper(&self) -> &Arc<Keeper> {
        &self.keeper
    }

    /// Has no node believe the tokens that `revocation` is about, and has everybody go who is connected with one. Returns when the bus has
    /// taken it.
    pub(crate) async fn revoke(&self, revocation: Revocation) -> Result<(), RevokeError> {
        if self.keeper.note(&revocation).await? {
            let message = Message::Revoke(revocation).encode();
            self.bus.tell(Addressee::Everyone, message).await?;
        }
        Ok(())
    }

    /// Asks every node.
    pub(crate) async fn survey(&self, question: Question) -> Result<Survey, PublishError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // Bounded by the nodes: each answers once.
        let (sender, mut answers) = mpsc::unbounded_channel();
        self.surveys.lock().insert(number, sender);
        let _pending = Pending { of: self, number };
        self.collect(number, question, &mut answers).await
    }

    async fn collect(
        &self,
        number: u64,
        question: Question,
        answers: &mut mpsc::UnboundedReceiver<(Uuid, Reply)>,
    ) -> Result<Survey, PublishError> {
        let deadline = Instant::now() + PATIENCE;
        // Before they are asked: who comes in between answers for nothing.
        let nodes = self.bus.presence().nodes().await;
        let message = Message::Ask { number, question }.encode();
        self.bus.tell(Addressee::Everyone, message).await?;
        let mut survey = Survey {
            replies: BTreeMap::new(),
            is_partial: nodes.is_err(),
        };
        let mut missing: Vec<Uuid> = nodes.unwrap_or_default();
        if !missing.contains(&self.bus.node()) {
            missing.push(self.bus.node());
        }
        while !missing.is_empty() {
            let Ok(Some((node, reply))) = timeout_at(deadline, answers.recv()).await else {
                survey.is_partial = true;
                break;
            };
            missing.retain(|missing| *missing != node);
            survey.replies.insert(node, reply);
        }
        Ok(survey)
    }

    /// Another node, or this one, has told us something.
    pub(crate) fn hear(self: &Arc<Self>, from: Uuid, message: &Bytes) {
        match Message::decode(message) {
            Ok(Message::Order { whom, order }) => match order.try_into() {
                Ok(order) => self.pass_on(&whom, &order),
                Err(error) => tracing::debug!(%error, "an order that cannot be carried out"),
            },
            Ok(Message::Commands { session, data }) => match Frame::try_from(data) {
                Ok(message) => self.pass_on_commands(session, message),
                Err(error) => tracing::debug!(%error, "commands that cannot be read"),
            },
            Ok(Message::Revoke(revocation)) => self.keeper.enforce(&revocation),
            Ok(Message::Ask { number, question }) => {
                let cluster = Arc::clone(self);
                tokio::spawn(async move { cluster.answer(from, number, question).await });
            }
            Ok(Message::Answer { number, reply }) => {
                if let Some(waiting) = self.surveys.lock().get(&number) {
                    // Whoever asked may have given up.
                    let _ = waiting.send((from, reply));
                }
            }
            // Another release may say more than this one knows.
            Err(error) => tracing::debug!(%error, "a node said something that cannot be read"),
        }
    }

    fn pass_on(&self, whom: &Whom, order: &Order) {
        let found = match whom.session {
            None => self.directory.find(&whom.user, whom.client),
            Some(session) => {
                let client = self.directory.find_secret(session).map(|(client, _)| client);
                let is_meant = |client: &Uuid| whom.client.is_none_or(|wanted| wanted == *client);
                match client.filter(is_meant) {
                    Some(client) => self.directory.find(&whom.user, Some(client)),
                    None => Vec::new(),
                }
            }
        };
        for (client, place) in found {
            if !whom.except.contains(&client) {
                let order = Item::Order(Box::new((place.connection, order.clone())));
                self.lanes[place.lane].inbox.push(order);
            }
        }
    }

    async fn answer(&self, to: Uuid, number: u64, question: Question) {
        let reply = match question {
            Question::Channels { pattern } => {
                let matcher = match pattern.as_deref().map(globset::Glob::new).transpose() {
                    Ok(glob) => glob.map(|glob| glob.compile_matcher()),
                    Err(_) => return,
                };
                let mut sum = BTreeMap::new();
                for (channel, count) in self.count(matcher).await {
                    *sum.entry(channel.to_string()).or_default() += count as u64;
                }
                Reply::Channels(sum)
            }
            Question::Node => Reply::Node(self.report()),
        };
        let message = Message::Answer { number, reply }.encode();
        if let Err(error) = self.bus.tell(Addressee::Node(to), message).await {
            tracing::debug!(%error, "a survey was not answered");
        }
    }

    /// How many subscribers the channels that match have, lane by lane.
    async fn count(&self, matcher: Option<GlobMatcher>) -> Counts {
        // Bounded by the lanes: each answers once.
        let (sender, mut counts) = mpsc::unbounded_channel();
        let matcher = matcher.map(Arc::new);
        for lane in &self.lanes {
            lane.inbox
                .push(Item::Count(Box::new((matcher.clone(), sender.clone()))));
        }
        drop(sender);
        let mut all = Counts::new();
        while let Some(counted) = counts.recv().await {
            all.extend(counted);
        }
        all
    }

    fn report(&self) -> NodeReport {
        let sum = |of: fn(&Lane) -> u64| self.lanes.iter().map(of).sum::<u64>();
        let (clients, users) = self.directory.size();
        NodeReport {
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            uptime: self.started.elapsed().as_secs(),
            clients: clients as u64,
            users: users as u64,
            channels: sum(|lane| lane.stats.channels.get()),
            subscriptions: sum(|lane| lane.stats.subscriptions.get()),
            process: self.process.report(),
        }
    }
}
