//! One data directory, what was acknowledged on it, and its judgement after every round.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, prlimit};
use serde_json::{Value, json};
use tempfile::TempDir;
use ureq::Agent;

use crate::client::{Client, Over};
use crate::debits::{self, CAMERAS_EACH, SENDERS, Sent};
use crate::faults::{Fault, Load};
use crate::journal;
use crate::moves::{self, Acts, MOVED};
use crate::process::{PATIENCE, license_key, operator_key, text, trusted_issuers, weir};
use crate::server::Server;

const ORGANIZATIONS: [&str; 4] = ["acme", "keys", "left", "right"];
/// Small segments and snapshots, so that every round crosses many of them.
const SMALL: [&str; 8] = [
    "--segment-bytes-min",
    "65536",
    "--segment-bytes-max",
    "65536",
    "--snapshot-bytes",
    "65536",
    "--snapshot-period-ms",
    "1000",
];
/// So long that no step of the clock makes an event too old.
const RETENTION_MS: u64 = 35 * 24 * 60 * 60 * 1_000;
/// Below `body_bytes_max`.
const LARGE_BYTES: usize = 7 << 20;
/// How often it is looked whether a partition stopped, in answers.
const LOOK_EVERY: u64 = 16;

/// A directory and its record outside.
pub(crate) struct World {
    root: TempDir,
    small_disk: Option<SmallDisk>,
    admin: String,
    gateway: String,
    rounds: u64,
    sent: Vec<Sent>,
    tokens: u64,
    debits: usize,
    licenses: Acts,
    transfers: Acts,
}

/// What a round did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) rounds: usize,
    /// Rounds whose fault was seen: the server ended, did not start, or a partition stopped.
    pub(crate) seen: usize,
    pub(crate) debits: usize,
    pub(crate) moves: usize,
}

/// A round in which a fault is about to happen.
pub(crate) struct Scene<'a> {
    pub(crate) world: &'a World,
    pub(crate) server: &'a mut Server,
    answered: Receiver<()>,
    over: &'a Over,
    /// It keeps its connection, so that it needs nothing new of a server that lacks something.
    probe: Agent,
    /// A number of this round's own.
    pub(crate) pick: u64,
    pub(crate) was_seen: bool,
}

/// A file system of a few MiB.
struct SmallDisk(PathBuf);

/// Ends the clients of a round, whatever ends the round.
struct Rings<'a>(&'a Over);

impl World {
    pub(crate) fn new() -> Self {
        Self::within(tempfile::tempdir().expect("a temporary directory"), None)
    }

    /// On a file system of a few MiB; none where none can be mounted.
    pub(crate) fn on_small_disk() -> Option<Self> {
        let root = tempfile::tempdir().expect("a temporary directory");
        let disk = root.path().join("disk");
        std::fs::create_dir(&disk).expect("made");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=24m", "tmpfs", text(&disk)]);
        let is_mounted = mount.output().is_ok_and(|output| output.status.success());
        is_mounted.then(|| Self::within(root, Some(SmallDisk(disk))))
    }

    fn within(root: TempDir, small_disk: Option<SmallDisk>) -> Self {
        let mut world = Self {
            root,
            small_disk,
            admin: String::new(),
            gateway: String::new(),
            rounds: 0,
            sent: Vec::new(),
            tokens: 0,
            debits: 0,
            licenses: Acts::default(),
            transfers: Acts::default(),
        };
        let server = world.start();
        world.set_up(&server);
        world.stop(server);
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.small_disk.as_ref().map_or_else(|| self.path("data"), |disk| disk.0.join("data"))
    }

    pub(crate) fn spawn(&self, within: &[String]) -> Server {
        let (data, key_file) = (self.data(), self.path("operator.key"));
        let mut args = vec!["serve", "--data", text(&data), "--operator-key-file", text(&key_file)];
        args.extend(["--partitions", "2", "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0"]);
        let issuers = trusted_issuers(self.root.path());
        args.extend(["--log", "warn", "--license-issuers", text(&issuers)]);
        args.extend(SMALL);
        Server::spawn(within, &args, &self.path("log"))
    }

    pub(crate) fn start(&self) -> Server {
        let mut server = self.spawn(&[]);
        assert!(server.is_ready(), "it ended before it was ready; {}", self.log());
        server
    }

    /// Stops it in order, as nothing has failed in it.
    pub(crate) fn stop(&self, mut server: Server) {
        server.signal(Signal::INT);
        assert_eq!(server.ended().code(), Some(0), "{}", self.log());
    }

    /// Load, a fault in its midst, an end, and the judgement.
    pub(crate) fn round(&mut self, fault: &Fault, pick: u64) -> Tally {
        self.rounds += 1;
        let begun = tokenweir::telemetry::clock::start();
        let before = (self.debits, self.licenses.answers.len() + self.transfers.answers.len());
        let mut server = self.spawn(&fault.within.words(self, pick));
        let was_seen = if server.is_ready() {
            let clients = [fault.patience, PATIENCE].map(|patience| {
                [&self.gateway, &self.admin].map(|key| Client::new(&server.url, key, patience))
            });
            self.load(&mut server, fault, pick, &clients)
        } else {
            true
        };
        server.kill();
        drop(server);
        self.judge();
        println!("  {} (round {}, {pick}): {} ms", fault.name, self.rounds, begun.elapsed().as_millis());
        let moves = self.licenses.answers.len() + self.transfers.answers.len() - before.1;
        Tally { rounds: 1, seen: usize::from(was_seen), debits: self.debits - before.0, moves }
    }

    /// The directory verifies after everything that was done to it, and all that was ever acknowledged is known.
    pub(crate) fn finish(self) {
        let server = self.start();
        let client = Client::new(&server.url, &self.gateway, PATIENCE);
        let everything: Vec<_> = self.sent.iter().flat_map(Sent::debits).collect();
        assert_eq!(debits::forgotten(&client, &everything), 0, "debits that were acknowledged");
        self.expect_charged(&client);
        self.stop(server);
        self.verified();
    }

    /// Answers whether the fault was seen.
    fn load(&mut self, server: &mut Server, fault: &Fault, pick: u64, clients: &[[Client; 2]; 2]) -> bool {
        let senders = if fault.load == Load::Moves { 0 } else { SENDERS };
        let (over, round) = (Over::default(), self.rounds);
        let (sender, answered) = channel();
        let (mut licenses, mut transfers) =
            (std::mem::take(&mut self.licenses), std::mem::take(&mut self.transfers));
        let ([[gateway, _], [_, admin]], folder) = (clients, self.root.path());
        let (sent, was_seen) = std::thread::scope(|scope| {
            let _rings = Rings(&over);
            let (over, sender) = (&over, &sender);
            scope.spawn(|| moves::add_licenses(admin, folder, &mut licenses, (over, sender)));
            scope.spawn(|| moves::transfer_pools(admin, &mut transfers, over, sender));
            let start = |number| scope.spawn(move || debits::send(gateway, number, round, over, sender));
            let senders: Vec<_> = (0..senders).map(start).collect();
            let probe = Agent::config_builder().http_status_as_error(false).proxy(None);
            let probe = probe.timeout_global(Some(Duration::from_secs(5))).build().into();
            let mut scene = Scene { world: self, server, answered, over, probe, pick, was_seen: false };
            (fault.strike)(&mut scene);
            scene.was_seen |= !scene.server.is_running();
            let was_seen = scene.was_seen;
            scene.server.kill();
            over.ring();
            let sent = senders.into_iter().map(|sender| sender.join().expect("no assertion failed"));
            (sent.collect::<Vec<_>>(), was_seen)
        });
        self.sent.extend(sent);
        (self.licenses, self.transfers) = (licenses, transfers);
        was_seen
    }

    /// What is stored is clean and served, has all that was acknowledged, and nothing that was not sent. Then all of it
    /// is sent again, under the same ids.
    fn judge(&mut self) {
        let report = self.verified();
        journal::expect_rising_times(&self.data());
        let first = self.sent.iter().position(|sent| sent.round == self.rounds).unwrap_or(self.sent.len());
        let of_round = |sent: &[Sent]| sent.iter().flat_map(Sent::debits).collect::<Vec<_>>();
        let at_least = self.tokens + debits::tokens(&of_round(&self.sent[first..]));
        let lost: u64 = self.sent[first..].iter().map(|sent| debits::tokens(&sent.lost())).sum();

        let server = self.start();
        let gateway = Client::new(&server.url, &self.gateway, PATIENCE);
        let admin = Client::new(&server.url, &self.admin, PATIENCE);
        let served = summary(&gateway)["used"].as_u64().expect("tokens");
        assert_eq!(report["totals"]["used"], served, "what is served is what is stored");
        assert!((at_least..=at_least + lost).contains(&served), "{served}, not {at_least} and up to {lost}");
        self.sent[first..].iter_mut().for_each(|sent| debits::settle(&gateway, sent));
        let acknowledged = of_round(&self.sent[first..]);
        assert_eq!(debits::forgotten(&gateway, &acknowledged), 0, "debits that were acknowledged");
        self.tokens += debits::tokens(&acknowledged);
        self.debits += acknowledged.len();
        self.expect_charged(&gateway);
        moves::expect_licenses(&admin, self.root.path(), &mut self.licenses);
        moves::expect_transfers(&admin, &mut self.transfers);
        self.stop(server);
    }

    fn expect_charged(&self, client: &Client) {
        let summary = summary(client);
        assert_eq!(summary["debits_charged"], self.debits, "each debit is charged once");
        assert_eq!(summary["used"], self.tokens);
    }

    fn verified(&self) -> Value {
        let ended = weir(&["verify", text(&self.data()), "--json"]);
        assert_eq!(ended.stderr, "", "{}", self.log());
        let report = ended.json();
        assert_eq!(report["clean"], true, "{report}");
        report
    }

    fn set_up(&mut self, server: &Server) {
        let client = |key: &str| Client::new(&server.url, key, PATIENCE);
        let operator = client(&operator_key(&self.path("operator.key")));
        for id in ORGANIZATIONS {
            let new = json!({ "id": id, "name": id, "retention_ms": RETENTION_MS });
            operator.must("POST", "/v1/organizations", &new);
        }
        let key = |role: &str| {
            let body = json!({ "label": role, "role": role, "organizations": ORGANIZATIONS });
            operator.must("POST", "/v1/keys", &body)["key"].as_str().expect("shown once").to_owned()
        };
        (self.admin, self.gateway) = (key("admin"), key("gateway"));
        let admin = client(&self.admin);
        for camera in 0..SENDERS * CAMERAS_EACH {
            let path = format!("/v1/organizations/acme/cameras/cam-{camera}");
            admin.must("PUT", &path, &json!({ "network": "gate", "cloud_ai": true }));
        }
        for (organization, tokens) in [("acme", 1_000_000_000_000), ("left", MOVED)] {
            let grant =
                json!({ "key": license_key(self.root.path(), &format!("first-{organization}"), &[tokens]) });
            admin.must("POST", &format!("/v1/organizations/{organization}/licenses"), &grant);
        }
    }

    /// What servers logged, for whoever has to find out.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

impl Scene<'_> {
    /// Waits for so many answers, or until the fault is seen; true when it was.
    pub(crate) fn answers(&mut self, most: u64) -> bool {
        let mut silence = Duration::ZERO;
        let mut count = 0;
        while count < most && !self.was_seen {
            match self.answered.recv_timeout(Duration::from_millis(100)) {
                Ok(()) => (count, silence) = (count + 1, Duration::ZERO),
                Err(_) => silence += Duration::from_millis(100),
            }
            assert!(silence < PATIENCE, "no answers, and no reason; {}", self.world.log());
            if silence > Duration::ZERO || count % LOOK_EVERY == 0 {
                self.was_seen = !self.server.is_running() || self.is_stopped();
            }
        }
        self.was_seen
    }

    /// Gives the server so much time, for what cannot be waited for.
    pub(crate) fn pause(&self, ms: u64) {
        self.over.comes_within(Duration::from_millis(ms));
    }

    /// Whether a partition stopped.
    pub(crate) fn is_stopped(&self) -> bool {
        let answer = self.probe.get(format!("{}/readyz", self.server.url)).call();
        let body = answer.ok().and_then(|mut answer| answer.body_mut().read_to_string().ok());
        body.is_some_and(|body| body.contains("poisoned"))
    }

    /// Limits the running server; answers with what its limit was.
    pub(crate) fn limit(&self, resource: Resource, most: u64) -> Rlimit {
        let limit = Rlimit { current: Some(most), ..getrlimit(resource) };
        prlimit(Some(self.server.pid()), resource, limit).expect("it is ours")
    }

    /// Sets a limit of the running server, unless it has ended.
    pub(crate) fn restore(&self, resource: Resource, limit: Rlimit) {
        _ = prlimit(Some(self.server.pid()), resource, limit);
    }

    /// Sends a body of some MiB, whatever is answered.
    pub(crate) fn send_large_body(&self) {
        let url = format!("{}/v1/organizations/acme/debits", self.server.url);
        let key = format!("Bearer {}", self.world.gateway);
        let body = " ".repeat(LARGE_BYTES);
        let json = ureq::post(url).header("authorization", key).header("content-type", "application/json");
        _ = json.config().proxy(None).timeout_global(Some(Duration::from_secs(5))).build().send(body);
    }

    /// Fills the disk to its last byte; answers with the file that does.
    pub(crate) fn fill_disk(&self) -> PathBuf {
        let path = self.world.data().with_file_name("filler");
        let mut filler = std::fs::File::create(&path).expect("a file");
        while std::io::Write::write_all(&mut filler, &[1; 4_096]).is_ok() {}
        path
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("what the servers logged:\n{}", self.log());
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        _ = Command::new("umount").arg("--lazy").arg::<&Path>(&self.0).status();
    }
}

impl Drop for Rings<'_> {
    fn drop(&mut self) {
        self.0.ring();
    }
}

fn summary(client: &Client) -> Value {
    client.must("GET", "/v1/organizations/acme/summary", &Value::Null)
}
