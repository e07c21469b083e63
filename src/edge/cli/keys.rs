//! `weir key`: create, list and revoke API keys.
//!
//! With `--data` the command works on a stopped data directory, as its owner and without any key: that is how a lost
//! operator key is replaced. Whoever may read and write the directory is trusted with it anyway.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::domain::ids::{ActorId, Name, OrgId};
use crate::domain::registry::Role;

use super::client::ServerArgs;
use super::data_key;
use super::failure::Failure;
use super::organizations::parse_name;
use super::output::{Output, answer, field, note, rows, table};

/// Create, list and revoke API keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make an API key; it is shown this once (operator).
    Create(CreateArgs),
    /// List all API keys, revoked ones included (operator).
    List(ListArgs),
    /// Revoke an API key; it is refused from then on (operator).
    Revoke(RevokeArgs),
}

/// Where the keys are.
#[derive(Args, Debug)]
pub struct PlaceArgs {
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Work on this stopped data directory instead of on a server; needs no key.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// The key to make.
#[derive(Args, Debug)]
pub struct CreateArgs {
    /// What it may do.
    #[arg(long, value_enum)]
    pub role: KeyRole,
    /// What it is for.
    #[arg(long, value_parser = parse_name)]
    pub label: Name,
    /// An organization that it is for; repeat it for several. An operator key names none.
    #[arg(long = "org", value_name = "ORG")]
    pub organizations: Vec<OrgId>,
    /// Where.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// How to list.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// Where.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// Which key.
#[derive(Args, Debug)]
pub struct RevokeArgs {
    /// The key's id: the part between the first two underscores.
    pub id: ActorId,
    /// Where.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KeyRole {
    /// Creates organizations and API keys; reads no organization.
    Operator,
    /// Administers its organizations.
    Admin,
    /// Reads its organizations.
    Viewer,
    /// Sends debits for its organizations, and reads them.
    Gateway,
}

impl From<KeyRole> for Role {
    fn from(role: KeyRole) -> Self {
        match role {
            KeyRole::Operator => Self::Operator,
            KeyRole::Admin => Self::Admin,
            KeyRole::Viewer => Self::Viewer,
            KeyRole::Gateway => Self::Gateway,
        }
    }
}

/// Runs it.
pub(super) fn run(command: &KeyCommand) -> Result<(), Failure> {
    match command {
        KeyCommand::Create(args) => create(args),
        KeyCommand::List(args) => list(args),
        KeyCommand::Revoke(args) => revoke(args),
    }
}

fn create(args: &CreateArgs) -> Result<(), Failure> {
    let named = &args.organizations;
    if let Some(twice) = (1..named.len()).find(|next| named[..*next].contains(&named[*next])) {
        let message = format!("--org {} stands twice; no key was made, name each once", named[twice]);
        return Err(Failure::usage(message));
    }
    let server = &args.place.server;
    let created = match &args.place.data {
        Some(directory) => data_key::create(directory, args)?,
        None => {
            let body = json!({
                "label": args.label, "role": Role::from(args.role), "organizations": args.organizations
            });
            server.client()?.post("/v1/keys", &body)?
        }
    };
    answer(server.output(), &created, |key| field(key, "key"));
    if server.output() != Output::Json {
        note("keep this key: it is shown this once, and only its hash is stored");
    }
    Ok(())
}

fn list(args: &ListArgs) -> Result<(), Failure> {
    let server = &args.place.server;
    let keys = at(args.place.data.as_deref(), data_key::list, || Ok(server.client()?.get("/v1/keys")?))?;
    answer(server.output(), &keys, |keys| {
        let row = |key: &Value| {
            ["id", "label", "role", "organizations", "by", "created_at", "revoked_at"]
                .map(|name| field(key, name))
        };
        let keys: Vec<_> = rows(keys, "keys").iter().map(row).collect();
        table(["id", "label", "role", "organizations", "by", "created", "revoked"], &keys)
    });
    Ok(())
}

fn revoke(args: &RevokeArgs) -> Result<(), Failure> {
    let server = &args.place.server;
    at(
        args.place.data.as_deref(),
        |directory| data_key::revoke(directory, &args.id),
        || Ok(server.client()?.delete(&format!("/v1/keys/{}", args.id))?),
    )?;
    answer(server.output(), &json!({ "id": args.id, "revoked": true }), |_| {
        format!("revoked {}; it is refused from now on", args.id)
    });
    Ok(())
}

fn at(
    directory: Option<&Path>,
    offline: impl FnOnce(&Path) -> Result<Value, Failure>,
    online: impl FnOnce() -> Result<Value, Failure>,
) -> Result<Value, Failure> {
    match directory {
        Some(directory) => offline(directory),
        None => online(),
    }
}
