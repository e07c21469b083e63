//! `weir demo`: everything once, for a newcomer.
//!
//! A server is started as a child process on a fresh data directory. Two organizations, their keys, one license key, 64 cameras;
//! then a real trace is sent as debits, the child is killed with SIGKILL while batches are in flight, the directory is
//! replayed read-only, the server is started on it again, the trace is finished under the same ids, and the whole pool is
//! moved to the other organization. Every figure is counted on both sides and compared to the token.

use std::io::Cursor;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::client::Client;
use super::demo_count::Gate;
use super::demo_report::{self, Outcome};
use super::demo_server::{self, ChildServer};
use super::demo_setup::{self, CAMERAS, NORTH, SOUTH, Scene};
use super::demo_signals::StopSignals;
use super::failure::Failure;
use super::output::{note, number, print};
use super::replay::{deal, progress};
use super::replay_pump::{Plan, pump};
use super::replay_tally::Tally;
use super::replay_target::ServerTarget;
use super::trace::Trace;
use super::verify;

const TRACE: &[u8] = include_bytes!("../../../data/azure-llm/AzureLLMInferenceTrace_conv.csv");
/// The row at which the server is killed.
const KILL_AT_ROW: u64 = 9_000;
const TRANSFER: &str = "demo-transfer";

/// How to show it.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// End when all is shown, instead of serving on.
    #[arg(long)]
    pub exit: bool,
    /// Print one JSON object, last on standard output.
    #[arg(long)]
    pub json: bool,
    /// The data directory, which must be empty or not there; a temporary one when not given.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Where the server listens; a free port when not given.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
}

impl DemoArgs {
    /// Tells people; with `--json` on standard error.
    fn say(&self, text: &str) {
        if self.json { note(text) } else { print(text) }
    }
}

/// Where the demo keeps its files; what is temporary is removed when this is dropped, unless it is to be looked into.
struct Place {
    /// A directory of the demo's own, for the operator key and the issuer of its license key.
    own: PathBuf,
    data: PathBuf,
    keep: bool,
}

impl Place {
    fn new(given: Option<&Path>) -> Result<Self, Failure> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| Failure::new(error.to_string()))?;
        let own = std::env::temp_dir().join(format!("weir-demo-{:016x}", u64::from_le_bytes(random)));
        std::fs::DirBuilder::new().mode(0o700).create(&own)?;
        let data = given.map_or_else(|| own.join("data"), Path::to_path_buf);
        let place = Self { own, data, keep: false };
        if is_empty(&place.data) {
            return Ok(place);
        }
        Err(Failure::usage(format!(
            "{} is not empty; nothing was changed; the demo needs a directory of its own",
            place.data.display()
        )))
    }
}

impl Place {
    /// Keeps the data directory if the demo wrote anything into it, and says what became of it.
    fn keep_what_was_written(&mut self) -> String {
        let directory = self.data.display();
        if is_empty(&self.data) {
            return format!("nothing was written to {directory}, and nothing is kept");
        }
        self.keep = self.data.starts_with(&self.own);
        match verify::expect_directory(&self.data) {
            Ok(()) => format!("the data directory is kept: look into it with `weir inspect {directory}`"),
            Err(_) => format!(
                "{directory} is kept; it is no whole data directory yet, so remove it when it is of no use"
            ),
        }
    }
}

/// Whether there is nothing in a directory, or no directory.
fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).map_or(true, |mut entries| entries.next().is_none())
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.keep {
            // What cannot be removed lies in the directory for temporary files, where it may lie.
            drop(std::fs::remove_dir_all(&self.own));
        }
    }
}

/// Runs it.
pub(super) fn run(args: &DemoArgs) -> Result<(), Failure> {
    let mut place = Place::new(args.data.as_deref())?;
    let signals = StopSignals::watch(place.own.clone())?;
    let shown = show(args, &place, &signals);
    shown.map_err(|failure| {
        demo_server::stay_if_ending();
        Failure::new(format!("{failure}; {}", place.keep_what_was_written()))
    })
}

fn show(args: &DemoArgs, place: &Place, signals: &StopSignals) -> Result<(), Failure> {
    let issuer = demo_setup::make_issuer(&place.own)?;
    args.say(&format!("starting a server on {}", place.data.display()));
    let server = ChildServer::start(&place.data, args.listen, &place.own)?;
    let scene = demo_setup::prepare(server.url(), &place.own, &issuer)?;
    args.say(&format!(
        "made organizations {NORTH} and {SOUTH}, {CAMERAS} cameras on {} networks, and {} tokens in 3 licenses",
        demo_setup::NETWORKS.len(),
        number(demo_setup::granted())
    ));
    let (server, mut outcome) = replay_with_a_crash(args, place, server, &scene)?;
    let admin = Client::plain(server.url(), Some(&scene.admin_key))?;
    outcome.replayed = summary(&admin, NORTH)?;
    let order = json!({ "id": TRANSFER, "source": NORTH, "target": SOUTH });
    outcome.transfer = admin.post("/v1/transfers?wait=true", &order)?;
    (outcome.source, outcome.target) = (summary(&admin, NORTH)?, summary(&admin, SOUTH)?);
    args.say("moved the whole pool to the second organization");
    args.say(&demo_report::text(&outcome));
    finish((args, place, signals), server, &scene, &outcome)
}

fn finish(
    (args, place, signals): (&DemoArgs, &Place, &StopSignals),
    server: ChildServer,
    scene: &Scene,
    outcome: &Outcome,
) -> Result<(), Failure> {
    let conserved = demo_report::broken_sums(outcome);
    if !args.exit {
        if args.json {
            demo_report::print_report(outcome, &conserved);
        }
        signals.wait(|| args.say(&demo_report::urls(server.url(), scene)))?;
        args.say("stopping");
        server.stop()?;
    } else {
        server.stop()?;
        let verified = verify::read(&place.data)?.report;
        if args.json {
            demo_report::print_report(outcome, &conserved);
        }
        if !verified.clean {
            return Err(Failure::new(
                "`weir verify` finds damage or a broken invariant in the demo's directory",
            ));
        }
    }
    if conserved.is_empty() && outcome.recovered_equal() {
        return Ok(());
    }
    let mut broken = conserved;
    broken.extend(outcome.recovery_faults.clone());
    Err(Failure::new(format!("the demo's figures do not add up: {}", broken.join("; "))))
}

/// Sends the trace, kills the server in its middle, starts it again, and waits for the end of the trace.
fn replay_with_a_crash(
    args: &DemoArgs,
    place: &Place,
    server: ChildServer,
    scene: &Scene,
) -> Result<(ChildServer, Outcome), Failure> {
    args.say("replaying one hour of a real trace (Microsoft Azure, published with Splitwise, ISCA 2024, CC-BY 4.0)");
    let (signal, reached) = crossbeam::channel::unbounded();
    let target = ServerTarget::new(Client::plain(server.url(), Some(&scene.gateway_key))?, scene.names());
    let gate = Gate::new(target, KILL_AT_ROW, signal.clone());
    let bar = progress(u64::try_from(TRACE.len()).unwrap_or(u64::MAX));
    let rows = Trace::new(Cursor::new(TRACE))?;
    std::thread::scope(|scope| {
        let replay = scope.spawn(|| {
            let mut tally = Tally::default();
            let pumped = pump(deal(rows, CAMERAS), &gate, plan(), &mut |item, verdict| {
                tally.add(item, verdict);
                bar.set_position(item.end.max(bar.position()));
            });
            // Nobody listens any more when the kill is over, and then nobody needs it.
            _ = signal.send(());
            pumped.map(|()| tally)
        });
        reached.recv().map_err(|_| Failure::new("the replay went away without a word"))?;
        let crashed = crash(args, place, server, scene, &gate);
        if crashed.is_err() {
            gate.give_up();
        }
        let tally = replay.join().map_err(|_| Failure::new("the replay panicked"))?;
        bar.finish_and_clear();
        let (server, mut outcome) = crashed?;
        outcome.tally = tally?;
        Ok((server, outcome))
    })
}

fn plan() -> Plan {
    Plan {
        cameras: CAMERAS,
        batch: 128,
        pace: super::replay_pace::Pace::FlatOut,
        give_up_after: std::time::Duration::from_secs(30),
    }
}

/// Kills the server, reads what it left, starts it again, and compares.
fn crash(
    args: &DemoArgs,
    place: &Place,
    server: ChildServer,
    scene: &Scene,
    gate: &Gate,
) -> Result<(ChildServer, Outcome), Failure> {
    let in_flight = gate.in_flight();
    server.kill()?;
    let closed = gate.close();
    args.say(&format!(
        "killed the server (SIGKILL) with {in_flight} batches in flight, after {} debits were acknowledged",
        number(closed.seen().judged().debits)
    ));
    let stored = verify::read(&place.data)?;
    let server = ChildServer::start(&place.data, args.listen, &place.own)?;
    let served = summary(&Client::plain(server.url(), Some(&scene.admin_key))?, NORTH)?;
    let recovery_faults = demo_report::recovery_faults(closed.seen(), &stored, &served);
    let recovered =
        demo_report::count(&served, "debits_charged") + demo_report::count(&served, "debits_exempt");
    args.say(&format!(
        "started it again: {} debits recovered; everything acknowledged is there, and the served state equals a \
         read-only replay of the directory: {}",
        number(recovered),
        if recovery_faults.is_empty() { "yes" } else { "no" }
    ));
    closed.reopen(ServerTarget::new(Client::plain(server.url(), Some(&scene.gateway_key))?, scene.names()));
    Ok((server, Outcome::new(recovery_faults)))
}

fn summary(client: &Client, organization: &str) -> Result<Value, Failure> {
    Ok(client.get(&format!("/v1/organizations/{organization}/summary"))?)
}
