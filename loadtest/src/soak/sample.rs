//! What the server takes at a moment, and whether its end looks like its beginning.
//!
//! One thing grows by design: reports keep a row for each camera and minute for 48 hours, so their files are held against the rows that
//! they may have, and everything else on the disk is flat without them.

use std::path::Path;
use std::time::Duration;

use crate::drive::Tally;
use crate::failure::Outcome;
use crate::number::fraction;
use crate::process::Cost;
use crate::target::Server;

/// The head of the table of samples.
pub(crate) const HEAD: &str = "      time    debits  refused  p50 ms  p99 ms  memory, own MiB  files  threads  on disk: files, MiB, reports MiB";

/// Windows of a run.
pub(crate) const WINDOWS: u32 = 20;
/// Windows before which nothing is compared.
const WARM_UP: usize = 4;
/// Windows of the first and of the last quarter after them.
const QUARTER: usize = 4;

/// How the last quarter may differ from the first: so many times as much, and so much more for what is small.
const MEMORY: (f64, f64) = (1.05, 4.0);
const DISK: (f64, f64) = (1.25, 4.0);
const DISK_FILES: (f64, f64) = (1.25, 4.0);
const HANDLES: (f64, f64) = (1.0, 4.0);
const THREADS: (f64, f64) = (1.0, 2.0);
const P50_MS: (f64, f64) = (2.0, 2.0);
/// A machine that has other work is slow for a while.
const P99_MS: (f64, f64) = (3.0, 100.0);
/// Most that a row of the reports takes on the disk, half-empty pages and the log beside the database with it.
const REPORT_ROW_BYTES: f64 = 64.0;
/// SQLite writes a log of up to 1,000 pages beside each database before it begins again at its start: 4 MiB for each of two partitions, which may be empty in the
/// first quarter and full in the last. As much again as one of them is for what else there is.
const REPORTS_MORE_MIB: f64 = 12.0;

/// In shorter windows a start is not over and a stall is more than one in a hundred: some figures are shown then, not judged.
const WINDOW_MIN: Duration = Duration::from_secs(30);

/// What is compared: its name, how it is read of a sample, how it may differ, and the shortest window of which it is judged.
type Figure = (&'static str, fn(&Sample) -> f64, (f64, f64), Duration);

/// What the reports of a run keep.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reported {
    /// Cameras of all organizations, each of which is debited in each minute.
    pub(crate) cameras: u64,
    /// Debits that the AI event logs of all organizations keep.
    pub(crate) logged_max: u64,
}

/// What the server takes, and how it served the window before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    debits: u64,
    refused: u64,
    p50_ms: f64,
    p99_ms: f64,
    memory_mib: f64,
    /// Of the memory, what the process wrote itself; the rest are its program's pages.
    own_mib: f64,
    handles: f64,
    threads: f64,
    disk_files: f64,
    disk_mib: f64,
    reports_mib: f64,
}

impl Sample {
    /// Samples the server after a window.
    pub(crate) fn take(server: &Server, tallies: &[Tally; 2]) -> Outcome<Self> {
        let mut all = Tally::default();
        tallies.iter().for_each(|tally| all.merge(tally));
        let at = |percentile: f64| fraction(all.latencies.value_at_percentile(percentile)) / 1e6;
        let count = |name: &str| -> Outcome<f64> {
            Ok(fraction(crate::number::u64_of(
                std::fs::read_dir(format!("/proc/{}/{name}", server.pid()))?.count(),
            )))
        };
        let (cost, size) = (Cost::of(server.pid()), Size::of(&server.data())?);
        Ok(Self {
            debits: all.charged(),
            refused: all.debits() - all.charged(),
            p50_ms: at(50.0),
            p99_ms: at(99.0),
            memory_mib: mib(cost.resident_bytes),
            own_mib: mib(cost.anonymous_bytes),
            handles: count("fd")?,
            threads: count("task")?,
            disk_files: fraction(size.files),
            disk_mib: mib(size.bytes),
            reports_mib: mib(size.reports_bytes),
        })
    }

    /// A row of the table.
    pub(crate) fn line(&self, at: Duration) -> String {
        format!(
            "{:>8} s {:>9} {:>8} {:>7.2} {:>7.2} {:>8.1}, {:>6.1} {:>6} {:>8} {:>15}, {:>4.1}, {:.1}",
            at.as_secs(),
            self.debits,
            self.refused,
            self.p50_ms,
            self.p99_ms,
            self.memory_mib,
            self.own_mib,
            self.handles,
            self.threads,
            self.disk_files,
            self.disk_mib,
            self.reports_mib
        )
    }
}

/// Holds the last quarter after the warm-up against the first.
///
/// # Errors
/// Names everything that grew.
pub(crate) fn verdict(samples: &[Sample], window: Duration, reported: Reported) -> Outcome {
    let reports = (1.0, REPORTS_MORE_MIB + reported.grows_mib(samples, window));
    let (first, last) = (&samples[WARM_UP..WARM_UP + QUARTER], &samples[samples.len() - QUARTER..]);
    let figures: [Figure; 8] = [
        ("memory, MiB", |sample| sample.memory_mib, MEMORY, WINDOW_MIN),
        ("open files", |sample| sample.handles, HANDLES, Duration::ZERO),
        ("threads", |sample| sample.threads, THREADS, Duration::ZERO),
        ("files on disk", |sample| sample.disk_files, DISK_FILES, Duration::ZERO),
        ("disk, MiB", |sample| sample.disk_mib, DISK, Duration::ZERO),
        ("reports, MiB", |sample| sample.reports_mib, reports, Duration::ZERO),
        ("p50 latency, ms", |sample| sample.p50_ms, P50_MS, WINDOW_MIN),
        ("p99 latency, ms", |sample| sample.p99_ms, P99_MS, WINDOW_MIN),
    ];
    let mut grown = Vec::new();
    for (name, figure, (times, more), window_min) in figures {
        let [before, after] = [first, last].map(|samples| median(samples, figure));
        let most = before * times + more;
        let judged = if window < window_min { ", not judged in so short a run" } else { "" };
        println!(
            "{name:<16} first quarter {before:>9.2}, last quarter {after:>9.2}, at most {most:>9.2}{judged}"
        );
        if after > most && judged.is_empty() {
            grown.push(name);
        }
    }
    if samples.iter().any(|sample| sample.debits == 0) {
        grown.push("windows without a debit");
    }
    if grown.is_empty() {
        println!("flat: the last quarter after the warm-up looks like the first");
        return Ok(());
    }
    Err(format!("it is not flat: {}", grown.join("; ")).into())
}

fn median(samples: &[Sample], figure: fn(&Sample) -> f64) -> f64 {
    let mut sorted: Vec<f64> = samples.iter().map(figure).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn mib(bytes: u64) -> f64 {
    fraction(bytes) / fraction(1 << 20)
}

impl Reported {
    /// What the reports may grow by between the middles of the first and the last quarter: usage by minute and by quarter of an hour, and
    /// logs that were not full before.
    fn grows_mib(self, samples: &[Sample], window: Duration) -> f64 {
        let (from, until) = (WARM_UP + QUARTER / 2, samples.len() - QUARTER / 2);
        let windows = u32::try_from(until - from).unwrap_or(u32::MAX);
        let minutes = (window * windows).as_secs_f64() / 60.0;
        // The minute and the quarter that the time begins in are there already, in part; those that it ends in are new.
        let buckets = (minutes + 1.0) + (minutes / 15.0 + 1.0);
        let debits = |samples: &[Sample]| -> u64 { samples.iter().map(|sample| sample.debits).sum() };
        let room = self.logged_max.saturating_sub(debits(&samples[..from]));
        let logged = room.min(debits(&samples[from..until]));
        (fraction(self.cameras) * buckets + fraction(logged)) * REPORT_ROW_BYTES / fraction(1 << 20)
    }
}

/// What a folder takes.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    files: u64,
    /// Without the reports.
    bytes: u64,
    reports_bytes: u64,
}

impl Size {
    /// The files below a folder. One that goes while it is looked at does not count.
    fn of(folder: &Path) -> Outcome<Self> {
        let mut all = Self::default();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let Ok(metadata) = entry.metadata() else { continue };
            let is_report = entry.file_name().to_string_lossy().starts_with("reports.sqlite");
            let (bytes, reports_bytes) = if is_report { (0, metadata.len()) } else { (metadata.len(), 0) };
            let more = if metadata.is_dir() {
                Self::of(&entry.path())?
            } else {
                Self { files: 1, bytes, reports_bytes }
            };
            all.files += more.files;
            all.bytes += more.bytes;
            all.reports_bytes += more.reports_bytes;
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Reported = Reported { cameras: 0, logged_max: 0 };

    fn sample(memory_mib: f64, handles: f64, reports_mib: f64) -> Sample {
        Sample {
            debits: 1_000,
            refused: 0,
            p50_ms: 1.0,
            p99_ms: 5.0,
            memory_mib,
            own_mib: memory_mib,
            handles,
            threads: 9.0,
            disk_files: 10.0,
            disk_mib: 12.0,
            reports_mib,
        }
    }

    fn run(of: impl Fn(f64) -> Sample) -> Vec<Sample> {
        (0..WINDOWS).map(|window| of(f64::from(window))).collect()
    }

    #[test]
    fn what_grows_beyond_its_bound_is_named() {
        let warms_up = run(|window| sample(50.0 + 20.0 * window.min(4.0), 40.0, 1.0));
        verdict(&warms_up, WINDOW_MIN, NOTHING).expect("it is flat after its warm-up");
        let leaks = run(|window| sample(50.0 + window, 40.0 + window, 1.0));
        let why = verdict(&leaks, WINDOW_MIN, NOTHING).expect_err("it is not").to_string();
        assert!(why.contains("memory") && why.contains("open files") && !why.contains("threads"), "{why}");
        let why = verdict(&leaks, Duration::ZERO, NOTHING).expect_err("it is not").to_string();
        assert!(why.contains("open files") && !why.contains("memory"), "{why}");
    }

    #[test]
    fn reports_may_grow_by_the_rows_that_they_keep_and_by_no_more() {
        // 12 windows of 5 minutes: 60 minutes and 4 quarters, and those of the end.
        let (window, cameras) = (Duration::from_secs(300), 1 << 14);
        let rows_mib = 66.0;
        let usage = Reported { cameras, logged_max: 0 };
        let samples = run(|window| sample(50.0, 40.0, window * rows_mib / 12.0));
        assert!((usage.grows_mib(&samples, window) - rows_mib).abs() < 1e-6);
        verdict(&samples, window, usage).expect("these are its rows");
        let more = run(|window| sample(50.0, 40.0, window * (rows_mib + 2.0 * REPORTS_MORE_MIB) / 12.0));
        let why = verdict(&more, window, usage).expect_err("there is more than rows").to_string();
        assert!(why.contains("reports") && !why.contains("disk"), "{why}");
    }

    #[test]
    fn logs_that_were_full_before_do_not_excuse_growth() {
        let samples = run(|_| sample(50.0, 40.0, 1.0));
        let logged = |logged_max| {
            Reported { cameras: 0, logged_max }.grows_mib(&samples, WINDOW_MIN) * fraction(1 << 20)
                / REPORT_ROW_BYTES
        };
        assert!((logged(6_000) - 0.0).abs() < 1e-6, "full after the sixth window");
        assert!((logged(7_500) - 1_500.0).abs() < 1e-6);
        assert!((logged(1_000_000) - 12_000.0).abs() < 1e-6, "no more than came");
    }
}
