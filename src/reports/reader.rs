//! Reads the reports of one organization: one moment of them, however long it takes.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _};

use crate::domain::ids::{CameraId, Lsn, Name, OrgId};
use crate::domain::time::Timestamp;
use crate::telemetry::clock;

use super::error::ReportsError;
use super::schema::{self, Level, Reached};
use super::tally::Used;

/// How long one answer may take to be read.
const READ_MAX: Duration = Duration::from_secs(10);
/// After how many steps of the database the time is looked at.
const STEPS: i32 = 100_000;

/// The reports of one organization, as they were when this was opened.
#[derive(Debug)]
pub struct Reader {
    pub(super) connection: Connection,
    pub(super) number: u32,
    reached: Reached,
    lag_frames: u64,
}

/// A time in which it is not known when and where tokens were used, and what was used in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The last moment that was reported before it.
    pub since: Timestamp,
    /// The first moment that is reported after it.
    pub until: Timestamp,
    /// What was used in it.
    pub used: Used,
}

impl Reader {
    /// The reports of `organization`.
    ///
    /// # Errors
    /// [`ReportsError::NotYet`] when they do not hold it.
    pub(super) fn open(
        connection: Connection,
        organization: &OrgId,
        durable: Lsn,
    ) -> Result<Self, ReportsError> {
        let mut connection = connection;
        let begun = clock::start();
        connection.progress_handler(STEPS, Some(move || begun.elapsed() > READ_MAX))?;
        connection.execute_batch("BEGIN")?;
        let reached = schema::reached(&connection)?;
        let sql = "SELECT number FROM organization WHERE id = ?1";
        let number = connection.query_row(sql, [organization.as_str()], |row| row.get(0)).optional()?;
        let lag_frames = durable.0.saturating_sub(reached.lsn.0);
        Ok(Self { connection, number: number.ok_or(ReportsError::NotYet)?, reached, lag_frames })
    }

    /// How far the reports reach.
    #[must_use]
    pub fn reached(&self) -> Reached {
        self.reached
    }

    /// Durable frames that the reports did not hold yet.
    #[must_use]
    pub fn lag_frames(&self) -> u64 {
        self.lag_frames
    }

    /// All that was used, ever: what the pool counts.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn used(&self) -> Result<Used, ReportsError> {
        let sql = "SELECT charged, exempt, debits_charged, debits_exempt FROM organization WHERE number = ?1";
        Ok(self.connection.query_row(sql, [self.number], |row| used_of(row, 0))?)
    }

    /// The gaps that touch the time from `from` until `until`.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn gaps(&self, from: Timestamp, until: Timestamp) -> Result<Vec<Gap>, ReportsError> {
        let sql = "SELECT since, until, charged, exempt, debits_charged, debits_exempt FROM gap \
                   WHERE organization = ?1 AND since < ?3 AND until >= ?2 ORDER BY since";
        let mut statement = self.connection.prepare(sql)?;
        let rows = statement.query_map((self.number, from.ms(), until.ms()), |row| {
            Ok(Gap { since: time_of(row.get(0)?), until: time_of(row.get(1)?), used: used_of(row, 2)? })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// From when on buckets of this level are kept, in milliseconds.
    pub(super) fn kept_since_ms(&self, level: Level) -> u64 {
        self.reached.at.map_or(0, |at| level.kept_since_ms(at.ms()))
    }

    /// The number of a camera; none when there never was one of this id.
    pub(super) fn camera(&self, id: &CameraId) -> Result<Option<u32>, ReportsError> {
        let sql = "SELECT slot FROM camera WHERE organization = ?1 AND id = ?2";
        Ok(self.connection.query_row(sql, (self.number, id.as_str()), |row| row.get(0)).optional()?)
    }

    /// The number of a network; none when there never was one of this name.
    pub(super) fn network(&self, name: &Name) -> Result<Option<u32>, ReportsError> {
        let sql = "SELECT place FROM network WHERE organization = ?1 AND name = ?2";
        Ok(self.connection.query_row(sql, (self.number, name.as_str()), |row| row.get(0)).optional()?)
    }

    /// The id of a camera.
    pub(super) fn camera_id(&self, slot: u32) -> Result<String, ReportsError> {
        let sql = "SELECT id FROM camera WHERE organization = ?1 AND slot = ?2";
        Ok(self.connection.prepare_cached(sql)?.query_row((self.number, slot), |row| row.get(0))?)
    }

    /// The name of a network.
    pub(super) fn network_name(&self, place: u32) -> Result<String, ReportsError> {
        let sql = "SELECT name FROM network WHERE organization = ?1 AND place = ?2";
        Ok(self.connection.prepare_cached(sql)?.query_row((self.number, place), |row| row.get(0))?)
    }
}

/// What was used, from four columns on.
pub(super) fn used_of(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Used> {
    Ok(Used {
        charged: row.get(first)?,
        exempt: row.get(first + 1)?,
        debits_charged: row.get(first + 2)?,
        debits_exempt: row.get(first + 3)?,
    })
}

/// A time as it was stored.
pub(super) fn time_of(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms).unwrap_or(Timestamp::FIRST)
}
