//! Properties of the codecs, and their speed.

#[path = "../checks/mod.rs"]
mod checks;
mod frame;
mod json;
mod speed;
