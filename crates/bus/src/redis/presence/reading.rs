//! Who is there, asked of Redis.
//!
//! Members of lives that are not alive are passed over, whatever is left of them. Hashes are read in pages, so that a large channel does not
//! hold up Redis. Nothing that stands there is trusted: what cannot be read is counted and passed over.

use std::collections::HashMap;

use protocol::{Channel, ClientInfo};
use uuid::Uuid;

use super::life::{Life, Lives};
use super::{RedisPresence, member};
use crate::StoreError;
use crate::presence::{Count, Members};
use crate::redis::answers::Answers;
use crate::redis::script::Batch;

/// About so many fields are read at once.
const PAGE: usize = 200;

/// Clients and their values, as they stand in one page of a hash.
pub(super) type Page = Vec<(Vec<u8>, Vec<u8>)>;

impl RedisPresence {
    pub(super) async fn read_members(&self, channel: &Channel, most: usize) -> Result<Members, StoreError> {
        let mut batch = Batch::default();
        self.ask_counts(&mut batch, channel);
        let counts = self.counts(&mut self.ask(&batch).await?)?;
        let mut clients = HashMap::new();
        for (life, _) in counts {
            let (key, mut cursor) = (self.keys.members(channel.as_str(), life), 0);
            loop {
                let mut batch = Batch::default();
                ask_page(&mut batch, &key, cursor);
                let (next, page): (u64, Page) = self.ask(&batch).await?.read()?;
                clients.extend(self.read_page(page).map(|client| (client.client.clone(), client)));
                if clients.len() > most {
                    return Ok(Members {
                        clients: clients.into_values().take(most).collect(),
                        is_complete: false,
                    });
                }
                if next == 0 {
                    break;
                }
                cursor = next;
            }
        }
        Ok(Members {
            clients: clients.into_values().collect(),
            is_complete: true,
        })
    }

    pub(super) async fn read_count(&self, channel: &Channel) -> Result<Count, StoreError> {
        let mut batch = Batch::default();
        self.ask_counts(&mut batch, channel);
        batch.command("HLEN").arg(self.keys.users(channel.as_str()));
        let mut answers = self.ask(&batch).await?;
        let counts = self.counts(&mut answers)?;
        let clients = counts.iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
        let users: u64 = answers.read()?;
        Ok(Count {
            clients,
            // A dead process' users are still there until its members are removed.
            users: users.min(clients),
        })
    }

    pub(super) async fn read_nodes(&self) -> Result<Vec<Uuid>, StoreError> {
        let mut batch = Batch::default();
        Lives::ask(&mut batch, &self.keys);
        let lives = self.lives(&mut self.ask(&batch).await?)?;
        let mut nodes: Vec<_> = lives.living.iter().map(|life| life.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        Ok(nodes)
    }

    /// What Redis knows of the members that `life` has in each of `channels`.
    pub(super) async fn known(
        &self,
        channels: &[Channel],
        life: Life,
    ) -> Result<Vec<HashMap<Vec<u8>, Vec<u8>>>, StoreError> {
        let mut batch = Batch::default();
        let keys: Vec<_> = channels
            .iter()
            .map(|channel| self.keys.members(channel.as_str(), life))
            .collect();
        keys.iter().for_each(|key| ask_page(&mut batch, key, 0));
        let mut answers = self.ask(&batch).await?;
        let mut known = Vec::with_capacity(channels.len());
        for key in &keys {
            let (mut cursor, page): (u64, Page) = answers.read()?;
            let mut fields: HashMap<_, _> = page.into_iter().collect();
            while cursor != 0 {
                let mut batch = Batch::default();
                ask_page(&mut batch, key, cursor);
                let (next, page): (u64, Page) = self.ask(&batch).await?.read()?;
                fields.extend(page);
                cursor = next;
            }
            known.push(fields);
        }
        Ok(known)
    }

    /// The members in `page`.
    pub(super) fn read_page(&self, page: Page) -> impl Iterator<Item = ClientInfo> {
        page.into_iter().filter_map(|(client, value)| {
            let member = member::decode(&client, &value);
            self.malformed(u64::from(member.is_none()));
            member
        })
    }

    fn ask_counts(&self, batch: &mut Batch, channel: &Channel) {
        Lives::ask(batch, &self.keys);
        batch.command("HGETALL").arg(self.keys.counts(channel.as_str()));
    }

    /// How many members each life that is alive has.
    fn counts(&self, answers: &mut Answers) -> Result<Vec<(Life, u64)>, StoreError> {
        let lives = self.lives(answers)?;
        let fields: Page = answers.read()?;
        let read = |field: Vec<u8>, count: Vec<u8>| {
            let life: Life = std::str::from_utf8(&field).ok()?.parse().ok()?;
            let count = std::str::from_utf8(&count).ok()?.parse().ok()?;
            Some((life, count))
        };
        let counts = fields.into_iter().filter_map(|(field, count)| {
            let read = read(field, count);
            self.malformed(u64::from(read.is_none()));
            read
        });
        Ok(counts.filter(|(life, _)| lives.living.contains(life)).collect())
    }
}

pub(super) fn ask_page(batch: &mut Batch, key: &str, cursor: u64) {
    batch.command("HSCAN").arg(key).arg(cursor).arg("COUNT").arg(PAGE);
}
