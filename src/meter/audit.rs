//! The trail of administrative acts: recorded before they are carried out, and again with what became of them.
//!
//! What is recorded: organizations created, licenses added, cameras registered and removed, Unlimited AI Licenses bound and unbound, transfers
//! begun, reservations released by an administrator, thresholds and webhooks set, API keys made and revoked, settings read again; and what was refused of these. An act that cannot be
//! recorded is not carried out. An act of the embedding host is recorded as that of `host`, without an address: the program is trusted, and
//! knows itself who asked. Deliberately absent: debits, reservations of gateways, and reads. How it is read is in
//! [`trail`](super::trail).

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::actors::auditor::Order;
use crate::actors::engine::Engine;
use crate::actors::messages::Unavailable;
use crate::domain::ids::{ActorId, OrgId};
use crate::domain::limits::{AUDIT_CALLERS_MAX, AUDIT_REFUSALS_MAX, AUDIT_WINDOW_MS};
use crate::domain::time::Timestamp;
use crate::storage::audit::{Act, End};
use crate::telemetry::clock;

use super::access::{Bearer, Principal};
use super::error::Error;
use super::open::Meter;

/// The outcome of an act that was carried out.
const DONE: &str = "done";
/// The outcome of an act of the host that failed.
const FAILED: &str = "failed";

/// Where a call came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// By which edge.
    pub edge: Edge,
    /// From which address.
    pub peer: Option<IpAddr>,
}

/// What calls come in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// The program that embeds the meter.
    Host,
    /// HTTP.
    Http,
    /// gRPC.
    Grpc,
    /// The console.
    Console,
}

/// What somebody wants to do, as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// The act, as a stable code.
    pub act: &'static str,
    /// The organizations that it is about.
    pub organizations: Vec<OrgId>,
    /// What in them: a license key, a camera, an API key.
    pub target: Option<String>,
}

/// Who acts, and whence.
#[derive(Clone, Debug)]
pub(super) struct Actor {
    id: ActorId,
    bearer: Option<Arc<Bearer>>,
    origin: Origin,
}

/// Refusals of each caller within a while, so that nobody fills the log with them.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<HashMap<ActorId, Window>>);

#[derive(Clone, Copy, Debug)]
struct Window {
    begun: Instant,
    recorded: u32,
    unrecorded: u64,
}

impl Origin {
    /// The program itself.
    pub const HOST: Self = Self { edge: Edge::Host, peer: None };
}

impl Edge {
    fn code(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Http => "http",
            Self::Grpc => "grpc",
            Self::Console => "console",
        }
    }
}

impl Deed {
    /// An act in one organization.
    #[must_use]
    pub fn within(organization: &OrgId, act: &'static str, target: impl Into<Option<String>>) -> Self {
        Self { act, organizations: vec![organization.clone()], target: target.into() }
    }
}

impl Actor {
    pub(super) fn new(who: &Principal, origin: Origin) -> Self {
        let bearer = if let Principal::Token(bearer) = who { Some(Arc::clone(bearer)) } else { None };
        Self { id: who.actor(), bearer, origin }
    }

    pub(super) fn id(&self) -> &ActorId {
        &self.id
    }

    fn act(&self, deed: Deed, at: Timestamp) -> Act {
        let Deed { act, organizations, target } = deed;
        Act {
            at,
            actor: self.id.clone(),
            issuer: self.bearer.as_ref().map(|bearer| bearer.issuer.clone()),
            subject: self.bearer.as_ref().map(|bearer| bearer.subject.clone()),
            edge: self.origin.edge.code().to_owned(),
            peer: self.origin.peer.map(|peer| peer.to_canonical().to_string()),
            act: act.to_owned(),
            organizations,
            target,
        }
    }
}

impl Refusals {
    /// Whether one more refusal is recorded; then with how many before it were not.
    fn note(&self, caller: &ActorId, now: Instant) -> Option<u64> {
        let mut callers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if callers.len() >= AUDIT_CALLERS_MAX && !callers.contains_key(caller) {
            callers.clear();
        }
        let window =
            callers.entry(caller.clone()).or_insert(Window { begun: now, recorded: 0, unrecorded: 0 });
        if now.saturating_duration_since(window.begun) >= Duration::from_millis(AUDIT_WINDOW_MS) {
            (window.begun, window.recorded) = (now, 0);
        }
        if window.recorded >= AUDIT_REFUSALS_MAX {
            window.unrecorded = window.unrecorded.saturating_add(1);
            return None;
        }
        window.recorded += 1;
        Some(std::mem::take(&mut window.unrecorded))
    }
}

/// Records an act, carries it out, and records what became of it. The outcome is durable soon after the answer; a crash before leaves it `unknown`.
pub(super) async fn witnessed<T>(
    engine: &Engine,
    actor: &Actor,
    deed: Deed,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    recorded(engine, actor, deed, work, |error| error.code()).await?
}

/// The same, whatever the work fails with; `code` gives its code.
async fn recorded<T, E>(
    engine: &Engine,
    actor: &Actor,
    deed: Deed,
    work: impl Future<Output = Result<T, E>>,
    code: impl FnOnce(&E) -> &'static str,
) -> Result<Result<T, E>, Error> {
    let Some(auditor) = &engine.auditor else { return Ok(work.await) };
    let act = actor.act(deed, engine.clock.now());
    let open = auditor.begin(act)?.await.unwrap_or(Err(Unavailable::Closing))?;
    let done = work.await;
    open.end(done.as_ref().map_or_else(code, |_| DONE));
    Ok(done)
}

impl Meter {
    /// The same meter, for calls that came in so: it is recorded with what they do.
    #[must_use]
    pub fn seen_from(&self, origin: Origin) -> Self {
        let mut seen = self.clone();
        seen.origin = origin;
        seen
    }

    /// Records that somebody was refused an administrative act before the meter was asked to carry it out.
    pub fn note_refused(&self, who: &Principal, deed: Deed, code: &str) {
        let Some(auditor) = &self.engine.auditor else { return };
        let actor = Actor::new(who, self.origin);
        if let Some(unrecorded) = self.refusals.note(&actor.id, clock::start()) {
            let act = actor.act(deed, self.now());
            auditor.send(Order::End(act, End { begun: None, outcome: code.to_owned(), unrecorded }));
        }
    }

    /// Records an act of the program that embeds the meter, and carries it out. One that fails is recorded as `failed`.
    ///
    /// # Errors
    /// When it cannot be recorded; then it was not carried out.
    pub async fn witness<T, E>(
        &self,
        deed: Deed,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<Result<T, E>, Error> {
        let actor = Actor::new(&Principal::Host, self.origin);
        recorded(&self.engine, &actor, deed, async { work() }, |_| FAILED).await
    }
}
