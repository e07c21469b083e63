//! The database of one partition while it is written.
//!
//! Invariant: what a stretch of the journal makes known, what is to be told of it, the deliveries of that, and the lsn up to which
//! it was read are one transaction. So a thing is told once or not at all, whenever the process ends. A transaction in which
//! there is something to tell is on the disk before anybody can send it; others may be lost with the power, and are decided again,
//! as they were.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension as _};

use crate::domain::alerts::Alerts;
use crate::domain::ids::{Lsn, OrgNumber, WebhookId};
use crate::storage::Followed;

use super::account::Account;
use super::delivery::{NOTICES_MAX, State};
use super::error::AlertsError;
use super::notice::Notice;
use super::schema;

type Result<T> = std::result::Result<T, AlertsError>;

/// The database, and what it holds of each organization.
pub(super) struct Book {
    pub(super) followed: Followed,
    pub(super) connection: Connection,
    pub(super) accounts: Vec<Account>,
    pub(super) reached: Lsn,
    /// Up to this frame nothing is told: it was there before the database was.
    quiet: Lsn,
}

/// What there is to tell of one organization, and who is called for it.
pub(super) struct ToTell {
    pub(super) number: OrgNumber,
    pub(super) notice: Notice,
    pub(super) webhooks: Vec<(WebhookId, u32)>,
}

impl ToTell {
    /// What there is to tell of `account`, for those that it calls now.
    pub(super) fn new(number: OrgNumber, account: &Account, notice: Notice) -> Self {
        let topic = notice.details.topic();
        let all = account.alerts.iter().flat_map(|alerts| &alerts.webhooks);
        let called = all.filter(|webhook| webhook.wants(topic));
        let webhooks = called.map(|webhook| (webhook.id.clone(), webhook.set)).collect();
        Self { number, notice, webhooks }
    }
}

impl Book {
    /// Opens the database of a partition; makes it where there is none, and then tells nothing of what was there up to `quiet`.
    ///
    /// # Errors
    /// As [`schema::open`], and when what it holds cannot be read.
    pub(super) fn open(followed: &Followed, quiet: Lsn) -> Result<Self> {
        let connection = schema::open(followed)?;
        let sql = "SELECT lsn, quiet FROM follows";
        let (reached, known): (u64, Option<u64>) =
            connection.query_row(sql, (), |row| Ok((row.get(0)?, row.get(1)?)))?;
        let accounts = load(&connection, followed)?;
        if known.is_none() {
            connection.execute("UPDATE follows SET quiet = ?1", [quiet.0])?;
        }
        let quiet = known.map_or(quiet, Lsn);
        Ok(Self { followed: followed.clone(), connection, accounts, reached: Lsn(reached), quiet })
    }

    /// Whether a frame is so new that what it brings about is told.
    pub(super) fn tells(&self, lsn: Lsn) -> bool {
        lsn > self.quiet
    }

    /// The account of an organization.
    ///
    /// # Errors
    /// When it was never created.
    pub(super) fn account(&mut self, number: OrgNumber, lsn: Lsn) -> Result<&mut Account> {
        let (path, what) = (schema::path(&self.followed), "it is of an organization that was never created");
        self.accounts.get_mut(number.index()).ok_or(AlertsError::Misfit { path, lsn, what })
    }

    /// Writes down what changed, what there is to tell, and that everything up to `reached` was read.
    pub(super) fn commit(
        &mut self,
        reached: Lsn,
        changed: &BTreeSet<OrgNumber>,
        to_tell: &[ToTell],
    ) -> Result<()> {
        let level = if to_tell.is_empty() { "NORMAL" } else { "FULL" };
        self.connection.execute_batch(&format!("PRAGMA synchronous = {level}; BEGIN IMMEDIATE"))?;
        for number in changed {
            self.put(*number)?;
        }
        for one in to_tell {
            self.tell(one)?;
        }
        let told: BTreeSet<_> = to_tell.iter().map(|one| one.number).collect();
        told.iter().try_for_each(|number| shorten(&self.connection, *number))?;
        self.connection.execute("UPDATE follows SET lsn = ?1", [reached.0])?;
        self.connection.execute_batch("COMMIT")?;
        self.reached = reached;
        Ok(())
    }

    fn put(&self, number: OrgNumber) -> Result<()> {
        let Some(account) = self.accounts.get(number.index()) else { return Ok(()) };
        let state = rmp_serde::to_vec_named(account).expect("an account has text keys");
        let alerts = account.alerts.as_ref();
        let alerts = alerts.map(|alerts| rmp_serde::to_vec_named(alerts).expect("alerts have text keys"));
        let sql = "INSERT INTO account VALUES (?1, ?2, ?3, ?4) ON CONFLICT (number) DO UPDATE SET \
                   state = excluded.state, alerts = excluded.alerts";
        let mut statement = self.connection.prepare_cached(sql)?;
        statement.execute((number.0, account.id.as_str(), state, alerts))?;
        Ok(())
    }

    fn tell(&self, ToTell { number, notice, webhooks }: &ToTell) -> Result<()> {
        let organization = &self.accounts[number.index()].id;
        let sql = "INSERT OR IGNORE INTO notice (organization, id, lsn, at, topic, alert, message) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let made = self.connection.prepare_cached(sql)?.execute((
            number.0,
            notice.id(&self.followed, organization),
            notice.lsn.0,
            notice.at.ms(),
            notice.details.topic().name(),
            notice.alert().map(crate::domain::ids::AlertId::as_str),
            notice.message(&self.followed, organization),
        ))?;
        if made == 0 {
            return Ok(());
        }
        let place = self.connection.last_insert_rowid();
        for (webhook, set) in webhooks {
            let state =
                if is_off(&self.connection, *number, (webhook, *set))? { State::Off } else { State::Pending };
            let sql = "INSERT INTO delivery (organization, webhook, notice, state, made, due, attempts) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?5, 0)";
            let row = (number.0, webhook.as_str(), place, state.number(), notice.at.ms());
            self.connection.prepare_cached(sql)?.execute(row)?;
        }
        Ok(())
    }
}

/// Whether a webhook said that it is gone, and was not set anew since.
pub(super) fn is_off(
    connection: &Connection,
    number: OrgNumber,
    (webhook, set): (&WebhookId, u32),
) -> Result<bool> {
    let sql = "SELECT version FROM off WHERE organization = ?1 AND webhook = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let off: Option<u32> = statement.query_row((number.0, webhook.as_str()), |row| row.get(0)).optional()?;
    Ok(off == Some(set))
}

/// Removes what is more than is kept of one organization: its oldest deliveries, and its oldest notices that none of them is of.
pub(super) fn shorten(connection: &Connection, number: OrgNumber) -> Result<()> {
    for (table, unless) in [("delivery", ""), ("notice", "AND number NOT IN (SELECT notice FROM delivery)")] {
        let sql = format!(
            "DELETE FROM {table} WHERE organization = ?1 AND number <= COALESCE((SELECT number FROM {table} \
             WHERE organization = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2), 0) {unless}"
        );
        connection.prepare_cached(&sql)?.execute((number.0, NOTICES_MAX))?;
    }
    Ok(())
}

/// What is stored of an organization.
pub(super) fn decode(state: &[u8], alerts: Option<&[u8]>) -> Option<Account> {
    let mut account: Account = rmp_serde::from_slice(state).ok()?;
    let alerts: Option<Alerts> = alerts.map(rmp_serde::from_slice).transpose().ok()?;
    account.alerts = alerts;
    Some(account)
}

fn load(connection: &Connection, followed: &Followed) -> Result<Vec<Account>> {
    let mut statement = connection.prepare("SELECT number, state, alerts FROM account ORDER BY number")?;
    let mut rows = statement.query(())?;
    let mut accounts = Vec::new();
    while let Some(row) = rows.next()? {
        let number: u32 = row.get(0)?;
        let (state, alerts): (Vec<u8>, Option<Vec<u8>>) = (row.get(1)?, row.get(2)?);
        let account =
            decode(&state, alerts.as_deref()).filter(|_| OrgNumber(number).index() == accounts.len());
        let unreadable = || AlertsError::Unreadable { path: schema::path(followed), number };
        accounts.push(account.ok_or_else(unreadable)?);
    }
    Ok(accounts)
}
