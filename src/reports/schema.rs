//! The database of one partition: its tables, and how it is opened.
//!
//! Times are milliseconds since the Unix epoch. A bucket is numbered from the epoch in units of its own length: minutes,
//! quarters of an hour, days, all of UTC. Every table begins with the number of the organization, so that what is asked of one
//! never reads another's.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use crate::domain::ids::Lsn;
use crate::domain::time::Timestamp;
use crate::storage::Followed;

use super::error::ReportsError;

/// The version of the tables. Another one is built anew from the journal.
const VERSION: i64 = 1;

/// Most memory that the database of a partition takes for pages while it is written, in KiB. What is not in there is read from the system's
/// cache of files, which the memory of the process does not count.
const CACHE_KIB: u32 = 4 << 10;
/// The same of one who reads it, for as long as he does.
const READ_CACHE_KIB: u32 = 2 << 10;

/// The length of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// A minute, kept for 48 hours.
    Minute,
    /// A quarter of an hour, kept for 90 days. Every zone of today keeps a whole number of quarters off UTC.
    Quarter,
    /// A day, kept for ever.
    Day,
}

impl Level {
    pub(super) const ALL: [Self; 3] = [Self::Minute, Self::Quarter, Self::Day];

    /// The end of the names of its tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Quarter => "quarter",
            Self::Day => "day",
        }
    }

    /// The length of a bucket in milliseconds.
    pub(super) fn ms(self) -> u64 {
        match self {
            Self::Minute => 60_000,
            Self::Quarter => 15 * 60_000,
            Self::Day => 24 * 60 * 60_000,
        }
    }

    /// How long buckets are kept, in milliseconds; none for ever.
    pub(super) fn kept_ms(self) -> Option<u64> {
        const DAY_MS: u64 = 24 * 60 * 60_000;
        match self {
            Self::Minute => Some(2 * DAY_MS),
            Self::Quarter => Some(90 * DAY_MS),
            Self::Day => None,
        }
    }

    /// The bucket that holds `ms`.
    pub(super) fn bucket(self, ms: u64) -> u64 {
        ms / self.ms()
    }

    /// The moment from which on buckets are kept when the newest event is of `at`, in milliseconds: the beginning of a day.
    pub(super) fn kept_since_ms(self, at: u64) -> u64 {
        let since = self.kept_ms().map_or(0, |kept| at.saturating_sub(kept));
        since - since % Self::Day.ms()
    }
}

/// How far a projection reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// The last frame that it holds; zero for none.
    pub lsn: Lsn,
    /// The time of the newest event that it holds.
    pub at: Option<Timestamp>,
}

/// Where the database of a partition is.
#[must_use]
pub fn path(followed: &Followed) -> PathBuf {
    followed.folder.join("reports.sqlite")
}

/// The files of a database: itself, and those that it writes beside it.
pub(super) fn files(followed: &Followed) -> [PathBuf; 3] {
    let path = path(followed);
    let beside = |end: &str| {
        let mut name = path.clone().into_os_string();
        name.push(end);
        PathBuf::from(name)
    };
    let (log, shared) = (beside("-wal"), beside("-shm"));
    [path, log, shared]
}

/// Opens the database of a partition for its projector; makes it where there is none.
///
/// # Errors
/// When it cannot be opened, is of a newer release or of another directory.
pub(super) fn open(followed: &Followed) -> Result<Connection, ReportsError> {
    let path = path(followed);
    let connection = Connection::open(&path)?;
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -{CACHE_KIB}; PRAGMA busy_timeout = 10000;",
    ))?;
    match version(&connection)? {
        0 => make(&connection, followed)?,
        VERSION => check_owner(&connection, followed, &path)?,
        found => return Err(ReportsError::OtherVersion { path, found }),
    }
    Ok(connection)
}

/// Opens the database of a partition to read it; none where there is none yet.
///
/// # Errors
/// When it cannot be read or is of a newer release.
pub(super) fn open_to_read(path: &Path) -> Result<Option<Connection>, ReportsError> {
    if !path.exists() {
        return Ok(None);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.execute_batch(&format!(
        "PRAGMA busy_timeout = 2000; PRAGMA query_only = ON; PRAGMA cache_size = -{READ_CACHE_KIB};"
    ))?;
    match version(&connection)? {
        0 => Ok(None),
        VERSION => Ok(Some(connection)),
        found => Err(ReportsError::OtherVersion { path: path.to_owned(), found }),
    }
}

/// Copies the database of a partition to a new file, as it is at one moment, while it may be written; the lsn that the copy reaches.
/// None while the database is not made yet.
///
/// # Errors
/// When it cannot be read, or the copy not be written.
pub fn copy(followed: &Followed, to: &Path) -> Result<Option<Lsn>, ReportsError> {
    let Some(connection) = open_to_read(&path(followed))? else { return Ok(None) };
    connection.execute_batch("PRAGMA query_only = OFF")?;
    connection.execute("VACUUM INTO ?1", [to.to_string_lossy()])?;
    let copy = open_to_read(to)?.ok_or(ReportsError::NotYet)?;
    Ok(Some(reached(&copy)?.lsn))
}

/// How far the projection reaches.
///
/// # Errors
/// When it cannot be read.
pub(super) fn reached(connection: &Connection) -> Result<Reached, ReportsError> {
    let row = connection.query_row("SELECT lsn, at FROM projection", (), |row| {
        Ok(Reached { lsn: Lsn(row.get(0)?), at: Timestamp::from_ms(row.get(1)?).ok() })
    });
    Ok(row?)
}

fn version(connection: &Connection) -> Result<i64, ReportsError> {
    Ok(connection.query_row("PRAGMA user_version", (), |row| row.get(0))?)
}

fn check_owner(connection: &Connection, followed: &Followed, path: &Path) -> Result<(), ReportsError> {
    let owner: Option<(Vec<u8>, u16)> = connection
        .query_row("SELECT directory, partition FROM projection", (), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if owner == Some((followed.directory.0.to_vec(), followed.partition())) {
        return Ok(());
    }
    Err(ReportsError::Foreign { path: path.to_owned() })
}

fn make(connection: &Connection, followed: &Followed) -> Result<(), ReportsError> {
    let mut text = String::from("BEGIN IMMEDIATE;");
    text.push_str(TABLES);
    for level in Level::ALL {
        text.push_str(&LEVEL_TABLES.replace("{level}", level.name()));
    }
    connection.execute_batch(&text)?;
    connection.execute(
        "INSERT INTO projection VALUES (?1, ?2, 0, 0)",
        (&followed.directory.0[..], followed.partition()),
    )?;
    connection.execute_batch(&format!("PRAGMA user_version = {VERSION}; COMMIT;"))?;
    Ok(())
}

const TABLES: &str = "
CREATE TABLE projection (directory BLOB NOT NULL, partition INTEGER NOT NULL, lsn INTEGER NOT NULL, at INTEGER NOT NULL);
CREATE TABLE organization (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, lsn INTEGER NOT NULL, at INTEGER NOT NULL,
    balance INTEGER NOT NULL, charged INTEGER NOT NULL, exempt INTEGER NOT NULL,
    debits_charged INTEGER NOT NULL, debits_exempt INTEGER NOT NULL
);
CREATE TABLE network (
    organization INTEGER NOT NULL, place INTEGER NOT NULL, name TEXT NOT NULL,
    PRIMARY KEY (organization, place), UNIQUE (organization, name)
) WITHOUT ROWID;
CREATE TABLE camera (
    organization INTEGER NOT NULL, slot INTEGER NOT NULL, id TEXT NOT NULL, network INTEGER NOT NULL,
    PRIMARY KEY (organization, slot), UNIQUE (organization, id)
) WITHOUT ROWID;
CREATE TABLE binding (
    organization INTEGER NOT NULL, license TEXT NOT NULL, slot INTEGER NOT NULL, kind INTEGER NOT NULL,
    since INTEGER NOT NULL, until INTEGER NOT NULL, PRIMARY KEY (organization, license)
) WITHOUT ROWID;
CREATE TABLE transit (
    organization INTEGER NOT NULL, transfer TEXT NOT NULL, outgoing INTEGER NOT NULL, tokens INTEGER NOT NULL,
    PRIMARY KEY (organization, transfer)
) WITHOUT ROWID;
CREATE TABLE gap (
    organization INTEGER NOT NULL, since INTEGER NOT NULL, until INTEGER NOT NULL, charged INTEGER NOT NULL,
    exempt INTEGER NOT NULL, debits_charged INTEGER NOT NULL, debits_exempt INTEGER NOT NULL,
    PRIMARY KEY (organization, since, until)
) WITHOUT ROWID;
CREATE TABLE event (
    organization INTEGER NOT NULL, number INTEGER NOT NULL, at INTEGER NOT NULL, time INTEGER, camera INTEGER NOT NULL,
    network INTEGER NOT NULL, kind INTEGER NOT NULL, tokens INTEGER NOT NULL, exempt INTEGER NOT NULL, license TEXT,
    balance INTEGER NOT NULL, PRIMARY KEY (organization, number)
) WITHOUT ROWID;
";

const LEVEL_TABLES: &str = "
CREATE TABLE usage_{level} (
    organization INTEGER NOT NULL, bucket INTEGER NOT NULL, camera INTEGER NOT NULL, network INTEGER NOT NULL,
    kind INTEGER NOT NULL, charged INTEGER NOT NULL, exempt INTEGER NOT NULL, debits_charged INTEGER NOT NULL,
    debits_exempt INTEGER NOT NULL, PRIMARY KEY (organization, bucket, camera, network, kind)
) WITHOUT ROWID;
CREATE TABLE flow_{level} (
    organization INTEGER NOT NULL, bucket INTEGER NOT NULL, balance INTEGER NOT NULL, granted INTEGER NOT NULL,
    received INTEGER NOT NULL, sent INTEGER NOT NULL, charged INTEGER NOT NULL, PRIMARY KEY (organization, bucket)
) WITHOUT ROWID;
";
