//! What all requests share: the meter once it is open, the bounds, and what is taken of them.

use std::fmt;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};

use tokio::sync::Semaphore;

use crate::alerts::Alerting;
use crate::config::Config;
use crate::domain::limits::CARRIED_MAX;
use crate::edge::bearers::Bearers;
use crate::edge::budget::{Budget, Room};
use crate::edge::license_key::Trusted;
use crate::edge::webhooks::WebhookKey;
use crate::meter::{ActorId, Meter};
use crate::reports::Reports;

use super::idempotency::Requests;

/// The bounds of the edge.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest body, in bytes.
    pub body_bytes_max: u64,
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
            batch_debits_max: config.batch_debits_max,
            connections_max: config.connections_max,
            request_timeout_ms: config.request_timeout_ms,
            transfer_wait_ms: config.transfer_wait_ms,
        }
    }
}

/// Renders the metrics as Prometheus text.
pub type RenderMetrics = Box<dyn Fn() -> String + Send + Sync>;

/// What keeps a server from serving that is open: a word for programs and a sentence for people; none when nothing does.
pub type Trouble = Box<dyn Fn() -> Option<(&'static str, String)> + Send + Sync>;

/// What all requests share.
pub struct State {
    pub(in crate::edge) limits: Limits,
    pub(in crate::edge) render_metrics: RenderMetrics,
    pub(super) connections: AtomicUsize,
    pub(in crate::edge) issuers: Arc<Trusted>,
    pub(super) requests: Requests,
    pub(super) carrying: Semaphore,
    pub(in crate::edge) bearers: Arc<Bearers>,
    meter: OnceLock<Meter>,
    reports: OnceLock<Arc<Reports>>,
    alerting: OnceLock<Arc<Alerting>>,
    webhook_key: OnceLock<Arc<WebhookKey>>,
    trouble: OnceLock<Trouble>,
    budget: Arc<Budget>,
}

impl State {
    /// The state while the meter is being opened.
    #[must_use]
    pub fn new(
        limits: Limits,
        issuers: Arc<Trusted>,
        (budget, bearers): (Arc<Budget>, Arc<Bearers>),
        render_metrics: RenderMetrics,
    ) -> Self {
        let (connections, requests) = (AtomicUsize::new(0), Requests::default());
        let carrying = Semaphore::new(CARRIED_MAX);
        let (meter, reports) = (OnceLock::new(), OnceLock::new());
        let (alerting, webhook_key) = (OnceLock::new(), OnceLock::new());
        Self {
            limits,
            render_metrics,
            connections,
            issuers,
            requests,
            carrying,
            bearers,
            meter,
            reports,
            alerting,
            webhook_key,
            trouble: OnceLock::new(),
            budget,
        }
    }

    /// Serves this meter from now on.
    ///
    /// # Panics
    /// When a meter is served already.
    pub fn serve(&self, meter: Meter) {
        self.meter.set(meter).expect("a server opens one meter");
    }

    /// Answers from these reports from now on.
    pub fn report(&self, reports: Arc<Reports>) {
        _ = self.reports.set(reports);
    }

    /// Answers from these alerts from now on, and shows secrets that are derived from this key.
    pub fn alert(&self, alerting: Arc<Alerting>, key: Option<Arc<WebhookKey>>) {
        _ = self.alerting.set(alerting);
        if let Some(key) = key {
            _ = self.webhook_key.set(key);
        }
    }

    /// Carries nothing on to other nodes any more.
    pub fn part(&self) {
        self.carrying.close();
    }

    /// Tells from now on that it is not ready while there is trouble.
    pub fn watch(&self, trouble: Trouble) {
        _ = self.trouble.set(trouble);
    }

    /// What keeps it from serving, beside its partitions.
    pub(super) fn trouble(&self) -> Option<(&'static str, String)> {
        self.trouble.get().and_then(|trouble| trouble())
    }

    /// The alerts; none where none are decided.
    pub(in crate::edge) fn alerting(&self) -> Option<&Arc<Alerting>> {
        self.alerting.get()
    }

    /// The key of webhooks; none where it cannot be used.
    pub(in crate::edge) fn webhook_key(&self) -> Option<&Arc<WebhookKey>> {
        self.webhook_key.get()
    }

    /// The reports; none where none are kept.
    pub(in crate::edge) fn reports(&self) -> Option<&Arc<Reports>> {
        self.reports.get()
    }

    /// The meter; none while it is being opened.
    pub(in crate::edge) fn meter(&self) -> Option<&Meter> {
        self.meter.get()
    }

    /// Whether there are other nodes, which own what is not here.
    pub(super) fn is_node(&self) -> bool {
        self.meter().is_some_and(Meter::is_node)
    }

    /// Most connections that may ask for anything at once.
    pub(super) fn connections_max(&self) -> usize {
        self.limits.connections_max
    }

    /// Room for a body of the bearer of `key`.
    pub(super) fn room(&self, key: ActorId) -> Room {
        self.budget.room(key)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("limits", &self.limits).finish_non_exhaustive()
    }
}
