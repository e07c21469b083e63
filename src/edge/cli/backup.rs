//! `weir backup`: a copy of a data directory at one consistent cut, also while a server writes there.
//!
//! The files are read, nobody is asked: `storage::backup` says why that is enough. The backup has its name only
//! when it is whole and synced.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use crate::edge::webhooks::KEY_FILE;
use crate::storage::audit;
use crate::storage::backup::{self, BackupManifest, Reach, View};
use crate::storage::manifest::Stage;
use crate::storage::{Disk, Layout, Manifest, RealDisk};
use crate::telemetry::clock::Clock;

use super::data_key::time_text;
use super::failure::Failure;
use super::fresh::Fresh;
use super::output::{note, number, print, print_json, table};
use super::verify;

/// What to back up, and where to.
#[derive(Args, Debug)]
pub struct BackupArgs {
    /// The backup: a directory that is not there yet.
    pub backup: PathBuf,
    /// The data directory; a server may be running on it.
    #[arg(long, alias = "data-dir", env = "WEIR_DATA_DIR", value_name = "DIR", default_value = "weir-data")]
    pub data: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs it.
pub(super) fn run(args: &BackupArgs) -> Result<(), Failure> {
    let manifest = make(args)?;
    let bytes = manifest.files.iter().map(|file| file.bytes).sum();
    if args.json {
        print_json(&json!({
            "data": args.data, "backup": args.backup, "id": manifest.source().directory.to_string(),
            "begun_at": time_text(manifest.begun_at), "partitions": reaches_json(&manifest.partitions),
            "files": manifest.files.len(), "bytes": bytes
        }));
    } else {
        print(&reaches_text(&manifest.partitions));
        print(&format!(
            "backed up {} to {}, {} bytes in {} files: all that was acknowledged before {}",
            args.data.display(),
            args.backup.display(),
            number(bytes),
            manifest.files.len(),
            time_text(manifest.begun_at)
        ));
    }
    Ok(())
}

fn make(args: &BackupArgs) -> Result<BackupManifest, Failure> {
    let (manifest, source) = of_directory(&args.data, "back it up")?;
    let fresh = Fresh::begin(&args.backup)?;
    let (begun_at, to) = (Clock::System.now(), Layout::new(fresh.partial()));
    let view = View::open(&source, manifest.partitions).map_err(verify::failure)?;
    let (seen, disk): (Arc<dyn Disk>, Arc<dyn Disk>) = (Arc::new(view), Arc::new(RealDisk));
    let (from, homes) = (backup::homes(&seen, &source, &manifest), backup::homes(&disk, &to, &manifest));
    let (reaches, unreadable) = backup::back_up(&from, &homes).map_err(verify::failure)?;
    let logs =
        [(&seen, &source), (&disk, &to)].map(|(disk, layout)| audit::home(disk, layout, manifest.directory));
    backup::copy_audit(&logs[0], &logs[1]).map_err(verify::failure)?;
    for fault in unreadable {
        note(&format!("left out, an older snapshot and the journal take its place: {fault}"));
    }
    let made = BackupManifest::of(&manifest, begun_at, reaches, &RealDisk, &to)?;
    made.write(&RealDisk, &to)?;
    fresh.finish()?;
    let key = args.data.join(KEY_FILE);
    if key.exists() {
        note(&format!(
            "not in the backup: {}, which the secrets of webhooks are derived from; copy it once, and keep it as you keep the key of TLS",
            key.display()
        ));
    }
    Ok(made)
}

/// What a data directory holds, whether a server is running on it or not; a fault that says when to `act`.
pub(super) fn of_directory(directory: &Path, act: &str) -> Result<(Manifest, Layout), Failure> {
    verify::expect_directory(directory)?;
    let layout = Layout::new(directory);
    let manifest = Manifest::read(&RealDisk, &layout).map_err(verify::failure)?;
    let made = manifest.filter(|manifest| manifest.stage == Stage::Made);
    let being_made = || format!("{} is being made; {act} when its server is ready", directory.display());
    Ok((made.ok_or_else(|| Failure::usage(being_made()))?, layout))
}

/// How far partitions reach, as JSON.
pub(super) fn reaches_json(reaches: &[Reach]) -> Vec<Value> {
    let reach = |(partition, reach): (usize, &Reach)| {
        json!({
            "partition": partition, "earliest_lsn": reach.earliest, "earliest_at": reach.earliest_at.map(time_text),
            "last_lsn": reach.last, "last_at": reach.last_at.map(time_text)
        })
    };
    reaches.iter().enumerate().map(reach).collect()
}

/// How far partitions reach, as a table.
pub(super) fn reaches_text(reaches: &[Reach]) -> String {
    let time = |at: Option<_>| at.map_or_else(|| "none".to_owned(), time_text);
    let row = |(partition, reach): (usize, &Reach)| {
        let (earliest, last) = (number(reach.earliest.0), number(reach.last.0));
        [partition.to_string(), earliest, time(reach.earliest_at), last, time(reach.last_at)]
    };
    let rows: Vec<_> = reaches.iter().enumerate().map(row).collect();
    table(["partition", "earliest lsn", "its event", "last lsn", "newest event"], &rows)
}
