//! The command line: what `weir` offers besides serving.
//!
//! Client commands speak the HTTP interface of a running server and know nothing else of it. `verify`, `inspect` and `export` read
//! a data directory or a backup and change nothing, `export` also while a server holds it, `verify` and `export` also the streams of a cluster; `reports` builds the reports of one; `backup` reads one that a server may hold, and `restore` makes a new one. `replay` works on either. Each command has one file, with its
//! options, its work and its output.
//!
//! Invariants: what a program may read goes to standard output, everything else to standard error; with `--json` or `--output json`, standard
//! output holds JSON and nothing else, and why a command failed is JSON on the last line of standard error. Deliberately absent: starting the server, which the program's root dispatches.

mod alerts;
mod audit;
mod backup;
mod cameras;
mod client;
mod completions;
mod config;
mod data_key;
mod demo;
mod demo_count;
mod demo_report;
mod demo_server;
mod demo_setup;
mod demo_signals;
mod export;
mod export_parquet;
mod export_row;
mod failure;
mod fresh;
mod ingest;
mod inspect;
mod inspect_frame;
mod keys;
mod license_keys;
mod licenses;
mod organizations;
mod output;
mod rates;
mod replay;
mod replay_pace;
mod replay_pump;
mod replay_tally;
mod replay_target;
mod reports;
mod reservations;
mod restore;
pub mod serve;
pub mod serve_cluster;
mod signals;
mod summary;
mod top;
mod trace;
mod transfers;
mod trust;
mod usage;
mod verify;
mod verify_audit;
mod verify_cut;
mod verify_place;
mod webhooks;

use std::ffi::OsString;

use clap::{Parser, Subcommand};

pub use client::ServerArgs;
pub use failure::Failure;
pub use output::Output;
pub use trust::TrustArgs;

/// Meters the AI tokens that camera streams consume: one pool per organization, charged exactly once, durable.
#[derive(Debug, Parser)]
#[command(name = "weir", version, about, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server on a data directory.
    Serve(Box<serve::ServeArgs>),
    /// Show everything once: server, licenses, a real trace, a crash in its middle, recovery, a transfer.
    Demo(demo::DemoArgs),
    /// Create and list organizations.
    #[command(subcommand, visible_alias = "organization", visible_alias = "org")]
    Orgs(organizations::OrganizationCommand),
    /// Register, show and remove cameras, and bind Unlimited AI Licenses to them.
    #[command(subcommand, visible_alias = "cameras")]
    Camera(cameras::CameraCommand),
    /// Add and list Shared AI Token Licenses; issue and show license keys.
    #[command(subcommand, visible_alias = "licenses")]
    License(licenses::LicenseCommand),
    /// Show the AI Token Summary of an organization.
    Summary(summary::SummaryArgs),
    /// Show what an organization used: by time, network, camera and usage kind.
    Usage(usage::UsageArgs),
    /// Show how the balance of an organization went.
    Balance(usage::BalanceArgs),
    /// Show the AI event log of an organization, newest first.
    Events(usage::EventsArgs),
    /// Watch what a server does: its partitions, and its organizations by burn rate.
    Top(top::TopArgs),
    /// Hold tokens for work whose cost is known only afterwards, list and release what is held.
    #[command(subcommand, visible_alias = "reservations")]
    Reservation(reservations::ReservationCommand),
    /// Set and list what events cost that bear no token count.
    #[command(subcommand)]
    Rates(rates::RatesCommand),
    /// Set and list thresholds: what an organization wants to be told of its tokens.
    #[command(subcommand, visible_alias = "alert")]
    Alerts(alerts::AlertsCommand),
    /// Set and list webhooks, their secrets and what was delivered to them.
    #[command(subcommand, visible_alias = "webhook")]
    Webhooks(webhooks::WebhooksCommand),
    /// Charge what other programs recorded, or say: lines of JSON, a camera recorder.
    #[command(subcommand)]
    Ingest(ingest::IngestCommand),
    /// Move a whole pool to another organization, or ask where such a transfer stands.
    #[command(subcommand, visible_alias = "transfers")]
    Transfer(transfers::TransferCommand),
    /// Create, list and revoke API keys, on a server or on a stopped data directory.
    #[command(subcommand, visible_alias = "keys")]
    Key(keys::KeyCommand),
    /// Show who did what: licenses, cameras, keys, transfers, and what was refused.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Replay everything in a stopped data directory and check the invariants; change nothing.
    Verify(verify::VerifyArgs),
    /// Show the journal and the snapshots of a stopped data directory; change nothing.
    Inspect(inspect::InspectArgs),
    /// Write every debit that the journal of a data directory or of a backup holds, as CSV, lines of JSON or Parquet.
    Export(export::ExportArgs),
    /// Build the reports of a stopped data directory anew from its journal.
    #[command(subcommand)]
    Reports(reports::ReportsCommand),
    /// Copy a data directory at one consistent moment, also while a server runs on it.
    Backup(backup::BackupArgs),
    /// Make a data directory of a backup, as it was at a point in time, and verify it.
    Restore(restore::RestoreArgs),
    /// Check or show the configuration of a server.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print what a shell needs to complete commands and flags.
    Completions(completions::CompletionArgs),
    /// Send a recorded token trace as debits of many cameras, to a server or into a data directory.
    Replay(replay::ReplayArgs),
}

/// Reads the command line of this process.
///
/// # Errors
/// [`Failure`] with exit code 2, when `--json` is asked for and what is asked cannot be read; without `--json`, and for
/// `--help` and `--version`, the process ends here.
pub fn parse() -> Result<Cli, Failure> {
    Cli::try_parse().map_err(|error| {
        if !(error.use_stderr() && wants_json()) {
            error.exit();
        }
        Failure::usage(error.to_string().trim_start_matches("error: ").trim_end())
    })
}

/// Tells why a command failed on standard error: people in a line, programs (`--json`) in a JSON object on one line.
pub fn tell(failure: &Failure) {
    if wants_json() {
        output::note(&failure.json().to_string());
    } else {
        output::note(&format!("weir: {failure}"));
    }
}

/// Whether the command line asks for JSON, be it understood or not.
fn wants_json() -> bool {
    let mut arguments = std::env::args_os();
    let is_json = |value: Option<OsString>| value.is_some_and(|value| value == "json");
    while let Some(argument) = arguments.next() {
        let asks = argument == "--json" || argument == "--output=json";
        if asks || argument == "--output" && is_json(arguments.next()) {
            return true;
        }
    }
    false
}

/// Runs a command other than `serve`.
///
/// # Errors
/// Whatever kept the command from its end, with the exit code that says what kind it is.
pub fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(_) => {
            Err(Failure::usage("the server is started by the program's root, not from here"))
        }
        Command::Demo(args) => demo::run(&args),
        Command::Orgs(command) => organizations::run(&command),
        Command::Camera(command) => cameras::run(&command),
        Command::License(command) => licenses::run(&command),
        Command::Summary(args) => summary::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Rates(command) => rates::run(&command),
        Command::Alerts(command) => alerts::run(&command),
        Command::Webhooks(command) => webhooks::run(&command),
        Command::Ingest(command) => ingest::run(&command),
        Command::Usage(args) => usage::run(&args),
        Command::Balance(args) => usage::balance(&args),
        Command::Events(args) => usage::events(&args),
        Command::Export(args) => export::run(&args),
        Command::Reports(command) => reports::run(&command),
        Command::Reservation(command) => reservations::run(&command),
        Command::Transfer(command) => transfers::run(&command),
        Command::Key(command) => keys::run(&command),
        Command::Audit(command) => audit::run(&command),
        Command::Verify(args) => verify::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Backup(args) => backup::run(&args),
        Command::Restore(args) => restore::run(&args),
        Command::Config(command) => config::run(&command),
        Command::Completions(args) => completions::run(&args),
        Command::Replay(args) => replay::run(&args),
    }
}
