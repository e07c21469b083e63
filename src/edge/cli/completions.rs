//! `weir completions`: what a shell needs to complete the commands and flags of `weir`.

use clap::{Args, CommandFactory as _};
use clap_complete::{Shell, generate};

use super::Cli;
use super::failure::Failure;

/// For which shell.
#[derive(Args, Debug)]
pub struct CompletionArgs {
    /// The shell.
    pub shell: Shell,
}

/// Runs it.
pub(super) fn run(args: &CompletionArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "weir", &mut script);
    super::output::print(String::from_utf8_lossy(&script).trim_end());
    Ok(())
}
