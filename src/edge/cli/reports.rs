//! `weir reports`: builds the reports of a stopped data directory anew from its journal.
//!
//! A running server does the same by itself when their files are gone; here one sees how far it is. Absent on purpose: reading reports, which is
//! asked of a server.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use serde::Serialize;

use crate::domain::ids::Lsn;
use crate::reports::{Projector, homes};
use crate::storage::reader::Start;
use crate::storage::{DirectoryLock, Followed, Home, Layout, recovery, snapshot};

use super::failure::Failure;
use super::output::{number, print, print_json};
use super::verify;

/// Keep reports.
#[derive(Debug, Subcommand)]
pub enum ReportsCommand {
    /// Build the reports of a stopped data directory anew from its journal.
    Rebuild(RebuildArgs),
}

/// Which directory.
#[derive(Args, Debug)]
pub struct RebuildArgs {
    /// The data directory; no server may hold it.
    pub directory: PathBuf,
    /// Debits of each organization that the event log keeps.
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub events_max: usize,
    /// Throw away what earlier reports hold, also of times that the journal no longer reaches back to.
    #[arg(long)]
    pub discard: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Serialize)]
struct Rebuilt {
    partition: u16,
    lsn: Lsn,
    /// Whether the reports begin with the first frame ever.
    from_first: bool,
}

/// Runs it.
pub(super) fn run(command: &ReportsCommand) -> Result<(), Failure> {
    let ReportsCommand::Rebuild(args) = command;
    verify::expect_directory(&args.directory)?;
    let layout = Layout::new(&args.directory);
    let lock = DirectoryLock::exclusive(&layout.lock()).and_then(|lock| lock.anchor(&layout.manifest()));
    let _lock = lock.map_err(verify::failure)?;
    let homes = homes(&args.directory).map_err(verify::failure)?;
    let pruned = homes.iter().map(is_pruned).collect::<Result<Vec<_>, _>>()?;
    if !args.discard
        && homes.iter().zip(&pruned).any(|(home, is_pruned)| *is_pruned && Projector::is_there(&home.into()))
    {
        return Err(Failure::usage(
            "the journal does not reach back to its first frame, so what was reported of the time before would be lost; \
             nothing was changed; give --discard to do it all the same",
        ));
    }
    let mut rebuilt = Vec::new();
    for (home, is_pruned) in homes.iter().zip(pruned) {
        let lsn = rebuild(home, args)?;
        rebuilt.push(Rebuilt { partition: home.partition, lsn, from_first: !is_pruned });
    }
    if args.json {
        print_json(&rebuilt);
    } else {
        rebuilt.iter().for_each(tell);
    }
    Ok(())
}

fn tell(Rebuilt { partition, lsn, from_first }: &Rebuilt) {
    let from = if *from_first {
        "from the first frame"
    } else {
        "from the oldest snapshot; what was used before it is a gap with its totals"
    };
    print(&format!("partition {partition}: reports up to lsn {}, {from}", number(lsn.0)));
}

fn is_pruned(home: &Home) -> Result<bool, Failure> {
    let segments = crate::storage::reader::list_segments(home).map_err(verify::failure)?;
    Ok(segments.first().is_some_and(|first| *first > Lsn(1)))
}

fn rebuild(home: &Home, args: &RebuildArgs) -> Result<Lsn, Failure> {
    let newest = snapshot::list(home).map_err(verify::failure)?.last().copied().unwrap_or(Lsn(0));
    let scan = recovery::scan_partition(home, Start::After(newest), &mut |_| Ok(()));
    let durable = Lsn(scan.map_err(verify::failure)?.next.0 - 1);
    let followed = Followed::from(home);
    Projector::remove(&followed)?;
    let mut projector = Projector::open(&followed, durable, args.events_max)?;
    let bar = if args.json { ProgressBar::hidden() } else { ProgressBar::new(durable.0) };
    while projector.reached().lsn < durable {
        bar.set_position(projector.reached().lsn.0);
        projector.step(durable, &AtomicBool::new(false))?;
    }
    bar.finish_and_clear();
    Ok(durable)
}
