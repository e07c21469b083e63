//! A running server, and how the tests talk to it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokenweir::config::Config;
use tokenweir::edge::license_key::{Issuer, IssuerFileError};
use tokenweir::edge::token::TokenIssuersError;
use tokenweir::meter::{Timestamp, Tokens};
use tokenweir::server::{FirstKey, Server};
use tokenweir::telemetry::clock::Clock;
use tokio::runtime::Runtime;

use crate::signer::Signer;

pub(crate) const JSON: &str = "application/json";
pub(crate) const NORTH: &str = "/v1/organizations/north";
pub(crate) const DEBITS: &str = "/v1/organizations/north/debits";

/// A server that listens, and the keys to it.
pub(crate) struct Fixture {
    runtime: Runtime,
    server: Option<Server>,
    clock: Clock,
    agent: ureq::Agent,
    directory: Option<TempDir>,
    issuer: Issuer,
    pub(crate) operator: String,
    pub(crate) admin: String,
    pub(crate) viewer: String,
    pub(crate) gateway: String,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: ureq::http::HeaderMap,
    pub(crate) text: String,
}

/// A body with its media type.
pub(crate) type Body<'a> = Option<(&'a str, &'a [u8])>;

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Checks that this is a problem document with this status and code.
    pub(crate) fn check_problem(&self, status: u16, code: &str) {
        assert_eq!(
            (self.status, self.header("content-type")),
            (status, "application/problem+json"),
            "{self:?}"
        );
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["type"], format!("urn:tokenweir:problem:{code}"));
        assert_eq!(problem["status"], status);
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
    }

    /// Checks the status and answers with the body.
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        if self.text.is_empty() { Value::Null } else { self.json() }
    }
}

impl Fixture {
    /// A server that listens and does not serve yet.
    pub(crate) fn bound(change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut config = Config::new(directory.path().join("data"));
        config.listen = "127.0.0.1:0".parse().expect("an address");
        config.partitions = 2;
        config.segment_bytes_min = 64 << 10;
        config.keep_alive_ms = 2_000;
        let list = directory.path().join("issuers");
        let issuer = issuer_in(directory.path(), "sales");
        std::fs::write(&list, issuer.public_line()).expect("written");
        config.license_issuers = Some(list);
        change(&mut config);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let server = Server::bind(&config).expect("a free port");
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let none = String::new;
        Self {
            runtime: runtime.expect("a runtime"),
            server: Some(server),
            clock: Clock::System,
            agent,
            directory: Some(directory),
            issuer,
            operator: none(),
            admin: none(),
            viewer: none(),
            gateway: none(),
        }
    }

    /// Opens the meter and keeps the first operator key.
    pub(crate) fn open(&mut self) {
        let opening = self.server().open_by(self.clock.clone());
        let key = self.runtime.block_on(opening).expect("the directory is sound");
        if let Some(FirstKey::ToShow(key)) = key {
            self.operator = key;
        }
    }

    /// A server with organizations `north`, `south` and `other`, and a key of each role for the first two.
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub(crate) fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::bound(change).organizations()
    }

    /// As [`Self::populated`], with a clock that stands until its hand is set.
    pub(crate) fn populated_by(clock: Clock) -> Self {
        let mut fixture = Self::bound(|_| {});
        fixture.clock = clock;
        fixture.organizations().populate()
    }

    /// As [`Self::populated`], of a server that trusts an issuer of tokens; and the directory with the list of issuers.
    pub(crate) fn trusting() -> (Self, Signer, TempDir) {
        let directory = tempfile::tempdir().expect("a directory");
        let signer = Signer::trusted(directory.path(), "k1");
        let list = Signer::list(directory.path());
        (Self::start_with(|config| config.token_issuers = Some(list)).populate(), signer, directory)
    }

    fn organizations(mut self) -> Self {
        let fixture = &mut self;
        fixture.open();
        for id in ["north", "south", "other"] {
            let body = json!({"id": id, "name": format!("Organization {id}")});
            fixture.post("/v1/organizations", &fixture.operator, &body).expect(201);
        }
        fixture.admin = fixture.key("admin", &["north", "south"]);
        fixture.viewer = fixture.key("viewer", &["north"]);
        fixture.gateway = fixture.key("gateway", &["north"]);
        self
    }

    /// The same with cameras `cam` (Cloud AI on) and `off` (off) in `north`, and 1,500 tokens in two licenses.
    pub(crate) fn populated() -> Self {
        Self::start().populate()
    }

    pub(crate) fn populate(self) -> Self {
        for (camera, cloud_ai) in [("cam", true), ("off", false)] {
            let body = json!({"network": "lobby", "cloud_ai": cloud_ai});
            self.put(&format!("{NORTH}/cameras/{camera}"), &self.admin, &body).expect(200);
        }
        let body = json!({"key": self.license_key("KEY-1", &[1000, 500])});
        self.post(&format!("{NORTH}/licenses"), &self.admin, &body).expect(201);
        self
    }

    /// Stops the server and keeps its directory.
    pub(crate) fn stop(mut self) -> TempDir {
        self.directory.take().expect("it is given away once")
    }

    /// Makes an API key.
    pub(crate) fn key(&self, role: &str, organizations: &[&str]) -> String {
        let body = json!({"label": role, "role": role, "organizations": organizations});
        let made = self.post("/v1/keys", &self.operator, &body).expect(201);
        made["key"].as_str().expect("the key is shown").to_owned()
    }

    /// A license key of the issuer that the server trusts; its id is `sales:ID`.
    pub(crate) fn license_key(&self, id: &str, grants: &[u64]) -> String {
        license_key(&self.issuer, id, grants)
    }

    /// Reads the list of issuers again, as SIGHUP does.
    pub(crate) fn reload_issuers(&self) -> Result<(), IssuerFileError> {
        self.server().reload_issuers()
    }

    /// Reads the list of issuers of tokens again, as SIGHUP does.
    pub(crate) fn reload_token_issuers(&self) -> Result<(), TokenIssuersError> {
        self.server().reload_token_issuers()
    }

    /// The directory of this server and of its files.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.as_ref().expect("it was not given away").path()
    }

    pub(crate) fn get(&self, path: &str, key: &str) -> Answer {
        self.call("GET", path, key, None)
    }

    pub(crate) fn delete(&self, path: &str, key: &str) -> Answer {
        self.call("DELETE", path, key, None)
    }

    pub(crate) fn post(&self, path: &str, key: &str, body: &Value) -> Answer {
        self.call("POST", path, key, Some((JSON, body.to_string().as_bytes())))
    }

    pub(crate) fn put(&self, path: &str, key: &str, body: &Value) -> Answer {
        self.call("PUT", path, key, Some((JSON, body.to_string().as_bytes())))
    }

    /// Reads what is there in this media type.
    pub(crate) fn get_as(&self, path: &str, key: &str, media: &str) -> Answer {
        let request = ureq::http::Request::builder().uri(self.url(path)).header("accept", media);
        let request = request.header("authorization", format!("Bearer {key}"));
        let mut answer = self.agent.run(request.body(()).expect("a request")).expect("the server answers");
        let text = answer.body_mut().read_to_string().expect("text");
        Answer { status: answer.status().as_u16(), headers: answer.headers().clone(), text }
    }

    /// Waits until all that is durable is reported.
    pub(crate) fn report(&self) {
        let reports = self.server().reports().expect("they are kept");
        assert!(reports.catch_up(std::time::Duration::from_secs(30)), "{:?}", reports.status());
    }

    /// One request; no key where `key` is empty.
    pub(crate) fn call(&self, method: &str, path: &str, key: &str, body: Body<'_>) -> Answer {
        self.call_with((method, path), key, &[], body)
    }

    /// The same with these headers.
    pub(crate) fn call_with(
        &self,
        (method, path): (&str, &str),
        key: &str,
        headers: &[(&str, &str)],
        body: Body<'_>,
    ) -> Answer {
        let mut request = ureq::http::Request::builder().method(method).uri(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !key.is_empty() {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let answer = match body {
            None => self.agent.run(request.body(()).expect("a request")),
            Some((media, bytes)) => {
                self.agent.run(request.header("content-type", media).body(bytes).expect("a request"))
            }
        };
        let mut answer = answer.expect("the server answers");
        let text = answer.body_mut().read_to_string().expect("text");
        Answer { status: answer.status().as_u16(), headers: answer.headers().clone(), text }
    }

    /// Sends bytes as they are, and reads until the server closes.
    pub(crate) fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(bytes).expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub(crate) fn connect(&self) -> TcpStream {
        TcpStream::connect(self.server().address()).expect("the server listens")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server().address()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server().address())
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("the server runs")
    }
}

/// An issuer of license keys with a file of its own in `directory`.
pub(crate) fn issuer_in(directory: &Path, name: &str) -> Issuer {
    let folder = tempfile::tempdir_in(directory).expect("a directory");
    Issuer::create(&folder.path().join("issuer.jwk"), Some(name.parse().expect("valid"))).expect("a new file")
}

pub(crate) fn license_key(issuer: &Issuer, id: &str, grants: &[u64]) -> String {
    let sizes: Vec<_> = grants.iter().map(|tokens| (1, Tokens(*tokens))).collect();
    issuer.issue(id, &sizes, Timestamp::from_ms(1_767_225_600_000).expect("valid")).expect("within bounds")
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // Idle connections go first, so that the stop has none to wait for.
        self.agent = ureq::Agent::new_with_defaults();
        if let Some(server) = self.server.take() {
            drop(self.runtime.block_on(server.stop()));
        }
    }
}
