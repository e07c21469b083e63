//! `weir ingest frigate` against a real broker, while one after the other is killed: what the broker delivers again is charged once.
//!
//! It needs mosquitto, which is installed where it is missing and can be; else the step says so and is passed over.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::cargo::root;
use crate::clients::integer_in;
use crate::debian;
use crate::server::{Process, Server, weir_command};

/// A message as the documentation of Frigate shows it: an event that goes on.
const MESSAGE: &str = "data/frigate/events_update.json";
const MESSAGE_ID: &str = "1607123955.475377-mxklsc";
const TOKENS: u64 = 7;
/// How often to look for what is due, and how long to wait in between.
const LOOKS: u32 = 240;
const PAUSE: Duration = Duration::from_millis(250);

/// Runs it with this `weir`.
///
/// # Errors
/// When other tokens are charged than are due.
pub(crate) fn check(weir: &Path) -> Result<(), String> {
    if !(debian::has("mosquitto", "mosquitto") && debian::has("mosquitto_pub", "mosquitto-clients")) {
        println!("skipped: there is no mosquitto, and it cannot be installed from here");
        return Ok(());
    }
    let folder = std::env::temp_dir().join(format!("weir-frigate-{}", std::process::id()));
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let outcome = run(weir, &folder);
    drop(fs::remove_dir_all(&folder));
    outcome
}

fn run(weir: &Path, folder: &Path) -> Result<(), String> {
    let server = Server::create(weir, folder)?;
    let (http, grpc) = (server.http.clone(), server.grpc.clone());
    let key = server.set_up("acme", &["front_door".to_owned()], 1_000)?;
    let mut broker = Broker::start(folder)?;
    let listen = || Listener::start(weir, [&broker.url(), &http, &key]);
    let mut listener = listen()?;
    // An event that goes on costs nothing; one that ends, and is told twice, is charged once.
    broker.publish(&message("first", false)?)?;
    broker.publish(&message("first", true)?)?;
    broker.publish(&message("first", true)?)?;
    broker.publish("no event at all")?;
    broker.publish(&message("elsewhere", true)?.replace("front_door", "roof"))?;
    broker.publish(&message("second", true)?)?;
    expect(&server, &key, 2 * TOKENS)?;
    // The server is gone when the third event comes, and then whoever took it from the broker is killed.
    drop(server);
    broker.publish(&message("third", true)?)?;
    listener.wait_until_it_waits()?;
    drop(listener);
    let server = Server::start(weir, folder, [&http, &grpc])?;
    let listener = listen()?;
    expect(&server, &key, 3 * TOKENS)?;
    // The broker is stopped and comes back.
    broker.restart()?;
    broker.publish(&message("fourth", true)?)?;
    expect(&server, &key, 4 * TOKENS)?;
    drop(listener);
    println!("{} tokens were charged for 4 events, as are due", 4 * TOKENS);
    Ok(())
}

/// The message of an event that goes on, or ended now.
fn message(id: &str, has_ended: bool) -> Result<String, String> {
    let text = fs::read_to_string(root().join(MESSAGE)).map_err(|error| format!("{MESSAGE}: {error}"))?;
    let text = text.trim().replace(MESSAGE_ID, id);
    if !has_ended {
        return Ok(text);
    }
    // An event keeps its time, whoever tells it again: today's midnight, but never a moment ahead.
    let now = Command::new("date").arg("+%s").output().map_err(|error| error.to_string())?;
    let now: u64 = String::from_utf8_lossy(&now.stdout).trim().parse().map_err(|_| "the time of day")?;
    let midnight = now - now % 86_400;
    let ended = text.replace("\"type\":\"update\"", "\"type\":\"end\"");
    Ok(ended.replace("\"end_time\":null", &format!("\"end_time\":{midnight}.25")))
}

fn expect(server: &Server, key: &str, tokens: u64) -> Result<(), String> {
    let mut used = 0;
    for _ in 0..LOOKS {
        used = integer_in(&server.call(key, "summary acme --json")?, "used")?;
        if used >= tokens {
            break;
        }
        std::thread::park_timeout(PAUSE);
    }
    if used == tokens { Ok(()) } else { Err(format!("{used} tokens were charged, {tokens} are due")) }
}

/// A mosquitto that keeps what was not acknowledged.
struct Broker {
    settings: PathBuf,
    port: u16,
    process: Process,
}

impl Broker {
    fn start(folder: &Path) -> Result<Self, String> {
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = port.map_err(|error| error.to_string())?.port();
        let settings = folder.join("mosquitto.conf");
        let place = folder.display();
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nuser root\npersistence true\npersistence_location {place}/\n"
        );
        fs::write(&settings, text).map_err(|error| error.to_string())?;
        let process = Self::spawn(&settings, port)?;
        Ok(Self { settings, port, process })
    }

    fn spawn(settings: &Path, port: u16) -> Result<Process, String> {
        let mut command = Command::new("mosquitto");
        command.arg("-c").arg(settings).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().map(Process).map_err(|error| format!("mosquitto: {error}"))?;
        for _ in 0..LOOKS {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(process);
            }
            std::thread::park_timeout(PAUSE);
        }
        Err("mosquitto does not listen".to_owned())
    }

    /// Stops it in order, so that it keeps its sessions, and starts it again.
    fn restart(&mut self) -> Result<(), String> {
        let kill = format!("kill -TERM {}", self.process.0.id());
        drop(Command::new("bash").args(["-c", &kill]).status());
        self.process.0.wait().map_err(|error| error.to_string())?;
        self.process = Self::spawn(&self.settings, self.port)?;
        Ok(())
    }

    fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    fn publish(&self, message: &str) -> Result<(), String> {
        let port = self.port.to_string();
        let words = ["-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", "frigate/events", "-m", message];
        let status = Command::new("mosquitto_pub").args(words).status();
        if status.is_ok_and(|status| status.success()) {
            Ok(())
        } else {
            Err("mosquitto_pub failed".to_owned())
        }
    }
}

/// `weir ingest frigate` as it runs.
struct Listener {
    _process: Process,
    notes: BufReader<ChildStderr>,
}

impl Listener {
    fn start(weir: &Path, [broker, http, key]: [&str; 3]) -> Result<Self, String> {
        let tokens = TOKENS.to_string();
        let mut command = weir_command(weir);
        command.args(["ingest", "frigate", "--mqtt", broker, "--org", "acme", "--tokens", &tokens]);
        command.args(["--server", &format!("http://{http}"), "--key", key]);
        let spawned = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut process = spawned.map(Process).map_err(|error| format!("weir: {error}"))?;
        let said: ChildStdout = process.0.stdout.take().ok_or("it has no standard output")?;
        let notes = BufReader::new(process.0.stderr.take().ok_or("it has no standard error")?);
        if !BufReader::new(said).lines().map_while(Result::ok).any(|line| line == "subscribed") {
            return Err("weir ingest frigate ended before it was subscribed".to_owned());
        }
        Ok(Self { _process: process, notes })
    }

    /// Waits until it has found that the server does not answer.
    fn wait_until_it_waits(&mut self) -> Result<(), String> {
        let mut lines = self.notes.by_ref().lines().map_while(Result::ok);
        if lines.any(|line| line.starts_with("waiting: ")) {
            Ok(())
        } else {
            Err("it does not wait".to_owned())
        }
    }
}
