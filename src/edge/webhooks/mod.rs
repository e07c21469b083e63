//! Webhooks: what alerts write down is sent to the endpoints that want it, signed.
//!
//! A thread looks for what is due and calls endpoints, each delivery on a thread of its own, a few at once and never two of one
//! endpoint: an endpoint that hangs holds up itself alone. What an endpoint answers is not read. An attempt that is cut off by the
//! end of the process is made again, under the same id: endpoints pass over what they have seen.
//!
//! Invariants: nothing here is waited for by a debit or a reader; no address is called that was not checked. Deliberately absent:
//! redirects, proxies, and the decision what there is to send.

mod address;
mod sign;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::transport::DefaultConnector;

use crate::alerts::{Alerting, Attempt, Due};
use crate::config::Networks;
use crate::meter::{OrgId, WebhookId};
use crate::telemetry::{clock, metric};

use super::tls;
use address::Guarded;

pub use sign::{KEY_FILE, Secret, Secrets, WebhookKey, WebhookKeyError};

/// How often it is looked for what is due.
const LOOK: Duration = Duration::from_millis(250);
/// How many looks pass before it is counted again what waits.
const LOOKS_A_COUNT: u64 = 40;
/// Most deliveries on their way at once.
const CALLS_MAX: usize = 8;
/// How long a stop waits for those on their way.
const GRACE: Duration = Duration::from_secs(1);
/// How far the threads stand back behind those that serve, by the system's scale.
const BACKGROUND_NICE: i32 = 15;

/// Who is called: a webhook of an organization.
type Endpoint = (OrgId, WebhookId);

/// Sends deliveries until it is stopped.
pub struct Sender {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    alerting: Arc<Alerting>,
    key: Arc<WebhookKey>,
    agent: Agent,
    stop: AtomicBool,
    /// The endpoints that are being called.
    busy: Mutex<BTreeSet<Endpoint>>,
    done: Condvar,
}

impl Sender {
    /// Starts to send what `alerting` has to send: within `timeout` each, and to these networks beside the internet.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(
        alerting: Arc<Alerting>,
        key: Arc<WebhookKey>,
        private: Networks,
        timeout: Duration,
    ) -> std::io::Result<Self> {
        metric::webhooks_begin();
        let (agent, stop) = (agent(private, timeout), AtomicBool::new(false));
        let (busy, done) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { alerting, key, agent, stop, busy, done });
        let sends = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("weir-webhooks".to_owned()).spawn(move || sends.run())?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Ends it. Deliveries on their way get a moment; what is not finished then is made again by the next start.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        drop(self.shared.busy());
        self.shared.done.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            drop(thread.join());
            let waits = |busy: &mut BTreeSet<_>| !busy.is_empty();
            drop(self.shared.done.wait_timeout_while(self.shared.busy(), GRACE, waits));
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl Shared {
    fn run(self: &Arc<Self>) {
        // On Linux this is of the thread alone.
        _ = rustix::process::setpriority_process(None, BACKGROUND_NICE);
        let (mut last, mut looks) = (None, 0_u64);
        while !self.stop.load(Ordering::Relaxed) {
            let is_busy = |organization: &OrgId, webhook: &WebhookId| {
                self.busy().contains(&(organization.clone(), webhook.clone()))
            };
            for due in after(last.as_ref(), self.alerting.due(&is_busy)) {
                if self.busy().len() >= CALLS_MAX {
                    break;
                }
                last = Some(endpoint(&due));
                self.begin(due);
            }
            if looks.is_multiple_of(LOOKS_A_COUNT) {
                let (pending, oldest) = self.alerting.pending();
                metric::webhooks_pending(pending, oldest.as_secs());
            }
            looks += 1;
            let busy = self.busy();
            if !self.stop.load(Ordering::Relaxed) {
                drop(self.done.wait_timeout(busy, LOOK));
            }
        }
    }

    /// Calls an endpoint on a thread of its own.
    fn begin(self: &Arc<Self>, due: Due) {
        let endpoint = endpoint(&due);
        self.busy().insert(endpoint.clone());
        let shared = Arc::clone(self);
        let work = move || {
            _ = rustix::process::setpriority_process(None, BACKGROUND_NICE);
            let call = std::panic::AssertUnwindSafe(|| shared.deliver(&due));
            if std::panic::catch_unwind(call).is_err() {
                tracing::error!(webhook = %due.webhook.id, "a delivery ended in a defect; it is made again");
            }
            shared.busy().remove(&(due.organization, due.webhook.id));
            shared.done.notify_all();
        };
        if let Err(error) = std::thread::Builder::new().name("weir-webhook".to_owned()).spawn(work) {
            tracing::warn!(%error, "no thread to call a webhook");
            self.busy().remove(&endpoint);
        }
    }

    fn deliver(&self, due: &Due) {
        let attempt = self.call(due);
        metric::webhook_attempt(attempt.is_taken());
        let mut random = [0; 8];
        // Without it the wait is the shortest that is due.
        _ = getrandom::fill(&mut random);
        if let Err(error) = self.alerting.record(due, &attempt, u64::from_le_bytes(random)) {
            tracing::warn!(%error, "an attempt to call a webhook could not be written down; it is made again");
        }
    }

    fn call(&self, due: &Due) -> Attempt {
        let (at, begun) = (self.alerting.now(), clock::start());
        let seconds = at.ms() / 1_000;
        let secrets = self.key.secrets(&due.organization, &due.webhook, at);
        let answer = self
            .agent
            .post(due.webhook.url.as_str())
            .header("content-type", "application/json")
            .header("webhook-id", &due.id)
            .header("webhook-timestamp", seconds.to_string())
            .header("webhook-signature", secrets.signatures(&due.id, seconds, &due.message))
            .send(&due.message);
        let (status, error) = match answer {
            Ok(answer) if answer.status().is_success() => (Some(answer.status().as_u16()), None),
            Ok(answer) => {
                let status = answer.status().as_u16();
                let what = if answer.status().is_redirection() { "; redirects are not followed" } else { "" };
                (Some(status), Some(format!("the endpoint answers with the status {status}{what}")))
            }
            Err(ureq::Error::Other(cause)) => (None, Some(cause.to_string())),
            Err(error) => (None, Some(error.to_string())),
        };
        let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        Attempt { at, took_ms, status, error }
    }

    fn busy(&self) -> MutexGuard<'_, BTreeSet<Endpoint>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whom a delivery is for.
fn endpoint(due: &Due) -> Endpoint {
    (due.organization.clone(), due.webhook.id.clone())
}

/// The same deliveries, beginning after the endpoint that was called last: each has its turn.
fn after(last: Option<&Endpoint>, mut due: Vec<Due>) -> Vec<Due> {
    due.sort_by_key(endpoint);
    let first = turn_after(last, &due.iter().map(endpoint).collect::<Vec<_>>());
    due.rotate_left(first);
    due
}

/// The place of the first of these endpoints, which are in order, that comes after another one; their number where none does.
fn turn_after(last: Option<&Endpoint>, endpoints: &[Endpoint]) -> usize {
    endpoints.partition_point(|endpoint| last.is_some_and(|last| endpoint <= last))
}

fn agent(private: Networks, timeout: Duration) -> Agent {
    let roots = rustls_native_certs::load_native_certs().certs;
    let roots: Vec<_> = roots.iter().map(|root| Certificate::from_der(root).to_owned()).collect();
    let trust = TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&roots))
        .unversioned_rustls_crypto_provider(tls::provider());
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .max_redirects(0)
        .max_idle_connections(0)
        .timeout_global(Some(timeout))
        .user_agent(concat!("tokenweir/", env!("CARGO_PKG_VERSION")))
        .tls_config(trust.build());
    Agent::with_parts(config.build(), DefaultConnector::default(), Guarded::new(private))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_has_its_turn_however_many_are_due() {
        let endpoint = |org: &str, webhook: &str| -> Endpoint {
            (OrgId::new(org).expect("valid"), WebhookId::new(webhook).expect("valid"))
        };
        let all = [endpoint("a", "v"), endpoint("a", "w"), endpoint("b", "v"), endpoint("c", "v")];
        let mut called = vec![0; all.len()];
        let mut last = None;
        for _ in 0..8 {
            let place = turn_after(last.as_ref(), &all) % all.len();
            called[place] += 1;
            last = Some(all[place].clone());
        }
        assert_eq!(called, [2; 4]);
        let gone = endpoint("b", "a");
        assert_eq!(turn_after(Some(&gone), &all), 2, "one that is not due any more");
    }
}
