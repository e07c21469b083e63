//! `weir orgs`: create and list organizations.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::domain::ids::{Name, OrgId};

use super::client::ServerArgs;
use super::failure::Failure;
use super::output::{answer, field, note, rows};

/// Create and list organizations.
#[derive(Debug, Subcommand)]
pub enum OrganizationCommand {
    /// Create an organization with an empty pool (operator).
    Create(CreateArgs),
    /// List the organizations that the key may know of.
    List(ListArgs),
}

/// The organization to create.
#[derive(Args, Debug)]
pub struct CreateArgs {
    /// Its id: letters, digits, `.`, `_`, `:`, `-`.
    pub id: OrgId,
    /// Its name for people; the id when not given.
    #[arg(long, value_parser = parse_name)]
    pub name: Option<Name>,
    /// How long its event ids are remembered, in milliseconds; as the server is configured when not given.
    #[arg(long, value_name = "MS")]
    pub retention_ms: Option<u64>,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// How to list.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Reads a name for people.
pub(super) fn parse_name(text: &str) -> Result<Name, String> {
    Name::new(text).map_err(|invalid| invalid.to_string())
}

/// Runs it.
pub(super) fn run(command: &OrganizationCommand) -> Result<(), Failure> {
    match command {
        OrganizationCommand::Create(args) => create(args),
        OrganizationCommand::List(args) => list(args),
    }
}

fn create(args: &CreateArgs) -> Result<(), Failure> {
    let name = args.name.as_ref().map_or(args.id.as_str(), Name::as_str);
    let mut body = json!({ "id": args.id, "name": name });
    if let Some(retention_ms) = args.retention_ms {
        body["retention_ms"] = retention_ms.into();
    }
    let created = args.server.client()?.post("/v1/organizations", &body)?;
    answer(args.server.output(), &created, |value| {
        format!(
            "created {} ({}); add a license key to give it tokens",
            field(value, "id"),
            field(value, "name")
        )
    });
    Ok(())
}

fn list(args: &ListArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let mut organizations: Vec<Value> = Vec::new();
    let mut path = "/v1/organizations?limit=1000".to_owned();
    let incomplete = loop {
        let page = client.get(&path)?;
        organizations.extend_from_slice(rows(&page, "organizations"));
        let Some(next) = page["next"].as_str() else { break page["incomplete"].clone() };
        path = format!("/v1/organizations?limit=1000&after={next}");
    };
    for partition in incomplete.as_array().into_iter().flatten() {
        note(&format!(
            "partition {partition} is damaged: its organizations are not listed; `weir verify` on the stopped server's directory \
             says what is wrong"
        ));
    }
    let list = json!({ "organizations": organizations, "incomplete": incomplete });
    answer(args.server.output(), &list, |list| {
        rows(list, "organizations").iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
    });
    Ok(())
}
