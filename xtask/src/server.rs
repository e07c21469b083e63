//! The `weir` that is tried, as a server in a folder of its own.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A process that is killed when it is dropped.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// A server, and the folder that it runs in.
pub(crate) struct Server {
    weir: PathBuf,
    folder: PathBuf,
    pub(crate) http: String,
    pub(crate) grpc: String,
    _process: Process,
}

impl Server {
    /// A server with a new directory in this folder, and an issuer of license keys that it trusts.
    ///
    /// # Errors
    /// When it does not begin to serve.
    pub(crate) fn create(weir: &Path, folder: &Path) -> Result<Self, String> {
        let trusted = printed(weir, folder, "license issuer new")?;
        fs::write(folder.join("issuers"), trusted).map_err(|error| error.to_string())?;
        Self::start(weir, folder, ["127.0.0.1:0", "127.0.0.1:0"])
    }

    /// A server with the directory that this folder has.
    ///
    /// # Errors
    /// When it does not begin to serve.
    pub(crate) fn start(weir: &Path, folder: &Path, [http, grpc]: [&str; 2]) -> Result<Self, String> {
        let mut command = weir_command(weir);
        command.args(["serve", "--data", "data", "--operator-key-file", "operator.key", "--log", "warn"]);
        command.args(["--license-issuers", "issuers", "--webhook-private", "127.0.0.0/8"]);
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
        Ok(Self { weir: weir.to_owned(), folder: folder.to_owned(), http, grpc, _process: process })
    }

    /// An organization with cameras and tokens; answers with the key of a gateway.
    ///
    /// # Errors
    /// When a command fails.
    pub(crate) fn set_up(&self, org: &str, cameras: &[String], tokens: u64) -> Result<String, String> {
        let operator = self.operator()?;
        self.call(&operator, &format!("orgs create {org}"))?;
        let admin = self.key(&operator, "admin", org)?;
        for camera in cameras {
            self.call(&admin, &format!("camera set {org} {camera} --network gate"))?;
        }
        let license_key = self.license_key(1, tokens)?;
        self.call(&admin, &format!("license add {org} {license_key}"))?;
        self.key(&operator, "gateway", org)
    }

    /// The first API key of the server.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn operator(&self) -> Result<String, String> {
        let key = fs::read_to_string(self.folder.join("operator.key"));
        Ok(key.map_err(|error| error.to_string())?.trim().to_owned())
    }

    /// A license key of an issuer that the server trusts.
    ///
    /// # Errors
    /// When the command fails.
    pub(crate) fn license_key(&self, licenses: u64, tokens: u64) -> Result<String, String> {
        let issue = format!("license issue --licenses {licenses} --tokens {tokens}");
        Ok(printed(&self.weir, &self.folder, &issue)?.trim().to_owned())
    }

    /// Makes an API key of this role for an organization.
    ///
    /// # Errors
    /// When the command fails.
    pub(crate) fn key(&self, operator: &str, role: &str, org: &str) -> Result<String, String> {
        let words = format!("key create --role {role} --label {role} --org {org} --json");
        key_in(&self.call(operator, &words)?)
    }

    /// Runs a client command to its end, and answers with what it printed.
    ///
    /// # Errors
    /// When it fails.
    pub(crate) fn call(&self, key: &str, words: &str) -> Result<String, String> {
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
pub(crate) fn weir_command(weir: &Path) -> Command {
    let mut command = Command::new(weir);
    for name in std::env::vars_os().map(|(name, _)| name) {
        if name.to_string_lossy().starts_with("WEIR_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// The one word of a JSON text that is an API key.
fn key_in(text: &str) -> Result<String, String> {
    let key = text.split('"').find(|word| word.starts_with("weir_"));
    key.map(str::to_owned).ok_or_else(|| format!("there is no key in {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_in_what_a_command_prints() {
        assert_eq!(key_in(r#"{"id":"x","key":"weir_x_y"}"#), Ok("weir_x_y".to_owned()));
        assert!(key_in("{}").is_err());
    }
}
