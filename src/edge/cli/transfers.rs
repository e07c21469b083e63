//! `weir transfer`: move a whole pool to another organization, and ask where a transfer stands.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::domain::ids::{OrgId, TransferId};

use super::client::ServerArgs;
use super::failure::Failure;
use super::output::{answer, field, number_field};

/// Move a whole pool, or ask where a transfer stands.
#[derive(Debug, Subcommand)]
pub enum TransferCommand {
    /// Transfer Shared AI to Org: all tokens and all licenses, or nothing (admin of both).
    Start(StartArgs),
    /// Ask where a transfer stands.
    Status(StatusArgs),
}

/// A transfer.
#[derive(Args, Debug)]
pub struct StartArgs {
    /// Names the transfer; the same id again asks for the same transfer, and never moves anything twice.
    pub id: TransferId,
    /// The organization whose pool is moved.
    #[arg(long)]
    pub from: OrgId,
    /// The organization that receives it.
    #[arg(long)]
    pub to: OrgId,
    /// Answer when it has ended.
    #[arg(long)]
    pub wait: bool,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Which transfer.
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// The transfer.
    pub id: TransferId,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Runs it.
pub(super) fn run(command: &TransferCommand) -> Result<(), Failure> {
    let (server, transfer) = match command {
        TransferCommand::Start(args) => {
            let body = json!({ "id": args.id, "source": args.from, "target": args.to });
            let path = format!("/v1/transfers?wait={}", args.wait);
            (&args.server, args.server.client()?.post(&path, &body)?)
        }
        TransferCommand::Status(args) => {
            (&args.server, args.server.client()?.get(&format!("/v1/transfers/{}", args.id))?)
        }
    };
    answer(server.output(), &transfer, text);
    if transfer["state"] == "aborted" {
        let why = field(&transfer, "refusal");
        return Err(Failure::new(format!(
            "the transfer was aborted ({why}); the source kept its tokens and licenses"
        )));
    }
    Ok(())
}

fn text(transfer: &Value) -> String {
    let (id, state) = (field(transfer, "id"), field(transfer, "state"));
    let (source, target) = (field(transfer, "source"), field(transfer, "target"));
    let next = match state.as_str() {
        "finished" => {
            let (tokens, licenses) = (number_field(transfer, "tokens"), number_field(transfer, "licenses"));
            format!("{tokens} tokens and {licenses} licenses were moved")
        }
        "aborted" => "nothing was moved".to_owned(),
        _ => format!("ask again with `weir transfer status {id}`"),
    };
    format!("transfer {id} from {source} to {target}: {state}; {next}")
}
