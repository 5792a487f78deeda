//! The words on the wire: what clients ask, what they are told, and how each dialect spells it.
//!
//! No I/O, no async, no clock: bytes in, values out. Nothing here knows a socket, Redis or a configuration file.
//!
//! What comes in is hostile, so nothing here may panic or wrap by surprise: the lints below leave no `unwrap`, no index and no
//! arithmetic that has not been looked at.

#![deny(clippy::unwrap_used, clippy::indexing_slicing)]
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

pub mod channel;
pub mod client_info;
pub mod close;
pub mod command;
pub mod delta;
pub mod dialect;
pub mod error;
pub mod event;
pub mod filter;
pub mod frame;
pub mod json;
pub mod position;
pub mod publication;
pub mod reason;

pub use channel::{Channel, ChannelError};
pub use client_info::ClientInfo;
pub use close::Close;
pub use command::{Command, Request};
pub use dialect::{DecodeError, Dialect, Encoding};
pub use error::CommandError;
pub use event::Event;
pub use filter::Filter;
pub use position::StreamPosition;
pub use publication::{Attributes, Publication, PublicationKind};
pub use reason::{ApplicationReason, ReasonError};
