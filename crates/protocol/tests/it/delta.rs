//! Patches of any payloads.

use proptest::prelude::*;

use crate::checks;

proptest! {
    #[test]
    fn any_bytes(base: Vec<u8>, other: Vec<u8>) {
        checks::delta::patch(&base, &other);
        checks::delta::foreign(&base, &other);
    }

    #[test]
    fn any_patch(patch in "[0-3]{1,2}\n([0-9A]{1,2}(@[0-9]{1,2},|:[a-z]{0,4})){0,4}[0-9a-z]{1,3};") {
        checks::delta::foreign(b"a base of some bytes", patch.as_bytes());
    }
}
