//! `weir export`: the complete AI event log, one line a debit, from the journal of a directory, also while a server writes there, of a
//! backup, or of a cluster.
//!
//! It reads what the journal still holds: all of it where it reaches back to its first frame, else from the oldest snapshot on, and says which.
//! Names, balances and licenses come from the same replay as a start. The files are opened at one moment and nobody is asked, as for
//! a backup; what was read is durable when the command ends. Absent on purpose: refused debits, which leave no trace in a journal.

use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};

use crate::domain::debit::Charges;
use crate::domain::ids::{Lsn, OrgId};
use crate::domain::pool::Pool;
use crate::edge::csv;
use crate::storage::backup::{self, BackupManifest, View};
use crate::storage::event_codec::{self, DecodedDebits};
use crate::storage::reader::Start;
use crate::storage::replay::PartitionState;
use crate::storage::{Disk, Fault, FrameRef, Layout, Manifest, RealDisk, Store, replay};

use super::backup::of_directory;
use super::export_parquet::Columns;
use super::export_row::{HEAD, Row};
use super::failure::Failure;
use super::output::note;
use super::verify;
use super::verify_place::{Given, Place, PlaceArgs, extent};

/// What to export.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// What to read: a data directory, on which a server may be running, a backup, or a cluster.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// How a debit is written.
    #[arg(long, value_enum)]
    pub format: Format,
    /// Only this organization.
    #[arg(long, value_name = "ORG")]
    pub org: Option<OrgId>,
    /// Where to write; standard output when not given.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// How a debit is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Comma-separated values (RFC 4180).
    Csv,
    /// One JSON object a line.
    Ndjson,
    /// Apache Parquet, compressed with Snappy.
    Parquet,
}

/// Where rows go.
enum Sink {
    Csv(BufWriter<Box<dyn Write + Send>>),
    Ndjson(BufWriter<Box<dyn Write + Send>>),
    Parquet(Box<Columns>),
}

struct Export<'a> {
    args: &'a ExportArgs,
    sink: Sink,
    rows: u64,
    broken: Option<io::Error>,
}

/// Runs it.
pub(super) fn run(args: &ExportArgs) -> Result<(), Failure> {
    let export = match args.place.given()? {
        Given::Directory(directory) => of_files(args, directory)?,
        Given::Cluster(streams) => of_streams(args, &Place::streams(streams))?,
    };
    unless_gone(export.sink.finish())?;
    note(&format!("{} debits exported", super::output::number(export.rows)));
    Ok(())
}

fn of_files<'a>(args: &'a ExportArgs, directory: &Path) -> Result<Export<'a>, Failure> {
    let (manifest, layout) = source(directory)?;
    let view = Arc::new(View::open(&layout, manifest.partitions).map_err(verify::failure)?);
    let mut export = Export { args, sink: sink(args)?, rows: 0, broken: None };
    let disk: Arc<dyn Disk> = view.clone();
    for home in backup::homes(&disk, &layout, &manifest) {
        export.partition(&home, verify::failure)?;
        view.settle(&layout, home.partition).map_err(verify::failure)?;
    }
    Ok(export)
}

fn of_streams<'a>(args: &'a ExportArgs, place: &Place) -> Result<Export<'a>, Failure> {
    let mut export = Export { args, sink: sink(args)?, rows: 0, broken: None };
    for partition in place.partitions() {
        let before = extent(&*place.open(partition).map_err(verify::failure)?);
        let store = place.open(partition).map_err(verify::failure)?;
        export.partition(&*store, |fault| {
            if extent(&*store) == before {
                return verify::failure(fault);
            }
            Failure::new(format!(
                "partition {} lost what was to be read next, because its snapshots hold it: {fault}; nothing was changed; export again",
                store.partition()
            ))
        })?;
    }
    Ok(export)
}

fn source(directory: &Path) -> Result<(Manifest, Layout), Failure> {
    let layout = Layout::new(directory);
    match BackupManifest::read(&RealDisk, &layout).map_err(verify::failure)? {
        Some(backup) => Ok((backup.source(), layout)),
        None => of_directory(directory, "export it"),
    }
}

fn sink(args: &ExportArgs) -> Result<Sink, Failure> {
    let file: Box<dyn Write + Send> = match &args.out {
        Some(path) => Box::new(std::fs::File::create_new(path)?),
        None if args.format == Format::Parquet && io::stdout().is_terminal() => {
            return Err(Failure::usage("parquet is no text for a terminal; name a file with --out"));
        }
        None => Box::new(io::stdout()),
    };
    let sink = match args.format {
        Format::Csv => {
            let mut out = BufWriter::new(file);
            out.write_all(csv::head(&HEAD).as_bytes())?;
            Sink::Csv(out)
        }
        Format::Ndjson => Sink::Ndjson(BufWriter::new(file)),
        Format::Parquet => Sink::Parquet(Box::new(Columns::begin(file)?)),
    };
    Ok(sink)
}

/// A reader that goes away ends the output, not the program with a fault.
fn unless_gone(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        written => Ok(written?),
    }
}

impl Sink {
    fn push(&mut self, row: Row<'_>) -> io::Result<()> {
        match self {
            Self::Csv(out) => out.write_all(row.csv().as_bytes()),
            Self::Ndjson(out) => {
                serde_json::to_writer(&mut *out, &row)?;
                out.write_all(b"\n")
            }
            Self::Parquet(columns) => columns.push(&row),
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Csv(mut out) | Self::Ndjson(mut out) => out.flush(),
            Self::Parquet(columns) => columns.finish(),
        }
    }
}

impl Export<'_> {
    fn partition(&mut self, store: &dyn Store, failure: impl Fn(Fault) -> Failure) -> Result<(), Failure> {
        let (start, mut state) = replay::beginning(store).map_err(&failure)?;
        if let Start::After(lsn) = start {
            note(&format!(
                "partition {}: the journal reaches back to lsn {} only, what was before is not exported",
                store.partition(),
                lsn.next()
            ));
        }
        let mut debits = DecodedDebits::new();
        let read = backup::read_settled(store, start, &mut |frame| {
            if frame.meta.kind == event_codec::DEBITS && self.broken.is_none() {
                self.broken = self.frame(&state, frame, &mut debits)?.err();
            }
            state.replay_frame(frame)
        });
        unless_gone(self.broken.take().map_or(Ok(()), Err))?;
        read.map_err(failure)
    }

    fn frame(
        &mut self,
        state: &PartitionState,
        frame: FrameRef<'_>,
        debits: &mut DecodedDebits,
    ) -> Result<io::Result<()>, Fault> {
        let lsn = frame.meta.lsn;
        let undecodable = |what: String| Fault::Undecodable { lsn, what };
        event_codec::decode_debits(frame.body, debits).map_err(|error| undecodable(error.to_string()))?;
        let pool = state.pools.get(debits.org.index()).and_then(Option::as_ref);
        let pool = pool.ok_or_else(|| undecodable("its organization was never created".to_owned()))?;
        // What the snapshot holds already is not carried out again, and its balance then is not known.
        if lsn <= pool.lsn || self.args.org.as_ref().is_some_and(|org| *org != pool.id) {
            return Ok(Ok(()));
        }
        Ok(self.debits(pool, lsn, debits.charges()))
    }

    fn debits(&mut self, pool: &Pool, lsn: Lsn, batch: Charges<'_>) -> io::Result<()> {
        let mut balance = pool.balance.0;
        for (row, charge) in (0..).zip(batch.charges) {
            if !charge.exempt {
                balance = balance.saturating_sub(u64::from(charge.tokens));
            }
            self.sink.push(Row::of(pool, (lsn, row), charge, batch, balance))?;
            self.rows += 1;
        }
        Ok(())
    }
}
