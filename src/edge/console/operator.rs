//! How the server is doing, for operators: its partitions, how far they are durable and kept, what they do at what speed, and what the last
//! start found.
//!
//! Rates are told between two looks, whoever looked; the first look after a start tells all the time since then.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::HttpResponse;
use askama::Template;

use crate::edge::http::Problem;
use crate::edge::http::route::Right;
use crate::edge::meters::Meters;
use crate::meter::{PartitionRecovery, PartitionStatus};
use crate::reports::ReportsStatus;
use crate::telemetry::clock;

use super::answer;
use super::route::{Route, page};
use super::shell::Shell;
use super::text::{Data, Span, Time};
use super::visit::Visit;

/// What is answered here.
pub(super) const ROUTES: &[Route] =
    &[page("/console/server", Right::ManageApiKeys, |visit| Box::pin(show(visit)))];

/// The shortest time between two looks that a rate is told of.
const LEAST: Duration = Duration::from_secs(2);
/// Outcomes of debits, in the order in which they are told.
const OUTCOMES: [&str; 4] = ["charged", "exempt", "duplicate", "refused"];

/// The last two looks at the metrics.
#[derive(Debug, Default)]
pub(super) struct Looks(Mutex<Option<Pair>>);

#[derive(Debug)]
struct Pair {
    /// None until there were two.
    before: Option<(Instant, Meters)>,
    last: (Instant, Meters),
}

#[derive(Template)]
#[template(path = "console/server.html")]
struct ServerPage {
    shell: Shell,
    version: &'static str,
    is_sound: bool,
    /// Over which time rates are told; none for all since the start.
    span: Option<Span>,
    rates: Vec<(&'static str, String)>,
    busy: Data,
    unknown: Data,
    partitions: Vec<Partition>,
    keeps_reports: bool,
    recoveries: Vec<Recovery>,
    streams: usize,
    sessions: usize,
    now: Time,
}

struct Partition {
    number: u16,
    durable: Data,
    snapshot: Data,
    since_snapshot: Data,
    groups: Data,
    bytes: Data,
    mean: String,
    p99: String,
    reports_lag: Option<Data>,
    failure: Option<String>,
}

/// How the run before had ended.
enum Closed {
    /// There was none.
    New,
    Cleanly,
    NotCleanly,
}

struct Recovery {
    number: u16,
    snapshot: Data,
    frames: Option<Data>,
    segments: u32,
    organizations: usize,
    closed: Closed,
    found: Vec<String>,
}

impl Looks {
    /// What was counted between the last two looks, of which this is one unless another was a moment ago; and how long that took.
    fn take(&self, now: Instant, meters: Meters) -> (Meters, Option<Duration>) {
        let mut pair = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = match pair.take() {
            None => Pair { before: None, last: (now, meters) },
            Some(Pair { last, .. }) if now.saturating_duration_since(last.0) >= LEAST => {
                Pair { before: Some(last), last: (now, meters) }
            }
            Some(recent) => recent,
        };
        let told = match &last {
            Pair { before: Some((then, before)), last: (at, meters) } => {
                (meters.since(before), Some(at.saturating_duration_since(*then)))
            }
            Pair { last: (_, meters), .. } => (meters.clone(), None),
        };
        *pair = Some(last);
        told
    }
}

async fn show(visit: Visit) -> Result<HttpResponse, Problem> {
    let visitor = &visit.visitor;
    let meters = Meters::read(&(visitor.state.render_metrics)());
    let (meters, span) = visitor.console.looks.take(clock::start(), meters);
    let traffic = meters.traffic(span);
    let rate = |outcome: &'static str| {
        let count = traffic.debits.get(outcome).copied().unwrap_or(0);
        (outcome, span.map_or_else(|| super::text::Count(count).to_string(), |span| a_second(count, span)))
    };
    let reports = visitor.state.reports().map(|reports| reports.status());
    let status = visitor.meter.status();
    let is_sound = status.iter().all(|partition| partition.failure.is_none());
    let partitions = status.into_iter().map(|status| {
        let lag = reports.as_ref().and_then(|all| all.iter().find(|one| one.partition == status.partition));
        Partition::new(status, &meters, lag)
    });
    Ok(answer::page(&ServerPage {
        shell: Shell::of(visitor, &visit.request, "Server"),
        version: env!("CARGO_PKG_VERSION"),
        is_sound,
        span: span.map(|span| Span(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))),
        rates: OUTCOMES.into_iter().map(rate).collect(),
        busy: Data(traffic.busy),
        unknown: Data(traffic.unauthenticated),
        partitions: partitions.collect(),
        keeps_reports: reports.is_some(),
        recoveries: visitor.meter.recovery().iter().map(Recovery::from).collect(),
        streams: visitor.console.live.count(),
        sessions: visitor.console.sessions.count(clock::start()),
        now: Time(visitor.meter.now()),
    }))
}

impl Partition {
    fn new(status: PartitionStatus, meters: &Meters, reports: Option<&ReportsStatus>) -> Self {
        let commits = meters.commits(status.partition.into());
        let told = |time: Option<Duration>| time.map_or("—".to_owned(), in_ms);
        Self {
            number: status.partition,
            durable: Data(status.durable.0),
            snapshot: Data(status.snapshot.0),
            since_snapshot: Data(status.durable.0.saturating_sub(status.snapshot.0)),
            groups: Data(status.groups),
            bytes: Data(status.bytes),
            mean: told(commits.mean()),
            p99: told(commits.at_most(99)),
            reports_lag: reports.map(|reports| Data(reports.lag_frames)),
            failure: status.failure.map(|failure| failure.to_string()),
        }
    }
}

impl From<&PartitionRecovery> for Recovery {
    fn from(recovery: &PartitionRecovery) -> Self {
        let journal = recovery.journal.as_ref();
        let is_new = recovery.snapshot.0 == 0 && journal.is_some_and(|journal| journal.segments == 0);
        let closed = match recovery.clean {
            _ if is_new => Closed::New,
            true => Closed::Cleanly,
            false => Closed::NotCleanly,
        };
        let torn = journal.and_then(|journal| journal.torn.as_ref()).map(|torn| {
            format!("{} bytes of an unfinished write were cut; nothing in them was acknowledged", torn.bytes)
        });
        let removed = journal.map_or(0, |journal| journal.removed.len());
        let removed = (removed > 0).then(|| format!("{removed} unfinished files were removed"));
        let skipped =
            recovery.skipped_snapshots.iter().map(|why| format!("a snapshot was passed over: {why}"));
        Self {
            number: recovery.partition,
            snapshot: Data(recovery.snapshot.0),
            frames: journal.map(|journal| Data(journal.frames)),
            segments: journal.map_or(0, |journal| journal.segments),
            organizations: recovery.organizations,
            closed,
            found: recovery.damage.iter().cloned().chain(torn).chain(removed).chain(skipped).collect(),
        }
    }
}

/// So many in this time, as a rate with one digit after the point.
fn a_second(count: u64, span: Duration) -> String {
    let tenths = u128::from(count) * 10_000 / span.as_millis().max(1);
    let tenths = u64::try_from(tenths).unwrap_or(u64::MAX);
    format!("{}.{}", super::text::Count(tenths / 10), tenths % 10)
}

fn in_ms(time: Duration) -> String {
    let us = time.as_micros();
    format!("{}.{:02} ms", us / 1_000, us % 1_000 / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_told_between_two_looks_that_are_far_enough_apart() {
        let (looks, begun) = (Looks::default(), clock::start());
        let counted = |n: u64| {
            Meters::read(&format!("tokenweir_debits_total{{partition=\"0\",outcome=\"charged\"}} {n}"))
        };
        let charged = |meters: &Meters| meters.traffic(None).debits["charged"];
        let (first, span) = looks.take(begun, counted(10));
        assert_eq!((charged(&first), span), (10, None), "all since the start");
        let (_, span) = looks.take(begun + LEAST / 2, counted(15));
        assert_eq!(span, None, "it is too early to tell a rate");
        let (second, span) = looks.take(begun + LEAST, counted(30));
        assert_eq!((charged(&second), span), (20, Some(LEAST)));
        let (again, _) = looks.take(begun + LEAST, counted(31));
        assert_eq!(charged(&again), 20, "another viewer at the same time is told the same");
    }

    #[test]
    fn rates_and_times_are_told_with_their_fractions() {
        assert_eq!(a_second(0, LEAST), "0.0");
        assert_eq!(a_second(12_345, Duration::from_secs(10)), "1,234.5");
        assert_eq!(a_second(u64::MAX, Duration::from_millis(1)), "1,844,674,407,370,955,161.5");
        assert_eq!(in_ms(Duration::from_micros(1_234)), "1.23 ms");
        assert_eq!(in_ms(Duration::from_micros(90)), "0.09 ms");
    }
}
