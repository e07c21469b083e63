//! What most tests begin with: traces, directories, organizations with keys.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::process::{Server, license_key, operator_key, text, weir};

/// A trace of `rows` rows, ten a second, with CRLF and without a last line end.
pub(crate) fn trace(rows: u64) -> String {
    let row = |row: u64| {
        let (seconds, tenth) = (row / 10, row % 10);
        let time = format!("2023-11-16 18:{:02}:{:02}.{tenth}000000", seconds / 60, seconds % 60);
        format!("\r\n{time},{},{}", row % 1_000 + 1, row % 7)
    };
    let rows: String = (0..rows).map(row).collect();
    format!("TIMESTAMP,ContextTokens,GeneratedTokens{rows}")
}

/// The tokens of [`trace`].
pub(crate) fn trace_tokens(rows: u64) -> u64 {
    (0..rows).map(|row| row % 1_000 + 1 + row % 7).sum()
}

/// A temporary directory with a trace in it.
pub(crate) struct Scene {
    root: TempDir,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self { root: tempfile::tempdir().expect("a temporary directory") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// The data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    pub(crate) fn write_trace(&self, content: &str) -> PathBuf {
        let path = self.path("trace.csv");
        std::fs::write(&path, content).expect("written");
        path
    }

    /// A data directory that was charged with a small trace and closed in order.
    pub(crate) fn charged_directory(&self, rows: u64) -> PathBuf {
        let trace = self.write_trace(&trace(rows));
        let data = self.data();
        let args =
            ["replay", text(&trace), "--data", text(&data), "--org", "acme", "--cameras", "4", "--flat-out"];
        let more = ["--batch", "16", "--register", "--grant", "100000000"];
        let ended = weir(&[&args[..], &more].concat());
        assert_eq!(ended.code, 0, "{ended:?}");
        data
    }

    /// A license key that the scene's server trusts; its id is `sales:ID`.
    pub(crate) fn license_key(&self, id: &str, grants: &[u64]) -> String {
        license_key(self.root.path(), id, grants)
    }

    /// A server with an organization `acme`, an admin key, a gateway key, and tokens in its pool.
    pub(crate) fn server(&self) -> (Server, Keys) {
        let key_file = self.path("operator.key");
        let server = Server::start(&self.data(), &key_file, &[]);
        let operator = operator_key(&key_file);
        let run = |key: &str, args: &[&str]| server.weir(key, &[args, &["--json"]].concat()).json();
        run(&operator, &["orgs", "create", "acme", "--name", "Acme Ltd"]);
        run(&operator, &["orgs", "create", "other"]);
        let key = |role: &str, more: &[&str]| {
            let made = run(&operator, &[&["key", "create", "--role", role, "--label", role], more].concat());
            made["key"].as_str().expect("shown once").to_owned()
        };
        let admin = key("admin", &["--org", "acme", "--org", "other"]);
        let gateway = key("gateway", &["--org", "acme"]);
        run(&admin, &["license", "add", "acme", &self.license_key("K-1", &[50_000_000, 1_000])]);
        (server, Keys { operator, admin, gateway })
    }
}

/// The keys of a scene with a server.
pub(crate) struct Keys {
    pub(crate) operator: String,
    pub(crate) admin: String,
    pub(crate) gateway: String,
}

/// Every file below `directory` with its bytes, but for the lock file, which names whoever held the directory last.
pub(crate) fn content(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            files.extend(content(&path));
        } else if path.file_name().is_some_and(|name| name != "LOCK") {
            let bytes = std::fs::read(&path).expect("readable");
            files.insert(path, bytes);
        }
    }
    files
}
