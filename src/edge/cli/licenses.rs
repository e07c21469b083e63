//! `weir license`: add and list Shared AI Token Licenses, and be told that they are permanent.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::domain::ids::{KeyId, LicenseId, OrgId};

use super::client::ServerArgs;
use super::failure::Failure;
use super::output::{answer, field, number_field, rows, table};

/// Add and list Shared AI Token Licenses.
#[derive(Debug, Subcommand)]
pub enum LicenseCommand {
    /// Add the licenses of a key: active at once, perpetual, permanent (admin).
    Add(AddArgs),
    /// List the licenses of an organization.
    List(ListArgs),
    /// Ask to remove a license; a shared license is permanent, so this is refused.
    Remove(RemoveArgs),
}

/// A license key.
#[derive(Args, Debug)]
pub struct AddArgs {
    /// The organization.
    pub organization: OrgId,
    /// The key; it can be claimed once over all organizations.
    #[arg(long, value_name = "KEY-ID")]
    pub license_key: KeyId,
    /// Tokens of one license; repeat it for each license of the key.
    #[arg(long = "tokens", value_name = "TOKENS", required = true)]
    pub grants: Vec<u64>,
    /// Only show what it would bring.
    #[arg(long)]
    pub dry_run: bool,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Which licenses.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// The organization.
    pub organization: OrgId,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Which license.
#[derive(Args, Debug)]
pub struct RemoveArgs {
    /// The organization.
    pub organization: OrgId,
    /// The license.
    pub license: LicenseId,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Runs it.
pub(super) fn run(command: &LicenseCommand) -> Result<(), Failure> {
    match command {
        LicenseCommand::Add(args) => add(args),
        LicenseCommand::List(args) => list(args),
        LicenseCommand::Remove(args) => remove(args),
    }
}

fn add(args: &AddArgs) -> Result<(), Failure> {
    let mut body = json!({ "key": args.license_key, "licenses": args.grants });
    if args.dry_run {
        body["dry_run"] = true.into();
    }
    let path = format!("/v1/organizations/{}/licenses", args.organization);
    let added = args.server.client()?.post(&path, &body)?;
    answer(args.server.json, &added, |value| {
        let outcome = if args.dry_run {
            let (before, after) =
                (number_field(value, "available_before"), number_field(value, "available_after"));
            format!("nothing was changed; available is {before} tokens and would be {after}")
        } else {
            format!("available: {} tokens", number_field(value, "available"))
        };
        format!("{}\n{outcome}", table_of(rows(value, "licenses")))
    });
    Ok(())
}

fn list(args: &ListArgs) -> Result<(), Failure> {
    let path = format!("/v1/organizations/{}/licenses", args.organization);
    let licenses = args.server.client()?.get(&path)?;
    answer(args.server.json, &licenses, |value| {
        let available = number_field(value, "available");
        format!("{}\norg available ai tokens: {available}", table_of(rows(value, "licenses")))
    });
    Ok(())
}

fn remove(args: &RemoveArgs) -> Result<(), Failure> {
    let path = format!("/v1/organizations/{}/licenses/{}", args.organization, args.license);
    let removed = args.server.client()?.delete(&path)?;
    answer(args.server.json, &removed, |_| format!("removed {}", args.license));
    Ok(())
}

fn table_of(licenses: &[Value]) -> String {
    let row = |license: &Value| {
        let history = rows(license, "history");
        let moves = history.iter().filter(|step| !step["transfer"].is_null()).count();
        [
            field(license, "id"),
            field(license, "key"),
            number_field(license, "granted"),
            number_field(license, "remaining"),
            field(license, "status"),
            field(license, "added_at"),
            moves.to_string(),
        ]
    };
    let licenses: Vec<_> = licenses.iter().map(row).collect();
    table(["license", "key", "granted", "remaining", "status", "added", "transfers"], &licenses)
}
