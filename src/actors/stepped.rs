//! A partition whose threads are steps: what the engine runs, for a simulator that decides when.
//!
//! Staging, the writer, recovery, snapshots and the rebuilding of an organization are those of the engine; only who calls them is
//! another. Absent on purpose: actix, tokio, threads, and everything that judges.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::domain::debit::Charges;
use crate::domain::event::Event;
use crate::domain::ids::{Lsn, OrgNumber};
use crate::domain::pool::Pool;
use crate::domain::registry::RegistryEvent;
use crate::protocol::coordinator::Coordinator;
use crate::protocol::org::OrgProcess;
use crate::storage::manifest::Stage;
use crate::storage::replay::{Base, PartitionState};
use crate::storage::snapshot_codec::PartitionImage;
use crate::storage::{JournalConfig, RecoveryReport, Result, Store};
use crate::telemetry::metric;

use super::committer::{self, PreparerEnds, Writer};
use super::directory::Partition;
use super::group::{Group, Staging};
use super::messages::Release;
use super::{recover, snapshotter, supervisor};

/// A partition that does nothing by itself.
pub struct Stepped {
    store: Arc<dyn Store>,
    partition: Arc<Partition>,
    writer: Writer,
    preparer: PreparerEnds,
    writing: VecDeque<Group>,
}

/// What recovery handed over beside the partition.
pub struct Found {
    /// The state.
    pub state: PartitionState,
    /// What the journal held and what was repaired.
    pub report: RecoveryReport,
    /// Which snapshot was loaded.
    pub base: Base,
}

impl Stepped {
    /// Recovers the partition.
    ///
    /// # Errors
    /// As a start of the engine.
    pub fn open(store: Arc<dyn Store>, config: JournalConfig, stage: Stage) -> Result<(Self, Found)> {
        let recover::Opened { state, log, report, base } = recover::open(&*store, config, stage)?;
        let number = store.partition();
        let staging = Staging::new(&*log, metric::poisoned(number));
        let partition = Arc::new(Partition::new(number, staging, base.snapshot.0));
        let (writer, preparer) = Writer::stepped(Arc::clone(&partition), log);
        let stepped = Self { store, partition, writer, preparer, writing: VecDeque::new() };
        Ok((stepped, Found { state, report, base }))
    }

    /// Stages what an organization just carried out.
    pub fn org_event(&self, process: &mut OrgProcess, number: OrgNumber, event: &Event) {
        self.partition.staging.lock_for_now().org_event(process, number, event);
    }

    /// Stages what an organization just charged; none when that is nothing. The caller notes the frame in the pool.
    pub fn charges(&self, number: OrgNumber, charges: &Charges<'_>) -> Option<Lsn> {
        self.partition.staging.lock_for_now().charges(number, charges)
    }

    /// Stages what the coordinator just carried out.
    pub fn registry_event(&self, coordinator: &mut Coordinator, event: &RegistryEvent) {
        self.partition.staging.lock_for_now().registry_event(coordinator, event);
    }

    /// The last frame that is staged or written.
    #[must_use]
    pub fn last_lsn(&self) -> Lsn {
        self.partition.staging.lock_for_now().last_lsn()
    }

    /// Stages a reply: `leave` is told whether all before it is durable, as soon as that is known.
    pub fn release(&self, leave: impl FnOnce(bool) + Send + 'static) {
        self.partition.staging.lock_for_now().release(call(leave));
    }

    /// Lets a reply go that does not wait for the disk.
    pub fn release_at_once(&self, leave: impl FnOnce(bool) + Send + 'static) {
        self.partition.staging.lock_for_now().release_at_once(call(leave));
    }

    /// Takes what is staged, as a committer does that wakes; whether there was anything.
    pub fn take(&mut self) -> bool {
        let ready = self.writing.is_empty() && self.partition.staging.has_work();
        let taken = if ready { self.partition.staging.take(Group::default()) } else { None };
        self.writing.extend(taken);
        ready
    }

    /// Whether more is staged while a group is being written.
    #[must_use]
    pub fn gathers_meanwhile(&self) -> bool {
        !self.writing.is_empty() && self.partition.staging.has_work()
    }

    /// Writes what was taken, and releases its replies; whether there was anything.
    pub fn write(&mut self) -> bool {
        let Some(mut group) = self.writing.pop_front() else { return false };
        self.writer.write(&mut group);
        self.partition.staging.written();
        true
    }

    /// Writes what is alone, as an arbiter does; whether it was.
    pub fn write_alone(&mut self) -> bool {
        let Ok(mut group) = self.partition.staging.hand_over(true, Group::default()) else { return false };
        self.writer.write(&mut group);
        self.partition.staging.written();
        true
    }

    /// Makes the next segment, if one is wanted; whether it was.
    pub fn prepare(&self) -> bool {
        let Ok(job) = self.preparer.0.try_recv() else { return false };
        self.preparer.1.try_send(job.run()).is_ok()
    }

    /// Writes a snapshot.
    ///
    /// # Errors
    /// When it was not written; the journal holds everything.
    pub fn snapshot(&self, lsn: Lsn, image: PartitionImage) -> Result<()> {
        snapshotter::write(&*self.store, &self.partition, lsn, image)
    }

    /// Removes what snapshots made superfluous.
    ///
    /// # Errors
    /// When something could not be removed.
    pub fn retire(&self, lsn: Lsn) -> Result<()> {
        snapshotter::retire(&*self.store, lsn, 0, None)
    }

    /// An organization as storage has it at the frame `target`.
    ///
    /// # Errors
    /// When it cannot be rebuilt; its partition has to stop then.
    pub fn rebuild(&self, number: OrgNumber, target: Lsn) -> std::result::Result<Pool, String> {
        supervisor::load(&*self.store, number, target)
    }

    /// Why the partition stopped, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.partition.staging.failure().map(|why| why.to_string())
    }

    /// Notes the clean close.
    ///
    /// # Errors
    /// When it could not be noted; everything acknowledged is kept.
    pub fn close(&mut self) -> Result<()> {
        committer::mark(self.writer.log_mut())
    }
}

impl std::fmt::Debug for Stepped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stepped").field("store", &self.store).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Found").field("report", &self.report).finish_non_exhaustive()
    }
}

fn call(leave: impl FnOnce(bool) + Send + 'static) -> Release {
    Release::Call(Box::new(move |durable| leave(durable.is_ok())))
}
