//! Which keys tokens name that are not here, and whether a set that is fetched may still bring them.
//!
//! A state machine without I/O. Strangers choose the names, so only so many are remembered. Invariant: a name counts as unknown for good only
//! once a set was fetched after it had been missed.

use std::collections::BTreeSet;

/// Most names that are remembered in each of the lists.
const MOST: usize = 64;
/// Longer names are not remembered, and not waited for.
const LONGEST: usize = 256;

/// Names of keys that were missed.
#[derive(Debug, Default)]
pub(super) struct Missing {
    /// Since the last fetch began.
    wanted: BTreeSet<String>,
    /// Before the fetch that is under way.
    asked: BTreeSet<String>,
    /// Not in the set that was fetched last.
    absent: BTreeSet<String>,
}

impl Missing {
    /// A token names `kid`, which is not here. Whether it may come.
    pub(super) fn miss(&mut self, kid: &str) -> bool {
        if kid.len() > LONGEST || self.absent.contains(kid) {
            return false;
        }
        if self.wanted.len() < MOST && !self.asked.contains(kid) {
            self.wanted.insert(kid.to_owned());
        }
        true
    }

    /// A fetch begins.
    pub(super) fn begin(&mut self) {
        self.asked.append(&mut self.wanted);
    }

    /// The fetch has brought all keys that there are.
    pub(super) fn end(&mut self) {
        self.absent = std::mem::take(&mut self.asked);
    }

    /// The fetch has brought nothing; what it was for is still wanted.
    pub(super) fn fail(&mut self) {
        self.wanted.append(&mut self.asked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_unknown_once_a_set_without_it_was_fetched() {
        let mut missing = Missing::default();
        assert!(missing.miss("a"));
        missing.begin();
        // Missed while the fetch is under way: the set may have been made before it.
        assert!(missing.miss("a") && missing.miss("b"));
        missing.end();
        assert!(!missing.miss("a"));
        assert!(missing.miss("b"));
        // A fetch that fails says nothing.
        missing.begin();
        missing.fail();
        assert!(missing.miss("b"));
        missing.begin();
        missing.end();
        assert!(!missing.miss("b"));
    }

    #[test]
    fn names_are_bounded() {
        let mut missing = Missing::default();
        assert!(!missing.miss(&"x".repeat(LONGEST + 1)));
        for number in 0..10 * MOST {
            assert!(missing.miss(&number.to_string()));
        }
        assert_eq!(missing.wanted.len(), MOST);
        missing.begin();
        for number in 0..10 * MOST {
            missing.miss(&format!("more {number}"));
        }
        missing.fail();
        assert_eq!(missing.wanted.len(), 2 * MOST);
        missing.begin();
        missing.end();
        assert_eq!(missing.absent.len(), 2 * MOST);
    }
}
