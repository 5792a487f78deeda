//! What arrived against what must arrive: lost, duplicated, out of order.
//!
//! One stream is what one receiver gets from one sender, numbered from 0. Numbers that were skipped are remembered, so that one that
//! comes late is told from one that comes twice. Knows no socket and no clock.

use std::ops::Range;

/// The account of all streams.
#[derive(Debug)]
pub(crate) struct Ledger {
    streams: Vec<Stream>,
    tally: Tally,
}

/// Counts over all streams.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Numbers that arrived, each counted once.
    pub(crate) delivered: u64,
    /// Arrivals of numbers that had arrived before.
    pub(crate) duplicated: u64,
    /// Numbers that arrived after a later one of the same stream.
    pub(crate) reordered: u64,
}

#[derive(Debug, Default, Clone)]
struct Stream {
    /// One more than the highest number that arrived.
    next: u32,
    /// Lower numbers that did not arrive; ascending, and empty unless something went wrong.
    missing: Vec<Range<u32>>,
}

impl Ledger {
    /// The account of `streams` streams, all of them empty.
    pub(crate) fn new(streams: usize) -> Self {
        Self {
            streams: vec![Stream::default(); streams],
            tally: Tally::default(),
        }
    }

    /// Message `number` of `stream` has arrived.
    pub(crate) fn note(&mut self, stream: usize, number: u32) {
        let stream = &mut self.streams[stream];
        if number >= stream.next {
            if number > stream.next {
                stream.missing.push(stream.next..number);
            }
            stream.next = number.saturating_add(1);
            self.tally.delivered += 1;
        } else if stream.fill(number) {
            self.tally.delivered += 1;
            self.tally.reordered += 1;
        } else {
            self.tally.duplicated += 1;
        }
    }

    /// What arrived so far.
    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }
}

impl Stream {
    /// Takes `number` out of what is missing; false if it was not.
    fn fill(&mut self, number: u32) -> bool {
        let Some(at) = self.missing.iter().position(|range| range.contains(&number)) else {
            return false;
        };
        let range = self.missing.remove(at);
        for part in [number + 1..range.end, range.start..number] {
            if !part.is_empty() {
                self.missing.insert(at, part);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{Ledger, Tally};

    /// One stream that gets `numbers` in this order.
    #[track_caller]
    fn check(numbers: &[u32], delivered: u64, duplicated: u64, reordered: u64) {
        let mut ledger = Ledger::new(1);
        for number in numbers {
            ledger.note(0, *number);
        }
        assert_eq!(
            ledger.tally(),
            Tally {
                delivered,
                duplicated,
                reordered
            },
            "{numbers:?}"
        );
    }

    #[test]
    fn planted_faults_are_found() {
        check(&[0, 1, 2, 3], 4, 0, 0);
        check(&[0, 2, 3], 3, 0, 0); // one lost: the publisher's count shows it
        check(&[0, 1, 1, 2], 3, 1, 0);
        check(&[0, 2, 1, 3], 4, 0, 1);
        check(&[5, 0, 1, 2, 3, 4], 6, 0, 5);
        check(&[3, 1, 1, 0, 2, 2], 4, 2, 3); // a late one that comes twice is late once and double once
        check(&[0, 0, 0], 1, 2, 0);
    }

    #[test]
    fn streams_are_apart() {
        let mut ledger = Ledger::new(2);
        for (stream, number) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
            ledger.note(stream, number);
        }
        assert_eq!(
            ledger.tally(),
            Tally {
                delivered: 4,
                duplicated: 0,
                reordered: 0
            }
        );
    }

    #[test]
    fn agrees_with_counting() {
        // Every order of five numbers: delivered once each, and late exactly when a higher one came first.
        let mut orders: Vec<Vec<u32>> = vec![vec![]];
        for _ in 0..5 {
            orders = orders
                .iter()
                .flat_map(|order| {
                    (0..5)
                        .filter(|number| !order.contains(number))
                        .map(|number| [&order[..], &[number]].concat())
                })
                .collect();
        }
        assert_eq!(orders.len(), 120);
        for order in orders {
            let late = order
                .iter()
                .enumerate()
                .filter(|(at, number)| order[..*at].iter().any(|before| before > number));
            check(&order, 5, 0, late.count() as u64);
        }
    }
}
