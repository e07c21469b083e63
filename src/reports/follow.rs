//! The thread that keeps the reports up: it follows what is durable in every partition, and stands back behind all that serves.
//!
//! What goes wrong here stays here: it is logged and shown, tried again a moment later, and no debit hears of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::domain::hash;
use crate::domain::ids::{Lsn, OrgId};
use crate::storage::layout::{Home, Layout};
use crate::storage::{Disk, Fault, Followed, Hold, HoldReader, Manifest, RealDisk, backup};
use crate::telemetry::{clock, metric};

use super::error::ReportsError;
use super::projector::Projector;
use super::reader::Reader;
use super::schema::{self, Reached};

/// How long the thread waits when it has caught up.
const LOOK: Duration = Duration::from_millis(500);
/// How many times as long as it worked the thread rests while the journal grows: debits need the processor and the disk.
const RESTS: u32 = 19;
/// How long it waits before it tries again what failed.
const AGAIN: Duration = Duration::from_secs(10);
/// How long a report waits for what was durable when it was asked; then it tells what there is, and by how much that lags.
const FRESH: Duration = Duration::from_millis(200);
/// How long it waits for an organization that the reports do not hold at all.
const FIRST: Duration = Duration::from_secs(5);
/// How far it stands back behind those that serve, by the system's scale.
const BACKGROUND_NICE: i32 = 15;

/// Tells up to which frame a partition is durable.
pub type Durable = Box<dyn Fn(u16) -> Lsn + Send + Sync>;

/// The reports of partitions that come and may go, kept up by a thread until [`Self::stop`].
pub struct Reports {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// How the reports of a partition are doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportsStatus {
    /// The partition.
    pub partition: u16,
    /// How far they reach.
    pub reached: Reached,
    /// Durable frames that they do not hold yet.
    pub lag_frames: u64,
    /// Why they do not go on, if so.
    pub failure: Option<String>,
}

struct Shared {
    durable: Durable,
    hold: Option<Arc<Hold>>,
    log_max: usize,
    stop: AtomicBool,
    /// Somebody waits: the thread does not.
    hurry: AtomicBool,
    /// By the number of the partition; none where it is not followed.
    states: Mutex<Vec<Option<State>>>,
    moved: Condvar,
}

#[derive(Clone, Debug)]
struct State {
    followed: Arc<Followed>,
    reached: Option<Reached>,
    failure: Option<String>,
}

impl State {
    fn holds(&self, lsn: Lsn) -> bool {
        self.reached.is_some_and(|reached| reached.lsn >= lsn)
    }
}

/// One partition as the thread sees it.
struct Lane {
    followed: Arc<Followed>,
    projector: Option<Projector>,
    failed_at: Option<Instant>,
}

/// The partitions of a data directory.
///
/// # Errors
/// When it is none, or of a newer format.
pub fn homes(directory: &Path) -> Result<Vec<Home>, Fault> {
    let (layout, disk): (_, Arc<dyn Disk>) = (Layout::new(directory), Arc::new(RealDisk));
    let manifest = Manifest::read(&*disk, &layout)?.ok_or_else(|| Fault::Missing {
        path: layout.manifest(),
        what: "it says what the directory is".to_owned(),
    })?;
    Ok(backup::homes(&disk, &layout, &manifest))
}

impl Reports {
    /// Starts to keep reports of as many `partitions`, none of which is [followed](Self::follow) yet: of each what `durable` says is
    /// durable. `hold` is told what was read; of each organization the event log keeps the newest `log_max` debits.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(
        partitions: u16,
        durable: Durable,
        hold: Option<Arc<Hold>>,
        log_max: usize,
    ) -> std::io::Result<Self> {
        let states = Mutex::new((0..partitions).map(|_| None).collect());
        let (stop, hurry, moved) = (AtomicBool::new(false), AtomicBool::new(false), Condvar::new());
        let shared = Shared { durable, hold, log_max, stop, hurry, states, moved };
        let shared = Arc::new(shared);
        let follows = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("weir-reports".to_owned()).spawn(move || follows.run())?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Keeps reports of a partition from now on, in its folder: anew, or on from what is there.
    ///
    /// # Panics
    /// When it is none of them.
    pub fn follow(&self, followed: Followed) {
        let partition = usize::from(followed.partition());
        let state = State { followed: Arc::new(followed), reached: None, failure: None };
        self.shared.states()[partition] = Some(state);
        self.shared.moved.notify_all();
    }

    /// Keeps no reports of a partition from now on; what there is stays where it is.
    pub fn forget(&self, partition: u16) {
        let before = self.shared.states()[usize::from(partition)].take();
        if before.is_some() {
            metric::reports(partition, 0, 0, false);
        }
    }

    /// Ends the thread; what it had not finished is left to the next start.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        drop(self.shared.states());
        self.shared.moved.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            drop(thread.join());
        }
    }

    /// How the reports of each partition that is followed are doing.
    #[must_use]
    pub fn status(&self) -> Vec<ReportsStatus> {
        let states = self.shared.states().clone();
        states.into_iter().flatten().map(|state| self.shared.status(state)).collect()
    }

    /// Waits until all that is durable now is reported; whether it was in time.
    #[must_use]
    pub fn catch_up(&self, within: Duration) -> bool {
        let count = self.shared.states().len();
        let targets: Vec<Lsn> = (0..).take(count).map(|partition| (self.shared.durable)(partition)).collect();
        self.await_states(within, |states| {
            let mut both = states.iter().zip(&targets);
            both.all(|(state, target)| state.as_ref().is_none_or(|state| state.holds(*target)))
        })
    }

    /// The reports of one organization: all that was durable when this was called, or what there is a moment later.
    ///
    /// # Errors
    /// [`ReportsError::NotYet`] when they do not hold it, a few seconds later; when the database cannot be read.
    pub fn read(&self, organization: &OrgId) -> Result<Reader, ReportsError> {
        let count = u16::try_from(self.shared.states().len()).unwrap_or(u16::MAX);
        let partition = hash::partition(organization, count);
        let target = (self.shared.durable)(partition);
        let reached = |states: &[Option<State>]| {
            let state = states[usize::from(partition)].as_ref();
            state.is_some_and(|state| state.failure.is_some() || state.holds(target))
        };
        self.await_states(FRESH, reached);
        match self.read_now(partition, organization) {
            Err(ReportsError::NotYet) => {
                self.await_states(FIRST, reached);
                self.read_now(partition, organization)
            }
            read => read,
        }
    }

    fn read_now(&self, partition: u16, organization: &OrgId) -> Result<Reader, ReportsError> {
        let path = self.shared.path(partition).ok_or(ReportsError::NotYet)?;
        let connection = schema::open_to_read(&path)?.ok_or(ReportsError::NotYet)?;
        let durable = (self.shared.durable)(partition);
        Reader::open(connection, organization, durable)
    }

    /// Waits, and lets the thread not rest meanwhile, until `is_met`; whether it was in time.
    fn await_states(&self, within: Duration, is_met: impl Fn(&[Option<State>]) -> bool) -> bool {
        let still_waits = |states: &mut Vec<Option<State>>| {
            let waits = !is_met(states);
            if waits && !self.shared.hurry.swap(true, Ordering::Relaxed) {
                self.shared.moved.notify_all();
            }
            waits
        };
        let waited = self.shared.moved.wait_timeout_while(self.shared.states(), within, still_waits);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Drop for Reports {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for Reports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reports").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Shared {
    fn run(&self) {
        // On Linux this is of the thread alone. Where it is not allowed reports take their share of the processor.
        _ = rustix::process::setpriority_process(None, BACKGROUND_NICE);
        let mut lanes = Vec::new();
        let mut durable = self.durable_frames();
        while !self.stop.load(Ordering::Relaxed) {
            let (mut is_behind, begun) = (false, clock::start());
            lanes = self.lanes(lanes);
            for lane in &mut lanes {
                is_behind |= self.look(lane);
            }
            self.moved.notify_all();
            let before = std::mem::replace(&mut durable, self.durable_frames());
            match (is_behind, durable > before) {
                (false, _) => self.wait(LOOK),
                (true, true) => self.wait(begun.elapsed() * RESTS),
                (true, false) => {}
            }
        }
    }

    /// Waits, unless somebody waits for the reports.
    fn wait(&self, most: Duration) {
        let is_called = || self.stop.load(Ordering::Relaxed) || self.hurry.swap(false, Ordering::Relaxed);
        let waits = |_: &mut Vec<Option<State>>| !is_called();
        drop(self.moved.wait_timeout_while(self.states(), most, waits));
    }

    /// How many frames of all partitions are durable.
    fn durable_frames(&self) -> u64 {
        let count = self.states().len();
        (0..).take(count).map(|partition| (self.durable)(partition).0).sum()
    }

    /// A lane for each partition that is followed now: the one that was there, where it is followed still.
    fn lanes(&self, mut before: Vec<Lane>) -> Vec<Lane> {
        let states = self.states();
        let followed = states.iter().flatten().map(|state| &state.followed);
        let lane = |followed: &Arc<Followed>| {
            let same = before.iter().position(|lane| Arc::ptr_eq(&lane.followed, followed));
            same.map_or_else(|| Lane::new(Arc::clone(followed)), |same| before.swap_remove(same))
        };
        followed.map(lane).collect()
    }

    fn path(&self, partition: u16) -> Option<PathBuf> {
        let states = self.states();
        states[usize::from(partition)].as_ref().map(|state| schema::path(&state.followed))
    }

    /// Projects a stretch; whether more is there already.
    fn look(&self, lane: &mut Lane) -> bool {
        if lane.failed_at.is_some_and(|at| at.elapsed() < AGAIN) {
            return false;
        }
        let stepped = catch_unwind(AssertUnwindSafe(|| self.step(lane)));
        let stepped = stepped.unwrap_or_else(|_| Err("a defect ended it; report the log".to_owned()));
        let partition = lane.followed.partition();
        let failure = stepped.as_ref().err().cloned();
        if let Some(failure) = &failure {
            tracing::warn!(
                partition,
                failure,
                "reports do not go on; debits do, and it is tried again shortly"
            );
            lane.projector = None;
        }
        lane.failed_at = failure.as_ref().map(|_| clock::start());
        let state = {
            let mut states = self.states();
            let state = states[usize::from(partition)].as_mut();
            let Some(state) = state.filter(|state| Arc::ptr_eq(&state.followed, &lane.followed)) else {
                return false;
            };
            state.reached = stepped.ok().or(state.reached);
            state.failure = failure;
            state.clone()
        };
        if let (Some(reached), Some(hold)) = (state.reached, &self.hold) {
            hold.note(HoldReader::Reports, partition, reached.lsn);
        }
        let is_sound = state.failure.is_none();
        let status = self.status(state);
        metric::reports(partition, status.reached.lsn.0, status.lag_frames, !is_sound);
        is_sound && status.lag_frames > 0
    }

    fn step(&self, lane: &mut Lane) -> Result<Reached, String> {
        let durable = (self.durable)(lane.followed.partition());
        let projector = match &mut lane.projector {
            Some(projector) => projector,
            none => {
                let opened = Projector::open(&lane.followed, durable, self.log_max);
                none.insert(opened.map_err(|error| error.to_string())?)
            }
        };
        projector.step(durable, &self.stop).map_err(|error| error.to_string())?;
        Ok(projector.reached())
    }

    fn status(&self, state: State) -> ReportsStatus {
        let partition = state.followed.partition();
        let reached = state.reached.unwrap_or(Reached { lsn: Lsn(0), at: None });
        let lag_frames = (self.durable)(partition).0.saturating_sub(reached.lsn.0);
        ReportsStatus { partition, reached, lag_frames, failure: state.failure }
    }

    fn states(&self) -> MutexGuard<'_, Vec<Option<State>>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lane {
    fn new(followed: Arc<Followed>) -> Self {
        Self { followed, projector: None, failed_at: None }
    }
}
