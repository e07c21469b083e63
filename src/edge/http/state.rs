//! What all requests share: the meter once it is open, the bounds, and what is taken of them.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::config::Config;
use crate::meter::{ActorId, Meter, Refusal};

use super::problem::Problem;

/// The bounds of the edge.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest body, in bytes.
    pub body_bytes_max: u64,
    /// Most bytes of bodies held at once; of one key a quarter, and at least one body.
    pub bodies_bytes_max: u64,
    /// Most debits of one body.
    pub batch_debits_max: usize,
    /// Most connections that may ask for anything at once.
    pub connections_max: usize,
    /// Longest time that a request head, and then a body, may take to arrive, in milliseconds.
    pub request_timeout_ms: u64,
    /// Longest time that a caller of a transfer waits for its end, in milliseconds.
    pub transfer_wait_ms: u64,
}

impl From<&Config> for Limits {
    fn from(config: &Config) -> Self {
        Self {
            body_bytes_max: config.body_bytes_max,
            bodies_bytes_max: config.bodies_bytes_max,
            batch_debits_max: config.batch_debits_max,
            connections_max: config.connections_max,
            request_timeout_ms: config.request_timeout_ms,
            transfer_wait_ms: config.transfer_wait_ms,
        }
    }
}

/// Renders the metrics as Prometheus text.
pub type RenderMetrics = Box<dyn Fn() -> String + Send + Sync>;

/// What all requests share.
pub struct State {
    pub(super) limits: Limits,
    pub(super) render_metrics: RenderMetrics,
    pub(super) connections: AtomicUsize,
    meter: OnceLock<Meter>,
    bodies: Mutex<Bodies>,
}

/// The bytes of bodies that are held.
#[derive(Debug, Default)]
struct Bodies {
    all: u64,
    by_key: HashMap<ActorId, u64>,
}

impl State {
    /// The state while the meter is being opened.
    #[must_use]
    pub fn new(limits: Limits, render_metrics: RenderMetrics) -> Self {
        Self {
            limits,
            render_metrics,
            connections: AtomicUsize::new(0),
            meter: OnceLock::new(),
            bodies: Mutex::default(),
        }
    }

    /// Serves this meter from now on.
    ///
    /// # Panics
    /// When a meter is served already.
    pub fn serve(&self, meter: Meter) {
        self.meter.set(meter).expect("a server opens one meter");
    }

    /// The meter; none while it is being opened.
    pub(super) fn meter(&self) -> Option<&Meter> {
        self.meter.get()
    }

    /// Most connections that may ask for anything at once.
    pub(super) fn connections_max(&self) -> usize {
        self.limits.connections_max
    }

    /// Room for a body of the bearer of `key`, which is free again when it is dropped. Without it, as many bodies as there are
    /// connections would have to fit into memory.
    pub(super) fn room(&self, key: ActorId) -> Room<'_> {
        Room { state: self, key, bytes: 0 }
    }

    /// The most bytes of bodies that are held for one key: a quarter of all, and at least one body.
    fn key_bytes_max(&self) -> u64 {
        (self.limits.bodies_bytes_max / 4).max(self.limits.body_bytes_max)
    }

    fn bodies(&self) -> MutexGuard<'_, Bodies> {
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Room that a body takes.
#[derive(Debug)]
pub(super) struct Room<'a> {
    state: &'a State,
    key: ActorId,
    bytes: u64,
}

impl Room<'_> {
    /// How much it is.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes more.
    ///
    /// # Errors
    /// Busy, when too much is held already: of this key, or of all.
    pub(super) fn grow(&mut self, bytes: u64) -> Result<(), Problem> {
        let mut bodies = self.state.bodies();
        let of_key = bodies.by_key.get(&self.key).copied().unwrap_or(0).saturating_add(bytes);
        let all = bodies.all.saturating_add(bytes);
        let busy = |limit| Err(Problem::from(Refusal::Busy).with_limit(limit));
        if of_key > self.state.key_bytes_max() {
            return busy(self.state.key_bytes_max());
        }
        if all > self.state.limits.bodies_bytes_max {
            return busy(self.state.limits.bodies_bytes_max);
        }
        bodies.all = all;
        bodies.by_key.insert(self.key.clone(), of_key);
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        let mut bodies = self.state.bodies();
        bodies.all -= self.bytes;
        if let Some(of_key) = bodies.by_key.get_mut(&self.key) {
            *of_key -= self.bytes;
            if *of_key == 0 {
                bodies.by_key.remove(&self.key);
            }
        }
    }
}
