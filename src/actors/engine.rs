//! Starts everything in order, and stops it in order.
//!
//! Start: lock the directory, read or make the manifest, recover the partitions side by side, then start committers,
//! arbiters and actors, then let the coordinator take up what a crash interrupted. Stop: admit nothing more, carry
//! out what is queued, make it durable, note the clean close, stop the arbiters, release the lock.

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use actix::{Actor, Addr};
use crossbeam::channel::{Sender, bounded};
use tokio::sync::{Notify, oneshot};

use crate::domain::ids::{Lsn, OrgNumber};
use crate::domain::pool::Pool;
use crate::domain::registry::Registry;
use crate::storage::audit::{self, AuditLog};
use crate::storage::layout::{DirectoryId, Home, Layout};
use crate::storage::manifest::Stage;
use crate::storage::replay::{self, Base, PartitionState};
use crate::storage::{
    DirectoryLock, Disk, Fault, GroupLog, Hold, JournalConfig, Manifest, RecoveryReport, Store,
};
use crate::telemetry::clock::Clock;
use crate::telemetry::metric::{self, DebitCounters};

use super::auditor::Auditor;
use super::committer::{self, Writer};
use super::coordinator::{CoordinatorActor, Recover};
use super::directory::{Directory, EndsInOrder, Partition};
use super::group::Staging;
use super::org::Local;
use super::partition::{PartitionActor, Policy, Settle, TakeSnapshot};
use super::snapshotter::{self, Job};

/// How the engine is set up.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) directory: PathBuf,
    /// How many partitions a new directory gets.
    pub(crate) partitions: u16,
    pub(crate) journal: JournalConfig,
    pub(crate) policy: Policy,
    /// What a reader of the journals needs still.
    pub(crate) hold: Option<Arc<Hold>>,
    pub(crate) clock: Clock,
    /// The identity of a new directory.
    pub(crate) directory_id: DirectoryId,
    /// Whether administrative acts are recorded.
    pub(crate) is_audited: bool,
}

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

/// The running engine.
pub(crate) struct Engine {
    pub(crate) directory: Arc<Directory>,
    pub(crate) actors: Vec<Addr<PartitionActor>>,
    pub(crate) coordinator: Addr<CoordinatorActor>,
    pub(crate) recovery: Vec<PartitionRecovery>,
    pub(crate) clock: Clock,
    /// Records administrative acts; none where they are not recorded.
    pub(crate) auditor: Option<Auditor>,
    threads: Mutex<Option<Threads>>,
}

struct Threads {
    stops: Vec<oneshot::Sender<()>>,
    arbiters: Vec<JoinHandle<()>>,
    committers: Vec<JoinHandle<()>>,
    snapshots: JoinHandle<()>,
    lock: Option<Arc<DirectoryLock>>,
}

/// A partition as it was recovered, or what is damaged of it.
struct Recovered {
    store: Arc<dyn Store>,
    opened: Result<Opened, Fault>,
}

pub(crate) struct Opened {
    pub(crate) state: PartitionState,
    pub(crate) log: Box<dyn GroupLog>,
    pub(crate) report: RecoveryReport,
    pub(crate) base: Base,
}

/// What an arbiter thread starts with.
struct Launch {
    partition: Arc<Partition>,
    directory: Arc<Directory>,
    store: Arc<dyn Store>,
    pools: Vec<(OrgNumber, Pool)>,
    registry: Registry,
    writer: Option<Arc<Mutex<Writer>>>,
    coordinator: Option<Addr<CoordinatorActor>>,
    clock: Clock,
    policy: Policy,
    hold: Option<Arc<Hold>>,
    snapshots: Sender<Job>,
    lock: Option<Arc<DirectoryLock>>,
}

type Launched = (Addr<PartitionActor>, Addr<CoordinatorActor>);

impl Engine {
    /// Opens the data directory and starts.
    pub(crate) fn open(
        setup: &Setup,
        disk: &Arc<dyn Disk>,
        lock: Option<DirectoryLock>,
    ) -> crate::storage::Result<Self> {
        let layout = Layout::new(setup.directory.clone());
        let mut manifest = manifest(setup, &**disk, &layout)?;
        let store = |partition| -> Arc<dyn Store> {
            let (disk, layout) = (Arc::clone(disk), layout.clone());
            Arc::new(Home { disk, layout, partition, directory: manifest.directory })
        };
        let anchor =
            |lock: Option<DirectoryLock>| lock.map(|lock| lock.anchor(&layout.manifest())).transpose();
        // Recovery changes what it finds, so nobody else may have it; writing the manifest anew makes another file of it.
        let mut lock = anchor(lock)?;
        let recovered = recover_all((0..manifest.partitions).map(store), setup.journal, manifest.stage)?;
        if manifest.stage == Stage::BeingMade {
            manifest.stage = Stage::Made;
            manifest.write(&**disk, &layout)?;
            lock = anchor(lock)?;
        }
        let lock = lock.map(Arc::new);
        let spawn = || Fault::io("start a thread for", layout.root());
        let audit = || AuditLog::open(audit::home(disk, &layout, manifest.directory));
        let auditor = setup.is_audited.then(|| Auditor::start(audit())).transpose().map_err(spawn())?;
        Self::start(setup, recovered, auditor, lock.as_ref()).map_err(spawn())
    }

    /// Stops in order; what was acknowledged, and what was queued, is kept. Stopping twice does nothing.
    pub(crate) fn shut_down(&self) {
        let Some(threads) = self.threads.lock().expect("shutting down never panics").take() else { return };
        for partition in &self.directory.partitions {
            partition.closing.store(true, Ordering::Release);
        }
        for actor in &self.actors {
            let (reply, settled) = oneshot::channel();
            actor.do_send(Settle(reply));
            drop(settled.blocking_recv());
        }
        self.directory.partitions.iter().for_each(|partition| partition.staging.close());
        threads.committers.into_iter().for_each(|thread| drop(thread.join()));
        threads.stops.into_iter().for_each(|stop| _ = stop.send(()));
        threads.arbiters.into_iter().for_each(|thread| drop(thread.join()));
        for org in &self.directory.organizations {
            org.abandon();
        }
        drop(threads.snapshots.join());
        self.auditor.iter().for_each(Auditor::close);
        drop(threads.lock);
    }

    /// Takes a snapshot of every partition; whether all were written.
    pub(crate) async fn snapshot(&self) -> bool {
        let mut all = true;
        for actor in &self.actors {
            let (reply, written) = oneshot::channel();
            actor.do_send(TakeSnapshot(Some(reply)));
            all &= written.await.unwrap_or(false);
        }
        all
    }

    fn start(
        setup: &Setup,
        recovered: Vec<Recovered>,
        auditor: Option<Auditor>,
        lock: Option<&Arc<DirectoryLock>>,
    ) -> std::io::Result<Self> {
        let partitions: Vec<_> = recovered.iter().map(|part| Arc::new(part.partition())).collect();
        let directory = Arc::new(Directory::new(partitions.clone()));
        let (snapshots, snapshot_thread) = snapshotter::start()?;
        let mut threads = Threads {
            stops: Vec::new(),
            arbiters: Vec::new(),
            committers: Vec::new(),
            snapshots: snapshot_thread,
            lock: lock.cloned(),
        };
        let (mut actors, mut recovery, mut coordinator) = (Vec::new(), Vec::new(), None);
        for (Recovered { store, opened }, partition) in recovered.into_iter().zip(partitions) {
            recovery.push(describe(store.partition(), &opened));
            let (pools, registry, writer) = match opened {
                Ok(Opened { state, log, .. }) => {
                    let writer = Arc::new(Mutex::new(Writer::new(Arc::clone(&partition), log)?));
                    threads.committers.push(start_committer(&partition, &writer)?);
                    (state.pools, state.registry, Some(writer))
                }
                Err(_) => (Vec::new(), Registry::default(), None),
            };
            if store.partition() == 0 {
                *directory.api_keys.write().expect("nobody else yet") = registry.api_keys.clone();
            }
            let (stop, arbiter, (actor, first)) = start_arbiter(Launch {
                partition,
                directory: Arc::clone(&directory),
                store,
                pools: (0..).map(OrgNumber).zip(pools.into_iter().flatten()).collect(),
                registry,
                writer,
                coordinator: coordinator.clone(),
                clock: setup.clock.clone(),
                policy: setup.policy,
                hold: setup.hold.clone(),
                snapshots: snapshots.clone(),
                lock: lock.cloned(),
            })?;
            threads.stops.push(stop);
            threads.arbiters.push(arbiter);
            coordinator.get_or_insert(first);
            actors.push(actor);
        }
        let coordinator = coordinator.expect("a directory has at least one partition");
        coordinator.do_send(Recover);
        let (clock, threads) = (setup.clock.clone(), Mutex::new(Some(threads)));
        Ok(Self { directory, actors, coordinator, recovery, clock, auditor, threads })
    }
}

impl Recovered {
    /// What all threads know of the partition; a damaged one serves nothing and says why.
    fn partition(&self) -> Partition {
        let number = self.store.partition();
        metric::snapshots_begin(number);
        match &self.opened {
            Ok(opened) => {
                let staging = Staging::new(&*opened.log, metric::poisoned(number));
                Partition::new(number, staging, opened.base.snapshot.0)
            }
            Err(damage) => {
                Partition::new(number, Staging::failed(&damage.to_string(), metric::poisoned(number)), 0)
            }
        }
    }
}

impl Drop for Engine {
    /// Waits on a thread of its own: the last clone may be dropped where blocking is not allowed.
    fn drop(&mut self) {
        std::thread::scope(|scope| drop(scope.spawn(|| self.shut_down()).join()));
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("partitions", &self.directory.partitions.len()).finish_non_exhaustive()
    }
}

/// The manifest of the directory; of a new one, its first. Partitions without a manifest are not taken for a new directory.
fn manifest(setup: &Setup, disk: &dyn Disk, layout: &Layout) -> crate::storage::Result<Manifest> {
    if let Some(manifest) = Manifest::read(disk, layout)? {
        return Ok(manifest);
    }
    let first = layout.partition(0);
    if disk.exists(&first).map_err(Fault::io("look for", &first))? {
        let what = "it names the partitions that are there".to_owned();
        return Err(Fault::Missing { path: layout.manifest(), what });
    }
    let (created_at_ms, stage) = (setup.clock.now().ms(), Stage::BeingMade);
    let (partitions, directory) = (setup.partitions, setup.directory_id);
    let manifest = Manifest { partitions, directory, created_at_ms, stage };
    manifest.write(disk, layout)?;
    Ok(manifest)
}

fn recover_all(
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

/// Recovers a partition. Damage stops that partition alone; without partition 0, which knows the keys and the transfers,
/// nothing can be served.
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

fn describe(partition: u16, opened: &Result<Opened, Fault>) -> PartitionRecovery {
    let found = opened.as_ref().ok();
    let skipped = found.map_or(&[][..], |opened| &opened.base.skipped);
    PartitionRecovery {
        partition,
        snapshot: found.map_or(Lsn(0), |opened| opened.base.snapshot),
        skipped_snapshots: skipped.iter().map(|skipped| skipped.why.to_string()).collect(),
        journal: found.map(|opened| opened.report.clone()),
        damage: opened.as_ref().err().map(ToString::to_string),
        clean: found.is_some_and(|opened| opened.state.was_closed()),
        organizations: found.map_or(0, |opened| opened.state.pools.len()),
    }
}

fn start_committer(
    partition: &Arc<Partition>,
    writer: &Arc<Mutex<Writer>>,
) -> std::io::Result<JoinHandle<()>> {
    let (partition, writer) = (Arc::clone(partition), Arc::clone(writer));
    let name = format!("weir-commit-{}", partition.number);
    std::thread::Builder::new().name(name).spawn(move || committer::run(&partition, &writer))
}

/// Starts the arbiter thread of a partition: an actix system of its own, on a runtime that waits for work without
/// the operating system's event queue, because no actor here does any input or output.
fn start_arbiter(launch: Launch) -> std::io::Result<(oneshot::Sender<()>, JoinHandle<()>, Launched)> {
    let (stop, stopped) = oneshot::channel();
    let (ready, launched) = bounded(1);
    let name = format!("weir-arbiter-{}", launch.partition.number);
    let run = move || {
        let runtime =
            || tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        actix_rt::System::with_tokio_rt(runtime).block_on(async move {
            _ = ready.send(launch.run());
            drop(stopped.await);
        });
    };
    let thread = std::thread::Builder::new().name(name).spawn(run)?;
    let launched = launched.recv().map_err(|_| std::io::Error::other("the arbiter ended at its start"))?;
    Ok((stop, thread, launched))
}

impl Launch {
    fn run(self) -> Launched {
        let coordinator = self.coordinator.unwrap_or_else(|| {
            let (partition, directory) = (Arc::clone(&self.partition), Arc::clone(&self.directory));
            CoordinatorActor::new(self.registry, partition, directory, self.clock.clone()).start()
        });
        let counters = DebitCounters::new(self.partition.number);
        let (last_snapshot_at, partition) = (self.clock.now(), Arc::clone(&self.partition));
        let local = Local {
            clock: self.clock,
            counters,
            coordinator: coordinator.clone(),
            store: self.store,
            writer: self.writer,
            spare: Cell::default(),
            answered: Notify::new(),
        };
        let local = Rc::new(local);
        actix_rt::spawn(Rc::clone(&local).stay_awake());
        let mut actor = PartitionActor {
            partition: self.partition,
            directory: self.directory,
            local,
            orgs: Vec::new(),
            policy: self.policy,
            hold: self.hold,
            snapshots: self.snapshots,
            lock: self.lock,
            underway: false,
            last_snapshot_at,
            waiting: Vec::new(),
            guard: EndsInOrder { partition, who: "the partition's actor panicked" },
        };
        self.pools.into_iter().for_each(|(number, pool)| actor.adopt(number, pool));
        (actor.start(), coordinator)
    }
}
