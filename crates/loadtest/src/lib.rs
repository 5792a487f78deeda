//! Opens many WebSockets against one or several servers, publishes, and says what arrived, how late, and what it cost the server.
//!
//! One thread, one poll loop: as little work for each message as a reader can do, so that the server under test is the bottleneck and
//! not its measure. Speaks the wire through `protocol`, knows nothing of the gateway, and measures any server that relays a JSON text
//! to every connection of the same path, or that speaks the Centrifuge protocol.

pub mod args;
mod centrifuge;
mod client;
mod engine;
pub mod handshake;
mod idle;
mod layout;
mod ledger;
mod opening;
pub mod payload;
pub mod process;
pub mod report;
mod run;
mod socket;
mod storm;
pub mod target;
mod token;
mod traffic;

pub use run::run;
