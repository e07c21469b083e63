//! The group that gathers while the one before it is written.
//!
//! The arbiter stages frames and replies; the committer takes all of them at once. A reply that needs no write leaves at once
//! when nothing is staged or being written. Staging after a failure answers every reply with the cause.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::Gauge;

use crate::domain::ids::Lsn;
use crate::planted::{self, Bug};
use crate::storage::GroupLog;
use crate::storage::frame::{self, FrameMeta};

use super::messages::{Release, Unavailable};

/// Bytes of a group that are worth a sync while more is on its way.
const WORTH_A_SYNC: usize = 16 << 10;

/// Frames that become durable together, and the replies that wait for it.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) first: Lsn,
    pub(crate) frames: u32,
    pub(crate) bytes: Vec<u8>,
    pub(crate) releases: Vec<Release>,
}

/// The gathering group of a partition.
#[derive(Debug)]
pub(crate) struct Staging {
    inner: Mutex<Inner>,
    work: Condvar,
    durable: AtomicU64,
    failed: AtomicBool,
    /// Whether a reply that rests on no new frame waits for the log's word as well.
    confirms: bool,
    poisoned: Gauge,
}

#[derive(Debug)]
struct Inner {
    group: Group,
    /// Bytes of the group that are whole frames: what stands behind them is left of an encoder that panicked.
    whole: usize,
    /// Who writes a group.
    writing: Option<By>,
    /// The committer waits for work.
    idle: bool,
    end: End,
}

/// Who writes a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Committer,
    Arbiter,
}

#[derive(Clone, Debug)]
enum End {
    Open,
    Closing(Unavailable),
    Ended(Unavailable),
}

/// The gathering group, locked.
pub(crate) struct Staged<'a> {
    inner: MutexGuard<'a, Inner>,
    staging: &'a Staging,
    /// Whether the committer is woken when the guard goes.
    wakes: bool,
}

impl Group {
    fn empty(first: Lsn) -> Self {
        Self { first, ..Self::default() }
    }

    fn next_lsn(&self) -> Lsn {
        Lsn(self.first.0 + u64::from(self.frames))
    }

    fn is_empty(&self) -> bool {
        self.frames == 0 && self.releases.is_empty()
    }
}

impl Staging {
    /// Begins to gather frames for a log.
    pub(crate) fn new(log: &dyn GroupLog, poisoned: Gauge) -> Self {
        Self::from(log.next_lsn(), log.is_shared(), poisoned)
    }

    /// The group of a partition that cannot be opened.
    pub(crate) fn failed(cause: &str, poisoned: Gauge) -> Self {
        let staging = Self::from(Lsn(1), false, poisoned);
        staging.fail(cause);
        staging
    }

    /// The group of a partition that is not here: everybody is told so.
    pub(crate) fn elsewhere(partition: u16, poisoned: Gauge) -> Self {
        let staging = Self::from(Lsn(1), false, poisoned);
        staging.end(Unavailable::Elsewhere { partition });
        staging
    }

    fn from(next: Lsn, confirms: bool, poisoned: Gauge) -> Self {
        poisoned.set(0);
        let inner = Inner { group: Group::empty(next), whole: 0, writing: None, idle: false, end: End::Open };
        let (durable, failed) = (AtomicU64::new(next.0 - 1), AtomicBool::new(false));
        Self { inner: Mutex::new(inner), work: Condvar::new(), durable, failed, confirms, poisoned }
    }

    /// Locks the gathering group. When the guard goes, the committer is woken if there is work for it.
    pub(crate) fn lock(&self) -> Staged<'_> {
        Staged { inner: self.inner(), staging: self, wakes: true }
    }

    /// Locks the gathering group for one who will [hand it over](Self::hand_over) in a moment.
    pub(crate) fn lock_for_now(&self) -> Staged<'_> {
        Staged { inner: self.inner(), staging: self, wakes: false }
    }

    /// Wakes the committer, if there is work for it: at once in a partition that is `quiet` otherwise, else when so much is gathered
    /// that it is worth a sync, for the organizations that are next will hand over what they add. What is alone in a quiet
    /// partition (one request, or single debits that were judged together) is not handed over but given back, with `spare`
    /// left to gather in: the caller writes it and then calls [`Self::written`].
    pub(crate) fn hand_over(&self, quiet: bool, spare: Group) -> Result<Group, Group> {
        let mut inner = self.inner();
        // An append to a log of other machines takes so long that the arbiter has better things to do.
        let alone = quiet && !self.confirms && inner.group.releases.len() == 1 && inner.group.frames > 0;
        if alone && inner.writing.is_none() && matches!(inner.end, End::Open) {
            return Ok(inner.take(By::Arbiter, spare));
        }
        if inner.idle && !inner.group.is_empty() && (quiet || inner.group.bytes.len() >= WORTH_A_SYNC) {
            self.work.notify_one();
        }
        Err(spare)
    }

    /// Ends what [`Self::hand_over`] gave back. The committer is woken if something waited for that: a wake for nothing would take
    /// the processor from the next lone request.
    pub(crate) fn written(&self) {
        let mut inner = self.inner();
        inner.writing = None;
        if inner.idle && (!inner.group.is_empty() || !matches!(inner.end, End::Open)) {
            self.work.notify_one();
        }
    }

    /// A panic while the group is locked leaves at most bytes behind its whole frames, which are cut off.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody else may be the owner without a word, so that an answer which rests on no new frame waits for the log's word.
    pub(crate) fn confirms(&self) -> bool {
        self.confirms
    }

    /// Whether the partition stopped.
    pub(crate) fn is_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// The last durable frame.
    pub(crate) fn durable(&self) -> Lsn {
        Lsn(self.durable.load(Ordering::Acquire))
    }

    /// Why the partition stopped, if it did.
    pub(crate) fn failure(&self) -> Option<Unavailable> {
        if !self.is_failed() {
            return None;
        }
        match &self.inner().end {
            End::Ended(failure) => Some(failure.clone()),
            End::Open | End::Closing(_) => None,
        }
    }

    /// Waits for work and takes all of it, leaving `spare` to gather in; `None` when the partition is closing and nothing
    /// is left.
    pub(crate) fn take(&self, spare: Group) -> Option<Group> {
        let mut inner = self.inner();
        if inner.writing == Some(By::Committer) {
            inner.writing = None;
        }
        loop {
            match &inner.end {
                End::Ended(_) => return None,
                _ if inner.writing.is_some() => {}
                End::Open | End::Closing(_) if !inner.group.is_empty() => break,
                End::Closing(why) => {
                    inner.end = End::Ended(why.clone());
                    return None;
                }
                End::Open => {}
            }
            inner.idle = true;
            inner = self.work.wait(inner).unwrap_or_else(PoisonError::into_inner);
            inner.idle = false;
        }
        Some(inner.take(By::Committer, spare))
    }

    /// Lets the committer's next group gather for `pause`, or until the partition is to end. Only the committer waits here, and it is not
    /// `idle` meanwhile: nobody wakes it for work.
    pub(crate) fn gather(&self, pause: Duration) {
        let waits = |inner: &mut Inner| matches!(inner.end, End::Open);
        drop(self.work.wait_timeout_while(self.inner(), pause, waits));
    }

    /// Whether there is something to take.
    pub(crate) fn has_work(&self) -> bool {
        let inner = self.inner();
        !matches!(inner.end, End::Ended(_)) && !inner.group.is_empty()
    }

    /// Notes that everything up to `lsn` is durable.
    pub(crate) fn note_durable(&self, lsn: Lsn) {
        self.durable.store(lsn.0, Ordering::Release);
    }

    /// Lets the committer end when everything staged is written; what comes after that is told `why`.
    pub(crate) fn close(&self, why: Unavailable) {
        let mut inner = self.inner();
        if matches!(inner.end, End::Open) {
            inner.end = End::Closing(why);
        }
        self.work.notify_all();
    }

    /// Stops the partition after a failure.
    pub(crate) fn fail(&self, cause: &str) -> Unavailable {
        self.end(Unavailable::Poisoned { cause: Arc::from(cause) })
    }

    /// Stops the partition: all that waits, and all that comes, is told the first cause.
    pub(crate) fn end(&self, why: Unavailable) -> Unavailable {
        let (releases, failure) = {
            let mut inner = self.inner();
            let failure = match &inner.end {
                End::Ended(first) => first.clone(),
                End::Open | End::Closing(_) => why,
            };
            inner.end = End::Ended(failure.clone());
            inner.group.bytes = Vec::new();
            self.failed.store(true, Ordering::Release);
            if matches!(failure, Unavailable::Poisoned { .. }) {
                self.poisoned.set(1);
            }
            (std::mem::take(&mut inner.group.releases), failure)
        };
        releases.into_iter().for_each(|release| release.release(Err(failure.clone())));
        self.work.notify_all();
        failure
    }
}

impl Inner {
    fn take(&mut self, by: By, mut spare: Group) -> Group {
        self.writing = Some(by);
        let whole = std::mem::take(&mut self.whole);
        self.group.bytes.truncate(whole);
        spare.first = self.group.next_lsn();
        std::mem::replace(&mut self.group, spare)
    }
}

impl Staged<'_> {
    /// The last frame that is staged or written.
    pub(crate) fn last_lsn(&self) -> Lsn {
        Lsn(self.inner.group.next_lsn().0 - 1)
    }

    /// Stages one frame, whose body `encode` appends. After a failure nothing is staged: its replies tell so.
    pub(crate) fn append(&mut self, kind: u8, version: u8, encode: impl FnOnce(&mut Vec<u8>)) -> Lsn {
        let Inner { group, whole, end, .. } = &mut *self.inner;
        if matches!(end, End::Ended(_)) {
            return Lsn(group.next_lsn().0 - 1);
        }
        group.bytes.truncate(*whole);
        let (lsn, index) = (group.next_lsn(), group.frames);
        let start = frame::begin(&mut group.bytes);
        encode(&mut group.bytes);
        frame::finish(&mut group.bytes, start, FrameMeta { lsn, group: index, kind, version });
        group.frames += 1;
        *whole = group.bytes.len();
        lsn
    }

    /// Stages a reply: it leaves when everything staged so far is durable.
    pub(crate) fn release(&mut self, release: Release) {
        let inner = &mut *self.inner;
        match &inner.end {
            End::Ended(failure) => release.release(Err(failure.clone())),
            End::Open | End::Closing(_) if planted::is(Bug::AcknowledgeBeforeSync) => release.release(Ok(())),
            End::Open | End::Closing(_)
                if inner.writing.is_some() || inner.group.frames > 0 || self.staging.confirms =>
            {
                inner.group.releases.push(release);
            }
            End::Open | End::Closing(_) => release.release(Ok(())),
        }
    }

    /// Lets a reply go whose caller does not wait for the disk; a failed partition answers with the cause.
    pub(crate) fn release_at_once(&mut self, release: Release) {
        match &self.inner.end {
            End::Ended(failure) => release.release(Err(failure.clone())),
            End::Open | End::Closing(_) => release.release(Ok(())),
        }
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if self.wakes && self.inner.idle && !self.inner.group.is_empty() {
            self.staging.work.notify_one();
        }
    }
}
