//! What the journals of several partitions say to each other, and the cut through all of them that is consistent.
//!
//! Partitions speak by messages between the coordinator and organizations only, and a message leaves when the frame
//! it follows from is durable. So a set of journals, each cut off somewhere, is what a crash could have left if,
//! for every frame that is kept, the frames that its message followed from are kept as well. Few frames follow from
//! another journal's: the steps of transfers and of claims of license keys, and a claim from its organization's
//! creation. They are gathered here, with what each needs, and [`consistent`] cuts journals back until no kept
//! frame lacks what it needs.
//!
//! Deliberately absent: what a step does to a pool. Recovery drives to its end what the cut leaves open (I6, I10).

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::event::Change;
use crate::domain::ids::{KeyId, Lsn, OrgId, OrgNumber, TransferId};
use crate::domain::pool::Pool;
use crate::domain::registry::{Registry, RegistryChange, TransferState};
use crate::domain::time::Timestamp;
use crate::domain::transfer::TransferSide;
use crate::storage::event_codec::{self, DecodedDebits};
use crate::storage::fault::{Fault, Result};
use crate::storage::frame::FrameRef;
use crate::storage::reader::Start;
use crate::storage::replay;
use crate::storage::snapshot_codec::DecodedPartition;
use crate::storage::store::Store;

/// How far a journal is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// To its end.
    End,
    /// Up to the first frame that is later than this.
    Time(Timestamp),
    /// Up to this frame.
    Frame(Lsn),
}

/// One journal within its limit: the frames that speak to other partitions, and how far it reaches.
#[derive(Debug, Default)]
pub struct History {
    /// The first frame that it can be cut off after: zero when its first frame ever is there, else what its oldest
    /// usable snapshot holds.
    pub earliest: Lsn,
    /// The newest event up to there.
    pub earliest_at: Option<Timestamp>,
    /// The last frame within the limit.
    pub last: Lsn,
    /// The newest event up to there.
    pub last_at: Option<Timestamp>,
    steps: Vec<Step>,
    is_past: bool,
    debits: DecodedDebits,
}

/// Something that happened, as other partitions know it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fact {
    Created(OrgId),
    Claimed(KeyId),
    Added(KeyId),
    Begun(TransferId),
    Prepared(TransferId, Place),
    Decided(TransferId),
    Ended(TransferId, Place),
}

/// An organization, by where its frames stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    partition: u16,
    number: OrgNumber,
}

/// A frame that needs what other journals hold, or that they need. What a snapshot holds stands at its last frame:
/// it is kept whole or not at all.
#[derive(Debug)]
struct Step {
    lsn: Lsn,
    needs: Need,
    gives: Option<Fact>,
}

/// What must be kept for a frame to be kept.
#[derive(Debug)]
enum Need {
    Nothing,
    Of(Fact),
    /// Both sides are prepared.
    BothPrepared(TransferId),
    /// Every side that prepared has ended.
    AllEnded(TransferId),
}

/// What a frame needs of other journals, and what they may need of it.
type Spoken = (Need, Option<Fact>);

/// All that a cut keeps.
#[derive(Default)]
struct Facts<'a> {
    all: BTreeSet<&'a Fact>,
    prepared: BTreeMap<&'a TransferId, Vec<Place>>,
}

impl History {
    /// Reads a journal from the oldest point that it can be restored to.
    ///
    /// # Errors
    /// As [`Store::read`], and when a payload cannot be decoded.
    pub fn read(store: &dyn Store, limit: Limit) -> Result<Self> {
        let (after, mut history) = match replay::oldest_snapshot(store)? {
            Some((lsn, decoded)) => (lsn, Self::of(store.partition(), lsn, &decoded)),
            None => (Lsn(0), Self::default()),
        };
        store.read(Start::After(after), &mut |frame| history.take(store.partition(), frame, limit))?;
        Ok(history)
    }

    fn of(partition: u16, lsn: Lsn, decoded: &DecodedPartition) -> Self {
        let (earliest, at) = (holds(lsn, decoded), newest_event(decoded));
        let mut spoken = decoded.registry.as_ref().map(registry_state).unwrap_or_default();
        for (number, pool) in &decoded.pools {
            spoken.extend(pool_state(Place { partition, number: *number }, pool));
        }
        let steps = spoken.into_iter().map(|(needs, gives)| Step { lsn: earliest, needs, gives }).collect();
        Self { earliest, earliest_at: at, last: earliest, last_at: at, steps, ..Self::default() }
    }

    fn take(&mut self, partition: u16, frame: FrameRef<'_>, limit: Limit) -> Result<()> {
        if self.is_past {
            return Ok(());
        }
        let lsn = frame.meta.lsn;
        let (at, step) = self.decode(partition, frame)?;
        self.is_past = match limit {
            Limit::End => false,
            Limit::Time(limit) => at.is_some_and(|at| at > limit),
            Limit::Frame(limit) => lsn > limit,
        };
        if !self.is_past {
            self.last = self.last.max(lsn);
            self.last_at = self.last_at.max(at);
            self.steps.extend(step.map(|(needs, gives)| Step { lsn, needs, gives }));
        }
        Ok(())
    }

    fn decode(&mut self, partition: u16, frame: FrameRef<'_>) -> Result<(Option<Timestamp>, Option<Spoken>)> {
        let (lsn, found) = (frame.meta.lsn, frame.meta.version);
        if found > event_codec::NEWEST_VERSION {
            return Err(Fault::NewerFrame { lsn, found });
        }
        let undecodable = |what: String| Fault::Undecodable { lsn, what };
        match frame.meta.kind {
            event_codec::DEBITS => event_codec::decode_debits(frame.body, &mut self.debits)
                .map(|()| (Some(self.debits.at), None))
                .map_err(|error| undecodable(error.to_string())),
            event_codec::ORG_EVENT => event_codec::decode_org_event(frame.body)
                .map(|(number, event)| (Some(event.at), org_step(Place { partition, number }, event.change)))
                .map_err(|error| undecodable(error.to_string())),
            event_codec::REGISTRY_EVENT => event_codec::decode_registry_event(frame.body)
                .map(|event| (Some(event.at), registry_step(event.change)))
                .map_err(|error| undecodable(error.to_string())),
            event_codec::CLOSED => Ok((None, None)),
            kind => Err(undecodable(format!("there are no frames of kind {kind}"))),
        }
    }

    fn kept(&self, last: Lsn) -> impl Iterator<Item = &Step> {
        self.steps.iter().take_while(move |step| step.lsn <= last)
    }
}

/// By partition: the last frame of the longest consistent cut within the histories.
///
/// It does not fall below any consistent cut within them, and so not below what was durable at one moment. Where it
/// falls below [`History::earliest`], there is none that keeps that partition.
#[must_use]
pub fn consistent(histories: &[History]) -> Vec<Lsn> {
    let mut cut: Vec<_> = histories.iter().map(|history| history.last).collect();
    loop {
        let kept = histories.iter().zip(&cut).flat_map(|(history, last)| history.kept(*last));
        let facts: Facts<'_> = kept.filter_map(|step| step.gives.as_ref()).collect();
        let first_lacking = |history: &History, last| {
            let lacking = history.kept(last).find(|step| !facts.satisfy(&step.needs));
            lacking.map(|step| Lsn(step.lsn.0 - 1))
        };
        let shorter: Vec<_> = histories
            .iter()
            .zip(&cut)
            .map(|(history, last)| first_lacking(history, *last).unwrap_or(*last))
            .collect();
        if shorter == cut {
            return cut;
        }
        cut = shorter;
    }
}

/// The last frame that anything in a snapshot holds: its pools are taken one after the other.
pub(super) fn holds(lsn: Lsn, decoded: &DecodedPartition) -> Lsn {
    let pools = decoded.pools.iter().map(|(_, pool)| pool.lsn);
    pools.chain(decoded.registry.iter().map(|registry| registry.lsn)).fold(lsn, Lsn::max)
}

fn newest_event(decoded: &DecodedPartition) -> Option<Timestamp> {
    let pools = decoded.pools.iter().map(|(_, pool)| pool.last_at);
    let registry = decoded.registry.iter().flat_map(|registry| {
        let claims = registry.claims.values().map(|claim| claim.at);
        let transfers = registry.transfers.values().map(|known| known.ended_at.unwrap_or(known.begun_at));
        let keys = registry.api_keys.values().map(|key| key.revoked_at.unwrap_or(key.created_at));
        claims.chain(transfers).chain(keys)
    });
    pools.chain(registry).max()
}

/// What an organization's event says to other journals. A new event must be given its place here.
fn org_step(place: Place, change: Change) -> Option<Spoken> {
    match change {
        Change::OrganizationCreated(created) => {
            Some((Need::Nothing, Some(Fact::Created(created.organization))))
        }
        Change::LicensesAdded { key, .. } => {
            Some((Need::Of(Fact::Claimed(key.clone())), Some(Fact::Added(key))))
        }
        Change::TransferOutPrepared { transfer, .. } => {
            Some((Need::Of(Fact::Begun(transfer.clone())), Some(Fact::Prepared(transfer, place))))
        }
        Change::TransferInPrepared { transfer, .. } => {
            Some((Need::BothPrepared(transfer.clone()), Some(Fact::Prepared(transfer, place))))
        }
        Change::TransferOutClosed { transfer }
        | Change::TransferInCredited { transfer }
        | Change::TransferAborted { transfer } => {
            Some((Need::Of(Fact::Decided(transfer.clone())), Some(Fact::Ended(transfer, place))))
        }
        Change::CameraRegistered { .. }
        | Change::CameraRemoved { .. }
        | Change::UnlimitedBound { .. }
        | Change::UnlimitedUnbound { .. }
        | Change::Reserved { .. }
        | Change::ReservationReleased { .. }
        | Change::ReservationsExpired
        | Change::RatesSet { .. }
        | Change::AlertsSet { .. } => None,
    }
}

/// As [`org_step`], for the coordinator's events.
fn registry_step(change: RegistryChange) -> Option<Spoken> {
    match change {
        RegistryChange::KeyClaimed { key, organization, .. } => {
            Some((Need::Of(Fact::Created(organization)), Some(Fact::Claimed(key))))
        }
        RegistryChange::KeyApplied { key } => Some((Need::Of(Fact::Added(key)), None)),
        RegistryChange::TransferBegun { transfer, .. } => Some((Need::Nothing, Some(Fact::Begun(transfer)))),
        RegistryChange::TransferCommitted { transfer, .. } => {
            Some((Need::BothPrepared(transfer.clone()), Some(Fact::Decided(transfer))))
        }
        RegistryChange::TransferAborting { transfer, .. } => {
            Some((Need::Nothing, Some(Fact::Decided(transfer))))
        }
        RegistryChange::TransferEnded { transfer } => Some((Need::AllEnded(transfer), None)),
        RegistryChange::ApiKeyCreated { .. } | RegistryChange::ApiKeyRevoked { .. } => None,
    }
}

/// What the steps that led to a registry say.
fn registry_state(registry: &Registry) -> Vec<Spoken> {
    let mut spoken = Vec::new();
    for (key, claim) in &registry.claims {
        let created = Need::Of(Fact::Created(claim.organization.clone()));
        spoken.push((created, Some(Fact::Claimed(key.clone()))));
        if claim.applied {
            spoken.push((Need::Of(Fact::Added(key.clone())), None));
        }
    }
    for (transfer, known) in &registry.transfers {
        spoken.push((Need::Nothing, Some(Fact::Begun(transfer.clone()))));
        let decided = Some(Fact::Decided(transfer.clone()));
        match known.state {
            TransferState::Begun => {}
            TransferState::Committed | TransferState::Finished => {
                spoken.push((Need::BothPrepared(transfer.clone()), decided));
            }
            TransferState::Aborting | TransferState::Aborted => spoken.push((Need::Nothing, decided)),
        }
        if known.state.is_ended() {
            spoken.push((Need::AllEnded(transfer.clone()), None));
        }
    }
    spoken
}

/// What the steps that led to a pool say.
fn pool_state(place: Place, pool: &Pool) -> Vec<Spoken> {
    let mut spoken = vec![(Need::Nothing, Some(Fact::Created(pool.id.clone())))];
    for key in &pool.keys {
        spoken.push((Need::Of(Fact::Claimed(key.clone())), Some(Fact::Added(key.clone()))));
    }
    for (transfer, side) in &pool.transfers {
        let prepared = Some(Fact::Prepared(transfer.clone(), place));
        match side {
            TransferSide::OutPrepared { .. } | TransferSide::Closed => {
                spoken.push((Need::Of(Fact::Begun(transfer.clone())), prepared));
            }
            TransferSide::InPrepared { .. } | TransferSide::Credited => {
                spoken.push((Need::BothPrepared(transfer.clone()), prepared));
            }
            // It may never have prepared; who needs prepared sides has seen no abort.
            TransferSide::Aborted => {}
        }
        if !side.is_prepared() {
            let ended = Some(Fact::Ended(transfer.clone(), place));
            spoken.push((Need::Of(Fact::Decided(transfer.clone())), ended));
        }
    }
    spoken
}

impl Facts<'_> {
    fn satisfy(&self, need: &Need) -> bool {
        let prepared = |transfer| self.prepared.get(transfer).map_or(&[][..], Vec::as_slice);
        match need {
            Need::Nothing => true,
            Need::Of(fact) => self.all.contains(fact),
            Need::BothPrepared(transfer) => prepared(transfer).len() >= 2,
            Need::AllEnded(transfer) => prepared(transfer)
                .iter()
                .all(|place| self.all.contains(&Fact::Ended(transfer.clone(), *place))),
        }
    }
}

impl<'a> FromIterator<&'a Fact> for Facts<'a> {
    fn from_iter<I: IntoIterator<Item = &'a Fact>>(facts: I) -> Self {
        let mut kept = Self::default();
        for fact in facts {
            // A frame that a snapshot holds may be read once more.
            if kept.all.insert(fact)
                && let Fact::Prepared(transfer, place) = fact
            {
                kept.prepared.entry(transfer).or_default().push(*place);
            }
        }
        kept
    }
}
