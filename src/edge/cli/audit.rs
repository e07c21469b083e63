//! `weir audit`: who did what.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::domain::ids::OrgId;

use super::client::ServerArgs;
use super::failure::Failure;
use super::output::{field, print, print_json, rows, table};

/// Show the trail of administrative acts.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// List the acts in an organization (its administrator), or those of operators (an operator); newest first.
    List(ListArgs),
}

/// What to list.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// The organization; the acts of operators when not given.
    pub organization: Option<OrgId>,
    /// At most so many acts.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub limit: usize,
    /// Only acts older than the one with this id.
    #[arg(long, value_name = "ID")]
    pub after: Option<u64>,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Runs it.
pub(super) fn run(command: &AuditCommand) -> Result<(), Failure> {
    let AuditCommand::List(args) = command;
    let client = args.server.client()?;
    let path = args
        .organization
        .as_ref()
        .map_or("/v1/audit".to_owned(), |organization| format!("/v1/organizations/{organization}/audit"));
    let (mut entries, mut after): (Vec<Value>, _) = (Vec::new(), args.after);
    loop {
        let limit = (args.limit - entries.len()).clamp(1, 1_000);
        let from = after.map_or(String::new(), |id| format!("&after={id}"));
        let page = client.get(&format!("{path}?limit={limit}{from}"))?;
        entries.extend_from_slice(rows(&page, "entries"));
        after = page["next"].as_u64();
        if after.is_none() || entries.len() >= args.limit {
            break;
        }
    }
    if args.server.json {
        print_json(&json!({ "entries": entries, "next": after }));
    } else {
        print(&show(&entries));
    }
    Ok(())
}

fn show(entries: &[Value]) -> String {
    let row = |entry: &Value| {
        let place = entry["peer"].as_str().map_or(String::new(), |peer| format!(" {peer}"));
        let from = format!("{}{place}", field(entry, "edge"));
        let target = entry["target"].as_str().unwrap_or_default().to_owned();
        let (at, actor) = (field(entry, "at"), field(entry, "actor"));
        [entry["id"].to_string(), at, actor, from, field(entry, "act"), target, field(entry, "outcome")]
    };
    let rows: Vec<_> = entries.iter().map(row).collect();
    table(["id", "at", "actor", "from", "act", "target", "outcome"], &rows)
}
