//! Where to connect: a `ws://` or `wss://` URL, parsed and resolved once.

use std::net::{SocketAddr, ToSocketAddrs};

use rustls::pki_types::ServerName;

/// A server's address and what the handshake says about it.
#[derive(Debug, Clone)]
pub struct Target {
    /// The first address that the host name resolved to.
    pub address: SocketAddr,
    /// The value of the Host header.
    pub host: String,
    /// Path and query, with the leading slash.
    pub path: String,
    /// The name to verify the certificate against; `None` is plain TCP.
    pub tls: Option<ServerName<'static>>,
}

/// Why a URL is not a target.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Something other than a WebSocket URL.
    #[error("{0:?} is not a WebSocket URL: expected ws://HOST[:PORT][/PATH] or wss://...")]
    NotAUrl(String),
    /// A name that does not resolve.
    #[error("{host} does not resolve")]
    Resolve {
        /// Host and port as given.
        host: String,
        /// The resolver's answer, when it gave one.
        source: Option<std::io::Error>,
    },
}

impl Target {
    /// Parses and resolves `url`.
    pub fn parse(url: &str) -> Result<Self, TargetError> {
        let not_a_url = || TargetError::NotAUrl(url.to_owned());
        let (rest, is_tls) = match (url.strip_prefix("ws://"), url.strip_prefix("wss://")) {
            (Some(rest), _) => (rest, false),
            (_, Some(rest)) => (rest, true),
            _ => return Err(not_a_url()),
        };
        let (authority, path) = match rest.find(['/', '?']) {
            Some(at) if rest[at..].starts_with('/') => (&rest[..at], rest[at..].to_owned()),
            Some(at) => (&rest[..at], format!("/{}", &rest[at..])),
            None => (rest, "/".to_owned()),
        };
        if authority.is_empty() || authority.contains(['@', '#']) || path.contains(['#', ' ', '\r', '\n']) {
            return Err(not_a_url());
        }
        let host_and_port = with_port(authority, if is_tls { 443 } else { 80 });
        let (name, _) = host_and_port.rsplit_once(':').ok_or_else(not_a_url)?;
        let tls = match is_tls {
            true => {
                let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
                Some(ServerName::try_from(name).map_err(|_| not_a_url())?)
            }
            false => None,
        };
        Ok(Self {
            address: resolve(&host_and_port)?,
            host: authority.to_owned(),
            path,
            tls,
        })
    }

    /// The same server under another path.
    #[must_use]
    pub fn with_path(&self, path: &str) -> Self {
        Self {
            path: path.to_owned(),
            ..self.clone()
        }
    }
}

fn with_port(authority: &str, default: u16) -> String {
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty() && !port.ends_with(']'));
    if has_port {
        authority.to_owned()
    } else {
        format!("{}:{default}", authority.trim_end_matches(':'))
    }
}

fn resolve(host: &str) -> Result<SocketAddr, TargetError> {
    match host.to_socket_addrs() {
        Ok(mut addresses) => addresses.next().ok_or(TargetError::Resolve {
            host: host.to_owned(),
            source: None,
        }),
        Err(source) => Err(TargetError::Resolve {
            host: host.to_owned(),
            source: Some(source),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[track_caller]
    fn check(url: &str, expected: Option<(&str, &str, &str, bool)>) {
        let parsed = Target::parse(url).ok();
        let seen = parsed.as_ref().map(|target| {
            (
                target.address.to_string(),
                target.host.clone(),
                target.path.clone(),
                target.tls.is_some(),
            )
        });
        let expected =
            expected.map(|(address, host, path, tls)| (address.to_owned(), host.to_owned(), path.to_owned(), tls));
        assert_eq!(seen, expected, "{url}");
    }

    #[test]
    fn urls() {
        check(
            "ws://127.0.0.1:3000",
            Some(("127.0.0.1:3000", "127.0.0.1:3000", "/", false)),
        );
        check(
            "ws://127.0.0.1:3000/raw/a?token=x",
            Some(("127.0.0.1:3000", "127.0.0.1:3000", "/raw/a?token=x", false)),
        );
        check(
            "ws://127.0.0.1?a=b",
            Some(("127.0.0.1:80", "127.0.0.1", "/?a=b", false)),
        );
        check("wss://127.0.0.1", Some(("127.0.0.1:443", "127.0.0.1", "/", true)));
        check("ws://[::1]:9/x", Some(("[::1]:9", "[::1]:9", "/x", false)));
        check("ws://[::1]/x", Some(("[::1]:80", "[::1]", "/x", false)));
        check("http://127.0.0.1:3000", None);
        check("ws://", None);
        check("ws://user@127.0.0.1:1", None);
        check("ws://127.0.0.1:notaport", None);
        check("ws://127.0.0.1:1/a b", None);
    }
}
