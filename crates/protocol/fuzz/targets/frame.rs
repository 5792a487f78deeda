//! Any bytes, in any chunks, for either role, with limits that are easily met and limits that are not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::frame::{Limits, Role};

#[path = "../../tests/checks/frame.rs"]
mod checks;

fuzz_target!(|input: &[u8]| {
    let Some((&[settings, ref sizes @ ..], stream)) = input.split_first_chunk::<4>() else {
        return;
    };
    let role = if settings & 1 == 0 { Role::Server } else { Role::Client };
    let limits = if settings & 2 == 0 {
        Limits {
            message_size: 64 * 1024,
            fragments: 16,
        }
    } else {
        Limits {
            message_size: 140,
            fragments: 2,
        }
    };
    checks::stream(role, &limits, stream, sizes);
});
