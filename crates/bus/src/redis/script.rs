//! Scripts, and commands that go to Redis together.
//!
//! The first use of a script in a [`Batch`] brings its text along and the others name it by its hash, so it is there whatever Redis has
//! forgotten, and loading it takes no round trip of its own. Only if Redis forgets it in the middle of a batch does the rest get a refusal.

use std::collections::HashSet;

use ::redis::Pipeline;
use sha1::{Digest, Sha1};

/// A Lua script.
pub(crate) struct Script {
    text: &'static str,
    hash: String,
}

impl Script {
    pub(crate) fn new(text: &'static str) -> Self {
        let hash = Sha1::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { text, hash }
    }
}

/// Commands, in order; each has one answer.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) pipeline: Pipeline,
    brought: HashSet<&'static str>,
}

impl Batch {
    /// Adds a command.
    pub(crate) fn command(&mut self, name: &str) -> &mut Pipeline {
        self.pipeline.cmd(name)
    }

    /// Adds a use of `script`, which touches `keys`; its other arguments follow.
    pub(crate) fn run(&mut self, script: &Script, keys: &[&str]) -> &mut Pipeline {
        if self.brought.insert(script.text) {
            self.pipeline.cmd("EVAL").arg(script.text)
        } else {
            self.pipeline.cmd("EVALSHA").arg(&script.hash)
        }
        .arg(keys.len())
        .arg(keys)
    }

    /// How many commands there are; also where the answer to the next one will stand.
    pub(crate) fn len(&self) -> usize {
        self.pipeline.len()
    }
}
