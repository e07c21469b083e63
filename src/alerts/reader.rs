//! Reads what was told of one organization, and what became of it.

use rusqlite::{Connection, OptionalExtension as _, Row};

use crate::domain::ids::{AlertId, Lsn, OrgId, OrgNumber, WebhookId};
use crate::domain::limits::PAGE_ROWS_MAX;
use crate::domain::time::Timestamp;
use crate::domain::tokens::Tokens;

use super::account::{Account, Fired};
use super::book;
use super::delivery::{self, Attempt, NUMBER_MAX, State};
use super::error::AlertsError;

type Result<T> = std::result::Result<T, AlertsError>;

/// The alerts of one organization, as they were when this was opened.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    number: OrgNumber,
    account: Account,
    lsn: Lsn,
    lag_frames: u64,
}

/// One thing that was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoticeRow {
    /// Its number; they rise, with gaps.
    pub number: u64,
    /// The id of its message.
    pub id: String,
    /// The frame after which it was so.
    pub lsn: Lsn,
    /// When.
    pub at: Timestamp,
    /// What it is, by its name.
    pub topic: String,
    /// The threshold that fired, if that is what it is.
    pub alert: Option<String>,
    /// The message.
    pub message: String,
}

/// One delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRow {
    /// Its number; they rise, with gaps.
    pub number: u64,
    /// The webhook.
    pub webhook: String,
    /// The id of the message.
    pub id: String,
    /// What it is about, by its name.
    pub topic: String,
    /// Where it stands.
    pub state: State,
    /// When it was made.
    pub made: Timestamp,
    /// When it is tried next, while it is pending.
    pub due: Option<Timestamp>,
    /// How often it was tried.
    pub attempts: u32,
    /// The newest attempt.
    pub last: Option<Attempt>,
    /// The delivery that it repeats, if somebody asked for that.
    pub replays: Option<u64>,
}

/// Which deliveries are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryQuery {
    /// Those of this webhook alone.
    pub webhook: Option<WebhookId>,
    /// Those that stand there alone.
    pub state: Option<State>,
    /// Those before this number.
    pub before: Option<u64>,
    /// At most so many.
    pub rows: usize,
}

/// A page of rows, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// The `before` of the next page; none after the last.
    pub next: Option<u64>,
}

impl Reader {
    pub(super) fn open(connection: Connection, organization: &OrgId, durable: Lsn) -> Result<Self> {
        connection.execute_batch("BEGIN")?;
        let lsn = Lsn(connection.query_row("SELECT lsn FROM follows", (), |row| row.get(0))?);
        let number = delivery::number_of(&connection, organization)?.ok_or(AlertsError::NotYet)?;
        let sql = "SELECT state, alerts FROM account WHERE number = ?1";
        let stored: (Vec<u8>, Option<Vec<u8>>) =
            connection.query_row(sql, [number.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let account = book::decode(&stored.0, stored.1.as_deref()).ok_or(AlertsError::NotYet)?;
        let lag_frames = durable.0.saturating_sub(lsn.0);
        Ok(Self { connection, number, account, lsn, lag_frames })
    }

    /// The last frame that was decided.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// Durable frames that were not decided yet.
    #[must_use]
    pub fn lag_frames(&self) -> u64 {
        self.lag_frames
    }

    /// What the pool could pay after that frame.
    #[must_use]
    pub fn available(&self) -> Tokens {
        Tokens(self.account.available())
    }

    /// When a threshold fired, if it is not armed.
    #[must_use]
    pub fn fired(&self, alert: &AlertId) -> Option<Fired> {
        self.account.fired.get(alert).copied()
    }

    /// When a webhook said that it is gone, if it did since it was set in this version.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn off_since(&self, webhook: &WebhookId, set: u32) -> Result<Option<Timestamp>> {
        let sql = "SELECT at FROM off WHERE organization = ?1 AND webhook = ?2 AND version = ?3";
        let key = (self.number.0, webhook.as_str(), set);
        Ok(self.connection.query_row(sql, key, |row| row.get(0).map(time_of)).optional()?)
    }

    /// How many deliveries to a webhook wait.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn pending(&self, webhook: &WebhookId) -> Result<u64> {
        let sql = "SELECT COUNT(*) FROM delivery WHERE organization = ?1 AND webhook = ?2 AND state = 0";
        Ok(self.connection.query_row(sql, (self.number.0, webhook.as_str()), |row| row.get(0))?)
    }

    /// What was told, newest first.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn notices(&self, before: Option<u64>, rows: usize) -> Result<Page<NoticeRow>> {
        let sql = "SELECT number, id, lsn, at, topic, alert, message FROM notice \
                   WHERE organization = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3";
        let mut statement = self.connection.prepare(sql)?;
        let asked = (self.number.0, before.unwrap_or(NUMBER_MAX).min(NUMBER_MAX), limit(rows));
        let found = statement.query_map(asked, |row| {
            Ok(NoticeRow {
                number: row.get(0)?,
                id: row.get(1)?,
                lsn: Lsn(row.get(2)?),
                at: time_of(row.get(3)?),
                topic: row.get(4)?,
                alert: row.get(5)?,
                message: row.get(6)?,
            })
        })?;
        Ok(page(found.collect::<rusqlite::Result<_>>()?, rows, |row: &NoticeRow| row.number))
    }

    /// Deliveries, newest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn deliveries(&self, query: &DeliveryQuery) -> Result<Page<DeliveryRow>> {
        let sql = format!(
            "{DELIVERIES} AND delivery.number < ?2 AND (?3 IS NULL OR delivery.webhook = ?3) \
             AND (?4 IS NULL OR delivery.state = ?4) ORDER BY delivery.number DESC LIMIT ?5"
        );
        let webhook = query.webhook.as_ref().map(WebhookId::as_str);
        let (before, state) =
            (query.before.unwrap_or(NUMBER_MAX).min(NUMBER_MAX), query.state.map(State::number));
        let mut statement = self.connection.prepare(&sql)?;
        let asked = (self.number.0, before, webhook, state, limit(query.rows));
        let found = statement.query_map(asked, delivery_of)?;
        let rows = found.collect::<rusqlite::Result<_>>()?;
        Ok(page(rows, query.rows, |row: &DeliveryRow| row.number))
    }

    /// One delivery, its attempts and its message; none when it is not kept.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn delivery(&self, number: u64) -> Result<Option<(DeliveryRow, Vec<Attempt>, String)>> {
        let sql = format!("{DELIVERIES} AND delivery.number = ?2");
        let key = (self.number.0, number.min(NUMBER_MAX));
        let Some(row) = self.connection.query_row(&sql, key, delivery_of).optional()? else {
            return Ok(None);
        };
        let sql = "SELECT at, took_ms, status, error FROM attempt WHERE delivery = ?1 ORDER BY number";
        let mut statement = self.connection.prepare(sql)?;
        let attempts = statement.query_map([number], |row| attempt_of(row, 0))?;
        let attempts = attempts.map(|attempt| Ok(attempt?.expect("an attempt has a time")));
        let attempts = attempts.collect::<Result<_>>()?;
        let sql = "SELECT message FROM notice JOIN delivery ON notice.number = delivery.notice \
                   WHERE delivery.number = ?1";
        let message = self.connection.query_row(sql, [number], |row| row.get(0))?;
        Ok(Some((row, attempts, message)))
    }
}

const DELIVERIES: &str = "SELECT delivery.number, delivery.webhook, notice.id, notice.topic, delivery.state, \
    delivery.made, delivery.due, delivery.attempts, delivery.replays, \
    attempt.at, attempt.took_ms, attempt.status, attempt.error \
    FROM delivery JOIN notice ON notice.number = delivery.notice \
    LEFT JOIN attempt ON attempt.delivery = delivery.number AND attempt.number = delivery.attempts \
    WHERE delivery.organization = ?1";

fn delivery_of(row: &Row<'_>) -> rusqlite::Result<DeliveryRow> {
    let state = State::of_number(row.get(4)?);
    Ok(DeliveryRow {
        number: row.get(0)?,
        webhook: row.get(1)?,
        id: row.get(2)?,
        topic: row.get(3)?,
        state,
        made: time_of(row.get(5)?),
        due: Some(time_of(row.get(6)?)).filter(|_| state == State::Pending),
        attempts: row.get(7)?,
        replays: row.get(8)?,
        last: attempt_of(row, 9)?,
    })
}

fn attempt_of(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<Attempt>> {
    let Some(at) = row.get::<_, Option<u64>>(first)? else { return Ok(None) };
    let (took_ms, status, error) = (row.get(first + 1)?, row.get(first + 2)?, row.get(first + 3)?);
    Ok(Some(Attempt { at: time_of(at), took_ms, status, error }))
}

/// One row more than is asked for tells whether more follow.
fn limit(rows: usize) -> u64 {
    u64::try_from(rows.clamp(1, PAGE_ROWS_MAX) + 1).unwrap_or(u64::MAX)
}

fn page<T>(mut rows: Vec<T>, asked: usize, number: impl Fn(&T) -> u64) -> Page<T> {
    let asked = asked.clamp(1, PAGE_ROWS_MAX);
    let has_more = rows.len() > asked;
    rows.truncate(asked);
    let next = rows.last().filter(|_| has_more).map(number);
    Page { rows, next }
}

fn time_of(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms).unwrap_or(Timestamp::FIRST)
}
