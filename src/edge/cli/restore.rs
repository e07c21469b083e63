//! `weir restore`: makes a data directory of a backup, as it was at a point in time.
//!
//! The new directory has an identity of its own, so that its files and those of the original are never taken for
//! each other; organizations and API keys stay what they are. It gets its name only after it was verified as `weir
//! verify` does.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use crate::domain::ids::Lsn;
use crate::domain::time::Timestamp;
use crate::edge::webhooks::KEY_FILE;
use crate::storage::audit;
use crate::storage::backup::{self, BackupManifest, RestoreError, Target};
use crate::storage::layout::DirectoryId;
use crate::storage::{Disk, Layout, Manifest, RealDisk};
use crate::telemetry::clock::Clock;

use super::backup::{reaches_json, reaches_text};
use super::failure::Failure;
use super::fresh::Fresh;
use super::output::{note, print, print_json};
use super::verify;

/// What to restore, and where to.
#[derive(Args, Debug)]
pub struct RestoreArgs {
    /// The backup.
    pub backup: PathBuf,
    /// The data directory to make; it must not be there yet.
    pub directory: PathBuf,
    /// The last point to keep: a time like 2026-03-01T12:00:00Z, the lsn of a frame, or PARTITION:LSN [default: all
    /// of the backup].
    #[arg(long, value_name = "POINT")]
    pub at: Option<Point>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// A point in time, as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// A time.
    Time(Timestamp),
    /// A frame, of the only partition unless one is named.
    Frame(Option<u16>, Lsn),
}

impl FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse().map(Lsn).ok();
        let frame = match text.split_once(':') {
            Some((partition, lsn)) => partition.parse().ok().map(Some).zip(number(lsn)),
            None => number(text).map(|lsn| (None, lsn)),
        };
        if let Some((partition, lsn)) = frame {
            return Ok(Self::Frame(partition, lsn));
        }
        let time =
            text.parse::<jiff::Timestamp>().ok().and_then(|time| u64::try_from(time.as_millisecond()).ok());
        time.and_then(|ms| Timestamp::from_ms(ms).ok()).map(Self::Time).ok_or_else(|| {
            "it is neither a time like 2026-03-01T12:00:00Z, nor an lsn, nor PARTITION:LSN".to_owned()
        })
    }
}

/// Runs it.
pub(super) fn run(args: &RestoreArgs) -> Result<(), Failure> {
    let source = Layout::new(&args.backup);
    let known = BackupManifest::read(&RealDisk, &source).map_err(verify::failure)?;
    let known = known.ok_or_else(|| {
        Failure::usage(format!(
            "{} is no backup: it has no file BACKUP; nothing was written",
            args.backup.display()
        ))
    })?;
    let target = target(args.at, &known)?;
    known.check_files(&RealDisk, &source)?;
    let fresh = Fresh::begin(&args.directory)?;
    let (old, disk): (_, Arc<dyn Disk>) = (known.source(), Arc::new(RealDisk));
    let new = Manifest { directory: new_identity()?, created_at_ms: Clock::System.now().ms(), ..old };
    let to = Layout::new(fresh.partial());
    let (from, homes) = (backup::homes(&disk, &source, &old), backup::homes(&disk, &to, &new));
    let reaches = backup::restore(&from, &homes, target).map_err(|error| told(error, &known))?;
    let log = |layout, manifest: Manifest| audit::home(&disk, layout, manifest.directory);
    backup::copy_audit(&log(&source, old), &log(&to, new)).map_err(verify::failure)?;
    new.write(&RealDisk, &to)?;
    let verified = verify::read(fresh.partial())?;
    if !verified.report.clean {
        let faults = verify::faults(&verified.report).join("\n");
        return Err(Failure::new(format!("nothing was restored: {faults}")));
    }
    fresh.finish()?;
    if verified.has_webhooks() {
        note(&format!(
            "before {} takes the place of the original, copy its {KEY_FILE} into it: else the first start makes another, and every \
             webhook has another secret; what had been delivered and what waited is not there",
            args.directory.display()
        ));
    }
    if args.json {
        let (id, partitions) = (new.directory.to_string(), reaches_json(&reaches));
        print_json(
            &json!({ "backup": args.backup, "directory": args.directory, "id": id, "partitions": partitions }),
        );
    } else {
        print(&reaches_text(&reaches));
        print(&format!(
            "restored {} to {} and verified it; transfers that are open there end when it is started",
            args.backup.display(),
            args.directory.display()
        ));
    }
    Ok(())
}

fn target(at: Option<Point>, known: &BackupManifest) -> Result<Target, Failure> {
    match (at, known.partitions.len()) {
        (None, _) => Ok(Target::Newest),
        (Some(Point::Time(time)), _) => Ok(Target::Time(time)),
        (Some(Point::Frame(Some(partition), lsn)), _) => Ok(Target::Frame { partition, lsn }),
        (Some(Point::Frame(None, lsn)), 1) => Ok(Target::Frame { partition: 0, lsn }),
        (Some(Point::Frame(None, lsn)), count) => Err(Failure::usage(format!(
            "the backup has {count} partitions, and each counts its own lsns; say which: --at PARTITION:{lsn}"
        ))),
    }
}

fn told(error: RestoreError, known: &BackupManifest) -> Failure {
    match error {
        RestoreError::Fault(fault) => verify::failure(fault),
        RestoreError::OutOfReach(_) => Failure::usage(format!(
            "{error}; nothing was written; the backup reaches so far, and all partitions must:\n{}",
            reaches_text(&known.partitions)
        )),
        RestoreError::NoPartition(_) => Failure::usage(format!("{error} in the backup; nothing was written")),
    }
}

fn new_identity() -> Result<DirectoryId, Failure> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| Failure::new(error.to_string()))?;
    Ok(DirectoryId(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_a_time_or_a_frame() {
        let time = Timestamp::from_ms(1_772_366_400_500).expect("in range");
        for (text, point) in [
            ("7", Point::Frame(None, Lsn(7))),
            ("3:18", Point::Frame(Some(3), Lsn(18))),
            ("2026-03-01T12:00:00.5Z", Point::Time(time)),
            ("2026-03-01T13:00:00.5+01:00", Point::Time(time)),
        ] {
            assert_eq!(text.parse(), Ok(point), "{text}");
        }
        for text in ["", "x", "1:", ":1", "70000:1", "-5", "12:00", "2026-03-01", "1960-01-01T00:00:00Z"] {
            assert!(text.parse::<Point>().is_err() || text == "12:00", "{text}");
        }
    }
}
