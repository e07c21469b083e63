//! What every place that keeps a partition must do, whatever it is: one suite, run on each of them.
//!
//! `suite` holds the cases; this file the places: files of this machine, the simulated disk, the simulated replicated log. `tests/jetstream` runs it on real servers. Absent on purpose: what only
//! one of them does.
#![cfg(feature = "testing")]

mod suite;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokenweir::cluster::record::Owned;
use tokenweir::cluster::sim_log::{Fate, SimLog};
use tokenweir::cluster::{Answer, Remote as _, ReplicatedStore};
use tokenweir::domain::ids::Lsn;
use tokenweir::storage::fixture::{SMALL, check_body, group};
use tokenweir::storage::reader::Start;
use tokenweir::storage::{DirectoryId, Fault, Home, Layout, Pieces, RealDisk, SimDisk, Store, fixture};

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
fn who_only_reads_a_log_sees_it_as_it_was_and_finds_what_is_damaged() {
    let (log, owned) = (SimLog::default(), Owned { partition: 0, directory: DirectoryId([0xD1; 16]) });
    let reader = || ReplicatedStore::as_it_is(Arc::new(log.clone()), owned).expect("told");
    assert!(!reader().is_begun().expect("told") && reader().first().expect("told").is_none());
    let mut lsns = Vec::new();
    let mut append = |epoch, after: &mut dyn FnMut()| {
        let owner = ReplicatedStore::new(Arc::new(log.clone()), owned, epoch);
        let (mut kept, _) = owner.open(SMALL, Lsn(0), &mut check_body).expect("taken over");
        kept.append_group(kept.next_lsn(), 2, &group(kept.next_lsn(), 2)).expect("durable");
        after();
        lsns.push(kept.next_lsn());
    };
    append(1, &mut || {});
    let before = reader();
    append(2, &mut || {
        let read = before.read(Start::Oldest, &mut check_body).expect("whole");
        assert_eq!(read.next, Lsn(3), "what came since is not seen");
    });
    let read = reader().read(Start::Oldest, &mut check_body).expect("whole");
    let pieces = Pieces::Records { all: 4, epochs: 2, newest_epoch: 2, dropped: 0 };
    assert_eq!((read.next, read.pieces), (Lsn(5), pieces));
    let last = log.last().expect("read").expect("there");
    let Answer::Stored(damaged) = log.append(&last.bytes[1..], last.sequence, "") else {
        panic!("it keeps what it is given")
    };
    let told = reader().read(Start::Oldest, &mut check_body).expect_err("the last record is damaged");
    assert!(matches!(told, Fault::DamagedLog { sequence, .. } if sequence == damaged), "{told}");
    // The same bytes once more are whole, and do not follow from what is before them.
    let log = SimLog::default();
    log.append(&last.bytes, 0, "");
    log.append(&last.bytes, 1, "");
    let told = ReplicatedStore::as_it_is(Arc::new(log), owned).expect("told");
    let told = told.read(Start::Oldest, &mut check_body).expect_err("the chain is broken");
    assert!(told.to_string().contains("it does not follow"), "{told}");
}

#[test]
fn i3_i5_i8_i9_a_log_that_is_slow_to_answer_keeps_a_partition() {
    suite::check(&|| Box::new(simulated_log(&[Fate::Lost, Fate::Unheard, Fate::Answered, Fate::Late])));
    suite::check(&|| Box::new(simulated_log(&[Fate::Twice, Fate::Overtaken, Fate::Lost, Fate::Lost])));
}
