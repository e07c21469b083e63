//! Deliveries: one for each webhook that is called for a thing, from the first attempt to the last.
//!
//! A delivery is pending until it is delivered, or given up after the last attempt of a day. Its attempts are kept with it. An
//! endpoint that answers that it is gone is called no more until somebody sets it anew or switches it on. Of each organization the
//! newest [`NOTICES_MAX`] deliveries are kept, whatever became of them: one that waits longer than that is dropped.

use rusqlite::{Connection, OptionalExtension as _};

use crate::domain::alerts::Webhook;
use crate::domain::ids::{OrgId, OrgNumber, WebhookId};
use crate::domain::time::Timestamp;

use super::book;
use super::error::AlertsError;
use super::schedule;

type Result<T> = std::result::Result<T, AlertsError>;

/// How many deliveries, and how many things to tell, are kept of each organization.
pub(super) const NOTICES_MAX: u32 = 1_000;

/// After every number there is; what is larger does not fit the database.
pub(super) const NUMBER_MAX: u64 = 1 << 62;

/// How many webhooks are looked at in one go.
const LOOKS_MAX: usize = 500;

/// Longest text that is kept of why an attempt failed, in bytes.
const ERROR_BYTES_MAX: usize = 200;

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is tried, or tried again.
    Pending,
    /// The endpoint took it.
    Delivered,
    /// The endpoint did not take it in a day.
    Failed,
    /// The webhook was removed meanwhile.
    Cancelled,
    /// The endpoint had said that it is gone.
    Off,
}

/// A webhook, in the order in which they are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place(OrgNumber, String);

impl Place {
    /// Before the first.
    pub(super) const BEGINNING: Self = Self(OrgNumber(0), String::new());
}

/// A delivery that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The partition of its organization.
    pub partition: u16,
    /// Its number in that partition.
    pub number: u64,
    /// The organization.
    pub organization: OrgId,
    pub(super) org_number: OrgNumber,
    /// Whom to call, as it is set now.
    pub webhook: Webhook,
    /// The id of the message.
    pub id: String,
    /// The message.
    pub message: String,
    /// How often it was tried before.
    pub attempts: u32,
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When it began.
    pub at: Timestamp,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// The status that the endpoint answered with; none when it did not answer.
    pub status: Option<u16>,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

impl State {
    /// All states.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Delivered, Self::Failed, Self::Cancelled, Self::Off];

    /// Its stored number.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Pending => 0,
            Self::Delivered => 1,
            Self::Failed => 2,
            Self::Cancelled => 3,
            Self::Off => 4,
        }
    }

    pub(super) fn of_number(number: u8) -> Self {
        Self::ALL.into_iter().find(|state| state.number() == number).unwrap_or(Self::Failed)
    }

    /// Its name, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Off => "off",
        }
    }
}

impl Attempt {
    /// Whether the endpoint took the message.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        self.error.is_none() && self.status.is_some_and(|status| (200..300).contains(&status))
    }

    /// Whether the endpoint said that it is gone.
    fn is_gone(&self) -> bool {
        self.status == Some(410)
    }
}

/// The oldest delivery of each webhook that is due at `now`, but for those of `busy`, in the order of organizations and webhooks
/// from `place` on, and where to go on: only so many webhooks are looked at in one go. What is due for a webhook that is not there any
/// more is cancelled.
pub(super) fn due(
    connection: &Connection,
    (partition, place): (u16, &mut Place),
    now: Timestamp,
    busy: &dyn Fn(&OrgId, &WebhookId) -> bool,
) -> Result<Vec<Due>> {
    let mut found = Vec::new();
    for _ in 0..LOOKS_MAX {
        let sql = "SELECT organization, webhook FROM delivery WHERE state = 0 AND (organization, webhook) > (?1, ?2) \
                   ORDER BY organization, webhook LIMIT 1";
        let mut statement = connection.prepare_cached(sql)?;
        let next = statement.query_row((place.0.0, &place.1), |row| Ok((row.get(0)?, row.get(1)?)));
        let Some((organization, webhook)) = next.optional()? else {
            *place = Place::BEGINNING;
            break;
        };
        *place = Place(OrgNumber(organization), webhook);
        let sql = "SELECT number FROM delivery WHERE state = 0 AND organization = ?1 AND webhook = ?2 AND due <= ?3 \
                   ORDER BY due, number LIMIT 1";
        let mut statement = connection.prepare_cached(sql)?;
        let number = statement.query_row((organization, &place.1, now.ms()), |row| row.get(0)).optional()?;
        if let Some(number) = number {
            found.extend(of_webhook(connection, (partition, number), place, busy)?);
        }
    }
    Ok(found)
}

/// A delivery with whom to call for it; none when he is being called.
fn of_webhook(
    connection: &Connection,
    (partition, number): (u16, u64),
    Place(org_number, webhook): &Place,
    busy: &dyn Fn(&OrgId, &WebhookId) -> bool,
) -> Result<Option<Due>> {
    let sql = "SELECT state, alerts FROM account WHERE number = ?1";
    let stored: (Vec<u8>, Option<Vec<u8>>) =
        connection.prepare_cached(sql)?.query_row([org_number.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let account = book::decode(&stored.0, stored.1.as_deref());
    let known = account.as_ref().and_then(|account| {
        let webhooks = account.alerts.as_ref().map(|alerts| &alerts.webhooks)?;
        webhooks.iter().find(|known| known.id.as_str() == webhook).cloned()
    });
    let Some((account, webhook)) = account.zip(known) else {
        cancel(connection, *org_number, webhook)?;
        return Ok(None);
    };
    if busy(&account.id, &webhook.id) {
        return Ok(None);
    }
    read(connection, (partition, number), (account.id, *org_number), webhook).map(Some)
}

fn read(
    connection: &Connection,
    (partition, number): (u16, u64),
    (organization, org_number): (OrgId, OrgNumber),
    webhook: Webhook,
) -> Result<Due> {
    let sql = "SELECT notice.id, notice.message, delivery.attempts FROM delivery \
               JOIN notice ON notice.number = delivery.notice WHERE delivery.number = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row([number], |row| {
        let (id, message, attempts) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(Due { partition, number, organization, org_number, webhook, id, message, attempts })
    })?)
}

/// Nothing is sent to a webhook that is not there any more.
fn cancel(connection: &Connection, organization: OrgNumber, webhook: &str) -> Result<()> {
    let sql = "UPDATE delivery SET state = ?3 WHERE organization = ?1 AND webhook = ?2 AND state = 0";
    connection.prepare_cached(sql)?.execute((organization.0, webhook, State::Cancelled.number()))?;
    Ok(())
}

/// Writes down an attempt, and when the next one follows; `random` says by how much that is off.
pub(super) fn record(connection: &Connection, due: &Due, attempt: &Attempt, random: u64) -> Result<State> {
    let attempts = due.attempts.saturating_add(1);
    let next = schedule::retry_after_ms(attempts, random);
    let (state, at) = match next {
        _ if attempt.is_taken() => (State::Delivered, attempt.at),
        _ if attempt.is_gone() => (State::Off, attempt.at),
        Some(wait_ms) => (State::Pending, attempt.at.plus_ms(attempt.took_ms).plus_ms(wait_ms)),
        None => (State::Failed, attempt.at),
    };
    let mut error = attempt.error.clone();
    if let Some(text) = &mut error {
        text.truncate(text.floor_char_boundary(ERROR_BYTES_MAX));
    }
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let written = (|| {
        let sql = "UPDATE delivery SET state = ?2, due = ?3, attempts = ?4 WHERE number = ?1";
        let row = (due.number, state.number(), at.ms(), attempts);
        let is_there = connection.prepare_cached(sql)?.execute(row)? > 0;
        if is_there {
            let sql = "INSERT OR REPLACE INTO attempt VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            let row = (due.number, attempts, attempt.at.ms(), attempt.took_ms, attempt.status, error);
            connection.prepare_cached(sql)?.execute(row)?;
        }
        if attempt.is_gone() { switch_off(connection, due, attempt.at) } else { Ok(()) }
    })();
    end(connection, written).map(|()| state)
}

fn switch_off(connection: &Connection, due: &Due, at: Timestamp) -> Result<()> {
    let key = (due.org_number.0, due.webhook.id.as_str());
    let sql = "INSERT OR REPLACE INTO off VALUES (?1, ?2, ?3, ?4)";
    connection.execute(sql, (key.0, key.1, due.webhook.set, at.ms()))?;
    let sql = "UPDATE delivery SET state = ?3 WHERE organization = ?1 AND webhook = ?2 AND state = 0";
    connection.execute(sql, (key.0, key.1, State::Off.number()))?;
    Ok(())
}

/// Sends a message again: a delivery of its own, due at once, of the same message under the same id; none when there is no such
/// delivery to repeat.
pub(super) fn replay(
    connection: &Connection,
    organization: OrgNumber,
    number: u64,
    now: Timestamp,
) -> Result<Option<u64>> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let written = (|| {
        let sql = "INSERT INTO delivery (organization, webhook, notice, state, made, due, attempts, replays) \
                   SELECT organization, webhook, notice, 0, ?3, ?3, 0, number FROM delivery \
                   WHERE organization = ?1 AND number = ?2";
        let made =
            connection.prepare_cached(sql)?.execute((organization.0, number.min(NUMBER_MAX), now.ms()))?;
        let place = connection.last_insert_rowid();
        book::shorten(connection, organization)?;
        Ok((made > 0).then_some(u64::try_from(place).unwrap_or(0)))
    })();
    end(connection, written)
}

/// Calls a webhook again that said that it is gone; whether it had. What was held back stays so, and can be sent again by hand.
pub(super) fn switch_on(
    connection: &Connection,
    organization: OrgNumber,
    webhook: &WebhookId,
) -> Result<bool> {
    let sql = "DELETE FROM off WHERE organization = ?1 AND webhook = ?2";
    Ok(connection.execute(sql, (organization.0, webhook.as_str()))? > 0)
}

/// How many deliveries wait, and the oldest of them.
pub(super) fn pending(connection: &Connection) -> Result<(u64, Option<Timestamp>)> {
    let sql = "SELECT COUNT(*), MIN(made) FROM delivery WHERE state = 0";
    let row: (u64, Option<u64>) =
        connection.prepare_cached(sql)?.query_row((), |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((row.0, row.1.and_then(|ms| Timestamp::from_ms(ms).ok())))
}

/// The number of an organization; none when it is not known.
pub(super) fn number_of(connection: &Connection, organization: &OrgId) -> Result<Option<OrgNumber>> {
    let sql = "SELECT number FROM account WHERE id = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row([organization.as_str()], |row| row.get(0).map(OrgNumber)).optional()?)
}

/// Ends a transaction: what was written is kept, or nothing of it.
fn end<T>(connection: &Connection, written: Result<T>) -> Result<T> {
    connection.execute_batch(if written.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    written
}
