//! HTTP: what listens, which routes there are, and how a client gets from a request to a lane.
//!
//! Decides who is let in, and knows nothing of what is said afterwards.

pub(crate) mod admin;
pub(crate) mod door;
pub(crate) mod server;
pub(crate) mod tls;

mod bodies;
mod demo;
mod streams;
mod upgrade;
