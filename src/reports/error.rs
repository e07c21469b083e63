//! Why reports cannot be kept or read.

use std::path::PathBuf;

use crate::domain::ids::Lsn;
use crate::storage::Fault;

/// Why reports cannot be kept or read. The meter is not concerned by any of it.
#[derive(Debug, thiserror::Error)]
pub enum ReportsError {
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] Fault),
    /// The database cannot be read or written.
    #[error("the reports cannot be read or written: {0}; debits go on, and what was reported is kept")]
    Database(#[from] rusqlite::Error),
    /// The database is of another release.
    #[error(
        "{}: the tables are of version {found}, which this release does not know; build them anew with `weir reports rebuild`", path.display()
    )]
    OtherVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// The database is of another data directory, or of another partition.
    #[error(
        "{}: the reports are of another data directory; remove the file, or build it anew with `weir reports rebuild`", path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The database holds more than the journal: they are not of one history.
    #[error(
        "the reports hold everything up to lsn {reported} and the journal ends with lsn {durable}; build them anew with `weir reports rebuild`"
    )]
    Ahead {
        /// The last frame of the reports.
        reported: Lsn,
        /// The last durable frame.
        durable: Lsn,
    },
    /// An event does not fit what the reports hold.
    #[error("frame {lsn} does not fit the reports: {what}; build them anew with `weir reports rebuild`")]
    Misfit {
        /// The frame.
        lsn: Lsn,
        /// What does not fit.
        what: &'static str,
    },
    /// The reports do not know the organization yet.
    #[error("the reports do not hold this organization yet; ask again shortly")]
    NotYet,
    /// What was asked is out of its bounds.
    #[error("{0}")]
    Asked(String),
    /// Reading took too long.
    #[error("this would read too much; ask for less time, or for longer intervals")]
    TooMuch,
}
