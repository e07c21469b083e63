//! Projects the journal of one partition into its database, a stretch at a time.
//!
//! It begins with the first frame, or where it stopped. Where the journal no longer reaches back to that, it begins with the
//! oldest snapshot, and writes down what lies between as a gap: what was used in it is known to the token, for a snapshot
//! holds the counters of every pool; when and where is not, and is not guessed.
//!
//! Invariants: only durable frames are read; each is counted once; a stretch that cannot be read or written to its end leaves
//! nothing. Absent on purpose: threads and clocks.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::domain::event::Change;
use crate::domain::ids::{Lsn, OrgNumber, Slot};
use crate::domain::pool::Pool;
use crate::domain::transfer::TransferSide;
use crate::storage::event_codec::{self, DecodedDebits};
use crate::storage::snapshot_codec::DecodedPartition;
use crate::storage::{Fault, Follow, Followed, FrameRef, replay};

use super::account::Account;
use super::book::{Book, replace_bindings};
use super::error::ReportsError;
use super::schema::{self, Level, Reached};
use super::tally::{Flow, Tally, Used};
use super::write;

type Result<T> = std::result::Result<T, ReportsError>;

/// Most bytes of the journal in one stretch.
const STRETCH_BYTES: usize = 8 << 20;
/// About how many rows one stretch writes at most.
const STRETCH_ROWS: usize = 400_000;

/// The projector of one partition.
pub struct Projector {
    followed: Followed,
    book: Book,
    journal: Box<dyn Follow>,
    tally: Tally,
    debits: DecodedDebits,
    log_max: usize,
    /// The day for which old rows were removed last.
    removed: u64,
}

impl Projector {
    /// Opens the projection of a partition, whose journal is durable up to `durable`; `log_max` debits of each organization are
    /// kept in its event log.
    ///
    /// # Errors
    /// When the database cannot be used, or the journal not be read.
    pub fn open(followed: &Followed, durable: Lsn, log_max: usize) -> Result<Self> {
        let mut book = Book::open(followed)?;
        let reported = book.reached.lsn;
        if reported > durable {
            return Err(ReportsError::Ahead { reported, durable });
        }
        let oldest = followed.store.first()?;
        if oldest.is_some_and(|oldest| oldest > reported.next()) {
            bridge(followed, &mut book)?;
        }
        let journal = followed.store.follow(book.reached.lsn);
        let (tally, debits) = (Tally::new(log_max), DecodedDebits::new());
        Ok(Self { followed: followed.clone(), book, journal, tally, debits, log_max, removed: 0 })
    }

    /// Whether there is a projection of a partition.
    #[must_use]
    pub fn is_there(followed: &Followed) -> bool {
        schema::path(followed).exists()
    }

    /// Removes the projection of a partition; it is then built anew, as far back as the journal reaches.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn remove(followed: &Followed) -> Result<()> {
        for path in schema::files(followed) {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Fault::io("remove", &path)(error).into());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// How far it reaches.
    #[must_use]
    pub fn reached(&self) -> Reached {
        self.book.reached
    }

    /// The partition.
    #[must_use]
    pub fn partition(&self) -> u16 {
        self.followed.partition()
    }

    /// Projects one stretch of what is durable up to `durable`; leaves nothing of it when it is told to `stop` meanwhile.
    ///
    /// # Errors
    /// When the journal cannot be read or the database not be written. The projector is of no use then; another one may be opened.
    pub fn step(&mut self, durable: Lsn, stop: &AtomicBool) -> Result<()> {
        if self.book.reached.lsn >= durable || stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.book.begin()?;
        let (mut reached, mut bytes, mut failed) = (self.book.reached, 0, None);
        let Self { book, journal, tally, debits, .. } = self;
        journal.read(durable, &mut |frame| {
            bytes += frame.next_offset - frame.offset;
            if let Err(error) = take(book, tally, debits, &frame, &mut reached) {
                failed = Some(error);
                return Ok(ControlFlow::Break(()));
            }
            let enough = bytes >= STRETCH_BYTES || tally.rows() >= STRETCH_ROWS;
            let is_over = enough || stop.load(Ordering::Relaxed);
            Ok(if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        failed.map_or(Ok(()), Err)?;
        write::add(&book.connection, &book.accounts, tally, self.log_max)?;
        tally.clear();
        if let Some(at) = reached.at.filter(|at| Level::Day.bucket(at.ms()) > self.removed) {
            write::remove_old(&book.connection, &book.accounts, at)?;
            self.removed = Level::Day.bucket(at.ms());
        }
        book.commit(reached)
    }
}

/// Takes one frame.
fn take(
    book: &mut Book,
    tally: &mut Tally,
    debits: &mut DecodedDebits,
    frame: &FrameRef<'_>,
    reached: &mut Reached,
) -> Result<()> {
    let lsn = frame.meta.lsn;
    reached.lsn = lsn;
    let undecodable = |error: &dyn ToString| Fault::Undecodable { lsn, what: error.to_string() };
    let at = match (frame.meta.kind, frame.meta.version) {
        (event_codec::DEBITS, event_codec::DEBITS_VERSION) => {
            event_codec::decode_debits(frame.body, debits).map_err(|error| undecodable(&error))?;
            let (batch, account) = (debits.charges(), book.account(debits.org, lsn)?);
            if lsn > account.lsn {
                let slots = account.networks.len();
                if batch.charges.iter().any(|charge| charge.slot.index() >= slots) {
                    let what = "a debit names a camera that was never registered";
                    return Err(ReportsError::Misfit { lsn, what });
                }
                tally.count(account, batch);
            }
            batch.at
        }
        (event_codec::ORG_EVENT, event_codec::ORG_EVENT_VERSION) => {
            let (number, event) =
                event_codec::decode_org_event(frame.body).map_err(|error| undecodable(&error))?;
            match &event.change {
                Change::OrganizationCreated(_) if number.index() < book.accounts.len() => {}
                Change::OrganizationCreated(created) => book.create(number, lsn, created, event.at)?,
                _ if lsn > book.account(number, lsn)?.lsn => book.apply(number, lsn, &event, tally)?,
                _ => {}
            }
            event.at
        }
        (_, found) if found > event_codec::NEWEST_VERSION => {
            return Err(Fault::NewerFrame { lsn, found }.into());
        }
        _ => return Ok(()),
    };
    reached.at = Some(reached.at.map_or(at, |before| before.max(at)));
    Ok(())
}

/// Goes on from the oldest snapshot: what lies before it and was not projected becomes a gap.
fn bridge(followed: &Followed, book: &mut Book) -> Result<()> {
    let Some((lsn, snapshot)) = replay::oldest_snapshot(&*followed.store)? else {
        let path = followed.store.place();
        let what = "a snapshot that the journal goes on from".to_owned();
        return Err(Fault::Missing { path, what }.into());
    };
    tracing::warn!(partition = followed.partition(), from = %book.reached.lsn, to = %lsn,
        "the journal does not reach back to what is to be reported next; a gap is noted, with what was used in it");
    book.begin()?;
    let DecodedPartition { pools, .. } = snapshot;
    let mut reached = Reached { lsn, ..book.reached };
    let mut tally = Tally::new(0);
    for (number, pool) in &pools {
        adopt(book, *number, pool, &mut tally)?;
        reached.at = reached.at.max(Some(pool.last_at));
    }
    write::add(&book.connection, &book.accounts, &tally, 0)?;
    book.commit(reached)
}

/// Takes over a pool as the snapshot holds it.
fn adopt(book: &mut Book, number: OrgNumber, pool: &Pool, tally: &mut Tally) -> Result<()> {
    let known = book.accounts.get(number.index()).map(|account| (account.at, account.used));
    let (since, before) = known.unwrap_or((pool.created_at, Used::default()));
    if known.is_none() {
        let sql = "INSERT INTO organization VALUES (?1, ?2, 0, 0, 0, 0, 0, 0, 0)";
        book.connection.execute(sql, (number.0, pool.id.as_str()))?;
        book.accounts.push(Account::new(number, pool.created_at));
    }
    let used = Used::from(&pool.totals);
    let missed = used.since(before);
    if missed.debits() > 0 {
        book.connection.execute(
            "INSERT OR REPLACE INTO gap VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            (
                number.0,
                since.ms(),
                pool.last_at.ms(),
                missed.charged,
                missed.exempt,
                missed.debits_charged,
                missed.debits_exempt,
            ),
        )?;
    }
    let places = pool.networks.iter().map(|network| book.place_of(number, &network.name));
    let places: Vec<u16> = places.collect::<Result<_>>()?;
    let mut networks = Vec::new();
    for slot in (0..pool.cameras.slots()).map(Slot) {
        let network = pool.cameras.get(slot).map_or(0, |camera| camera.network);
        let place = places[usize::try_from(network).unwrap_or(usize::MAX)];
        book.insert_camera(number, slot.index(), pool.cameras.name(slot), place)?;
        networks.push(place);
    }
    replace_bindings(book, number, &pool.bindings)?;
    book.connection.execute("DELETE FROM transit WHERE organization = ?1", [number.0])?;
    for (transfer, side) in &pool.transfers {
        match side {
            TransferSide::OutPrepared { cargo, .. } => {
                book.open_transit(number, transfer, true, cargo.tokens.0)?;
            }
            TransferSide::InPrepared { cargo } => {
                book.open_transit(number, transfer, false, cargo.tokens.0)?;
            }
            _ => {}
        }
    }
    let account = Account {
        number,
        lsn: pool.lsn,
        at: pool.last_at,
        balance: pool.balance.0,
        used,
        networks,
        bindings: pool.bindings.clone(),
    };
    let mut account = account;
    tally.flow(&mut account, pool.last_at, Flow::default());
    book.accounts[number.index()] = account;
    Ok(())
}
