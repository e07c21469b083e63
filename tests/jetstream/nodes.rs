//! Three nodes on three servers: partitions go where they are served, whoever is killed or leaves. The host appends to the logs and notes outside
//! what was acknowledged.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokenweir::cluster::jetstream::{JetStreamBoard, Keeper, Post};
use tokenweir::cluster::lease::{Addresses, Life};
use tokenweir::cluster::node::{self, Board, Host, Lookout, Node, TERM};
use tokenweir::domain::ids::Lsn;
use tokenweir::storage::fixture::{SMALL, check_body, group};
use tokenweir::storage::manifest::Stage;
use tokenweir::storage::{Fault, GroupLog, Store};
use tokenweir::telemetry::clock;

use crate::servers::{Servers, Sync};
use crate::{OWNED, fit};

const PARTITIONS: u16 = 6;
/// In so long everything must be served after the worst that is done here.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a partition may take to be served again when its node was killed.
const FAILOVER_MAX: Duration = Duration::from_secs(5);

/// The last lsn that was acknowledged of each partition, by whoever owned it.
type Acknowledged = Arc<Mutex<BTreeMap<u16, u64>>>;

type Log = Arc<Mutex<Box<dyn GroupLog>>>;

#[derive(Debug, Default)]
struct Appender {
    logs: Mutex<BTreeMap<u16, Log>>,
    /// How often it was told to make ready to leave.
    saves: AtomicUsize,
    acknowledged: Acknowledged,
}

impl Host for Appender {
    fn take(&self, store: Arc<dyn Store>, _: Stage) -> Result<(), Fault> {
        let partition = store.partition();
        let acknowledged =
            self.acknowledged.lock().expect("nothing panics with it").get(&partition).copied().unwrap_or(0);
        let mut last = 0;
        let (log, _) = store.open(SMALL, Lsn(0), &mut |frame| {
            last = frame.meta.lsn.0;
            check_body(frame)
        })?;
        assert!(
            last >= acknowledged,
            "partition {partition}: {last} is there, {acknowledged} was acknowledged"
        );
        self.logs.lock().expect("nothing panics with it").insert(partition, Arc::new(Mutex::new(log)));
        Ok(())
    }

    fn save(&self, partition: u16) {
        assert!(self.serves(partition), "it is made ready while it is served");
        self.saves.fetch_add(1, Ordering::Relaxed);
    }

    fn leave(&self, partition: u16) {
        let log = self.logs.lock().expect("nothing panics with it").remove(&partition);
        // What is under way ends first.
        log.into_iter().for_each(|log| drop(log.lock()));
    }

    fn serves(&self, partition: u16) -> bool {
        self.logs.lock().expect("nothing panics with it").contains_key(&partition)
    }
}

impl Appender {
    /// Appends a group; whether it was acknowledged.
    fn append(&self, partition: u16) -> bool {
        let Some(log) = self.logs.lock().expect("nothing panics with it").get(&partition).cloned() else {
            return false;
        };
        let mut log = log.lock().expect("nothing panics with it");
        let first = log.next_lsn();
        if log.append_group(first, 3, &group(first, 3)).is_err() {
            self.logs.lock().expect("nothing panics with it").remove(&partition);
            return false;
        }
        self.acknowledged.lock().expect("nothing panics with it").insert(partition, log.durable().0);
        true
    }
}

struct Member {
    node: Node,
    host: Arc<Appender>,
}

struct Cluster {
    servers: Servers,
    members: BTreeMap<&'static str, Member>,
    acknowledged: Acknowledged,
    boots: u64,
}

impl Cluster {
    fn start(servers: Servers) -> Self {
        let mut cluster = Self { servers, members: BTreeMap::new(), acknowledged: Arc::default(), boots: 0 };
        ["a", "b", "c"].into_iter().for_each(|name| cluster.join(name));
        cluster
    }

    fn join(&mut self, name: &'static str) {
        self.boots += 1;
        let keeper = Arc::new(Keeper::connect(&fit(&self.servers, "nodes")).expect("fit"));
        let board: Arc<dyn Board> = Arc::new(JetStreamBoard::new(keeper));
        let leases = node::found(&*board, OWNED.directory, PARTITIONS).expect("a table");
        let acknowledged = Arc::clone(&self.acknowledged);
        let host = Arc::new(Appender { acknowledged, ..Appender::default() });
        let life = Life { node: name.to_owned(), boot: self.boots };
        let addresses = Addresses { http: format!("http://{name}"), grpc: None };
        let setup = node::Setup { life, addresses, term: TERM, lookout: Lookout::default() };
        let shared: Arc<dyn Host> = host.clone();
        let node = Node::start(setup, &leases, board, shared).expect("started");
        self.members.insert(name, Member { node, host });
    }

    /// Ends a node where it stands. What it owned is handed back, as a process that was stopped has it when it goes on.
    fn kill(&mut self, name: &str) -> Arc<Appender> {
        let Member { node, host } = self.members.remove(name).expect("it is there");
        drop(node);
        host
    }

    /// Appends to every partition until each acknowledged; how long that took.
    fn append_to_all(&self, what: &str) -> Duration {
        let begun = clock::start();
        let mut missing: Vec<u16> = (0..PARTITIONS).collect();
        while !missing.is_empty() {
            missing.retain(|partition| !self.members.values().any(|member| member.host.append(*partition)));
            assert!(begun.elapsed() < PATIENCE, "{what}: partitions {missing:?} are not served");
            std::thread::park_timeout(Duration::from_millis(10));
        }
        let took = begun.elapsed();
        println!("{what}: every partition acknowledged after {took:?}");
        took
    }

    /// Waits until each node serves its share.
    fn settle(&self) {
        let begun = clock::start();
        let share = usize::from(PARTITIONS) / self.members.len();
        let is_even = |member: &Member| {
            let sight = member.node.lookout().sight();
            sight.serving.len() == share && sight.owners.iter().all(Option::is_some)
        };
        while !self.members.values().all(is_even) {
            let sights: Vec<_> = self.members.values().map(|member| member.node.lookout().sight()).collect();
            assert!(begun.elapsed() < PATIENCE, "{sights:?}");
            std::thread::park_timeout(Duration::from_millis(10));
        }
        println!("even after {:?}", begun.elapsed());
    }
}

#[test]
fn i3_i9_i10_three_nodes_share_partitions_and_follow_each_other() {
    let Some(servers) = Servers::start(3, Sync::Always) else { return };
    let mut cluster = Cluster::start(servers);
    cluster.settle();
    cluster.append_to_all("at the start");

    let killed = cluster.kill("b");
    assert!(cluster.append_to_all("a node was killed") < FAILOVER_MAX);
    for partition in 0..PARTITIONS {
        assert!(!killed.append(partition), "who was deposed acknowledges nothing: partition {partition}");
    }
    cluster.join("b");
    cluster.settle();
    cluster.append_to_all("it came back");

    let left = cluster.members.remove("c").expect("it is there");
    let saves = || left.host.saves.load(Ordering::Relaxed);
    let before = saves();
    left.node.leave();
    assert_eq!(saves() - before, 2, "of each partition it is told before it leaves");
    assert!(cluster.append_to_all("a node left in order") < FAILOVER_MAX / 2);
    cluster.join("c");
    cluster.settle();
    cluster.append_to_all("at the end");
}

#[test]
fn a_node_ends_when_another_takes_its_name() {
    let Some(servers) = Servers::start(1, Sync::Always) else { return };
    let mut cluster = Cluster { servers, members: BTreeMap::new(), acknowledged: Arc::default(), boots: 0 };
    cluster.join("a");
    let first = cluster.members.remove("a").expect("it is there");
    cluster.join("a");
    let begun = clock::start();
    while first.node.lookout().sight().ended.is_none() {
        assert!(begun.elapsed() < PATIENCE, "it goes on");
        std::thread::park_timeout(Duration::from_millis(10));
    }
    assert!(cluster.members["a"].node.lookout().sight().ended.is_none());
    cluster.append_to_all("the later one serves");
}

#[test]
fn messages_between_nodes_are_answered_whole_and_whoever_is_gone_is_noticed_at_once() {
    let Some(servers) = Servers::start(1, Sync::Always) else { return };
    let keeper = || Arc::new(Keeper::connect(&fit(&servers, "post")).expect("fit"));
    let life = |boot| Life { node: "n".to_owned(), boot };
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    let echo = Post::start(
        keeper(),
        life(1),
        Arc::new(move |head, message: Vec<u8>| {
            let heard = Arc::clone(&heard);
            Box::pin(async move {
                heard.lock().expect("nothing panics with it").push((
                    head.topic,
                    head.partition,
                    message.len(),
                ));
                Some(message.into_iter().rev().collect())
            })
        }),
    );
    let _echo = echo.expect("started");
    let asking = Post::start(keeper(), life(2), Arc::new(|_, _| Box::pin(async { None }))).expect("started");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    // Longer than a message of these servers, which is 1 MiB.
    let question: Vec<u8> = (0..5_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    let answer = runtime.block_on(asking.ask(life(1), 7, 3, question.clone(), PATIENCE)).expect("answered");
    assert!(answer.iter().eq(question.iter().rev()));
    let begun = clock::start();
    let gone = runtime.block_on(asking.ask(life(9), 7, 3, vec![1], PATIENCE)).expect_err("nobody is there");
    assert!(gone.contains("not there") && begun.elapsed() < Duration::from_secs(2), "{gone}");
    asking.tell(&life(1), 8, 4, vec![2; 9]);
    let begun = clock::start();
    while told.lock().expect("nothing panics with it").last() != Some(&(8, 4, 9)) {
        assert!(begun.elapsed() < PATIENCE, "it was not heard");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    let silent = runtime.block_on(echo_of_nobody(&asking, &life(2)));
    assert!(silent.expect_err("it answers nothing").contains("no answer"));
}

async fn echo_of_nobody(asking: &Post, to: &Life) -> Result<Vec<u8>, String> {
    asking.ask(to.clone(), 1, 0, vec![1], Duration::from_millis(200)).await
}
