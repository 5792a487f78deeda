//! What is deployed, read as those who run it read it: objects by their types, numbers that must agree, settings that the gateway takes.

mod agree;
mod objects;
mod plain;
mod settings;
mod typed;
