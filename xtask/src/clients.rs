//! Clients that nobody here wrote, unchanged, against a running server.
//!
//! Each of them sends the same events as the others, under the same ids, and some of its own: what all of them sent must be
//! charged once. To add a client is to add a step.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cargo::{cargo, release_binary, root};
use crate::described;
use crate::exported;
use crate::frigate;
use crate::json::integer;
use crate::packages;
use crate::python;
use crate::server::Server;
use crate::step::{Failure, Step};
use crate::tour;
use crate::webhooks;

pub(crate) const NAME: &str = "clients";
pub(crate) const ABOUT: &str =
    "clients that nobody here wrote, as their users install them, against a server";

const SCRIPTS: &str = "xtask/clients";
const GRANTED: u64 = 1_000_000;
/// What the events cost that every client of CloudEvents sends.
const SHARED_TOKENS: u64 = 111;
/// What the events cost that one client sends alone.
const OWN_TOKENS: u64 = 1_000;

/// All of them.
///
/// # Errors
/// When this program is not in a target folder.
pub(crate) fn all() -> Result<Vec<Step>, Failure> {
    let weir = release_binary("weir")?;
    let mut steps = vec![cargo("build --release --bin weir")];
    let mut add = |title: &str, check: fn(&Path) -> Result<(), String>| {
        let weir = weir.clone();
        steps.push(Step::new(title, Box::new(move || check(&weir))));
    };
    add("examples/python_gateway: grpcio", python::check);
    add("CloudEvents in Python and JavaScript, OpenMeter's client", cloud_events);
    add("webhooks: standardwebhooks in Python and JavaScript", webhooks::check);
    add("every answer against /openapi.json: schemathesis", described::check);
    add("weir export --format parquet: pyarrow", exported::check);
    add("weir ingest frigate: mosquitto", frigate::check);
    add("the tour of docs/INGEST.md", |weir| tour::check(weir, tour::INGEST));
    Ok(steps)
}

/// The SDKs of CloudEvents and of OpenMeter.
fn cloud_events(weir: &Path) -> Result<(), String> {
    let commands = [python(weir, "events.py"), javascript(weir, "events.mjs")];
    let mut found = Vec::new();
    for command in commands {
        match command {
            Ok(command) => found.push(command),
            Err(missing) => println!("skipped: {missing}"),
        }
    }
    let folder = std::env::temp_dir().join(format!("weir-clients-{}", std::process::id()));
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let outcome = run(weir, found, &folder);
    drop(fs::remove_dir_all(&folder));
    outcome
}

/// A script with the packages for Python beside it.
///
/// # Errors
/// What is missing.
pub(crate) fn python(weir: &Path, script: &str) -> Result<Command, String> {
    let scripts = root().join(SCRIPTS).join("python");
    let python = packages::python(weir, "clients-python", &scripts.join("requirements.txt"))?;
    let mut command = Command::new(python);
    command.arg(scripts.join(script));
    Ok(command)
}

/// A script with the packages for Node beside it.
///
/// # Errors
/// What is missing.
pub(crate) fn javascript(weir: &Path, script: &str) -> Result<Command, String> {
    let scripts = root().join(SCRIPTS).join("javascript");
    let folder = packages::node(weir, "clients-javascript", &scripts.join("package.json"))?;
    // A module finds its packages beside itself.
    let copy: PathBuf = folder.join(script);
    fs::copy(scripts.join(script), &copy).map_err(|error| error.to_string())?;
    let mut command = Command::new("node");
    command.arg(copy);
    Ok(command)
}

/// Runs every client twice, and compares what was charged with what is due.
fn run(weir: &Path, clients: Vec<Command>, folder: &Path) -> Result<(), String> {
    let server = Server::create(weir, folder)?;
    let cameras = ["gate", "yard"].map(str::to_owned);
    let key = server.set_up("acme", &cameras, GRANTED)?;
    let mut due = 0;
    for mut client in clients {
        client.env("WEIR_SERVER", format!("http://{}", server.http)).env("WEIR_KEY", &key);
        client.stdin(Stdio::null());
        due = due.max(SHARED_TOKENS) + OWN_TOKENS;
        for _ in 0..2 {
            let status = client.status().map_err(|error| error.to_string())?;
            if !status.success() {
                return Err(format!("{client:?} failed, {status}; what it said is above"));
            }
            let summary = server.call(&key, "summary acme --json")?;
            let used = integer_in(&summary, "used")?;
            if used != due {
                return Err(format!("{used} tokens were charged, {due} are due: {summary}"));
            }
        }
    }
    println!("{due} tokens were charged, as are due");
    Ok(())
}

/// The first number under this name in a text that holds more than one object.
///
/// # Errors
/// When there is none.
pub(crate) fn integer_in(text: &str, name: &str) -> Result<u64, String> {
    let found = text.split_once(&format!("\"{name}\":")).map(|(_, rest)| rest.trim_start());
    let digits: String = found.unwrap_or_default().chars().take_while(char::is_ascii_digit).collect();
    integer(&format!("{{\"{name}\":{digits}}}"), name)
}
