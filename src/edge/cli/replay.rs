//! `weir replay`: a recorded token trace as debits of many cameras.
//!
//! Row `i` goes to camera `i mod N` with sequence number `i div N`, so that the same file always names the same debits:
//! whoever runs it again charges nothing twice. On start each camera is asked for the newest number it was charged for;
//! what lies below its window is not sent: an earlier run got its answer, provided that `--cameras` is what it was then. With
//! another number the rows are other debits, which nobody can tell.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::domain::ids::{CameraId, Name, OrgId};
use crate::domain::limits::{BATCH_DEBITS_MAX, SEQ_WINDOW};

use super::client::Client;
use super::failure::Failure;
use super::organizations::parse_name;
use super::output::{note, print, print_json};
use super::replay_pace::Pace;
use super::replay_pump::{Plan, pump};
use super::replay_tally::Tally;
use super::replay_target::{EmbeddedTarget, Found, Item, Names, ServerTarget, Setup, Target};
use super::trace::{Row, Trace, TraceError};
use super::trust::TrustArgs;

/// What to replay, where to, and how fast.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("pace").required(true).args(["speed", "flat_out"])))]
pub struct ReplayArgs {
    /// The trace: `TIMESTAMP,ContextTokens,GeneratedTokens`.
    pub file: PathBuf,
    /// URL of a server.
    #[arg(long, env = "WEIR_SERVER", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub server: String,
    /// API key with the gateway role.
    #[arg(long, env = "WEIR_KEY", value_name = "KEY", hide_env_values = true)]
    pub key: Option<String>,
    /// API key with the admin role, for `--register` on a server.
    #[arg(long, env = "WEIR_ADMIN_KEY", value_name = "KEY", hide_env_values = true)]
    pub admin_key: Option<String>,
    /// Whom to trust.
    #[command(flatten)]
    pub trust: TrustArgs,
    /// Replay into this data directory, with a meter of its own, instead of to a server.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The organization.
    #[arg(long)]
    pub org: OrgId,
    /// How many cameras the rows are dealt to in turn. It names the debits: to go on later, give the same number again.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub cameras: u32,
    /// The recorded pace times this factor, as 1, 10 or 0.5.
    #[arg(long, value_name = "FACTOR")]
    pub speed: Option<Pace>,
    /// As fast as it is answered.
    #[arg(long)]
    pub flat_out: bool,
    /// Debits in a batch.
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub batch: usize,
    /// Epoch of the sequence numbers; a higher one sends the whole trace anew, as new events.
    #[arg(long, default_value_t = 1)]
    pub epoch: u32,
    /// What the ids of the cameras begin with; a number from 0 follows.
    #[arg(long, value_name = "PREFIX", default_value = "cam-")]
    pub camera_prefix: String,
    /// Register the cameras that are missing; with `--data`, make the organization too.
    #[arg(long)]
    pub register: bool,
    /// The network that registered cameras belong to.
    #[arg(long, value_name = "NAME", default_value = "replay", value_parser = parse_name)]
    pub network: Name,
    /// With `--data` and `--register`: add one license of so many tokens.
    #[arg(long, value_name = "TOKENS", requires = "data", requires = "register")]
    pub grant: Option<u64>,
    /// How long to go on without any answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub give_up_after: u64,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

impl ReplayArgs {
    fn names(&self) -> Result<Names, Failure> {
        let names = Names {
            organization: self.org.clone(),
            camera_prefix: self.camera_prefix.clone(),
            cameras: self.cameras,
            epoch: self.epoch,
        };
        CameraId::new(&names.camera(self.cameras - 1))
            .map_err(|invalid| Failure::usage(invalid.to_string()))?;
        Ok(names)
    }

    fn plan(&self) -> Plan {
        Plan {
            cameras: self.cameras,
            batch: self.batch.clamp(1, BATCH_DEBITS_MAX),
            pace: self.speed.unwrap_or(Pace::FlatOut),
            give_up_after: Duration::from_secs(self.give_up_after),
        }
    }
}

/// Runs it.
pub(super) fn run(args: &ReplayArgs) -> Result<(), Failure> {
    let names = args.names()?;
    let file = File::open(&args.file)
        .map_err(|error| Failure::usage(format!("{} cannot be opened: {error}", args.file.display())))?;
    let bytes = file.metadata()?.len();
    let trace = Trace::new(BufReader::new(file))?;
    match &args.data {
        Some(directory) => {
            let setup = if args.register { Setup::Make } else { Setup::Expect };
            let mut target = EmbeddedTarget::open(directory, names.clone(), setup)?;
            if let Some(tokens) = args.grant {
                target.grant(tokens)?;
            }
            let found = target.find_cameras()?;
            let missing = missing(args, &names, &found)?;
            target.register(&missing, &args.network)?;
            target.bind_slots()?;
            let replayed = replay(args, trace, bytes, &found, &target);
            target.close();
            replayed
        }
        None => {
            let client = Client::new(&args.server, args.key.as_deref(), &args.trust)?;
            let target = ServerTarget::new(client, names.clone());
            let found = target.find_cameras()?;
            let missing = missing(args, &names, &found)?;
            let admin = args.admin_key.as_deref().or(args.key.as_deref());
            target.register(&Client::new(&args.server, admin, &args.trust)?, &missing, &args.network)?;
            replay(args, trace, bytes, &found, &target)
        }
    }
}

/// The cameras that are to be registered.
fn missing(args: &ReplayArgs, names: &Names, found: &[Found]) -> Result<Vec<u32>, Failure> {
    let missing: Vec<u32> =
        (0..).zip(found).filter(|(_, found)| found.is_none()).map(|(number, _)| number).collect();
    match missing.first() {
        Some(first) if !args.register => Err(Failure::new(format!(
            "{} has no camera {}{}; nothing was sent; register it, or add --register",
            args.org,
            names.camera(*first),
            if missing.len() > 1 { format!(", nor {} others", missing.len() - 1) } else { String::new() },
        ))),
        _ => Ok(missing),
    }
}

fn replay(
    args: &ReplayArgs,
    trace: Trace<BufReader<File>>,
    bytes: u64,
    found: &[Found],
    target: &dyn Target,
) -> Result<(), Failure> {
    let from = first_seqs(args, found)?;
    let mut skipped = Tally::default().skipped;
    let mut tally = Tally::default();
    let bar = progress(bytes);
    let items = deal(trace, args.cameras).filter(|item| match item {
        Ok(item) if is_below(&from, item) => {
            skipped.add(item.tokens);
            false
        }
        _ => true,
    });
    let pumped = pump(items, target, args.plan(), &mut |item, verdict| {
        tally.add(item, verdict);
        bar.set_position(item.end.max(bar.position()));
    });
    bar.finish_and_clear();
    tally.skipped = skipped;
    report(args, &tally);
    pumped?;
    let refused = tally.refused().debits;
    if refused == 0 {
        return Ok(());
    }
    Err(Failure::refused(format!(
        "{refused} debits were refused and left no trace; run the same command again when the cause is mended: those \
         within {SEQ_WINDOW} of their camera's newest charged one are judged anew, older ones are too old"
    )))
}

/// The first number of each camera that is sent: what lies below its window was answered before.
fn first_seqs(args: &ReplayArgs, found: &[Found]) -> Result<Vec<u64>, Failure> {
    let first_seq = |found: &Found| match found.flatten() {
        Some(newest) if newest.epoch > args.epoch => Err(newest.epoch),
        Some(newest) if newest.epoch == args.epoch => Ok(newest.seq.saturating_sub(SEQ_WINDOW)),
        _ => Ok(0),
    };
    found.iter().map(first_seq).collect::<Result<_, _>>().map_err(|epoch| {
        Failure::new(format!(
            "a camera is at epoch {epoch} already, so every debit of epoch {} would be too old; nothing was sent; give \
             --epoch {epoch} to go on there, or a higher one to send the trace anew",
            args.epoch
        ))
    })
}

fn is_below(from: &[u64], item: &Item) -> bool {
    usize::try_from(item.camera)
        .ok()
        .and_then(|camera| from.get(camera))
        .is_some_and(|first| item.seq < *first)
}

/// Deals rows to cameras in turn.
pub(super) fn deal(
    rows: impl Iterator<Item = Result<Row, TraceError>>,
    cameras: u32,
) -> impl Iterator<Item = Result<Item, TraceError>> {
    let cameras = u64::from(cameras);
    rows.map(move |row| {
        row.map(|row| Item {
            row: row.number,
            camera: u32::try_from(row.number % cameras).expect("below the number of cameras"),
            seq: row.number / cameras,
            time: row.time,
            tokens: row.tokens,
            end: row.end,
        })
    })
}

/// A bar on standard error, and none where that is no terminal.
pub(super) fn progress(bytes: u64) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{wide_bar} {percent}% {bytes}/{total_bytes} {elapsed} (eta {eta})");
    ProgressBar::new(bytes).with_style(style.expect("a template with known keys"))
}

fn report(args: &ReplayArgs, tally: &Tally) {
    if args.json {
        print_json(&json!({
            "organization": args.org,
            "epoch": args.epoch,
            "rows": tally.rows().debits,
            "tokens": tally.rows().tokens,
            "charged": tally.charged,
            "exempt": tally.exempt,
            "duplicates": { "charged": tally.duplicates_charged, "exempt": tally.duplicates_exempt },
            "refused": tally.refused,
            "skipped": tally.skipped,
        }));
    } else {
        print(&tally.text());
        if tally.skipped.debits > 0 {
            note(&format!(
                "skipped rows were not sent: their cameras were charged for higher numbers before, which an earlier run \
                 of the same trace with --cameras {} did; with another number they are other debits, and were not charged",
                args.cameras
            ));
        }
    }
}
