//! Requests of our own over HTTP: one pool of connections, with or without TLS.
//!
//! Knows neither what is asked nor how long an answer may take; whoever asks drops the request when it has waited enough. Redirects are not
//! followed: the operator named the place, and another place is not trusted. Invariant: no more of an answer is kept than was allowed, and
//! no request is sent twice once any of it may have been read.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig, RootCertStore};

/// How long a connection is kept for the next request. Shorter than servers usually keep theirs: a request that meets their end is lost.
const IDLE: Duration = Duration::from_secs(4);
/// Connections that are kept for each server.
const MOST_IDLE: usize = 64;
/// Most bytes of the head of an answer.
const LONGEST_HEAD: usize = 64 << 10;

/// Asks servers over HTTP. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub(crate) struct HttpClient(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

/// An answer, whole.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

/// Why no certificate could be trusted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustError {
    /// The file has no certificates, or cannot be read.
    #[error("{path}: cannot be used as certificates{}", .source.as_ref().map(|source| format!(": {source}")).unwrap_or_default())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong, unless it has none.
        source: Option<pem::Error>,
    },
    /// The system has none.
    #[error("the system has no certificates to trust; name some by a setting")]
    NoRoots,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// There was no connection, or it closed before anything was sent: the request cannot have been read.
    #[error("cannot be reached: {}", chain(.0))]
    Unreachable(Error),
    /// The connection failed later: the request may have been read.
    #[error("did not answer: {0}")]
    Broken(String),
    /// The answer is longer than allowed.
    #[error("answered with more than {0} bytes")]
    TooLong(usize),
}

impl HttpClient {
    /// One that trusts the certificates of `ca_file`, or those of the system. These are looked for only if it `is_secure`: without, no
    /// server can be asked over TLS.
    pub(crate) fn new(ca_file: Option<&Path>, is_secure: bool) -> Result<Self, TrustError> {
        let roots = match is_secure {
            true => roots(ca_file)?,
            false => RootCertStore::empty(),
        };
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring supports the default versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MOST_IDLE)
            .http1_max_buf_size(LONGEST_HEAD)
            .build(connector);
        Ok(Self(client))
    }

    /// Asks for `url` with `body`, and keeps at most `most` bytes of the answer. Must be called on a runtime of tokio, which ends the
    /// connections when it ends.
    pub(crate) async fn post(
        &self,
        url: &Uri,
        headers: HeaderMap,
        body: Bytes,
        most: usize,
    ) -> Result<Answer, HttpError> {
        self.ask(Method::POST, url, headers, body, most).await
    }

    /// The same, without a body.
    pub(crate) async fn get(&self, url: &Uri, most: usize) -> Result<Answer, HttpError> {
        self.ask(Method::GET, url, HeaderMap::new(), Bytes::new(), most).await
    }

    async fn ask(
        &self,
        method: Method,
        url: &Uri,
        headers: HeaderMap,
        body: Bytes,
        most: usize,
    ) -> Result<Answer, HttpError> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = url.clone();
        *request.headers_mut() = headers;
        let (head, body) = self.0.request(request).await.map_err(HttpError::from)?.into_parts();
        match Limited::new(body, most).collect().await {
            Ok(body) => Ok(Answer {
                status: head.status,
                body: body.to_bytes(),
            }),
            Err(error) if error.is::<LengthLimitError>() => Err(HttpError::TooLong(most)),
            Err(error) => Err(HttpError::Broken(chain(&*error))),
        }
    }
}

impl From<Error> for HttpError {
    fn from(error: Error) -> Self {
        let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<hyper::Error>());
        match error.is_connect() || source.is_some_and(hyper::Error::is_canceled) {
            true => Self::Unreachable(error),
            false => Self::Broken(chain(&error)),
        }
    }
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca_file else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return match roots.is_empty() {
            true => Err(TrustError::NoRoots),
            false => Ok(roots),
        };
    };
    let failed = |source| TrustError::CaFile {
        path: path.into(),
        source,
    };
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>())
        .map_err(|source| failed(Some(source)))?;
    roots.add_parsable_certificates(certificates);
    match roots.is_empty() {
        true => Err(failed(None)),
        false => Ok(roots),
    }
}

/// An error with its causes, on one line: the outermost alone seldom says what is wrong.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    let mut words = Vec::new();
    for cause in causes.map(ToString::to_string) {
        if words.last() != Some(&cause) {
            words.push(cause);
        }
    }
    match words.is_empty() {
        true => error.to_string(),
        false => words.join(": "),
    }
}
