//! Webhooks against the libraries with which their receivers verify them: one message with two secrets, and one with the new one alone.

use std::fs;
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use crate::clients::{javascript, python};
use crate::server::{Process, Server};

/// Runs a receiver of each language with this `weir` as its sender.
///
/// # Errors
/// When a message is not verified.
pub(crate) fn check(weir: &Path) -> Result<(), String> {
    let folder = std::env::temp_dir().join(format!("weir-webhooks-{}", std::process::id()));
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let outcome = run(weir, &folder);
    drop(fs::remove_dir_all(&folder));
    outcome
}

fn run(weir: &Path, folder: &Path) -> Result<(), String> {
    let server = Server::create(weir, folder)?;
    server.set_up("acme", &[], 1_000)?;
    let operator = fs::read_to_string(folder.join("operator.key")).map_err(|error| error.to_string())?;
    let admin = server.key(operator.trim(), "admin", "acme")?;
    let receivers =
        [("python", python(weir, "webhooks.py")), ("javascript", javascript(weir, "webhooks.mjs"))];
    for (name, command) in receivers {
        match command {
            Ok(command) => receive(&server, &admin, (name, command))?,
            Err(missing) => println!("skipped: {missing}"),
        }
    }
    Ok(())
}

/// Has two messages sent to a receiver: while two secrets count, and when one does.
fn receive(server: &Server, admin: &str, (name, command): (&str, Command)) -> Result<(), String> {
    let mut receiver = Receiver::start(command)?;
    let hook = format!("acme {name}");
    let url = format!("http://127.0.0.1:{}/", receiver.port);
    server.call(admin, &format!("webhooks set {hook} --url {url} --topic alert.fired"))?;
    for (overlap, threshold, secrets) in [("1h", 2_000, 2), ("0s", 3_000, 1)] {
        server.call(admin, &format!("webhooks rotate {hook} --overlap {overlap}"))?;
        let shown = server.call(admin, &format!("webhooks secret {hook} --json"))?;
        let known: Vec<_> = shown.split('"').filter(|word| word.starts_with("whsec_")).collect();
        if known.len() != secrets {
            return Err(format!("{secrets} secrets count, and these are shown: {}", known.len()));
        }
        receiver.give(&known.join(" "))?;
        // More than there is: it fires when it is set.
        let threshold = format!("{name}-{overlap}:tokens_left={threshold}");
        server.call(admin, &format!("alerts set acme --threshold {threshold}"))?;
        receiver.expect(&format!("verified alert.fired {secrets}"))?;
    }
    server.call(admin, &format!("webhooks remove {hook}"))?;
    println!("{name}: verified with two secrets, and with one");
    Ok(())
}

/// A receiver as it runs.
struct Receiver {
    _process: Process,
    stdin: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
    port: u16,
}

impl Receiver {
    fn start(mut command: Command) -> Result<Self, String> {
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut process = spawned.map(Process).map_err(|error| format!("{command:?}: {error}"))?;
        let stdin = process.0.stdin.take().ok_or("it has no standard input")?;
        let mut said = BufReader::new(process.0.stdout.take().ok_or("it has no standard output")?).lines();
        let first = said.next().and_then(Result::ok).unwrap_or_default();
        let port = first.strip_prefix("listening ").and_then(|port| port.parse().ok());
        let port = port.ok_or_else(|| format!("the receiver does not listen, it says `{first}`"))?;
        Ok(Self { _process: process, stdin, said, port })
    }

    fn give(&mut self, line: &str) -> Result<(), String> {
        writeln!(self.stdin, "{line}").map_err(|error| format!("the receiver ended early: {error}"))
    }

    fn expect(&mut self, line: &str) -> Result<(), String> {
        let said = self.said.next().and_then(Result::ok).unwrap_or_default();
        if said == line { Ok(()) } else { Err(format!("the receiver says `{said}`, not `{line}`")) }
    }
}
