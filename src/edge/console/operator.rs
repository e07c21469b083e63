//! How the server is doing, for operators: its partitions, how far they are durable and kept, what they do at what speed, and what the last
//! start found. In a cluster, of all nodes: the one that is asked asks the others, and names those that gave no answer.

use std::collections::BTreeSet;
use std::time::Duration;

use actix_web::HttpResponse;
use askama::Template;

use crate::edge::http::Problem;
use crate::edge::http::route::Right;
use crate::meter::PartitionRecovery;

use super::answer;
use super::facts::{self, Facts, PartitionFacts};
use super::route::{Route, page};
use super::shell::Shell;
use super::text::{Count, Data, Span, Time};
use super::visit::Visit;

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    page("/console/server", Right::ManageApiKeys, |visit| Box::pin(show(visit))),
    page(facts::PATH, Right::ManageApiKeys, |visit| Box::pin(facts::tell(visit))),
];

/// Outcomes of debits, in the order in which they are told.
const OUTCOMES: [&str; 4] = ["charged", "exempt", "duplicate", "refused"];

#[derive(Template)]
#[template(path = "console/server.html")]
struct ServerPage {
    shell: Shell,
    version: &'static str,
    is_sound: bool,
    /// Of all nodes, this one first; without a name where there is no other.
    nodes: Vec<Node>,
    is_node: bool,
    partitions: Vec<Partition>,
    /// Nodes that gave no answer.
    silent: Vec<String>,
    /// Partitions that no node tells of.
    untold: Vec<u16>,
    keeps_reports: bool,
    recoveries: Vec<Recovery>,
    now: Time,
}

struct Node {
    name: String,
    version: String,
    is_sound: bool,
    /// Over which time rates are told; none for all since the start.
    span: Option<Span>,
    rates: Vec<(&'static str, String)>,
    busy: Data,
    unknown: Data,
    streams: usize,
    sessions: usize,
}

struct Partition {
    number: u16,
    node: String,
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

async fn show(visit: Visit) -> Result<HttpResponse, Problem> {
    let visitor = &visit.visitor;
    let (own, name) = (Facts::of(visitor), visitor.meter.node().unwrap_or_default());
    let (mut all, mut silent) = (vec![(name, own)], Vec::new());
    for (node, facts) in facts::of_others(&visit).await {
        match facts {
            Some(facts) => all.push((node, facts)),
            None => silent.push(node),
        }
    }
    let of_node = |(node, facts): &(String, Facts)| {
        facts.partitions.iter().map(|partition| Partition::new(node, partition)).collect::<Vec<_>>()
    };
    let mut partitions: Vec<_> = all.iter().flat_map(of_node).collect();
    partitions.sort_by(|one, other| (one.number, &one.node).cmp(&(other.number, &other.node)));
    let told: BTreeSet<u16> = partitions.iter().map(|partition| partition.number).collect();
    Ok(answer::page(&ServerPage {
        shell: Shell::of(visitor, &visit.request, "Server"),
        version: env!("CARGO_PKG_VERSION"),
        is_sound: all.iter().all(|(_, facts)| facts.is_sound()),
        keeps_reports: all.iter().any(|(_, facts)| facts.keeps_reports),
        nodes: all.iter().map(|(node, facts)| Node::new(node, facts)).collect(),
        is_node: visitor.meter.is_node(),
        untold: (0..visitor.meter.partitions()).filter(|number| !told.contains(number)).collect(),
        partitions,
        silent,
        recoveries: visitor.meter.recovery().iter().map(Recovery::from).collect(),
        now: Time(visitor.meter.now()),
    }))
}

impl Node {
    fn new(name: &str, facts: &Facts) -> Self {
        let span = facts.span_ms.map(Duration::from_millis);
        let rate = |outcome: &'static str| {
            let count = facts.debits.get(outcome).copied().unwrap_or(0);
            (outcome, span.map_or_else(|| Count(count).to_string(), |span| a_second(count, span)))
        };
        Self {
            name: name.to_owned(),
            version: facts.version.clone(),
            is_sound: facts.is_sound(),
            span: facts.span_ms.map(Span),
            rates: OUTCOMES.into_iter().map(rate).collect(),
            busy: Data(facts.busy),
            unknown: Data(facts.unknown),
            streams: facts.streams,
            sessions: facts.sessions,
        }
    }
}

impl Partition {
    fn new(node: &str, facts: &PartitionFacts) -> Self {
        let told = |us: Option<u64>| us.map_or("—".to_owned(), |us| in_ms(Duration::from_micros(us)));
        Self {
            number: facts.number,
            node: node.to_owned(),
            durable: Data(facts.durable),
            snapshot: Data(facts.snapshot),
            since_snapshot: Data(facts.durable.saturating_sub(facts.snapshot)),
            groups: Data(facts.groups),
            bytes: Data(facts.bytes),
            mean: told(facts.mean_us),
            p99: told(facts.p99_us),
            reports_lag: facts.reports_lag.map(Data),
            failure: facts.failure.clone(),
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
    format!("{}.{}", Count(tenths / 10), tenths % 10)
}

fn in_ms(time: Duration) -> String {
    let us = time.as_micros();
    format!("{}.{:02} ms", us / 1_000, us % 1_000 / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_times_are_told_with_their_fractions() {
        assert_eq!(a_second(0, Duration::from_secs(2)), "0.0");
        assert_eq!(a_second(12_345, Duration::from_secs(10)), "1,234.5");
        assert_eq!(a_second(u64::MAX, Duration::from_millis(1)), "1,844,674,407,370,955,161.5");
        assert_eq!(in_ms(Duration::from_micros(1_234)), "1.23 ms");
        assert_eq!(in_ms(Duration::from_micros(90)), "0.09 ms");
    }
}
