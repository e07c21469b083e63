//! Runs the real program: commands to their end, and a server until it is stopped or killed.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tokenweir::edge::license_key::Issuer;
use tokenweir::meter::{Timestamp, Tokens};

/// Much longer than anything here takes, so that only what hangs is ended.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Standard output as JSON, of a command that succeeded.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// The program without anything of this process's environment that could set it up.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    // What a killed demo leaves behind stays below the build directory.
    command.env("TMPDIR", env!("CARGO_TARGET_TMPDIR"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("WEIR_")) {
        command.env_remove(name);
    }
    command
}

/// Runs a command to its end.
pub(crate) fn weir(args: &[&str]) -> Ended {
    let output = program().args(args).stdin(Stdio::null()).output().expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("the program prints text");
    Ended {
        code: output.status.code().expect("not ended by a signal"),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// A running program whose lines can be waited for. It is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut command = program();
        Self::start_command(command.args(args).process_group(0).stdin(Stdio::null()))
    }

    pub(crate) fn start_command(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program starts");
        let pipe = child.stdout.take().expect("it is piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            BufReader::new(pipe).lines().map_while(Result::ok).for_each(|line| {
                // Nobody listens any more when the test is over.
                _ = sender.send(line);
            });
        });
        Self { child, lines }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that begins with `start`, and answers with the rest of it.
    pub(crate) fn wait_for(&self, start: &str) -> String {
        loop {
            let line =
                self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no line begins with `{start}`"));
            if let Some(rest) = line.strip_prefix(start) {
                return rest.trim().to_owned();
            }
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it was ours");
    }

    /// Ctrl-C, which a terminal sends to the whole group; answers with the exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process_group(pid, Signal::INT).expect("it runs");
        // Its standard output closes when it ends.
        while self.lines.recv_timeout(PATIENCE).is_ok() {}
        self.child.wait().expect("it was ours").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) running: Running,
}

impl Server {
    /// Starts a server on `directory` and waits until it is ready. The first operator key is written to `key_file`.
    pub(crate) fn start(directory: &Path, key_file: &Path, more: &[&str]) -> Self {
        let issuers = trusted_issuers(key_file.parent().expect("it is in a folder"));
        let (directory, key_file) = (text(directory), text(key_file));
        let mut args = vec!["serve", "--data", directory, "--listen", "127.0.0.1:0", "--log", "error"];
        args.extend(["--operator-key-file", key_file, "--license-issuers", text(&issuers)]);
        args.extend(more);
        let running = Running::start(&args);
        let url = running.wait_for("listening on ");
        running.wait_for("ready");
        Self { url, running }
    }

    /// Runs a client command against it.
    pub(crate) fn weir(&self, key: &str, args: &[&str]) -> Ended {
        weir(&[args, &["--server", &self.url, "--key", key]].concat())
    }
}

/// The list that trusts the issuer of this folder, which is made when it is not there.
pub(crate) fn trusted_issuers(folder: &Path) -> PathBuf {
    let list = folder.join("issuers");
    if !list.exists() {
        let issuer = Issuer::create(&folder.join("issuer.jwk"), Some("sales".parse().expect("valid")));
        std::fs::write(&list, issuer.expect("a new file").public_line()).expect("written");
    }
    list
}

/// A license key of the issuer of this folder; its id is `sales:ID`.
pub(crate) fn license_key(folder: &Path, id: &str, grants: &[u64]) -> String {
    let issuer = Issuer::open(&folder.join("issuer.jwk")).expect("made with the server");
    let sizes: Vec<_> = grants.iter().map(|tokens| (1, Tokens(*tokens))).collect();
    issuer.issue(id, &sizes, Timestamp::from_ms(1_767_225_600_000).expect("valid")).expect("within bounds")
}

/// A path as text.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

/// The operator key of a new directory.
pub(crate) fn operator_key(key_file: &Path) -> String {
    std::fs::read_to_string(key_file).expect("written before the server is ready").trim().to_owned()
}
