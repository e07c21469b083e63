//! Copies of reports over a log in memory, whose keeper may fail.

use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::cluster::record::Owned;
use crate::cluster::remote::{Answer, OnRecord, Remote, Stored};
use crate::cluster::{ReplicatedStore, sim_log::SimLog};
use crate::reports::Projector;
use crate::storage::GroupLog;
use crate::storage::event_codec::{CLOSED, CLOSED_VERSION};
use crate::storage::fixture::SMALL;
use crate::storage::frame::{self, FrameMeta};

const PATIENCE: Duration = Duration::from_secs(30);
const MOMENT: Duration = Duration::from_millis(5);
const DIRECTORY: DirectoryId = DirectoryId([7; 16]);

/// A keeper of a log that keeps and shows no objects while it fails.
#[derive(Clone, Debug, Default)]
struct Flaky {
    log: SimLog,
    fails: Arc<AtomicBool>,
    refusals: Arc<std::sync::atomic::AtomicU64>,
}

impl Flaky {
    fn check(&self) -> Result<(), String> {
        if self.fails.load(Ordering::Relaxed) {
            self.refusals.fetch_add(1, Ordering::Relaxed);
            return Err("no leader".to_owned());
        }
        Ok(())
    }

    fn fails(&self, fails: bool) {
        self.fails.store(fails, Ordering::Relaxed);
    }

    /// Waits until so many more operations were refused.
    fn await_refusals(&self, more: u64) {
        let before = self.refusals.load(Ordering::Relaxed);
        until("operations are refused", || self.refusals.load(Ordering::Relaxed) >= before + more);
    }

    fn store(&self, epoch: u64) -> (Arc<dyn Store>, Box<dyn GroupLog>) {
        let owned = Owned { partition: 0, directory: DIRECTORY };
        let store: Arc<dyn Store> = Arc::new(ReplicatedStore::new(Arc::new(self.clone()), owned, epoch));
        let (log, _) = store.open(SMALL, Lsn(0), &mut |_| Ok(())).expect("taken over");
        (store, log)
    }
}

impl Remote for Flaky {
    fn place(&self) -> String {
        self.log.place()
    }

    fn append(&self, record: &[u8], expected: u64, id: &str) -> Answer {
        self.log.append(record, expected, id)
    }

    fn last(&self) -> Result<Option<Stored>, String> {
        self.log.last()
    }

    fn read(&self, from: u64, until: u64, on_record: &mut OnRecord<'_>) -> Result<(), String> {
        self.log.read(from, until, on_record)
    }

    fn first_from(&self, sequence: u64) -> Result<Option<Stored>, String> {
        self.log.first_from(sequence)
    }

    fn purge_before(&self, sequence: u64) -> Result<(), String> {
        self.log.purge_before(sequence)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), String> {
        self.check()?;
        self.log.put(name, bytes)
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, String> {
        self.check()?;
        self.log.get(name)
    }

    fn names(&self) -> Result<Vec<String>, String> {
        self.check()?;
        self.log.names()
    }

    fn remove(&self, name: &str) -> Result<(), String> {
        self.check()?;
        self.log.remove(name)
    }

    fn pause(&self, tries: u32) {
        self.log.pause(tries);
    }
}

/// A node that reports one partition.
struct Node {
    copier: Copier,
    hold: Arc<Hold>,
    _root: tempfile::TempDir,
    followed: Receiver<Followed>,
    telling: std::sync::mpsc::Sender<Followed>,
}

impl Node {
    fn start() -> Self {
        let root = tempfile::tempdir().expect("a directory");
        let hold = Arc::new(Hold::new(1 << 30, &[HoldReader::Reports]));
        let folder = root.path().join("followed");
        std::fs::create_dir_all(folder.join("p000-9")).expect("what an earlier run left");
        let copier = Copier::start(vec![Kind::Reports], DIRECTORY, folder.clone(), Arc::clone(&hold));
        let copier = copier.expect("started");
        assert!(!folder.join("p000-9").exists(), "it is thrown away");
        let (telling, followed) = channel();
        Self { copier, hold, _root: root, followed, telling }
    }

    /// Takes the partition.
    fn take(&self, store: &Arc<dyn Store>) {
        self.copier.expect(0);
        let telling = self.telling.clone();
        self.copier.take(Arc::clone(store), move |_, followed| drop(telling.send(followed)));
    }

    /// The reports of the partition, as soon as they are here.
    fn projector(&self) -> Projector {
        let followed = self.followed.recv_timeout(PATIENCE).expect("it is followed");
        Projector::open(&followed, Lsn(u64::MAX - 1), 10).expect("the database can be used")
    }
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = clock::start();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::park_timeout(MOMENT);
    }
}

fn append(log: &mut dyn GroupLog, frames: u64) {
    for _ in 0..frames {
        let (mut bytes, lsn) = (Vec::new(), log.next_lsn());
        let start = frame::begin(&mut bytes);
        frame::finish(&mut bytes, start, FrameMeta { lsn, group: 0, kind: CLOSED, version: CLOSED_VERSION });
        log.append_group(lsn, 1, &bytes).expect("durable");
    }
}

fn report(projector: &mut Projector, log: &dyn GroupLog) {
    projector.step(log.durable(), &AtomicBool::new(false)).expect("projected");
    assert_eq!(projector.reached().lsn, log.durable());
}

#[test]
fn whoever_takes_a_partition_goes_on_from_the_copy_of_who_had_it() {
    let keeper = Flaky::default();
    let (store, mut log) = keeper.store(1);
    let first = Node::start();
    first.hold.note(HoldReader::Reports, 0, Lsn(99));
    first.take(&store);
    assert_eq!(first.hold.read(0), Lsn(0), "nothing is let go before a copy is kept");
    let mut projector = first.projector();
    append(&mut *log, 5);
    report(&mut projector, &*log);
    until("what is copied is let go", || first.hold.read(0) == Lsn(5));
    append(&mut *log, 3);
    report(&mut projector, &*log);
    let (store, mut log) = keeper.store(2);
    let second = Node::start();
    second.take(&store);
    let mut projector = second.projector();
    assert_eq!((projector.reached().lsn, second.hold.read(0)), (Lsn(5), Lsn(5)), "as far as the copy");
    append(&mut *log, 1);
    report(&mut projector, &*log);
    assert_eq!(projector.reached().lsn, Lsn(9), "with what was not copied, and what came since");
}

#[test]
fn servers_that_keep_no_copies_let_go_of_nothing_and_hold_up_nobody_for_ever() {
    let keeper = Flaky::default();
    let (store, mut log) = keeper.store(1);
    keeper.fails(true);
    let node = Node::start();
    node.take(&store);
    keeper.await_refusals(1);
    keeper.fails(false);
    let mut projector = node.projector();
    keeper.fails(true);
    append(&mut *log, 4);
    report(&mut projector, &*log);
    keeper.await_refusals(1);
    assert_eq!(node.hold.read(0), Lsn(0), "no copy of it is kept");
    keeper.fails(false);
    until("it is tried again", || node.hold.read(0) == Lsn(4));
}

#[test]
fn a_partition_that_left_before_its_copy_came_is_not_followed() {
    let keeper = Flaky::default();
    let (store, _log) = keeper.store(1);
    keeper.fails(true);
    let node = Node::start();
    node.take(&store);
    keeper.await_refusals(1);
    node.copier.leave(0, || {});
    keeper.fails(false);
    let (store, _log) = keeper.store(2);
    node.take(&store);
    let followed = node.followed.recv_timeout(PATIENCE).expect("the second time");
    assert!(followed.folder.ends_with("p000-2"), "{followed:?}");
    node.copier.shared.remove_before(0, 1);
    assert!(followed.folder.exists(), "what is late removes nothing of what came after it");
    node.copier.shared.remove_before(0, 3);
    assert!(!followed.folder.exists());
    node.copier.stop();
    assert!(node.followed.try_recv().is_err(), "the first time was over");
}
