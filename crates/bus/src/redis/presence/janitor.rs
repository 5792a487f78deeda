//! Removes what dead nodes have left, and tells the listener who is gone.
//!
//! Any node may do it; a short lock keeps two from doing the same work. Who is told as gone was taken out by this node's own use of the
//! counting script, so nobody is told twice, lock or not. A node that lives on in another life removes what is left of the last one itself,
//! and tells nobody. Invariant: what is left of a life can be found until all of it is removed, so a janitor that dies is replaced.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use protocol::{Channel, ClientInfo};

use super::life::{Life, Lives};
use super::reading::{Page, ask_page};
use super::{RedisPresence, Step};
use crate::redis::script::Batch;
use crate::{BusEvent, StoreError};

impl RedisPresence {
    /// The task `janitor`. It may wait for the listener, and the lease must not, so it is not part of `keeper`.
    pub(crate) async fn clean(self: Arc<Self>) {
        let mut dead = self.dead.subscribe();
        while dead.changed().await.is_ok() {
            let lives = dead.borrow_and_update().clone();
            for life in lives {
                if let Err(error) = self.bury(life).await {
                    tracing::debug!(%error, %life, "the members of a dead node are not removed yet");
                }
            }
        }
    }

    async fn bury(&self, life: Life) -> Result<(), StoreError> {
        let (lock, channels) = (self.keys.burial(life), self.keys.channels_of(life));
        let lease = u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX);
        let mut batch = Batch::default();
        batch
            .command("SET")
            .arg(&lock)
            .arg(self.node.to_string())
            .arg("NX")
            .arg("PX")
            .arg(lease);
        let is_locked: Option<String> = self.ask(&batch).await?.read()?;
        if is_locked.is_none() {
            return Ok(());
        }
        let mut cursor = 0;
        loop {
            let mut batch = Batch::default();
            batch.command("SSCAN").arg(&channels).arg(cursor);
            let (next, names): (u64, Vec<Vec<u8>>) = self.ask(&batch).await?.read()?;
            for name in names {
                let channel = std::str::from_utf8(&name)
                    .ok()
                    .and_then(|name| Channel::parse(name).ok());
                match channel {
                    Some(channel) => {
                        if !self.clear(life, &channel).await? {
                            return Ok(());
                        }
                    }
                    None => self.malformed(1),
                }
                let mut batch = Batch::default();
                batch.command("SREM").arg(&channels).arg(name);
                batch.command("PEXPIRE").arg(&lock).arg(lease);
                self.ask(&batch).await?.check()?;
            }
            if next == 0 {
                break;
            }
            cursor = next;
        }
        let mut batch = Batch::default();
        batch.command("ZREM").arg(self.keys.lives()).arg(life.to_string());
        batch.command("DEL").arg(&lock);
        self.ask(&batch).await?.check()
    }

    /// Takes the members of `life` out of `channel`. Whether it is dead for good.
    async fn clear(&self, life: Life, channel: &Channel) -> Result<bool, StoreError> {
        let (key, mut cursor) = (self.keys.members(channel.as_str(), life), 0);
        loop {
            let mut batch = Batch::default();
            Lives::ask(&mut batch, &self.keys);
            ask_page(&mut batch, &key, cursor);
            let mut answers = self.ask(&batch).await?;
            let lives = self.lives(&mut answers)?;
            let is_own = life.node == self.node;
            let lives_on = lives.others(life).any(|other| lives.living.contains(&other));
            if lives.living.contains(&life) || (lives_on && !is_own) {
                return Ok(false);
            }
            let (next, page): (u64, Page) = answers.read()?;
            let others: Vec<_> = lives.others(life).collect();
            let gone = self.take_out(life, channel, page, &others).await?;
            if !gone.is_empty() && !is_own {
                let (channel, members) = (channel.clone(), gone);
                self.queue
                    .push(&mut VecDeque::from([BusEvent::Vanished { channel, members }]))
                    .await;
            }
            if next == 0 {
                break;
            }
            cursor = next;
        }
        let mut batch = Batch::default();
        batch
            .command("HDEL")
            .arg(self.keys.counts(channel.as_str()))
            .arg(life.to_string());
        self.ask(&batch).await?.check()?;
        Ok(true)
    }

    /// Takes the clients in `page` out. Gives those that this took out and that are in no other life of the same node.
    async fn take_out(
        &self,
        life: Life,
        channel: &Channel,
        page: Page,
        others: &[Life],
    ) -> Result<Vec<ClientInfo>, StoreError> {
        let mut batch = Batch::default();
        for (client, _) in &page {
            for other in others {
                let key = self.keys.members(channel.as_str(), *other);
                batch.command("HEXISTS").arg(key).arg(client);
            }
            let (channel, client, value) = (channel, client.as_slice(), None);
            self.step(&mut batch, life, &Step { channel, client, value });
        }
        let mut answers = self.ask(&batch).await?;
        let mut gone = HashSet::new();
        for (client, _) in &page {
            let mut is_elsewhere = false;
            for _ in others {
                is_elsewhere |= answers.read::<bool>()?;
            }
            let was_there = answers.read::<u8>()? & 2 != 0;
            if was_there && !is_elsewhere {
                gone.insert(client.clone());
            }
        }
        let page = page.into_iter().filter(|(client, _)| gone.contains(client)).collect();
        Ok(self.read_page(page).collect())
    }
}
