//! What all requests share: the meter once it is open, the bounds, and what is taken of them.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::config::Config;
use crate::meter::{Meter, Refusal};

use super::problem::Problem;

/// The bounds of the edge.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest body, in bytes.
    pub body_bytes_max: u64,
    /// Most bytes of bodies held at once.
    pub bodies_bytes_max: u64,
    /// Most debits of one body.
    pub batch_debits_max: usize,
    /// Most open connections.
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
    bodies_bytes: AtomicU64,
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
            bodies_bytes: AtomicU64::new(0),
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

    /// Takes room for a body, which is free again when the answer is dropped. Without it, as many bodies as there are
    /// connections would have to fit into memory.
    pub(super) fn take_room(&self) -> Room<'_> {
        Room { state: self, bytes: 0 }
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
    bytes: u64,
}

impl Room<'_> {
    /// Takes room for `bytes` more.
    ///
    /// # Errors
    /// When too much of other bodies is held already.
    pub(super) fn grow(&mut self, bytes: u64) -> Result<(), Problem> {
        self.bytes += bytes;
        let taken = self.state.bodies_bytes.fetch_add(bytes, Ordering::AcqRel).saturating_add(bytes);
        let most = self.state.limits.bodies_bytes_max;
        if taken > most { Err(Problem::from(Refusal::Busy).with_limit(most)) } else { Ok(()) }
    }

    /// How much it took.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.state.bodies_bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// One open connection; it is counted until it closes.
#[derive(Debug)]
pub(super) struct Seat {
    state: std::sync::Arc<State>,
    /// Whether it was one too many.
    pub(super) is_over: bool,
}

impl Seat {
    pub(super) fn take(state: &std::sync::Arc<State>) -> Self {
        let before = state.connections.fetch_add(1, Ordering::AcqRel);
        Self { state: std::sync::Arc::clone(state), is_over: before >= state.limits.connections_max }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.state.connections.fetch_sub(1, Ordering::AcqRel);
    }
}
