//! Between the bus and the lanes: two tasks on the node's own thread.
//!
//! [`Relay::deliver`] hands what the bus hears to every lane that has subscribers; [`Relay::serve`] does what the lanes ask for. Decides
//! nothing about a publication. Invariant: one task each, so the order in which the bus hears, and in which a lane reads, is kept.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bus::{BusEvent, Events, Incoming, Outgoing, PublishError};
use protocol::event::Answer;
use protocol::{CommandError, Publication, PublicationKind};
use tokio::sync::mpsc::Sender;

use crate::lane::ask::{Ask, Asker};
use crate::lane::inbox::Item;
use crate::lane::interest::Interest;
use crate::lane::outbound::Outbound;
use crate::lane::rest::Work;
use crate::node::Node;
use crate::node::errands::Errands;
use crate::node::presence::{self, Attend};

/// So many events of the bus are handled before the lanes are woken.
const BATCH: usize = 512;

/// A subscription that Redis has not confirmed for so long is refused; client libraries wait 5 s for an answer.
const CONFIRMATION: Duration = Duration::from_secs(3);
/// How often it is looked for such subscriptions.
const IMPATIENCE: Duration = Duration::from_millis(500);

/// What both tasks work with.
#[derive(Clone)]
pub(crate) struct Relay {
    pub(crate) node: Arc<Node>,
    pub(crate) outbound: Arc<Outbound>,
    pub(crate) work: Arc<Work>,
}

impl Relay {
    /// Delivers until the bus is closed.
    pub(crate) async fn deliver(self, mut events: Events) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut by_lane: Vec<Vec<Arc<Publication>>> = vec![Vec::new(); self.node.lanes.len()];
        let mut impatience = tokio::time::interval(IMPATIENCE);
        loop {
            tokio::select! {
                received = events.recv_many(&mut batch, BATCH) => if received == 0 { return },
                _ = impatience.tick() => self.give_up(),
            }
            self.work.did(batch.len());
            let (now, came) = (SystemTime::now(), Instant::now());
            for event in batch.drain(..) {
                match event {
                    BusEvent::Publication(incoming) => {
                        if let Some(age) = incoming.published_at.and_then(|at| now.duration_since(at).ok()) {
                            self.node.metrics.delivery_latency.observe(age.as_secs_f64());
                        }
                        self.sort(incoming, &mut by_lane);
                    }
                    BusEvent::Subscribed { channel, generation } => {
                        // What came before was not for those who join now.
                        self.hand_over(&mut by_lane, came);
                        for (asker, interest) in self.node.interests.confirm(&channel, generation) {
                            self.tell_subscribed(asker, interest);
                        }
                    }
                    BusEvent::Told { from, message } => self.node.cluster.hear(from, &message),
                    BusEvent::Vanished { channel, members } => {
                        let mut leaves = presence::leaves(&self.node.rules, &channel, members);
                        self.outbound.push(&mut leaves);
                    }
                    BusEvent::LinkLost => self.node.interests.lose(),
                }
            }
            self.hand_over(&mut by_lane, came);
        }
    }

    /// Does what the lanes ask for, batch after batch, for ever.
    pub(crate) async fn serve(self, attendants: Sender<Attend>) {
        let mut errands = Errands::new(&self.node);
        loop {
            let asks = tokio::select! {
                asks = self.outbound.take(&self.node.lanes) => asks,
                () = errands.ended() => continue,
            };
            self.work.did(asks.len());
            let began = Instant::now();
            let mut publications = Vec::with_capacity(asks.len());
            let mut attends = Vec::new();
            for ask in asks {
                match ask {
                    Ask::Publish { outgoing, from } => publications.push((outgoing, from)),
                    Ask::Subscribe { channel, window, from } => {
                        if let Some(interest) = self.node.interests.ask(&channel, window, from, began) {
                            self.tell_subscribed(from, interest);
                        }
                    }
                    Ask::Consult { call, from } => errands.consult(*call, from),
                    Ask::Settle(done) => attends.push(Attend::Settle(done)),
                    Ask::Attend(change) => attends.push(Attend::Change(change)),
                    Ask::Read { channel, what, from } => attends.push(Attend::Read { channel, what, from }),
                }
            }
            self.publish(publications, began).await;
            for attend in attends {
                // Waits only while presence is far behind. It ends only with the process.
                let _ = attendants.send(attend).await;
            }
        }
    }

    async fn publish(&self, publications: Vec<(Outgoing, Option<Asker>)>, began: Instant) {
        if publications.is_empty() {
            return;
        }
        let metrics = &self.node.metrics;
        let (batch, askers): (Vec<_>, Vec<_>) = publications.into_iter().unzip();
        let results = self.node.bus.publish(batch).await;
        metrics.bus_publish_duration.observe(began.elapsed().as_secs_f64());
        for (result, asker) in results.into_iter().zip(askers) {
            match &result {
                Ok(()) => metrics.published.inc(),
                Err(error) => {
                    tracing::debug!(%error, "a publication was dropped");
                    metrics.publish_errors.with_label_values(&[label(error)]).inc();
                }
            }
            if let Some(asker) = asker {
                self.tell(
                    asker,
                    result.map(|()| Answer::Published).map_err(|_| CommandError::Internal),
                );
            }
        }
    }

    /// Refuses subscriptions that have waited too long.
    fn give_up(&self) {
        let Some(before) = Instant::now().checked_sub(CONFIRMATION) else {
            return;
        };
        for asker in self.node.interests.give_up(before) {
            self.tell(asker, Err(CommandError::Internal));
        }
    }

    fn sort(&self, incoming: Incoming, by_lane: &mut [Vec<Arc<Publication>>]) {
        let mut publication = Publication::new(incoming.channel, incoming.data);
        publication.kind = incoming.kind;
        publication.attributes = incoming.attributes;
        let mut listening = self.node.interests.listening();
        if publication.kind == PublicationKind::Publication && self.node.rules.offers_delta(&publication.channel) {
            publication.previous = listening.succeed(&publication.channel, &publication.data);
        }
        let publication = Arc::new(publication);
        for lane in listening.lanes(&publication.channel) {
            by_lane[lane].push(Arc::clone(&publication));
        }
    }

    fn hand_over(&self, by_lane: &mut [Vec<Arc<Publication>>], came: Instant) {
        for (lane, publications) in self.node.lanes.iter().zip(by_lane) {
            self.work.handed_on(publications.len());
            lane.inbox.publish(publications, came);
        }
    }

    fn tell_subscribed(&self, asker: Asker, interest: Interest) {
        let item = Item::Subscribed(Box::new((asker, interest)));
        self.node.lanes[asker.lane].inbox.push(item);
    }

    fn tell(&self, asker: Asker, result: Result<Answer, CommandError>) {
        let item = Item::Answer(Box::new((asker, result)));
        self.node.lanes[asker.lane].inbox.push(item);
    }
}

fn label(error: &PublishError) -> &'static str {
    match error {
        PublishError::Unavailable => "unavailable",
        PublishError::Unknown => "unknown",
        PublishError::Refused { .. } => "refused",
    }
}
