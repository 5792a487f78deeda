//! Properties of the codecs, and their speed.

extern crate fanfare_protocol as protocol; // the name that every other crate knows it by

#[path = "../checks/mod.rs"]
mod checks;
mod frame;
mod json;
mod speed;
