//! Who does what after which message, as pure state machines: the org process and the transfer coordinator.
//!
//! Inputs go in, events to journal and messages to send come out. Nothing that comes out may leave before what was journaled
//! with it is durable; the shell that executes the output holds that rule. No runtime, no files, no clock.

pub mod coordinator;
pub mod message;
pub mod org;
