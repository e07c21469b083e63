//! Recovers a partition: what a start, or a takeover, finds where it is kept.

use std::sync::Arc;

use crate::domain::ids::Lsn;
use crate::storage::manifest::Stage;
use crate::storage::replay::{self, Base, PartitionState};
use crate::storage::{Fault, GroupLog, JournalConfig, RecoveryReport, Store};

use super::committer;

/// What recovery found in one partition.
#[derive(Debug)]
pub struct PartitionRecovery {
    /// The partition.
    pub partition: u16,
    /// The lsn of the snapshot that was loaded; zero for none.
    pub snapshot: Lsn,
    /// Snapshots that could not be read, and why.
    pub skipped_snapshots: Vec<String>,
    /// What the journal held after it, and what was repaired; none when the partition is damaged.
    pub journal: Option<RecoveryReport>,
    /// Why the partition does not serve, if it does not: what is damaged, and where.
    pub damage: Option<String>,
    /// Whether the last run was closed cleanly.
    pub clean: bool,
    /// Organizations.
    pub organizations: usize,
}

/// A partition as it was recovered, or what is damaged of it.
pub(crate) struct Recovered {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) opened: Result<Opened, Fault>,
}

/// A partition that can be served.
pub(crate) struct Opened {
    pub(crate) state: PartitionState,
    pub(crate) log: Box<dyn GroupLog>,
    pub(crate) report: RecoveryReport,
    pub(crate) base: Base,
}

/// Recovers all partitions of a directory, side by side. Damage stops its partition alone; without partition 0, which knows the keys and the
/// transfers, nothing can be served.
pub(crate) fn recover_all(
    stores: impl Iterator<Item = Arc<dyn Store>>,
    config: JournalConfig,
    stage: Stage,
) -> crate::storage::Result<Vec<Recovered>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            stores.map(|store| scope.spawn(move || recover(store, config, stage))).collect();
        threads.into_iter().map(|thread| thread.join().expect("recovery never panics")).collect()
    })
}

fn recover(store: Arc<dyn Store>, config: JournalConfig, stage: Stage) -> crate::storage::Result<Recovered> {
    let opened = match open(&*store, config, stage) {
        Err(fault) if store.partition() == 0 || !fault.is_damage() => return Err(fault),
        opened => opened,
    };
    if let Err(fault) = &opened {
        tracing::error!(partition = store.partition(), %fault, "the partition is damaged and does not serve");
    }
    Ok(Recovered { store, opened })
}

/// Recovers a partition, and marks a new one as made.
pub(crate) fn open(store: &dyn Store, config: JournalConfig, stage: Stage) -> Result<Opened, Fault> {
    let mut state = PartitionState::default();
    if stage == Stage::Made && !store.is_begun()? {
        replay::check_made(store, Lsn(1))?;
    }
    let (mut log, report, base) = state.open(store, config)?;
    if stage == Stage::BeingMade && log.durable() == Lsn(0) {
        committer::mark(&mut *log)?;
    }
    replay::check_made(store, log.next_lsn())?;
    if let Some(gap) = state.pools.iter().position(Option::is_none) {
        let what = format!("organization number {gap}");
        return Err(Fault::Missing { path: store.place(), what });
    }
    Ok(Opened { state, log, report, base })
}

impl Recovered {
    /// What was found, for people.
    pub(crate) fn describe(&self) -> PartitionRecovery {
        let found = self.opened.as_ref().ok();
        let skipped = found.map_or(&[][..], |opened| &opened.base.skipped);
        PartitionRecovery {
            partition: self.store.partition(),
            snapshot: found.map_or(Lsn(0), |opened| opened.base.snapshot),
            skipped_snapshots: skipped.iter().map(|skipped| skipped.why.to_string()).collect(),
            journal: found.map(|opened| opened.report.clone()),
            damage: self.opened.as_ref().err().map(ToString::to_string),
            clean: found.is_some_and(|opened| opened.state.was_closed()),
            organizations: found.map_or(0, |opened| opened.state.pools.len()),
        }
    }
}
