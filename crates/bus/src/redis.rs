//! The bus over one Redis: puts together what the modules below do.
//!
//! Five tasks, all ended by [`Bus::close`] or when the bus is dropped: `link` hears, `publisher` keeps the connection that publishes,
//! `keeper` and `janitor` care for presence, `checks` asks Redis a few questions at the start and ends. All but the last are [`vital()`]. A
//! pool keeps connections for what needs one for itself.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use deadpool_redis::Pool;
use protocol::Channel;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::queue::{Events, Queue, queue};
use crate::{Addressee, Bus, Generation, Health, Notices, Outgoing, Presence, PublishError, Stats, vital};

mod answers;
mod backoff;
mod canary;
mod config;
mod connect;
mod hearing;
mod keys;
mod link;
mod notices;
mod pool;
mod presence;
mod publish;
pub mod resp;
mod script;
mod session;
mod status;
mod trouble;
mod wire;
mod wishes;

pub use config::{RedisConfig, RedisConfigError, Resolve, SystemResolver};

use connect::Connector;
use keys::Keys;
use link::Link;
use notices::RedisNotices;
use presence::RedisPresence;
use publish::{Line, Publisher};
use status::Status;
use wishes::Wanted;

/// Joins the processes that use the same Redis with the same prefix.
pub struct RedisBus {
    wanted: Arc<Wanted>,
    publisher: Arc<Publisher>,
    status: Arc<Status>,
    queue: Arc<Queue>,
    pool: Pool,
    presence: Arc<RedisPresence>,
    notices: RedisNotices,
    /// Of presence; they end first, because what they leave behind needs the others.
    presence_tasks: Mutex<JoinSet<()>>,
    tasks: Mutex<JoinSet<()>>,
}

impl RedisBus {
    /// Starts to connect, and returns without waiting for it. The channel `bare`, if any, has its own name on Redis and payloads without
    /// an envelope. Needs to be inside a tokio runtime with time and I/O, for the tasks of the bus. Reads the file with certificates.
    pub fn start(config: RedisConfig, bare: Option<Channel>) -> Result<(Arc<Self>, Events), RedisConfigError> {
        let runtime = Handle::try_current().map_err(|_| RedisConfigError::NoRuntime)?;
        // The Redis library takes the TLS implementation of the process; if there is one already, that one is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let target = config.target()?;
        let pool = pool::pool(&config, &target).map_err(|source| RedisConfigError::Url { source })?;
        let (queue, events) = queue(config.queue);
        let connector = Connector {
            target,
            resolver: config.resolver,
            patience: config.connect_timeout,
        };
        let keys = Keys::new(&config.prefix, bare);
        let status = Arc::new(Status::new());
        let wanted = Arc::new(Wanted::default());
        let publisher = Arc::new(Publisher {
            connector: connector.clone(),
            keys: keys.clone(),
            node: config.node,
            patience: config.response_timeout,
            reconnect_max: config.reconnect_max,
            status: Arc::clone(&status),
            line: Line::default(),
            refuses: AtomicBool::new(false),
        });
        let presence = Arc::new(RedisPresence {
            publisher: Arc::clone(&publisher),
            keys: keys.clone(),
            node: config.node,
            lease: config.presence_lease,
            refresh: config.presence_refresh,
            reconnect_max: config.reconnect_max,
            queue: Arc::clone(&queue),
            status: Arc::clone(&status),
            state: tokio::sync::Mutex::default(),
            failed: Notify::new(),
            dead: watch::Sender::default(),
        });
        let notices = RedisNotices {
            publisher: Arc::clone(&publisher),
            key: keys.notices(),
        };
        let link = Link {
            connector,
            keys,
            node: config.node,
            patience: config.response_timeout,
            canary_interval: config.canary_interval,
            echo_deadline: config.echo_deadline,
            reconnect_max: config.reconnect_max,
            max_publication: config.max_publication,
            wanted: Arc::clone(&wanted),
            publisher: Arc::clone(&publisher),
            status: Arc::clone(&status),
            queue: Arc::clone(&queue),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn_on(vital("link", link.run()), &runtime);
        tasks.spawn_on(vital("publisher", Arc::clone(&publisher).run()), &runtime);
        let mut presence_tasks = JoinSet::new();
        presence_tasks.spawn_on(vital("keeper", Arc::clone(&presence).keep()), &runtime);
        presence_tasks.spawn_on(vital("janitor", Arc::clone(&presence).clean()), &runtime);
        tasks.spawn_on(pool::check(pool.clone(), config.reconnect_max), &runtime);
        let bus = Self {
            wanted,
            publisher,
            status,
            queue,
            pool,
            presence,
            notices,
            presence_tasks: Mutex::new(presence_tasks),
            tasks: Mutex::new(tasks),
        };
        Ok((Arc::new(bus), events))
    }
}

impl Drop for RedisBus {
    fn drop(&mut self) {
        self.queue.close();
    }
}

#[async_trait]
impl Bus for RedisBus {
    fn subscribe(&self, channel: &Channel) -> Generation {
        self.wanted.change(|wishes| wishes.want(channel))
    }

    fn unsubscribe(&self, channel: &Channel) {
        self.wanted.change(|wishes| wishes.unwant(channel));
    }

    async fn publish(&self, batch: Vec<Outgoing>) -> Vec<Result<(), PublishError>> {
        self.publisher.publish(batch).await
    }

    fn node(&self) -> Uuid {
        self.publisher.node
    }

    async fn tell(&self, to: Addressee, message: Bytes) -> Result<(), PublishError> {
        self.publisher.tell(to, &message).await
    }

    fn presence(&self) -> &dyn Presence {
        &*self.presence
    }

    fn notices(&self) -> &dyn Notices {
        &self.notices
    }

    fn health(&self) -> Health {
        self.status.health()
    }

    fn stats(&self) -> &Stats {
        let pool = self.pool.status();
        let stats = &self.status.stats;
        stats.pool_in_use.set(pool.size.saturating_sub(pool.available) as u64);
        stats.pool_idle.set(pool.available as u64);
        stats
    }

    async fn close(&self) {
        take(&self.presence_tasks).shutdown().await;
        self.presence.leave().await;
        take(&self.tasks).shutdown().await;
        self.pool.close();
        self.publisher.end();
        self.status.end();
        self.queue.close();
    }
}

fn take(tasks: &Mutex<JoinSet<()>>) -> JoinSet<()> {
    std::mem::take(&mut *tasks.lock().unwrap_or_else(PoisonError::into_inner))
}
