//! A server as a child process, that lives no longer than this process.
//!
//! The child stops when its standard input closes, so it ends also when this process is killed; dropping the handle kills it.

use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::telemetry::clock;

use super::client::Client;
use super::demo_setup::{ISSUERS, OPERATOR_KEY};
use super::failure::Failure;

const START_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(5);

/// The server that runs, for whoever has to end it from another thread. Its id stands here only until it is waited for.
static RUNNING: Mutex<Option<Pid>> = Mutex::new(None);

/// A server as a child process.
#[derive(Debug)]
pub(super) struct ChildServer {
    child: Child,
    url: String,
    output: Receiver<String>,
}

impl ChildServer {
    /// Starts a server and waits until it is ready; its operator key and its list of issuers are in `own`.
    ///
    /// # Errors
    /// When it does not start, or is not ready in a minute; the message holds what it said.
    pub(super) fn start(data: &Path, listen: SocketAddr, own: &Path) -> Result<Self, Failure> {
        let mut running_server = running();
        let mut child = Command::new(std::env::current_exe()?)
            .arg("serve")
            .arg("--data")
            .arg(data)
            .args(["--listen", &listen.to_string(), "--stop-with-stdin", "--operator-key-file"])
            .arg(own.join(OPERATOR_KEY))
            .arg("--license-issuers")
            .arg(own.join(ISSUERS))
            // Ctrl-C in a terminal goes to a whole group; the child is told once, by this process.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        *running_server = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        drop(running_server);
        let (lines, output) = unbounded();
        read_lines(child.stdout.take(), lines.clone());
        read_lines(child.stderr.take(), lines);
        let mut server = Self { child, url: String::new(), output };
        server.wait_until_ready()?;
        Ok(server)
    }

    /// The URL that it serves on.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Kills it as a power cut would end it: SIGKILL.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub(super) fn kill(mut self) -> Result<(), Failure> {
        self.child.kill()?;
        running().take();
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to stop in order, and waits until it has.
    ///
    /// # Errors
    /// When it ends with a fault, or not in a minute.
    pub(super) fn stop(mut self) -> Result<(), Failure> {
        let pid = running().take();
        // It may have been told by the terminal already, and be gone.
        _ = pid.map(|pid| kill_process(pid, Signal::TERM));
        let started = clock::start();
        loop {
            if let Some(status) = self.child.try_wait()? {
                let said = self.said(Vec::new());
                let fault = || Failure::new(format!("the server ended with {status}; it said:\n{said}"));
                return if status.success() { Ok(()) } else { Err(fault()) };
            }
            if started.elapsed() > STOP_MAX {
                return Err(Failure::new("the server did not stop in a minute and was killed"));
            }
            std::thread::park_timeout(STEP);
        }
    }

    fn wait_until_ready(&mut self) -> Result<(), Failure> {
        let started = clock::start();
        let mut said = Vec::new();
        while started.elapsed() < START_MAX {
            match self.output.recv_timeout(STEP) {
                Ok(line) => {
                    if self.url.is_empty() {
                        self.url = url_in(&line).unwrap_or_default();
                    }
                    said.push(line);
                }
                Err(RecvTimeoutError::Disconnected) => std::thread::park_timeout(STEP),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if !self.url.is_empty() && Client::plain(&self.url, None)?.get("/readyz").is_ok() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(Failure::new(format!(
                    "the server ended with {status}; it said:\n{}",
                    self.said(said)
                )));
            }
        }
        Err(Failure::new(format!("the server was not ready in a minute; it said:\n{}", self.said(said))))
    }

    fn said(&self, mut before: Vec<String>) -> String {
        before.extend(self.output.try_iter());
        before.join("\n")
    }
}

impl Drop for ChildServer {
    fn drop(&mut self) {
        // An error says that it is gone already.
        drop(self.child.kill());
        running().take();
        drop(self.child.wait());
    }
}

/// Kills the server that runs, if one does, and waits until it writes no more; none is started while the answer is held.
pub(super) fn end_child() -> MutexGuard<'static, Option<Pid>> {
    let mut running_server = running();
    if let Some(pid) = running_server.take() {
        // Errors say that it is gone already.
        _ = kill_process(pid, Signal::KILL);
        _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
    }
    running_server
}

/// Returns, unless another thread is [ending](end_child) this process: what failed then failed because of that.
pub(super) fn stay_if_ending() {
    drop(running());
}

fn running() -> MutexGuard<'static, Option<Pid>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads a pipe to its end, so that the child never waits for its reader.
fn read_lines(pipe: Option<impl Read + Send + 'static>, lines: Sender<String>) {
    if let Some(pipe) = pipe {
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                // Nobody listens any more when the handle is gone.
                drop(lines.send(line));
            }
        });
    }
}

/// The URL in a line of the server's output.
fn url_in(line: &str) -> Option<String> {
    let at = line.find("http://")?;
    let url: String =
        line[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || ":/.[]".contains(*c)).collect();
    let port = url.rsplit_once(':')?.1.trim_end_matches('/');
    port.parse::<u16>().is_ok().then(|| url.trim_end_matches(['/', '.']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_is_found_wherever_the_server_tells_it() {
        for (line, url) in [
            ("listening on http://127.0.0.1:4711", Some("http://127.0.0.1:4711")),
            ("{\"url\":\"http://[::1]:8080/\"}", Some("http://[::1]:8080")),
            ("see https://example.org", None),
            ("http://127.0.0.1", None),
        ] {
            assert_eq!(url_in(line).as_deref(), url, "{line}");
        }
    }
}
