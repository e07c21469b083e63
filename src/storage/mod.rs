//! Storage: what was decided, kept so that a crash cannot take it back.
//!
//! A tour, from the medium upwards:
//!
//! - [`disk`] is the seam between this layer and the operating system; `sim_disk` stands in for it in tests and can lose
//!   power at any operation.
//! - [`layout`] builds and parses every name below the data directory. [`lock`] lets one process write there.
//! - [`manifest`] says what the directory is: its format, its identity, its number of partitions.
//! - [`frame`] is the unit of the journal: a header, a checksum, opaque bytes.
//! - [`segment`] is the block that opens a journal file. [`journal`] appends groups of frames, each with one write and
//!   one sync.
//! - [`reader`] replays a journal and tells an end from a torn tail from corruption. [`recovery`] repairs the torn tail
//!   and hands over a journal that can be continued. [`tail`] follows a journal while it is written, and [`follow`] is what its readers see of it.
//! - [`snapshot`] keeps a whole partition at one lsn. [`retention`] removes what two good snapshots made superfluous.
//! - [`pausing`] lets whoever encodes, writes or removes a whole partition stand back behind those that serve.
//! - [`store`] is the seam above: what a partition needs of where it is kept, in files or elsewhere.
//! - [`backup`] copies a directory at a consistent cut, and restores it to a point in time.
//!
//! Invariants:
//!
//! - A group counts as durable only after its bytes and its file's name are synced.
//! - A group is written only after the group before it is durable.
//! - Only [`recovery`] changes journal bytes that were written before, and only a torn tail; only [`retention`] removes
//!   segments and snapshots.
//!
//! Absent on purpose: the meaning of a payload. Events and snapshots are opaque bytes here; their codecs live beside
//! their types.

pub mod audit;
pub mod backup;
mod camera_codec;
pub mod columns;
pub mod debit_codec;
pub mod decode_error;
pub mod disk;
pub mod event_check;
pub mod event_codec;
mod event_fits;
pub mod fault;
#[cfg(any(test, feature = "testing"))]
pub mod fixture;
pub mod follow;
pub mod frame;
mod frame_file;
pub mod journal;
pub mod layout;
pub mod lock;
pub mod manifest;
mod pause;
mod pool_check;
pub mod pool_codec;
pub mod reader;
pub mod recovery;
pub mod replay;
pub mod retention;
pub mod segment;
#[cfg(any(test, feature = "testing"))]
pub mod sim_disk;
pub mod snapshot;
pub mod snapshot_codec;
pub mod store;
pub mod tail;
pub mod wire;

pub use disk::{Disk, DiskFile, RealDisk};
pub use fault::{Fault, Result};
pub use follow::{Copies, Follow, Followed};
pub use frame::{FrameMeta, FrameRef, FrameStart};
pub use journal::{Journal, JournalConfig, Preparation, PreparedSegment};
pub use layout::{DirectoryId, Home, Layout};
pub use lock::DirectoryLock;
pub use manifest::Manifest;
pub use pause::pausing;
pub use reader::{Ending, Scan, Start, TornTail};
pub use recovery::{RecoveryReport, open_partition, scan_partition};
pub use retention::{Hold, HoldReader, Retired};
#[cfg(any(test, feature = "testing"))]
pub use sim_disk::SimDisk;
pub use snapshot::{Loaded, Skipped, Snapshot, SnapshotHeader};
pub use store::{GroupLog, Pieces, Reading, Store};
