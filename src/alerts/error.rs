//! Why alerts cannot be kept or read.

use std::path::PathBuf;

use crate::domain::ids::Lsn;
use crate::storage::Fault;

/// Why alerts cannot be kept or read. The meter is not concerned by any of it.
#[derive(Debug, thiserror::Error)]
pub enum AlertsError {
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] Fault),
    /// The database cannot be read or written.
    #[error("the alerts cannot be read or written: {0}; debits go on, and what was told is kept")]
    Database(#[from] rusqlite::Error),
    /// The database is of another release.
    #[error("{}: the tables are of version {found}, which this release does not know; start the release that made them, or remove the file", path.display())]
    OtherVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// The database is of another data directory, or of another partition.
    #[error("{}: the alerts are of another data directory; remove the file", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The database holds more than the journal: they are not of one history.
    #[error(
        "the alerts are decided up to lsn {decided} and the journal ends with lsn {durable}: it was put back; remove {} to go on from what is there", path.display()
    )]
    Ahead {
        /// The file.
        path: PathBuf,
        /// The last frame that was decided.
        decided: Lsn,
        /// The last durable frame.
        durable: Lsn,
    },
    /// An event does not fit what is known.
    #[error("frame {lsn} does not fit what alerts know: {what}; remove {} to go on from what is there", path.display())]
    Misfit {
        /// The file.
        path: PathBuf,
        /// The frame.
        lsn: Lsn,
        /// What does not fit.
        what: &'static str,
    },
    /// What is stored is none of this release.
    #[error("{}: what is stored of organization {number} cannot be read; remove the file to go on from what is there", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The number of the organization.
        number: u32,
    },
    /// The alerts do not know the organization yet.
    #[error("the alerts do not know this organization yet; ask again shortly")]
    NotYet,
}
