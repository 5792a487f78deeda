//! What settings must be beyond what each can say for itself: bounds, and settings that do not fit together.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::backend::is_ours;
use super::settings::{API_KEYS, CHANNELS};
use super::{Config, kind};
use crate::config::{ChannelRule, Publish, Subscribe};

/// Settings that cannot be used as they are.
pub(super) struct Conflict {
    /// The names of the settings.
    pub(super) between: Vec<String>,
    /// What is wrong.
    pub(super) problem: String,
}

/// Everything about `config` that cannot be used, in an environment `env`.
pub(super) fn conflicts(config: &Config, env: &BTreeMap<String, String>) -> Vec<Conflict> {
    let mut found = Found(Vec::new());
    listeners(config, &mut found);
    api(config, &mut found);
    redis(config, &mut found);
    limits(config, &mut found);
    times(config, &mut found);
    channels(config, &mut found);
    tokens(config, &mut found);
    backend(config, &mut found);
    found.when(config.log.filter_error().is_some(), &["log.filter"], || {
        format!(
            "expected levels and targets such as \"info,gateway=debug\"; {}",
            config.log.filter_error().unwrap_or_default()
        )
    });
    found.when(
        config.dev && env.contains_key("KUBERNETES_SERVICE_HOST"),
        &["dev"],
        || {
            "development mode opens everything to anyone and is refused on Kubernetes (KUBERNETES_SERVICE_HOST is set)"
                .into()
        },
    );
    let is_plain = |name: &str| (1..=253).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
    found.when(
        config.node.name.as_deref().is_some_and(|name| !is_plain(name)),
        &["node.name"],
        || "expected 1 to 253 characters of ASCII without blanks".into(),
    );
    found.0
}

struct Found(Vec<Conflict>);

impl Found {
    fn when(&mut self, is_wrong: bool, between: &[&str], problem: impl FnOnce() -> String) {
        if is_wrong {
            self.0.push(Conflict {
                between: between.iter().map(|name| (*name).to_owned()).collect(),
                problem: problem(),
            });
        }
    }

    fn at_least_one(&mut self, settings: &[(&str, usize)]) {
        for (name, value) in settings {
            self.when(*value == 0, &[name], || "must be more than 0".into());
        }
    }
}

fn listeners(config: &Config, found: &mut Found) {
    let (listener, admin) = (&config.listener, config.admin.address);
    let too_high = listener.port > u16::MAX - Config::ADMIN_PORT_OFFSET;
    found.when(too_high && admin.is_none(), &["listener.port", "admin.address"], || {
        format!(
            "the admin port, {} above, would be over 65535: set admin.address",
            Config::ADMIN_PORT_OFFSET
        )
    });
    let meets = |own: IpAddr, other: IpAddr| own == other || own.is_unspecified() || other.is_unspecified();
    let is_same = admin
        .is_some_and(|admin| admin.port() != 0 && admin.port() == listener.port && meets(admin.ip(), listener.address));
    found.when(is_same, &["listener.address", "listener.port", "admin.address"], || {
        "both listeners would have the same port".into()
    });
    found.when(
        listener.tls_cert.is_some() != listener.tls_key.is_some(),
        &["listener.tls_cert", "listener.tls_key"],
        || "TLS needs both, or neither".into(),
    );
    found.when(listener.backlog == 0, &["listener.backlog"], || {
        "must be more than 0".into()
    });
    let odd = listener.allowed_origins.iter().find(|origin| !is_origin(origin));
    found.when(odd.is_some(), &["listener.allowed_origins"], || {
        format!(
            "{} is not an origin; expected SCHEME://HOST[:PORT] without a path, or \"*\"",
            kind::quoted(odd.map_or("", String::as_str))
        )
    });
}

fn is_origin(text: &str) -> bool {
    let is_host = |host: &str| {
        !host.is_empty()
            && host
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"/?#@*".contains(&byte))
    };
    text == "*"
        || text
            .split_once("://")
            .is_some_and(|(scheme, host)| !scheme.is_empty() && is_host(host))
}

/// Fewest bytes of a key of the API. Whoever reaches the admin listener can try keys as fast as it answers.
const SHORTEST_KEY: usize = 16;

fn api(config: &Config, found: &mut Found) {
    let api = &config.api;
    let shortest = if config.dev { 1 } else { SHORTEST_KEY };
    let is_short = |key: Option<&super::Secret>| key.is_some_and(|key| key.expose().len() < shortest);
    let too_short = || format!("must have at least {SHORTEST_KEY} bytes; `openssl rand -hex 32` makes one");
    let admin = config.admin.api_key.as_ref();
    found.when(is_short(admin), &["admin.api_key"], too_short);
    for (number, key) in api.keys.iter().enumerate() {
        let [name, text, file, calls] =
            ["name", "key", "key_file", "calls"].map(|field| format!("{API_KEYS}[{number}].{field}"));
        let (text, earlier) = (text.as_str(), &api.keys[..number]);
        found.when(key.name.is_empty(), &[&name], || "a key must have a name".into());
        let is_taken = !key.name.is_empty() && earlier.iter().any(|earlier| earlier.name == key.name);
        found.when(is_taken, &[&name], || "another key has that name".into());
        found.when(key.key.is_none(), &[text, &file], || {
            "one of the two must be set".into()
        });
        found.when(is_short(key.key.as_ref()), &[text], too_short);
        let mut others = earlier.iter().filter_map(|earlier| earlier.key.as_ref()).chain(admin);
        let is_twice = key.key.as_ref().is_some_and(|key| others.any(|other| other == key));
        found.when(is_twice, &[text], || "another key is the same".into());
        found.when(key.calls.is_empty(), &[&calls], || {
            "a key must be for at least one call".into()
        });
    }
    found.at_least_one(&[
        ("api.body_size", api.body_size),
        ("api.presence_members", api.presence_members),
    ]);
    let is_large = config.redis.queue_bytes < api.body_size;
    found.when(is_large, &["redis.queue_bytes", "api.body_size"], || {
        "must have room for at least one request".into()
    });
}

fn redis(config: &Config, found: &mut Found) {
    let redis = &config.redis;
    let url = redis.url.as_ref().map(super::Secret::expose);
    let is_redis = |url: &str| {
        ["redis://", "rediss://"]
            .iter()
            .any(|scheme| url.strip_prefix(scheme).is_some_and(has_host))
    };
    found.when(url.is_some_and(|url| !is_redis(url)), &["redis.url"], || {
        "expected redis://[USER[:PASSWORD]@]HOST[:PORT][/DB], or the same with rediss:// for TLS".into()
    });
    let is_alone = redis.url.is_none() && (redis.password.is_some() || redis.username.is_some());
    let name = if redis.password.is_some() {
        "redis.password"
    } else {
        "redis.username"
    };
    found.when(is_alone && redis.url_file.is_none(), &[name, "redis.url"], || {
        "credentials of Redis are set, but not where Redis is".into()
    });
    let is_allowed = |byte: u8| byte.is_ascii_graphic() && !b"*?[]{}\\/\"".contains(&byte);
    let is_prefix = (1..=64).contains(&redis.prefix.len()) && redis.prefix.bytes().all(is_allowed);
    found.when(!is_prefix, &["redis.prefix"], || {
        "expected 1 to 64 characters of ASCII without blanks and * ? [ ] { } \\ / \"".into()
    });
    let is_taken = config
        .raw
        .channel
        .as_ref()
        .is_some_and(|channel| channel.as_str().starts_with(&redis.prefix));
    found.when(is_prefix && is_taken, &["raw.channel", "redis.prefix"], || {
        "the bare channel could not be told from the other channels on Redis; one of the two must change".into()
    });
    found.at_least_one(&[
        ("redis.pool_size", redis.pool_size),
        ("redis.queue", redis.queue),
        ("redis.queue_bytes", redis.queue_bytes),
    ]);
}

/// Fewest bytes of a secret that tokens are signed with. Whoever has one token can try secrets as fast as their machines go.
const SHORTEST_SECRET: usize = 32;
/// More often, the issuer is not asked for its keys.
const SHORTEST_REFRESH: Duration = Duration::from_secs(10);
/// Most that clocks may differ; more would let expired tokens live on.
const LONGEST_LEEWAY: Duration = Duration::from_secs(60);

fn tokens(config: &Config, found: &mut Found) {
    let tokens = &config.tokens;
    let length = tokens.hmac_secret.as_ref().map(|secret| secret.expose().len());
    let shortest = if config.dev { 1 } else { SHORTEST_SECRET };
    found.when(length.is_some_and(|length| length < shortest), &["tokens.hmac_secret"], || {
        format!("must have at least {SHORTEST_SECRET} bytes, or it can be guessed from any token; `openssl rand -hex 32` makes one")
    });
    found.when(
        length.is_some() && tokens.hmac_algorithms.is_empty(),
        &["tokens.hmac_algorithms", "tokens.hmac_secret"],
        || "with a secret there must be an algorithm".into(),
    );
    found.when(tokens.leeway > LONGEST_LEEWAY, &["tokens.leeway"], || {
        "at most 1m".into()
    });
    found.when(tokens.jwks_refresh < SHORTEST_REFRESH, &["tokens.jwks_refresh"], || {
        "at least 10s".into()
    });
    let empty = |text: &String| text.is_empty();
    found.when(tokens.issuer.as_ref().is_some_and(empty), &["tokens.issuer"], || {
        "must not be empty".into()
    });
    found.when(tokens.audience.iter().any(empty), &["tokens.audience"], || {
        "must not be empty".into()
    });
}

fn backend(config: &Config, found: &mut Found) {
    let backend = &config.backend;
    found.at_least_one(&[
        ("backend.in_flight", backend.in_flight),
        ("backend.response_size", backend.response_size),
    ]);
    for (name, duration) in [
        ("backend.timeout", backend.timeout),
        ("backend.breaker_pause", backend.breaker_pause),
    ] {
        found.when(duration.is_zero(), &[name], || "must be more than 0".into());
    }
    let sent: Vec<_> = backend
        .static_headers
        .iter()
        .map(|header| header.name.clone())
        .collect();
    for (name, headers) in [
        ("backend.headers", &backend.headers),
        ("backend.emulated_headers", &backend.emulated_headers),
        ("backend.static_headers", &sent),
    ] {
        let own = headers.iter().find(|header| is_ours(header));
        found.when(own.is_some(), &[name], || {
            let own = own.map_or("", |header| header.as_str());
            format!("{own} is about one connection or message, and is not passed on")
        });
    }
    let mut statuses: Vec<_> = backend.statuses.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    found.when(
        statuses.windows(2).any(|two| two[0] == two[1]),
        &["backend.statuses"],
        || "a status has two answers".into(),
    );
}

fn has_host(rest: &str) -> bool {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    !host.is_empty() && !host.starts_with(':')
}

fn limits(config: &Config, found: &mut Found) {
    let limits = &config.limits;
    found.at_least_one(&[
        ("limits.connections", limits.connections),
        ("limits.handshakes", limits.handshakes),
        ("limits.header_size", limits.header_size),
        ("limits.message_size", limits.message_size),
        ("limits.fragments", limits.fragments),
        ("limits.json_depth", limits.json_depth),
        ("limits.reactor_queue", limits.reactor_queue),
        ("limits.publish_queue", limits.publish_queue),
        ("limits.write_buffer", limits.write_buffer),
    ]);
    for (name, bytes) in [
        ("limits.outbox", limits.outbox),
        ("limits.reactor_queue_bytes", limits.reactor_queue_bytes),
        ("limits.publish_queue_bytes", limits.publish_queue_bytes),
        ("redis.queue_bytes", config.redis.queue_bytes),
    ] {
        found.when(bytes < limits.message_size, &[name, "limits.message_size"], || {
            "must have room for at least one message".into()
        });
    }
    found.when(
        limits.outboxes < limits.outbox,
        &["limits.outboxes", "limits.outbox"],
        || "all outboxes together must have room for at least one".into(),
    );
    found.when(
        limits.handshakes_per_address > limits.handshakes,
        &["limits.handshakes_per_address", "limits.handshakes"],
        || "one address could keep all others out; it must not be more than limits.handshakes".into(),
    );
    found.when(
        limits.connections_per_address > limits.connections,
        &["limits.connections_per_address", "limits.connections"],
        || "must not be more than limits.connections".into(),
    );
    found.when(
        limits.message_burst > 0 && limits.message_rate == 0,
        &["limits.message_burst", "limits.message_rate"],
        || "a burst means nothing without a rate: set limits.message_rate too".into(),
    );
    let smaller = limits.message_burst > 0 && limits.message_burst < limits.message_rate;
    found.when(smaller, &["limits.message_burst", "limits.message_rate"], || {
        "must not be less than limits.message_rate".into()
    });
}

fn times(config: &Config, found: &mut Found) {
    let must_pass: [(&str, Duration); 10] = [
        ("api.body_timeout", config.api.body_timeout),
        ("redis.connect_timeout", config.redis.connect_timeout),
        ("redis.response_timeout", config.redis.response_timeout),
        ("redis.canary_interval", config.redis.canary_interval),
        ("redis.reconnect_max", config.redis.reconnect_max),
        ("limits.handshake_timeout", config.limits.handshake_timeout),
        ("ping.interval", config.ping.interval),
        ("ping.timeout", config.ping.timeout),
        ("centrifuge.connect_timeout", config.centrifuge.connect_timeout),
        ("centrifuge.pong_timeout", config.centrifuge.pong_timeout),
    ];
    for (name, duration) in must_pass {
        found.when(duration.is_zero(), &[name], || "must be more than 0".into());
    }
    let centrifuge = &config.centrifuge;
    found.when(
        centrifuge.pong_timeout >= centrifuge.ping_interval,
        &["centrifuge.pong_timeout", "centrifuge.ping_interval"],
        || "must be less than centrifuge.ping_interval".into(),
    );
    // Clients are told whole seconds.
    let has_part = centrifuge.ping_interval.subsec_nanos() > 0;
    found.when(has_part, &["centrifuge.ping_interval"], || {
        "must be whole seconds".into()
    });
    let delivery = &config.delivery;
    found.when(
        delivery.window > delivery.window_max,
        &["delivery.window", "delivery.window_max"],
        || "must not be more than delivery.window_max".into(),
    );
}

/// A rule before the one with that number that matches whatever this one does. Told from names without wildcards, from patterns that are
/// the same, and from those that match everything.
fn earlier_for_all(config: &Config, number: usize) -> Option<&ChannelRule> {
    let pattern = config.channels[number].r#match.glob();
    let is_name = !pattern.is_empty() && !pattern.contains(['*', '?', '[', '{', '\\']);
    config.channels[..number].iter().find(|earlier| {
        let glob = earlier.r#match.glob();
        glob == pattern || matches!(glob, "*" | "**") || is_name && earlier.r#match.compile_matcher().is_match(pattern)
    })
}

fn channels(config: &Config, found: &mut Found) {
    for (number, rule) in config.channels.iter().enumerate() {
        let pattern = rule.r#match.glob();
        let is_bare = config
            .raw
            .channel
            .as_ref()
            .is_some_and(|channel| channel.as_str() == pattern);
        let name = format!("{CHANNELS}[{number}].match");
        found.when(is_bare, &[&name, "raw.channel"], || {
            "the bare channel is governed by the settings of [raw] alone; it must not have a rule of its own".into()
        });
        found.when(pattern.is_empty(), &[&name], || {
            "an empty pattern matches no channel".into()
        });
        let earlier = earlier_for_all(config, number);
        found.when(earlier.is_some(), &[&name], || {
            let earlier = earlier.map_or("", |rule| rule.r#match.glob());
            format!(
                "no channel comes to this rule: all match {} before it",
                kind::quoted(earlier)
            )
        });
        let name = format!("{CHANNELS}[{number}].subscribe");
        let asks = rule.subscribe == Subscribe::Backend && config.backend.subscribe.is_none();
        found.when(asks, &[&name, "backend.subscribe"], || {
            "there is no backend to ask: set backend.subscribe".into()
        });
        let name = format!("{CHANNELS}[{number}].publish");
        let asks = rule.publish == Publish::Backend && config.backend.publish.is_none();
        found.when(asks, &[&name, "backend.publish"], || {
            "there is no backend to ask: set backend.publish".into()
        });
        let name = format!("{CHANNELS}[{number}].force_push_join_leave");
        found.when(rule.force_push_join_leave && !rule.join_leave, &[&name], || {
            "nobody comes or goes without join_leave = true".into()
        });
        let name = format!("{CHANNELS}[{number}].window");
        found.when(
            rule.window.is_some_and(|window| window > config.delivery.window_max),
            &[&name, "delivery.window_max"],
            || "must not be more than delivery.window_max".into(),
        );
    }
}
