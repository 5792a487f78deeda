//! Where keys come from: the settings, and files that may change while the process runs.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jsonwebtoken::Algorithm;
use parking_lot::Mutex;

use super::jwks::{self, LeftOut, SetError};
use super::keys::{Key, KeyError};
use crate::config::{Secret, Tokens};
use crate::http_client::TrustError;

/// More bytes than any key or set has; what is longer is something else.
pub(super) const LONGEST_SET: usize = 1 << 20;

/// Why the keys of a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    /// The file cannot be read.
    #[error("{path}: cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: std::io::Error,
    },
    /// It is not what a file with a public key has to be.
    #[error("{path}: {source}")]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: KeyError,
    },
    /// It is not a key set that can be used.
    #[error("{path}: {source}")]
    Set {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: SetError,
    },
    /// No certificate can be trusted where a key set would be fetched.
    #[error("cannot fetch the key set over TLS: {0}")]
    Trust(#[from] TrustError),
}

impl SourceError {
    /// What is wrong, for where the file is named already.
    pub(crate) fn without_path(&self) -> String {
        match self {
            Self::Read { source, .. } => format!("the file cannot be read: {source}"),
            Self::Key { source, .. } => source.to_string(),
            Self::Set { source, .. } => source.to_string(),
            Self::Trust(error) => error.to_string(),
        }
    }
}

/// What there is to say of keys that were read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Inventory {
    /// How many keys there are.
    pub(crate) keys: usize,
    /// Keys of the set that are not used; worth a warning each.
    pub(crate) left_out: Vec<LeftOut>,
}

/// All places that keys come from but the URL of a set, which is in `remote.rs`.
#[derive(Debug)]
pub(super) struct Sources {
    secret: Option<(Secret, Vec<Algorithm>)>,
    public_key: Option<PathBuf>,
    set: Option<PathBuf>,
    /// The dates of the two files when they were last read.
    seen: Mutex<[Option<SystemTime>; 2]>,
}

impl Sources {
    pub(super) fn new(tokens: &Tokens) -> Self {
        let algorithms = tokens
            .hmac_algorithms
            .iter()
            .map(|algorithm| (*algorithm).into())
            .collect();
        Self {
            secret: tokens.hmac_secret.clone().map(|secret| (secret, algorithms)),
            public_key: tokens.public_key_file.clone(),
            set: tokens.jwks_file.clone(),
            seen: Mutex::default(),
        }
    }

    /// Whether one of the files is another than when it was read.
    pub(super) fn have_changed(&self) -> bool {
        *self.seen.lock() != self.dates()
    }

    /// All keys.
    pub(super) fn read(&self) -> Result<(Vec<Key>, Inventory), SourceError> {
        // Before the files: one that changes while it is read is read again. And before errors: a file is told wrong once.
        *self.seen.lock() = self.dates();
        let mut keys = Vec::new();
        if let Some((secret, algorithms)) = &self.secret {
            keys.push(Key::secret(secret.expose().as_bytes(), algorithms));
        }
        if let Some(path) = &self.public_key {
            keys.push(public_key(path)?);
        }
        let mut left_out = Vec::new();
        if let Some(path) = &self.set {
            let (found, others) = key_set(path)?;
            keys.extend(found);
            left_out = others;
        }
        let inventory = Inventory {
            keys: keys.len(),
            left_out,
        };
        Ok((keys, inventory))
    }

    fn dates(&self) -> [Option<SystemTime>; 2] {
        [&self.public_key, &self.set].map(|path| std::fs::metadata(path.as_ref()?).ok()?.modified().ok())
    }
}

fn public_key(path: &Path) -> Result<Key, SourceError> {
    Key::pem(&read(path)?).map_err(|source| SourceError::Key {
        path: path.into(),
        source,
    })
}

fn key_set(path: &Path) -> Result<(Vec<Key>, Vec<LeftOut>), SourceError> {
    jwks::parse(&read(path)?).map_err(|source| SourceError::Set {
        path: path.into(),
        source,
    })
}

/// What is wrong with a file that has to have a public key.
pub(crate) fn flaw_of_public_key(path: &Path) -> Option<SourceError> {
    public_key(path).err()
}

/// What is wrong with a file that has to have a key set.
pub(crate) fn flaw_of_key_set(path: &Path) -> Option<SourceError> {
    key_set(path).err()
}

fn read(path: &Path) -> Result<String, SourceError> {
    let read = || {
        let length = std::fs::metadata(path)?.len();
        match length > LONGEST_SET as u64 {
            true => Err(std::io::Error::other(format!("{length} bytes are too many"))),
            false => std::fs::read_to_string(path),
        }
    };
    read().map_err(|source| SourceError::Read {
        path: path.into(),
        source,
    })
}
