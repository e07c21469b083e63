//! Live figures: a stream of server-sent events for each page that shows them.
//!
//! A stream looks at the summary once a second, and what was read for one of an organization is told to all of it; so a debit shares its
//! organization with one more question a second, whoever watches. It ends with its session, when its key is revoked or may no longer
//! read, when the same session opens too many after it, and when the server stops.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_web::HttpResponse;
use actix_web::body::{BodySize, MessageBody};
use actix_web::http::Method;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::Bytes;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};

use crate::domain::limits::{LIVE_PERIOD_MS, LIVE_STREAMS_MAX};
use crate::edge::http::Problem;
use crate::edge::http::route::Right;
use crate::meter::{Action, OrgId, Refusal};
use crate::telemetry::clock;

use super::answer;
use super::route::{Route, page};
use super::summary::Figures;
use super::visit::{self, Visit, Visitor, path_id};

/// What is answered here.
pub(super) const ROUTES: &[Route] =
    &[page("/console/organizations/{org}/live", Right::Read, |visit| Box::pin(open(visit)))];

const PERIOD: Duration = Duration::from_millis(LIVE_PERIOD_MS);
/// How long what was read for one stream counts for the others.
const FRESH: Duration = Duration::from_millis(LIVE_PERIOD_MS * 9 / 10);
/// After how many periods without news a stream says that it is there.
const SILENT_PERIODS: u32 = 10;

/// All streams.
#[derive(Debug)]
pub(super) struct Live {
    open: AtomicUsize,
    most: usize,
    woken: Notify,
    latest: Mutex<HashMap<OrgId, Told>>,
}

/// What was told of an organization, and when it was read.
#[derive(Clone, Debug)]
struct Told {
    at: Instant,
    text: Arc<str>,
}

/// The place of one stream among all; it is free again when this is dropped.
struct Place(Visitor);

/// What a stream does next.
enum Next {
    Tell(Arc<str>),
    End(&'static str),
}

impl Live {
    /// Streams on a server of so many connections: a quarter of them at most.
    pub(super) fn new(connections_max: usize) -> Self {
        let most = LIVE_STREAMS_MAX.min(connections_max / 4).max(1);
        Self { open: AtomicUsize::new(0), most, woken: Notify::new(), latest: Mutex::default() }
    }

    /// Has every stream look at whether it goes on.
    pub(super) fn wake(&self) {
        self.woken.notify_waiters();
    }

    /// How many streams there are.
    pub(super) fn count(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    fn fresh(&self, id: &OrgId, now: Instant) -> Option<Arc<str>> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let told = latest.get(id).filter(|told| now.saturating_duration_since(told.at) < FRESH)?;
        Some(Arc::clone(&told.text))
    }

    fn keep(&self, id: &OrgId, told: Told) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.retain(|_, old| told.at.saturating_duration_since(old.at) < PERIOD);
        latest.insert(id.clone(), told);
    }
}

impl Place {
    fn take(visitor: &Visitor) -> Option<Self> {
        let live = &visitor.console.live;
        let place = Self(visitor.clone());
        let is_free = live.open.fetch_add(1, Ordering::AcqRel) < live.most;
        is_free.then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.console.live.open.fetch_sub(1, Ordering::AcqRel);
    }
}

async fn open(visit: Visit) -> Result<HttpResponse, Problem> {
    let id: OrgId = path_id(&visit.request, "org")?;
    let visitor = visit.visitor;
    visitor.meter.summary(&visitor.principal, &id).await?;
    let mut answer = HttpResponse::Ok();
    answer.insert_header((CONTENT_TYPE, "text/event-stream")).insert_header(("x-accel-buffering", "no"));
    if visit.request.method() == Method::HEAD {
        return Ok(answer.finish());
    }
    let place = Place::take(&visitor).ok_or(Refusal::Busy)?;
    let number = visitor.console.sessions.open_stream(&visitor.session).ok_or(Refusal::Busy)?;
    let (to, events) = mpsc::channel(1);
    actix_rt::spawn(tell(place, id, number, to));
    let mut answer = answer.body(Events(events));
    answer::guard(answer.headers_mut());
    Ok(answer)
}

/// Tells what changed until the stream ends or nobody listens.
async fn tell(place: Place, id: OrgId, number: usize, to: mpsc::Sender<Bytes>) {
    let visitor = &place.0;
    let mut told: Option<Arc<str>> = None;
    let mut silent = 0;
    loop {
        let event = match look(visitor, &id, number, told.is_none()).await {
            Next::Tell(text) if told.as_ref() != Some(&text) => {
                told = Some(Arc::clone(&text));
                Some(format!("data: {text}\n\n"))
            }
            Next::Tell(_) if silent < SILENT_PERIODS => None,
            Next::Tell(_) => Some(":\n\n".to_owned()),
            Next::End(why) => {
                // Whoever is gone already needs no farewell.
                _ = to.try_send(Bytes::from(format!("event: end\ndata: {why}\n\n")));
                return;
            }
        };
        silent = if event.is_some() { 0 } else { silent + 1 };
        match event.map_or(Ok(()), |event| to.try_send(Bytes::from(event))) {
            Ok(()) => {}
            // Whoever does not read is told what holds when he does; nobody waits for him, and his stream ends as any other.
            Err(TrySendError::Full(_)) => told = None,
            Err(TrySendError::Closed(_)) => return,
        }
        tokio::select! {
            () = actix_rt::time::sleep(PERIOD) => {}
            () = visitor.console.live.woken.notified() => {}
            () = to.closed() => return,
        }
    }
}

/// What a stream tells next. Its first figures are of their own moment: what others were told a moment ago may be older than the page.
async fn look(visitor: &Visitor, id: &OrgId, number: usize, is_first: bool) -> Next {
    let now = clock::start();
    if visitor.console.is_stopping() {
        return Next::End("stopping");
    }
    let Ok(principal) = visit::principal(&visitor.state, &visitor.meter, &visitor.session) else {
        return Next::End("signed_out");
    };
    match visitor.console.sessions.has_stream(&visitor.session, number, now) {
        Some(true) if principal.may(Action::Read(id)) => {}
        Some(false) => return Next::End("elsewhere"),
        _ => return Next::End("signed_out"),
    }
    if !is_first && let Some(text) = visitor.console.live.fresh(id, now) {
        return Next::Tell(text);
    }
    match visitor.meter.summary(&principal, id).await {
        Ok(summary) => {
            let text = serde_json::to_string(&Figures::of(&summary)).expect("text is JSON");
            let text: Arc<str> = text.into();
            visitor.console.live.keep(id, Told { at: now, text: Arc::clone(&text) });
            Next::Tell(text)
        }
        Err(_) => Next::End("unavailable"),
    }
}

/// The body of a stream.
struct Events(mpsc::Receiver<Bytes>);

impl MessageBody for Events {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        self.0.poll_recv(cx).map(|event| event.map(Ok))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn org(id: &str) -> OrgId {
        OrgId::new(id).expect("valid")
    }

    #[test]
    fn what_was_read_counts_for_all_streams_of_an_organization_for_less_than_a_period() {
        let (live, now) = (Live::new(1_024), clock::start());
        live.keep(&org("a"), Told { at: now, text: "x".into() });
        assert_eq!(live.fresh(&org("a"), now + FRESH / 2).as_deref(), Some("x"));
        assert_eq!(live.fresh(&org("a"), now + FRESH), None);
        assert_eq!(live.fresh(&org("b"), now), None);
        live.keep(&org("b"), Told { at: now + PERIOD, text: "y".into() });
        let kept = live.latest.lock().expect("no panic").len();
        assert_eq!(kept, 1, "what nobody watches is forgotten");
    }

    #[test]
    fn streams_take_a_quarter_of_the_connections_and_never_all() {
        assert_eq!(
            [1_000_000, 1_024, 100, 3].map(|connections| Live::new(connections).most),
            [256, 256, 25, 1]
        );
    }
}
