//! Copies of the databases that follow partitions which come and go: kept with the journal while a partition is here, fetched when it comes.
//!
//! A copy is whole, reached some lsn, and is read back before the journal up to there is let go. Whoever takes the partition goes on from the newest
//! copy, so what was done to a database after it is done again: reports count the same frames, and alerts decide the same. A message whose delivery
//! was written down after the last copy is sent once more, under the same id.
//!
//! Fetching waits for servers on a thread of its own for each partition, and keeping on one for all, so that neither holds up what follows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crate::domain::ids::Lsn;
use crate::storage::snapshot::SnapshotHeader;
use crate::storage::{Copies, DirectoryId, Fault, Followed, Hold, HoldReader, Store};
use crate::telemetry::{clock, cluster};
use crate::{alerts, reports};

/// How often it is looked for what changed.
const LOOK: Duration = Duration::from_millis(250);
/// How many times as long as a copy took no other one is made of the same database.
const RESTS: u32 = 19;
/// How long it waits before it tries again what failed.
const AGAIN: Duration = Duration::from_secs(2);
/// The version of what a copy holds: a database of SQLite, which has a version of its own.
const VERSION: u8 = 1;
/// How far the threads stand back behind those that serve, by the system's scale.
const BACKGROUND_NICE: i32 = 15;

/// What follows a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Alerts,
    Reports,
}

/// Fetches and keeps copies until [`Self::stop`].
#[derive(Debug)]
pub(super) struct Copier {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    kinds: Vec<Kind>,
    directory: DirectoryId,
    root: PathBuf,
    hold: Arc<Hold>,
    stop: AtomicBool,
    here: Mutex<Here>,
    changed: Condvar,
}

/// The partitions that are here.
#[derive(Debug, Default)]
struct Here {
    /// How many ever came, so that each time has a name of its own.
    came: u64,
    partitions: BTreeMap<u16, Stay>,
}

/// A partition for the time that it is here.
#[derive(Debug)]
struct Stay {
    number: u64,
    databases: Vec<Database>,
}

/// A database that is kept up.
#[derive(Clone, Debug)]
struct Database {
    kind: Kind,
    followed: Arc<Followed>,
    /// What it was like when it was copied last.
    copied: Option<Look>,
    due: Instant,
}

/// What a database looks like from outside: when its files were written last, and how long they are.
type Look = [Option<(SystemTime, u64)>; 2];

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Alerts => "alerts",
            Self::Reports => "reports",
        }
    }

    fn reader(self) -> HoldReader {
        match self {
            Self::Alerts => HoldReader::Alerts,
            Self::Reports => HoldReader::Reports,
        }
    }

    /// How much time is between copies at least: what was told since the last one may be told again, what was reported is only read again.
    fn pause(self) -> Duration {
        match self {
            Self::Alerts => Duration::from_secs(2),
            Self::Reports => Duration::from_secs(10),
        }
    }

    fn database(self, followed: &Followed) -> PathBuf {
        match self {
            Self::Alerts => alerts::database(followed),
            Self::Reports => reports::database(followed),
        }
    }

    /// Copies a database to a new file; the lsn that the copy reaches, none while the database is not made yet.
    fn copy(self, followed: &Followed, to: &Path) -> Result<Option<Lsn>, String> {
        match self {
            Self::Alerts => alerts::copy(followed, to).map_err(|error| error.to_string()),
            Self::Reports => reports::copy(followed, to).map_err(|error| error.to_string()),
        }
    }
}

impl Copier {
    /// Starts to keep copies of these `kinds`. The databases lie in folders of `root`, and what is there is thrown away.
    ///
    /// # Errors
    /// When the folder cannot be made anew, or the thread not be started.
    pub(super) fn start(
        kinds: Vec<Kind>,
        directory: DirectoryId,
        root: PathBuf,
        hold: Arc<Hold>,
    ) -> std::io::Result<Self> {
        if root.exists() {
            std::fs::remove_dir_all(&root)?;
        }
        std::fs::create_dir_all(&root)?;
        let (here, stop, changed) = (Mutex::default(), AtomicBool::new(false), Condvar::new());
        let shared = Arc::new(Shared { kinds, directory, root, hold, stop, here, changed });
        let keeps = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("weir-copies".to_owned()).spawn(move || keeps.run())?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// A partition is about to be here: nothing of its journal is let go before a copy is known to be kept.
    pub(super) fn expect(&self, partition: u16) {
        for kind in &self.shared.kinds {
            self.shared.hold.note(kind.reader(), partition, Lsn(0));
        }
    }

    /// A partition is here. `follow` is called for each kind as soon as its newest copy is, unless the partition left before.
    pub(super) fn take(&self, store: Arc<dyn Store>, follow: impl Fn(Kind, Followed) + Send + 'static) {
        let (shared, partition) = (Arc::clone(&self.shared), store.partition());
        let number = shared.begin(partition);
        let fetch = move || {
            background();
            if let Err(fault) = shared.fetch_all(&store, number, &follow) {
                tracing::error!(partition, %fault, "nothing follows the journal here; debits are served all the same");
            }
        };
        let thread = std::thread::Builder::new().name("weir-fetch".to_owned()).spawn(fetch);
        if let Err(error) = thread {
            tracing::error!(partition, %error, "nothing follows the journal here; debits are served all the same");
        }
    }

    /// A partition leaves; `forget` is called while none is taken.
    pub(super) fn leave(&self, partition: u16, forget: impl FnOnce()) {
        let mut here = self.shared.here();
        here.partitions.remove(&partition);
        forget();
    }

    /// Ends the threads, when they have done what they are at.
    pub(super) fn stop(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        drop(self.shared.here());
        self.shared.changed.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            drop(thread.join());
        }
    }
}

impl Shared {
    fn here(&self) -> MutexGuard<'_, Here> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A name for the time that a partition is here.
    fn begin(&self, partition: u16) -> u64 {
        let mut here = self.here();
        here.came += 1;
        let number = here.came;
        here.partitions.insert(partition, Stay { number, databases: Vec::new() });
        number
    }

    /// Waits, unless the end comes; whether it came.
    fn wait(&self, most: Duration) -> bool {
        let is_on = |_: &mut Here| !self.stop.load(Ordering::Relaxed);
        drop(self.changed.wait_timeout_while(self.here(), most, is_on));
        self.stop.load(Ordering::Relaxed)
    }

    fn fetch_all(
        &self,
        store: &Arc<dyn Store>,
        number: u64,
        follow: &dyn Fn(Kind, Followed),
    ) -> Result<(), Fault> {
        let partition = store.partition();
        let folder = self.root.join(format!("p{partition:03}-{number}"));
        self.remove_before(partition, number);
        std::fs::create_dir_all(&folder).map_err(Fault::io("create the directory", &folder))?;
        let followed = Followed { store: Arc::clone(store), directory: self.directory, folder };
        for &kind in &self.kinds {
            let mut is_told = false;
            let fetched = loop {
                match self.fetch(kind, &followed) {
                    Ok(fetched) => break fetched,
                    Err(fault) if !is_told => {
                        is_told = true;
                        tracing::warn!(partition, of = kind.name(), %fault, "a copy is not fetched; it is tried again");
                    }
                    Err(_) => {}
                }
                if self.wait(AGAIN) || !self.is_here(partition, number) {
                    return Ok(());
                }
            };
            let mut here = self.here();
            let Some(stay) = here.partitions.get_mut(&partition).filter(|stay| stay.number == number) else {
                return Ok(());
            };
            if let Some(lsn) = fetched {
                self.hold.note(kind.reader(), partition, lsn);
            }
            follow(kind, followed.clone());
            let pause = fetched.map_or(Duration::ZERO, |_| kind.pause());
            let due = clock::start() + pause;
            let followed = Arc::new(followed.clone());
            stay.databases.push(Database { kind, followed, copied: None, due });
            tracing::info!(partition, of = kind.name(), from = ?fetched, "follows the journal");
        }
        Ok(())
    }

    fn is_here(&self, partition: u16, number: u64) -> bool {
        self.here().partitions.get(&partition).is_some_and(|stay| stay.number == number)
    }

    /// Removes what earlier stays left, and nothing of a later one, which may have begun while this one waited for servers.
    fn remove_before(&self, partition: u16, number: u64) {
        let prefix = format!("p{partition:03}-");
        for entry in std::fs::read_dir(&self.root).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let stay = name.to_str().and_then(|name| name.strip_prefix(&prefix)?.parse::<u64>().ok());
            if stay.is_some_and(|stay| stay < number) {
                drop(std::fs::remove_dir_all(entry.path()));
            }
        }
    }

    /// Puts the newest copy where the database is to be; the lsn that it reaches, none when there is no copy.
    fn fetch(&self, kind: Kind, followed: &Followed) -> Result<Option<Lsn>, Fault> {
        let Some(copy) = copies(followed)?.newest(kind.name())? else { return Ok(None) };
        let path = kind.database(followed);
        std::fs::write(&path, &copy.body).map_err(Fault::io("write", &path))?;
        Ok(Some(copy.header.lsn))
    }

    fn run(&self) {
        background();
        while !self.wait(LOOK) {
            let here = self.here();
            let databases = here.partitions.values().flat_map(|stay| &stay.databases);
            let now = clock::start();
            let due: Vec<_> = databases.filter(|database| database.due <= now).cloned().collect();
            drop(here);
            for database in due {
                if self.stop.load(Ordering::Relaxed) {
                    return;
                }
                self.look(&database);
            }
        }
    }

    /// Copies a database that changed.
    fn look(&self, database: &Database) {
        let Database { kind, followed, .. } = database;
        let (begun, look) = (clock::start(), look(&kind.database(followed)));
        if look[0].is_none() || Some(look) == database.copied {
            return;
        }
        let Some(kept) = Self::keep(*kind, followed).transpose() else { return };
        cluster::copied(kind.name(), kept.is_ok());
        let partition = followed.partition();
        if let Err(why) = &kept {
            tracing::warn!(
                partition,
                of = kind.name(),
                why,
                "a copy was not kept; the journal is, and it is tried again"
            );
        }
        let mut here = self.here();
        let databases = here.partitions.values_mut().flat_map(|stay| &mut stay.databases);
        let mut same = databases.filter(|one| one.kind == *kind && Arc::ptr_eq(&one.followed, followed));
        let Some(same) = same.next() else { return };
        same.due = clock::start() + AGAIN;
        if let Ok(lsn) = kept {
            self.hold.note(kind.reader(), partition, lsn);
            same.copied = Some(look);
            same.due = clock::start() + kind.pause().max(begun.elapsed() * RESTS);
        }
    }

    /// Keeps a copy; the lsn that it reaches, none while there is nothing to copy.
    fn keep(kind: Kind, followed: &Followed) -> Result<Option<Lsn>, String> {
        let path = followed.folder.join(format!("{}.copy", kind.name()));
        drop(std::fs::remove_file(&path));
        let Some(lsn) = kind.copy(followed, &path)? else { return Ok(None) };
        let body = std::fs::read(&path).map_err(|error| error.to_string())?;
        drop(std::fs::remove_file(&path));
        let header = SnapshotHeader { lsn, version: VERSION };
        let copies = copies(followed).map_err(|fault| fault.to_string())?;
        copies.keep(kind.name(), header, &body).map_err(|fault| fault.to_string())?;
        Ok(Some(lsn))
    }
}

fn copies(followed: &Followed) -> Result<&dyn Copies, Fault> {
    followed
        .store
        .copies()
        .ok_or_else(|| Fault::Missing { path: followed.store.place(), what: "a place for copies".to_owned() })
}

/// What a database is like now.
fn look(path: &Path) -> Look {
    let mut log = path.to_owned().into_os_string();
    log.push("-wal");
    let of = |path: &Path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    [of(path), of(Path::new(&log))]
}

fn background() {
    // On Linux this is of the thread alone. Where it is not allowed copies take their share of the processor.
    _ = rustix::process::setpriority_process(None, BACKGROUND_NICE);
}

#[cfg(test)]
#[path = "copier_tests.rs"]
mod tests;
