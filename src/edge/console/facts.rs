//! What a node tells of itself on the operator's page: of each partition that is here how far it is durable and kept, and what is done at what speed.
//!
//! Rates are told between two looks, whoever looked; the first look after a start tells all the time since then. Other nodes are asked for theirs by the same
//! route, under the key or token of whoever looks, and judge anew whether he may.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};

use crate::edge::http::{self, Problem};
use crate::edge::meters::Meters;
use crate::meter::PartitionStatus;
use crate::telemetry::clock;

use super::visit::{Visit, Visitor};

/// Where a node tells them.
pub(super) const PATH: &str = "/console/server/facts";
/// The shortest time between two looks that a rate is told of.
const LEAST: Duration = Duration::from_secs(2);

/// What a node tells of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Facts {
    pub(super) version: String,
    /// Over which time rates are told, in milliseconds; none for all since the start.
    pub(super) span_ms: Option<u64>,
    /// By outcome.
    pub(super) debits: BTreeMap<String, u64>,
    pub(super) busy: u64,
    pub(super) unknown: u64,
    pub(super) streams: usize,
    pub(super) sessions: usize,
    pub(super) keeps_reports: bool,
    pub(super) partitions: Vec<PartitionFacts>,
}

/// What it tells of a partition.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PartitionFacts {
    pub(super) number: u16,
    pub(super) durable: u64,
    pub(super) snapshot: u64,
    pub(super) groups: u64,
    pub(super) bytes: u64,
    /// How long a sync takes in the mean; none where there was none.
    pub(super) mean_us: Option<u64>,
    /// Within how long 99 of 100 end.
    pub(super) p99_us: Option<u64>,
    pub(super) reports_lag: Option<u64>,
    pub(super) failure: Option<String>,
}

/// The last two looks at the metrics.
#[derive(Debug, Default)]
pub(super) struct Looks(Mutex<Option<Pair>>);

#[derive(Debug)]
struct Pair {
    /// None until there were two.
    before: Option<(Instant, Meters)>,
    last: (Instant, Meters),
}

/// Tells them to another node, or to whoever asks.
pub(super) async fn tell(visit: Visit) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(Facts::of(&visit.visitor)))
}

/// Those of all other nodes; none of one that gave no answer.
pub(super) async fn of_others(visit: &Visit) -> Vec<(String, Option<Facts>)> {
    let guest = visit.visitor.session.guest(None);
    let told = http::ask_others(&visit.request, PATH, guest).await;
    let read = |body: Option<actix_web::web::Bytes>| serde_json::from_slice(&body?).ok();
    told.into_iter().map(|(node, body)| (node, read(body))).collect()
}

impl Facts {
    /// Those of this node.
    pub(super) fn of(visitor: &Visitor) -> Self {
        let meters = Meters::read(&(visitor.state.render_metrics)());
        let (meters, span) = visitor.console.looks.take(clock::start(), meters);
        let traffic = meters.traffic(span);
        let reports = visitor.state.reports().map(|reports| reports.status());
        let lag = |partition: u16| {
            let all = reports.as_ref()?;
            all.iter().find(|one| one.partition == partition).map(|one| one.lag_frames)
        };
        let partition = |status: PartitionStatus| {
            let lag = lag(status.partition);
            PartitionFacts::new(status, &meters, lag)
        };
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            span_ms: traffic.span_ms,
            debits: traffic.debits,
            busy: traffic.busy,
            unknown: traffic.unauthenticated,
            streams: visitor.console.live.count(),
            sessions: visitor.console.sessions.count(clock::start()),
            keeps_reports: reports.is_some(),
            partitions: visitor.meter.status().into_iter().map(partition).collect(),
        }
    }

    /// Whether all partitions that are there serve.
    pub(super) fn is_sound(&self) -> bool {
        self.partitions.iter().all(|partition| partition.failure.is_none())
    }
}

impl PartitionFacts {
    fn new(status: PartitionStatus, meters: &Meters, reports_lag: Option<u64>) -> Self {
        let commits = meters.commits(status.partition.into());
        let us =
            |time: Option<Duration>| time.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        Self {
            number: status.partition,
            durable: status.durable.0,
            snapshot: status.snapshot.0,
            groups: status.groups,
            bytes: status.bytes,
            mean_us: us(commits.mean()),
            p99_us: us(commits.at_most(99)),
            reports_lag,
            failure: status.failure.map(|failure| failure.to_string()),
        }
    }
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
}
