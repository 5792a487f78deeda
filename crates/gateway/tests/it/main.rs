//! The gateway as its users meet it: the program, its settings, and real sockets.

mod balancers;
mod cli;
mod cluster;
mod config;
mod interop;
mod outage;
