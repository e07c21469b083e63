//! What a run did, for people and for programs.

mod html;

use std::collections::BTreeMap;
use std::path::Path;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::audit::Audit;
use crate::drive::Tally;
use crate::failure::Outcome;
use crate::number::{fraction, per_second};
use crate::process::Cost;
use crate::target::JournalSums;

/// Percentiles that are told, and of which the curve is drawn.
const CURVE: [f64; 15] =
    [0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.9, 99.95, 99.99, 99.999, 100.0];

/// What a run did.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// What was driven, and how.
    pub(crate) load: Load,
    /// Debits answered.
    pub(crate) debits: u64,
    /// From the first request to the last reply, in seconds.
    pub(crate) seconds: f64,
    /// Debits a second, by outcome.
    pub(crate) rates: BTreeMap<String, f64>,
    /// Latencies of requests.
    pub(crate) latency: Latency,
    /// Syncs of the journal.
    pub(crate) fsyncs: u64,
    /// Bytes of the journal for each charged debit.
    pub(crate) bytes_a_debit: f64,
    /// Cores that the target's process kept busy; with the embedded engine, the load generator's too.
    pub(crate) cores_busy: f64,
    /// Memory of the target's process at the end, in bytes.
    pub(crate) resident_bytes: u64,
    /// The most that it had, in bytes.
    pub(crate) resident_bytes_max: u64,
    /// Whether the target did what it acknowledged.
    pub(crate) audit: Audit,
}

/// What was driven, and how.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Load {
    /// The target.
    pub(crate) target: String,
    /// Whether replies wait for the disk.
    pub(crate) durability: String,
    /// How requests follow one another.
    pub(crate) arrivals: String,
    /// Organizations.
    pub(crate) organizations: usize,
    /// Cameras of each.
    pub(crate) cameras: u64,
    /// Debits of a request.
    pub(crate) batch: usize,
    /// Producers.
    pub(crate) producers: u64,
}

/// Latencies of requests, in microseconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Latency {
    /// Whether they count from the time at which a request was to be sent, or from its sending.
    pub(crate) from: &'static str,
    /// Requests.
    pub(crate) requests: u64,
    /// The median.
    pub(crate) p50_us: f64,
    /// 90 of 100 are not longer.
    pub(crate) p90_us: f64,
    /// 99 of 100 are not longer.
    pub(crate) p99_us: f64,
    /// 999 of 1,000 are not longer.
    pub(crate) p99_9_us: f64,
    /// 9,999 of 10,000 are not longer.
    pub(crate) p99_99_us: f64,
    /// The longest.
    pub(crate) max_us: f64,
    /// Percentile and latency.
    pub(crate) curve: Vec<(f64, f64)>,
}

impl Latency {
    /// The latencies of a histogram of nanoseconds.
    pub(crate) fn new(latencies: &Histogram<u64>, from: &'static str) -> Self {
        let at = |percentile: f64| fraction(latencies.value_at_percentile(percentile)) / 1e3;
        Self {
            from,
            requests: latencies.len(),
            p50_us: at(50.0),
            p90_us: at(90.0),
            p99_us: at(99.0),
            p99_9_us: at(99.9),
            p99_99_us: at(99.99),
            max_us: fraction(latencies.max()) / 1e3,
            curve: CURVE.iter().map(|percentile| (*percentile, at(*percentile))).collect(),
        }
    }
}

/// What a target had done and cost, before or after a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading {
    /// What it had made durable.
    pub(crate) journal: JournalSums,
    /// What it had cost.
    pub(crate) cost: Cost,
}

impl Report {
    /// Puts the report of a run together.
    pub(crate) fn new(
        load: Load,
        from: &'static str,
        tally: &Tally,
        (before, after): (Reading, Reading),
        audit: Audit,
    ) -> Self {
        let seconds = tally.took.as_secs_f64();
        let bytes = after.journal.bytes.saturating_sub(before.journal.bytes);
        Self {
            debits: tally.debits(),
            seconds,
            rates: tally
                .outcomes
                .iter()
                .map(|(name, count)| (name.clone(), per_second(*count, tally.took)))
                .collect(),
            latency: Latency::new(&tally.latencies, from),
            fsyncs: after.journal.groups.saturating_sub(before.journal.groups),
            bytes_a_debit: fraction(bytes) / fraction(tally.charged().max(1)),
            cores_busy: (after.cost.cpu_seconds - before.cost.cpu_seconds) / seconds.max(1e-9),
            resident_bytes: after.cost.resident_bytes,
            resident_bytes_max: after.cost.resident_bytes_max,
            load,
            audit,
        }
    }

    /// The report as text.
    pub(crate) fn text(&self) -> String {
        self.rows().iter().map(|(name, value)| format!("{name:<24} {value}\n")).collect()
    }

    /// Writes a page that needs nothing else.
    pub(crate) fn write_html(&self, path: &Path) -> Outcome {
        let written = std::fs::write(path, html::page(self));
        Ok(written.map_err(|error| format!("the report {} cannot be written: {error}", path.display()))?)
    }

    /// What is told, line by line.
    fn rows(&self) -> Vec<(String, String)> {
        let Load { target, durability, arrivals, organizations, cameras, batch, producers } = &self.load;
        let row = |name: &str, value: String| (name.to_owned(), value);
        let mut rows = vec![
            row("target", format!("{target}, {durability}")),
            row("load", format!("{arrivals}, {producers} producers, {batch} debits a request")),
            row("organizations, cameras", format!("{organizations} x {cameras}")),
            row("debits", format!("{} in {:.2} s", self.debits, self.seconds)),
        ];
        rows.extend(self.rates.iter().map(|(name, rate)| row(name, format!("{rate:.0} a second"))));
        let latency = &self.latency;
        rows.push(row("latency from", latency.from.to_owned()));
        for (name, figure) in [
            ("p50", latency.p50_us),
            ("p90", latency.p90_us),
            ("p99", latency.p99_us),
            ("p99.9", latency.p99_9_us),
            ("p99.99", latency.p99_99_us),
            ("max", latency.max_us),
        ] {
            rows.push(row(name, format!("{figure:.1} us")));
        }
        rows.push(row("fsyncs", self.fsyncs.to_string()));
        rows.push(row("journal", format!("{:.2} bytes a debit", self.bytes_a_debit)));
        rows.push(row("cores busy", format!("{:.2}", self.cores_busy)));
        let mib = |bytes: u64| fraction(bytes) / 1_048_576.0;
        let (now, most) = (mib(self.resident_bytes), mib(self.resident_bytes_max));
        rows.push(row("memory", format!("{now:.0} MiB, at most {most:.0} MiB")));
        let Audit { holds, debits, tokens, organizations, .. } = &self.audit;
        let verdict = if *holds { "holds" } else { "DOES NOT HOLD" };
        rows.push(row(
            "audit",
            format!("{verdict}: {debits} debits, {tokens} tokens, {organizations} organizations"),
        ));
        rows
    }
}
