//! What holds for any base, any target and any patch.

use protocol::delta::{apply, create};

/// A patch that is made leads to `target`, is shorter, and cuts no character.
pub(crate) fn patch(base: &[u8], target: &[u8]) {
    let Some(patch) = create(base, target) else { return };
    assert!(patch.len() < target.len());
    assert_eq!(apply(base, &patch, target.len()).as_deref(), Ok(target));
    if std::str::from_utf8(target).is_ok() {
        assert!(std::str::from_utf8(&patch).is_ok());
    }
}

/// A patch of a stranger makes no more than is allowed.
pub(crate) fn foreign(base: &[u8], patch: &[u8]) {
    const MOST: usize = 4096;
    if let Ok(target) = apply(base, patch, MOST) {
        assert!(target.len() <= MOST);
    }
}
