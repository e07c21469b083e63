//! Thin actix shells around the pure processes, and the threads beneath them.
//!
//! A **partition** has one arbiter thread with its org actors, one journal and one committer thread. An org actor
//! takes what is queued for it, lets the [`OrgProcess`](crate::protocol::org::OrgProcess) judge it, and stages frames and replies
//! in the partition's [`group`]. The [`committer`] makes the group durable in one write and one sync, then
//! releases its replies; the next group gathers meanwhile.
//!
//! Invariants: a reply leaves only after everything staged before it is durable (I3), unless its caller chose
//! `applied`; a partition has one arbiter and one committer (I9); every queue is bounded by the admission of what is in flight.
//!
//! Absent on purpose: rules. Nothing here decides what is charged.

pub(crate) mod auditor;
pub(crate) mod committer;
pub(crate) mod coordinator;
pub(crate) mod directory;
pub(crate) mod engine;
pub(crate) mod group;
mod journaled;
mod key_copy;
mod link;
pub(crate) mod messages;
pub(crate) mod org;
pub(crate) mod partition;
pub(crate) mod peers;
pub(crate) mod recover;
pub(crate) mod snapshotter;
#[cfg(feature = "testing")]
pub mod stepped;
pub(crate) mod supervisor;
mod tenure;
