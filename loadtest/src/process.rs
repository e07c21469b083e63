//! What a process costs (from /proc), children that end with their owner, and free ports.

use std::io::{BufRead as _, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, unbounded};
use serde::Serialize;
use tokenweir::telemetry::clock;

use crate::failure::Outcome;
use crate::number::fraction;

/// Ticks of `/proc/PID/stat` in a second: fixed by the kernel's interface.
const TICKS_PER_SECOND: f64 = 100.0;
const START_MAX: Duration = Duration::from_secs(60);

/// Processor time and memory of a process.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Cost {
    /// Processor time since its start, in seconds.
    pub(crate) cpu_seconds: f64,
    /// Memory now, in bytes.
    pub(crate) resident_bytes: u64,
    /// Of it, what is of no file.
    pub(crate) anonymous_bytes: u64,
    /// The most memory it had, in bytes.
    pub(crate) resident_bytes_max: u64,
}

impl Cost {
    /// What process `pid` has cost so far; zeros when it is gone.
    pub(crate) fn of(pid: u32) -> Self {
        let text = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let (stat, status) = (text("stat"), text("status"));
        let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let ticks = after_name.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
        Self {
            cpu_seconds: fraction(ticks.sum()) / TICKS_PER_SECOND,
            resident_bytes: kib(&status, "VmRSS:") * 1_024,
            anonymous_bytes: kib(&status, "RssAnon:") * 1_024,
            resident_bytes_max: kib(&status, "VmHWM:") * 1_024,
        }
    }
}

fn kib(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// A child process that is killed when its handle goes.
#[derive(Debug)]
pub(crate) struct Service {
    child: Child,
    lines: Receiver<String>,
    name: String,
}

impl Service {
    /// Starts it; what it prints can be waited for.
    pub(crate) fn start(name: &str, command: &mut Command) -> Outcome<Self> {
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.map_err(|error| format!("{name} cannot be started: {error}"))?;
        let (sender, lines) = unbounded();
        read_lines(child.stdout.take(), sender.clone());
        read_lines(child.stderr.take(), sender);
        Ok(Self { child, lines, name: name.to_owned() })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Closes its standard input, upon which it ends, and waits until it has.
    pub(crate) fn stop(mut self) -> Outcome {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        if status.success() {
            return Ok(());
        }
        let said: Vec<_> = self.lines.try_iter().collect();
        Err(format!("{} ended with {status}; it said:\n{}", self.name, said.join("\n")).into())
    }

    /// Waits for a line of its output that holds `text`.
    pub(crate) fn wait_for(&self, text: &str) -> Outcome<String> {
        let begun = clock::start();
        let mut said = Vec::new();
        loop {
            let left = START_MAX.saturating_sub(begun.elapsed());
            let Ok(line) = self.lines.recv_timeout(left) else {
                return Err(format!("{} did not start; it said:\n{}", self.name, said.join("\n")).into());
            };
            if line.contains(text) {
                return Ok(line);
            }
            said.push(line);
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // An error says that it is gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Reads a pipe to its end, so that the child never waits for its reader.
fn read_lines(pipe: Option<impl Read + Send + 'static>, lines: Sender<String>) {
    if let Some(pipe) = pipe {
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                drop(lines.send(line));
            }
        });
    }
}

/// A port of the loopback that nobody listened on a moment ago.
pub(crate) fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The path of a program on the PATH.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The output of a command, when it succeeds.
pub(crate) fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A temporary directory on the disk that is measured: below the working directory, not in a /tmp of memory.
pub(crate) fn temporary_directory() -> Outcome<tempfile::TempDir> {
    let parent = Path::new("target");
    let parent = if parent.is_dir() { parent } else { Path::new(".") };
    Ok(tempfile::Builder::new().prefix("loadtest-").tempdir_in(parent)?)
}

/// Waits as long as `length`; nothing wakes it earlier.
pub(crate) fn pause(length: Duration) {
    let begun = clock::start();
    while let Some(left) = length.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_a_peak_not_below_it() {
        let cost = Cost::of(std::process::id());
        assert!(cost.resident_bytes > 0 && cost.resident_bytes_max >= cost.resident_bytes, "{cost:?}");
    }

    #[test]
    fn a_process_that_is_gone_costs_nothing() {
        assert_eq!(Cost::of(u32::MAX).resident_bytes, 0);
    }

    #[test]
    fn a_child_that_never_says_it_is_told_with_what_it_said() {
        let mut command = Command::new("sh");
        let child = Service::start("a shell", command.args(["-c", "echo no"])).expect("there is a shell");
        let error = child.wait_for("yes").expect_err("it ends first").to_string();
        assert!(error.contains("a shell did not start") && error.contains("no"), "{error}");
    }
}
