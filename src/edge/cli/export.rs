//! `weir export`: the complete AI event log, one line a debit, from the journal of a stopped directory or of a backup.
//!
//! It reads what the journal still holds: all of it where it reaches back to its first frame, else from the oldest snapshot on, and says which.
//! Names, balances and licenses come from the same replay as a start. Absent on purpose: refused debits, which leave no trace in a journal.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::domain::debit::{Charge, ChargeIdentity, Charges};
use crate::domain::ids::{Lsn, OrgId};
use crate::domain::pool::Pool;
use crate::edge::csv::{self, Csv};
use crate::storage::event_codec::{self, DecodedDebits};
use crate::storage::reader::Start;
use crate::storage::replay::PartitionState;
use crate::storage::{Fault, FrameRef, Home, RealDisk, recovery, replay};

use super::data_key::time_text;
use super::failure::Failure;
use super::output::note;
use super::verify;

const HEAD: [&str; 15] = [
    "organization",
    "lsn",
    "row",
    "at",
    "time",
    "network",
    "camera",
    "kind",
    "tokens",
    "outcome",
    "license",
    "balance",
    "epoch",
    "seq",
    "event_id",
];

/// What to export.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// The data directory, which no server may hold, or a backup.
    pub directory: PathBuf,
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
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    organization: &'a str,
    lsn: Lsn,
    row: usize,
    at: String,
    time: Option<String>,
    network: &'a str,
    camera: &'a str,
    kind: &'static str,
    tokens: u32,
    outcome: &'static str,
    license: Option<&'a str>,
    balance: u64,
    epoch: Option<u32>,
    seq: Option<u64>,
    /// Its bytes as text; what is no UTF-8 is replaced.
    event_id: Option<String>,
}

struct Export<'a> {
    args: &'a ExportArgs,
    out: BufWriter<Box<dyn Write>>,
    rows: u64,
    broken: Option<io::Error>,
}

/// Runs it.
pub(super) fn run(args: &ExportArgs) -> Result<(), Failure> {
    let (manifest, layout, _lock) = verify::open(&args.directory)?;
    let file: Box<dyn Write> = match &args.out {
        Some(path) => Box::new(std::fs::File::create_new(path)?),
        None => Box::new(io::stdout()),
    };
    let mut export = Export { args, out: BufWriter::new(file), rows: 0, broken: None };
    if args.format == Format::Csv {
        export.out.write_all(csv::head(&HEAD).as_bytes())?;
    }
    for partition in 0..manifest.partitions {
        let home = Home {
            disk: std::sync::Arc::new(RealDisk),
            layout: layout.clone(),
            partition,
            directory: manifest.directory,
        };
        export.partition(&home)?;
    }
    export.out.flush()?;
    note(&format!("{} debits exported", super::output::number(export.rows)));
    Ok(())
}

impl Export<'_> {
    fn partition(&mut self, home: &Home) -> Result<(), Failure> {
        let (start, mut state) = match replay::oldest_snapshot(home).map_err(verify::failure)? {
            Some((lsn, snapshot)) => {
                note(&format!(
                    "partition {}: the journal reaches back to lsn {} only, what was before is not exported",
                    home.partition,
                    lsn.next()
                ));
                (Start::After(lsn), PartitionState::of_snapshot(snapshot))
            }
            None => (Start::Oldest, PartitionState::default()),
        };
        let mut debits = DecodedDebits::new();
        let scanned = recovery::scan_partition(home, start, &mut |frame| {
            if frame.meta.kind == event_codec::DEBITS && self.broken.is_none() {
                self.broken = self.frame(&state, frame, &mut debits)?.err();
            }
            state.replay_frame(frame)
        });
        match self.broken.take() {
            // A reader that goes away ends the output, not the program with a fault.
            Some(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
            Some(error) => Err(error.into()),
            None => scanned.map(drop).map_err(verify::failure),
        }
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
        for (row, charge) in batch.charges.iter().enumerate() {
            if !charge.exempt {
                balance = balance.saturating_sub(u64::from(charge.tokens));
            }
            let row = row_of(pool, (lsn, row), charge, batch, balance);
            match self.args.format {
                Format::Csv => self.out.write_all(csv_of(row).as_bytes())?,
                Format::Ndjson => {
                    serde_json::to_writer(&mut self.out, &row)?;
                    self.out.write_all(b"\n")?;
                }
            }
            self.rows += 1;
        }
        Ok(())
    }
}

fn row_of<'a>(
    pool: &'a Pool,
    (lsn, row): (Lsn, usize),
    charge: &Charge,
    batch: Charges<'_>,
    balance: u64,
) -> Row<'a> {
    let camera = pool.cameras.get(charge.slot);
    let network = camera.and_then(|camera| pool.networks.get(usize::try_from(camera.network).ok()?));
    let bound = pool.bindings.of(charge.slot).iter().filter(|_| charge.exempt);
    let exempts = bound.filter(|license| license.exempts(charge.kind, charge.time.unwrap_or(batch.at)));
    let (epoch, seq, event_id) = match charge.identity {
        ChargeIdentity::Seq { epoch, seq } => (Some(epoch), Some(seq), None),
        ChargeIdentity::EventId { id, .. } => {
            (None, None, Some(String::from_utf8_lossy(id.of(batch.text)).into_owned()))
        }
    };
    Row {
        organization: pool.id.as_str(),
        lsn,
        row,
        at: time_text(batch.at),
        time: charge.time.map(time_text),
        network: network.map_or("", |network| network.name.as_str()),
        camera: camera.map_or("", |_| pool.cameras.name(charge.slot)),
        kind: charge.kind.name(),
        tokens: charge.tokens,
        outcome: if charge.exempt { "exempt" } else { "charged" },
        license: exempts.map(|license| license.id.as_str()).min(),
        balance,
        epoch,
        seq,
        event_id,
    }
}

fn csv_of(row: Row<'_>) -> String {
    let line = Csv::default().field(row.organization).field(row.lsn).field(row.row).field(row.at);
    let line = line.optional(row.time).field(row.network).field(row.camera).field(row.kind);
    let line = line.field(row.tokens).field(row.outcome).optional(row.license).field(row.balance);
    line.optional(row.epoch).optional(row.seq).optional(row.event_id).end()
}
