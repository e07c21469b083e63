//! The gRPC edge: the service `tokenweir.v1.Metering`, with health and reflection beside it.
//!
//! A stream is judged in batches and acknowledged in order; what it may have in flight is granted to it, and a stream that takes
//! more is ended: nothing is buffered for it. Codes come from [`crate::meter::status`], rights from the meter. Deliberately
//! absent: any thread or channel of a stream's own: the task that writes its answers also reads its requests.

mod ack;
mod auth;
mod calls;
mod carry;
mod columns;
mod front;
mod incoming;
mod listener;
mod opening;
mod plain;
#[cfg(feature = "testing")]
pub mod rows;
mod service;
mod session;
mod state;
mod trouble;
mod unary;

pub use carry::Inbox;
pub use listener::Listener;
pub use state::{Limits, State};
