//! Who comes and goes: first kept where all processes see it, then told to those who want to hear of it.
//!
//! Decides nothing: whether a client is counted and whether it is announced stands in its [`Attendance`]. Invariant: who hears that somebody
//! has come finds it among the members, unless Redis was away.

use std::sync::Arc;

use bus::presence::Change;
use bus::{Bus, Outgoing};
use protocol::{Channel, ClientInfo};
use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;

use crate::channel_rules::ChannelRules;
use crate::lane::ask::{Ask, Asker, Attendance, Reading};
use crate::node::Node;
use crate::node::errands::Errands;

/// So much waits at most for the task `attend`; whoever brings more waits too.
pub(crate) const QUEUE: usize = 16_384;
/// So many changes are kept at once.
const BATCH: usize = 512;

/// Something about who is where, in the order in which it was asked for.
#[derive(Debug)]
pub(crate) enum Attend {
    /// A client comes or leaves.
    Change(Attendance),
    /// Look who is in a channel, and answer `from`.
    Read {
        channel: Channel,
        what: Reading,
        from: Asker,
    },
    /// Say so when everything before is done.
    Settle(oneshot::Sender<()>),
}

/// The task `attend`: keeps and tells who comes and leaves, and looks who is where behind that, so that who asks finds itself. Apart from the
/// publications, which do not wait for it.
pub(crate) async fn attend(node: Arc<Node>, mut queue: Receiver<Attend>) {
    let mut errands = Errands::new(&node);
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            received = queue.recv_many(&mut batch, BATCH) => if received == 0 { return },
            () = errands.ended() => continue,
        }
        let (mut changes, mut reads, mut settled) = (Vec::new(), Vec::new(), Vec::new());
        for attend in batch.drain(..) {
            match attend {
                Attend::Change(change) => changes.push(change),
                Attend::Read { channel, what, from } => reads.push((channel, what, from)),
                Attend::Settle(done) => settled.push(done),
            }
        }
        keep(&*node.bus, changes).await;
        for (channel, what, from) in reads {
            errands.read(channel, what, from);
        }
        for done in settled {
            // Whoever asked may have lost patience.
            let _ = done.send(());
        }
    }
}

/// Keeps who came and who left, and then tells it.
async fn keep(bus: &dyn Bus, attendance: Vec<Attendance>) {
    let counted = attendance.iter().filter(|change| change.is_present);
    let changes: Vec<Change> = counted.map(change).collect();
    if !changes.is_empty()
        && let Err(error) = bus.presence().change(changes).await
    {
        // The bus makes up for it.
        tracing::debug!(%error, "presence is not seen by all processes yet");
    }
    let announced = attendance.into_iter().filter(|change| change.is_announced);
    let told: Vec<Outgoing> = announced.map(told).collect();
    if !told.is_empty() {
        // Nobody waits for it; what the bus does not take, subscribers miss.
        bus.publish(told).await;
    }
}

fn told(attendance: Attendance) -> Outgoing {
    let Attendance {
        channel, client, comes, ..
    } = attendance;
    match comes {
        true => Outgoing::join(channel, *client),
        false => Outgoing::leave(channel, *client),
    }
}

/// What is to be told of the members that a process had which is gone.
pub(crate) fn leaves(rules: &ChannelRules, channel: &Channel, members: Vec<ClientInfo>) -> Vec<Ask> {
    let is_announced = rules.right(channel).is_some_and(|right| right.rule().join_leave);
    let members = members.into_iter().filter(|_| is_announced);
    members
        .map(|client| {
            Ask::Attend(Attendance {
                channel: channel.clone(),
                client: Box::new(client),
                comes: false,
                // Whoever says so has taken it out already.
                is_present: false,
                is_announced,
            })
        })
        .collect()
}

fn change(attendance: &Attendance) -> Change {
    let channel = attendance.channel.clone();
    match attendance.comes {
        true => Change::Enter {
            channel,
            client: (*attendance.client).clone(),
        },
        false => Change::Leave {
            channel,
            client: attendance.client.client.clone(),
        },
    }
}
