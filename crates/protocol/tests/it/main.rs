//! Properties of the codecs, and their speed.

mod centrifuge;
#[path = "../checks/mod.rs"]
mod checks;
mod delta;
mod frame;
mod json;
mod speed;
