//! The state of a partition, built from its newest snapshot and the journal after it.
//!
//! One way of replaying serves recovery, verification and the rebuilding of a single organization, so what is
//! verified is what runs. Each pool and the registry name the frame that they hold; a frame that they hold is
//! skipped, because a snapshot takes its pools one after the other while debits go on.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::event_codec::{self, DecodedDebits};
use super::event_fits;
use super::fault::{Fault, Result};
use super::frame::FrameRef;
use super::journal::JournalConfig;
use super::reader::Start;
use super::recovery::RecoveryReport;
use super::snapshot::{Skipped, Snapshot};
use super::snapshot_codec::{self, DecodedPartition};
use super::store::{self, GroupLog, Reading, Store};
use crate::domain::event::{Change, OrganizationCreated};
use crate::domain::ids::{Lsn, OrgId, OrgNumber};
use crate::domain::pool::Pool;
use crate::domain::registry::Registry;
use crate::domain::time::Timestamp;
use crate::planted::{self, Bug};

const CONTRADICTS: &str = "it contradicts the state before it";

/// The state of a partition while it is replayed.
#[derive(Debug, Default)]
pub struct PartitionState {
    /// The coordinator's registry; empty outside partition 0.
    pub registry: Registry,
    /// The pools by their number; none where only another is wanted.
    pub pools: Vec<Option<Pool>>,
    /// The ids of the pools: no two are of one.
    ids: BTreeSet<OrgId>,
    only: Option<OrgNumber>,
    debits: DecodedDebits,
    closed: bool,
}

/// What was loaded before the replay.
#[derive(Debug)]
pub struct Base {
    /// The lsn of the snapshot; zero when there was none.
    pub snapshot: Lsn,
    /// Snapshots that could not be read.
    pub skipped: Vec<Skipped>,
}

/// Refuses a partition without any frame in a directory that was made: it had a first frame before it served.
///
/// # Errors
/// [`Fault::Missing`] when `next`, the frame that is due next, is the first.
pub fn check_made(store: &dyn Store, next: Lsn) -> Result<()> {
    if next > Lsn(1) {
        return Ok(());
    }
    let what = "its first frame, written when the directory was made, and all that followed".to_owned();
    Err(Fault::Missing { path: store.place(), what })
}

/// Reads a snapshot and decodes it.
///
/// # Errors
/// As [`Store::load_snapshot`]; [`Fault::TooNew`] and [`Fault::Corrupt`] when it cannot be decoded.
pub fn load_snapshot(store: &dyn Store, lsn: Lsn) -> Result<DecodedPartition> {
    store.load_snapshot(lsn).and_then(|snapshot| decode(store, &snapshot))
}

/// The oldest snapshot that can be read and that the journal goes on from; none when the journal goes on from its first frame, or from
/// nothing.
///
/// # Errors
/// As [`load_snapshot`], but for damage: a damaged one is passed over.
pub fn oldest_snapshot(store: &dyn Store) -> Result<Option<(Lsn, DecodedPartition)>> {
    let first = store.first()?;
    if first == Some(Lsn(1)) {
        return Ok(None);
    }
    let reached = |lsn: &Lsn| first.is_some_and(|first| lsn.next() >= first);
    for lsn in store.snapshots()?.into_iter().filter(reached) {
        match load_snapshot(store, lsn) {
            Ok(decoded) => return Ok(Some((lsn, decoded))),
            Err(fault) if fault.is_damage() => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(None)
}

/// Where all that is kept of a partition begins: from which frame on, and the state before it.
///
/// # Errors
/// As [`oldest_snapshot`].
pub fn beginning(store: &dyn Store) -> Result<(Start, PartitionState)> {
    Ok(match oldest_snapshot(store)? {
        Some((lsn, decoded)) => (Start::After(lsn), PartitionState::of_snapshot(decoded)),
        None => (Start::Oldest, PartitionState::default()),
    })
}

impl PartitionState {
    /// The state of a partition as a snapshot holds it.
    #[must_use]
    pub fn of_snapshot(decoded: DecodedPartition) -> Self {
        let mut state = Self::default();
        state.take(decoded);
        state
    }

    /// The state of one organization alone, for rebuilding it.
    #[must_use]
    pub fn of_one(number: OrgNumber) -> Self {
        Self { only: Some(number), ..Self::default() }
    }

    /// Whether the journal ended with a clean close.
    #[must_use]
    pub fn was_closed(&self) -> bool {
        self.closed
    }

    /// Opens the partition for writing: loads, replays, repairs a torn tail.
    ///
    /// # Errors
    /// As [`Store::open`], and when a payload cannot be decoded.
    pub fn open(
        &mut self,
        store: &dyn Store,
        config: JournalConfig,
    ) -> Result<(Box<dyn GroupLog>, RecoveryReport, Base)> {
        let base = self.load_newest_snapshot(store)?;
        let (log, report) = store.open(config, base.snapshot, &mut |frame| self.replay_frame(frame))?;
        Ok((log, report, base))
    }

    /// Reads the partition without changing anything, from its newest snapshot on.
    ///
    /// # Errors
    /// As [`Store::read`], and when a payload cannot be decoded.
    pub fn scan(&mut self, store: &dyn Store) -> Result<(Reading, Base)> {
        let base = self.load_newest_snapshot(store)?;
        let reading = store.read(Start::After(base.snapshot), &mut |frame| self.replay_frame(frame))?;
        Ok((reading, base))
    }

    /// Reads the partition up to the frame `target` while it is being written; answers with the last frame read.
    ///
    /// # Errors
    /// As [`Self::scan`], unless everything up to `target` was read before.
    pub fn scan_to(&mut self, store: &dyn Store, target: Lsn) -> Result<Lsn> {
        let base = self.load_newest_snapshot(store)?;
        let mut read = base.snapshot;
        let scan = store.read(Start::After(base.snapshot), &mut |frame| {
            if frame.meta.lsn > target {
                return Ok(());
            }
            read = frame.meta.lsn;
            self.replay_frame(frame)
        });
        match scan {
            Err(fault) if read < target => Err(fault),
            _ => Ok(read),
        }
    }

    /// Carries out one journal frame.
    ///
    /// # Errors
    /// [`Fault::Undecodable`] when its payload is not what this release writes.
    fn apply_frame(&mut self, frame: FrameRef<'_>) -> Result<()> {
        let lsn = frame.meta.lsn;
        self.closed = frame.meta.kind == event_codec::CLOSED;
        let applied = match (frame.meta.kind, frame.meta.version) {
            (event_codec::DEBITS, event_codec::DEBITS_VERSION) => self.apply_debits(lsn, frame.body),
            (event_codec::ORG_EVENT, event_codec::ORG_EVENT_VERSION) => self.apply_org_event(lsn, frame.body),
            (event_codec::REGISTRY_EVENT, event_codec::REGISTRY_EVENT_VERSION) => {
                self.apply_registry_event(lsn, frame.body)
            }
            (event_codec::CLOSED, event_codec::CLOSED_VERSION) => {
                event_codec::decode_closed(frame.body).map_err(|error| error.to_string())
            }
            (_, found) if found > event_codec::NEWEST_VERSION => {
                return Err(Fault::NewerFrame { lsn, found });
            }
            (kind, version) => Err(format!("there are no frames of kind {kind}, version {version}")),
        };
        applied.map_err(|what| Fault::Undecodable { lsn, what })
    }

    /// Carries out one journal frame; an event that its checksum vouches for and the state cannot have had is a fault of that
    /// frame, never a guess.
    ///
    /// # Errors
    /// [`Fault::Undecodable`] when its payload is not what this release writes, or contradicts the state.
    pub fn replay_frame(&mut self, frame: FrameRef<'_>) -> Result<()> {
        let lsn = frame.meta.lsn;
        let applied = catch_unwind(AssertUnwindSafe(|| self.apply_frame(frame)));
        applied.unwrap_or_else(|_| Err(Fault::Undecodable { lsn, what: CONTRADICTS.to_owned() }))
    }

    fn load_newest_snapshot(&mut self, store: &dyn Store) -> Result<Base> {
        let loaded = store::newest_snapshot_as(store, |snapshot| {
            decode(store, &snapshot).map(|decoded| (snapshot.header.lsn, decoded))
        })?;
        let Some((lsn, decoded)) = loaded.snapshot else {
            return Ok(Base { snapshot: Lsn(0), skipped: loaded.skipped });
        };
        self.take(decoded);
        Ok(Base { snapshot: lsn, skipped: loaded.skipped })
    }

    fn take(&mut self, decoded: DecodedPartition) {
        self.registry = decoded.registry.unwrap_or_default();
        for (number, pool) in decoded.pools {
            if self.wants(number) {
                self.ids.insert(pool.id.clone());
                *self.place(number) = Some(pool);
            }
        }
    }

    fn apply_debits(&mut self, lsn: Lsn, body: &[u8]) -> std::result::Result<(), String> {
        let mut debits = std::mem::take(&mut self.debits);
        event_codec::decode_debits(body, &mut debits).map_err(|error| error.to_string())?;
        if let Some(pool) = self.due(debits.org, lsn)? {
            debits.resolve(pool.secret);
            let slots = pool.cameras.slots();
            if debits.charges().charges.iter().any(|charge| charge.slot.0 >= slots) {
                return Err("a debit names a camera that the organization does not have".to_owned());
            }
            pool.apply_charges(debits.charges());
            pool.lsn = lsn;
        }
        self.debits = debits;
        Ok(())
    }

    fn apply_org_event(&mut self, lsn: Lsn, body: &[u8]) -> std::result::Result<(), String> {
        let (number, event) = event_codec::decode_org_event(body).map_err(|error| error.to_string())?;
        if let Change::OrganizationCreated(created) = &event.change {
            self.create(number, created, event.at)?;
        }
        if let Some(pool) = self.due(number, lsn)? {
            contradicts(!event_fits::pool(pool, &event))?;
            pool.apply(&event);
            pool.lsn = lsn;
        }
        Ok(())
    }

    fn apply_registry_event(&mut self, lsn: Lsn, body: &[u8]) -> std::result::Result<(), String> {
        let event = event_codec::decode_registry_event(body).map_err(|error| error.to_string())?;
        if lsn > self.registry.lsn {
            contradicts(!event_fits::registry(&self.registry, &event))?;
            self.registry.apply(&event);
            self.registry.lsn = lsn;
        }
        Ok(())
    }

    /// Makes the pool of a new organization; nothing where a snapshot holds it already. Organizations are numbered one after
    /// the other.
    fn create(
        &mut self,
        number: OrgNumber,
        created: &OrganizationCreated,
        at: Timestamp,
    ) -> std::result::Result<(), String> {
        if !self.wants(number) || self.pools.get(number.index()).is_some_and(Option::is_some) {
            return Ok(());
        }
        let is_next = self.only.is_some() || number.index() == self.pools.len();
        contradicts(!is_next || !self.ids.insert(created.organization.clone()))?;
        *self.place(number) = Some(Pool::new(created.clone(), at));
        Ok(())
    }

    /// The pool that a frame is for; none when it holds the frame already or is not wanted.
    fn due(&mut self, number: OrgNumber, lsn: Lsn) -> std::result::Result<Option<&mut Pool>, String> {
        if !self.wants(number) {
            return Ok(None);
        }
        let pool = self.pools.get_mut(number.index()).and_then(Option::as_mut);
        let pool = pool.ok_or_else(|| format!("organization number {} was never created", number.0))?;
        Ok((lsn > pool.lsn || planted::is(Bug::SkipLsnCheck)).then_some(pool))
    }

    fn wants(&self, number: OrgNumber) -> bool {
        self.only.is_none_or(|only| only == number)
    }

    fn place(&mut self, number: OrgNumber) -> &mut Option<Pool> {
        if self.pools.len() <= number.index() {
            self.pools.resize_with(number.index() + 1, || None);
        }
        &mut self.pools[number.index()]
    }
}

fn contradicts(it_does: bool) -> std::result::Result<(), String> {
    if it_does { Err(CONTRADICTS.to_owned()) } else { Ok(()) }
}

fn decode(store: &dyn Store, snapshot: &Snapshot) -> Result<DecodedPartition> {
    let (lsn, found) = (snapshot.header.lsn, snapshot.header.version);
    let path = store.snapshot_place(lsn);
    if found > snapshot_codec::SNAPSHOT_VERSION {
        let (found, supported) = (found.into(), snapshot_codec::SNAPSHOT_VERSION.into());
        return Err(Fault::TooNew { path, found, supported });
    }
    let corrupt = |what: String| Fault::corrupt(&path, 0, Some(lsn), what);
    let decoded = snapshot_codec::decode(&snapshot.body).map_err(|error| corrupt(error.to_string()))?;
    // Organizations are numbered one after the other and never removed; a place for each up to a number that is merely claimed
    // could take more memory than there is.
    if (0..).map(OrgNumber).zip(&decoded.pools).any(|(due, (number, _))| due != *number) {
        return Err(corrupt("an organization is missing between two numbers".to_owned()));
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Event;
    use crate::domain::ids::Name;
    use crate::domain::limits::{PARTITION_ORGANIZATIONS_MAX, RETENTION_MS_DEFAULT};
    use crate::storage::FrameMeta;

    fn create(state: &mut PartitionState, lsn: u64, number: u32, id: &str) -> Result<()> {
        let (organization, name) = (OrgId::new(id).expect("valid"), Name::new(id).expect("valid"));
        let created =
            OrganizationCreated { organization, name, secret: (1, 2), retention_ms: RETENTION_MS_DEFAULT };
        let event = Event { at: Timestamp::FIRST, change: Change::OrganizationCreated(created) };
        let mut body = Vec::new();
        event_codec::encode_org_event(&mut body, OrgNumber(number), &event);
        let (kind, version) = (event_codec::ORG_EVENT, event_codec::ORG_EVENT_VERSION);
        let meta = FrameMeta { lsn: Lsn(lsn), group: 0, kind, version };
        state.replay_frame(FrameRef { meta, body: &body, offset: 0, next_offset: 0 })
    }

    #[test]
    fn i8_an_organization_out_of_its_turn_or_of_a_known_id_is_refused_and_no_place_is_made() {
        let mut state = PartitionState::default();
        create(&mut state, 1, 0, "a").expect("the first");
        for (number, id) in [(PARTITION_ORGANIZATIONS_MAX - 1, "b"), (2, "b"), (1, "a"), (0, "b")] {
            let fault = create(&mut state, 2, number, id).expect_err("it contradicts").to_string();
            assert!(fault.contains(CONTRADICTS), "{fault}");
        }
        assert_eq!(state.pools.len(), 1);
        create(&mut state, 2, 1, "b").expect("the next");
    }
}
