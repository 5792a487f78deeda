//! Any message to the Centrifuge dialect, in either encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/checks/centrifuge.rs"]
mod checks;

fuzz_target!(|input: &[u8]| checks::message(input));
