//! Between the bus and the lanes: two tasks on the node's own thread.
//!
//! [`deliver`] hands what the bus hears to every lane that has subscribers; [`serve`] does what the lanes ask for. Decides nothing about a
//! publication. Invariant: one task each, so the order in which the bus hears, and in which a lane reads, is kept.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bus::{Bus, BusEvent, Events, Incoming, Outgoing, PublishError};
use bytes::Bytes;
use protocol::event::Answer;
use protocol::{Attributes, CommandError, Publication, PublicationKind};

use crate::ask::{Ask, Asker, Attendance};
use crate::cluster::Cluster;
use crate::inbox::Item;
use crate::interest::{Interest, Interests};
use crate::lane::Lane;
use crate::metrics::Metrics;
use crate::outbound::Outbound;
use crate::rest::Work;

/// So many events of the bus are handled before the lanes are woken.
const BATCH: usize = 512;

/// A subscription that Redis has not confirmed for so long is refused; client libraries wait 5 s for an answer.
const CONFIRMATION: Duration = Duration::from_secs(3);
/// How often it is looked for such subscriptions.
const IMPATIENCE: Duration = Duration::from_millis(500);

/// Delivers until the bus is closed.
pub(crate) async fn deliver(
    mut events: Events,
    interests: Arc<Interests>,
    lanes: Vec<Lane>,
    cluster: Arc<Cluster>,
    metrics: Arc<Metrics>,
    work: Arc<Work>,
) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut by_lane: Vec<Vec<Arc<Publication>>> = vec![Vec::new(); lanes.len()];
    let mut impatience = tokio::time::interval(IMPATIENCE);
    loop {
        tokio::select! {
            received = events.recv_many(&mut batch, BATCH) => if received == 0 { return },
            _ = impatience.tick() => give_up(&interests, &lanes),
        }
        work.did(batch.len());
        let (now, came) = (SystemTime::now(), Instant::now());
        for event in batch.drain(..) {
            match event {
                BusEvent::Publication(incoming) => {
                    if let Some(age) = incoming.published_at.and_then(|at| now.duration_since(at).ok()) {
                        metrics.delivery_latency.observe(age.as_secs_f64());
                    }
                    sort(incoming, &interests, &mut by_lane);
                }
                BusEvent::Subscribed { channel, generation } => {
                    // What came before was not for those who join now.
                    hand_over(&lanes, &mut by_lane, came);
                    for (asker, interest) in interests.confirm(&channel, generation) {
                        tell_subscribed(&lanes, asker, interest);
                    }
                }
                BusEvent::Told { from, message } => cluster.hear(from, &message),
                BusEvent::Vanished { .. } => {}
                BusEvent::LinkLost => interests.lose(),
            }
        }
        hand_over(&lanes, &mut by_lane, came);
    }
}

fn hand_over(lanes: &[Lane], by_lane: &mut [Vec<Arc<Publication>>], came: Instant) {
    for (lane, publications) in lanes.iter().zip(by_lane) {
        lane.inbox.publish(publications, came);
    }
}

/// Refuses subscriptions that have waited too long.
fn give_up(interests: &Interests, lanes: &[Lane]) {
    let Some(before) = Instant::now().checked_sub(CONFIRMATION) else {
        return;
    };
    for asker in interests.give_up(before) {
        tell(lanes, asker, Err(CommandError::Internal));
    }
}

fn tell_subscribed(lanes: &[Lane], asker: Asker, interest: Interest) {
    lanes[asker.lane]
        .inbox
        .push(Item::Subscribed(Box::new((asker, interest))));
}

fn tell(lanes: &[Lane], asker: Asker, result: Result<Answer, CommandError>) {
    lanes[asker.lane].inbox.push(Item::Answer(Box::new((asker, result))));
}

fn sort(incoming: Incoming, interests: &Interests, by_lane: &mut [Vec<Arc<Publication>>]) {
    let mut publication = Publication::new(incoming.channel, incoming.data);
    publication.kind = incoming.kind;
    publication.kind = incoming.kind;
    publication.attributes = incoming.attributes;
    let publication = Arc::new(publication);
    for lane in interests.listening().lanes(&publication.channel) {
        by_lane[lane].push(Arc::clone(&publication));
    }
}

/// Does what the lanes ask for, batch after batch, for ever.
pub(crate) async fn serve(
    bus: Arc<dyn Bus>,
    interests: Arc<Interests>,
    outbound: Arc<Outbound>,
    lanes: Vec<Lane>,
    metrics: Arc<Metrics>,
    work: Arc<Work>,
) {
    loop {
        let asks = outbound.take(&lanes).await;
        work.did(asks.len());
        let began = Instant::now();
        let (mut batch, mut askers) = (Vec::with_capacity(asks.len()), Vec::with_capacity(asks.len()));
        let mut attendance = Vec::new();
        for ask in asks {
            match ask {
                Ask::Publish { outgoing, from } => {
                    batch.push(outgoing);
                    askers.push(from);
                }
                Ask::Subscribe { channel, window, from } => {
                    if let Some(interest) = interests.ask(&channel, window, from, began) {
                        tell_subscribed(&lanes, from, interest);
                    }
                }
                Ask::Attend(change) => attendance.push(change),
                Ask::Read { from, .. } => tell(&lanes, from, Err(CommandError::NotAvailable)),
            }
        }
        // Those who come to a channel hear of themselves: their own subscription was asked for before.
        announce(&*bus, attendance).await;
        if batch.is_empty() {
            continue;
        }
        let results = bus.publish(batch).await;
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
                let answer = result.map(|()| Answer::Published).map_err(|_| CommandError::Internal);
                tell(&lanes, asker, answer);
            }
        }
    }
}

/// Tells the subscribers of the channels who came and who left.
async fn announce(bus: &dyn Bus, attendance: Vec<Attendance>) {
    let announced = attendance.into_iter().filter(|change| change.is_announced);
    let batch: Vec<Outgoing> = announced
        .map(|change| {
            let mut outgoing = Outgoing::new(change.channel, Bytes::new());
            outgoing.kind = match change.comes {
                true => PublicationKind::Join,
                false => PublicationKind::Leave,
            };
            outgoing.attributes = Some(Box::new(Attributes {
                publisher: Some(*change.client),
                ..Attributes::default()
            }));
            outgoing
        })
        .collect();
    if !batch.is_empty() {
        // Nobody waits for it; what the bus does not take, subscribers miss.
        bus.publish(batch).await;
    }
}

fn label(error: &PublishError) -> &'static str {
    match error {
        PublishError::Unavailable => "unavailable",
        PublishError::Unknown => "unknown",
        PublishError::Refused { .. } => "refused",
    }
}
