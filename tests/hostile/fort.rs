//! The server under attack: its keys, its sockets, and what its process takes.

use std::io::Read as _;
use std::net::TcpStream;
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::{license_key, operator_key, text, trusted_issuers};
use crate::server::Server;

pub(crate) const DEBITS: &str = "/v1/organizations/acme/debits";
/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How long the server waits for a head, a body, a beginning; and for a sign of life.
const SHORT_MS: &str = "2000";

pub(crate) struct Fort {
    root: TempDir,
    server: Mutex<Server>,
    url: String,
    grpc: String,
    pid: Pid,
    pub(crate) gateway: String,
    pub(crate) admin: String,
}

impl Fort {
    /// A server with these settings; short times, so that what is waited for comes soon.
    pub(crate) fn start(settings: &[&str]) -> Self {
        let root = tempfile::tempdir().expect("a temporary directory");
        let (data, key_file) = (root.path().join("data"), root.path().join("operator.key"));
        let issuers = trusted_issuers(root.path());
        let mut args = vec!["serve", "--data", text(&data), "--operator-key-file", text(&key_file)];
        args.extend(["--license-issuers", text(&issuers)]);
        args.extend(["--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0", "--log", "error"]);
        args.extend(["--request-timeout-ms", SHORT_MS, "--keep-alive-ms", SHORT_MS]);
        args.extend(settings);
        let mut server = Server::spawn(&[], &args, &root.path().join("log"));
        assert!(server.is_ready(), "it ended before it was ready");
        let (url, grpc, pid) = (server.url.clone(), server.grpc.clone(), server.pid());
        let (server, admin, gateway) = (Mutex::new(server), String::new(), String::new());
        let mut fort = Self { root, server, url, grpc, pid, gateway, admin };
        let operator = operator_key(&key_file);
        fort.call("POST", "/v1/organizations", &operator, &json!({ "id": "acme", "name": "acme" }));
        let key = |role: &str| {
            let new = json!({ "label": role, "role": role, "organizations": ["acme"] });
            fort.call("POST", "/v1/keys", &operator, &new)["key"].as_str().expect("shown once").to_owned()
        };
        (fort.admin, fort.gateway) = (key("admin"), key("gateway"));
        for camera in ["http", "grpc", "foe"] {
            let path = format!("/v1/organizations/acme/cameras/{camera}");
            fort.call("PUT", &path, &fort.admin, &json!({ "network": "n", "cloud_ai": true }));
        }
        let license = json!({ "key": license_key(fort.root.path(), "K", &[1_000_000_000]) });
        fort.call("POST", "/v1/organizations/acme/licenses", &fort.admin, &license);
        fort
    }

    pub(crate) fn call(&self, method: &str, path: &str, key: &str, body: &Value) -> Value {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url()))
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", "application/json")
            .body(body.to_string())
            .expect("a request");
        let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
        let mut answer = agent.run(request).expect("it is carried out");
        serde_json::from_str(&answer.body_mut().read_to_string().expect("text")).expect("json")
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn grpc_url(&self) -> String {
        format!("http://{}", self.grpc)
    }

    /// A connection to HTTP.
    pub(crate) fn http(&self) -> TcpStream {
        connect(self.url.trim_start_matches("http://"))
    }

    /// A connection to gRPC.
    pub(crate) fn grpc(&self) -> TcpStream {
        connect(&self.grpc)
    }

    /// The head of a request that bears the gateway's key, without its end.
    pub(crate) fn head(&self, method: &str, path: &str) -> String {
        let key = &self.gateway;
        format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        )
    }

    /// Most memory that the process had resident since [`Self::forget_peak`], in KiB.
    pub(crate) fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(self.proc("status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Measures the peak from now on, where the system allows that.
    pub(crate) fn forget_peak(&self) {
        _ = std::fs::write(self.proc("clear_refs"), "5");
    }

    /// How many files and sockets it has open.
    pub(crate) fn open_files(&self) -> usize {
        std::fs::read_dir(self.proc("fd")).expect("it runs").count()
    }

    /// Stops it, which must end well; then the directory must verify.
    pub(crate) fn stop(self) {
        let mut server = self.server.lock().expect("nothing panics with it");
        server.signal(rustix::process::Signal::INT);
        let status = server.ended();
        let log = std::fs::read_to_string(self.root.path().join("log")).unwrap_or_default();
        assert_eq!(status.code(), Some(0), "{log}");
        let data = self.root.path().join("data");
        let ended = crate::process::weir(&["verify", text(&data), "--json"]);
        assert_eq!(ended.json()["clean"], true, "{ended:?}");
    }

    fn proc(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.pid.as_raw_nonzero())
    }
}

/// Reads until the server closes; what it said.
pub(crate) fn rest(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // A connection that is reset is closed as well.
    _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    stream.set_write_timeout(Some(PATIENCE)).expect("a time");
    stream
}

/// Raises the limit of open files of this process as far as it may; answers with it.
pub(crate) fn raise_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
