//! `weir license` against a server: claim a license key, list licenses, and be told that they are permanent.

use std::io::Read as _;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::domain::ids::{LicenseId, OrgId};
use crate::domain::limits::LICENSE_KEY_BYTES_MAX;

use super::client::{OrganizationArgs, ServerArgs};
use super::failure::Failure;
use super::license_keys::{self, IssueArgs, IssuerCommand, ShowArgs};
use super::output::{answer, field, number_field, rows, table};

/// Add and list Shared AI Token Licenses; issue and show license keys.
#[derive(Debug, Subcommand)]
pub enum LicenseCommand {
    /// Add the licenses of a key: active at once, perpetual, permanent (admin).
    Add(AddArgs),
    /// List the licenses of an organization.
    List(OrganizationArgs),
    /// Show where a license has been: its adding, and every transfer.
    History(LicenseArgs),
    /// Ask to remove a license; a shared license is permanent, so this is refused.
    Remove(LicenseArgs),
    /// Make an issuer of license keys; needs no server.
    #[command(subcommand)]
    Issuer(IssuerCommand),
    /// Issue a license key; needs no server.
    Issue(IssueArgs),
    /// Show what a license key says, and whether its issuer said so; needs no server.
    Show(ShowArgs),
}

/// A license key.
#[derive(Args, Debug)]
pub struct AddArgs {
    /// The organization.
    pub organization: OrgId,
    /// The signed key, or `-` to read it from standard input; it can be claimed once over all organizations.
    #[arg(value_name = "LICENSE-KEY")]
    pub license_key: String,
    /// Only show what it would bring.
    #[arg(long)]
    pub dry_run: bool,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Which license.
#[derive(Args, Debug)]
pub struct LicenseArgs {
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
        LicenseCommand::History(args) => history(args),
        LicenseCommand::Remove(args) => remove(args),
        LicenseCommand::Issuer(IssuerCommand::New(args)) => license_keys::new_issuer(args),
        LicenseCommand::Issue(args) => license_keys::issue(args),
        LicenseCommand::Show(args) => license_keys::show(args),
    }
}

/// The license key that an argument is, or standard input holds; without the white space around it.
pub(super) fn license_key(argument: &str) -> Result<String, Failure> {
    let mut text = argument.to_owned();
    if argument == "-" {
        text.clear();
        let most = u64::try_from(LICENSE_KEY_BYTES_MAX).unwrap_or(u64::MAX);
        std::io::stdin().lock().take(2 * most).read_to_string(&mut text)?;
    }
    Ok(text.trim().to_owned())
}

fn add(args: &AddArgs) -> Result<(), Failure> {
    let body = json!({ "key": license_key(&args.license_key)?, "dry_run": args.dry_run });
    let path = format!("/v1/organizations/{}/licenses", args.organization);
    let added = args.server.client()?.post(&path, &body)?;
    answer(args.server.output(), &added, |value| {
        let outcome = if args.dry_run {
            let (before, after) =
                (number_field(value, "available_before"), number_field(value, "available_after"));
            format!("nothing was changed; available is {before} tokens and would be {after}")
        } else {
            let (key, by, at) = (field(value, "key"), field(value, "by"), field(value, "claimed_at"));
            let available = number_field(value, "available");
            format!("{key} was claimed by {by} at {at}\navailable: {available} tokens")
        };
        let row = |license: &Value| [field(license, "id"), number_field(license, "granted")];
        let licenses: Vec<_> = rows(value, "licenses").iter().map(row).collect();
        format!("{}\n{outcome}", table(["license", "granted"], &licenses))
    });
    Ok(())
}

fn list(args: &OrganizationArgs) -> Result<(), Failure> {
    let path = format!("/v1/organizations/{}/licenses", args.organization);
    let licenses = args.server.client()?.get(&path)?;
    answer(args.server.output(), &licenses, |value| {
        let available = number_field(value, "available");
        format!("{}\norg available ai tokens: {available}", table_of(rows(value, "licenses")))
    });
    Ok(())
}

fn history(args: &LicenseArgs) -> Result<(), Failure> {
    let license = args.server.client()?.get(&args.path())?;
    answer(args.server.output(), &license, |license| {
        let row = |step: &Value| {
            let what = if step["transfer"].is_null() { "added" } else { "transferred" };
            let transfer = field(step, "transfer");
            [field(step, "at"), what.to_owned(), field(step, "organization"), field(step, "by"), transfer]
        };
        let steps: Vec<_> = rows(license, "history").iter().map(row).collect();
        let steps = table(["at", "what", "organization", "by", "transfer"], &steps);
        format!("{}\n\n{steps}", table_of(std::slice::from_ref(license)))
    });
    Ok(())
}

fn remove(args: &LicenseArgs) -> Result<(), Failure> {
    let removed = args.server.client()?.delete(&args.path())?;
    answer(args.server.output(), &removed, |_| format!("removed {}", args.license));
    Ok(())
}

impl LicenseArgs {
    fn path(&self) -> String {
        format!("/v1/organizations/{}/licenses/{}", self.organization, self.license)
    }
}

fn table_of(licenses: &[Value]) -> String {
    let row = |license: &Value| {
        [
            field(license, "id"),
            field(license, "key"),
            number_field(license, "granted"),
            number_field(license, "remaining"),
            field(license, "status"),
            field(license, "added_at"),
            field(license, "added_by"),
            field(license, "organizations"),
        ]
    };
    let licenses: Vec<_> = licenses.iter().map(row).collect();
    let head = ["license", "key", "granted", "remaining", "status", "added", "by", "organizations"];
    table(head, &licenses)
}
