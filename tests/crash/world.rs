//! Two partitions, their organizations and the coordinator, executed one step after the other.
//!
//! What is staged waits for [`World::commit`]; replies and messages leave when what precedes them is durable, as the
//! actors have it. The [`Ledger`] outlives a crash.

use tokenweir::domain::batch::DebitBatch;
use tokenweir::domain::command::Command;
use tokenweir::domain::debit::Outcome;
use tokenweir::domain::event::{Change, Event, OrganizationCreated};
use tokenweir::domain::hash;
use tokenweir::domain::ids::{Name, OrgId, OrgNumber, ReservationId};
use tokenweir::domain::pool::Pool;
use tokenweir::domain::refusal::Refusal;
use tokenweir::domain::time::Timestamp;
use tokenweir::protocol::coordinator::{Coordinator, Effect, Ticket};
use tokenweir::protocol::message::{ToOrg, from_nobody};
use tokenweir::protocol::org::OrgProcess;
use tokenweir::storage::manifest::Stage;
use tokenweir::storage::replay::PartitionState;
use tokenweir::storage::snapshot::{SnapshotHeader, write_snapshot};
use tokenweir::storage::snapshot_codec::{self, PartitionImage, PoolImage};
use tokenweir::storage::{GroupLog, Home, Manifest, Result, SimDisk, event_codec, fixture, retention};

use super::group::{Group, Release};
use super::ledger::{Ledger, Plant};
use super::script::{Item, RETENTION_MS, START_MS};

pub(crate) const PARTITIONS: u16 = 2;

pub(crate) struct World<'a> {
    pub(crate) parts: Vec<Part>,
    pub(crate) coordinator: Coordinator,
    pub(crate) ledger: &'a mut Ledger,
    effects: Vec<Effect>,
    next_ticket: Ticket,
}

pub(crate) struct Part {
    pub(crate) home: Home,
    pub(crate) journal: Box<dyn GroupLog>,
    pub(crate) orgs: Vec<OrgProcess>,
    group: Group,
}

pub(crate) fn home(disk: &SimDisk, partition: u16) -> Home {
    Home { partition, ..fixture::home(disk.clone()) }
}

/// The bytes of a partition as a snapshot would hold it.
pub(crate) fn bytes_of<'a>(
    coordinator: Option<&Coordinator>,
    pools: impl Iterator<Item = &'a mut Pool>,
) -> Vec<u8> {
    let registry = coordinator.map(|coordinator| coordinator.registry().clone());
    let pools = (0..).map(OrgNumber).zip(pools).map(|(number, pool)| PoolImage::take(pool, number)).collect();
    snapshot_codec::encode(&PartitionImage { registry, pools })
}

impl Part {
    fn append_event(&mut self, org: usize, event: &Event) {
        let number = number(org);
        let encode = |out: &mut Vec<u8>| event_codec::encode_org_event(out, number, event);
        let lsn = self.group.append(event_codec::ORG_EVENT, event_codec::ORG_EVENT_VERSION, encode);
        self.orgs[org].pool_mut().lsn = lsn;
    }
}

impl<'a> World<'a> {
    /// Opens the directory, made when there is none, as a start of the engine does.
    pub(crate) fn open(disk: &SimDisk, ledger: &'a mut Ledger) -> Result<Self> {
        let home = |partition| home(disk, partition);
        let (layout, directory) = (home(0).layout, home(0).directory);
        if Manifest::read(disk, &layout)?.is_none() {
            Manifest { partitions: PARTITIONS, directory, created_at_ms: START_MS, stage: Stage::Made }
                .write(disk, &layout)?;
        }
        let (mut parts, mut registry) = (Vec::new(), None);
        for home in (0..PARTITIONS).map(home) {
            let mut state = PartitionState::default();
            let (journal, ..) = state.open(&home, fixture::SMALL)?;
            registry.get_or_insert(state.registry);
            let orgs = state.pools.into_iter().map(|pool| OrgProcess::new(pool.expect("no gaps"))).collect();
            let group = Group::new(journal.next_lsn());
            parts.push(Part { home, journal, orgs, group });
        }
        let coordinator = Coordinator::new(registry.expect("partition 0"));
        let mut world = Self { parts, coordinator, ledger, effects: Vec::new(), next_ticket: 0 };
        if world.ledger.plant != Some(Plant::ForgetToRecover) {
            world.coordinator.recover(world.ledger.now, &mut world.effects);
            world.execute();
        }
        Ok(world)
    }

    pub(crate) fn pools(&self) -> impl Iterator<Item = &Pool> + Clone {
        self.parts.iter().flat_map(|part| part.orgs.iter().map(OrgProcess::pool))
    }

    pub(crate) fn bytes(&mut self, partition: usize) -> Vec<u8> {
        let coordinator = (partition == 0).then_some(&self.coordinator);
        bytes_of(coordinator, self.parts[partition].orgs.iter_mut().map(OrgProcess::pool_mut))
    }

    pub(crate) fn create(&mut self, org: &OrgId) {
        let name = Name::new(org.as_str()).expect("an id is a name");
        let secret = (7, u64::try_from(org.as_str().len()).expect("short"));
        let created =
            OrganizationCreated { organization: org.clone(), name, secret, retention_ms: RETENTION_MS };
        let event = Event { at: self.ledger.now, change: Change::OrganizationCreated(created.clone()) };
        let mut pool = Pool::new(created, event.at);
        pool.apply(&event);
        let partition = partition_of(org);
        let part = &mut self.parts[partition];
        part.orgs.push(OrgProcess::new(pool));
        part.append_event(part.orgs.len() - 1, &event);
        self.note(partition);
    }

    pub(crate) fn command(&mut self, org: &OrgId, command: Command) -> std::result::Result<(), Refusal> {
        let (partition, at) = self.expired(org);
        let (now, part) = (self.ledger.now, &mut self.parts[partition]);
        if let Some(event) = part.orgs[at].command(command, now)? {
            part.append_event(at, &event);
            self.note(partition);
        }
        Ok(())
    }

    /// Ends the reservations that are due.
    pub(crate) fn expire(&mut self) {
        let all: Vec<OrgId> = self.pools().map(|pool| pool.id.clone()).collect();
        for org in &all {
            self.expired(org);
        }
    }

    /// Where an organization is, when its reservations that are due were ended.
    fn expired(&mut self, org: &OrgId) -> (usize, usize) {
        let (partition, at) = self.find(org).expect("created");
        let part = &mut self.parts[partition];
        if let Some(event) = part.orgs[at].expire(self.ledger.now) {
            part.append_event(at, &event);
            self.note(partition);
        }
        (partition, at)
    }

    /// Judges a batch; its outcomes are acknowledged when they are durable.
    pub(crate) fn debits(&mut self, org: &OrgId, items: &[Item]) -> Vec<Outcome> {
        self.paid_by(None, org, items)
    }

    /// As [`Self::debits`], paid by a reservation.
    pub(crate) fn paid_by(
        &mut self,
        reservation: Option<&ReservationId>,
        org: &OrgId,
        items: &[Item],
    ) -> Vec<Outcome> {
        let (partition, at) = self.expired(org);
        let (now, Part { orgs, group, .. }) = (self.ledger.now, &mut self.parts[partition]);
        let mut batch = DebitBatch::default();
        batch.pay_by(reservation.cloned());
        items.iter().for_each(|item| batch.push(item.debit()));
        let charges = orgs[at].debits(&mut batch, now);
        let charged = !charges.charges.is_empty();
        if charged {
            let encode = |out: &mut Vec<u8>| event_codec::encode_debits(out, number(at), &charges);
            let lsn = group.append(event_codec::DEBITS, event_codec::DEBITS_VERSION, encode);
            orgs[at].pool_mut().lsn = lsn;
        }
        let outcomes = batch.outcomes().to_vec();
        group.releases.push(Release::Debits(org.clone(), items.to_vec(), outcomes.clone()));
        if charged {
            self.note(partition);
        }
        outcomes
    }

    /// Gives the coordinator an order.
    pub(crate) fn order(
        &mut self,
        order: impl FnOnce(&mut Coordinator, Ticket, Timestamp, &mut Vec<Effect>),
    ) {
        self.next_ticket += 1;
        order(&mut self.coordinator, self.next_ticket, self.ledger.now, &mut self.effects);
        self.execute();
    }

    /// Makes the gathered group of a partition durable, then lets go what waited for it.
    pub(crate) fn commit(&mut self, partition: usize) -> Result<()> {
        let part = &mut self.parts[partition];
        let next = Group::new(part.group.last_lsn().next());
        let mut group = std::mem::replace(&mut part.group, next);
        if self.ledger.plant == Some(Plant::LeaveBeforeDurable) {
            let early = std::mem::take(&mut group.releases);
            early.into_iter().for_each(|release| self.release(release));
        }
        let part = &mut self.parts[partition];
        if group.frames > 0 {
            self.ledger.offered[partition] = group.last_lsn();
            part.journal.append_group(group.first, group.frames, &group.bytes)?;
            self.ledger.durable[partition] = part.journal.durable();
            self.ledger.last_group[partition] = group.first;
        }
        group.releases.into_iter().for_each(|release| self.release(release));
        Ok(())
    }

    /// Commits until nothing is under way.
    pub(crate) fn pump(&mut self) -> Result<()> {
        while let Some(partition) = self.parts.iter().position(|part| !part.group.is_empty()) {
            self.commit(partition)?;
        }
        Ok(())
    }

    /// Prepares the next segment of a partition.
    pub(crate) fn prepare(&mut self, partition: usize) {
        let journal = &mut self.parts[partition].journal;
        if let Some(job) = journal.preparation() {
            journal.provide(job.run());
        }
    }

    /// Takes a snapshot; `meanwhile` happens after the image of the first organization is taken.
    pub(crate) fn snapshot(&mut self, partition: usize, meanwhile: impl FnOnce(&mut Self)) -> Result<()> {
        let lsn = self.parts[partition].group.last_lsn();
        let first = PoolImage::take(self.parts[partition].orgs[0].pool_mut(), OrgNumber(0));
        meanwhile(self);
        let rest = self.parts[partition].orgs.iter_mut().map(OrgProcess::pool_mut);
        let rest = (0..).map(OrgNumber).zip(rest).skip(1).map(|(number, pool)| PoolImage::take(pool, number));
        let pools = std::iter::once(first).chain(rest).collect();
        let registry = (partition == 0).then(|| self.coordinator.registry().clone());
        if self.ledger.plant != Some(Plant::SnapshotBeforeDurable) {
            self.commit(partition)?;
        }
        let home = &self.parts[partition].home;
        let header = SnapshotHeader { lsn, version: snapshot_codec::SNAPSHOT_VERSION };
        write_snapshot(home, header, &snapshot_codec::encode(&PartitionImage { registry, pools }))?;
        let retired = retention::retire(home, 0, None)?;
        self.ledger.retired.snapshots += retired.snapshots;
        self.ledger.retired.segments += retired.segments;
        Ok(())
    }

    /// Notes the clean close in every partition.
    pub(crate) fn close(mut self) -> Result<()> {
        self.pump()?;
        for partition in 0..self.parts.len() {
            self.parts[partition].group.append(event_codec::CLOSED, event_codec::CLOSED_VERSION, |_| ());
            self.note(partition);
            self.commit(partition)?;
        }
        Ok(())
    }

    fn release(&mut self, release: Release) {
        match release {
            Release::Debits(org, items, outcomes) => {
                let answered =
                    items.into_iter().zip(outcomes).map(|(item, outcome)| (org.clone(), item, outcome));
                self.ledger.debits.extend(answered);
            }
            Release::Answer(answer) => self.ledger.answers.push(answer),
            Release::ToCoordinator(message) => {
                self.coordinator.answer(message, self.ledger.now, &mut self.effects);
                self.execute();
            }
            Release::ToOrg(org, message) => self.message(&org, message),
        }
    }

    fn message(&mut self, org: &OrgId, message: ToOrg) {
        let Some((partition, at)) = self.find(org) else {
            if let Some(answer) = from_nobody(message, org.clone()) {
                self.parts[0].group.releases.push(Release::ToCoordinator(answer));
            }
            return;
        };
        self.expired(org);
        let (now, part) = (self.ledger.now, &mut self.parts[partition]);
        let Some((event, answer)) = part.orgs[at].message(message, now) else { return };
        if let Some(event) = &event {
            part.append_event(at, event);
        }
        part.group.releases.push(Release::ToCoordinator(answer));
        if event.is_some() {
            self.note(partition);
        }
    }

    fn execute(&mut self) {
        for effect in std::mem::take(&mut self.effects) {
            let part = &mut self.parts[0];
            match effect {
                Effect::Append(event) => {
                    let encode = |out: &mut Vec<u8>| event_codec::encode_registry_event(out, &event);
                    let (kind, version) = (event_codec::REGISTRY_EVENT, event_codec::REGISTRY_EVENT_VERSION);
                    self.coordinator.registry_mut().lsn = part.group.append(kind, version, encode);
                    self.note(0);
                }
                Effect::Send(org, message) => part.group.releases.push(Release::ToOrg(org, message)),
                Effect::Answer(_, answer) => part.group.releases.push(Release::Answer(answer)),
            }
        }
    }

    /// Writes the present state into the trace: it is the one after the last staged frame.
    fn note(&mut self, partition: usize) {
        if self.ledger.trace.is_some() {
            let bytes = self.bytes(partition);
            let trace = self.ledger.trace.as_mut().expect("just seen");
            trace[partition].push(bytes);
        }
    }

    fn find(&self, org: &OrgId) -> Option<(usize, usize)> {
        let partition = partition_of(org);
        let at = self.parts[partition].orgs.iter().position(|process| process.pool().id == *org)?;
        Some((partition, at))
    }
}

pub(crate) fn partition_of(org: &OrgId) -> usize {
    usize::from(hash::partition(org, PARTITIONS))
}

fn number(org: usize) -> OrgNumber {
    OrgNumber(u32::try_from(org).expect("few"))
}
