//! A partition's journal as a log that several machines keep: appended to by one owner at a time, fenced by epochs.
//!
//! A tour, from the bytes upwards:
//!
//! - [`record`] is what one message of the log holds: an epoch, a batch, the frames of a group or a part of them, the checksum of the record before.
//! - [`remote`] is the seam to whoever keeps the log: append when the last record is the expected one, read the last, read all, purge.
//! - [`append`] is the owner's side of the append protocol, and [`takeover`] how one becomes the owner; both without input or output.
//! - [`replay`] turns records into frames, and drops what a deposed owner left; `seek` finds where to begin.
//! - [`store`] and [`log`] put these together as a `Store` and a `GroupLog`, which the engine runs on; `follow` reads behind the owner, and `copies`
//!   keeps what follows from it.
//! - [`lease`] is the table of who has what, [`placement`] who should, [`member`] what a node does about it; without input or output.
//! - [`node`] runs that, for a host that serves partitions; [`parts`] is how messages between nodes are cut.
//! - `jetstream` (feature `cluster`) is a keeper: NATS JetStream. [`demands`] is what its servers must be.
//! - `sim_log` stands in for the log in tests: it delays, doubles, loses and refuses.
//!
//! Invariants:
//!
//! - One append of a partition is in flight at a time, and it names the record that must be the last one.
//! - An append of unknown outcome is resolved by reading the last record, before anything else is done.
//! - A refused append ends ownership at once. So does a last record that is not the one that was left there.
//! - Nobody serves before his fence record is in the log, and what is before it is replayed.
//! - No timing decides what is true: an owner that slept for a week is refused by its first append.
//!
//! Absent on purpose: consensus, which is of whoever keeps the log.

pub mod append;
mod copies;
pub mod demands;
mod follow;
#[cfg(feature = "cluster")]
pub mod jetstream;
pub mod lease;
pub mod log;
pub mod member;
pub mod node;
pub mod parts;
pub mod placement;
pub mod record;
pub mod remote;
pub mod replay;
mod seek;
#[cfg(any(test, feature = "testing"))]
pub mod sim_log;
pub mod store;
pub mod takeover;

pub use remote::{Answer, OnRecord, Remote, Stored};
pub use store::ReplicatedStore;
