//! What the server takes at a moment, and whether its end looks like its beginning.

use std::path::Path;
use std::time::Duration;

use crate::drive::Tally;
use crate::failure::Outcome;
use crate::number::fraction;
use crate::process::Cost;
use crate::target::Server;

/// The head of the table of samples.
pub(crate) const HEAD: &str =
    "      time    debits  refused  p50 ms  p99 ms  memory MiB  files  threads  on disk: files, MiB";

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

/// In shorter windows a start is not over and a stall is more than one in a hundred: some figures are shown then, not judged.
const WINDOW_MIN: Duration = Duration::from_secs(30);

/// What is compared: its name, how it is read of a sample, how it may differ, and the shortest window of which it is judged.
type Figure = (&'static str, fn(&Sample) -> f64, (f64, f64), Duration);

/// What the server takes, and how it served the window before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    debits: u64,
    refused: u64,
    p50_ms: f64,
    p99_ms: f64,
    memory_mib: f64,
    handles: f64,
    threads: f64,
    disk_files: f64,
    disk_mib: f64,
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
        let (files, bytes) = size_of(&server.data())?;
        Ok(Self {
            debits: all.charged(),
            refused: all.debits() - all.charged(),
            p50_ms: at(50.0),
            p99_ms: at(99.0),
            memory_mib: mib(Cost::of(server.pid()).resident_bytes),
            handles: count("fd")?,
            threads: count("task")?,
            disk_files: fraction(files),
            disk_mib: mib(bytes),
        })
    }

    /// A row of the table.
    pub(crate) fn line(&self, at: Duration) -> String {
        format!(
            "{:>8} s {:>9} {:>8} {:>7.2} {:>7.2} {:>11.1} {:>6} {:>8} {:>16}, {:.1}",
            at.as_secs(),
            self.debits,
            self.refused,
            self.p50_ms,
            self.p99_ms,
            self.memory_mib,
            self.handles,
            self.threads,
            self.disk_files,
            self.disk_mib
        )
    }
}

/// Holds the last quarter after the warm-up against the first.
///
/// # Errors
/// Names everything that grew.
pub(crate) fn verdict(samples: &[Sample], window: Duration) -> Outcome {
    let (first, last) = (&samples[WARM_UP..WARM_UP + QUARTER], &samples[samples.len() - QUARTER..]);
    let figures: [Figure; 7] = [
        ("memory, MiB", |sample| sample.memory_mib, MEMORY, WINDOW_MIN),
        ("open files", |sample| sample.handles, HANDLES, Duration::ZERO),
        ("threads", |sample| sample.threads, THREADS, Duration::ZERO),
        ("files on disk", |sample| sample.disk_files, DISK_FILES, Duration::ZERO),
        ("disk, MiB", |sample| sample.disk_mib, DISK, Duration::ZERO),
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

/// Files below a folder, and their bytes. One that goes while it is looked at does not count.
fn size_of(folder: &Path) -> Outcome<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(metadata) = entry.metadata() else { continue };
        let (more, size) = if metadata.is_dir() { size_of(&entry.path())? } else { (1, metadata.len()) };
        (files, bytes) = (files + more, bytes + size);
    }
    Ok((files, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(memory_mib: f64, handles: f64) -> Sample {
        Sample {
            debits: 1,
            refused: 0,
            p50_ms: 1.0,
            p99_ms: 5.0,
            memory_mib,
            handles,
            threads: 9.0,
            disk_files: 10.0,
            disk_mib: 12.0,
        }
    }

    #[test]
    fn what_grows_beyond_its_bound_is_named() {
        let run = |memory: fn(f64) -> f64, handles: f64| -> Vec<Sample> {
            let windows = (0..WINDOWS).map(|window| memory(f64::from(window)));
            windows.zip(0..).map(|(mib, n)| sample(mib, 40.0 + handles * f64::from(n))).collect()
        };
        let warms_up = run(|window| 50.0 + 20.0 * window.min(4.0), 0.0);
        verdict(&warms_up, WINDOW_MIN).expect("it is flat after its warm-up");
        let leaks = run(|window| 50.0 + window, 1.0);
        let why = verdict(&leaks, WINDOW_MIN).expect_err("it is not").to_string();
        assert!(why.contains("memory") && why.contains("open files") && !why.contains("threads"), "{why}");
        let why = verdict(&leaks, Duration::ZERO).expect_err("it is not").to_string();
        assert!(why.contains("open files") && !why.contains("memory"), "{why}");
    }
}
