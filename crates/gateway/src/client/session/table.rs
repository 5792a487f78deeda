//! The channels of one client, in the order of their names.
//!
//! Most clients have few, and there are many clients: so it is a vector that is exactly as long as it has to be at first, and not a hash
//! table, which would take three times as much for one channel. A channel is found by halving. Invariant: names ascend, each is there once.

use protocol::Channel;

use super::subscription::Subscription;

#[derive(Default)]
pub(super) struct Table(Vec<(Channel, Subscription)>);

impl Table {
    pub(super) fn get(&self, channel: &Channel) -> Option<&Subscription> {
        let at = self.find(channel).ok()?;
        self.0.get(at).map(|(_, subscription)| subscription)
    }

    pub(super) fn get_mut(&mut self, channel: &Channel) -> Option<&mut Subscription> {
        let at = self.find(channel).ok()?;
        self.0.get_mut(at).map(|(_, subscription)| subscription)
    }

    pub(super) fn has(&self, channel: &Channel) -> bool {
        self.find(channel).is_ok()
    }

    /// Adds a channel, or replaces what is known of it.
    pub(super) fn insert(&mut self, channel: Channel, subscription: Subscription) {
        match self.find(&channel) {
            Ok(at) => self.0[at].1 = subscription,
            Err(at) => {
                if self.0.len() == self.0.capacity() {
                    self.0.reserve_exact(self.0.len().max(1));
                }
                self.0.insert(at, (channel, subscription));
            }
        }
    }

    pub(super) fn remove(&mut self, channel: &Channel) -> Option<(Channel, Subscription)> {
        let at = self.find(channel).ok()?;
        Some(self.0.remove(at))
    }

    pub(super) fn retain(&mut self, mut keeps: impl FnMut(&Subscription) -> bool) {
        self.0.retain(|(_, subscription)| keeps(subscription));
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = (Channel, Subscription)> + use<> {
        std::mem::take(&mut self.0).into_iter()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Channel> {
        self.0.iter().map(|(channel, _)| channel)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Channel, &Subscription)> + Clone {
        self.0.iter().map(|(channel, subscription)| (channel, subscription))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&Channel, &mut Subscription)> {
        self.0
            .iter_mut()
            .map(|(channel, subscription)| (&*channel, subscription))
    }

    /// Where a channel is, or where it would be.
    fn find(&self, channel: &Channel) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.cmp(channel))
    }
}

#[cfg(test)]
mod tests {
    use super::super::subscription::{Source, Why, Wish};
    use super::*;

    fn channel(name: &str) -> Channel {
        Channel::parse(name).expect("a name")
    }

    fn of(source: Source) -> Subscription {
        Subscription::new(source, None, Wish::new(Why::Order, false))
    }

    #[test]
    fn channels_are_found_and_stand_in_order() {
        let mut table = Table::default();
        for name in ["m", "c", "x", "a", "d"] {
            table.insert(channel(name), of(Source::Rule));
        }
        table.insert(channel("c"), of(Source::Server));
        assert_eq!(table.len(), 5);
        assert_eq!(table.get(&channel("c")).map(|it| it.source), Some(Source::Server));
        assert!(table.has(&channel("x")) && !table.has(&channel("b")));
        assert_eq!(table.remove(&channel("d")).map(|(name, _)| name), Some(channel("d")));
        assert!(table.remove(&channel("d")).is_none());
        let names: Vec<&str> = table.names().map(Channel::as_str).collect();
        assert_eq!(names, ["a", "c", "m", "x"]);
        table.retain(|it| it.source == Source::Server);
        assert_eq!(table.iter().count(), 1);
    }

    #[test]
    fn one_channel_takes_the_room_of_one() {
        let mut table = Table::default();
        table.insert(channel("a"), of(Source::Rule));
        assert_eq!(table.0.capacity(), 1);
    }
}
