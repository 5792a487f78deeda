//! Whose keys open the API, and for which calls.
//!
//! Keeps digests instead of keys, so all comparisons are of one length. Invariant: a key that is offered is compared with every other one, in
//! constant time, so how long it takes tells neither which keys there are nor how much of one was right.

use std::sync::Arc;

use ring::digest::{Digest, SHA256, digest};
use subtle::ConstantTimeEq;

use crate::config::Call;
use crate::config::Config;

/// Every key of the settings.
pub(super) struct Keys(Vec<Arc<Key>>);

/// A key, without itself.
pub(super) struct Key {
    pub(super) name: String,
    digest: Digest,
    calls: Vec<Call>,
}

impl Keys {
    pub(super) fn new(config: &Config) -> Self {
        let admin = config
            .admin
            .api_key
            .iter()
            .map(|key| ("admin.api_key", key, Call::all().collect()));
        let others = config.api.keys.iter().filter_map(|key| {
            let calls = key.calls.clone();
            Some((key.name.as_str(), key.key.as_ref()?, calls))
        });
        let keys = admin.chain(others).filter(|(_, key, _)| !key.expose().is_empty());
        let keys = keys.map(|(name, key, calls)| Key {
            name: name.to_owned(),
            digest: digest(&SHA256, key.expose().as_bytes()),
            calls,
        });
        Self(keys.map(Arc::new).collect())
    }

    /// The key that is the same as `offered`.
    pub(super) fn find(&self, offered: &[u8]) -> Option<Arc<Key>> {
        let offered = digest(&SHA256, offered);
        let mut found = None;
        for key in &self.0 {
            if key.digest.as_ref().ct_eq(offered.as_ref()).into() {
                found = Some(Arc::clone(key));
            }
        }
        found
    }
}

impl Key {
    /// Whether it is for `call`. A batch is judged by what is in it.
    pub(super) fn is_for(&self, call: Call) -> bool {
        call == Call::Batch || self.calls.contains(&call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ApiKey, Secret};

    #[test]
    fn a_key_opens_its_calls() {
        let mut config = Config::default();
        assert!(Keys::new(&config).find(b"").is_none(), "no key is no key");
        config.admin.api_key = Some(Secret::new(""));
        assert!(Keys::new(&config).find(b"").is_none(), "nor is an empty one");
        config.admin.api_key = Some(Secret::new("one for all"));
        config.api.keys = vec![ApiKey {
            name: "shop".into(),
            key: Some(Secret::new("one for publishing")),
            calls: vec![Call::Publish],
            ..ApiKey::default()
        }];
        let keys = Keys::new(&config);
        let opens = |offered: &str, call| keys.find(offered.as_bytes()).map(|key| key.is_for(call));
        assert_eq!(opens("one for all", Call::Info), Some(true));
        assert_eq!(opens("one for publishing", Call::Publish), Some(true));
        assert_eq!(opens("one for publishing", Call::Batch), Some(true));
        assert_eq!(opens("one for publishing", Call::Broadcast), Some(false));
        for wrong in ["", "one", "one for all ", "One for all"] {
            assert_eq!(opens(wrong, Call::Publish), None, "{wrong:?}");
        }
    }
}
