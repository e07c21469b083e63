//! The metrics of a node of a cluster, once. What no node told is not there: a server without a cluster shows none of them.

use metrics::{Counter, Gauge, Histogram, Unit, counter, gauge, histogram};
use metrics::{describe_counter, describe_gauge, describe_histogram};

use super::metric::gauge_value;

/// 1 while this node serves the partition, by partition.
pub const OWNED: &str = "tokenweir_cluster_owned";
const MISPLACED: &str = "tokenweir_cluster_misplaced";
const TAKEOVERS: &str = "tokenweir_cluster_takeovers_total";
const TAKEOVER_FAILURES: &str = "tokenweir_cluster_takeover_failures_total";
const TAKEOVER_SECONDS: &str = "tokenweir_cluster_takeover_seconds";
const LOSSES: &str = "tokenweir_cluster_losses_total";
const HEARD: &str = "tokenweir_cluster_heard";
const HEARD_AGE: &str = "tokenweir_cluster_heard_age_seconds";
const TABLE_REVISION: &str = "tokenweir_cluster_table_revision";
const TABLE_WRITES: &str = "tokenweir_cluster_table_writes_total";
const APPEND_SECONDS: &str = "tokenweir_cluster_append_seconds";
/// Bytes of a group of journal frames, by partition: a histogram.
pub const GROUP_BYTES: &str = "tokenweir_cluster_group_bytes";
const APPENDS: &str = "tokenweir_cluster_appends_total";
const STALLED: &str = "tokenweir_cluster_stalled";
const STALLS: &str = "tokenweir_cluster_stalls_total";
const CARRIED: &str = "tokenweir_cluster_carried_requests_total";
const CARRIED_SECONDS: &str = "tokenweir_cluster_carried_seconds";

const COPIES: &str = "tokenweir_cluster_copies_total";

const CARRIED_OUTCOMES: [&str; 2] = ["answered", "unanswered"];

/// Says what each metric means, to the recorder that is installed.
pub(super) fn describe() {
    describe_gauge!(OWNED, "1 while this node serves the partition");
    describe_gauge!(MISPLACED, "Partitions that this node serves and that are placed on another");
    describe_counter!(TAKEOVERS, "Partitions taken over, by why they could be");
    describe_counter!(TAKEOVER_FAILURES, "Takeovers that did not end in serving; they are tried again");
    describe_histogram!(
        TAKEOVER_SECONDS,
        Unit::Seconds,
        "Time from a lease to serving: fence, snapshot, replay"
    );
    describe_counter!(LOSSES, "Partitions left, by why");
    describe_gauge!(HEARD, "1 while the servers carry what this node says");
    describe_gauge!(
        HEARD_AGE,
        Unit::Seconds,
        "Time since a node was heard, by node; NaN once it is forgotten"
    );
    describe_gauge!(TABLE_REVISION, "Revision of the newest table of leases that this node knows");
    describe_counter!(TABLE_WRITES, "Changes of the table of leases that this node asked for, by outcome");
    describe_histogram!(
        APPEND_SECONDS,
        Unit::Seconds,
        "Time until an append to a replicated log was resolved"
    );
    describe_counter!(
        COPIES,
        "Copies of reports and alerts that were to be kept with the journal, by of what and by outcome"
    );
    describe_histogram!(GROUP_BYTES, Unit::Bytes, "Bytes of a group of journal frames");
    describe_counter!(APPENDS, "Appends to replicated logs, by outcome");
    describe_gauge!(STALLED, "1 while a stream of journals keeps nothing");
    describe_counter!(STALLS, "Times that a stream of journals began to keep nothing");
    describe_counter!(CARRIED, "Requests for organizations of other nodes, by whether their owner answered");
    describe_histogram!(
        CARRIED_SECONDS,
        Unit::Seconds,
        "Time until a request for another node's organization was answered, or given up"
    );
}

/// Counts from 0 on what a node counts, so that the first of each is seen as a rise.
pub fn begin(vacancies: &[&'static str], departures: &[&'static str]) {
    vacancies.iter().for_each(|cause| counter!(TAKEOVERS, "cause" => *cause).increment(0));
    departures.iter().for_each(|cause| counter!(LOSSES, "cause" => *cause).increment(0));
    counter!(TAKEOVER_FAILURES).increment(0);
    ["stored", "refused", "unknown"].into_iter().for_each(|outcome| table_writes(outcome).increment(0));
    CARRIED_OUTCOMES.into_iter().for_each(|outcome| counter!(CARRIED, "outcome" => outcome).increment(0));
}

/// The gauge that is 1 while this node serves the partition.
pub fn owned(partition: u16) -> Gauge {
    gauge!(OWNED, "partition" => partition.to_string())
}

/// Shows how many partitions are placed elsewhere, whether this node is heard, and which table it knows.
pub fn known(misplaced: usize, is_heard: bool, revision: u64) {
    gauge!(MISPLACED).set(gauge_value(u64::try_from(misplaced).unwrap_or(u64::MAX)));
    gauge!(HEARD).set(if is_heard { 1 } else { 0 });
    gauge!(TABLE_REVISION).set(gauge_value(revision));
}

/// Shows how long ago a node was heard; none when it is forgotten.
pub fn heard(node: &str, age_s: Option<f64>) {
    gauge!(HEARD_AGE, "node" => node.to_owned()).set(age_s.unwrap_or(f64::NAN));
}

/// The counter of changes of the table with this outcome.
pub fn table_writes(outcome: &'static str) -> Counter {
    counter!(TABLE_WRITES, "outcome" => outcome)
}

/// Counts a takeover that took so many seconds.
pub fn taken(cause: &'static str, seconds: f64) {
    counter!(TAKEOVERS, "cause" => cause).increment(1);
    histogram!(TAKEOVER_SECONDS).record(seconds);
}

/// Counts a takeover that did not end in serving.
pub fn not_taken() {
    counter!(TAKEOVER_FAILURES).increment(1);
}

/// Counts a copy of what follows a partition that was to be kept, and whether it was.
pub fn copied(of: &'static str, is_kept: bool) {
    let outcome = if is_kept { "kept" } else { "failed" };
    counter!(COPIES, "of" => of, "outcome" => outcome).increment(1);
}

/// Counts a partition that is left.
pub fn left(cause: &'static str) {
    counter!(LOSSES, "cause" => cause).increment(1);
}

/// Shows whether the stream of the journals keeps nothing, and counts that it began to.
pub fn stalled(is_stalled: bool) {
    gauge!(STALLED).set(if is_stalled { 1 } else { 0 });
    counter!(STALLS).increment(u64::from(is_stalled));
}

/// Counts a request for an organization of another node, which took so many seconds to be answered or given up.
pub fn carried(is_answered: bool, seconds: f64) {
    let outcome = CARRIED_OUTCOMES[usize::from(!is_answered)];
    counter!(CARRIED, "outcome" => outcome).increment(1);
    histogram!(CARRIED_SECONDS).record(seconds);
}

/// What is measured of the appends to the log of one partition.
#[derive(Debug)]
pub struct AppendMeters {
    /// Seconds until an append was resolved.
    pub seconds: Histogram,
    /// Bytes of a group.
    pub group_bytes: Histogram,
    /// Kept, as the first answer said.
    pub stored: Counter,
    /// The answer was lost, or said nothing; kept all the same, or when it was sent again.
    pub resolved: Counter,
    /// Refused: another node owns the partition.
    pub refused: Counter,
    /// It stayed unknown, or what became of it shows another owner.
    pub ended: Counter,
}

impl AppendMeters {
    /// The meters of a partition.
    #[must_use]
    pub fn new(partition: u16) -> Self {
        let partition = partition.to_string();
        let appends =
            |outcome: &'static str| counter!(APPENDS, "partition" => partition.clone(), "outcome" => outcome);
        Self {
            seconds: histogram!(APPEND_SECONDS, "partition" => partition.clone()),
            group_bytes: histogram!(GROUP_BYTES, "partition" => partition.clone()),
            stored: appends("stored"),
            resolved: appends("resolved"),
            refused: appends("refused"),
            ended: appends("ended"),
        }
    }
}
