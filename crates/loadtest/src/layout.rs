//! Who is in which channel, and who publishes there.
//!
//! A connection is an index, counted from 0 in the order of opening; connections are dealt to the servers in turn.

use std::ops::Range;

/// The connections of a run.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// For each connection, its channel.
    channel_of: Vec<usize>,
    /// For each channel, how many of its connections read.
    sizes: Vec<usize>,
    /// Who publishes, in the order in which they take turns.
    senders: Vec<usize>,
    /// For each connection, its place among the senders of its channel.
    slot_of: Vec<Option<usize>>,
    /// For each channel, how many publish there.
    slots: Vec<usize>,
    /// For each connection, where its streams begin: it has one for each sender of its channel.
    streams_of: Vec<usize>,
    /// Who stops reading after the handshake.
    stalled: Range<usize>,
}

impl Layout {
    /// One channel; the first `publishers` of its connections publish.
    pub(crate) fn one_channel(connections: usize, publishers: usize) -> Self {
        Self::build(vec![0; connections], 1, (0..publishers.min(connections)).collect())
    }

    /// A channel for each connection; nobody publishes.
    pub(crate) fn own_channels(connections: usize) -> Self {
        Self::build((0..connections).collect(), connections, Vec::new())
    }

    /// `channels` channels of neighbours, as even as can be; everybody publishes, one channel after another.
    pub(crate) fn rooms(connections: usize, channels: usize) -> Self {
        let channel_of: Vec<usize> = (0..connections).map(|index| index * channels / connections).collect();
        let mut senders: Vec<(usize, usize)> = Vec::with_capacity(connections);
        let mut seen = vec![0; channels];
        for (index, channel) in channel_of.iter().enumerate() {
            senders.push((seen[*channel], index));
            seen[*channel] += 1;
        }
        senders.sort_unstable();
        Self::build(
            channel_of,
            channels,
            senders.into_iter().map(|(_, index)| index).collect(),
        )
    }

    fn build(channel_of: Vec<usize>, channels: usize, senders: Vec<usize>) -> Self {
        let mut slots = vec![0; channels];
        let mut slot_of = vec![None; channel_of.len()];
        for sender in &senders {
            let next = &mut slots[channel_of[*sender]];
            slot_of[*sender] = Some(*next);
            *next += 1;
        }
        let mut sizes = vec![0; channels];
        let mut streams_of = Vec::with_capacity(channel_of.len());
        let mut streams = 0;
        for channel in &channel_of {
            sizes[*channel] += 1;
            streams_of.push(streams);
            streams += slots[*channel];
        }
        Self {
            channel_of,
            sizes,
            senders,
            slot_of,
            slots,
            streams_of,
            stalled: 0..0,
        }
    }

    /// The last `count` connections stop reading: nothing is expected to reach them.
    #[must_use]
    pub(crate) fn with_stalled(mut self, count: usize) -> Self {
        self.stalled = self.connections() - count..self.connections();
        for index in self.stalled.clone() {
            self.sizes[self.channel_of[index]] -= 1;
        }
        self
    }

    /// How many connections there are.
    pub(crate) fn connections(&self) -> usize {
        self.channel_of.len()
    }

    /// How many channels there are.
    pub(crate) fn channels(&self) -> usize {
        self.sizes.len()
    }

    /// Who stops reading after the handshake.
    pub(crate) fn stalled(&self) -> Range<usize> {
        self.stalled.clone()
    }

    /// Who publishes, in the order in which they take turns.
    pub(crate) fn senders(&self) -> &[usize] {
        &self.senders
    }

    /// The channel of a connection.
    pub(crate) fn channel_of(&self, connection: usize) -> usize {
        self.channel_of[connection]
    }

    /// How many connections a publication of `sender` must reach.
    pub(crate) fn audience(&self, sender: usize) -> usize {
        self.sizes[self.channel_of[sender]]
    }

    /// How many streams there are in all: one for each pair of a receiver and a sender of its channel.
    pub(crate) fn streams(&self) -> usize {
        self.channel_of.iter().map(|channel| self.slots[*channel]).sum()
    }

    /// The stream from `sender` to `receiver`; `None` if nothing of that sender may arrive there.
    pub(crate) fn stream(&self, receiver: usize, sender: usize) -> Option<usize> {
        let slot = (*self.slot_of.get(sender)?)?;
        (self.channel_of[sender] == self.channel_of[receiver]).then(|| self.streams_of[receiver] + slot)
    }
}

#[cfg(test)]
mod tests {
    use super::Layout;

    #[track_caller]
    fn check(layout: &Layout, streams: usize, senders: usize) {
        let mut seen = vec![0; layout.streams()];
        for receiver in 0..layout.connections() {
            for sender in 0..layout.connections() {
                if let Some(stream) = layout.stream(receiver, sender) {
                    seen[stream] += 1;
                }
            }
        }
        assert_eq!(seen, vec![1; streams], "every pair has a stream of its own");
        assert_eq!(layout.senders().len(), senders);
    }

    #[test]
    fn pairs() {
        check(&Layout::one_channel(5, 2), 10, 2);
        check(&Layout::one_channel(1, 3), 1, 1);
        check(&Layout::own_channels(4), 0, 0);
        check(&Layout::rooms(12, 3), 3 * 4 * 4, 12);
        check(&Layout::rooms(7, 3), 3 * 3 + 2 * 2 + 2 * 2, 7);
    }

    #[test]
    fn neighbours_share_a_room_and_take_turns_over_the_rooms() {
        let layout = Layout::rooms(6, 3);
        assert_eq!(
            (0..6).map(|index| layout.channel_of(index)).collect::<Vec<_>>(),
            [0, 0, 1, 1, 2, 2]
        );
        assert_eq!(layout.senders(), [0, 2, 4, 1, 3, 5]);
        assert_eq!(layout.audience(4), 2);
        assert_eq!(layout.stream(0, 2), None);
        assert_eq!(layout.stream(0, 99), None);
    }

    #[test]
    fn nothing_is_expected_where_nobody_reads() {
        let layout = Layout::one_channel(5, 2).with_stalled(2);
        assert_eq!((layout.stalled(), layout.audience(0)), (3..5, 3));
    }
}
