//! Which publications a subscriber wants, by their tags.
//!
//! Bounded when it is made, so that matching costs little whatever a client has sent. Invariant: a filter has at most [`Filter::MOST_NODES`]
//! nodes and nests no deeper than [`Filter::DEEPEST`].

use std::collections::BTreeMap;

/// A test of the tags of a publication.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter(Node);

/// One part of a filter, as clients write it.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// All of these hold.
    And(Vec<Node>),
    /// One of these holds.
    Or(Vec<Node>),
    /// This does not hold.
    Not(Box<Node>),
    /// A test of one tag.
    Tag {
        /// The tag's name.
        key: String,
        /// What is asked of it.
        test: Test,
    },
}

/// What is asked of a tag. A tag that is not there fails every test but [`Test::Missing`], [`Test::NotEqual`] and [`Test::NotIn`].
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// It is this text.
    Equal(String),
    /// It is not this text.
    NotEqual(String),
    /// It is one of these.
    In(Vec<String>),
    /// It is none of these.
    NotIn(Vec<String>),
    /// It is there.
    Exists,
    /// It is not there.
    Missing,
    /// It starts like this.
    StartsWith(String),
    /// It ends like this.
    EndsWith(String),
    /// This is part of it.
    Contains(String),
    /// It is a number below this.
    Less(f64),
    /// It is a number, at most this.
    AtMost(f64),
    /// It is a number above this.
    Greater(f64),
    /// It is a number, at least this.
    AtLeast(f64),
}

impl Filter {
    /// The most nodes of a filter.
    pub const MOST_NODES: usize = 100;
    /// How deep nodes may nest.
    pub const DEEPEST: usize = 10;

    /// Takes a filter if it is small enough.
    pub fn new(root: Node) -> Option<Self> {
        let mut left = Self::MOST_NODES;
        fits(&root, Self::DEEPEST, &mut left).then_some(Self(root))
    }

    /// Whether a publication with these tags is wanted.
    pub fn matches(&self, tags: &BTreeMap<String, String>) -> bool {
        self.0.matches(tags)
    }
}

fn fits(node: &Node, depth: usize, left: &mut usize) -> bool {
    let (Some(depth), Some(rest)) = (depth.checked_sub(1), left.checked_sub(1)) else {
        return false;
    };
    *left = rest;
    match node {
        Node::And(nodes) | Node::Or(nodes) => !nodes.is_empty() && nodes.iter().all(|node| fits(node, depth, left)),
        Node::Not(node) => fits(node, depth, left),
        Node::Tag {
            test: Test::In(values) | Test::NotIn(values),
            ..
        } => values.len() <= Filter::MOST_NODES,
        Node::Tag { .. } => true,
    }
}

impl Node {
    fn matches(&self, tags: &BTreeMap<String, String>) -> bool {
        match self {
            Self::And(nodes) => nodes.iter().all(|node| node.matches(tags)),
            Self::Or(nodes) => nodes.iter().any(|node| node.matches(tags)),
            Self::Not(node) => !node.matches(tags),
            Self::Tag { key, test } => test.holds(tags.get(key).map(String::as_str)),
        }
    }
}

impl Test {
    fn holds(&self, tag: Option<&str>) -> bool {
        let number = || tag.and_then(|tag| tag.parse::<f64>().ok());
        match self {
            Self::Equal(value) => tag == Some(value),
            Self::NotEqual(value) => tag != Some(value),
            Self::In(values) => tag.is_some_and(|tag| values.iter().any(|value| value == tag)),
            Self::NotIn(values) => !tag.is_some_and(|tag| values.iter().any(|value| value == tag)),
            Self::Exists => tag.is_some(),
            Self::Missing => tag.is_none(),
            Self::StartsWith(value) => tag.is_some_and(|tag| tag.starts_with(value.as_str())),
            Self::EndsWith(value) => tag.is_some_and(|tag| tag.ends_with(value.as_str())),
            Self::Contains(value) => tag.is_some_and(|tag| tag.contains(value.as_str())),
            Self::Less(value) => number().is_some_and(|number| number < *value),
            Self::AtMost(value) => number().is_some_and(|number| number <= *value),
            Self::Greater(value) => number().is_some_and(|number| number > *value),
            Self::AtLeast(value) => number().is_some_and(|number| number >= *value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(key: &str, test: Test) -> Node {
        Node::Tag { key: key.into(), test }
    }

    #[track_caller]
    fn check(node: Node, expected: bool) {
        let tags = [("kind", "goal"), ("minute", "90.5")].map(|(key, value)| (key.into(), value.into()));
        let filter = Filter::new(node).expect("small");
        assert_eq!(filter.matches(&tags.into()), expected, "{filter:?}");
    }

    #[test]
    fn tags_are_tested() {
        check(tag("kind", Test::Equal("goal".into())), true);
        check(tag("kind", Test::Equal("card".into())), false);
        check(tag("kind", Test::NotEqual("goal".into())), false);
        check(tag("team", Test::NotEqual("goal".into())), true);
        check(tag("kind", Test::In(vec!["card".into(), "goal".into()])), true);
        check(tag("team", Test::In(vec!["card".into()])), false);
        check(tag("team", Test::NotIn(vec!["card".into()])), true);
        check(tag("kind", Test::Exists), true);
        check(tag("team", Test::Exists), false);
        check(tag("team", Test::Missing), true);
        check(tag("kind", Test::StartsWith("go".into())), true);
        check(tag("kind", Test::EndsWith("go".into())), false);
        check(tag("kind", Test::Contains("oa".into())), true);
        check(tag("minute", Test::Greater(90.0)), true);
        check(tag("minute", Test::Greater(90.5)), false);
        check(tag("minute", Test::AtLeast(90.5)), true);
        check(tag("minute", Test::Less(90.5)), false);
        check(tag("minute", Test::AtMost(90.5)), true);
        check(tag("kind", Test::Less(1.0)), false);
        check(tag("team", Test::Less(1.0)), false);
    }

    #[test]
    fn tests_are_joined() {
        let (yes, no) = (tag("kind", Test::Exists), tag("team", Test::Exists));
        check(Node::And(vec![yes.clone(), yes.clone()]), true);
        check(Node::And(vec![yes.clone(), no.clone()]), false);
        check(Node::Or(vec![no.clone(), yes.clone()]), true);
        check(Node::Or(vec![no.clone(), no.clone()]), false);
        check(Node::Not(Box::new(no)), true);
        check(Node::Not(Box::new(yes)), false);
    }

    #[test]
    fn a_filter_is_bounded() {
        let leaf = || tag("kind", Test::Exists);
        let deep = |levels| (0..levels).fold(leaf(), |node, _| Node::Not(Box::new(node)));
        assert!(Filter::new(deep(Filter::DEEPEST - 1)).is_some());
        assert!(Filter::new(deep(Filter::DEEPEST)).is_none());
        let wide = |nodes| Node::Or((0..nodes).map(|_| leaf()).collect());
        assert!(Filter::new(wide(Filter::MOST_NODES - 1)).is_some());
        assert!(Filter::new(wide(Filter::MOST_NODES)).is_none());
        assert!(Filter::new(Node::And(vec![])).is_none());
    }
}
