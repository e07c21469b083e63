//! `weir ingest`: what other programs wrote or say becomes debits.
//!
//! Each source makes debits of what it finds, and [`deliver`] sends them until the server has answered each: to begin again where a
//! run ended is to run the same command again. Deliberately absent: a memory of what was sent. The ids of the debits are that.

mod deliver;
mod frigate;
mod mapping;
mod ndjson;

use clap::Subcommand;

use super::failure::Failure;

/// Charge what other programs recorded, or say.
#[derive(Debug, Subcommand)]
pub enum IngestCommand {
    /// Events in a file or on standard input, one JSON object a line.
    Ndjson(ndjson::NdjsonArgs),
    /// Events of a Frigate camera recorder, from its MQTT broker.
    Frigate(frigate::FrigateArgs),
}

/// Runs it.
pub(super) fn run(command: &IngestCommand) -> Result<(), Failure> {
    match command {
        IngestCommand::Ndjson(args) => ndjson::run(args),
        IngestCommand::Frigate(args) => frigate::run(args),
    }
}
