//! The certificate of the public listener, read again when its files change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, RwLock};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// How often the files are looked at, at most.
const LOOK: Duration = Duration::from_secs(2);

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not PEM.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key do not fit together, or are of a kind that is not supported.
    #[error("{cert} and {key} cannot be used")]
    Key {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong with them.
        source: rustls::Error,
    },
}

/// The configuration of a listener that always shows the newest certificate of `cert` and `key` (PEM).
pub(crate) fn server_config(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let certificate = Certificate {
        current: RwLock::new(load(cert, key)?),
        seen: Mutex::new((SystemTime::now(), changed(cert, key))),
        cert: cert.into(),
        key: key.into(),
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring supports the default versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificate));
    // Not HTTP/2: its WebSockets are another protocol.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct Certificate {
    cert: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<CertifiedKey>>,
    /// When the files were last looked at, and their dates then.
    seen: Mutex<(SystemTime, [Option<SystemTime>; 2])>,
}

impl Certificate {
    /// Reads the files again if they have changed. A certificate that cannot be used leaves the old one in place.
    fn renew(&self) {
        let Some(mut seen) = self.seen.try_lock() else { return };
        let now = SystemTime::now();
        if now.duration_since(seen.0).is_ok_and(|age| age < LOOK) {
            return;
        }
        let dates = changed(&self.cert, &self.key);
        if dates != seen.1 {
            match load(&self.cert, &self.key) {
                Ok(renewed) => {
                    *self.current.write() = renewed;
                    tracing::info!(cert = %self.cert.display(), "the certificate was renewed");
                }
                Err(error) => tracing::error!(%error, "the new certificate cannot be used, the old one stays"),
            }
        }
        *seen = (now, dates);
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.renew();
        Some(Arc::clone(&self.current.read()))
    }
}

fn load(cert: &Path, key: &Path) -> Result<Arc<CertifiedKey>, TlsError> {
    let read = |path: &Path| {
        let path = path.to_path_buf();
        move |source| TlsError::Read { path, source }
    };
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>())
        .map_err(read(cert))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(read(key))?;
    CertifiedKey::from_der(chain, private, &ring::default_provider())
        .map(Arc::new)
        .map_err(|source| TlsError::Key {
            cert: cert.into(),
            key: key.into(),
            source,
        })
}

fn changed(cert: &Path, key: &Path) -> [Option<SystemTime>; 2] {
    [cert, key].map(|path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok())
}
