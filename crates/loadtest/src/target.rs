//! Where to connect: a `ws://` or `wss://` URL, parsed and resolved once.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use rustls::pki_types::ServerName;

/// How long each address of a name has to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// A server's address and what the handshake says about it.
#[derive(Debug, Clone)]
pub struct Target {
    /// The first address of the host name that took a connection, or the first of all if none did.
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
    /// Parses and resolves `url`; one without a path gets `path`. A name with several addresses is tried: `localhost` is often `::1` before
    /// it is `127.0.0.1`, where the server is.
    pub fn parse(url: &str, path: &str) -> Result<Self, TargetError> {
        let not_a_url = || TargetError::NotAUrl(url.to_owned());
        let (rest, is_tls) = match (url.strip_prefix("ws://"), url.strip_prefix("wss://")) {
            (Some(rest), _) => (rest, false),
            (_, Some(rest)) => (rest, true),
            _ => return Err(not_a_url()),
        };
        let (authority, path) = match rest.find(['/', '?']) {
            Some(at) if rest[at..].starts_with('/') => (&rest[..at], rest[at..].to_owned()),
            Some(at) => (&rest[..at], format!("{path}{}", &rest[at..])),
            None => (rest, path.to_owned()),
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
    let failed = |source| TargetError::Resolve {
        host: host.to_owned(),
        source,
    };
    let addresses: Vec<_> = host.to_socket_addrs().map_err(|error| failed(Some(error)))?.collect();
    choose(&addresses).ok_or_else(|| failed(None))
}

/// The first that takes a connection. An only one is not tried: whether it answers is for the run to say.
fn choose(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    let answers = |address: &&SocketAddr| TcpStream::connect_timeout(address, PATIENCE).is_ok();
    match addresses {
        [] | [_] => None,
        several => several.iter().find(answers),
    }
    .or(addresses.first())
    .copied()
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use super::{Target, choose};

    #[track_caller]
    fn check(url: &str, expected: Option<(&str, &str, &str, bool)>) {
        let parsed = Target::parse(url, "/").ok();
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

    #[test]
    fn a_url_without_a_path_gets_the_usual_one() {
        let path = |url| Target::parse(url, "/usual").expect("a URL").path;
        assert_eq!(path("ws://127.0.0.1:1"), "/usual");
        assert_eq!(path("ws://127.0.0.1:1?a=b"), "/usual?a=b");
        assert_eq!(path("ws://127.0.0.1:1/"), "/");
    }

    #[test]
    fn of_several_addresses_one_that_answers_is_chosen() {
        let taken = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = |listener: &TcpListener| listener.local_addr().expect("bound");
        let dead = address(&taken());
        let (live, other) = (taken(), taken());
        let check = |addresses: &[SocketAddr], expected| assert_eq!(choose(addresses), expected, "{addresses:?}");
        check(&[dead, address(&live), address(&other)], Some(address(&live)));
        check(&[address(&other), address(&live)], Some(address(&other)));
        check(&[dead, dead], Some(dead));
        check(&[dead], Some(dead));
        check(&[], None);
    }
}
