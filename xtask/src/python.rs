//! The gateway in Python, run against a server that is killed in the midst: what it sends again must be charged once.
//!
//! It needs `python3` and, the first time, a package index. Where one of them is missing the step says so and is passed over: a
//! Rust toolchain is all that the checks demand.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use crate::cargo::root;
use crate::json::integer;

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
    let python = match environment(weir) {
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

/// A Python with what the gateway needs, made beside the build unless it is there.
fn environment(weir: &Path) -> Result<PathBuf, String> {
    let target = weir.parent().and_then(Path::parent).ok_or("the release binary has no folder")?;
    let (folder, wanted) = (target.join("python-gateway"), root().join(GATEWAY).join("requirements.txt"));
    let (python, installed) = (folder.join("bin/python"), folder.join("installed.txt"));
    let text = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    if python.is_file() && text(&installed) == text(&wanted) {
        return Ok(python);
    }
    let quietly = |program: &Path, words: &[&str], path: &Path, without: &str| {
        let output = Command::new(program).args(words).arg(path).stdin(Stdio::null()).output();
        let is_done = output.is_ok_and(|output| output.status.success());
        if is_done { Ok(()) } else { Err(without.to_owned()) }
    };
    quietly(Path::new("python3"), &["-m", "venv"], &folder, "there is no python3 with venv and pip")?;
    let install = ["-m", "pip", "install", "--quiet", "--timeout", "20", "--retries", "1", "-r"];
    quietly(&python, &install, &wanted, "the packages of the gateway cannot be installed from here")?;
    fs::copy(&wanted, &installed).map_err(|error| error.to_string())?;
    Ok(python)
}

/// Half of the events, a killed server, the other half, and all of them once more; answers with the summary.
fn run(weir: &Path, python: &Path, folder: &Path) -> Result<String, String> {
    let trusted = printed(weir, folder, "license issuer new")?;
    fs::write(folder.join("issuers"), trusted).map_err(|error| error.to_string())?;
    let server = Server::start(weir, folder, ["127.0.0.1:0", "127.0.0.1:0"])?;
    let (http, grpc) = (server.http.clone(), server.grpc.clone());
    let key = set_up(&server, folder)?;
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

/// An organization with cameras and tokens; answers with the key of a gateway.
fn set_up(server: &Server, folder: &Path) -> Result<String, String> {
    let operator = fs::read_to_string(folder.join("operator.key")).map_err(|error| error.to_string())?;
    server.call(operator.trim(), "orgs create acme")?;
    let made = server.call(operator.trim(), "key create --role admin --label admin --org acme --json")?;
    let admin = key_in(&made)?;
    for camera in 0..CAMERAS {
        server.call(&admin, &format!("camera set acme c{camera} --network gate"))?;
    }
    let license_key =
        printed(&server.weir, folder, &format!("license issue --licenses 1 --tokens {GRANTED}"))?;
    server.call(&admin, &format!("license add acme {}", license_key.trim()))?;
    let made = server.call(operator.trim(), "key create --role gateway --label gateway --org acme --json")?;
    key_in(&made)
}

/// The one word of a JSON text that is an API key.
fn key_in(text: &str) -> Result<String, String> {
    let key = text.split('"').find(|word| word.starts_with("weir_"));
    key.map(str::to_owned).ok_or_else(|| format!("there is no key in {text}"))
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

/// A process that is killed when it is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

struct Server {
    weir: PathBuf,
    http: String,
    grpc: String,
    _process: Process,
}

impl Server {
    fn start(weir: &Path, folder: &Path, [http, grpc]: [&str; 2]) -> Result<Self, String> {
        let mut command = weir_command(weir);
        command.args(["serve", "--data", "data", "--operator-key-file", "operator.key", "--log", "warn"]);
        command.args(["--license-issuers", "issuers"]);
        command.args(["--listen", http, "--grpc-listen", grpc]).current_dir(folder).stdout(Stdio::piped());
        let mut process = command.spawn().map(Process).map_err(|error| format!("weir: {error}"))?;
        let pipe = process.0.stdout.take().ok_or("the server has no standard output")?;
        let mut said = BufReader::new(pipe).lines().map_while(Result::ok);
        let mut after = |start: &str| {
            let rest = said.find_map(|line| line.strip_prefix(start).map(str::to_owned));
            rest.ok_or_else(|| format!("the server ended before it said `{start}`"))
        };
        let (http, grpc) = (after("listening on http://")?, after("grpc listening on ")?);
        after("ready")?;
        Ok(Self { weir: weir.to_owned(), http, grpc, _process: process })
    }

    /// Runs a client command to its end, and answers with what it printed.
    fn call(&self, key: &str, words: &str) -> Result<String, String> {
        let server = format!("http://{}", self.http);
        printed(&self.weir, Path::new("."), &format!("{words} --server {server} --key {key}"))
    }
}

/// What a command prints that runs in this folder and succeeds.
fn printed(weir: &Path, folder: &Path, words: &str) -> Result<String, String> {
    let output = weir_command(weir).args(words.split(' ')).current_dir(folder).output();
    let output = output.map_err(|error| format!("weir: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("`weir {words}` failed: {}", String::from_utf8_lossy(&output.stderr)))
}

/// The program without the settings of a server of the developer's.
fn weir_command(weir: &Path) -> Command {
    let mut command = Command::new(weir);
    for name in std::env::vars_os().map(|(name, _)| name) {
        if name.to_string_lossy().starts_with("WEIR_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
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

    #[test]
    fn a_key_is_found_in_what_a_command_prints() {
        assert_eq!(key_in(r#"{"id":"x","key":"weir_x_y"}"#), Ok("weir_x_y".to_owned()));
        assert!(key_in("{}").is_err());
    }
}
