//! How long it takes to be back: replaying a journal, loading a snapshot, starting a server on nothing.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokenweir::meter::{Config, DebitBatch, Durability, Meter, Principal};
use tokenweir::telemetry::clock;

use super::{Effort, Measured, Probe};
use crate::failure::Outcome;
use crate::load::Item;
use crate::number::u32_of;
use crate::process::temporary_directory;
use crate::target::{Fill, Scene, debit, make, start_server};

const CAMERAS: u64 = 10_000;
const BATCH: usize = 512;
const BATCHES_IN_FLIGHT: usize = 64;

/// Every probe of recovery.
pub(super) fn probes(effort: Effort) -> Outcome<Vec<Probe>> {
    let (mut journal, mut snapshot) = (None, None);
    Ok(vec![
        Probe::new("replay", move |_| {
            let directory = made(&mut journal, |path| fill_journal(path, effort.replayed))?;
            Ok(vec![("replay_seconds", reopen(directory, Some(effort.replayed))?.as_secs_f64())])
        }),
        Probe::new("snapshot of many cameras", move |_| {
            let directory = made(&mut snapshot, |path| fill_snapshot(path, effort.cameras))?;
            Ok(vec![("snapshot_seconds", reopen(directory, None)?.as_secs_f64())])
        }),
        Probe::new("serve on an empty directory", |_| ready()),
    ])
}

/// The directory, made the first time it is asked for.
fn made(kept: &mut Option<TempDir>, make: impl FnOnce(&Path) -> Outcome) -> Outcome<&Path> {
    if kept.is_none() {
        let directory = temporary_directory()?;
        make(directory.path())?;
        *kept = Some(directory);
    }
    Ok(kept.as_ref().expect("made above").path())
}

/// No snapshots by themselves: what is replayed is then everything.
fn config(path: &Path) -> Config {
    Config { snapshot_bytes: u64::MAX, snapshot_period_ms: u64::MAX / 4, ..Config::new(path) }
}

fn scene(cameras: u64) -> Scene {
    Scene { prefix: "recovery".to_owned(), organizations: 1, cameras, durability: Durability::Durable }
}

fn fill_journal(path: &Path, debits: u64) -> Outcome {
    let meter = Meter::open(config(path))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?;
    let organizations = runtime.block_on(make(&meter, &scene(CAMERAS), Fill::Granted))?;
    let mut window = std::collections::VecDeque::new();
    let mut batch = DebitBatch::with_capacity(BATCH);
    for n in 0..debits {
        let item = Item { camera: u32_of(n % CAMERAS), seq: n / CAMERAS, tokens: 1 + u32_of(n % 2_000) };
        batch.push(debit(&item));
        if batch.len() == BATCH || n + 1 == debits {
            window.push_back(organizations[0].send_batch(&mut batch, Durability::Durable)?);
        }
        if window.len() > BATCHES_IN_FLIGHT
            && let Some(oldest) = window.pop_front()
        {
            oldest.wait()?;
        }
    }
    for pending in window {
        pending.wait()?;
    }
    runtime.block_on(meter.close());
    Ok(())
}

fn fill_snapshot(path: &Path, cameras: u64) -> Outcome {
    let meter = Meter::open(config(path))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?;
    runtime.block_on(make(&meter, &scene(cameras), Fill::Granted))?;
    let is_written = runtime.block_on(meter.snapshot());
    runtime.block_on(meter.close());
    if is_written { Ok(()) } else { Err("the snapshot was not written".into()) }
}

/// How long the directory takes to open. What it holds is checked where it is known.
fn reopen(path: &Path, debits: Option<u64>) -> Outcome<Duration> {
    let begun = clock::start();
    let meter = Meter::open(config(path))?;
    let took = begun.elapsed();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let found = runtime.block_on(async {
        let organization = meter.organization(&Principal::Host, &scene(0).organization(0)?)?;
        Ok::<_, crate::failure::Failure>(organization.summary().await?.totals.debits_charged)
    })?;
    runtime.block_on(meter.close());
    match debits {
        Some(debits) if debits != found => Err(format!("{found} of {debits} debits were recovered").into()),
        _ => Ok(took),
    }
}

/// From the start of the process to its `ready`.
fn ready() -> Measured {
    let begun = clock::start();
    let server = start_server(None)?;
    let took = begun.elapsed();
    drop(server);
    Ok(vec![("ready_ms", took.as_secs_f64() * 1e3)])
}
