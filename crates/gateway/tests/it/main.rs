//! The gateway as its users meet it: the program, its settings, and real sockets.

mod admin;
mod api;
mod asyncapi;
mod backend;
mod balancers;
mod centrifuge;
mod cli;
mod cluster;
mod config;
mod conformance;
mod dialects;
mod drain;
mod hostile;
mod interop;
mod limits;
mod outage;
mod presence;
mod revocation;
mod rights;
mod slow;
mod streams;
mod support;
mod tls;
mod tokens;
