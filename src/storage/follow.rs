//! What follows the journal of a partition, for readers that come after its writer and never hold it up.
//!
//! [`Follow`] is where such a reader stands in the journal, [`Followed`] what it has beside that: the store, and a folder for the
//! database that it makes. Where that folder is not beside the journal, because another machine may own the partition next,
//! [`Copies`] keeps the database with the journal as well.

use std::fmt::Debug;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use super::fault::Result;
use super::frame::FrameRef;
use super::layout::{DirectoryId, Home};
use super::snapshot::{Snapshot, SnapshotHeader};
use super::store::Store;
use crate::domain::ids::Lsn;

/// What a reader does with the frame that is due: it may have enough.
pub type OnNext<'a> = dyn FnMut(FrameRef<'_>) -> Result<ControlFlow<()>> + 'a;

/// A place in the journal of one partition.
pub trait Follow: Send + Debug {
    /// The frame that is due.
    fn next_lsn(&self) -> Lsn;

    /// Hands over the frames up to `durable`, each once and in order, until `on_frame` has enough; it had the frame by then.
    ///
    /// # Errors
    /// [`Fault::Missing`](super::Fault::Missing) when the frame that is due is no longer kept, another fault when it cannot be read or is
    /// damaged, and what `on_frame` returns.
    fn read(&mut self, durable: Lsn, on_frame: &mut OnNext<'_>) -> Result<()>;
}

/// Keeps copies of what follows a partition. Calls block.
pub trait Copies {
    /// The newest copy of `name` that can be read: those of a later owner are newer, and of one owner those of a higher lsn. None when there is none;
    /// what cannot be read is passed over, and the log says so.
    ///
    /// # Errors
    /// When copies cannot be listed or had now; [`Fault::TooNew`](super::Fault::TooNew) when a newer release wrote the newest.
    fn newest(&self, name: &str) -> Result<Option<Snapshot>>;

    /// Keeps a copy of `name` durably, reads it back, and removes all but the newest two.
    ///
    /// # Errors
    /// When it may not be kept; older copies are then.
    fn keep(&self, name: &str, header: SnapshotHeader, body: &[u8]) -> Result<()>;
}

/// A partition that is followed.
#[derive(Clone, Debug)]
pub struct Followed {
    /// Where the partition is kept.
    pub store: Arc<dyn Store>,
    /// The identity of the data.
    pub directory: DirectoryId,
    /// The folder for what is made of the journal. It is there.
    pub folder: PathBuf,
}

impl Followed {
    /// The partition.
    #[must_use]
    pub fn partition(&self) -> u16 {
        self.store.partition()
    }
}

impl From<&Home> for Followed {
    /// What is made of the journal lies beside it.
    fn from(home: &Home) -> Self {
        let folder = home.layout.partition(home.partition);
        Self { store: Arc::new(home.clone()), directory: home.directory, folder }
    }
}
