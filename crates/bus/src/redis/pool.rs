//! The pool of connections for what needs one for itself, and the questions asked at the start.
//!
//! The questions only warn: a Redis that cannot be asked, or whose answers are bad, is used all the same.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::redis::io::{AsyncDNSResolver, tcp::TcpSettings};
use ::redis::{AsyncConnectionConfig, FromRedisValue, RedisError, RedisFuture};
use deadpool_redis::{Connection, Manager, Pool, PoolError, Runtime};
use socket2::TcpKeepalive;
use tokio::time::sleep;

use super::backoff::Backoff;
use super::config::{RedisConfig, Resolve, Target};
use super::connect;
use super::trouble::{error_words, words};

/// Older servers lack commands that this project needs sooner or later.
const OLDEST: (u32, u32) = (6, 2);
/// What Redis itself comes with; a smaller bound cuts a node off that is slow for a moment.
const SMALLEST_BUFFER: u64 = 32 * 1024 * 1024;

/// Makes the pool; it opens nothing yet.
pub(crate) fn pool(config: &RedisConfig, target: &Target) -> Result<Pool, RedisError> {
    let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(
        TcpKeepalive::new()
            .with_time(connect::KEEPALIVE)
            .with_interval(connect::KEEPALIVE),
    );
    #[cfg(target_os = "linux")]
    let tcp = tcp.set_user_timeout(connect::USER_TIMEOUT);
    let info = target.info.clone().set_tcp_settings(tcp);
    let connection = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(config.connect_timeout))
        .set_response_timeout(Some(config.response_timeout))
        .set_dns_resolver(Adapter(Arc::clone(&config.resolver)));
    let patience = config.connect_timeout + config.response_timeout;
    let pool = Pool::builder(Manager::new_with_config(info, connection)?)
        .max_size(config.pool_size)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(patience))
        .create_timeout(Some(patience))
        .recycle_timeout(Some(config.response_timeout))
        .build();
    Ok(pool.expect("the runtime that timeouts need is named"))
}

/// Our resolver, for the library.
struct Adapter(Arc<dyn Resolve>);

impl AsyncDNSResolver for Adapter {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        host: &'b str,
        port: u16,
    ) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        Box::pin(async move {
            let addresses = self
                .0
                .resolve(host.trim_start_matches('[').trim_end_matches(']'), port)
                .await?;
            Ok(Box::new(addresses.into_iter()) as Box<dyn Iterator<Item = SocketAddr> + Send>)
        })
    }
}

/// The task `checks`: asks its questions as soon as Redis can be reached, and ends.
pub(crate) async fn check(pool: Pool, reconnect_max: Duration) {
    let mut backoff = Backoff::new(reconnect_max);
    let mut connection = loop {
        match pool.get().await {
            Ok(connection) => break connection,
            Err(PoolError::Closed) => return,
            Err(error) => tracing::debug!(problem = words(error.to_string().as_bytes()), "cannot check Redis yet"),
        }
        sleep(backoff.pause()).await;
    };
    for doubt in doubts(&mut connection).await {
        tracing::warn!(doubt, "Redis may not be set up well");
    }
}

async fn doubts(connection: &mut Connection) -> Vec<String> {
    let info: Result<String, _> = ask(connection, &["INFO", "server"]).await;
    let buffer: Result<Vec<String>, _> = ask(connection, &["CONFIG", "GET", "client-output-buffer-limit"]).await;
    let cannot = |what: &str, error: &RedisError| Some(format!("{what} cannot be checked: {}", error_words(error)));
    let version = match &info {
        Ok(info) => doubt_version(info),
        Err(error) => cannot("the version of Redis", error),
    };
    let limit = match &buffer {
        Ok(answer) => doubt_buffer(answer.get(1).map_or("", String::as_str)),
        Err(error) => cannot("client-output-buffer-limit", error),
    };
    version.into_iter().chain(limit).collect()
}

async fn ask<T: FromRedisValue>(connection: &mut Connection, words: &[&str]) -> Result<T, RedisError> {
    let mut command = ::redis::Cmd::new();
    command.arg(words).query_async(connection).await
}

/// What to say about the version in the answer to INFO.
fn doubt_version(info: &str) -> Option<String> {
    let Some(text) = info.lines().find_map(|line| line.strip_prefix("redis_version:")) else {
        return Some("the version of Redis is not in its INFO".to_owned());
    };
    let mut numbers = text.split('.').map(|number| number.parse().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    (version < OLDEST).then(|| {
        format!(
            "Redis {} is older than {}.{}",
            words(text.as_bytes()),
            OLDEST.0,
            OLDEST.1
        )
    })
}

/// What to say about the bound for subscribers: the words `pubsub <hard> <soft> <seconds>` among others.
fn doubt_buffer(limits: &str) -> Option<String> {
    let mut rest = limits
        .split_ascii_whitespace()
        .skip_while(|word| *word != "pubsub")
        .skip(1);
    let Some(Ok(hard)) = rest.next().map(str::parse::<u64>) else {
        return Some("client-output-buffer-limit for pubsub cannot be read".to_owned());
    };
    let is_small = hard != 0 && hard < SMALLEST_BUFFER;
    is_small.then(|| {
        format!("client-output-buffer-limit pubsub is {hard} bytes, so a gateway that lags for a moment is cut off")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(doubt: Option<&str>, expected: Option<&str>) {
        match (doubt, expected) {
            (None, None) => {}
            (Some(doubt), Some(expected)) if doubt.contains(expected) => {}
            _ => panic!("{doubt:?} where {expected:?} was expected"),
        }
    }

    #[test]
    fn versions() {
        check(
            doubt_version("# Server\r\nredis_version:7.0.15\r\nos:x\r\n").as_deref(),
            None,
        );
        check(doubt_version("redis_version:6.2.0\r\n").as_deref(), None);
        check(
            doubt_version("redis_version:6.0.16\r\n").as_deref(),
            Some("6.0.16 is older than 6.2"),
        );
        check(doubt_version("os:x\r\n").as_deref(), Some("not in its INFO"));
    }

    #[test]
    fn buffers() {
        check(
            doubt_buffer("normal 0 0 0 slave 1 1 1 pubsub 33554432 8388608 60").as_deref(),
            None,
        );
        check(doubt_buffer("normal 0 0 0 pubsub 0 0 0").as_deref(), None);
        check(doubt_buffer("pubsub 1048576 0 0").as_deref(), Some("1048576 bytes"));
        check(doubt_buffer("normal 0 0 0").as_deref(), Some("cannot be read"));
    }
}
