//! Starts everything in order, takes and leaves partitions, and stops everything in order.
//!
//! A partition is recovered from where it is kept, then its committer, its arbiter and its actors start; partition 0 brings the coordinator, which
//! takes up what a crash or a move interrupted. An engine with a directory of its own takes all its partitions when it opens, and one in a
//! cluster those that it is to own, while it runs. Stop: admit nothing more, carry out what is queued, make it durable, note the clean close, stop the
//! arbiters, release the lock.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::bounded;
use tokio::sync::oneshot;

use crate::storage::audit::{self, AuditLog};
use crate::storage::layout::{DirectoryId, Home, Layout};
use crate::storage::manifest::Stage;
use crate::storage::{DirectoryLock, Disk, Fault, Hold, JournalConfig, Manifest, Store};
use crate::telemetry::clock::Clock;

use super::auditor::Auditor;
use super::directory::Directory;
use super::key_copy::KeyCopy;
use super::messages::Unavailable;
use super::partition::{Policy, TakeSnapshot};
use super::peers::Peers;
use super::recover::{self, PartitionRecovery, Recovered};
use super::snapshotter;
use super::tenure::{Commons, Tenure};

/// How the engine is set up.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) directory: PathBuf,
    /// How many partitions a new directory, or the cluster, has.
    pub(crate) partitions: u16,
    pub(crate) journal: JournalConfig,
    pub(crate) policy: Policy,
    /// What a reader of the journals needs still.
    pub(crate) hold: Option<Arc<Hold>>,
    pub(crate) clock: Clock,
    /// The identity of a new directory, or of the cluster's data.
    pub(crate) directory_id: DirectoryId,
    /// Whether administrative acts are recorded.
    pub(crate) is_audited: bool,
}

/// The running engine.
pub(crate) struct Engine {
    pub(crate) directory: Arc<Directory>,
    pub(crate) recovery: Vec<PartitionRecovery>,
    pub(crate) clock: Clock,
    /// Records administrative acts; none where they are not recorded.
    pub(crate) auditor: Option<Auditor>,
    journal: JournalConfig,
    running: Mutex<Option<Running>>,
}

/// What is there until the engine stops.
struct Running {
    commons: Commons,
    places: Vec<Place>,
    snapshots: JoinHandle<()>,
    key_copy: Option<KeyCopy>,
}

/// A partition as this engine sees it.
enum Place {
    Elsewhere,
    /// It is being recovered.
    Coming,
    Here(Tenure),
}

impl Engine {
    /// Opens the data directory and starts all its partitions.
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
        let stores = (0..manifest.partitions).map(store);
        let recovered = recover::recover_all(stores, setup.journal, manifest.stage)?;
        if manifest.stage == Stage::BeingMade {
            manifest.stage = Stage::Made;
            manifest.write(&**disk, &layout)?;
            lock = anchor(lock)?;
        }
        let directory = Arc::new(Directory::new(manifest.partitions, None));
        let mut engine = Self::start(setup, disk, (manifest.directory, lock), directory)?;
        engine.recovery = recovered.iter().map(Recovered::describe).collect();
        // The coordinator comes last: it finds all organizations in their places.
        for recovered in recovered.into_iter().rev() {
            engine.begin(recovered)?;
        }
        Ok(engine)
    }

    /// Starts without any partition, as a node of a cluster.
    pub(crate) fn join(
        setup: &Setup,
        disk: &Arc<dyn Disk>,
        lock: Option<DirectoryLock>,
        peers: Arc<dyn Peers>,
    ) -> crate::storage::Result<Self> {
        let directory = Arc::new(Directory::new(setup.partitions, Some(peers)));
        let engine = Self::start(setup, disk, (setup.directory_id, lock), Arc::clone(&directory))?;
        let copy = KeyCopy::start(directory).map_err(Fault::io("start a thread for", &setup.directory))?;
        engine.running().as_mut().expect("it just started").key_copy = Some(copy);
        Ok(engine)
    }

    /// Recovers a partition from where it is kept, and serves it. Blocks until then.
    pub(crate) fn take(
        &self,
        store: Arc<dyn Store>,
        stage: Stage,
    ) -> crate::storage::Result<PartitionRecovery> {
        let number = store.partition();
        self.place(&*store, |place| match place {
            Place::Elsewhere => Some(Place::Coming),
            Place::Coming | Place::Here(_) => None,
        })?;
        let taken = recover::open(&*store, self.journal, stage).and_then(|opened| {
            let recovered = Recovered { store, opened: Ok(opened) };
            let found = recovered.describe();
            self.begin(recovered).map(|()| found)
        });
        if taken.is_err()
            && let Some(running) = &mut *self.running()
        {
            running.places[usize::from(number)] = Place::Elsewhere;
        }
        taken
    }

    /// Has a snapshot of a partition written that is to be given up soon, when so much was appended since the last one that whoever takes it would wait for its
    /// replay. It serves meanwhile. Blocks until then, and no longer than `patience`; whether one was written.
    pub(crate) fn save(&self, partition: u16, patience: Duration) -> bool {
        let Some(place) = self.directory.partition(partition) else { return false };
        if !place.is_worth_saving() {
            return false;
        }
        let (told, written) = bounded(1);
        place.snapshot_is_awaited.store(true, Ordering::Relaxed);
        place.tell(TakeSnapshot(Box::new(move |is_written| _ = told.send(is_written))));
        written.recv_timeout(patience).unwrap_or(false)
    }

    /// Gives partitions up in order: admits nothing more, carries out what is queued, makes it durable. Those that are not here are left
    /// alone. Blocks until then.
    pub(crate) fn leave(&self, partitions: &[u16]) {
        let mut going = Vec::new();
        for &partition in partitions {
            let Some(running) = &mut *self.running() else { return };
            let Some(place) = running.places.get_mut(usize::from(partition)) else { continue };
            if let Place::Here(_) = place
                && let Place::Here(tenure) = std::mem::replace(place, Place::Coming)
            {
                going.push((tenure, Unavailable::Elsewhere { partition }));
            }
        }
        let left: Vec<_> = going.iter().map(|(tenure, _)| tenure.number()).collect();
        Tenure::end(going, &self.directory);
        if let Some(running) = &mut *self.running() {
            left.into_iter().for_each(|number| running.places[usize::from(number)] = Place::Elsewhere);
        }
    }

    /// Stops in order; what was acknowledged, and what was queued, is kept. Stopping twice does nothing.
    pub(crate) fn shut_down(&self) {
        let Some(Running { commons, places, snapshots, key_copy }) = self.running().take() else { return };
        drop(key_copy);
        let here = places.into_iter().filter_map(|place| match place {
            Place::Here(tenure) => Some((tenure, Unavailable::Closing)),
            Place::Elsewhere | Place::Coming => None,
        });
        Tenure::end(here.collect(), &self.directory);
        let Commons { snapshots: sender, lock, .. } = commons;
        drop(sender);
        drop(snapshots.join());
        self.auditor.iter().for_each(Auditor::close);
        drop(lock);
    }

    /// Takes a snapshot of every partition that is here; whether all were written.
    pub(crate) async fn snapshot(&self) -> bool {
        let mut all = true;
        for partition in self.directory.partitions() {
            let (reply, written) = oneshot::channel();
            partition.tell(TakeSnapshot(Box::new(|is_written| _ = reply.send(is_written))));
            all &= written.await.unwrap_or(false);
        }
        all
    }

    fn start(
        setup: &Setup,
        disk: &Arc<dyn Disk>,
        (id, lock): (DirectoryId, Option<DirectoryLock>),
        directory: Arc<Directory>,
    ) -> crate::storage::Result<Self> {
        let layout = Layout::new(setup.directory.clone());
        let spawn = || Fault::io("start a thread for", layout.root());
        let audit = || AuditLog::open(audit::home(disk, &layout, id));
        let auditor = setup.is_audited.then(|| Auditor::start(audit())).transpose().map_err(spawn())?;
        let (sender, snapshots) = snapshotter::start().map_err(spawn())?;
        let places = (0..directory.count()).map(|_| Place::Elsewhere).collect();
        let commons = Commons {
            directory: Arc::clone(&directory),
            policy: setup.policy,
            hold: setup.hold.clone(),
            clock: setup.clock.clone(),
            snapshots: sender,
            lock: lock.map(Arc::new),
        };
        let running = Running { commons, places, snapshots, key_copy: None };
        let (journal, running) = (setup.journal, Mutex::new(Some(running)));
        Ok(Self { directory, recovery: Vec::new(), clock: setup.clock.clone(), auditor, journal, running })
    }

    /// Starts a partition that was recovered.
    fn begin(&self, recovered: Recovered) -> crate::storage::Result<()> {
        let store = Arc::clone(&recovered.store);
        let Some(commons) = self.running().as_ref().map(|running| running.commons.clone()) else {
            return Err(closing(&*store));
        };
        let begun = Tenure::begin(&commons, recovered);
        let mut tenure = Some(begun.map_err(Fault::io("start a thread for", &store.place()))?);
        let settled = self.place(&*store, |_| tenure.take().map(Place::Here));
        // The engine was stopped meanwhile.
        Tenure::end(
            tenure.map(|tenure| (tenure, Unavailable::Closing)).into_iter().collect(),
            &self.directory,
        );
        settled
    }

    /// Puts another place in the place of a partition; a fault when there is none to put.
    fn place(
        &self,
        store: &dyn Store,
        another: impl FnOnce(&Place) -> Option<Place>,
    ) -> crate::storage::Result<()> {
        let mut running = self.running();
        let running = running.as_mut().ok_or_else(|| closing(store))?;
        let place =
            running.places.get_mut(usize::from(store.partition())).ok_or_else(|| held(store, "nobody"))?;
        *place = another(place).ok_or_else(|| held(store, "this very process"))?;
        Ok(())
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().expect("starting and stopping never panic")
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
        f.debug_struct("Engine").field("partitions", &self.directory.count()).finish_non_exhaustive()
    }
}

fn held(store: &dyn Store, holder: &str) -> Fault {
    Fault::Locked { path: store.place(), holder: holder.to_owned() }
}

fn closing(store: &dyn Store) -> Fault {
    held(store, "a meter that is closing")
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
