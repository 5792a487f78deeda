//! Any message to the Centrifuge dialect, by every way that there is; and any bytes as what it has to tell, in every encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/checks/centrifuge.rs"]
mod checks;

fuzz_target!(|input: &[u8]| {
    checks::message(input);
    checks::emulation(input);
    checks::one_way(input);
    checks::told(input);
});
