//! The checks of this repository as one program: `cargo xtask ci` runs what CI runs.
//!
//! Each check is a nested cargo command or a small program step, runs alone, and the first failure ends the run.
//! Deliberately absent: dependencies (it must build in seconds on a fresh machine) and retries.

mod alerts;
mod browser;
mod cargo;
mod clients;
mod cluster;
mod debian;
mod demo;
mod dependencies;
mod described;
mod exported;
mod frigate;
mod fuzz;
mod json;
mod options;
mod packages;
mod plan;
mod python;
mod server;
mod sim;
mod soak;
mod step;
mod storm;
mod targets;
mod tour;
mod trace;
mod webhooks;

use std::process::ExitCode;

use crate::step::{Failure, Step, run_all};

fn main() -> ExitCode {
    if let Some(ended) = fuzz::as_rustc() {
        return ended;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn dispatch(arguments: &[String]) -> Result<(), Failure> {
    let name = match arguments {
        [] => "help",
        [name] => name.as_str(),
        [name, options @ ..] => return run_all(with_options(name, options)?),
    };
    if matches!(name, "help" | "--help" | "-h") {
        println!("{}", help());
        return Ok(());
    }
    match plan::COMMANDS.iter().find(|command| command.name == name) {
        Some(command) => run_all((command.steps)()?),
        None => Err(Failure::usage(format!("`{name}` is not a command of xtask; known are {}", known()))),
    }
}

fn with_options(name: &str, options: &[String]) -> Result<Vec<Step>, Failure> {
    match name {
        sim::NAME => sim::asked_for(options),
        cluster::NAME => cluster::asked_for(options),
        storm::NAME => storm::asked_for(options),
        soak::NAME => soak::asked_for(options),
        fuzz::NAME => fuzz::asked_for(options),
        _ => Err(Failure::usage(format!("`{name}` takes no further arguments"))),
    }
}

fn help() -> String {
    let mut text = String::from("usage: cargo xtask COMMAND\n\n");
    for command in plan::COMMANDS {
        text.push_str(&format!("  {:<7} {}\n", command.name, command.about));
    }
    text.push_str("  help    print this text");
    text
}

fn known() -> String {
    let mut names: Vec<&str> = plan::COMMANDS.iter().map(|command| command.name).collect();
    names.push("help");
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(words: &[&str]) -> Vec<String> {
        words.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_unknown_command_is_refused_and_the_known_ones_are_named() {
        let failure = dispatch(&arguments(&["frobnicate"])).expect_err("there is no such command");
        let message = failure.to_string();
        assert!(message.contains("`frobnicate`"), "{message}");
        for name in ["ci", "fmt", "lint", "docs", "test", "sim", "storm", "soak", "fuzz", "smoke", "help"] {
            assert!(message.contains(name), "{name} is missing in: {message}");
        }
    }

    #[test]
    fn a_word_after_the_command_is_refused() {
        assert!(dispatch(&arguments(&["fmt", "--quickly"])).is_err());
    }

    #[test]
    fn the_help_text_describes_every_command() {
        let text = help();
        assert!(plan::COMMANDS.iter().all(|command| text.contains(command.about)));
    }
}
