//! The thread that writes the audit log: acts before they are carried out, outcomes after them, many with one sync.
//!
//! An act that could not be recorded is not carried out. A log that cannot be opened, or fails once, records nothing
//! more until a restart, and says why; debits are not its business and go on. Pages are read by the same thread, so that they show what was
//! recorded before.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, unbounded};
use tokio::sync::oneshot;

use crate::domain::ids::Lsn;
use crate::domain::limits::ACTS_OPEN_MAX;
use crate::domain::refusal::Refusal;
use crate::storage::Fault;
use crate::storage::audit::{Act, AuditLog, End, Page};

use super::messages::Unavailable;

/// The outcome of an act of which it is not known whether it was carried out: the server stopped, or its caller left, before the answer.
const UNKNOWN: &str = "unknown";
/// Most frames of one group.
const GROUP_FRAMES_MAX: usize = 256;

/// Who is told the frame of a recorded act.
type Reply<T> = oneshot::Sender<Result<T, Unavailable>>;
/// Where an act stands in its group, the act, and who waits for it.
type Beginning = (usize, Act, Reply<OpenAct>);
/// Which acts a page holds.
pub(crate) type Wanted = Box<dyn Fn(&Act) -> bool + Send>;

/// The way to the thread that writes the audit log.
pub(crate) struct Auditor {
    orders: Sender<Order>,
    open: Arc<AtomicUsize>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread is to do.
pub(crate) enum Order {
    /// Record that an act begins.
    Begin(Act, Reply<OpenAct>),
    /// Record an outcome.
    End(Act, End),
    /// Read a page.
    Page(PageOrder, Reply<Page>),
    /// Do what was ordered before, and end.
    Close,
}

/// An act that was recorded and has no outcome yet. Dropped without one, wherever its caller left it, its outcome is unknown.
pub(crate) struct OpenAct {
    orders: Sender<Order>,
    act: Option<Act>,
    begun: Lsn,
}

/// Which page.
pub(crate) struct PageOrder {
    pub(crate) below: Option<Lsn>,
    pub(crate) rows: usize,
    pub(crate) wanted: Wanted,
}

impl Auditor {
    /// Starts the thread on a log, or on the reason why there is none.
    pub(crate) fn start(opened: Result<(AuditLog, Vec<(Lsn, Act)>), Fault>) -> std::io::Result<Self> {
        let (orders, incoming) = unbounded();
        let open = Arc::new(AtomicUsize::new(0));
        let log = match opened {
            Ok((log, lost)) => {
                open.fetch_add(lost.len(), Ordering::Relaxed);
                for (begun, act) in lost {
                    drop(OpenAct { orders: orders.clone(), act: Some(act), begun });
                }
                Ok(log)
            }
            Err(fault) => {
                tracing::error!(%fault, "the audit log does not open: no administrative act is carried out");
                Err(Arc::from(fault.to_string()))
            }
        };
        let mut writer = Writer { log, orders: orders.clone(), open: Arc::clone(&open) };
        let thread = std::thread::Builder::new().name("weir-audit".to_owned());
        let thread = thread.spawn(move || writer.run(&incoming))?;
        Ok(Self { orders, open, thread: Mutex::new(Some(thread)) })
    }

    /// Records an act; it may be carried out when it is durable.
    ///
    /// # Errors
    /// When too many acts are open, or none can be recorded.
    pub(crate) fn begin(&self, act: Act) -> Result<oneshot::Receiver<Result<OpenAct, Unavailable>>, Refusal> {
        if self.open.fetch_add(1, Ordering::Relaxed) >= ACTS_OPEN_MAX {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return Err(Refusal::Busy);
        }
        let (reply, begun) = oneshot::channel();
        self.send(Order::Begin(act, reply));
        Ok(begun)
    }

    /// Has the thread do something; nothing when the log is closed, and who waits for an answer is told so.
    pub(crate) fn send(&self, order: Order) {
        _ = self.orders.send(order);
    }

    /// Records what was ordered, then ends the thread.
    pub(crate) fn close(&self) {
        self.send(Order::Close);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the audit log ended in a defect");
        }
    }
}

impl fmt::Debug for Auditor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auditor").field("open", &self.open).finish_non_exhaustive()
    }
}

impl OpenAct {
    /// Records what became of it.
    pub(crate) fn end(mut self, outcome: &str) {
        self.record(outcome);
    }

    fn record(&mut self, outcome: &str) {
        if let Some(act) = self.act.take() {
            let end = End { begun: Some(self.begun), outcome: outcome.to_owned(), unrecorded: 0 };
            _ = self.orders.send(Order::End(act, end));
        }
    }
}

impl Drop for OpenAct {
    fn drop(&mut self) {
        self.record(UNKNOWN);
    }
}

struct Writer {
    log: Result<AuditLog, Arc<str>>,
    orders: Sender<Order>,
    open: Arc<AtomicUsize>,
}

impl Writer {
    fn run(&mut self, orders: &Receiver<Order>) {
        let mut is_closed = false;
        while !is_closed && let Ok(first) = orders.recv() {
            let (mut frames, mut begun, mut pages) = (Vec::new(), Vec::new(), Vec::new());
            for order in std::iter::once(first).chain(orders.try_iter()).take(GROUP_FRAMES_MAX) {
                match order {
                    Order::Begin(act, reply) => {
                        begun.push((frames.len(), act.clone(), reply));
                        frames.push((act, None));
                    }
                    Order::End(act, end) => {
                        let is_act = usize::from(end.begun.is_some());
                        self.open.fetch_sub(is_act, Ordering::Relaxed);
                        frames.push((act, Some(end)));
                    }
                    Order::Page(page, reply) => pages.push((page, reply)),
                    Order::Close => is_closed = true,
                }
            }
            self.write(frames, begun);
            for (page, reply) in pages {
                _ = reply.send(self.page(&page));
            }
        }
    }

    fn write(&mut self, frames: Vec<(Act, Option<End>)>, begun: Vec<Beginning>) {
        if frames.is_empty() {
            return;
        }
        let log = self.log.as_mut().map_err(|cause| Arc::clone(cause));
        let written = log.and_then(|log| log.append(frames).map_err(|fault| Arc::from(fault.to_string())));
        match written {
            Ok(first) => {
                for (place, act, reply) in begun {
                    let begun = Lsn(first.0 + u64::try_from(place).expect("a group is short"));
                    // One whose caller left comes back, and is dropped.
                    drop(reply.send(Ok(OpenAct { orders: self.orders.clone(), act: Some(act), begun })));
                }
            }
            Err(cause) => {
                if self.log.is_ok() {
                    tracing::error!(
                        "the audit log stopped: {cause}; no administrative act is carried out from now on"
                    );
                    self.log = Err(Arc::clone(&cause));
                }
                self.open.fetch_sub(begun.len(), Ordering::Relaxed);
                for (_, _, reply) in begun {
                    _ = reply.send(Err(Unavailable::Unaudited { cause: Arc::clone(&cause) }));
                }
            }
        }
    }

    fn page(&self, PageOrder { below, rows, wanted }: &PageOrder) -> Result<Page, Unavailable> {
        let unaudited = |cause: Arc<str>| Unavailable::Unaudited { cause };
        let log = self.log.as_ref().map_err(|cause| unaudited(Arc::clone(cause)))?;
        log.page(*below, *rows, wanted).map_err(|fault| unaudited(fault.to_string().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::ActorId;
    use crate::domain::time::Timestamp;
    use crate::storage::layout::{DirectoryId, Layout};
    use crate::storage::{Disk, SimDisk, audit};

    fn start(disk: &SimDisk) -> Auditor {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let home = audit::home(&disk, &Layout::new("d"), DirectoryId([7; 16]));
        Auditor::start(AuditLog::open(home)).expect("a thread")
    }

    fn act(name: &str) -> Act {
        Act {
            at: Timestamp::FIRST,
            actor: ActorId::new("host").expect("an id"),
            issuer: None,
            subject: None,
            edge: "host".to_owned(),
            peer: None,
            act: name.to_owned(),
            organizations: Vec::new(),
            target: None,
        }
    }

    fn begin(auditor: &Auditor, name: &str) -> Result<OpenAct, Unavailable> {
        auditor.begin(act(name)).expect("there is room").blocking_recv().expect("the thread answers")
    }

    /// What became of all acts, newest first.
    fn outcomes(auditor: &Auditor) -> Vec<(String, String)> {
        let (reply, page) = oneshot::channel();
        auditor.send(Order::Page(PageOrder { below: None, rows: 100, wanted: Box::new(|_| true) }, reply));
        let page = page.blocking_recv().expect("the thread answers").expect("readable");
        page.acts.into_iter().map(|ended| (ended.act.act, ended.end.outcome)).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(act, outcome)| ((*act).to_owned(), (*outcome).to_owned())).collect()
    }

    #[test]
    fn what_a_crash_interrupted_is_unknown_after_the_next_start() {
        let disk = SimDisk::new();
        let auditor = start(&disk);
        begin(&auditor, "first").expect("recorded").end("done");
        let open = begin(&auditor, "second").expect("recorded");
        assert_eq!(outcomes(&auditor), pairs(&[("first", "done")]));
        let crashed = disk.restart();
        drop(open);
        auditor.close();
        let auditor = start(&crashed);
        assert_eq!(outcomes(&auditor), pairs(&[("second", "unknown"), ("first", "done")]));
        auditor.close();
    }

    #[test]
    fn after_one_failed_sync_nothing_is_begun_any_more_and_its_cause_is_told() {
        let disk = SimDisk::new();
        let auditor = start(&disk);
        begin(&auditor, "first").expect("recorded").end("done");
        assert_eq!(outcomes(&auditor).len(), 1);
        disk.fail_sync(0);
        for name in ["second", "third"] {
            match begin(&auditor, name) {
                Err(Unavailable::Unaudited { cause }) => assert!(cause.contains("sync"), "{cause}"),
                other => panic!("it was {}", other.map_or("refused otherwise", |_| "begun")),
            }
        }
        assert_eq!(auditor.open.load(Ordering::Relaxed), 0);
        auditor.close();
    }

    #[test]
    fn no_more_acts_are_open_than_may_be() {
        let auditor = start(&SimDisk::new());
        let open: Vec<_> = (0..ACTS_OPEN_MAX).map(|_| begin(&auditor, "act").expect("recorded")).collect();
        assert_eq!(auditor.begin(act("one more")).err(), Some(Refusal::Busy));
        drop(open);
        drop(outcomes(&auditor));
        begin(&auditor, "one more").expect("there is room").end("done");
        auditor.close();
    }
}
