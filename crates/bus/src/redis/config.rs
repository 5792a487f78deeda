//! How to reach Redis, and how patient to be with it.
//!
//! Owns the settings and their check: [`Target`] is what is left when nothing about them can be wrong any more. Never shows a password.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, RedisError, TlsCertificates};
use async_trait::async_trait;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use uuid::Uuid;

use crate::QueueLimits;

/// How to reach Redis. Start from [`RedisConfig::new`] and change what differs.
#[derive(Clone)]
pub struct RedisConfig {
    /// `redis://` or, with TLS, `rediss://`, then `[user[:password]@]host[:port][/database]`. The database is not
    /// selected: publications know none, and presence is kept in database 0.
    pub url: String,
    /// The ACL user, if `url` has none.
    pub username: Option<String>,
    /// The password, if `url` has none.
    pub password: Option<String>,
    /// Certificates (PEM) to trust for `rediss://`, instead of those of the system. Read once, at the start.
    pub ca_file: Option<PathBuf>,
    /// Comes before every name on Redis but the bare channel's; at most 64 printable ASCII characters without blanks and `* ? [ ] { } \`.
    pub prefix: String,
    /// Most connections of the pool that serves what needs a connection for itself.
    pub pool_size: usize,
    /// How long finding, opening and greeting a connection may take, each.
    pub connect_timeout: Duration,
    /// How long Redis may take to answer.
    pub response_timeout: Duration,
    /// How often the bus speaks to itself through Redis.
    pub canary_interval: Duration,
    /// How long it may take to hear itself.
    pub echo_deadline: Duration,
    /// The longest pause between two attempts to connect. Pauses are random, and short at first.
    pub reconnect_max: Duration,
    /// How long a process that is silent counts as alive, and its clients as present.
    pub presence_lease: Duration,
    /// How often a process says that it is alive; at most a third of `presence_lease`.
    pub presence_refresh: Duration,
    /// The largest publication that is taken in, in bytes on Redis; a larger one is counted and passed over.
    pub max_publication: usize,
    /// The bounds of the queue to the listener.
    pub queue: QueueLimits,
    /// Who this process is; no other may have the same.
    pub node: Uuid,
    /// Finds the addresses of the host, anew for each attempt to connect.
    pub resolver: Arc<dyn Resolve>,
}

/// Finds the addresses behind a name.
#[async_trait]
pub trait Resolve: Send + Sync {
    /// Every address of `host` now, with `port`. None is no error: it means to try again later.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// Asks the operating system.
#[derive(Debug, Clone, Copy)]
pub struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}

/// What is wrong with a [`RedisConfig`].
#[derive(Debug, thiserror::Error)]
pub enum RedisConfigError {
    /// The URL cannot be read.
    #[error("the Redis URL is not redis://[user[:password]@]host[:port][/database] or the same with rediss://")]
    Url {
        /// What the parser says.
        source: RedisError,
    },
    /// The URL asks for something other than a host.
    #[error("the Redis URL must name a host, and must not turn the check of certificates off")]
    Unsupported,
    /// The host cannot be the name in a certificate.
    #[error("{host:?} cannot be the name in a certificate")]
    ServerName {
        /// The host of the URL.
        host: String,
        /// What is wrong with it.
        source: InvalidDnsNameError,
    },
    /// The file with certificates cannot be used.
    #[error("no certificate to trust could be read from {}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why; `None` if there is no certificate in it.
        source: Option<pem::Error>,
    },
    /// The system has no certificates to trust, or the TLS library takes none of them.
    #[error("the system has no usable certificates to trust; name a file with some")]
    NoRoots,
    /// The TLS library does not work with the settings of this crate.
    #[error("TLS cannot be set up")]
    Tls {
        /// What it says.
        source: rustls::Error,
    },
    /// The prefix is too long or has characters that it must not have.
    #[error("the prefix {prefix:?} must be at most 64 printable ASCII characters without blanks and * ? [ ] {{ }} \\")]
    Prefix {
        /// The prefix.
        prefix: String,
    },
    /// A number must not be zero.
    #[error("{setting} must be more than zero")]
    Zero {
        /// The field of [`RedisConfig`].
        setting: &'static str,
    },
    /// One late answer could make the lease run out.
    #[error("presence_lease ({lease:?}) must be at least three times presence_refresh ({refresh:?})")]
    Lease {
        /// The lease.
        lease: Duration,
        /// How often it is made longer.
        refresh: Duration,
    },
    /// The bus was not started inside a tokio runtime.
    #[error("the bus must be started inside a tokio runtime")]
    NoRuntime,
}

impl RedisConfig {
    /// Sensible settings for the Redis at `url`, and a node id that nobody has.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            username: None,
            password: None,
            ca_file: None,
            prefix: "fanfare:".to_owned(),
            pool_size: 4,
            connect_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_secs(2),
            canary_interval: Duration::from_secs(2),
            echo_deadline: Duration::from_secs(2),
            reconnect_max: Duration::from_secs(1),
            presence_lease: Duration::from_secs(15),
            presence_refresh: Duration::from_secs(5),
            max_publication: 2 * 1024 * 1024,
            queue: QueueLimits::default(),
            node: Uuid::new_v4(),
            resolver: Arc::new(SystemResolver),
        }
    }

    /// Checks everything that can be checked without a network.
    pub(crate) fn target(&self) -> Result<Target, RedisConfigError> {
        self.check_numbers()?;
        self.check_prefix()?;
        let mut info = self
            .url
            .as_str()
            .into_connection_info()
            .map_err(|source| RedisConfigError::Url { source })?;
        // The name of the library would be one more right to ask for, and so would SELECT; publications know no databases.
        let mut login = info.redis_settings().clone().set_skip_set_lib_name().set_db(0);
        if let Some(username) = self.username.as_ref().filter(|_| login.username().is_none()) {
            login = login.set_username(username);
        }
        if let Some(password) = self.password.as_ref().filter(|_| login.password().is_none()) {
            login = login.set_password(password);
        }
        info = info.set_redis_settings(login.clone());
        let (host, port, tls) = match info.addr() {
            ConnectionAddr::Tcp(host, port) => (host.clone(), *port, None),
            ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                ..
            } => (host.clone(), *port, Some(self.tls(host)?)),
            _ => return Err(RedisConfigError::Unsupported),
        };
        let info = self.with_certificates(info)?;
        Ok(Target {
            host,
            port,
            tls,
            login,
            info,
        })
    }

    fn check_numbers(&self) -> Result<(), RedisConfigError> {
        let is_zero = [
            ("pool_size", self.pool_size == 0),
            ("connect_timeout", self.connect_timeout.is_zero()),
            ("response_timeout", self.response_timeout.is_zero()),
            ("canary_interval", self.canary_interval.is_zero()),
            ("echo_deadline", self.echo_deadline.is_zero()),
            ("reconnect_max", self.reconnect_max.is_zero()),
            ("presence_refresh", self.presence_refresh.is_zero()),
            ("max_publication", self.max_publication == 0),
            ("queue.messages", self.queue.messages == 0),
            ("queue.bytes", self.queue.bytes == 0),
        ];
        match is_zero.into_iter().find(|(_, is_zero)| *is_zero) {
            Some((setting, _)) => Err(RedisConfigError::Zero { setting }),
            None if self.presence_lease < self.presence_refresh * 3 => Err(RedisConfigError::Lease {
                lease: self.presence_lease,
                refresh: self.presence_refresh,
            }),
            None => Ok(()),
        }
    }

    fn check_prefix(&self) -> Result<(), RedisConfigError> {
        let is_allowed = |byte: u8| byte.is_ascii_graphic() && !b"*?[]{}\\".contains(&byte);
        if self.prefix.len() <= 64 && self.prefix.bytes().all(is_allowed) {
            Ok(())
        } else {
            Err(RedisConfigError::Prefix {
                prefix: self.prefix.clone(),
            })
        }
    }

    fn tls(&self, host: &str) -> Result<(TlsConnector, ServerName<'static>), RedisConfigError> {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name =
            ServerName::try_from(host.clone()).map_err(|source| RedisConfigError::ServerName { host, source })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|source| RedisConfigError::Tls { source })?
            .with_root_certificates(self.roots()?)
            .with_no_client_auth();
        Ok((TlsConnector::from(Arc::new(config)), name))
    }

    fn roots(&self) -> Result<RootCertStore, RedisConfigError> {
        let mut roots = RootCertStore::empty();
        let Some(path) = &self.ca_file else {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            return if roots.is_empty() {
                Err(RedisConfigError::NoRoots)
            } else {
                Ok(roots)
            };
        };
        let failed = |source| RedisConfigError::CaFile {
            path: path.clone(),
            source,
        };
        let certificates = CertificateDer::pem_file_iter(path).map_err(|source| failed(Some(source)))?;
        let certificates: Vec<_> = certificates
            .collect::<Result<_, _>>()
            .map_err(|source| failed(Some(source)))?;
        roots.add_parsable_certificates(certificates);
        if roots.is_empty() { Err(failed(None)) } else { Ok(roots) }
    }

    /// The same file for the connections that the Redis library opens itself.
    fn with_certificates(&self, info: ConnectionInfo) -> Result<ConnectionInfo, RedisConfigError> {
        let (Some(path), ConnectionAddr::TcpTls { .. }) = (&self.ca_file, info.addr()) else {
            return Ok(info);
        };
        let root_cert = std::fs::read(path).map_err(|source| RedisConfigError::CaFile {
            path: path.clone(),
            source: Some(pem::Error::Io(source)),
        })?;
        let certificates = TlsCertificates {
            client_tls: None,
            root_cert: Some(root_cert),
        };
        let client =
            ::redis::Client::build_with_tls(info, certificates).map_err(|source| RedisConfigError::Url { source })?;
        Ok(client.get_connection_info().clone())
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = |secret: &Option<String>| secret.as_ref().map(|_| "***");
        f.debug_struct("RedisConfig")
            .field("url", &without_login(&self.url))
            .field("username", &hidden(&self.username))
            .field("password", &hidden(&self.password))
            .field("ca_file", &self.ca_file)
            .field("prefix", &self.prefix)
            .field("pool_size", &self.pool_size)
            .field("connect_timeout", &self.connect_timeout)
            .field("response_timeout", &self.response_timeout)
            .field("canary_interval", &self.canary_interval)
            .field("echo_deadline", &self.echo_deadline)
            .field("reconnect_max", &self.reconnect_max)
            .field("presence_lease", &self.presence_lease)
            .field("presence_refresh", &self.presence_refresh)
            .field("max_publication", &self.max_publication)
            .field("queue", &self.queue)
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

/// The URL with nothing of its login, and nothing behind the host that could hold one.
fn without_login(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let host = rest.rsplit('@').next().unwrap_or_default();
    let host = host.split(['?', '#']).next().unwrap_or_default();
    format!("{scheme}://{host}")
}

/// Where Redis is and how to log in, with nothing left that can be wrong.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: Option<(TlsConnector, ServerName<'static>)>,
    pub(crate) login: RedisConnectionInfo,
    /// The same for the Redis library.
    pub(crate) info: ConnectionInfo,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(change: impl FnOnce(&mut RedisConfig), expected: &str) {
        let mut config = RedisConfig::new("redis://127.0.0.1:6379");
        change(&mut config);
        let found = config.target().map(|target| format!("{}:{}", target.host, target.port));
        let found = found.unwrap_or_else(|error| error.to_string());
        assert!(found.contains(expected), "{found:?} does not contain {expected:?}");
    }

    #[test]
    fn what_can_be_wrong_is_said() {
        check(|_| {}, "127.0.0.1:6379");
        check(
            |config| config.url = "redis://redis.example".into(),
            "redis.example:6379",
        );
        check(|config| config.url = "rediss://redis.example:1".into(), "");
        check(
            |config| config.url = "http://redis.example".into(),
            "the Redis URL is not",
        );
        check(|config| config.url = "unix:///tmp/redis".into(), "must name a host");
        check(
            |config| config.url = "rediss://redis.example/#insecure".into(),
            "must not turn the check",
        );
        check(|config| config.prefix = "a b".into(), "the prefix");
        check(|config| config.prefix = "x".repeat(65), "the prefix");
        check(|config| config.prefix = "a{".into(), "the prefix");
        check(|config| config.pool_size = 0, "pool_size");
        check(|config| config.presence_refresh = Duration::ZERO, "presence_refresh");
        check(
            |config| config.presence_lease = config.presence_refresh,
            "at least three times",
        );
        check(|config| config.queue.messages = 0, "queue.messages");
        check(
            |config| {
                config.url = "rediss://redis.example".into();
                config.ca_file = Some("/does/not/exist".into());
            },
            "/does/not/exist",
        );
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut config = RedisConfig::new("redis://ann:hush1@redis.example/1");
        config.username = Some("hush2".into());
        config.password = Some("hush3".into());
        let shown = format!("{config:?}");
        assert!(
            shown.contains("redis://redis.example/1") && !shown.contains("hush") && !shown.contains("ann"),
            "{shown}"
        );
    }

    #[test]
    fn the_login_of_the_url_wins() {
        for (url, username, password) in [
            ("redis://ann:pw1@redis.example/1", "ann", "pw1"),
            ("redis://ann@redis.example", "ann", "pw2"),
            ("redis://:pw1@redis.example", "bob", "pw1"),
            ("redis://redis.example", "bob", "pw2"),
        ] {
            let mut config = RedisConfig::new(url);
            config.username = Some("bob".into());
            config.password = Some("pw2".into());
            let Target { login, info, .. } = config.target().expect("valid");
            for login in [&login, info.redis_settings()] {
                assert_eq!(
                    (login.username(), login.password(), login.db()),
                    (Some(username), Some(password), 0),
                    "{url}"
                );
            }
        }
    }

    #[test]
    fn errors_do_not_repeat_the_url() {
        let config = RedisConfig::new("redis://ann:hush@:x/y");
        let error = config.target().err().expect("not a URL");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("hush"), "{shown}");
    }
}
