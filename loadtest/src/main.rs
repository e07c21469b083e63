//! The `loadtest` program: drives Tokenweir with load and audits it, measures its floors, and compares it with its peers.
//!
//! 0: done, and every audit held. 1: it failed, or an audit did not hold. 2: it was asked wrongly.

#![expect(
    clippy::float_arithmetic,
    reason = "a load tester's figures are for people; tokens stay whole numbers"
)]

mod allocation;
mod audit;
mod cluster;
mod compare;
mod drive;
mod failure;
mod floors;
mod load;
mod number;
mod peers;
mod process;
mod report;
mod run;
mod soak;
mod target;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokenweir::edge::cli::serve::ServeArgs;

use failure::{Outcome, tell};

#[derive(Parser, Debug)]
#[command(name = "loadtest", version, about = "load, audit, floors and comparisons of tokenweir")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Drive a target with load, show what it did, and audit it.
    Run(Box<run::RunArgs>),
    /// Measure what bounds the engine from below: the disk, the plain loop, a mailbox, an HTTP echo, a gRPC echo.
    Floors(floors::FloorsArgs),
    /// Measure ours beside floors and peers, in one run.
    Compare(compare::CompareArgs),
    /// Measure the engine on three servers of NATS JetStream beside a bare publisher, and what a node costs.
    Cluster(cluster::ClusterArgs),
    /// Drive a server at a steady rate for long, and hold its end against its beginning.
    Soak(soak::SoakArgs),
    /// Serve as `weir serve` does; the load tester starts it as a process of its own.
    #[command(hide = true)]
    Serve(Box<ServeArgs>),
    /// Serve an HTTP echo that only parses a body.
    #[command(hide = true)]
    Echo(floors::EchoArgs),
    /// Serve a gRPC echo that only decodes batches and acknowledges them.
    #[command(hide = true)]
    GrpcEcho(floors::GrpcEchoArgs),
    /// Weigh what the engine keeps in memory, in a process of its own.
    #[command(hide = true)]
    Weigh(allocation::WeighArgs),
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Floors(args) => floors::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Cluster(args) => cluster::run(&args),
        Command::Soak(args) => soak::run(&args),
        Command::Serve(args) => serve(&args),
        Command::Echo(args) => floors::serve_echo(&args),
        Command::GrpcEcho(args) => floors::serve_grpc_echo(&args),
        Command::Weigh(args) => allocation::weigh(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tell(&format!("loadtest: {failure}"));
            ExitCode::FAILURE
        }
    }
}

fn serve(args: &ServeArgs) -> Outcome {
    let config = args.load().map_err(|failure| failure.to_string())?;
    args.watch_stdin();
    Ok(tokenweir::server::serve(&config, &mut std::io::stdout())?)
}
