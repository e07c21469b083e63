//! The real server, killed with SIGKILL while the client streams.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tokenweir::client::{
    CameraRef, Client, Config, Debit, DebitStream, Identity, LeaseConfig, LeasedMeter, Sent, UsageKind,
};
use tokio::sync::mpsc::{Sender, channel};

use crate::process::{Running, license_key, operator_key, text, trusted_issuers};

const CAMERAS: usize = 40;
/// A debit of each camera is a round. Fewer than 64 in flight: each is told exactly when it is sent again.
const WINDOW_ROUNDS: usize = 30;
const KILLS: u64 = 3;
const TOKENS: u64 = 1_000_000_000;

struct Killed {
    running: Running,
    http: String,
    grpc: String,
}

impl Killed {
    /// Starts the server on these addresses.
    fn start(directory: &Path, listen: &str, grpc_listen: &str) -> Self {
        let (data, key) = (directory.join("data"), directory.join("operator.key"));
        let mut args = vec!["serve", "--data", text(&data), "--operator-key-file", text(&key)];
        let issuers = trusted_issuers(directory);
        args.extend([
            "--license-issuers",
            text(&issuers),
            "--listen",
            listen,
            "--grpc-listen",
            grpc_listen,
            "--log",
            "error",
        ]);
        let running = Running::start(&args);
        let http = running.wait_for("listening on http://");
        let grpc = running.wait_for("grpc listening on ");
        running.wait_for("ready");
        Self { running, http, grpc }
    }

    fn kill_and_start_again(self, directory: &Path) -> Self {
        self.running.kill();
        Self::start(directory, &self.http, &self.grpc)
    }

    fn call(&self, method: &str, path: &str, key: &str, body: &serde_json::Value) -> serde_json::Value {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("http://{}/v1{path}", self.http))
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", "application/json")
            .body(body.to_string())
            .expect("a request");
        let mut answer = ureq::Agent::new_with_defaults().run(request).expect("it is carried out");
        serde_json::from_str(&answer.body_mut().read_to_string().expect("text")).expect("json")
    }

    /// Makes organization `north` with its cameras and tokens; the key of a gateway of it.
    fn populate(&self, directory: &Path) -> String {
        let operator = operator_key(&directory.join("operator.key"));
        self.call("POST", "/organizations", &operator, &json!({"id": "north", "name": "north"}));
        let key = |role: &str| {
            let new = json!({"label": role, "role": role, "organizations": ["north"]});
            let made = self.call("POST", "/keys", &operator, &new);
            made["key"].as_str().expect("shown once").to_owned()
        };
        let admin = key("admin");
        for camera in 0..CAMERAS {
            let path = format!("/organizations/north/cameras/c{camera}");
            self.call("PUT", &path, &admin, &json!({"network": "lobby", "cloud_ai": true}));
        }
        let license = json!({"key": license_key(directory, "K", &[TOKENS])});
        self.call("POST", "/organizations/north/licenses", &admin, &license);
        key("gateway")
    }
}

/// Sends a debit of each camera again and again, as fast as the window allows, and tells how often, until nobody listens. Then
/// waits until everything is acknowledged; all that was sent.
async fn send_until_unheard(stream: DebitStream, rounds: Sender<u64>) -> Vec<Sent> {
    let mut sent = Vec::new();
    for seq in 1.. {
        for camera in 0..CAMERAS {
            let (id, identity) = (format!("c{camera}"), Identity::Seq { epoch: 1, seq });
            let camera = CameraRef::Id(&id);
            let debit = Debit { camera, identity, tokens: 3, kind: UsageKind::default(), time: None };
            sent.push(stream.send(&debit).await.expect("there will be room"));
        }
        if rounds.send(seq).await.is_err() {
            break;
        }
    }
    stream.flush().await.expect("it comes back");
    sent
}

/// Streams, and kills and starts the server meanwhile; checks every answer. How many debits there were.
async fn stream_and_kill(client: &Client, mut server: Killed, root: &Path) -> (u64, Killed) {
    let stream = client.stream("north");
    let (rounds, mut heard) = channel(1);
    let sending = tokio::spawn(send_until_unheard(stream.clone(), rounds));
    for _ in 0..KILLS {
        // Some are acknowledged and as many as the window holds are on their way: it holds fewer.
        for _ in 0..3 * WINDOW_ROUNDS {
            heard.recv().await.expect("it goes on");
        }
        server = server.kill_and_start_again(root);
    }
    drop(heard);
    let sent = sending.await.expect("no panic");
    let (mut debits, mut resent) = (0, 0);
    for sent in sent {
        let answer = sent.await.expect("an answer");
        assert!(answer.is_admitted(), "{answer:?}");
        debits += 1;
        resent += u64::from(answer.resent);
    }
    let reconnects = stream.lag().reconnects;
    assert!(reconnects >= KILLS && resent > 0, "{reconnects} reconnections, {resent} of {debits} sent again");
    (debits, server)
}

#[test]
fn r13_r14_a_server_that_is_killed_while_it_is_streamed_to_charges_everything_once() {
    let root = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let server = Killed::start(root.path(), "127.0.0.1:0", "127.0.0.1:0");
    let mut config = Config::new(format!("http://{}", server.grpc), server.populate(root.path()));
    (config.batch_debits, config.window_debits) = (16, WINDOW_ROUNDS * CAMERAS);
    config.backoff_min = Duration::from_millis(5);
    let server = runtime.expect("a runtime").block_on(async {
        let client = Client::connect(config).expect("a client");
        let (debits, server) = stream_and_kill(&client, server, root.path()).await;
        let summary = client.summary("north").await.expect("an answer");
        assert_eq!((summary.debits_charged, summary.used), (debits, 3 * debits));
        assert_eq!(summary.available, TOKENS - summary.used);
        server
    });
    assert_eq!(server.running.stop(), Some(0));
}

/// Spends a lease on events of one camera, and kills and starts the server meanwhile. How many were granted.
async fn spend_and_kill(meter: &LeasedMeter, mut server: Killed, root: &Path) -> (u64, Killed) {
    meter.ready().await.expect("a lease");
    let camera = meter.camera("c0").expect("an id");
    let mut seq = 0;
    for _ in 0..KILLS {
        // More than the server tells apart of one camera are on their way when it is killed.
        for _ in 0..1_000 {
            seq += 1;
            let identity = Identity::Seq { epoch: 1, seq };
            let debit = Debit { camera, identity, tokens: 3, kind: UsageKind::default(), time: None };
            while meter.debit(&debit).is_err() {
                tokio::task::yield_now().await;
            }
        }
        server = server.kill_and_start_again(root);
    }
    (seq, server)
}

#[test]
fn r13_r14_a_server_that_is_killed_while_a_lease_is_spent_charges_everything_once() {
    let root = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let server = Killed::start(root.path(), "127.0.0.1:0", "127.0.0.1:0");
    let mut config = Config::new(format!("http://{}", server.grpc), server.populate(root.path()));
    config.backoff_min = Duration::from_millis(5);
    let server = runtime.expect("a runtime").block_on(async {
        let client = Client::connect(config).expect("a client");
        let lease = LeaseConfig { report_every: Duration::from_millis(1), ..LeaseConfig::new(2_000) };
        let meter =
            LeasedMeter::start(&client, "north", lease, |lost| panic!("{lost:?}")).expect("in bounds");
        let (granted, server) = spend_and_kill(&meter, server, root.path()).await;
        meter.close().await.expect("all is reported");
        let (status, summary) = (meter.status(), client.summary("north").await.expect("an answer"));
        assert_eq!((status.reported_debits, status.uncharged_debits), (granted, 0));
        assert_eq!((summary.debits_charged, summary.used, summary.held), (granted, 3 * granted, 0));
        server
    });
    assert_eq!(server.running.stop(), Some(0));
}
