//! A server that may end at any moment: what it says, whether it lives, and what is done to its process.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::process::{PATIENCE, program};

/// A process of the server. It is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    lines: Receiver<String>,
    pub(crate) url: String,
    pub(crate) grpc: String,
}

impl Server {
    /// Starts the program with these arguments, by way of the program that `within` names, which becomes it under the same
    /// process id. What it logs is added to the file `log`.
    pub(crate) fn spawn(within: &[String], args: &[&str], log: &Path) -> Self {
        let weir = program();
        let mut command = match within {
            [] => program(),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(weir.get_program());
                command
            }
        };
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("WEIR_")) {
            command.env_remove(name);
        }
        let log = File::options().create(true).append(true).open(log).expect("a file for the log");
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).process_group(0);
        let mut child = command.spawn().expect("the program starts");
        let pipe = child.stdout.take().expect("it is piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            BufReader::new(pipe).lines().map_while(Result::ok).for_each(|line| _ = sender.send(line));
        });
        Self { child, lines, url: String::new(), grpc: String::new() }
    }

    /// Waits until it serves; false when it ended before.
    pub(crate) fn is_ready(&mut self) -> bool {
        let Some(url) = self.line("listening on ") else { return false };
        let Some(grpc) = self.line("grpc listening on ") else { return false };
        (self.url, self.grpc) = (url, grpc);
        self.line("ready").is_some()
    }

    /// The rest of the next line that begins with `start`; none when it ended without one.
    pub(crate) fn line(&self, start: &str) -> Option<String> {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    if let Some(rest) = line.strip_prefix(start) {
                        return Some(rest.trim().to_owned());
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("neither an end nor a line that begins with `{start}`")
                }
            }
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id")
    }

    /// Sends a signal. A process that has ended keeps its id until it is waited for.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it was not waited for yet");
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it was ours").is_none()
    }

    /// Waits until it has ended, as it must.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        while self.is_running() {
            // Its output closes as it ends, a moment before it can be waited for.
            _ = self.lines.recv_timeout(Duration::from_millis(5));
        }
        self.child.wait().expect("it was ours")
    }

    /// SIGKILL, unless it has ended.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it was ours");
        self.child.wait().expect("it was ours");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
