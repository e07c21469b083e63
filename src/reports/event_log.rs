//! The AI event log: the newest admitted debits of an organization, one by one, newest first.
//!
//! It is bounded by rows and by days; `weir export` writes the complete log of what the journal still holds. Refused debits are not
//! in it: they leave no trace in the journal.

use crate::domain::debit::UsageKind;
use crate::domain::ids::{CameraId, Name};
use crate::domain::time::Timestamp;

use super::error::ReportsError;
use super::reader::{Reader, time_of};

type Result<T> = std::result::Result<T, ReportsError>;

/// What is asked; what is none is not asked for.
#[derive(Clone, Debug, Default)]
pub struct EventQuery {
    /// Only what was admitted from this moment on.
    pub from: Option<Timestamp>,
    /// Only what was admitted before this moment.
    pub until: Option<Timestamp>,
    /// Only of this network.
    pub network: Option<Name>,
    /// Only of this camera.
    pub camera: Option<CameraId>,
    /// Only of this usage kind.
    pub kind: Option<UsageKind>,
    /// Only what was exempt, or only what was charged.
    pub is_exempt: Option<bool>,
    /// Only what stands below this number: where the page before ended.
    pub before: Option<u64>,
    /// At most so many rows.
    pub rows: usize,
}

/// One admitted debit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// Counts the admitted debits of the organization, from 1.
    pub number: u64,
    /// When it was admitted.
    pub at: Timestamp,
    /// The event's time, where the debit bore one.
    pub time: Option<Timestamp>,
    /// The camera.
    pub camera: String,
    /// The network that the camera was in.
    pub network: String,
    /// What the tokens were used for.
    pub kind: UsageKind,
    /// Tokens of the debit.
    pub tokens: u64,
    /// Whether nothing was charged.
    pub is_exempt: bool,
    /// The Unlimited AI License that exempted it.
    pub license: Option<String>,
    /// Tokens that the pool had after it, those included that reservations held.
    pub balance: u64,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventLog {
    /// Newest first.
    pub rows: Vec<EventRow>,
    /// Where the next page begins; none after the last.
    pub next: Option<u64>,
    /// The number of the oldest row that the log still holds; none when it holds none.
    pub oldest: Option<u64>,
    /// How many debits the organization had admitted: the number of the newest.
    pub admitted: u64,
}

impl Reader {
    /// Answers with a page of the event log.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn events(&self, query: &EventQuery) -> Result<EventLog> {
        let sql = "SELECT MIN(number) FROM event WHERE organization = ?1";
        let oldest = self.connection.query_row(sql, [self.number], |row| row.get(0))?;
        let admitted = self.used()?.debits();
        let mut log = EventLog { rows: Vec::new(), next: None, oldest, admitted };
        let network = query.network.as_ref().map(|name| self.network(name)).transpose()?;
        let camera = query.camera.as_ref().map(|id| self.camera(id)).transpose()?;
        if network == Some(None) || camera == Some(None) {
            return Ok(log);
        }
        let sql = "SELECT number, at, time, camera, network, kind, tokens, exempt, license, balance FROM event \
                   WHERE organization = ?1 AND (?2 IS NULL OR number < ?2) AND (?3 IS NULL OR at >= ?3) \
                   AND (?4 IS NULL OR at < ?4) AND (?5 IS NULL OR network = ?5) AND (?6 IS NULL OR camera = ?6) \
                   AND (?7 IS NULL OR kind = ?7) AND (?8 IS NULL OR exempt = ?8) ORDER BY number DESC LIMIT ?9";
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query((
            self.number,
            query.before.map(|number| i64::try_from(number).unwrap_or(i64::MAX)),
            query.from.map(Timestamp::ms),
            query.until.map(Timestamp::ms),
            network.flatten(),
            camera.flatten(),
            query.kind.map(UsageKind::number),
            query.is_exempt,
            query.rows.saturating_add(1),
        ))?;
        while let Some(row) = rows.next()? {
            if log.rows.len() == query.rows {
                log.next = log.rows.last().map(|last| last.number);
                break;
            }
            log.rows.push(self.event(row)?);
        }
        Ok(log)
    }

    fn event(&self, row: &rusqlite::Row<'_>) -> Result<EventRow> {
        Ok(EventRow {
            number: row.get(0)?,
            at: time_of(row.get(1)?),
            time: row.get::<_, Option<u64>>(2)?.map(time_of),
            camera: self.camera_id(row.get(3)?)?,
            network: self.network_name(row.get(4)?)?,
            kind: UsageKind::from_number(row.get(5)?).unwrap_or_default(),
            tokens: row.get(6)?,
            is_exempt: row.get(7)?,
            license: row.get(8)?,
            balance: row.get(9)?,
        })
    }
}
