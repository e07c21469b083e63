//! `weir license issuer`, `issue` and `show`: license keys, from the side of whoever issues them. No server is asked.
//!
//! A license key is worth its tokens to whoever claims it first, so it goes to standard output and nowhere else.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::domain::tokens::Tokens;
use crate::edge::license_key::{self, Issuer, IssuerFileError, IssuerName, Issuers, SignedKey};
use crate::telemetry::clock::Clock;

use super::data_key::time_text;
use super::failure::Failure;
use super::licenses::license_key;
use super::output::{answer, field, note, number_field, print, rows, table};

/// Make an issuer of license keys.
#[derive(Debug, Subcommand)]
pub enum IssuerCommand {
    /// Make an issuer, and print the line that makes a server trust it.
    New(NewIssuerArgs),
}

/// The issuer to make.
#[derive(Args, Debug)]
pub struct NewIssuerArgs {
    /// Its name, which the ids of its keys begin with; one that follows from its key when not given.
    #[arg(long, value_name = "NAME")]
    pub name: Option<IssuerName>,
    /// Where its private key is written, readable by its owner alone; the file must not be there yet.
    #[arg(long, value_name = "FILE", default_value = "issuer.jwk")]
    pub out: PathBuf,
}

/// The key to issue.
#[derive(Args, Debug)]
pub struct IssueArgs {
    /// The file that `weir license issuer new` made.
    #[arg(long, value_name = "FILE", default_value = "issuer.jwk")]
    pub issuer: PathBuf,
    /// What names the key among those of its issuer; random when not given.
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// How many licenses of the tokens that follow; repeat both for licenses of different sizes.
    #[arg(long = "licenses", value_name = "N", required = true)]
    pub counts: Vec<usize>,
    /// Tokens of each of these licenses.
    #[arg(long = "tokens", value_name = "TOKENS", required = true)]
    pub tokens: Vec<u64>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// The key to show.
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// The signed key, or `-` to read it from standard input.
    #[arg(value_name = "LICENSE-KEY")]
    pub license_key: String,
    /// Issuers to verify it with: the file that a server has as `license_issuers`.
    #[arg(long, value_name = "FILE")]
    pub issuers: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Makes an issuer.
pub(super) fn new_issuer(args: &NewIssuerArgs) -> Result<(), Failure> {
    let issuer = Issuer::create(&args.out, args.name.clone()).map_err(|error| unusable(&error))?;
    print(&issuer.public_line());
    note(&format!(
        "the private key of {} is in {}: keep it, who has it can issue license keys; add the line above to the file that \
         the server has as license_issuers",
        issuer.name(),
        args.out.display()
    ));
    Ok(())
}

/// Issues a key.
pub(super) fn issue(args: &IssueArgs) -> Result<(), Failure> {
    if args.counts.len() != args.tokens.len() {
        let message = "--licenses and --tokens go together; no key was issued, give one of each for each size of license";
        return Err(Failure::usage(message));
    }
    let issuer = Issuer::open(&args.issuer).map_err(|error| unusable(&error))?;
    let id = args.id.clone().map_or_else(random_id, Ok)?;
    let sizes = args.counts.iter().zip(&args.tokens).map(|(count, tokens)| (*count, Tokens(*tokens)));
    let issued = issuer.issue(&id, &sizes.collect::<Vec<_>>(), Clock::System.now());
    let key = issued.map_err(|error| Failure::usage(error.to_string()))?;
    let mut said = described(&license_key::read(&key)?);
    said["license_key"] = key.into();
    answer(args.json, &said, |said| field(said, "license_key"));
    if !args.json {
        let (key, licenses, tokens) =
            (field(&said, "key"), rows(&said, "licenses").len(), number_field(&said, "tokens"));
        note(&format!(
            "issued {key}: {licenses} licenses, {tokens} tokens; whoever has this key can claim it, once"
        ));
    }
    Ok(())
}

/// Shows a key.
pub(super) fn show(args: &ShowArgs) -> Result<(), Failure> {
    let text = license_key(&args.license_key)?;
    let (key, verified) = match &args.issuers {
        None => (license_key::read(&text), false),
        Some(file) => {
            (license_key::verify(&text, &Issuers::open(file).map_err(|error| unusable(&error))?), true)
        }
    };
    let key = key.map_err(|error| Failure::new(format!("{error} ({})", error.code())))?;
    let mut said = described(&key);
    said["verified"] = verified.into();
    answer(args.json, &said, |said| {
        let row = |license: &Value| [field(license, "id"), number_field(license, "granted")];
        let licenses: Vec<_> = rows(said, "licenses").iter().map(row).collect();
        let signature = if verified { "that of the issuer" } else { "not looked at; give --issuers FILE" };
        format!(
            "key: {}\nissuer: {}\nissued at: {}\nsignature: {signature}\ntokens: {}\n{}",
            field(said, "key"),
            field(said, "issuer"),
            field(said, "issued_at"),
            number_field(said, "tokens"),
            table(["license", "granted"], &licenses)
        )
    });
    Ok(())
}

fn described(signed: &SignedKey) -> Value {
    let SignedKey { issuer, issued_at, key } = signed;
    let ids = (1..).map(|n| key.license_id(n).map(|id| id.to_string()).unwrap_or_default());
    let licenses = key.grants.iter().zip(ids).map(|(granted, id)| json!({ "id": id, "granted": granted }));
    json!({
        "key": key.id, "issuer": issuer.as_str(), "issued_at": time_text(*issued_at),
        "tokens": key.grants.iter().copied().sum::<Tokens>(), "licenses": licenses.collect::<Vec<_>>()
    })
}

fn random_id() -> Result<String, Failure> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| Failure::new(error.to_string()))?;
    Ok(format!("{:032x}", u128::from_le_bytes(random)))
}

fn unusable(error: &IssuerFileError) -> Failure {
    Failure::usage(format!("cannot use {error}; nothing was done"))
}
