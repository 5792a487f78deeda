//! The lives of nodes, and which of them are alive.
//!
//! A node that was thought dead begins another life, so that what others remove of the old one is never taken from the new one. Times are
//! those of Redis' clock only.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::StoreError;
use crate::redis::answers::Answers;
use crate::redis::keys::Keys;
use crate::redis::script::Batch;

/// One life of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Life {
    pub(crate) node: Uuid,
    pub(crate) number: u32,
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.node, self.number)
    }
}

impl FromStr for Life {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (node, number) = text.split_once('.').ok_or(())?;
        Ok(Self {
            node: node.parse().map_err(|_| ())?,
            number: number.parse().map_err(|_| ())?,
        })
    }
}

/// All lives that Redis knows of at one moment.
#[derive(Debug, Default)]
pub(crate) struct Lives {
    pub(crate) living: HashSet<Life>,
    pub(crate) dead: Vec<Life>,
    /// Names that are no lives.
    pub(crate) malformed: u64,
}

impl Lives {
    /// Adds the question to `batch`.
    pub(crate) fn ask(batch: &mut Batch, keys: &Keys) {
        batch.command("TIME");
        batch
            .command("ZRANGE")
            .arg(keys.lives())
            .arg(0)
            .arg(-1)
            .arg("WITHSCORES");
    }

    /// Reads the answer.
    pub(crate) fn read(answers: &mut Answers) -> Result<Self, StoreError> {
        let now = answers.time()?;
        let leases: Vec<(Vec<u8>, f64)> = answers.read()?;
        let mut lives = Self::default();
        for (name, ends) in leases {
            match std::str::from_utf8(&name).ok().and_then(|name| name.parse().ok()) {
                Some(life) if ends > now => _ = lives.living.insert(life),
                Some(life) => lives.dead.push(life),
                None => lives.malformed += 1,
            }
        }
        Ok(lives)
    }

    /// Every life of the node that has `life`, but this one.
    pub(crate) fn others(&self, life: Life) -> impl Iterator<Item = Life> {
        let all = self.living.iter().chain(&self.dead).copied();
        all.filter(move |other| other.node == life.node && *other != life)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_there_and_back() {
        let life = Life {
            node: Uuid::new_v4(),
            number: 7,
        };
        assert_eq!(life.to_string().parse(), Ok(life));
        for text in [
            "",
            ".",
            "7",
            "x.7",
            "00000000-0000-0000-0000-000000000000",
            &format!("{life}x"),
        ] {
            assert_eq!(text.parse::<Life>(), Err(()), "{text}");
        }
    }
}
