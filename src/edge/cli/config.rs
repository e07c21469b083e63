//! `weir config`: does the configuration of a server fit, and where does each setting come from?
//!
//! It takes what `weir serve` takes and reads it in the same way. Deliberately absent: whether an address is free or a file that a
//! setting names can be read; that is told when the server begins.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::config::Config;

use super::failure::Failure;
use super::output::{answer, print, print_json, table};
use super::serve::ServeArgs;

/// Check or show the configuration of a server, as `weir serve` would read it.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Say whether `weir serve` would take it; name the setting that does not fit, and where it stands.
    Check(Box<ConfigArgs>),
    /// Show what is set, and where; every other setting has its default.
    Show(Box<ConfigArgs>),
}

/// What `weir serve` would be given.
#[derive(Args, Debug)]
pub struct ConfigArgs {
    /// The settings.
    #[command(flatten)]
    pub serve: ServeArgs,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs it.
pub(super) fn run(command: &ConfigCommand) -> Result<(), Failure> {
    let (ConfigCommand::Check(args) | ConfigCommand::Show(args)) = command;
    let (config, set) = args.serve.load_with_places()?;
    match command {
        ConfigCommand::Check(_) if args.json => print_json(&json!({ "fits": true })),
        ConfigCommand::Check(_) => print(&fits(&config)),
        ConfigCommand::Show(_) => {
            let rows: Vec<_> = set.iter().map(row).collect();
            answer(args.json, &json!({ "settings": rows }), |_| table(["setting", "value", "where"], &set));
        }
    }
    Ok(())
}

fn fits(config: &Config) -> String {
    format!(
        "the configuration fits; `weir serve` would serve {} on {}",
        config.data_dir.display(),
        config.listen
    )
}

fn row([name, value, place]: &[String; 3]) -> Value {
    json!({ "name": name, "value": value, "where": place })
}
