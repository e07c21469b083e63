//! A running server, and how the tests talk to it.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokenweir::client::{Client, Config as ClientConfig};
use tokenweir::config::{Config, TlsFiles};
use tokenweir::server::{FirstKey, Server};
use tokenweir::telemetry::clock::Clock;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};

use crate::process::{license_key, trusted_issuers};

pub(crate) const NORTH: &str = "/v1/organizations/north";

/// A server with organization `north` (cameras `a`, `b`, `off`, and `free` under an Unlimited AI License; 10,000 tokens)
/// and organization `other`.
pub(crate) struct Fixture {
    pub(crate) runtime: Runtime,
    server: Option<Server>,
    clock: Clock,
    scheme: &'static str,
    agent: ureq::Agent,
    directory: TempDir,
    operator: String,
    pub(crate) admin: String,
    pub(crate) gateway: String,
}

impl Fixture {
    /// A server that listens and does not serve yet.
    pub(crate) fn bound(change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let server = Some(bind(&directory, change));
        let (operator, admin, gateway) = (String::new(), String::new(), String::new());
        let (runtime, clock, scheme) = (runtime.expect("a runtime"), Clock::System, "http");
        Self { runtime, server, clock, scheme, agent, directory, operator, admin, gateway }
    }

    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub(crate) fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let mut fixture = Self::bound(change);
        fixture.open();
        fixture.populate();
        fixture
    }

    /// As [`Self::start`], with a clock that stands until its hand is set.
    pub(crate) fn start_by(clock: Clock) -> Self {
        let mut fixture = Self::bound(|_| {});
        fixture.clock = clock;
        fixture.open();
        fixture.populate();
        fixture
    }

    /// As [`Self::start`], encrypted: with these files, and a client of HTTP that trusts them.
    pub(crate) fn start_encrypted(tls: TlsFiles, trust: ureq::tls::TlsConfig) -> Self {
        let mut fixture = Self::bound(|config| (config.tls, config.request_timeout_ms) = (Some(tls), 1_000));
        fixture.scheme = "https";
        fixture.agent =
            ureq::Agent::config_builder().http_status_as_error(false).tls_config(trust).build().into();
        fixture.open();
        fixture.populate();
        fixture
    }

    pub(crate) fn open(&mut self) {
        let opening = self.server.as_ref().expect("it runs").open_by(self.clock.clone());
        if let Some(FirstKey::ToShow(key)) = self.runtime.block_on(opening).expect("a sound directory") {
            self.operator = key;
        }
    }

    /// Stops the server, and starts another one on the same directory and ports.
    pub(crate) fn restart(&mut self) {
        let addresses = self.halt();
        self.resume(addresses);
    }

    /// Stops the server; where it was.
    pub(crate) fn halt(&mut self) -> (SocketAddr, SocketAddr) {
        let server = self.server.take().expect("it runs");
        let addresses = (server.address(), server.grpc_address().expect("grpc is on"));
        self.runtime.block_on(server.stop()).expect("it served to the end");
        addresses
    }

    /// Starts another server on the same directory, where the one before was.
    pub(crate) fn resume(&mut self, (http, grpc): (SocketAddr, SocketAddr)) {
        self.server = Some(bind(&self.directory, |config| {
            config.listen = http;
            config.grpc_listen = tokenweir::config::GrpcListen::At(grpc);
        }));
        self.open();
    }

    fn populate(&mut self) {
        for id in ["north", "other"] {
            self.call("POST", "/v1/organizations", &self.operator, &json!({"id": id, "name": id}));
        }
        self.admin = self.key("admin", &["north", "other"]);
        self.gateway = self.key("gateway", &["north"]);
        for camera in ["a", "b", "free"] {
            self.camera(camera);
        }
        let off = json!({"network": "lobby", "cloud_ai": false});
        self.call("PUT", &format!("{NORTH}/cameras/off"), &self.admin, &off);
        let valid = json!({"from": "2020-01-01T00:00:00Z", "until": "2090-01-01T00:00:00Z"});
        self.call("PUT", &format!("{NORTH}/cameras/free/unlimited/U-1"), &self.admin, &valid);
        self.license("K-1", 10_000);
    }

    pub(crate) fn camera(&self, camera: &str) {
        let body = json!({"network": "lobby", "cloud_ai": true});
        self.call("PUT", &format!("{NORTH}/cameras/{camera}"), &self.admin, &body);
    }

    pub(crate) fn license(&self, key: &str, tokens: u64) {
        let body = json!({"key": license_key(self.directory.path(), key, &[tokens])});
        self.call("POST", &format!("{NORTH}/licenses"), &self.admin, &body);
    }

    pub(crate) fn key(&self, role: &str, organizations: &[&str]) -> String {
        let body = json!({"label": role, "role": role, "organizations": organizations});
        let made = self.call("POST", "/v1/keys", &self.operator, &body);
        made["key"].as_str().expect("the key is shown").to_owned()
    }

    pub(crate) fn revoke(&self, key: &str) {
        let id = key.split('_').nth(1).expect("an id");
        let path = format!("{}://{}/v1/keys/{id}", self.scheme, self.server().address());
        let request =
            ureq::http::Request::delete(path).header("authorization", format!("Bearer {}", self.operator));
        assert!(
            self.agent.run(request.body(()).expect("a request")).expect("an answer").status().is_success()
        );
    }

    /// One request over HTTP that succeeds.
    pub(crate) fn call(&self, method: &str, path: &str, key: &str, body: &Value) -> Value {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}://{}{path}", self.scheme, self.server().address()))
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", "application/json");
        let body = body.to_string().into_bytes();
        let mut answer = self.agent.run(request.body(body).expect("a request")).expect("an answer");
        let text = answer.body_mut().read_to_string().expect("text");
        assert!(answer.status().is_success(), "{path}: {text}");
        if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("json") }
    }

    /// Tokens left, as HTTP tells.
    pub(crate) fn available(&self) -> u64 {
        let url = format!("{}://{}{NORTH}/summary", self.scheme, self.server().address());
        let request = ureq::http::Request::get(url).header("authorization", format!("Bearer {}", self.admin));
        let mut answer = self.agent.run(request.body(()).expect("a request")).expect("an answer");
        let summary: Value =
            serde_json::from_str(&answer.body_mut().read_to_string().expect("text")).expect("json");
        summary["available"].as_u64().expect("a number")
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.server().grpc_address().expect("grpc is on"))
    }

    /// Runs a future on the fixture's runtime; what does not end in a minute has hung.
    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let bounded = async { tokio::time::timeout(Duration::from_secs(60), future).await };
        self.runtime.block_on(bounded).expect("it ends")
    }

    pub(crate) fn channel(&self) -> Channel {
        let _entered = self.runtime.enter();
        Endpoint::from_shared(self.url()).expect("a url").connect_lazy()
    }

    pub(crate) fn client(&self, key: &str, change: impl FnOnce(&mut ClientConfig)) -> Client {
        self.client_of(&self.url(), key, change)
    }

    pub(crate) fn client_of(&self, url: &str, key: &str, change: impl FnOnce(&mut ClientConfig)) -> Client {
        let _entered = self.runtime.enter();
        let mut config = ClientConfig::new(url, key);
        change(&mut config);
        Client::connect(config).expect("a client")
    }

    /// Moves the data directory away from under the server, which stops its partitions.
    pub(crate) fn lose_directory(&self) {
        let data = self.directory.path().join("data");
        std::fs::rename(&data, data.with_extension("lost")).expect("it is there");
    }

    /// Takes the server out, to stop it while the fixture lives on.
    pub(crate) fn take_server(&mut self) -> Server {
        self.server.take().expect("it runs")
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().expect("the server runs")
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.agent = ureq::Agent::new_with_defaults();
        if let Some(server) = self.server.take() {
            drop(self.runtime.block_on(server.stop()));
        }
    }
}

fn bind(directory: &TempDir, change: impl FnOnce(&mut Config)) -> Server {
    let mut config = Config::new(directory.path().join("data"));
    config.license_issuers = Some(trusted_issuers(directory.path()));
    config.listen = "127.0.0.1:0".parse().expect("an address");
    config.partitions = 2;
    config.segment_bytes_min = 64 << 10;
    config.stop_timeout_ms = 2_000;
    config.workers = 1;
    change(&mut config);
    Server::bind(&config).expect("a free port")
}
