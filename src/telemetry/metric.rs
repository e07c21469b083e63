//! The names of all metrics, once; those of a cluster are in [`cluster`](super::cluster). No metric bears an organization or a camera.

use metrics::{Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram};
use metrics::{Unit, gauge, histogram};

use crate::domain::debit::Outcome;
use crate::domain::pool::Totals;

use super::clock::Clock;

/// Debits judged, by partition and outcome.
pub const DEBITS: &str = "tokenweir_debits_total";
const TOKENS_CHARGED: &str = "tokenweir_tokens_charged_total";
const GROUPS: &str = "tokenweir_journal_groups_total";
const JOURNAL_BYTES: &str = "tokenweir_journal_bytes_total";
/// Seconds a group took to write and sync, by partition: a histogram.
pub const COMMIT_SECONDS: &str = "tokenweir_commit_seconds";
const DURABLE_LSN: &str = "tokenweir_durable_lsn";
const POISONED: &str = "tokenweir_partition_poisoned";
const SNAPSHOTS: &str = "tokenweir_snapshots_total";
const SNAPSHOT_FAILURES: &str = "tokenweir_snapshot_failures_total";
const SNAPSHOT_SECONDS: &str = "tokenweir_snapshot_seconds";
const SNAPSHOT_BYTES: &str = "tokenweir_snapshot_bytes";
const REPORTS_LSN: &str = "tokenweir_reports_lsn";
const REPORTS_LAG: &str = "tokenweir_reports_lag_frames";
const REPORTS_FAILED: &str = "tokenweir_reports_failed";
const ALERTS_LAG: &str = "tokenweir_alerts_lag_frames";
const ALERTS_FAILED: &str = "tokenweir_alerts_failed";
/// Attempts to deliver to webhooks, by what became of them.
pub const WEBHOOK_ATTEMPTS: &str = "tokenweir_webhook_attempts_total";
const WEBHOOK_PENDING: &str = "tokenweir_webhook_deliveries_pending";
const WEBHOOK_OLDEST: &str = "tokenweir_webhook_oldest_pending_seconds";
const REBUILDS: &str = "tokenweir_organization_rebuilds_total";
/// Calls refused as busy.
pub const BUSY: &str = "tokenweir_requests_refused_busy_total";
/// Calls without a known key.
pub const UNAUTHENTICATED: &str = "tokenweir_requests_unauthenticated_total";
const START: &str = "tokenweir_start_time_seconds";

/// Says what each metric means, to the recorder that is installed. What no partition counts is counted from here on.
pub fn describe() {
    describe_counter!(DEBITS, "Debits judged, by outcome");
    describe_counter!(TOKENS_CHARGED, "Tokens charged");
    describe_counter!(GROUPS, "Groups of journal frames made durable, each by one sync");
    describe_counter!(JOURNAL_BYTES, Unit::Bytes, "Bytes of journal frames made durable");
    describe_histogram!(COMMIT_SECONDS, Unit::Seconds, "Time to write and sync one group");
    describe_gauge!(DURABLE_LSN, "The last log sequence number that is durable");
    describe_gauge!(POISONED, "1 when the partition stopped after a failed write or sync");
    describe_counter!(SNAPSHOTS, "Snapshots written");
    describe_counter!(SNAPSHOT_FAILURES, "Snapshots that were not written; the journal is kept");
    describe_histogram!(SNAPSHOT_SECONDS, Unit::Seconds, "Time to encode and write one snapshot");
    describe_gauge!(SNAPSHOT_BYTES, Unit::Bytes, "Size of the newest snapshot");
    describe_gauge!(REPORTS_LSN, "The last log sequence number that the reports hold");
    describe_gauge!(REPORTS_LAG, "Durable frames that the reports do not hold yet");
    describe_gauge!(REPORTS_FAILED, "1 while the reports of the partition do not go on");
    describe_gauge!(ALERTS_LAG, "Durable frames for which alerts are not decided yet");
    describe_gauge!(ALERTS_FAILED, "1 while the alerts of the partition do not go on");
    describe_counter!(WEBHOOK_ATTEMPTS, "Attempts to deliver to webhooks, by outcome");
    describe_gauge!(WEBHOOK_PENDING, "Deliveries to webhooks that wait, those between two attempts included");
    describe_gauge!(
        WEBHOOK_OLDEST,
        Unit::Seconds,
        "For how long the oldest delivery to a webhook has waited"
    );
    describe_counter!(REBUILDS, "Organizations rebuilt from storage after a panic");
    describe_counter!(BUSY, "Requests refused because as much was in flight as is admitted");
    describe_counter!(UNAUTHENTICATED, "Requests refused because they bore no known API key");
    describe_gauge!(START, Unit::Seconds, "When the process began to serve, in seconds since the Unix epoch");
    super::cluster::describe();
    gauge!(START).set(gauge_value(Clock::System.now().ms() / 1_000));
    counter!(BUSY).increment(0);
    counter!(UNAUTHENTICATED).increment(0);
}

/// What the org actors of one partition count.
#[derive(Debug)]
pub struct DebitCounters {
    charged: Counter,
    exempt: Counter,
    duplicate: Counter,
    refused: Counter,
    tokens: Counter,
    /// Organizations rebuilt after a panic.
    pub rebuilds: Counter,
}

impl DebitCounters {
    /// The counters of a partition.
    #[must_use]
    pub fn new(partition: u16) -> Self {
        let partition = partition.to_string();
        let debits =
            |outcome: &'static str| counter!(DEBITS, "partition" => partition.clone(), "outcome" => outcome);
        Self {
            charged: debits("charged"),
            exempt: debits("exempt"),
            duplicate: debits("duplicate"),
            refused: debits("refused"),
            tokens: counter!(TOKENS_CHARGED, "partition" => partition.clone()),
            rebuilds: counter!(REBUILDS, "partition" => partition.clone()),
        }
    }

    /// Counts a judged batch, which brought its pool from the totals `before` to `after`; how many of its debits were refused.
    pub fn count(&self, outcomes: &[Outcome], (before, after): (&Totals, &Totals)) -> u64 {
        let charged = after.debits_charged - before.debits_charged;
        let exempt = after.debits_exempt - before.debits_exempt;
        let count = |outcomes: usize| u64::try_from(outcomes).unwrap_or(u64::MAX);
        let others = count(outcomes.len()) - charged - exempt;
        let is_refused = |outcome: &&Outcome| matches!(outcome, Outcome::Refused(_));
        let refused = if others > 0 { count(outcomes.iter().filter(is_refused).count()) } else { 0 };
        for (counter, n) in [
            (&self.charged, charged),
            (&self.exempt, exempt),
            (&self.duplicate, others - refused),
            (&self.refused, refused),
            (&self.tokens, after.used.minus(before.used).0),
        ] {
            if n > 0 {
                counter.increment(n);
            }
        }
        refused
    }
}

/// What the committer of one partition measures.
#[derive(Debug)]
pub struct CommitMeters {
    /// Groups made durable.
    pub groups: Counter,
    /// Bytes made durable.
    pub bytes: Counter,
    /// Seconds a group took to write and sync.
    pub seconds: Histogram,
    /// The last durable log sequence number.
    pub durable_lsn: Gauge,
}

impl CommitMeters {
    /// The meters of a partition.
    #[must_use]
    pub fn new(partition: u16) -> Self {
        let partition = partition.to_string();
        Self {
            groups: counter!(GROUPS, "partition" => partition.clone()),
            bytes: counter!(JOURNAL_BYTES, "partition" => partition.clone()),
            seconds: histogram!(COMMIT_SECONDS, "partition" => partition.clone()),
            durable_lsn: gauge!(DURABLE_LSN, "partition" => partition.clone()),
        }
    }
}

/// The gauge that is 1 when the partition stopped.
pub fn poisoned(partition: u16) -> Gauge {
    gauge!(POISONED, "partition" => partition.to_string())
}

/// A count as a gauge shows it; exact below 2^53.
#[must_use]
#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "gauges are of floating point")]
pub fn gauge_value(count: u64) -> f64 {
    count as f64
}

/// Counts the snapshots of a partition from 0 on, so that the first one is seen as a rise.
pub fn snapshots_begin(partition: u16) {
    let partition = partition.to_string();
    counter!(SNAPSHOTS, "partition" => partition.clone()).increment(0);
    counter!(SNAPSHOT_FAILURES, "partition" => partition).increment(0);
}

/// Counts a snapshot that was not written, or did not replace what it made superfluous.
pub fn snapshot_failed(partition: u16) {
    counter!(SNAPSHOT_FAILURES, "partition" => partition.to_string()).increment(1);
}

/// Counts a snapshot of `bytes` that took `seconds`.
pub fn snapshot_written(partition: u16, bytes: u32, seconds: f64) {
    let partition = partition.to_string();
    counter!(SNAPSHOTS, "partition" => partition.clone()).increment(1);
    gauge!(SNAPSHOT_BYTES, "partition" => partition.clone()).set(f64::from(bytes));
    histogram!(SNAPSHOT_SECONDS, "partition" => partition).record(seconds);
}

/// Shows how far the reports of a partition reach, how far they lag behind, and whether they do not go on.
pub fn reports(partition: u16, lsn: u64, lag_frames: u64, is_failed: bool) {
    let partition = partition.to_string();
    gauge!(REPORTS_LSN, "partition" => partition.clone()).set(gauge_value(lsn));
    gauge!(REPORTS_LAG, "partition" => partition.clone()).set(gauge_value(lag_frames));
    gauge!(REPORTS_FAILED, "partition" => partition).set(if is_failed { 1 } else { 0 });
}

/// Shows how far the alerts of a partition lag behind, and whether they do not go on.
pub fn alerts(partition: u16, lag_frames: u64, is_failed: bool) {
    let partition = partition.to_string();
    gauge!(ALERTS_LAG, "partition" => partition.clone()).set(gauge_value(lag_frames));
    gauge!(ALERTS_FAILED, "partition" => partition).set(if is_failed { 1 } else { 0 });
}

/// Counts attempts to deliver to webhooks from 0 on, so that the first one is seen as a rise.
pub fn webhooks_begin() {
    for outcome in ["delivered", "failed"] {
        counter!(WEBHOOK_ATTEMPTS, "outcome" => outcome).increment(0);
    }
}

/// Counts an attempt to deliver to a webhook.
pub fn webhook_attempt(is_taken: bool) {
    let outcome = if is_taken { "delivered" } else { "failed" };
    counter!(WEBHOOK_ATTEMPTS, "outcome" => outcome).increment(1);
}

/// Shows how many deliveries to webhooks wait, and for how many seconds the oldest does.
pub fn webhooks_pending(count: u64, oldest_s: u64) {
    gauge!(WEBHOOK_PENDING).set(gauge_value(count));
    gauge!(WEBHOOK_OLDEST).set(gauge_value(oldest_s));
}

/// Counts a request that bore no known API key.
pub fn unauthenticated() {
    counter!(UNAUTHENTICATED).increment(1);
}

/// Counts a request that was refused as busy.
pub fn refused_busy() {
    counter!(BUSY).increment(1);
}
