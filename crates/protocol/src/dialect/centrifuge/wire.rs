//! The messages of the schema, as structs; see `schema.proto`.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::arithmetic_side_effects,
    reason = "made by prost from the schema, which says what they are"
)]

use super::object::{object, raw, value};

include!(concat!(env!("OUT_DIR"), "/centrifuge.rs"));
include!(concat!(env!("OUT_DIR"), "/objects.rs"));
