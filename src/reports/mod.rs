//! Reports: what the journals say, in a database of SQLite beside each, to be asked.
//!
//! One thread follows what is durable and lags behind; nobody ever waits for it. What it keeps can be thrown away and is built
//! again from the journal, as far back as that is kept.
//!
//! Invariants: reports never write to a journal, never hold up a debit, and never guess: what was used while nobody looked is
//! told as a gap with its exact totals.

mod account;
mod balance;
mod book;
mod error;
mod event_log;
mod follow;
mod interval;
mod projector;
mod reader;
mod schema;
mod tally;
mod usage;
mod write;

pub use balance::{BalanceHistory, BalanceRow};
pub use error::ReportsError;
pub use event_log::{EventLog, EventQuery, EventRow};
pub use follow::{Durable, Reports, ReportsStatus, homes};
pub use interval::{INTERVALS_MAX, Interval};
pub use projector::Projector;
pub use reader::{Gap, Reader};
pub use schema::{Reached, copy, path as database};
pub use tally::Used;
pub use usage::{By, Group, USAGE_ROWS_MAX, Usage, UsageQuery, UsageRow};
