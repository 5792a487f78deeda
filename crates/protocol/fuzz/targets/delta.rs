//! Any base with any target, and with any patch.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/checks/delta.rs"]
mod checks;

fuzz_target!(|input: &[u8]| {
    // The first two bytes say how long the base is.
    let Some((&length, rest)) = input.split_first_chunk::<2>() else {
        return;
    };
    let middle = usize::from(u16::from_be_bytes(length)).min(rest.len());
    let (base, other) = rest.split_at(middle);
    checks::patch(base, other);
    checks::foreign(base, other);
});
