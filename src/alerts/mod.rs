//! Alerts: who wants to be told of what is told of it, once.
//!
//! One thread follows what is durable in every partition and lags behind; nobody ever waits for it. It decides, frame by frame, which
//! threshold fires and what else there is to tell, and writes it down with the deliveries that follow from it. Sending them is the
//! work of an edge.
//!
//! Invariants: alerts never write to a journal and never hold up a debit; what is decided follows from the order of the journal, so
//! that whoever reads it again decides the same; a thing is told once, whenever the process ends.

mod account;
mod book;
mod delivery;
mod error;
mod follow;
mod notice;
mod reader;
mod refusals;
mod schedule;
mod schema;
mod watch;

pub use account::Fired;
pub use delivery::{Attempt, Due, State};
pub use error::AlertsError;
pub use follow::{Alerting, AlertsStatus, Source};
pub use reader::{DeliveryQuery, DeliveryRow, NoticeRow, Page, Reader};
pub use schema::{copy, path as database};
pub use watch::Watch;
