//! The settings of the bus, in the bus's own words.

use bus::{QueueLimits, RedisConfig};

use super::{Config, Secret};

/// What an envelope may add to a message, and more.
const ENVELOPE: usize = 64 * 1024;

impl Config {
    /// How to reach Redis; `None` without a URL.
    pub fn bus_config(&self) -> Option<RedisConfig> {
        let redis = &self.redis;
        let url = redis.url.as_ref()?;
        let usual = RedisConfig::new(url.expose());
        let largest = self.limits.message_size.max(self.api.body_size);
        Some(RedisConfig {
            username: redis.username.clone(),
            password: redis.password.as_ref().map(Secret::expose).map(str::to_owned),
            ca_file: redis.ca_file.clone(),
            prefix: redis.prefix.clone(),
            pool_size: redis.pool_size,
            connect_timeout: redis.connect_timeout,
            response_timeout: redis.response_timeout,
            canary_interval: redis.canary_interval,
            reconnect_max: redis.reconnect_max,
            queue: QueueLimits {
                messages: redis.queue,
                bytes: redis.queue_bytes,
            },
            // What a client or server may send here must be taken in everywhere.
            max_publication: usual.max_publication.max(largest.saturating_add(ENVELOPE)),
            ..usual
        })
    }
}
