//! Writes a tally into the database, and removes what is kept no longer.

use rusqlite::Connection;

use crate::domain::ids::OrgNumber;
use crate::domain::time::Timestamp;

use super::account::Account;
use super::error::ReportsError;
use super::schema::Level;
use super::tally::Tally;

type Result<T> = std::result::Result<T, ReportsError>;

/// How long a row of the event log is kept, in milliseconds (30 days).
pub(super) const EVENTS_KEPT_MS: u64 = 30 * 24 * 60 * 60_000;

/// Adds a tally to what the database holds.
pub(super) fn add(
    connection: &Connection,
    accounts: &[Account],
    tally: &Tally,
    log_max: usize,
) -> Result<()> {
    for level in Level::ALL {
        add_usage(connection, level, tally)?;
        add_flows(connection, level, tally)?;
    }
    add_events(connection, tally, log_max)?;
    for number in tally.organizations() {
        if let Some(account) = accounts.get(number.index()) {
            put_account(connection, account)?;
        }
    }
    Ok(())
}

/// Writes down what an organization has and used.
pub(super) fn put_account(connection: &Connection, account: &Account) -> Result<()> {
    let sql = "UPDATE organization SET lsn = ?2, at = ?3, balance = ?4, charged = ?5, exempt = ?6, \
               debits_charged = ?7, debits_exempt = ?8 WHERE number = ?1";
    let used = account.used;
    connection.prepare_cached(sql)?.execute((
        account.number.0,
        account.lsn.0,
        account.at.ms(),
        account.balance,
        used.charged,
        used.exempt,
        used.debits_charged,
        used.debits_exempt,
    ))?;
    Ok(())
}

/// Removes buckets and rows of the event log that are too old when the newest event is of `at`.
pub(super) fn remove_old(connection: &Connection, accounts: &[Account], at: Timestamp) -> Result<()> {
    for level in Level::ALL {
        let oldest = level.bucket(level.kept_since_ms(at.ms()));
        for table in ["usage", "flow"] {
            let sql = format!("DELETE FROM {table}_{} WHERE organization = ?1 AND bucket < ?2", level.name());
            let mut statement = connection.prepare(&sql)?;
            for account in accounts.iter().filter(|_| oldest > 0) {
                statement.execute((account.number.0, oldest))?;
            }
        }
    }
    let sql = "DELETE FROM event WHERE organization = ?1 AND number < COALESCE(\
               (SELECT MIN(number) FROM event WHERE organization = ?1 AND at >= ?2), 1 << 62)";
    let mut statement = connection.prepare(sql)?;
    for account in accounts {
        statement.execute((account.number.0, at.minus_ms(EVENTS_KEPT_MS).ms()))?;
    }
    Ok(())
}

fn add_usage(connection: &Connection, level: Level, tally: &Tally) -> Result<()> {
    let sql = format!(
        "INSERT INTO usage_{} VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO UPDATE SET \
         charged = charged + excluded.charged, exempt = exempt + excluded.exempt, \
         debits_charged = debits_charged + excluded.debits_charged, \
         debits_exempt = debits_exempt + excluded.debits_exempt",
        level.name()
    );
    let mut statement = connection.prepare(&sql)?;
    for ((number, bucket, place), used) in tally.usage(level) {
        statement.execute((
            number.0,
            bucket,
            place.camera.0,
            place.network,
            place.kind,
            used.charged,
            used.exempt,
            used.debits_charged,
            used.debits_exempt,
        ))?;
    }
    Ok(())
}

fn add_flows(connection: &Connection, level: Level, tally: &Tally) -> Result<()> {
    let sql = format!(
        "INSERT INTO flow_{} VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO UPDATE SET \
         balance = excluded.balance, granted = granted + excluded.granted, received = received + excluded.received, \
         sent = sent + excluded.sent, charged = charged + excluded.charged",
        level.name()
    );
    let mut statement = connection.prepare(&sql)?;
    for ((number, bucket), flow) in tally.flows(level) {
        statement.execute((
            number.0,
            bucket,
            flow.balance,
            flow.granted,
            flow.received,
            flow.sent,
            flow.charged,
        ))?;
    }
    Ok(())
}

fn add_events(connection: &Connection, tally: &Tally, log_max: usize) -> Result<()> {
    let mut insert =
        connection.prepare("INSERT INTO event VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)")?;
    let mut shorten = connection.prepare("DELETE FROM event WHERE organization = ?1 AND number <= ?2")?;
    let log_max = u64::try_from(log_max).unwrap_or(u64::MAX);
    for (OrgNumber(organization), rows) in tally.log() {
        for row in rows {
            insert.execute((
                organization,
                row.number,
                row.at.ms(),
                row.time.map(Timestamp::ms),
                row.camera.0,
                row.network,
                row.kind,
                row.tokens,
                row.exempt,
                row.license.as_ref().map(crate::domain::ids::LicenseId::as_str),
                row.balance,
            ))?;
        }
        let newest = rows.back().map_or(0, |row| row.number);
        shorten.execute((organization, newest.saturating_sub(log_max)))?;
    }
    Ok(())
}
