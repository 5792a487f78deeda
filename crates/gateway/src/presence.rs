//! Who comes and goes: first kept where all processes see it, then told to those who want to hear of it.
//!
//! Decides nothing: whether a client is counted and whether it is announced stands in its [`Attendance`]. Invariant: who hears that somebody
//! has come finds it among the members, unless Redis was away.

use bus::presence::Change;
use bus::{Bus, Outgoing};
use protocol::{Channel, ClientInfo};

use crate::ask::{Ask, Attendance};
use crate::channel_rules::ChannelRules;

/// Keeps and tells who came and who left, in that order.
pub(crate) async fn attend(bus: &dyn Bus, attendance: Vec<Attendance>) {
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
