//! The metrics of a server, as far as they are shown: counts, and the histogram of syncs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::telemetry::metric::{BUSY, COMMIT_SECONDS, DEBITS, UNAUTHENTICATED};

/// Counters of a server, at one moment or between two.
#[derive(Clone, Debug, Default)]
pub(super) struct Meters {
    /// By outcome.
    debits: BTreeMap<String, u64>,
    busy: u64,
    unauthenticated: u64,
    /// By partition.
    commits: BTreeMap<u64, Commits>,
}

/// Groups that were written and synced.
#[derive(Clone, Debug, Default)]
pub(super) struct Commits {
    /// How many.
    pub(super) count: u64,
    sum: Duration,
    /// By the time that they took at most.
    buckets: BTreeMap<Duration, u64>,
}

/// What was asked of a server: since it began, or in a span of time.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Traffic {
    /// The span in milliseconds; null for all the time since the server began.
    pub(super) span_ms: Option<u64>,
    /// Debits by outcome.
    pub(super) debits: BTreeMap<String, u64>,
    /// Calls that were refused as busy.
    pub(super) busy: u64,
    /// Calls without a known key.
    pub(super) unauthenticated: u64,
}

impl Meters {
    /// Reads Prometheus text; what is not shown is passed over.
    pub(super) fn read(text: &str) -> Self {
        let mut meters = Self::default();
        for line in text.lines() {
            // A comment, or what has no value, is no sample.
            if let Some((series, value)) = line.rsplit_once(' ').filter(|_| !line.starts_with('#')) {
                meters.take(series, value);
            }
        }
        meters
    }

    fn take(&mut self, series: &str, value: &str) {
        let count = || value.parse::<u64>().unwrap_or_default();
        let name = series.split('{').next().unwrap_or_default();
        match name {
            DEBITS => {
                *self.debits.entry(label(series, "outcome").unwrap_or_default().to_owned()).or_default() +=
                    count();
            }
            BUSY => self.busy = count(),
            UNAUTHENTICATED => self.unauthenticated = count(),
            _ => {}
        }
        let Some(part) = name.strip_prefix(COMMIT_SECONDS) else { return };
        let Some(partition) = label(series, "partition").and_then(|number| number.parse().ok()) else {
            return;
        };
        let commits = self.commits.entry(partition).or_default();
        match part {
            "_count" => commits.count = count(),
            "_sum" => commits.sum = seconds(value).unwrap_or_default(),
            "_bucket" => {
                // The last one has no end, and holds what the count says.
                if let Some(bound) = label(series, "le").and_then(seconds) {
                    commits.buckets.insert(bound, count());
                }
            }
            _ => {}
        }
    }

    /// What was counted since `before`; a server that began anew in between counts from 0.
    pub(super) fn since(&self, before: &Self) -> Self {
        let debits = |(outcome, now): (&String, &u64)| {
            (outcome.clone(), now.saturating_sub(before.debits.get(outcome).copied().unwrap_or_default()))
        };
        let commits =
            |(partition, now): (&u64, &Commits)| (*partition, now.since(&before.commits(*partition)));
        Self {
            debits: self.debits.iter().map(debits).collect(),
            busy: self.busy.saturating_sub(before.busy),
            unauthenticated: self.unauthenticated.saturating_sub(before.unauthenticated),
            commits: self.commits.iter().map(commits).collect(),
        }
    }

    /// The syncs of a partition.
    pub(super) fn commits(&self, partition: u64) -> Commits {
        self.commits.get(&partition).cloned().unwrap_or_default()
    }

    /// What was asked, in `span` or since the server began.
    pub(super) fn traffic(&self, span: Option<Duration>) -> Traffic {
        Traffic {
            span_ms: span.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX)),
            debits: self.debits.clone(),
            busy: self.busy,
            unauthenticated: self.unauthenticated,
        }
    }
}

impl Commits {
    /// How long one took, in the mean; none when there was none.
    pub(super) fn mean(&self) -> Option<Duration> {
        self.sum.checked_div(u32::try_from(self.count).ok()?)
    }

    /// The least bound that so many of 100 kept; none when there was none, or they took longer than any bound.
    pub(super) fn at_most(&self, percent: u64) -> Option<Duration> {
        let kept = |within: u64| within.saturating_mul(100) >= self.count.saturating_mul(percent);
        self.buckets.iter().find(|(_, within)| self.count > 0 && kept(**within)).map(|(bound, _)| *bound)
    }

    fn since(&self, before: &Self) -> Self {
        let within = |(bound, now): (&Duration, &u64)| {
            (*bound, now.saturating_sub(before.buckets.get(bound).copied().unwrap_or_default()))
        };
        Self {
            count: self.count.saturating_sub(before.count),
            sum: self.sum.saturating_sub(before.sum),
            buckets: self.buckets.iter().map(within).collect(),
        }
    }
}

/// The value of a label. Those that are read here have no sign that is written with a backslash.
fn label<'a>(series: &'a str, name: &str) -> Option<&'a str> {
    let (_, labels) = series.split_once('{')?;
    let mut labels = labels.trim_end_matches('}').split(',').filter_map(|label| label.split_once('='));
    labels.find(|(key, _)| *key == name).map(|(_, value)| value.trim_matches('"'))
}

fn seconds(value: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(value.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLIER: &str = "# TYPE tokenweir_debits_total counter
tokenweir_debits_total{partition=\"0\",outcome=\"charged\"} 10
tokenweir_debits_total{partition=\"1\",outcome=\"charged\"} 5
tokenweir_requests_refused_busy_total 1
tokenweir_commit_seconds_bucket{partition=\"0\",le=\"0.001\"} 4
tokenweir_commit_seconds_bucket{partition=\"0\",le=\"0.05\"} 4
tokenweir_commit_seconds_bucket{partition=\"0\",le=\"+Inf\"} 4
tokenweir_commit_seconds_sum{partition=\"0\"} 0.002
tokenweir_commit_seconds_count{partition=\"0\"} 4
";
    const LATER: &str = "tokenweir_debits_total{partition=\"0\",outcome=\"charged\"} 110
tokenweir_debits_total{partition=\"1\",outcome=\"charged\"} 5
tokenweir_requests_refused_busy_total 4
tokenweir_commit_seconds_bucket{partition=\"0\",le=\"0.001\"} 54
tokenweir_commit_seconds_bucket{partition=\"0\",le=\"0.05\"} 104
tokenweir_commit_seconds_bucket{partition=\"0\",le=\"+Inf\"} 104
tokenweir_commit_seconds_sum{partition=\"0\"} 0.202
tokenweir_commit_seconds_count{partition=\"0\"} 104
";

    #[test]
    fn what_was_counted_between_two_readings_is_told() {
        let since = Meters::read(LATER).since(&Meters::read(EARLIER));
        let traffic = since.traffic(None);
        assert_eq!((traffic.debits["charged"], traffic.busy, traffic.unauthenticated), (100, 3, 0));
        let commits = since.commits(0);
        assert_eq!((commits.count, commits.mean()), (100, Some(Duration::from_millis(2))));
        assert_eq!(commits.at_most(50), Some(Duration::from_millis(1)));
        assert_eq!(commits.at_most(99), Some(Duration::from_millis(50)));
    }

    #[test]
    fn without_a_sync_no_time_is_told_and_what_is_no_metric_is_passed_over() {
        let read = Meters::read(EARLIER);
        let none = read.since(&read).commits(0);
        assert_eq!((none.count, none.mean(), none.at_most(99)), (0, None, None));
        let nothing = Meters::read("<html>\nno metrics here\n{} 1\n tokenweir_commit_seconds_count 3");
        assert_eq!((nothing.debits.len(), nothing.commits.len()), (0, 0));
    }

    #[test]
    fn a_server_that_began_anew_counts_from_0() {
        let since = Meters::read(EARLIER).since(&Meters::read(LATER));
        assert_eq!((since.traffic(None).debits["charged"], since.commits(0).count), (0, 0));
    }
}
