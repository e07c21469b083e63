//! The `weir` program: reads the command line, runs what it says, ends with an exit code.
//!
//! 0: done. 1: it failed, or what was checked does not hold. 2: it was asked wrongly, or could not begin. 3: it was done, and
//! some debits were refused (`weir replay`).

use std::process::ExitCode;

use tokenweir::edge::cli::serve::ServeArgs;
use tokenweir::edge::cli::{self, Command, Failure};
use tokenweir::server;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let done = cli::parse().and_then(|cli| match cli.command {
        Command::Serve(args) => serve(&args),
        command => cli::run(command),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            cli::tell(&failure);
            failure.exit_code()
        }
    }
}

fn serve(args: &ServeArgs) -> Result<(), Failure> {
    let config = args.load()?;
    args.watch_stdin();
    Ok(server::serve(&config, &mut std::io::stdout())?)
}
