//! Reads the journal of one partition, a stretch at a time, and writes down what there is to tell.
//!
//! It begins with the first frame, or where it stopped. What the journal held before there was a database is read quietly: it is
//! known then which thresholds have fired, and nobody is told of what is long past. Where the journal no longer reaches back to the
//! frame that is due, it goes on from the oldest snapshot, and holds what is then against what was before.
//!
//! Invariants: only durable frames are read; each is decided once; a stretch that cannot be read or written to its end leaves
//! nothing. Absent on purpose: threads and clocks.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::domain::alerts::{Measure, Threshold};
use crate::domain::event::Change;
use crate::domain::ids::{Lsn, OrgNumber};
use crate::domain::time::Timestamp;
use crate::storage::event_codec::{self, DecodedDebits};
use crate::storage::snapshot_codec::DecodedPartition;
use crate::storage::{Fault, Follow, Followed, FrameRef, replay};

use super::account::Account;
use super::book::{Book, ToTell};
use super::error::AlertsError;
use super::notice::Notice;
use super::schema;

type Result<T> = std::result::Result<T, AlertsError>;

/// Most bytes of the journal in one stretch.
const STRETCH_BYTES: usize = 2 << 20;

/// What decides in one partition.
pub struct Watch {
    book: Book,
    journal: Box<dyn Follow>,
    debits: DecodedDebits,
    news: News,
}

/// What a stretch brought about.
#[derive(Default)]
struct News {
    changed: BTreeSet<OrgNumber>,
    to_tell: Vec<ToTell>,
    notices: Vec<Notice>,
}

impl News {
    /// Takes what a frame brought about in one organization.
    fn take(&mut self, book: &Book, number: OrgNumber) {
        self.changed.insert(number);
        let account = &book.accounts[number.index()];
        let told = self.notices.drain(..).filter(|notice| book.tells(notice.lsn));
        self.to_tell.extend(told.map(|notice| ToTell::new(number, account, notice)));
    }
}

impl Watch {
    /// Opens what decides in a partition, whose journal is durable up to `durable`. Where nothing was decided yet, nothing is
    /// told of what was there up to `quiet`.
    ///
    /// # Errors
    /// When the database cannot be used, or the journal not be read.
    pub fn open(followed: &Followed, durable: Lsn, quiet: Lsn) -> Result<Self> {
        let mut book = Book::open(followed, quiet)?;
        if book.reached > durable {
            let path = schema::path(followed);
            return Err(AlertsError::Ahead { path, decided: book.reached, durable });
        }
        let oldest = followed.store.first()?;
        if oldest.is_some_and(|oldest| oldest > book.reached.next()) {
            bridge(followed, &mut book)?;
        }
        let journal = followed.store.follow(book.reached);
        Ok(Self { book, journal, debits: DecodedDebits::new(), news: News::default() })
    }

    /// The last frame that was decided.
    #[must_use]
    pub fn reached(&self) -> Lsn {
        self.book.reached
    }

    /// Decides one stretch of what is durable up to `durable`.
    ///
    /// # Errors
    /// When the journal cannot be read or the database not be written. The watch is of no use then; another one may be opened.
    pub fn step(&mut self, durable: Lsn, stop: &AtomicBool) -> Result<()> {
        if self.book.reached >= durable || stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (mut reached, mut bytes, mut failed) = (self.book.reached, 0, None);
        let Self { book, journal, debits, news } = self;
        journal.read(durable, &mut |frame| {
            bytes += frame.next_offset - frame.offset;
            if let Err(error) = take(book, news, debits, &frame) {
                failed = Some(error);
                return Ok(ControlFlow::Break(()));
            }
            reached = frame.meta.lsn;
            let is_over = bytes >= STRETCH_BYTES || stop.load(Ordering::Relaxed);
            Ok(if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        failed.map_or(Ok(()), Err)?;
        let News { changed, to_tell, .. } = std::mem::take(news);
        book.commit(reached, &changed, &to_tell)
    }

    /// The thresholds of refusals, each with its organization.
    pub(super) fn of_refusals(&self) -> Vec<(OrgNumber, Threshold)> {
        let numbered = (0..).map(OrgNumber).zip(&self.book.accounts);
        let of = |(number, account): (OrgNumber, &Account)| {
            let all = account.alerts.iter().flat_map(|alerts| alerts.thresholds.clone());
            let refusals = all.filter(|threshold| threshold.measure == Measure::Refusals);
            refusals.map(|threshold| (number, threshold)).collect::<Vec<_>>()
        };
        numbered.flat_map(of).collect()
    }

    /// The id of an organization, and what ever came to it in tokens.
    pub(super) fn organization(&self, number: OrgNumber) -> (&crate::domain::ids::OrgId, u64) {
        let account = &self.book.accounts[number.index()];
        (&account.id, account.came)
    }

    /// Holds a threshold of refusals against what was counted of them.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub(super) fn judge_refusals(
        &mut self,
        number: OrgNumber,
        counted: (&Threshold, u64, bool),
        now: Timestamp,
    ) -> Result<()> {
        let reached = self.book.reached;
        let account = &mut self.book.accounts[number.index()];
        if !account.judge_refusals(counted, (reached, now), &mut self.news.notices) {
            return Ok(());
        }
        let account = &self.book.accounts[number.index()];
        let to_tell: Vec<_> =
            self.news.notices.drain(..).map(|notice| ToTell::new(number, account, notice)).collect();
        self.book.commit(reached, &BTreeSet::from([number]), &to_tell)
    }
}

/// Takes one frame.
fn take(book: &mut Book, news: &mut News, debits: &mut DecodedDebits, frame: &FrameRef<'_>) -> Result<()> {
    let lsn = frame.meta.lsn;
    let undecodable = |error: &dyn ToString| Fault::Undecodable { lsn, what: error.to_string() };
    let number = match (frame.meta.kind, frame.meta.version) {
        (event_codec::DEBITS, event_codec::DEBITS_VERSION) => {
            event_codec::decode_debits(frame.body, debits).map_err(|error| undecodable(&error))?;
            let account = book.account(debits.org, lsn)?;
            if lsn <= account.lsn {
                return Ok(());
            }
            account.charge(lsn, debits.charges(), &mut news.notices);
            debits.org
        }
        (event_codec::ORG_EVENT, event_codec::ORG_EVENT_VERSION) => {
            let (number, event) =
                event_codec::decode_org_event(frame.body).map_err(|error| undecodable(&error))?;
            match &event.change {
                Change::OrganizationCreated(_) if number.index() < book.accounts.len() => return Ok(()),
                Change::OrganizationCreated(created) => {
                    if number.index() != book.accounts.len() {
                        let what = "organizations are numbered one after the other";
                        return Err(AlertsError::Misfit { path: schema::path(&book.followed), lsn, what });
                    }
                    book.accounts.push(Account::new(created.organization.clone(), event.at));
                }
                _ => {
                    let account = book.account(number, lsn)?;
                    if lsn <= account.lsn {
                        return Ok(());
                    }
                    account.apply(lsn, &event, &mut news.notices);
                }
            }
            number
        }
        (_, found) if found > event_codec::NEWEST_VERSION => {
            return Err(Fault::NewerFrame { lsn, found }.into());
        }
        _ => return Ok(()),
    };
    news.take(book, number);
    Ok(())
}

/// Goes on from the oldest snapshot.
fn bridge(followed: &Followed, book: &mut Book) -> Result<()> {
    let Some((lsn, snapshot)) = replay::oldest_snapshot(&*followed.store)? else {
        let path = followed.store.place();
        let what = "a snapshot that the journal goes on from".to_owned();
        return Err(Fault::Missing { path, what }.into());
    };
    tracing::warn!(partition = followed.partition(), from = %book.reached, to = %lsn,
        "the journal does not reach back to what alerts are to decide next; what is at the oldest snapshot is held against what was");
    let DecodedPartition { mut pools, .. } = snapshot;
    pools.sort_by_key(|(number, _)| *number);
    let mut news = News::default();
    for (number, pool) in &pools {
        if number.index() == book.accounts.len() {
            book.accounts.push(Account::new(pool.id.clone(), pool.created_at));
        }
        book.account(*number, lsn)?.adopt(pool, &mut news.notices);
        news.take(book, *number);
    }
    book.commit(lsn, &news.changed, &news.to_tell)
}
