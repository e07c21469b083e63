//! The database of one partition while it is written: one writer, one transaction for each stretch of the journal.
//!
//! Invariant: what a stretch adds and the lsn up to which it was read are in one transaction. So a stretch is wholly there or not
//! at all, and is never counted twice, whenever the process ends.

use rusqlite::{Connection, OptionalExtension as _};

use crate::domain::bindings::{Bindings, UnlimitedLicense};
use crate::domain::debit::UsageKind;
use crate::domain::event::{Change, Event, OrganizationCreated};
use crate::domain::ids::{CameraId, LicenseId, Lsn, Name, OrgNumber, Slot, TransferId};
use crate::domain::time::Timestamp;
use crate::storage::Followed;

use super::account::Account;
use super::error::ReportsError;
use super::schema::{self, Reached};
use super::tally::{Flow, Tally, Used};

type Result<T> = std::result::Result<T, ReportsError>;

/// The database of one partition, and what it holds of each organization.
pub(super) struct Book {
    pub(super) connection: Connection,
    pub(super) accounts: Vec<Account>,
    pub(super) reached: Reached,
}

impl Book {
    /// Opens the database of a partition; makes it where there is none.
    ///
    /// # Errors
    /// As [`schema::open`], and when what it holds cannot be read.
    pub(super) fn open(followed: &Followed) -> Result<Self> {
        let connection = schema::open(followed)?;
        let reached = schema::reached(&connection)?;
        let mut accounts = load_accounts(&connection)?;
        load_networks(&connection, &mut accounts)?;
        load_bindings(&connection, &mut accounts)?;
        Ok(Self { connection, accounts, reached })
    }

    /// Begins a transaction.
    pub(super) fn begin(&self) -> Result<()> {
        Ok(self.connection.execute_batch("BEGIN IMMEDIATE")?)
    }

    /// Ends the transaction, and is then at `reached`.
    pub(super) fn commit(&mut self, reached: Reached) -> Result<()> {
        let at = reached.at.map_or(0, Timestamp::ms);
        self.connection.execute("UPDATE projection SET lsn = ?1, at = ?2", (reached.lsn.0, at))?;
        self.connection.execute_batch("COMMIT")?;
        self.reached = reached;
        Ok(())
    }

    /// The account of an organization.
    ///
    /// # Errors
    /// When it was never created.
    pub(super) fn account(&mut self, number: OrgNumber, lsn: Lsn) -> Result<&mut Account> {
        let what = "it is of an organization that was never created";
        self.accounts.get_mut(number.index()).ok_or(ReportsError::Misfit { lsn, what })
    }

    /// Takes a new organization.
    ///
    /// # Errors
    /// When it is not the next one.
    pub(super) fn create(
        &mut self,
        number: OrgNumber,
        lsn: Lsn,
        created: &OrganizationCreated,
        at: Timestamp,
    ) -> Result<()> {
        if number.index() != self.accounts.len() {
            return Err(ReportsError::Misfit { lsn, what: "organizations are numbered one after the other" });
        }
        self.connection.execute(
            "INSERT INTO organization VALUES (?1, ?2, 0, ?3, 0, 0, 0, 0, 0)",
            (number.0, created.organization.as_str(), at.ms()),
        )?;
        self.accounts.push(Account::new(number, at));
        Ok(())
    }

    /// Takes any other event of an organization that does not hold it yet.
    pub(super) fn apply(
        &mut self,
        number: OrgNumber,
        lsn: Lsn,
        event: &Event,
        tally: &mut Tally,
    ) -> Result<()> {
        let flow = match &event.change {
            Change::CameraRegistered { camera, network, .. } => {
                return self.register(number, lsn, camera, network);
            }
            Change::UnlimitedBound { camera, license } => return self.bind(number, lsn, camera, license),
            Change::UnlimitedUnbound { license } => return self.unbind(number, lsn, license),
            Change::LicensesAdded { licenses, .. } => {
                let granted = licenses.iter().map(|license| license.granted.0).sum();
                self.account(number, lsn)?.balance += granted;
                Flow { granted, ..Flow::default() }
            }
            Change::TransferOutPrepared { transfer, .. } => {
                let tokens = std::mem::take(&mut self.account(number, lsn)?.balance);
                self.open_transit(number, transfer, true, tokens)?;
                Flow { sent: tokens, ..Flow::default() }
            }
            Change::TransferInPrepared { transfer, cargo } => {
                return self.open_transit(number, transfer, false, cargo.tokens.0);
            }
            Change::TransferOutClosed { transfer } => {
                return self.close_transit(number, transfer, true).map(drop);
            }
            Change::TransferInCredited { transfer } => {
                let received = self.close_transit(number, transfer, false)?;
                self.account(number, lsn)?.balance += received;
                Flow { received, ..Flow::default() }
            }
            Change::TransferAborted { transfer } => {
                let received = self.close_transit(number, transfer, true)?;
                self.account(number, lsn)?.balance += received;
                Flow { received, ..Flow::default() }
            }
            Change::OrganizationCreated(_)
            | Change::CameraRemoved { .. }
            | Change::RatesSet { .. }
            | Change::AlertsSet { .. }
            | Change::Reserved { .. }
            | Change::ReservationReleased { .. }
            | Change::ReservationsExpired => return Ok(()),
        };
        tally.flow(self.account(number, lsn)?, event.at, flow);
        Ok(())
    }

    fn register(&mut self, number: OrgNumber, lsn: Lsn, camera: &CameraId, network: &Name) -> Result<()> {
        let place = self.place_of(number, network)?;
        match self.slot_of(number, camera)? {
            Some(slot) => {
                self.connection.execute(
                    "UPDATE camera SET network = ?3 WHERE organization = ?1 AND slot = ?2",
                    (number.0, slot.0, place),
                )?;
                self.account(number, lsn)?.networks[slot.index()] = place;
            }
            None => {
                let slot = self.account(number, lsn)?.networks.len();
                self.insert_camera(number, slot, camera.as_str(), place)?;
                self.account(number, lsn)?.networks.push(place);
            }
        }
        Ok(())
    }

    /// Writes down a camera in a new slot.
    pub(super) fn insert_camera(&self, number: OrgNumber, slot: usize, id: &str, network: u16) -> Result<()> {
        let sql = "INSERT OR REPLACE INTO camera VALUES (?1, ?2, ?3, ?4)";
        self.connection.prepare_cached(sql)?.execute((number.0, slot, id, network))?;
        Ok(())
    }

    fn slot_of(&self, number: OrgNumber, camera: &CameraId) -> Result<Option<Slot>> {
        let sql = "SELECT slot FROM camera WHERE organization = ?1 AND id = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let slot = statement.query_row((number.0, camera.as_str()), |row| row.get(0).map(Slot)).optional()?;
        Ok(slot)
    }

    /// The place of a network; a new one when there is none yet.
    pub(super) fn place_of(&self, number: OrgNumber, network: &Name) -> Result<u16> {
        let sql = "SELECT place FROM network WHERE organization = ?1 AND name = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let known = statement.query_row((number.0, network.as_str()), |row| row.get(0)).optional()?;
        if let Some(place) = known {
            return Ok(place);
        }
        let sql = "SELECT COUNT(*) FROM network WHERE organization = ?1";
        let place = self.connection.query_row(sql, [number.0], |row| row.get(0))?;
        let row = (number.0, place, network.as_str());
        self.connection.execute("INSERT INTO network VALUES (?1, ?2, ?3)", row)?;
        Ok(place)
    }

    fn bind(
        &mut self,
        number: OrgNumber,
        lsn: Lsn,
        camera: &CameraId,
        license: &UnlimitedLicense,
    ) -> Result<()> {
        let what = "a license is bound to a camera that was never registered";
        let slot = self.slot_of(number, camera)?.ok_or(ReportsError::Misfit { lsn, what })?;
        self.insert_binding(number, slot, license)?;
        self.account(number, lsn)?.bindings.bind(slot, license.clone());
        Ok(())
    }

    /// Writes down a binding.
    pub(super) fn insert_binding(
        &self,
        number: OrgNumber,
        slot: Slot,
        license: &UnlimitedLicense,
    ) -> Result<()> {
        let UnlimitedLicense { id, kind, from, until } = license;
        self.connection.execute(
            "INSERT OR REPLACE INTO binding VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            (number.0, id.as_str(), slot.0, kind.number(), from.ms(), until.ms()),
        )?;
        Ok(())
    }

    fn unbind(&mut self, number: OrgNumber, lsn: Lsn, license: &LicenseId) -> Result<()> {
        let sql = "DELETE FROM binding WHERE organization = ?1 AND license = ?2";
        self.connection.execute(sql, (number.0, license.as_str()))?;
        self.account(number, lsn)?.bindings.unbind(license);
        Ok(())
    }

    /// Writes down what is on its way.
    pub(super) fn open_transit(
        &self,
        number: OrgNumber,
        transfer: &TransferId,
        outgoing: bool,
        tokens: u64,
    ) -> Result<()> {
        self.connection.execute(
            "INSERT OR REPLACE INTO transit VALUES (?1, ?2, ?3, ?4)",
            (number.0, transfer.as_str(), outgoing, tokens),
        )?;
        Ok(())
    }

    /// Ends what is on its way; answers with its tokens, none when nothing is in that direction.
    fn close_transit(&self, number: OrgNumber, transfer: &TransferId, outgoing: bool) -> Result<u64> {
        let sql = "SELECT tokens FROM transit WHERE organization = ?1 AND transfer = ?2 AND outgoing = ?3";
        let key = (number.0, transfer.as_str(), outgoing);
        let tokens = self.connection.query_row(sql, key, |row| row.get(0)).optional()?;
        let sql = "DELETE FROM transit WHERE organization = ?1 AND transfer = ?2";
        self.connection.execute(sql, (number.0, transfer.as_str()))?;
        Ok(tokens.unwrap_or(0))
    }
}

fn load_accounts(connection: &Connection) -> Result<Vec<Account>> {
    let sql = "SELECT number, lsn, at, balance, charged, exempt, debits_charged, debits_exempt \
               FROM organization ORDER BY number";
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map((), |row| {
        let used = Used {
            charged: row.get(4)?,
            exempt: row.get(5)?,
            debits_charged: row.get(6)?,
            debits_exempt: row.get(7)?,
        };
        let at = Timestamp::from_ms(row.get(2)?).unwrap_or(Timestamp::FIRST);
        let account = Account::new(OrgNumber(row.get(0)?), at);
        Ok(Account { lsn: Lsn(row.get(1)?), balance: row.get(3)?, used, ..account })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn load_networks(connection: &Connection, accounts: &mut [Account]) -> Result<()> {
    let sql = "SELECT organization, network FROM camera ORDER BY organization, slot";
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map((), |row| Ok((row.get(0).map(OrgNumber)?, row.get(1)?)))?;
    for row in rows {
        let (number, network) = row?;
        if let Some(account) = accounts.get_mut(number.index()) {
            account.networks.push(network);
        }
    }
    Ok(())
}

fn load_bindings(connection: &Connection, accounts: &mut [Account]) -> Result<()> {
    let mut statement =
        connection.prepare("SELECT organization, slot, license, kind, since, until FROM binding")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        let (number, slot) = (row.get(0).map(OrgNumber)?, row.get(1).map(Slot)?);
        let id = LicenseId::new(row.get_ref(2)?.as_str().unwrap_or_default());
        let kind = UsageKind::from_number(row.get(3)?);
        let (from, until) = (Timestamp::from_ms(row.get(4)?), Timestamp::from_ms(row.get(5)?));
        let (Some(account), Ok(id), Ok(kind), Ok(from), Ok(until)) =
            (accounts.get_mut(number.index()), id, kind, from, until)
        else {
            continue;
        };
        account.bindings.bind(slot, UnlimitedLicense { id, kind, from, until });
    }
    Ok(())
}

/// The bindings of a pool replace those of an account.
pub(super) fn replace_bindings(book: &Book, number: OrgNumber, bindings: &Bindings) -> Result<()> {
    book.connection.execute("DELETE FROM binding WHERE organization = ?1", [number.0])?;
    bindings.iter().try_for_each(|(slot, license)| book.insert_binding(number, slot, license))
}
