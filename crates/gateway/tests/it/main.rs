//! The gateway as its users meet it: the program, its settings, and real sockets.

mod cli;
mod config;
