//! What every place that keeps a partition must do, whatever it is: one suite, run on each of them.
//!
//! `suite` holds the cases; this file the places: files of this machine, the simulated disk, the simulated replicated log. `tests/jetstream` runs it on real servers. Absent on purpose: what only
//! one of them does.
#![cfg(feature = "testing")]

mod suite;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokenweir::cluster::ReplicatedStore;
use tokenweir::cluster::record::Owned;
use tokenweir::cluster::sim_log::{Fate, SimLog};
use tokenweir::storage::{DirectoryId, Home, Layout, RealDisk, SimDisk, Store, fixture};

use crate::suite::Place;

struct Files(tempfile::TempDir);

impl Place for Files {
    fn store(&self) -> Arc<dyn Store> {
        let layout = Layout::new(self.0.path().join("d"));
        let directory = DirectoryId([0xD1; 16]);
        Arc::new(Home { disk: Arc::new(RealDisk), layout, partition: 0, directory })
    }
}

struct SimulatedFiles(SimDisk);

impl Place for SimulatedFiles {
    fn store(&self) -> Arc<dyn Store> {
        Arc::new(fixture::home(self.0.clone()))
    }
}

/// Each store has the next epoch; `fates` befall its appends.
struct SimulatedLog {
    log: SimLog,
    epoch: AtomicU64,
    fates: &'static [Fate],
}

impl Place for SimulatedLog {
    fn store(&self) -> Arc<dyn Store> {
        self.fates.iter().for_each(|fate| self.log.fate(*fate));
        let epoch = self.epoch.fetch_add(1, Ordering::Relaxed) + 1;
        let owned = Owned { partition: 0, directory: DirectoryId([0xD1; 16]) };
        Arc::new(ReplicatedStore::new(Arc::new(self.log.clone()), owned, epoch))
    }
}

fn simulated_log(fates: &'static [Fate]) -> SimulatedLog {
    SimulatedLog { log: SimLog::default(), epoch: AtomicU64::new(0), fates }
}

#[test]
fn i3_i5_i8_files_keep_a_partition() {
    suite::check(&|| Box::new(Files(tempfile::tempdir().expect("a temporary directory"))));
}

#[test]
fn i3_i5_i8_simulated_files_keep_a_partition() {
    suite::check(&|| Box::new(SimulatedFiles(SimDisk::new())));
}

#[test]
fn i3_i5_i8_i9_a_simulated_log_keeps_a_partition() {
    suite::check(&|| Box::new(simulated_log(&[])));
}

#[test]
fn i3_i5_i8_i9_a_log_that_is_slow_to_answer_keeps_a_partition() {
    suite::check(&|| Box::new(simulated_log(&[Fate::Lost, Fate::Unheard, Fate::Answered, Fate::Late])));
    suite::check(&|| Box::new(simulated_log(&[Fate::Twice, Fate::Overtaken, Fate::Lost, Fate::Lost])));
}
