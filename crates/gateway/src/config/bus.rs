//! The settings of the bus, in the bus's own words.

use bus::{QueueLimits, RedisConfig};

use super::{Redis, Secret};

impl Redis {
    /// How to reach Redis; `None` without a URL.
    pub fn bus_config(&self) -> Option<RedisConfig> {
        let url = self.url.as_ref()?;
        Some(RedisConfig {
            username: self.username.clone(),
            password: self.password.as_ref().map(Secret::expose).map(str::to_owned),
            ca_file: self.ca_file.clone(),
            prefix: self.prefix.clone(),
            pool_size: self.pool_size,
            connect_timeout: self.connect_timeout,
            response_timeout: self.response_timeout,
            canary_interval: self.canary_interval,
            reconnect_max: self.reconnect_max,
            queue: QueueLimits {
                messages: self.queue,
                bytes: self.queue_bytes,
            },
            ..RedisConfig::new(url.expose())
        })
    }
}
