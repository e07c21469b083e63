//! The gateway in Python, run against a server that is killed in the midst: what it sends again must be charged once.
//!
//! It needs `python3` and, the first time, a package index. Where one of them is missing the step says so and is passed over: a
//! Rust toolchain is all that the checks demand.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{ChildStderr, Command, Stdio};

use crate::cargo::root;
use crate::json::integer;
use crate::packages;
use crate::server::{Process, Server};

const GATEWAY: &str = "examples/python_gateway";
const CAMERAS: u64 = 100;
/// So few that the server tells each of them apart when they come again.
const EVENTS_PER_CAMERA: u64 = 40;
const TOKENS: u64 = 3;
const GRANTED: u64 = 1_000_000;

/// Runs the gateway with this `weir` as its server.
///
/// # Errors
/// When the gateway fails, or its summary is not what must come out.
pub(crate) fn check(weir: &Path) -> Result<(), String> {
    let wanted = root().join(GATEWAY).join("requirements.txt");
    let python = match packages::python(weir, "python-gateway", &wanted) {
        Ok(python) => python,
        Err(missing) => {
            println!("skipped: {missing}");
            return Ok(());
        }
    };
    let folder = std::env::temp_dir().join(format!("weir-python-{}", std::process::id()));
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let summary = run(weir, &python, &folder);
    drop(fs::remove_dir_all(&folder));
    let summary = summary?;
    println!("{summary}");
    judge(&summary)
}

/// Half of the events, a killed server, the other half, and all of them once more; answers with the summary.
fn run(weir: &Path, python: &Path, folder: &Path) -> Result<String, String> {
    let server = Server::create(weir, folder)?;
    let (http, grpc) = (server.http.clone(), server.grpc.clone());
    let cameras: Vec<_> = (0..CAMERAS).map(|camera| format!("c{camera}")).collect();
    let key = server.set_up("acme", &cameras, GRANTED)?;
    let mut gateway = Command::new(python)
        .args(["gateway.py", "--server", &grpc, "acme"])
        .current_dir(root().join(GATEWAY))
        .env("WEIR_KEY", key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map(Process)
        .map_err(|error| format!("the gateway did not start: {error}"))?;
    let told = gateway.0.stderr.take().ok_or("the gateway has no standard error")?;
    wait_until_connected(told)?;
    let mut events = gateway.0.stdin.take().ok_or("the gateway has no standard input")?;
    let mut give = |seqs: std::ops::RangeInclusive<u64>| {
        events.write_all(lines(seqs).as_bytes()).map_err(|error| format!("the gateway ended early: {error}"))
    };
    give(1..=EVENTS_PER_CAMERA / 2)?;
    drop(server);
    let _server = Server::start(weir, folder, [&http, &grpc])?;
    give(EVENTS_PER_CAMERA / 2 + 1..=EVENTS_PER_CAMERA)?;
    give(1..=EVENTS_PER_CAMERA)?;
    drop(events);
    let pipe = gateway.0.stdout.take().ok_or("the gateway has no standard output")?;
    let summary = BufReader::new(pipe).lines().next().and_then(Result::ok);
    summary.ok_or_else(|| "the gateway ended without a summary; what it said is above".to_owned())
}

/// Waits for the word, and passes on what is said after it.
fn wait_until_connected(told: ChildStderr) -> Result<(), String> {
    let mut told = BufReader::new(told).lines().map_while(Result::ok);
    if !told.by_ref().any(|line| line == "connected") {
        return Err("the gateway ended before it was connected".to_owned());
    }
    std::thread::spawn(move || told.for_each(|line| println!("{line}")));
    Ok(())
}

/// What the gateway is given: one line an event.
fn lines(seqs: std::ops::RangeInclusive<u64>) -> String {
    let line = |seq, camera| format!("c{camera} 1 {seq} {TOKENS}\n");
    seqs.flat_map(|seq| (0..CAMERAS).map(move |camera| line(seq, camera))).collect()
}

fn judge(summary: &str) -> Result<(), String> {
    let events = CAMERAS * EVENTS_PER_CAMERA;
    let number = |name| integer(summary, name);
    let (charged, duplicate) = (number("charged")?, number("duplicate")?);
    if number("reconnects")? == 0 {
        return Err(format!("the gateway did not notice that its server was killed: {summary}"));
    }
    // What the killed server had charged without saying so is a duplicate the first time already.
    let is_whole = number("events")? == 2 * events && charged + duplicate == 2 * events && charged <= events;
    if is_whole && number("available")? == GRANTED - events * TOKENS {
        return Ok(());
    }
    Err(format!("{events} events were given twice, and {TOKENS} tokens are due for each: {summary}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_passes_only_when_each_event_was_paid_once() {
        let summary = |charged: u64, duplicate: u64, reconnects: u64, available: u64| {
            format!(
                r#"{{"events": 8000, "charged": {charged}, "exempt": 0, "duplicate": {duplicate}, "reconnects": {reconnects}, "available": {available}}}"#
            )
        };
        assert_eq!(judge(&summary(4_000, 4_000, 1, 988_000)), Ok(()));
        assert_eq!(judge(&summary(3_488, 4_512, 2, 988_000)), Ok(()));
        for wrong in [
            summary(4_000, 4_000, 0, 988_000),
            summary(4_001, 3_999, 1, 988_000),
            summary(4_000, 3_999, 1, 988_000),
            summary(4_000, 4_000, 1, 987_997),
            String::new(),
        ] {
            assert!(judge(&wrong).is_err(), "{wrong}");
        }
    }
}
