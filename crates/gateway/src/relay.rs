//! Between the bus and the lanes: two tasks on the node's own thread.
//!
//! [`deliver`] hands what the bus hears to every lane that has subscribers; [`publish`] hands what the lanes read to the bus. Decides
//! nothing about a publication. Invariant: one task each, so the order in which the bus hears, and in which a lane reads, is kept.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bus::{Bus, BusEvent, Events, Incoming, PublishError};
use protocol::Publication;

use crate::interest::Interests;
use crate::lane::Lane;
use crate::metrics::Metrics;
use crate::outbound::Outbound;
use crate::rest::Work;

/// So many events of the bus are handled before the lanes are woken.
const BATCH: usize = 512;

/// Delivers until the bus is closed.
pub(crate) async fn deliver(
    mut events: Events,
    interests: Arc<Interests>,
    lanes: Vec<Lane>,
    metrics: Arc<Metrics>,
    work: Arc<Work>,
) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut by_lane: Vec<Vec<Arc<Publication>>> = vec![Vec::new(); lanes.len()];
    while events.recv_many(&mut batch, BATCH).await > 0 {
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
                BusEvent::Subscribed { channel, generation } => interests.confirm(&channel, generation),
                BusEvent::LinkLost => interests.lose(),
            }
        }
        for (lane, publications) in lanes.iter().zip(&mut by_lane) {
            lane.inbox.publish(publications, came);
        }
    }
}

fn sort(incoming: Incoming, interests: &Interests, by_lane: &mut [Vec<Arc<Publication>>]) {
    let Incoming { channel, data, .. } = incoming;
    let publication = Arc::new(Publication::new(channel, data));
    for lane in interests.listening().lanes(&publication.channel) {
        by_lane[lane].push(Arc::clone(&publication));
    }
}

/// Publishes what the lanes read, batch after batch, for ever.
pub(crate) async fn publish(
    bus: Arc<dyn Bus>,
    outbound: Arc<Outbound>,
    lanes: Vec<Lane>,
    metrics: Arc<Metrics>,
    work: Arc<Work>,
) {
    loop {
        let batch = outbound.take(&lanes).await;
        work.did(batch.len());
        let began = Instant::now();
        let results = bus.publish(batch).await;
        metrics.bus_publish_duration.observe(began.elapsed().as_secs_f64());
        for result in results {
            match result {
                Ok(()) => metrics.published.inc(),
                Err(error) => {
                    tracing::debug!(%error, "a publication was dropped");
                    metrics.publish_errors.with_label_values(&[label(&error)]).inc();
                }
            }
        }
    }
}

fn label(error: &PublishError) -> &'static str {
    match error {
        PublishError::Unavailable => "unavailable",
        PublishError::Unknown => "unknown",
        PublishError::Refused { .. } => "refused",
    }
}
