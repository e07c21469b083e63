//! The thread that decides what there is to tell: it follows what is durable in every partition, and stands back behind all that serves.
//!
//! What goes wrong here stays here: it is logged and shown, tried again a moment later, and no debit hears of it.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::domain::hash;
use crate::domain::ids::{AlertId, Lsn, OrgId, OrgNumber, WebhookId};
use crate::domain::time::Timestamp;
use crate::storage::{Followed, Hold, HoldReader};
use crate::telemetry::{clock, metric};

use super::book::Book;
use super::delivery::{self, Attempt, Due, Place, State};
use super::error::AlertsError;
use super::reader::Reader;
use super::refusals::Window;
use super::schema;
use super::watch::Watch;

type Result<T> = std::result::Result<T, AlertsError>;

/// How long the thread waits at least when it has caught up.
const LOOK: Duration = Duration::from_millis(500);
/// How many times as long as it worked the thread rests, but when it catches up and nothing grows: debits need the processor and the disk.
const RESTS: u32 = 49;
/// How long it waits before it tries again what failed.
const AGAIN: Duration = Duration::from_secs(10);
/// How long a reader waits for what was durable when it asked.
const FRESH: Duration = Duration::from_millis(200);
/// How long it waits for an organization that is not known at all.
const FIRST: Duration = Duration::from_secs(5);
/// How far it stands back behind those that serve, by the system's scale.
const BACKGROUND_NICE: i32 = 15;

/// What alerts are decided from.
pub struct Source {
    /// Tells up to which frame a partition is durable.
    pub durable: Box<dyn Fn(u16) -> Lsn + Send + Sync>,
    /// Tells how many debits of an organization were refused since the start.
    pub refused: Box<dyn Fn(&OrgId) -> u64 + Send + Sync>,
    /// Tells the time.
    pub now: Box<dyn Fn() -> Timestamp + Send + Sync>,
}

/// The alerts of partitions that come and may go, decided by a thread until [`Self::stop`].
pub struct Alerting {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// What writes down deliveries of each partition.
    writers: Vec<Mutex<Writer>>,
}

/// What writes down deliveries of one partition.
struct Writer {
    /// With what it is of.
    connection: Option<(Arc<Followed>, Connection)>,
    /// Where it was looked last for what is due.
    place: Place,
}

/// How the alerts of a partition are doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertsStatus {
    /// The partition.
    pub partition: u16,
    /// The last frame that was decided.
    pub lsn: Lsn,
    /// Durable frames that were not decided yet.
    pub lag_frames: u64,
    /// Why it does not go on, if so.
    pub failure: Option<String>,
}

struct Shared {
    source: Source,
    hold: Option<Arc<Hold>>,
    stop: AtomicBool,
    /// Somebody waits: the thread does not.
    hurry: AtomicBool,
    /// By the number of the partition; none where it is not followed.
    states: Mutex<Vec<Option<Standing>>>,
    moved: Condvar,
}

#[derive(Clone, Debug)]
struct Standing {
    followed: Arc<Followed>,
    /// What was durable when it came: a new database tells nothing of that.
    quiet: Lsn,
    reached: Option<Lsn>,
    failure: Option<String>,
}

/// One partition as the thread sees it.
struct Lane {
    followed: Arc<Followed>,
    quiet: Lsn,
    watch: Option<Watch>,
    failed_at: Option<Instant>,
    windows: HashMap<(OrgNumber, AlertId), Window>,
    /// Whether refusals were looked at: what was refused before the first look counts.
    has_looked: bool,
}

impl Writer {
    fn new() -> Self {
        Self { connection: None, place: Place::BEGINNING }
    }
}

impl Standing {
    fn holds(&self, lsn: Lsn) -> bool {
        self.reached.is_some_and(|reached| reached >= lsn)
    }
}

impl Alerting {
    /// Starts to decide the alerts of as many `partitions`, none of which is [followed](Self::follow) yet. `hold` is told what was read.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(partitions: u16, source: Source, hold: Option<Arc<Hold>>) -> std::io::Result<Self> {
        let states = Mutex::new((0..partitions).map(|_| None).collect());
        let (stop, hurry, moved) = (AtomicBool::new(false), AtomicBool::new(false), Condvar::new());
        let writers = (0..partitions).map(|_| Mutex::new(Writer::new())).collect();
        let shared = Arc::new(Shared { source, hold, stop, hurry, states, moved });
        let follows = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("weir-alerts".to_owned()).spawn(move || follows.run())?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)), writers })
    }

    /// Decides the alerts of a partition from now on, in its folder: on from what is there. Where nothing is there, nothing is told of what is
    /// durable by now, and everything of what comes.
    ///
    /// # Panics
    /// When it is none of them.
    pub fn follow(&self, followed: Followed) {
        let quiet = (self.shared.source.durable)(followed.partition());
        // Made before anything more is journaled: what comes from now on is told, also when this process ends before its thread
        // has begun. What cannot be made the thread meets again, and tells.
        if !schema::path(&followed).exists() {
            drop(Book::open(&followed, quiet));
        }
        let partition = usize::from(followed.partition());
        let standing = Standing { followed: Arc::new(followed), quiet, reached: None, failure: None };
        self.shared.states()[partition] = Some(standing);
        self.shared.moved.notify_all();
    }

    /// Decides nothing of a partition from now on, and hands out nothing to send; what there is stays where it is.
    pub fn forget(&self, partition: u16) {
        let before = self.shared.states()[usize::from(partition)].take();
        if before.is_some() {
            metric::alerts(partition, 0, false);
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

    /// How the alerts of each partition that is followed are doing.
    #[must_use]
    pub fn status(&self) -> Vec<AlertsStatus> {
        let states = self.shared.states().clone();
        states.into_iter().flatten().map(|state| self.shared.status(state)).collect()
    }

    /// Waits until all that is durable now is decided; whether it was in time.
    #[must_use]
    pub fn catch_up(&self, within: Duration) -> bool {
        let count = self.shared.states().len();
        let targets: Vec<Lsn> =
            (0..).take(count).map(|partition| (self.shared.source.durable)(partition)).collect();
        self.await_states(within, |states| {
            let mut both = states.iter().zip(&targets);
            both.all(|(state, target)| state.as_ref().is_none_or(|state| state.holds(*target)))
        })
    }

    /// The alerts of one organization: all that was durable when this was called, or what there is a moment later.
    ///
    /// # Errors
    /// [`AlertsError::NotYet`] when it is not known, a few seconds later; when the database cannot be read.
    pub fn read(&self, organization: &OrgId) -> Result<Reader> {
        let partition = self.partition_of(organization);
        let target = (self.shared.source.durable)(partition);
        let reached = |states: &[Option<Standing>]| {
            let state = states[usize::from(partition)].as_ref();
            state.is_some_and(|state| state.failure.is_some() || state.holds(target))
        };
        self.await_states(FRESH, reached);
        match self.read_now(partition, organization) {
            Err(AlertsError::NotYet) => {
                self.await_states(FIRST, reached);
                self.read_now(partition, organization)
            }
            read => read,
        }
    }

    /// Sends the message of a delivery again: the number of the new delivery; none when there is no such delivery.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn replay(&self, organization: &OrgId, number: u64) -> Result<Option<u64>> {
        let now = (self.shared.source.now)();
        self.write(self.partition_of(organization), |connection| {
            match delivery::number_of(connection, organization)? {
                Some(organization) => delivery::replay(connection, organization, number, now),
                None => Ok(None),
            }
        })
    }

    /// Calls a webhook again that said that it is gone; whether it had.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn switch_on(&self, organization: &OrgId, webhook: &WebhookId) -> Result<bool> {
        self.write(self.partition_of(organization), |connection| {
            match delivery::number_of(connection, organization)? {
                Some(organization) => delivery::switch_on(connection, organization, webhook),
                None => Ok(false),
            }
        })
    }

    /// The oldest delivery of each webhook that is due, but for those of `busy`, in all partitions; of very many webhooks the next
    /// few hundred. A partition whose database cannot be read is passed over; the log says so.
    pub fn due(&self, busy: &dyn Fn(&OrgId, &WebhookId) -> bool) -> Vec<Due> {
        let now = (self.shared.source.now)();
        let mut found = Vec::new();
        for partition in self.shared.there() {
            let look = |connection: &Connection, place: &mut Place| {
                delivery::due(connection, (partition, place), now, busy)
            };
            match self.write_at(partition, look) {
                Ok(due) => found.extend(due),
                Err(AlertsError::NotYet) => {}
                Err(error) => tracing::warn!(partition, %error, "deliveries are not sent now"),
            }
        }
        found
    }

    /// Writes down an attempt of a delivery; `random` says by how much the next one is off.
    ///
    /// # Errors
    /// When it cannot be written; then it is made again.
    pub fn record(&self, due: &Due, attempt: &Attempt, random: u64) -> Result<State> {
        self.write(due.partition, |connection| delivery::record(connection, due, attempt, random))
    }

    /// How many deliveries wait, and for how long the oldest does.
    pub fn pending(&self) -> (u64, Duration) {
        let now = (self.shared.source.now)();
        let there = self.shared.there().into_iter();
        let waiting = there.filter_map(|partition| self.write(partition, delivery_pending).ok());
        let (mut count, mut longest_ms) = (0, 0);
        for (waits, oldest) in waiting {
            count += waits;
            longest_ms = longest_ms.max(oldest.map_or(0, |oldest| now.ms().saturating_sub(oldest.ms())));
        }
        (count, Duration::from_millis(longest_ms))
    }

    /// The present time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.shared.source.now)()
    }

    fn partition_of(&self, organization: &OrgId) -> u16 {
        let count = u16::try_from(self.writers.len()).unwrap_or(u16::MAX);
        hash::partition(organization, count)
    }

    fn read_now(&self, partition: u16, organization: &OrgId) -> Result<Reader> {
        let followed = self.shared.followed(partition).ok_or(AlertsError::NotYet)?;
        let connection = schema::open_to_read(&followed)?.ok_or(AlertsError::NotYet)?;
        Reader::open(connection, organization, (self.shared.source.durable)(partition))
    }

    /// Writes with the connection of a partition; one that failed is not used again.
    fn write<T>(&self, partition: u16, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.write_at(partition, |connection, _| work(connection))
    }

    fn write_at<T>(
        &self,
        partition: u16,
        work: impl FnOnce(&Connection, &mut Place) -> Result<T>,
    ) -> Result<T> {
        let followed = self.shared.followed(partition).ok_or(AlertsError::NotYet)?;
        let mut writer = self.writers[usize::from(partition)].lock().unwrap_or_else(PoisonError::into_inner);
        let connection = match writer.connection.take() {
            Some((of, connection)) if Arc::ptr_eq(&of, &followed) => connection,
            _ => schema::open_to_deliver(&followed)?.ok_or(AlertsError::NotYet)?,
        };
        let written = work(&connection, &mut writer.place)?;
        writer.connection = Some((followed, connection));
        Ok(written)
    }

    /// Waits, and lets the thread not rest meanwhile, until `is_met`; whether it was in time.
    fn await_states(&self, within: Duration, is_met: impl Fn(&[Option<Standing>]) -> bool) -> bool {
        let still_waits = |states: &mut Vec<Option<Standing>>| {
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

fn delivery_pending(connection: &Connection) -> Result<(u64, Option<Timestamp>)> {
    delivery::pending(connection)
}

impl Drop for Alerting {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for Alerting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Alerting").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Shared {
    fn run(&self) {
        // On Linux this is of the thread alone. Where it is not allowed alerts take their share of the processor.
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
                (false, _) => self.wait(LOOK.max(begun.elapsed() * RESTS)),
                (true, true) => self.wait(begun.elapsed() * RESTS),
                (true, false) => {}
            }
        }
    }

    /// Waits, unless somebody waits for the alerts.
    fn wait(&self, most: Duration) {
        let is_called = || self.stop.load(Ordering::Relaxed) || self.hurry.swap(false, Ordering::Relaxed);
        let waits = |_: &mut Vec<Option<Standing>>| !is_called();
        drop(self.moved.wait_timeout_while(self.states(), most, waits));
    }

    /// How many frames of all partitions are durable.
    fn durable_frames(&self) -> u64 {
        let count = self.states().len();
        (0..).take(count).map(|partition| (self.source.durable)(partition).0).sum()
    }

    /// A lane for each partition that is followed now: the one that was there, where it is followed still.
    fn lanes(&self, mut before: Vec<Lane>) -> Vec<Lane> {
        let states = self.states();
        let lane = |state: &Standing| {
            let same = before.iter().position(|lane| Arc::ptr_eq(&lane.followed, &state.followed));
            same.map_or_else(|| Lane::new(state), |same| before.swap_remove(same))
        };
        states.iter().flatten().map(lane).collect()
    }

    fn followed(&self, partition: u16) -> Option<Arc<Followed>> {
        self.states()[usize::from(partition)].as_ref().map(|state| Arc::clone(&state.followed))
    }

    /// The partitions whose databases are there.
    fn there(&self) -> Vec<u16> {
        let states = self.states();
        let followed = states.iter().flatten().map(|state| &state.followed);
        let there = followed.filter(|followed| schema::path(followed).exists());
        there.map(|followed| followed.partition()).collect()
    }

    /// Decides a stretch; whether more is there already.
    fn look(&self, lane: &mut Lane) -> bool {
        if lane.failed_at.is_some_and(|at| at.elapsed() < AGAIN) {
            return false;
        }
        let stepped = catch_unwind(AssertUnwindSafe(|| self.step(lane).map_err(|error| error.to_string())));
        let stepped = stepped.unwrap_or_else(|_| Err("a defect ended it; report the log".to_owned()));
        let partition = lane.followed.partition();
        let failure = stepped.as_ref().err().cloned();
        if let Some(failure) = &failure {
            tracing::warn!(
                partition,
                failure,
                "alerts do not go on; debits do, and it is tried again shortly"
            );
            lane.watch = None;
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
            hold.note(HoldReader::Alerts, partition, reached);
        }
        let is_sound = state.failure.is_none();
        let status = self.status(state);
        metric::alerts(partition, status.lag_frames, !is_sound);
        is_sound && status.lag_frames > 0
    }

    fn step(&self, lane: &mut Lane) -> Result<Lsn> {
        let durable = (self.source.durable)(lane.followed.partition());
        let watch = match &mut lane.watch {
            Some(watch) => watch,
            none => none.insert(Watch::open(&lane.followed, durable, lane.quiet)?),
        };
        watch.step(durable, &self.stop)?;
        self.look_at_refusals(watch, &mut lane.windows, lane.has_looked)?;
        lane.has_looked = true;
        Ok(watch.reached())
    }

    /// Counts refusals for the thresholds that are of them.
    fn look_at_refusals(
        &self,
        watch: &mut Watch,
        windows: &mut HashMap<(OrgNumber, AlertId), Window>,
        has_looked: bool,
    ) -> Result<()> {
        let thresholds = watch.of_refusals();
        windows.retain(|(number, id), window| {
            let mut same = thresholds.iter().filter(|(of, threshold)| (of, &threshold.id) == (number, id));
            same.any(|(_, threshold)| threshold.window_ms.is_some_and(|ms| window.is_of(ms)))
        });
        let now = (self.source.now)();
        for (number, threshold) in &thresholds {
            let Some(window_ms) = threshold.window_ms else { continue };
            let (organization, came) = watch.organization(*number);
            let refused = (self.source.refused)(organization);
            let before = if has_looked { refused } else { 0 };
            let window = windows.entry((*number, threshold.id.clone()));
            let window = window.or_insert_with(|| Window::new(window_ms, now, before, came));
            let (counted, is_whole) = window.look(now, refused, came);
            watch.judge_refusals(*number, (threshold, counted, is_whole), now)?;
        }
        Ok(())
    }

    fn status(&self, state: Standing) -> AlertsStatus {
        let partition = state.followed.partition();
        let lsn = state.reached.unwrap_or(Lsn(0));
        let lag_frames = (self.source.durable)(partition).0.saturating_sub(lsn.0);
        AlertsStatus { partition, lsn, lag_frames, failure: state.failure }
    }

    fn states(&self) -> MutexGuard<'_, Vec<Option<Standing>>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lane {
    fn new(state: &Standing) -> Self {
        let (followed, quiet) = (Arc::clone(&state.followed), state.quiet);
        Self { followed, quiet, watch: None, failed_at: None, windows: HashMap::new(), has_looked: false }
    }
}
