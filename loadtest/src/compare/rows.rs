//! What is compared with what, and how far ahead it has to be.

use serde::Serialize;

use super::Figures;
use crate::number::{largest, median, spread, u64_of};

/// How far ahead a row has to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bar {
    /// So many times the reference.
    AtLeast(f64),
    /// At most so many times the reference: lower is better.
    RatioAtMost(f64),
    /// At most this much: there is no reference.
    AtMost(f64),
    /// At most this much in every round; the largest is told.
    NeverAbove(f64),
    /// It is told, whatever it is.
    Stated,
}

/// A row before it is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec {
    id: &'static str,
    /// The figure that is ours, and its unit.
    ours: (&'static str, &'static str),
    /// The figure beside it, and what it is.
    reference: Option<(&'static str, &'static str)>,
    bar: Bar,
}

/// A row with its figures.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// Its name.
    pub(crate) id: &'static str,
    /// Our figure, the median of the rounds; the largest where it is never to be above its bar.
    pub(crate) ours: f64,
    /// The unit of both figures.
    pub(crate) unit: &'static str,
    /// What the other figure is.
    pub(crate) reference: Option<&'static str>,
    /// The other figure, the median of the rounds.
    pub(crate) reference_value: Option<f64>,
    /// Ours divided by the other, the median of the rounds' ratios.
    pub(crate) ratio: Option<f64>,
    /// What it has to reach.
    pub(crate) bar: Option<f64>,
    /// Whether it has; none where nothing is asked.
    pub(crate) met: Option<bool>,
    /// Rounds.
    pub(crate) rounds: u64,
    /// How far the rounds lie apart, as a part of their median: of the ratio, or of ours where there is none.
    pub(crate) spread: f64,
}

const RATE: &str = "debits/s";

/// All rows, in the order in which they are told.
pub(crate) const ROWS: &[Spec] = &[
    beside(
        "embedded_batches",
        "embedded_batches",
        RATE,
        ("plain_loop", "plain loop of one core"),
        Bar::AtLeast(0.5),
    ),
    beside(
        "embedded_singles",
        "embedded_singles",
        RATE,
        ("redis_single_everysec", "redis, one script a debit, pipelined, everysec"),
        Bar::AtLeast(12.0),
    ),
    beside(
        "embedded_singles_vs_redis_always",
        "embedded_singles",
        RATE,
        ("redis_single_always", "redis, one script a debit, pipelined, always"),
        Bar::Stated,
    ),
    beside(
        "embedded_serial_p50",
        "embedded_serial_p50",
        "us",
        ("fdatasync_p50", "bare fdatasync, p50"),
        Bar::RatioAtMost(1.3),
    ),
    beside(
        "http_json_500",
        "http_json",
        RATE,
        ("http_echo", "http echo that only parses"),
        Bar::AtLeast(0.4),
    ),
    beside(
        "http_json_500_vs_redis",
        "http_json",
        RATE,
        ("redis_500_everysec", "redis, 500 a call, everysec, the faster script"),
        Bar::AtLeast(1.0),
    ),
    beside(
        "http_json_500_vs_redis_always",
        "http_json",
        RATE,
        ("redis_500_always", "redis, 500 a call, always, the faster script"),
        Bar::Stated,
    ),
    beside(
        "grpc_columns_512",
        "grpc_columns",
        RATE,
        ("grpc_echo", "grpc echo that only decodes and acknowledges"),
        Bar::AtLeast(0.5),
    ),
    beside(
        "grpc_columns_512_vs_redis",
        "grpc_columns",
        RATE,
        ("redis_500_everysec", "redis, 500 a call, everysec, the faster script"),
        Bar::AtLeast(12.0),
    ),
    beside(
        "grpc_columns_512_vs_postgres",
        "grpc_columns",
        RATE,
        ("postgres_500", "postgresql, 500 a call, 4 clients"),
        Bar::AtLeast(40.0),
    ),
    beside(
        "grpc_singles",
        "grpc_singles",
        RATE,
        ("redis_single_everysec", "redis, one script a debit, pipelined, everysec"),
        Bar::AtLeast(7.0),
    ),
    beside(
        "grpc_client",
        "grpc_client",
        RATE,
        ("redis_single_everysec", "redis, one script a debit, pipelined, everysec"),
        Bar::AtLeast(20.0),
    ),
    beside(
        "embedded_batches_vs_redis",
        "embedded_batches",
        RATE,
        ("redis_500_everysec", "redis, 500 a call, everysec, the faster script"),
        Bar::Stated,
    ),
    beside(
        "embedded_singles_vs_postgres",
        "embedded_singles_many",
        RATE,
        ("postgres_single", "postgresql, one statement a debit, 1,000 organizations, 16 clients"),
        Bar::AtLeast(80.0),
    ),
    beside(
        "http_json_500_vs_postgres",
        "http_json",
        RATE,
        ("postgres_500", "postgresql, 500 a call, 4 clients"),
        Bar::Stated,
    ),
    beside(
        "embedded_batches_vs_tigerbeetle",
        "embedded_batches",
        RATE,
        ("tigerbeetle_8189", "tigerbeetle, one replica, 8,189 a batch, one hot account"),
        Bar::AtLeast(80.0),
    ),
    beside(
        "grpc_columns_512_vs_tigerbeetle",
        "grpc_columns",
        RATE,
        ("tigerbeetle_500", "tigerbeetle, one replica, 500 a batch, one hot account"),
        Bar::AtLeast(60.0),
    ),
    beside(
        "embedded_serial_vs_tigerbeetle",
        "embedded_serial",
        RATE,
        ("tigerbeetle_1", "tigerbeetle, one replica, 1 a batch, one hot account"),
        Bar::AtLeast(2.5),
    ),
    beside(
        "p99_with_snapshots",
        "p99_snapshots",
        "us",
        ("p99_no_snapshots", "the same without snapshots"),
        Bar::RatioAtMost(1.5),
    ),
    beside(
        "max_with_snapshots",
        "max_snapshots",
        "us",
        ("max_no_snapshots", "the same without snapshots"),
        Bar::Stated,
    ),
    alone("slowest_sync_with_snapshots", "slowest_sync", "us", Bar::Stated),
    alone("longest_beyond_the_disk", "beyond_the_disk", "us", Bar::NeverAbove(50_000.0)),
    beside(
        "p99_beside_a_flood",
        "p99_flooded",
        "us",
        ("p99_alone", "the quiet organization alone"),
        Bar::RatioAtMost(3.0),
    ),
    beside(
        "p99_beside_spinning_threads",
        "p99_spun",
        "us",
        ("p99_alone", "the quiet organization alone"),
        Bar::Stated,
    ),
    alone("flood_refused", "flood_refused", RATE, Bar::Stated),
    alone("flood_not_admitted", "flood_not_admitted", RATE, Bar::Stated),
    alone("recovery_replay", "replay_seconds", "s for 10 M debits", Bar::AtMost(1.0)),
    alone("recovery_snapshot", "snapshot_seconds", "s for 1 M cameras", Bar::AtMost(1.0)),
    alone("serve_ready", "ready_ms", "ms", Bar::AtMost(100.0)),
    alone("memory_camera", "camera_bytes", "bytes a camera", Bar::AtMost(96.0)),
    alone("memory_event_id", "event_id_bytes", "bytes an event id", Bar::AtMost(16.0)),
    alone("memory_event_id_counted", "event_id_counted", "bytes an event id", Bar::Stated),
    alone("disk_batches_of_512", "disk_512", "bytes a debit", Bar::AtMost(6.0)),
    alone("disk_batches_of_1", "disk_1", "bytes a debit", Bar::Stated),
    alone("cost_1k_cameras", "cost_cameras_1k", "ns a debit", Bar::Stated),
    alone("cost_10k_cameras", "cost_cameras_10k", "ns a debit", Bar::Stated),
    alone("cost_100k_cameras", "cost_cameras_100k", "ns a debit", Bar::Stated),
    alone("cost_1m_cameras", "cost_cameras_1m", "ns a debit", Bar::Stated),
    alone("cost_1_organization", "cost_organizations_1", "ns a debit", Bar::Stated),
    alone("cost_1k_organizations", "cost_organizations_1k", "ns a debit", Bar::Stated),
    alone("cost_100k_organizations", "cost_organizations_100k", "ns a debit", Bar::Stated),
];

/// A figure of ours beside another.
pub(crate) const fn beside(
    id: &'static str,
    ours: &'static str,
    unit: &'static str,
    reference: (&'static str, &'static str),
    bar: Bar,
) -> Spec {
    Spec { id, ours: (ours, unit), reference: Some(reference), bar }
}

/// A figure without another.
pub(crate) const fn alone(id: &'static str, ours: &'static str, unit: &'static str, bar: Bar) -> Spec {
    Spec { id, ours: (ours, unit), reference: None, bar }
}

impl Spec {
    /// Fills in the figures; says why it cannot.
    pub(crate) fn fill(&self, figures: &Figures, skipped: &mut Vec<String>) -> Option<Row> {
        let mut of = |name: &str| {
            let found = figures.get(name);
            if found.is_none() {
                skipped.push(format!("{}: `{name}` was not measured", self.id));
            }
            found
        };
        let ours = of(self.ours.0)?;
        let reference = match self.reference {
            Some((name, what)) => Some((of(name)?, what)),
            None => None,
        };
        let ratios: Option<Vec<f64>> = reference
            .map(|(reference, _)| ours.iter().zip(reference).map(|(ours, other)| ours / other).collect());
        let ratio = ratios.as_deref().map(median);
        let (bar, met) = match self.bar {
            Bar::AtLeast(bar) => (Some(bar), ratio.map(|ratio| ratio >= bar)),
            Bar::RatioAtMost(bar) => (Some(bar), ratio.map(|ratio| ratio <= bar)),
            Bar::AtMost(bar) => (Some(bar), Some(median(ours) <= bar)),
            Bar::NeverAbove(bar) => (Some(bar), Some(largest(ours) <= bar)),
            Bar::Stated => (None, None),
        };
        Some(Row {
            id: self.id,
            ours: if let Bar::NeverAbove(_) = self.bar { largest(ours) } else { median(ours) },
            unit: self.ours.1,
            reference: reference.map(|(_, what)| what),
            reference_value: reference.map(|(reference, _)| median(reference)),
            ratio,
            bar,
            met,
            rounds: u64_of(ours.len()),
            spread: spread(ratios.as_deref().unwrap_or(ours)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bar: Bar, ours: &[f64], other: &[f64]) -> Option<bool> {
        let spec = beside("row", "ours", "us", ("other", "another"), bar);
        let figures = [("ours", ours.to_vec()), ("other", other.to_vec())].into();
        spec.fill(&figures, &mut Vec::new()).expect("both are there").met
    }

    #[test]
    fn a_bar_is_met_by_the_median_of_the_rounds_own_ratios() {
        assert_eq!(check(Bar::AtLeast(2.0), &[2.0, 20.0, 200.0], &[1.0, 10.0, 100.0]), Some(true));
        assert_eq!(check(Bar::AtLeast(2.1), &[2.0, 20.0, 200.0], &[1.0, 10.0, 100.0]), Some(false));
        assert_eq!(check(Bar::RatioAtMost(1.3), &[12.0], &[10.0]), Some(true));
        assert_eq!(check(Bar::RatioAtMost(1.3), &[14.0], &[10.0]), Some(false));
        assert_eq!(check(Bar::AtMost(10.0), &[9.0, 10.0, 11.0], &[1.0]), Some(true));
        assert_eq!(check(Bar::NeverAbove(10.0), &[9.0, 10.0, 11.0], &[1.0]), Some(false));
        assert_eq!(check(Bar::Stated, &[1.0], &[1.0]), None);
    }

    #[test]
    fn a_row_whose_figure_is_missing_is_skipped_by_name() {
        let mut skipped = Vec::new();
        assert!(ROWS[0].fill(&Figures::new(), &mut skipped).is_none());
        assert_eq!(skipped, ["embedded_batches: `embedded_batches` was not measured"]);
    }

    #[test]
    fn every_row_has_a_name_of_its_own() {
        let mut ids: Vec<_> = ROWS.iter().map(|row| row.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), ROWS.len());
    }
}
