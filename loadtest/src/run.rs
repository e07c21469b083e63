//! `loadtest run`: one load, one target, a report, an audit.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use tokenweir::meter::Durability;
use tokenweir::telemetry::clock;

use crate::audit::audit;
use crate::drive::{Loop, Progress, drive};
use crate::failure::{Outcome, tell};
use crate::load::{AzureTrace, Choice, Source, Spread, Synthetic, Tenants};
use crate::number::{fraction, usize_of, whole};
use crate::process::Cost;
use crate::report::{Load, Reading, Report};
use crate::target::{Embedded, Grpc, Http, HttpPlan, Scene, Target};

/// How often the progress is shown.
const SHOWN_EVERY: Duration = Duration::from_millis(200);
/// Requests of a producer in flight when nothing else is asked for.
const WINDOW_DEFAULT: usize = 64;
/// Producers when nothing else is asked for: the cores of a small machine.
const PRODUCERS_DEFAULT: u64 = 2;

#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// What is driven.
    #[arg(long, value_enum)]
    target: Where,
    /// Organizations; with --tenants there are as many as tenants.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    organizations: u64,
    /// Cameras of each organization.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=4_000_000))]
    cameras: u64,
    /// Debits a second, sent at random times whether or not replies come.
    #[arg(long, default_value_t = 100_000.0)]
    rate: f64,
    /// As fast as it goes, in a closed loop.
    #[arg(long, conflicts_with_all = ["rate", "trace", "tenants", "ramp"])]
    flat_out: bool,
    /// Requests of a producer in flight in a closed loop.
    #[arg(long, default_value_t = WINDOW_DEFAULT, requires = "flat_out")]
    window: usize,
    /// Debits of a request.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    batch: u64,
    /// How long, in seconds.
    #[arg(long, default_value_t = 10.0)]
    duration: f64,
    /// How long the rate rises from nothing to its height, in seconds.
    #[arg(long, default_value_t = 0.0)]
    ramp: f64,
    /// Choose organizations by Zipf's law with this exponent.
    #[arg(long, value_name = "S", conflicts_with = "hot")]
    zipf: Option<f64>,
    /// Send everything to the first organization.
    #[arg(long)]
    hot: bool,
    /// A recorded trace (TIMESTAMP,ContextTokens,GeneratedTokens), one debit a row.
    #[arg(long, value_name = "FILE", conflicts_with = "tenants")]
    trace: Option<PathBuf>,
    /// A folder of tenants as published with ServeGen (chunk-N-trace.csv, chunk-N-dataset.json), one debit a request.
    #[arg(long, value_name = "DIR")]
    tenants: Option<PathBuf>,
    /// How many times faster than recorded a trace or tenants are sent.
    #[arg(long, default_value_t = 1.0)]
    speed: f64,
    /// When a debit is acknowledged.
    #[arg(long, value_enum, default_value_t = DurabilityName::Durable)]
    durability: DurabilityName,
    /// Producers: pairs of threads, each with a connection of its own.
    #[arg(long, default_value_t = PRODUCERS_DEFAULT, value_parser = clap::value_parser!(u64).range(1..=256))]
    producers: u64,
    /// The server to start: the path of `weir`; this program's own server where absent.
    #[arg(long, value_name = "PATH")]
    weir: Option<PathBuf>,
    /// A server that runs, as http://127.0.0.1:8080.
    #[arg(long, value_name = "URL", requires_all = ["key", "issuer"])]
    server: Option<String>,
    /// Where the running server serves gRPC, as http://127.0.0.1:8081.
    #[arg(long, value_name = "URL", requires = "server")]
    grpc_server: Option<String>,
    /// An operator key of the running server.
    #[arg(long, env = "WEIR_KEY", hide_env_values = true)]
    key: Option<String>,
    /// The file of an issuer of license keys that the running server trusts.
    #[arg(long, value_name = "FILE")]
    issuer: Option<PathBuf>,
    /// Print the report as one JSON object.
    #[arg(long)]
    json: bool,
    /// Write the report as a page.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Count this many tokens too many, to see the audit fail.
    #[arg(long, hide = true, default_value_t = 0)]
    plant_tokens: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Where {
    /// The engine in this process.
    Embedded,
    /// A server, by JSON over HTTP.
    Http,
    /// A server, by columns over gRPC streams.
    Grpc,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DurabilityName {
    /// After the fsync.
    Durable,
    /// At once.
    Applied,
}

/// Runs it.
pub(crate) fn run(args: &RunArgs) -> Outcome {
    let plan = Plan::new(args)?;
    tell("making the organizations and their cameras");
    let target = plan.target(args)?;
    let before = reading(&*target)?;
    let progress = Progress::default();
    let tally =
        shown(&progress, plan.length, || drive(&*target, plan.sources(args), plan.how(args), &progress))?;
    let after = reading(&*target)?;
    let mut acknowledged = tally.acknowledged.clone();
    if args.plant_tokens > 0 {
        acknowledged.entry(0).or_default().tokens += args.plant_tokens;
    }
    let audit = audit(&acknowledged, &target.sums()?);
    let from = if args.flat_out { "sending" } else { "the intended time" };
    let report = Report::new(plan.load(args), from, &tally, (before, after), audit);
    if let Some(path) = &args.html {
        report.write_html(path)?;
    }
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{}", report.text());
    }
    report.audit.require()
}

/// What the arguments come to.
struct Plan {
    scene: Scene,
    length: Duration,
    trace: Option<AzureTrace>,
    tenants: Option<Tenants>,
}

impl Plan {
    fn new(args: &RunArgs) -> Outcome<Self> {
        if !(args.duration > 0.0 && args.rate > 0.0 && args.speed > 0.0 && args.window > 0) {
            return Err("the duration, the rate, the speed and the window are above zero".into());
        }
        if args.cameras < args.producers {
            return Err("there is at least one camera for each producer".into());
        }
        let trace = args.trace.as_deref().map(AzureTrace::read).transpose()?;
        let tenants = args.tenants.as_deref().map(Tenants::read).transpose()?;
        let organizations = tenants.as_ref().map_or(usize_of(args.organizations), Tenants::len);
        let durability = match args.durability {
            DurabilityName::Durable => Durability::Durable,
            DurabilityName::Applied => Durability::Applied,
        };
        // Another run against the same server gets organizations of its own.
        let prefix = format!("load-{}-{}", std::process::id(), clock::Clock::System.now().ms());
        let scene = Scene { prefix, organizations, cameras: args.cameras, durability };
        let length = Duration::try_from_secs_f64(args.duration)?;
        Ok(Self { scene, length, trace, tenants })
    }

    fn target(&self, args: &RunArgs) -> Outcome<Box<dyn Target>> {
        let plan = match (&args.server, &args.key, &args.issuer) {
            (Some(address), Some(key), Some(issuer)) => {
                HttpPlan::Running { address: address.clone(), key: key.clone(), issuer: issuer.clone() }
            }
            _ => HttpPlan::Start(args.weir.clone()),
        };
        Ok(match args.target {
            Where::Embedded => Box::new(Embedded::new(&self.scene)?),
            Where::Http => Box::new(Http::new(&plan, &self.scene)?),
            Where::Grpc => Box::new(Grpc::new(&plan, args.grpc_server.as_deref(), &self.scene)?),
        })
    }

    fn sources(&self, args: &RunArgs) -> Vec<Box<dyn Source>> {
        (0..args.producers).map(|producer| self.source(args, producer)).collect()
    }

    fn source(&self, args: &RunArgs, producer: u64) -> Box<dyn Source> {
        let Scene { organizations, cameras, .. } = self.scene;
        if let Some(trace) = &self.trace {
            let spread = Spread { organizations, cameras, speed: args.speed, length: self.length };
            return trace.source(spread, producer, args.producers);
        }
        if let Some(tenants) = &self.tenants {
            return tenants.source(cameras, args.speed, self.length, (producer, args.producers));
        }
        let choice = match args.zipf {
            Some(exponent) => Choice::Zipf(exponent),
            None if args.hot => Choice::Hot,
            None => Choice::Even,
        };
        let load = Synthetic {
            organizations,
            cameras,
            batch: self.batch(args),
            rate: (!args.flat_out).then_some(args.rate),
            ramp: Duration::try_from_secs_f64(args.ramp).unwrap_or_default(),
            length: self.length,
            choice,
        };
        load.source(producer, args.producers)
    }

    fn how(&self, args: &RunArgs) -> Loop {
        if args.flat_out { Loop::Closed { window: args.window, length: self.length } } else { Loop::Open }
    }

    fn batch(&self, args: &RunArgs) -> usize {
        if self.trace.is_some() || self.tenants.is_some() { 1 } else { usize_of(args.batch) }
    }

    fn load(&self, args: &RunArgs) -> Load {
        let arrivals = match (&self.trace, &self.tenants) {
            (Some(_), _) => format!("open loop, a recorded trace, {} times as fast", args.speed),
            (_, Some(tenants)) => {
                let rate = tenants.mean_rate() * args.speed;
                format!("open loop, tenants, {} times as fast: about {rate:.0} a second", args.speed)
            }
            _ if args.flat_out => format!("closed loop, {} requests in flight each", args.window),
            _ => format!("open loop, {} debits a second", whole(args.rate)),
        };
        Load {
            target: format!("{:?}", args.target).to_lowercase(),
            durability: format!("{:?}", args.durability).to_lowercase(),
            arrivals,
            organizations: self.scene.organizations,
            cameras: self.scene.cameras,
            batch: self.batch(args),
            producers: args.producers,
        }
    }
}

fn reading(target: &dyn Target) -> Outcome<Reading> {
    Ok(Reading { journal: target.journal()?, cost: Cost::of(target.pid()) })
}

/// Shows the progress of some work while it is done.
fn shown<T: Send>(progress: &Progress, length: Duration, work: impl FnOnce() -> T + Send) -> T {
    let bar = ProgressBar::new(crate::number::nanos(length) / 1_000_000);
    let style = ProgressStyle::with_template("{bar:30} {elapsed} {msg}").expect("a fixed template");
    bar.set_style(style);
    let (begun, is_done) = (clock::start(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let watcher = std::thread::current();
        let is_done = &is_done;
        let worker = scope.spawn(move || {
            let done = work();
            is_done.store(true, Ordering::Release);
            watcher.unpark();
            done
        });
        let (mut last, mut at) = (0, Duration::ZERO);
        while !is_done.load(Ordering::Acquire) {
            std::thread::park_timeout(SHOWN_EVERY);
            let (answered, now) = (progress.answered.load(Ordering::Relaxed), begun.elapsed());
            let rate = fraction(answered - last) / (now - at).as_secs_f64().max(1e-9);
            (last, at) = (answered, now);
            bar.set_position(crate::number::nanos(now) / 1_000_000);
            bar.set_message(format!("{answered} debits answered, {rate:.0} a second"));
        }
        bar.finish_and_clear();
        worker.join().expect("the drivers do not panic")
    })
}
