//! Any bytes: refused, or read and written again as they were.
#![no_main]

use bus::envelope::Envelope;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(envelope) = Envelope::decode(input) {
        assert_eq!(&envelope.encode()[..], input);
    }
});
