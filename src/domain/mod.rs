//! The rules of metering as pure functions over plain data.
//!
//! [`decide`] judges a command against a [`pool::Pool`] and answers with an event or a [`refusal::Refusal`];
//! [`pool::Pool::apply`] carries an event out and cannot fail. The journal stores events, never commands, so that
//! new code never judges old history again.
//!
//! Time, identities and randomness come in as arguments. This module knows no files, no network, no
//! runtime, no clock and no random source.

pub mod alerts;
pub mod batch;
pub mod bindings;
pub mod burn;
pub mod camera;
pub mod command;
pub mod debit;
pub mod decide;
pub mod event;
pub mod event_ids;
pub mod hash;
pub mod hex;
pub mod ids;
pub mod invariants;
pub mod license;
pub mod limits;
pub mod pool;
pub mod precondition;
pub mod rates;
pub mod refusal;
pub mod registry;
pub mod reservation;
pub mod seq_window;
pub mod shared;
pub mod summary;
pub mod time;
pub mod tokens;
pub mod transfer;
