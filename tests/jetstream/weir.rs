//! The program that ships as three nodes of a cluster, under load, while nodes and servers are killed, stopped and started again.
//!
//! Each organization is debited by a client of its own, one debit after the other, each sent under its id until it is acknowledged, to whichever node takes it. What was
//! acknowledged is known here alone. Afterwards each organization was charged exactly that: nothing is lost and nothing is charged twice.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::Client;
use crate::network::Network;
use crate::process::{Ended, license_key, operator_key, text, trusted_issuers, weir};
use crate::server::Server;
use crate::servers::{Servers, Sync};
use crate::told::{TAKEOVERS, Told, every_metric, readiness};
use crate::{fit, rounds, streams};
use tokenweir::cluster::jetstream::Keeper;
use tokenweir::cluster::{Answer, Remote as _};
use tokenweir::domain::hash;
use tokenweir::domain::ids::OrgId;
use tokenweir::telemetry::{clock, cluster};

pub(crate) const NODES: usize = 3;
pub(crate) const PARTITIONS: u16 = 6;
/// They belong to all partitions but few.
pub(crate) const ORGANIZATIONS: usize = 12;
/// How long a client waits for one answer.
const ANSWER: Duration = Duration::from_secs(2);
/// Before a client tries the next node.
const PAUSE: Duration = Duration::from_millis(10);
/// How often nodes are asked what they tell: seldom, for they have little of the processor.
const LOOK: Duration = Duration::from_millis(100);
/// In so long every organization must be served after anything that is done here.
const PATIENCE: Duration = Duration::from_secs(60);
/// An organization without an acknowledgement for longer waited for an election, which takes four seconds at least. One whose node was connected to the
/// server that died is served again after two.
const STOPPED: Duration = Duration::from_secs(3);
/// What an organization may go without an acknowledgement when a node is killed.
pub(crate) const FAILOVER_MAX: Duration = Duration::from_secs(5);
pub(crate) const TOKENS: u64 = 1_000_000_000;

/// Three nodes on three servers.
pub(crate) struct Weirs {
    pub(crate) servers: Servers,
    root: TempDir,
    places: Vec<Place>,
    pub(crate) nodes: BTreeMap<usize, Server>,
}

/// Where a node is: what it is started by, and its addresses.
struct Place {
    within: Vec<String>,
    http: String,
    grpc: String,
}

impl Weirs {
    pub(crate) fn start(servers: Servers) -> Self {
        let listeners: Vec<_> =
            (0..2 * NODES).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
        let address = |at: usize| listeners[at].local_addr().expect("bound").to_string();
        let place = |node| Place { within: Vec::new(), http: address(2 * node), grpc: address(2 * node + 1) };
        let places = (0..NODES).map(place).collect();
        drop(listeners);
        Self::start_in(servers, places)
    }

    /// The same, each on a host of a network.
    pub(crate) fn start_at(servers: Servers, network: &Network, hosts: &[u8]) -> Self {
        let place = |host: &u8| {
            let address = network.address(*host);
            let (http, grpc) = (format!("{address}:8080"), format!("{address}:8081"));
            Place { within: network.within(*host), http, grpc }
        };
        Self::start_in(servers, hosts.iter().map(place).collect())
    }

    fn start_in(servers: Servers, places: Vec<Place>) -> Self {
        let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
        for user in ["app", "sys"] {
            std::fs::write(root.path().join(user), format!("{user}\n")).expect("written");
        }
        std::fs::write(root.path().join("webhooks.key"), "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=\n")
            .expect("written");
        let mut weirs = Self { servers, root, places, nodes: BTreeMap::new() };
        (0..NODES).for_each(|node| weirs.spawn(node));
        (0..NODES).for_each(|node| weirs.expect_ready(node));
        weirs
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn spawn(&mut self, node: usize) {
        let [data, log] = ["data", "log"].map(|name| self.path(&format!("{name}-{node}")));
        let [key, app, sys] = ["operator.key", "app", "sys"].map(|name| self.path(name));
        let (Place { within, http, grpc }, partitions) = (&self.places[node], PARTITIONS.to_string());
        let (servers, name) = (self.servers.access("app").servers.join(","), format!("n{node}"));
        let issuers = trusted_issuers(self.root.path());
        let webhooks = self.path("webhooks.key");
        let args = [
            "serve",
            "--data",
            text(&data),
            "--operator-key-file",
            text(&key),
            "--license-issuers",
            text(&issuers),
            // What is exported afterwards reaches back to the first frame, however often partitions are saved and left.
            "--journal-keep-bytes",
            "1073741824",
            "--webhook-key",
            text(&webhooks),
            "--webhook-private",
            "127.0.0.0/8",
            "--partitions",
            &partitions,
            "--listen",
            http,
            "--grpc-listen",
            grpc,
            "--cluster",
            &servers,
            "--cluster-node",
            &name,
            "--cluster-user",
            "app",
            "--cluster-password-file",
            text(&app),
            "--cluster-system-user",
            "sys",
            "--cluster-system-password-file",
            text(&sys),
        ];
        self.nodes.insert(node, Server::spawn(within, &args, &log));
    }

    pub(crate) fn expect_ready(&mut self, node: usize) {
        let is_ready = self.nodes.get_mut(&node).expect("it was started").is_ready();
        assert!(is_ready, "it ended before it was ready; {}", self.log(node));
    }

    fn log(&self, node: usize) -> String {
        std::fs::read_to_string(self.path(&format!("log-{node}"))).unwrap_or_default()
    }

    /// A client that asks one node alone, and waits for it longer than it waits for owners.
    pub(crate) fn only(&self, node: usize, key: &str) -> Client {
        Client::new(&self.url(node), key, PATIENCE)
    }

    /// Where a node serves gRPC.
    pub(crate) fn grpc(&self, node: usize) -> String {
        format!("http://{}", self.places[node].grpc)
    }

    fn caller(&self, key: &str) -> Caller {
        let client = |node| Client::new(&self.url(node), key, ANSWER);
        Caller { nodes: (0..NODES).map(client).collect(), last: 0 }
    }

    pub(crate) fn url(&self, node: usize) -> String {
        format!("http://{}", self.places[node].http)
    }

    /// The organizations whose partitions a node serves.
    pub(crate) fn owned(&self, node: usize) -> Vec<usize> {
        let told = Told::by(self, &[node]);
        let is_owned = |number: &usize| {
            let id = OrgId::new(&organization(*number)).expect("valid");
            let partition = format!("partition=\"{}\"", hash::partition(&id, PARTITIONS));
            told.sum(cluster::OWNED, &partition) > 0
        };
        (0..ORGANIZATIONS).filter(is_owned).collect()
    }

    /// Waits until a node says this of its readiness.
    pub(crate) fn expect_told(&self, node: usize, (status, word): (u16, &str)) {
        let expected = (status, word.to_owned());
        wait(&format!("node {node} is to say {word}"), || readiness(self, node) == expected);
    }

    /// Waits until each node serves its share and is placed right.
    pub(crate) fn settle(&self) {
        let share = u64::from(PARTITIONS) / u64::try_from(self.nodes.len()).expect("few");
        let is_even = |node: &usize| {
            let told = Told::by(self, &[*node]);
            told.sum(cluster::OWNED, "") >= share && told.sum("tokenweir_cluster_misplaced", "") == 0
        };
        wait("the partitions are to be shared evenly", || self.nodes.keys().all(is_even));
    }

    /// A command that reads the streams, whether nodes run or not.
    fn read(&self, args: &[&str]) -> Ended {
        let (app, servers) = (self.path("app"), self.servers.access("app").servers.join(","));
        let access = ["--cluster", &servers, "--cluster-user", "app", "--cluster-password-file", text(&app)];
        weir(&[args, &access].concat())
    }

    /// What `weir verify` finds on the streams: nothing damaged, and every invariant held.
    fn verify(&self, what: &str) -> Value {
        let ended = self.read(&["verify", "--json"]);
        assert_eq!((ended.code, ended.json()["clean"].as_bool()), (0, Some(true)), "{what}: {ended:?}");
        ended.json()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, node: usize) {
        self.nodes.remove(&node).into_iter().for_each(|mut killed| killed.kill());
    }

    /// As an operator stops it.
    pub(crate) fn stop(&mut self, node: usize) {
        let mut stopped = self.nodes.remove(&node).expect("it runs");
        stopped.signal(Signal::INT);
        assert_eq!(stopped.ended().code(), Some(0), "{}", self.log(node));
    }
}

impl Drop for Weirs {
    fn drop(&mut self) {
        if std::thread::panicking() {
            (0..NODES).for_each(|node| println!("what node {node} logged:\n{}", self.log(node)));
        }
    }
}

/// A client that goes from node to node until one takes its call.
struct Caller {
    nodes: Vec<Client>,
    last: usize,
}

impl Caller {
    fn call(&mut self, method: &str, path: &str, body: &Value) -> Option<Value> {
        for _ in 0..self.nodes.len() {
            if let Some(answer) = self.nodes[self.last].call(method, path, body) {
                return Some(answer);
            }
            self.last = (self.last + 1) % self.nodes.len();
        }
        None
    }

    fn must(&mut self, method: &str, path: &str, body: &Value) -> Value {
        let begun = clock::start();
        loop {
            if let Some(answer) = self.call(method, path, body) {
                return answer;
            }
            assert!(begun.elapsed() < PATIENCE, "no node answers {method} {path}");
            std::thread::park_timeout(PAUSE);
        }
    }
}

/// What was acknowledged, of all organizations.
pub(crate) struct Load {
    acknowledged: Vec<AtomicU64>,
    last: Vec<Mutex<Instant>>,
    /// The longest time that each went without an acknowledgement since it was asked last.
    gaps: Vec<Mutex<Duration>>,
    /// How long organizations went without one whose node failed.
    failovers: Mutex<Vec<Duration>>,
    /// The same of those that were moved to a node that joined.
    moves: Mutex<Vec<Duration>>,
    is_over: AtomicBool,
}

pub(crate) fn organization(number: usize) -> String {
    format!("org-{number}")
}

pub(crate) fn debit(seq: u64) -> Value {
    json!([{ "camera": "cam", "epoch": 1, "seq": seq, "tokens": 1 + seq % 100 }])
}

pub(crate) fn tokens(debits: u64) -> u64 {
    (1..=debits).map(|seq| 1 + seq % 100).sum()
}

impl Load {
    fn new() -> Self {
        Self {
            acknowledged: (0..ORGANIZATIONS).map(|_| AtomicU64::new(0)).collect(),
            last: (0..ORGANIZATIONS).map(|_| Mutex::new(clock::start())).collect(),
            gaps: (0..ORGANIZATIONS).map(|_| Mutex::default()).collect(),
            failovers: Mutex::default(),
            moves: Mutex::default(),
            is_over: AtomicBool::new(false),
        }
    }

    /// Debits every organization while `strike` does what it likes to nodes and servers, then checks what was charged; how many debits.
    pub(crate) fn run(weirs: &mut Weirs, strike: impl FnOnce(&mut Weirs, &Self)) -> u64 {
        let (admin, gateway) = set_up(weirs);
        let load = Self::new();
        std::thread::scope(|scope| {
            for number in 0..ORGANIZATIONS {
                let (load, caller) = (&load, weirs.caller(&gateway));
                scope.spawn(move || load.debit(number, caller));
            }
            let over = Over(&load.is_over);
            strike(weirs, &load);
            drop(over);
        });
        let (mut administrator, mut all) = (weirs.caller(&admin), 0);
        for number in 0..ORGANIZATIONS {
            let debits = load.acknowledged[number].load(Ordering::Relaxed);
            let path = format!("/v1/organizations/{}/summary", organization(number));
            let summary = administrator.must("GET", &path, &Value::Null);
            assert_eq!(summary["debits_charged"], debits, "each debit is charged once: {summary}");
            assert_eq!(summary["used"], tokens(debits), "{summary}");
            all += debits;
        }
        println!("{all} debits acknowledged, each charged once");
        for (what, durations) in [("failed over", &load.failovers), ("were moved", &load.moves)] {
            let mut durations = durations.lock().expect("nothing panics with it");
            println!("{} organizations {what}, in all: {}", durations.len(), spread(&mut durations));
        }
        all
    }

    /// Debits one organization until the load is over, and then until the last debit is acknowledged.
    fn debit(&self, number: usize, mut caller: Caller) {
        let path = format!("/v1/organizations/{}/debits", organization(number));
        let mut seq = 1;
        while !self.is_over.load(Ordering::Relaxed) {
            let answer = caller.must("POST", &path, &debit(seq));
            let result = &answer["results"][0];
            let is_retry = result["code"] == "elsewhere" || result["code"] == "rebuilding";
            if is_retry || result["code"] == "closing" {
                caller.last = (caller.last + 1) % caller.nodes.len();
                continue;
            }
            let is_charged = result["outcome"] == "charged" || result["first"] == "charged";
            assert!(is_charged, "{} {seq}: {answer}", organization(number));
            self.acknowledged[number].store(seq, Ordering::Relaxed);
            let now = clock::start();
            let before =
                std::mem::replace(&mut *self.last[number].lock().expect("nothing panics with it"), now);
            let mut gap = self.gaps[number].lock().expect("nothing panics with it");
            *gap = (*gap).max(now.duration_since(before));
            seq += 1;
        }
    }

    /// Waits until every organization was served after now; the longest time that any went without an acknowledgement.
    pub(crate) fn served(&self, what: &str) -> Duration {
        let mut gaps = self.gaps(what);
        println!("{what:<52} without an acknowledgement: {}", spread(&mut gaps));
        gaps[gaps.len() - 1]
    }

    /// The same of some organizations, whose node failed.
    pub(crate) fn failover(&self, what: &str, struck: &[usize]) -> Duration {
        self.of(what, struck, &self.failovers)
    }

    /// The same of those that a node has that joined.
    pub(crate) fn moved(&self, what: &str, moved: &[usize]) -> Duration {
        self.of(what, moved, &self.moves)
    }

    fn of(&self, what: &str, numbers: &[usize], all: &Mutex<Vec<Duration>>) -> Duration {
        let gaps = self.gaps(what);
        let mut gaps: Vec<_> = numbers.iter().map(|number| gaps[*number]).collect();
        println!("{what:<52} {} organizations: {}", gaps.len(), spread(&mut gaps));
        let longest = gaps.last().copied().unwrap_or_default();
        all.lock().expect("nothing panics with it").extend(gaps);
        longest
    }

    fn gaps(&self, what: &str) -> Vec<Duration> {
        let begun = clock::start();
        for number in 0..ORGANIZATIONS {
            let before = self.acknowledged[number].load(Ordering::Relaxed);
            // The one that is under way may have been kept before; the one after it was sent after now.
            while self.acknowledged[number].load(Ordering::Relaxed) < before + 2 {
                assert!(begun.elapsed() < PATIENCE, "{what}: {} is not served", organization(number));
                std::thread::park_timeout(PAUSE);
            }
        }
        let take = |gap: &Mutex<Duration>| std::mem::take(&mut *gap.lock().expect("nothing panics with it"));
        self.gaps.iter().map(take).collect()
    }
}

/// Half, 99 of a hundred and all of these last so long at most. They are sorted afterwards.
fn spread(durations: &mut [Duration]) -> String {
    durations.sort_unstable();
    let at = |percent: usize| {
        let number = (durations.len() * percent).div_ceil(100).saturating_sub(1);
        durations.get(number).copied().unwrap_or_default()
    };
    format!("p50 {:>7.1?}, p99 {:>7.1?}, max {:>7.1?}", at(50), at(99), at(100))
}

/// Makes organizations with tokens and a camera; the key of a gateway of all.
pub(crate) fn set_up(weirs: &Weirs) -> (String, String) {
    let mut operator = weirs.caller(&operator_key(&weirs.path("operator.key")));
    let all: Vec<_> = (0..ORGANIZATIONS).map(organization).collect();
    for id in &all {
        operator.must("POST", "/v1/organizations", &json!({ "id": id, "name": id }));
    }
    let mut key = |role: &str| {
        let body = json!({ "label": role, "role": role, "organizations": all });
        operator.must("POST", "/v1/keys", &body)["key"].as_str().expect("shown once").to_owned()
    };
    let (admin, gateway) = (key("admin"), key("gateway"));
    // A key is known to all nodes a second after it was made.
    let mut administrator = weirs.caller(&admin);
    let begun = clock::start();
    while begun.elapsed() < Duration::from_millis(1_500) {
        std::thread::park_timeout(PAUSE);
    }
    for id in &all {
        let path = format!("/v1/organizations/{id}");
        let camera = json!({ "network": "gate", "cloud_ai": true });
        administrator.must("PUT", &format!("{path}/cameras/cam"), &camera);
        let license = json!({ "key": license_key(weirs.root.path(), id, &[TOKENS]) });
        administrator.must("POST", &format!("{path}/licenses"), &license);
    }
    (admin, gateway)
}

#[test]
fn r13_r14_i3_i4_three_nodes_lose_nothing_and_charge_nothing_twice_whoever_dies() {
    let Some(servers) = Servers::start(3, Sync::Always) else { return };
    let mut weirs = Weirs::start(servers);
    let all = Load::run(&mut weirs, strike);
    let verified = weirs.verify("at rest");
    assert_eq!(verified["totals"]["debits_charged"], all, "{verified}");
    let exported = weirs.read(&["export", "--format", "ndjson"]);
    assert_eq!(u64::try_from(exported.stdout.lines().count()).ok(), Some(all), "{}", exported.stderr);
    (0..NODES).for_each(|node| weirs.stop(node));
    assert_eq!(weirs.verify("when all nodes have ended")["totals"]["debits_charged"], all);
    check_damage(&weirs);
}

/// A record that nobody wrote is found, by its place; a cluster that is not there is no damage.
fn check_damage(weirs: &Weirs) {
    let setup = fit(&weirs.servers, "weir");
    let log = Arc::new(Keeper::connect_to_read(&setup).expect("there")).partition(4);
    let last = log.last().expect("read").expect("there");
    let mut bytes = last.bytes.clone();
    *bytes.last_mut().expect("a record") ^= 1;
    let Answer::Stored(sequence) = log.append(&bytes, last.sequence, "damage") else {
        panic!("the servers keep what they are given")
    };
    let ended = weirs.read(&["verify", "--json"]);
    let report: Value = serde_json::from_str(&ended.stdout).expect("a report");
    let damage = &report["partitions"][4]["damage"][0];
    assert_eq!((ended.code, damage["sequence"].as_u64()), (1, Some(sequence)), "{ended:?}");
    assert!(ended.stderr.contains("is damaged at sequence"), "{ended:?}");
    assert!(report["partitions"][3]["digest"].is_string(), "the others are whole: {report}");
    let ended = weirs.read(&["verify", "--cluster-name", "other"]);
    assert!(ended.code == 2 && ended.stderr.contains("cluster_name"), "{ended:?}");
}

/// Everything that is done to the nodes and the servers.
fn strike(weirs: &mut Weirs, load: &Load) {
    weirs.settle();
    load.served("to begin with");
    every_metric(weirs);
    for node in (0..rounds().unwrap_or(1)).flat_map(|_| 0..NODES) {
        let (struck, others) = (weirs.owned(node), others(node));
        let before = Told::by(weirs, &others).sum(TAKEOVERS, "died");
        weirs.kill(node);
        assert!(load.failover(&format!("node {node} was killed"), &struck) < FAILOVER_MAX);
        let told = Told::by(weirs, &others);
        assert!(told.sum(TAKEOVERS, "died") > before, "partitions of the dead are taken");
        assert!(told.sum("tokenweir_cluster_heard_age_seconds", &format!("\"n{node}\"")) >= 2);
        let left = told.sum(LOSSES, "placed");
        weirs.spawn(node);
        weirs.expect_ready(node);
        weirs.settle();
        load.moved("it came back", &weirs.owned(node));
        weirs.verify("while nodes serve and debits come");
        assert!(Told::by(weirs, &others).sum(LOSSES, "placed") > left, "others gave it partitions");
    }
    let struck = weirs.owned(1);
    weirs.stop(1);
    assert!(load.failover("a node left in order", &struck) < FAILOVER_MAX);
    weirs.spawn(1);
    weirs.expect_ready(1);
    weirs.settle();
    load.moved("it came back", &weirs.owned(1));
    let struck = weirs.owned(2);
    weirs.nodes[&2].signal(Signal::STOP);
    assert!(load.failover("a node was stopped", &struck) < FAILOVER_MAX);
    weirs.nodes[&2].signal(Signal::CONT);
    load.served("it went on");
    weirs.settle();
    let told = Told::by(weirs, &[2]);
    assert!(told.sum(LOSSES, "overtaken") + told.sum(LOSSES, "ended") > 0, "it finds that others have them");
    let keeper = Keeper::connect(&fit(&weirs.servers, "weir")).expect("fit");
    for server in 0..3 {
        streams::spread(&keeper, "the streams of journals");
        weirs.servers.kill(server);
        let what = format!("server {server} was killed");
        let mut gaps = load.gaps(&what);
        let stopped = gaps.iter().filter(|gap| **gap > STOPPED).count();
        println!(
            "{what}: {stopped} of {ORGANIZATIONS} stopped; without an acknowledgement: {}",
            spread(&mut gaps)
        );
        assert!(stopped < ORGANIZATIONS, "those whose streams are led elsewhere go on");
        weirs.servers.restart(server);
        weirs.servers.settle();
        load.served("it came back");
    }
    without_a_majority(weirs, load);
}

fn without_a_majority(weirs: &mut Weirs, load: &Load) {
    let all: Vec<usize> = (0..NODES).collect();
    let sum = |weirs: &Weirs, name: &str, words: &str| {
        Told::by(weirs, &all).sum(&format!("tokenweir_cluster_{name}"), words)
    };
    let resolved = sum(weirs, "appends_total", "resolved");
    weirs.servers.kill(0);
    weirs.servers.kill(1);
    all.iter().for_each(|node| weirs.expect_told(*node, (503, "stalled")));
    wait("all are to count a stall", || {
        sum(weirs, "stalled", "") == 3 && sum(weirs, "stalls_total", "") >= 3
    });
    weirs.servers.restart(0);
    weirs.servers.restart(1);
    weirs.servers.wait();
    load.served("two of three servers were killed and came back");
    all.iter().for_each(|node| weirs.expect_told(*node, (200, "ready")));
    wait("the stall is to end", || sum(weirs, "stalled", "") == 0);
    assert!(sum(weirs, "appends_total", "resolved") > resolved, "what was unknown is found out");
}

/// Waits until something is so.
pub(crate) fn wait(what: &str, is_so: impl Fn() -> bool) {
    let begun = clock::start();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::park_timeout(LOOK);
    }
}

const LOSSES: &str = "tokenweir_cluster_losses_total";

fn others(node: usize) -> Vec<usize> {
    (0..NODES).filter(|other| *other != node).collect()
}

/// Ends the load, whatever ends the test.
pub(crate) struct Over<'a>(pub(crate) &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
