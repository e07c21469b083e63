//! `weir audit`: who did what.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::domain::ids::OrgId;
use crate::meter::AuditCursor;

use super::client::ServerArgs;
use super::failure::Failure;
use super::output::{field, note, print, print_json, rows, table};

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
    /// Only acts behind a page, as its `next` says.
    #[arg(long, value_name = "PLACE")]
    pub after: Option<AuditCursor>,
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
    let mut entries: Vec<Value> = Vec::new();
    let (mut after, mut incomplete) = (args.after.as_ref().map(ToString::to_string), BTreeSet::new());
    loop {
        let limit = (args.limit - entries.len()).clamp(1, 1_000);
        let from = after.map_or(String::new(), |place| format!("&after={place}"));
        let page = client.get(&format!("{path}?limit={limit}{from}"))?;
        entries.extend_from_slice(rows(&page, "entries"));
        incomplete.extend(rows(&page, "incomplete").iter().filter_map(Value::as_str).map(str::to_owned));
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() || entries.len() >= args.limit {
            break;
        }
    }
    for node in &incomplete {
        note(&format!(
            "no answer came from the node {node}: the acts that it recorded are missing; ask again"
        ));
    }
    if args.server.json {
        print_json(&json!({ "entries": entries, "next": after, "incomplete": incomplete }));
    } else {
        print(&show(&entries));
    }
    Ok(())
}

fn show(entries: &[Value]) -> String {
    let row = |entry: &Value| {
        let place = entry["peer"].as_str().map_or(String::new(), |peer| format!(" {peer}"));
        let from = format!("{}{place}", field(entry, "edge"));
        let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let (at, actor) = (field(entry, "at"), field(entry, "actor"));
        let (act, outcome) = (field(entry, "act"), field(entry, "outcome"));
        [entry["id"].to_string(), text("node"), at, actor, from, act, text("target"), outcome]
    };
    let rows: Vec<_> = entries.iter().map(row).collect();
    if entries.iter().any(|entry| !entry["node"].is_null()) {
        return table(["id", "node", "at", "actor", "from", "act", "target", "outcome"], &rows);
    }
    let alone = |[id, _, rest @ ..]: [String; 8]| {
        let [at, actor, from, act, target, outcome] = rest;
        [id, at, actor, from, act, target, outcome]
    };
    let rows: Vec<_> = rows.into_iter().map(alone).collect();
    table(["id", "at", "actor", "from", "act", "target", "outcome"], &rows)
}
