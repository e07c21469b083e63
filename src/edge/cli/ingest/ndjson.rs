//! `weir ingest ndjson`: lines of JSON as debits.
//!
//! A line without an id gets one of its file and its number, so that whoever runs the same command on the same file again charges nothing
//! twice. A line that is no debit is told by its number and passed over; the end of the run tells how many there were.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _, stdin};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::domain::ids::OrgId;
use crate::domain::limits::BATCH_DEBITS_MAX;
use crate::edge::cli::client::ServerArgs;
use crate::edge::cli::failure::Failure;
use crate::edge::cli::output::{note, print, print_json};

use super::deliver::{Delivery, Placed};
use super::mapping::{Fixed, Mapped, debit, fixed, mapped, ms_of_seconds};

/// Longest line, in bytes.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// What to read, and what its fields are.
#[derive(Args, Debug)]
pub struct NdjsonArgs {
    /// The file; `-` is standard input.
    pub file: PathBuf,
    /// The organization.
    #[arg(long)]
    pub org: OrgId,
    /// Where a field of the debit is found in a line, as in tokens=usage.total. Fields are camera, event_id, or epoch and seq, tokens, images,
    /// duration_ms, kind and time; one that is not mapped has its own name.
    #[arg(long, value_name = "FIELD=PATH", value_parser = mapped)]
    pub map: Vec<Mapped>,
    /// A field that is the same for every line, as in camera=gate.
    #[arg(long, value_name = "FIELD=VALUE", value_parser = fixed)]
    pub set: Vec<Fixed>,
    /// Numbers that are times are seconds since 1970, not milliseconds.
    #[arg(long)]
    pub seconds: bool,
    /// What the ids of lines without one begin with; the file's name when it is left out.
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// Debits in a batch.
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub batch: usize,
    /// How long to go on without any answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub give_up_after: u64,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Runs it.
pub(super) fn run(args: &NdjsonArgs) -> Result<(), Failure> {
    let is_stdin = args.file.as_os_str() == "-";
    let from: Box<dyn BufRead> = if is_stdin {
        Box::new(stdin().lock())
    } else {
        let opened = File::open(&args.file);
        let cannot = |error| Failure::usage(format!("{} cannot be opened: {error}", args.file.display()));
        Box::new(BufReader::new(opened.map_err(cannot)?))
    };
    let name = args.file.file_name().filter(|_| !is_stdin).map(|name| name.to_string_lossy().into_owned());
    let source = args.source.clone().or(name);
    let give_up_after = Some(Duration::from_secs(args.give_up_after));
    let mut delivery = Delivery::new(args.server.client()?, &args.org, give_up_after);
    let (lines, bad) = pump(from, args, source.as_deref(), &mut delivery)?;
    let counts = &delivery.counts;
    if args.server.json {
        print_json(&json!({ "lines": lines, "bad_lines": bad, "debits": counts }));
    } else {
        print(&format!("{lines} lines, {bad} of them bad; {}", counts.text()));
    }
    if bad + counts.refused() > 0 {
        let message = format!("{bad} lines are no debits and {} debits were refused", counts.refused());
        return Err(Failure::refused(format!("{message}; correct them, then run the same command again")));
    }
    Ok(())
}

/// Sends what the lines hold; how many lines there were, and how many of them hold no debit.
fn pump(
    mut from: Box<dyn BufRead>,
    args: &NdjsonArgs,
    source: Option<&str>,
    delivery: &mut Delivery,
) -> Result<(u64, u64), Failure> {
    let (mut lines, mut bad, mut line, mut batch) = (0, 0, Vec::new(), Vec::new());
    loop {
        line.clear();
        if from.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        lines += 1;
        if !line.ends_with(b"\n") && u64::try_from(line.len()).is_ok_and(|bytes| bytes == LINE_BYTES_MAX) {
            return Err(Failure::new(format!("line {lines}: it is longer than {LINE_BYTES_MAX} bytes")));
        }
        match placed(&line, lines, args, source) {
            Ok(debit) => batch.extend(debit),
            Err(what) => {
                note(&format!("line {lines}: {what}"));
                bad += 1;
            }
        }
        if batch.len() >= args.batch.clamp(1, BATCH_DEBITS_MAX) {
            delivery.deliver(std::mem::take(&mut batch))?;
        }
    }
    delivery.deliver(batch)?;
    Ok((lines, bad))
}

/// The debit of a line; none when it is empty.
fn placed(
    line: &[u8],
    number: u64,
    args: &NdjsonArgs,
    source: Option<&str>,
) -> Result<Option<Placed>, String> {
    if line.trim_ascii().is_empty() {
        return Ok(None);
    }
    let event: Value = serde_json::from_slice(line).map_err(|error| format!("it is no json: {error}"))?;
    if !event.is_object() {
        return Err("it is no json object".to_owned());
    }
    let mut debit = debit(&event, &args.map, &args.set);
    if let (true, Some(Value::Number(seconds))) = (args.seconds, debit.get("time")) {
        let ms = ms_of_seconds(seconds).ok_or("its time is no number of seconds")?;
        debit.insert("time".to_owned(), ms.into());
    }
    if let Some(Value::Number(id)) = debit.get("event_id") {
        debit.insert("event_id".to_owned(), id.to_string().into());
    }
    if !debit.contains_key("event_id") && !debit.contains_key("seq") {
        let source = source.ok_or("it has no id; map event_id, or name the stream by --source")?;
        debit.insert("event_id".to_owned(), format!("{source}:{number}").into());
    }
    Ok(Some((format!("line {number}"), debit)))
}
