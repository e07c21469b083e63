//! Stands between the replay and the server, counts what was acknowledged, and can be closed.
//!
//! While it is closed no batch is on its way, so that what is counted, what is stored and what is served can be compared.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, RwLock, RwLockWriteGuard};

use crossbeam::channel::Sender;

use super::replay_tally::{Count, Tally};
use super::replay_target::{Item, SendError, ServerTarget, Target, Verdict};

/// What the client knows of the server.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// What was acknowledged.
    acknowledged: Tally,
    /// Rows whose answer was lost, with their tokens.
    lost: BTreeMap<u64, u64>,
}

impl Seen {
    /// Acknowledged as charged or exempt.
    pub(super) fn judged(&self) -> Count {
        let (charged, exempt) = (self.charged(), self.exempt());
        Count { debits: charged.debits + exempt.debits, tokens: charged.tokens + exempt.tokens }
    }

    /// Acknowledged as charged.
    pub(super) fn charged(&self) -> Count {
        self.acknowledged.all_charged()
    }

    /// Acknowledged as exempt.
    pub(super) fn exempt(&self) -> Count {
        self.acknowledged.all_exempt()
    }

    /// Sent and not answered: each of these may have been carried out.
    pub(super) fn lost(&self) -> Count {
        let debits = u64::try_from(self.lost.len()).unwrap_or(u64::MAX);
        Count { debits, tokens: self.lost.values().sum() }
    }

    fn add(&mut self, items: &[Item], sent: &Result<Vec<Verdict>, SendError>) {
        match sent {
            Ok(verdicts) => {
                for (item, verdict) in items.iter().zip(verdicts) {
                    self.lost.remove(&item.row);
                    self.acknowledged.add(item, verdict);
                }
            }
            Err(_) => self.lost.extend(items.iter().map(|item| (item.row, item.tokens))),
        }
    }
}

/// The gate.
pub(super) struct Gate {
    target: RwLock<ServerTarget>,
    seen: Mutex<Seen>,
    in_flight: AtomicUsize,
    given_up: AtomicBool,
    signal_at_row: u64,
    signal: Sender<()>,
}

/// The gate while it is closed.
pub(super) struct Closed<'a> {
    target: RwLockWriteGuard<'a, ServerTarget>,
    seen: Seen,
}

impl Gate {
    /// An open gate, which gives a signal just before it sends the row.
    pub(super) fn new(target: ServerTarget, signal_at_row: u64, signal: Sender<()>) -> Self {
        Self {
            target: RwLock::new(target),
            seen: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            given_up: AtomicBool::new(false),
            signal_at_row,
            signal,
        }
    }

    /// Batches that are on their way now.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Waits until nothing is on its way, and lets nothing pass until it is opened again.
    pub(super) fn close(&self) -> Closed<'_> {
        let target = self.target.write().expect("sending does not panic");
        let seen = self.seen.lock().expect("counting does not panic").clone();
        Closed { target, seen }
    }

    /// Refuses everything from now on.
    pub(super) fn give_up(&self) {
        self.given_up.store(true, Ordering::Release);
    }
}

impl Closed<'_> {
    /// What was acknowledged until now.
    pub(super) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Opens the gate to another server.
    pub(super) fn reopen(mut self, target: ServerTarget) {
        *self.target = target;
    }
}

impl Target for Gate {
    fn send(&self, items: &[Item]) -> Result<Vec<Verdict>, SendError> {
        let target = self.target.read().expect("sending does not panic");
        if self.given_up.load(Ordering::Acquire) {
            return Err(SendError::Final("the demo gave up".to_owned()));
        }
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        if items.iter().any(|item| item.row == self.signal_at_row) {
            // The receiver may have heard what it waited for already.
            _ = self.signal.send(());
        }
        let sent = target.send(items);
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
        self.seen.lock().expect("counting does not panic").add(items, &sent);
        sent
    }
}
