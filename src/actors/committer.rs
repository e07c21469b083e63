//! The committer of a partition: a thread that makes one group after the other durable, then releases its replies.
//!
//! A request that is alone is written by the arbiter itself: waking another thread costs a good part of what a sync
//! does, and there is nothing to gather meanwhile.
//!
//! Where the log is far, the replies of a group leave while the next one is on its way, and at once when there is none.
//!
//! The first failed write or sync stops the partition: nothing is tried again, all that waits and all that comes is
//! told the cause, and what was acknowledged before stays. A panic while writing stops it likewise. To be deposed by another node is no
//! failure: all are told that the partition is elsewhere.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};

use crate::planted::{self, Bug};
use crate::storage::event_codec;
use crate::storage::frame::{self, FrameMeta};
use crate::storage::journal::{Preparation, PreparedSegment};
use crate::storage::{Fault, GroupLog};
use crate::telemetry::clock;
use crate::telemetry::metric::{self, CommitMeters};

use super::directory::Partition;
use super::group::Group;
use super::messages::{Release, Unavailable};

/// Bytes of a group that show that much is on its way: thousands of debits came while one group was written.
const MUCH_BYTES: usize = 6 << 10;

/// How long the next group gathers then before it is looked at. A write and a sync cost the processor as much as judging
/// thousands of debits does; that many are worth it. An append to a log of other machines takes ten times as long, and what comes gathers meanwhile.
const PAUSE: Duration = Duration::from_micros(200);

/// Writes the groups of a partition: the committer's thread does, or the arbiter's when a request is alone.
#[derive(Debug)]
pub(crate) struct Writer {
    partition: Arc<Partition>,
    log: Box<dyn GroupLog>,
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

/// The ends of a preparer that a thread holds: jobs come out, their outcomes go in.
#[cfg(feature = "testing")]
pub(crate) type PreparerEnds = (Receiver<Preparation>, Sender<crate::storage::Result<PreparedSegment>>);

/// Stops the partition when writing panics.
struct StopOnPanic(Arc<Partition>);

/// Runs the committer until the partition is closed or fails.
pub(crate) fn run(partition: &Arc<Partition>, writer: &Mutex<Writer>) {
    let (mut spare, mut kept) = (Group::default(), Vec::new());
    loop {
        if !kept.is_empty() && !partition.staging.has_work() {
            release(&mut kept);
        }
        let Some(mut group) = partition.staging.take(spare) else { break };
        let is_much = group.bytes.len() >= MUCH_BYTES && !partition.staging.confirms();
        lock(writer).write_and(&mut group, &mut kept);
        if partition.staging.confirms() && !partition.staging.is_failed() {
            std::mem::swap(&mut kept, &mut group.releases);
        }
        release(&mut group.releases);
        spare = group;
        if is_much {
            partition.staging.gather(PAUSE);
        }
    }
    if !partition.staging.is_failed()
        && let Err(fault) = mark(&mut *lock(writer).log)
    {
        tracing::error!(%fault, "the clean close could not be noted; everything acknowledged is kept");
    }
}

/// Lets replies go whose frames are durable.
fn release(durable: &mut Vec<Release>) {
    durable.drain(..).for_each(|release| release.release(Ok(())));
}

/// Writes a frame that holds nothing. As the first frame it shows that the partition was made, as the last of a run that
/// everything before it had been durable.
pub(crate) fn mark(log: &mut dyn GroupLog) -> crate::storage::Result<()> {
    let lsn = log.next_lsn();
    let mut bytes = Vec::new();
    let start = frame::begin(&mut bytes);
    let meta = FrameMeta { lsn, group: 0, kind: event_codec::CLOSED, version: event_codec::CLOSED_VERSION };
    frame::finish(&mut bytes, start, meta);
    log.append_group(lsn, 1, &bytes)
}

/// Locks a writer. One that panicked has stopped its partition and is not used again.
pub(crate) fn lock(writer: &Mutex<Writer>) -> MutexGuard<'_, Writer> {
    writer.lock().expect("a writer that panicked has stopped its partition")
}

impl Writer {
    /// The writer of `log`.
    pub(crate) fn new(partition: Arc<Partition>, log: Box<dyn GroupLog>) -> std::io::Result<Self> {
        let preparer = Preparer::start(partition.number)?;
        Ok(Self::with(partition, log, preparer))
    }

    /// The writer of `log` without a thread: who holds the other ends prepares segments when it likes.
    #[cfg(feature = "testing")]
    pub(crate) fn stepped(partition: Arc<Partition>, log: Box<dyn GroupLog>) -> (Self, PreparerEnds) {
        let ((jobs, todo), (ready, done)) = (bounded(1), bounded(2));
        let preparer = Preparer { jobs: Some(jobs), done, thread: None };
        (Self::with(partition, log, preparer), (todo, ready))
    }

    /// The log, for its closing mark.
    #[cfg(feature = "testing")]
    pub(crate) fn log_mut(&mut self) -> &mut dyn GroupLog {
        &mut *self.log
    }

    fn with(partition: Arc<Partition>, log: Box<dyn GroupLog>, preparer: Preparer) -> Self {
        let meters = CommitMeters::new(partition.number);
        Self { partition, log, preparer, meters }
    }

    /// Makes a group durable and releases its replies, or stops the partition. The group is empty afterwards.
    pub(crate) fn write(&mut self, group: &mut Group) {
        self.write_and(group, &mut Vec::new());
        release(&mut group.releases);
    }

    /// Makes a group durable, or stops the partition and releases its replies. Replies of the groups before it are `kept` until it is on its way: whom they wake
    /// takes the processor that would send it. The group is empty afterwards but for its replies.
    fn write_and(&mut self, group: &mut Group, kept: &mut Vec<Release>) {
        let guard = StopOnPanic(Arc::clone(&self.partition));
        let durable = match self.commit(group, &mut || release(kept)) {
            Ok(()) => Ok(()),
            Err(fault) => Err(self.fail(&fault)),
        };
        drop(guard);
        // They are durable, whatever became of this group.
        release(kept);
        if let Err(failure) = durable {
            group.releases.drain(..).for_each(|release| release.release(Err(failure.clone())));
        }
        group.bytes.clear();
        group.frames = 0;
    }

    fn commit(&mut self, group: &Group, meanwhile: &mut dyn FnMut()) -> crate::storage::Result<()> {
        if group.frames == 0 {
            meanwhile();
            return if planted::is(Bug::AnswerUnconfirmed) { Ok(()) } else { self.log.confirm() };
        }
        while let Ok(prepared) = self.preparer.done.try_recv() {
            self.log.provide(prepared);
        }
        let begun = clock::start();
        self.log.append_group_and((group.first, group.frames), &group.bytes, meanwhile)?;
        self.meters.seconds.record(begun.elapsed().as_secs_f64());
        let durable = self.log.durable();
        self.partition.staging.note_durable(durable);
        self.meters.durable_lsn.set(metric::gauge_value(durable.0));
        let bytes = u64::try_from(group.bytes.len()).unwrap_or(u64::MAX);
        self.partition.bytes_since_snapshot.fetch_add(bytes, Ordering::Relaxed);
        self.partition.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.partition.groups.fetch_add(1, Ordering::Relaxed);
        self.meters.groups.increment(1);
        self.meters.bytes.increment(bytes);
        if let Some(job) = self.log.preparation() {
            self.preparer.send(job);
        }
        Ok(())
    }

    fn fail(&self, fault: &Fault) -> Unavailable {
        let partition = self.partition.number;
        if matches!(fault, Fault::Deposed { .. }) {
            tracing::warn!(partition, %fault, "the partition is owned by another node");
            return self.partition.staging.end(Unavailable::Elsewhere { partition });
        }
        tracing::error!(partition, cause = %fault, "the partition stops: a write or sync failed");
        self.partition.staging.fail(&fault.to_string())
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
            self.0.staging.fail("the writer panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use crossbeam::channel::unbounded;

    use super::*;
    use crate::actors::group::Staging;
    use crate::domain::ids::Lsn;

    /// A log far away, which says what happens to its groups. Each is kept when it is told so.
    #[derive(Debug)]
    struct Far {
        next: Lsn,
        happens: Sender<&'static str>,
        go: Receiver<()>,
    }

    impl GroupLog for Far {
        fn append_group(&mut self, _: Lsn, _: u32, _: &[u8]) -> crate::storage::Result<()> {
            _ = self.happens.send("closed");
            Ok(())
        }

        fn append_group_and(
            &mut self,
            (first, frames): (Lsn, u32),
            _: &[u8],
            meanwhile: &mut dyn FnMut(),
        ) -> crate::storage::Result<()> {
            _ = self.happens.send("sent");
            meanwhile();
            self.go.recv().expect("it is told");
            self.next = Lsn(first.0 + u64::from(frames));
            _ = self.happens.send("kept");
            Ok(())
        }

        fn next_lsn(&self) -> Lsn {
            self.next
        }

        fn is_shared(&self) -> bool {
            true
        }
    }

    #[test]
    fn i3_replies_leave_when_their_group_is_kept_and_the_next_one_is_on_its_way() {
        let ((happens, happened), (go, told)) = (unbounded(), unbounded());
        let log = Box::new(Far { next: Lsn(1), happens: happens.clone(), go: told });
        let staging = Staging::new(&*log, metric::poisoned(9));
        let partition = Arc::new(Partition::new(9, staging, 0));
        let writer = Mutex::new(Writer::new(Arc::clone(&partition), log).expect("a thread"));
        let stage = |answer: &'static str| {
            let happens = happens.clone();
            let mut staged = partition.staging.lock();
            staged.append(event_codec::CLOSED, event_codec::CLOSED_VERSION, |_| {});
            staged.release(Release::Call(Box::new(move |durable| {
                durable.expect("it is kept");
                _ = happens.send(answer);
            })));
        };
        let next = || happened.recv().expect("something happens");
        stage("first answer");
        std::thread::scope(|scope| {
            let committer = scope.spawn(|| run(&partition, &writer));
            assert_eq!(next(), "sent");
            stage("second answer");
            go.send(()).expect("it waits");
            assert_eq!([next(), next(), next()], ["kept", "sent", "first answer"]);
            go.send(()).expect("it waits");
            assert_eq!([next(), next()], ["kept", "second answer"], "nothing else is to be sent");
            partition.staging.close(Unavailable::Closing);
            committer.join().expect("in order");
            assert_eq!(next(), "closed");
        });
    }
}
