//! Notices on Redis: one sorted set, by the time when each is over.
//!
//! Posted and read over the connection that publishes. Nothing that stands there is trusted: what is no text, or a text that nobody could have
//! posted, is counted and passed over. Invariant: the set is never larger than [`MOST`] by what this crate writes.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use super::answers::Answers;
use super::publish::Publisher;
use super::script::{Batch, Script};
use crate::StoreError;
use crate::notices::{LONGEST, MOST, Notice, NoticeError, Notices};

static POST: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("notices.lua")));

/// About so many are read at once.
const PAGE: usize = 500;

/// The notices of a bus.
pub(crate) struct RedisNotices {
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) key: String,
}

impl RedisNotices {
    async fn ask(&self, batch: &Batch) -> Result<Answers, StoreError> {
        Ok(Answers::new(self.publisher.ask(&batch.pipeline).await?))
    }

    /// What one entry of the set says, if somebody can have posted it.
    fn read(&self, text: Vec<u8>, millis: f64) -> Option<(String, SystemTime)> {
        let text = String::from_utf8(text).ok().filter(|text| text.len() <= LONGEST);
        // Taken for seconds and divided afterwards, because binary fractions have no thousandths.
        let since = Duration::try_from_secs_f64(millis).ok().map(|since| since / 1000);
        let until = since.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since));
        let read = text.zip(until);
        self.publisher.status.stats.malformed.add(u64::from(read.is_none()));
        read
    }
}

#[async_trait]
impl Notices for RedisNotices {
    async fn post(&self, text: &str, until: SystemTime) -> Result<(), NoticeError> {
        if text.len() > LONGEST {
            return Err(NoticeError::TooLong);
        }
        let since = until.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut batch = Batch::default();
        batch
            .run(&POST, &[&self.key])
            .arg(text)
            .arg(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
            .arg(MOST);
        match self.ask(&batch).await?.read()? {
            true => Ok(()),
            false => Err(NoticeError::NoRoom),
        }
    }

    async fn all(&self) -> Result<Vec<Notice>, StoreError> {
        // What is there all the time is found in at least one page; what moves may be in several.
        let (mut notices, mut cursor) = (HashMap::new(), 0);
        loop {
            let mut batch = Batch::default();
            batch.command("ZSCAN").arg(&self.key).arg(cursor).arg("COUNT").arg(PAGE);
            let (next, page): (u64, Vec<(Vec<u8>, f64)>) = self.ask(&batch).await?.read()?;
            notices.extend(page.into_iter().filter_map(|(text, millis)| self.read(text, millis)));
            if next == 0 || notices.len() >= MOST {
                break;
            }
            cursor = next;
        }
        let now = SystemTime::now();
        let notices = notices.into_iter().map(|(text, until)| Notice { text, until });
        Ok(notices.filter(|notice| notice.until > now).take(MOST).collect())
    }
}
