//! The committer of a partition: a thread that makes one group after the other durable, then releases its replies.
//!
//! The first failed write or sync stops the partition: nothing is tried again, all that waits and all that comes is
//! told the cause, and what was acknowledged before stays. A panic of this thread stops it likewise.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, bounded};

use crate::domain::ids::Lsn;
use crate::storage::event_codec;
use crate::storage::frame::{self, FrameMeta};
use crate::storage::journal::{Journal, Preparation, PreparedSegment};
use crate::telemetry::clock;
use crate::telemetry::metric::CommitMeters;

use super::directory::Partition;
use super::group::Group;

/// Writes the groups of a partition.
#[derive(Debug)]
pub(crate) struct Committer {
    partition: Arc<Partition>,
    journal: Journal,
    preparer: Preparer,
    meters: CommitMeters,
}

/// A thread that makes the next segment ahead of its use.
#[derive(Debug)]
struct Preparer {
    jobs: Option<Sender<Preparation>>,
    done: Receiver<crate::storage::Result<PreparedSegment>>,
    thread: Option<JoinHandle<()>>,
}

/// Stops the partition when the committer's thread ends by a panic.
struct StopOnPanic(Arc<Partition>);

impl Committer {
    /// The committer of `journal`.
    pub(crate) fn new(partition: Arc<Partition>, journal: Journal) -> std::io::Result<Self> {
        let (number, preparer) = (partition.number, Preparer::start(partition.number)?);
        Ok(Self { partition, journal, preparer, meters: CommitMeters::new(number) })
    }

    /// Runs until the partition is closed or fails.
    pub(crate) fn run(mut self) {
        let guard = StopOnPanic(Arc::clone(&self.partition));
        let mut spare = Group { first: Lsn(0), frames: 0, bytes: Vec::new(), releases: Vec::new() };
        while let Some(mut group) = self.partition.staging.take(spare) {
            if let Err(fault) = self.commit(&group) {
                return self.fail(group, &fault.to_string());
            }
            group.releases.drain(..).for_each(|release| release.release(Ok(())));
            group.bytes.clear();
            group.frames = 0;
            spare = group;
        }
        if self.partition.staging.failure().is_none()
            && let Err(fault) = self.mark_closed()
        {
            tracing::error!(%fault, "the clean close could not be noted; everything acknowledged is kept");
        }
        drop(guard);
    }

    fn commit(&mut self, group: &Group) -> crate::storage::Result<()> {
        if group.frames == 0 {
            return Ok(());
        }
        while let Ok(prepared) = self.preparer.done.try_recv() {
            self.journal.provide(prepared);
        }
        let begun = clock::start();
        self.journal.append_group(group.first, group.frames, &group.bytes)?;
        self.meters.seconds.record(begun.elapsed().as_secs_f64());
        let durable = self.journal.durable();
        self.partition.staging.note_durable(durable);
        let bytes = u64::try_from(group.bytes.len()).unwrap_or(u64::MAX);
        self.partition.bytes_since_snapshot.fetch_add(bytes, Ordering::Relaxed);
        self.partition.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.partition.groups.fetch_add(1, Ordering::Relaxed);
        self.meters.groups.increment(1);
        self.meters.bytes.increment(bytes);
        if let Some(job) = self.journal.preparation() {
            self.preparer.send(job);
        }
        Ok(())
    }

    fn fail(&self, group: Group, cause: &str) {
        tracing::error!(
            partition = self.partition.number,
            cause,
            "the partition stops: a write or sync failed"
        );
        self.meters.poisoned.set(1);
        self.partition.staging.fail(cause);
        let failure = self.partition.staging.failure().expect("it was just set");
        group.releases.into_iter().for_each(|release| release.release(Err(failure.clone())));
    }

    /// The last frame of a clean run: it shows that everything before it had been durable.
    fn mark_closed(&mut self) -> crate::storage::Result<()> {
        let lsn = self.journal.next_lsn();
        if lsn == Lsn(1) {
            return Ok(());
        }
        let mut bytes = Vec::new();
        let start = frame::begin(&mut bytes);
        let meta =
            FrameMeta { lsn, group: 0, kind: event_codec::CLOSED, version: event_codec::CLOSED_VERSION };
        frame::finish(&mut bytes, start, meta);
        self.journal.append_group(lsn, 1, &bytes)
    }
}

impl Preparer {
    fn start(partition: u16) -> std::io::Result<Self> {
        let (jobs, todo) = bounded::<Preparation>(1);
        let (ready, done) = bounded(2);
        let run = move || {
            for job in todo {
                if ready.send(job.run()).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name(format!("weir-prep-{partition}")).spawn(run)?;
        Ok(Self { jobs: Some(jobs), done, thread: Some(thread) })
    }

    /// A job that cannot be sent is not missed: the rotation makes its segment itself.
    fn send(&self, job: Preparation) {
        if let Some(jobs) = &self.jobs {
            _ = jobs.try_send(job);
        }
    }
}

impl Drop for Preparer {
    /// Waits for the thread: nothing may write to the directory when it is released.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

impl Drop for StopOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.staging.fail("the committer's thread panicked");
        }
    }
}
