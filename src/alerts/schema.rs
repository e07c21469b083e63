//! The database of one partition: its tables, and how it is opened.
//!
//! It stands beside the journal as the reports do, and is a file of its own: what was told, and what became of it, does not follow
//! from the journal, so nothing that builds reports anew touches it. Times are milliseconds since the Unix epoch.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use crate::domain::ids::Lsn;
use crate::storage::Followed;

use super::error::AlertsError;

/// The version of the tables.
const VERSION: i64 = 1;

/// Most memory that each connection takes for pages, in KiB. An organization is a row, and what is told of it is seldom looked at.
const CACHE_KIB: u32 = 1 << 10;

/// Where the database of a partition is.
#[must_use]
pub fn path(followed: &Followed) -> PathBuf {
    followed.folder.join("alerts.sqlite")
}

/// Opens the database of a partition to write it; makes it where there is none.
///
/// # Errors
/// When it cannot be opened, is of a newer release or of another directory.
pub(super) fn open(followed: &Followed) -> Result<Connection, AlertsError> {
    let path = path(followed);
    let connection = Connection::open(&path)?;
    connection.execute_batch(&format!(
        "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -{CACHE_KIB};",
    ))?;
    match version(&connection)? {
        0 => make(&connection, followed)?,
        VERSION => check_owner(&connection, followed, &path)?,
        found => return Err(AlertsError::OtherVersion { path, found }),
    }
    Ok(connection)
}

/// Opens the database of a partition to write down what became of deliveries; none where there is none yet.
///
/// # Errors
/// When it cannot be opened or is of a newer release.
pub(super) fn open_to_deliver(followed: &Followed) -> Result<Option<Connection>, AlertsError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let settings = "PRAGMA busy_timeout = 10000; PRAGMA synchronous = NORMAL;";
    open_there(followed, flags, settings)
}

/// Copies the database of a partition to a new file, as it is at one moment, while it may be written; the last frame that is decided in the copy.
/// None while the database is not made yet.
///
/// # Errors
/// When it cannot be read, or the copy not be written.
pub fn copy(followed: &Followed, to: &Path) -> Result<Option<Lsn>, AlertsError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let Some(connection) = open_there(followed, flags, "PRAGMA busy_timeout = 2000;")? else {
        return Ok(None);
    };
    connection.execute("VACUUM INTO ?1", [to.to_string_lossy()])?;
    let copy = Connection::open_with_flags(to, flags)?;
    Ok(Some(copy.query_row("SELECT lsn FROM follows", (), |row| row.get(0).map(Lsn))?))
}

/// Opens the database of a partition to read it; none where there is none yet.
///
/// # Errors
/// When it cannot be read or is of a newer release.
pub(super) fn open_to_read(followed: &Followed) -> Result<Option<Connection>, AlertsError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    open_there(followed, flags, "PRAGMA busy_timeout = 2000; PRAGMA query_only = ON;")
}

/// Opens a database that its watch has made.
fn open_there(
    followed: &Followed,
    flags: OpenFlags,
    settings: &str,
) -> Result<Option<Connection>, AlertsError> {
    let path = path(followed);
    if !path.exists() {
        return Ok(None);
    }
    let connection = Connection::open_with_flags(&path, flags)?;
    connection.execute_batch(&format!("{settings} PRAGMA cache_size = -{CACHE_KIB};"))?;
    match version(&connection)? {
        0 => Ok(None),
        VERSION => Ok(Some(connection)),
        found => Err(AlertsError::OtherVersion { path, found }),
    }
}

fn version(connection: &Connection) -> Result<i64, AlertsError> {
    Ok(connection.query_row("PRAGMA user_version", (), |row| row.get(0))?)
}

fn check_owner(connection: &Connection, followed: &Followed, path: &Path) -> Result<(), AlertsError> {
    let sql = "SELECT directory, partition FROM follows";
    let owner: Option<(Vec<u8>, u16)> =
        connection.query_row(sql, (), |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    if owner == Some((followed.directory.0.to_vec(), followed.partition())) {
        return Ok(());
    }
    Err(AlertsError::Foreign { path: path.to_owned() })
}

fn make(connection: &Connection, followed: &Followed) -> Result<(), AlertsError> {
    connection.execute_batch(&format!("BEGIN IMMEDIATE;{TABLES}"))?;
    let sql = "INSERT INTO follows VALUES (?1, ?2, 0, NULL)";
    connection.execute(sql, (&followed.directory.0[..], followed.partition()))?;
    connection.execute_batch(&format!("PRAGMA user_version = {VERSION}; COMMIT;"))?;
    Ok(())
}

const TABLES: &str = "
CREATE TABLE follows (directory BLOB NOT NULL, partition INTEGER NOT NULL, lsn INTEGER NOT NULL, quiet INTEGER);
CREATE TABLE account (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, state BLOB NOT NULL, alerts BLOB);
CREATE TABLE notice (
    number INTEGER PRIMARY KEY AUTOINCREMENT, organization INTEGER NOT NULL, id TEXT NOT NULL UNIQUE, lsn INTEGER NOT NULL,
    at INTEGER NOT NULL, topic TEXT NOT NULL, alert TEXT, message TEXT NOT NULL
);
CREATE INDEX notice_of ON notice (organization, number);
CREATE TABLE delivery (
    number INTEGER PRIMARY KEY AUTOINCREMENT, organization INTEGER NOT NULL, webhook TEXT NOT NULL, notice INTEGER NOT NULL,
    state INTEGER NOT NULL, made INTEGER NOT NULL, due INTEGER NOT NULL, attempts INTEGER NOT NULL, replays INTEGER
);
CREATE INDEX delivery_of ON delivery (organization, number);
CREATE INDEX delivery_due ON delivery (organization, webhook, due, number, made) WHERE state = 0;
CREATE INDEX delivery_notice ON delivery (notice);
CREATE TABLE attempt (
    delivery INTEGER NOT NULL, number INTEGER NOT NULL, at INTEGER NOT NULL, took_ms INTEGER NOT NULL, status INTEGER,
    error TEXT, PRIMARY KEY (delivery, number)
) WITHOUT ROWID;
CREATE TRIGGER delivery_goes AFTER DELETE ON delivery BEGIN DELETE FROM attempt WHERE delivery = OLD.number; END;
CREATE TABLE off (
    organization INTEGER NOT NULL, webhook TEXT NOT NULL, version INTEGER NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (organization, webhook)
) WITHOUT ROWID;
";
