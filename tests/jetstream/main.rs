//! The replicated log on real servers: three of NATS JetStream on this machine, each syncing every write.
//!
//! The cases of `tests/stores` run on them, then what only they can show: servers that are killed or stopped while an owner appends, and a start that refuses
//! what does not do. `cargo xtask cluster` fetches the server and runs this; where there is none it is passed over and says so.
#![cfg(all(feature = "server", feature = "testing"))]

mod access;
#[cfg(feature = "client")]
mod any_node;
#[expect(dead_code, reason = "the storm uses the rest of it")]
#[path = "../storm/client.rs"]
mod client;
mod cuts;
mod embedded;
#[path = "../cli/endpoint.rs"]
mod endpoint;
mod followed;
mod network;
mod nodes;
mod operator;
#[expect(dead_code, reason = "the tests of the command line use the rest of it")]
#[path = "../cli/pki.rs"]
mod pki;
#[expect(dead_code, reason = "the tests of the command line use the rest of it")]
#[path = "../cli/process.rs"]
mod process;
mod rolling;
#[path = "../storm/server.rs"]
mod server;
mod servers;
mod streams;
#[path = "../stores/suite.rs"]
mod suite;
mod told;
mod weir;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokenweir::cluster::demands::Demands;
use tokenweir::cluster::jetstream::{JetStreamBoard, Keeper, Setup};
use tokenweir::cluster::node::Board as _;
use tokenweir::cluster::record::Owned;
use tokenweir::cluster::{Answer, Remote as _, ReplicatedStore};
use tokenweir::domain::ids::Lsn;
use tokenweir::storage::fixture::{SMALL, check_body, group};
use tokenweir::storage::{DirectoryId, Fault, GroupLog, Store};
use tokenweir::telemetry::clock;

use crate::servers::{Servers, Sync};
use crate::suite::Place;

const OWNED: Owned = Owned { partition: 0, directory: DirectoryId([0xD1; 16]) };
/// In so long a cluster of which a server died must serve again.
const FAILOVER_MAX: Duration = Duration::from_secs(20);

/// How often the tests of three nodes do everything to each node and each server. The short form, which CI runs, does it once, and what takes long to one server alone.
fn rounds() -> Option<u32> {
    std::env::var("WEIR_CLUSTER_ROUNDS").ok().map(|rounds| rounds.parse().expect("a whole number"))
}

fn setup(servers: &Servers, name: &str) -> Setup {
    Setup {
        name: name.to_owned(),
        access: servers.access("app"),
        system: Some(servers.access("sys")),
        demands: Demands::default(),
        streams: 3,
        append_patience: Duration::from_secs(2),
    }
}

/// As many copies as there are servers.
fn fit(servers: &Servers, name: &str) -> Setup {
    let demands = Demands { replicas: servers.count(), ..Demands::default() };
    Setup { demands, ..setup(servers, name) }
}

/// A store with an epoch that nobody else ever has: the revision of a table, as nodes have it.
fn store_now(keeper: &Arc<Keeper>) -> Result<ReplicatedStore, String> {
    let board = JetStreamBoard::new(Arc::clone(keeper));
    let behind = board.read()?.map_or(0, |table| table.sequence);
    match board.write(b"a test", behind) {
        Answer::Stored(epoch) => {
            Ok(ReplicatedStore::new(Arc::new(keeper.partition(OWNED.partition)), OWNED, epoch))
        }
        Answer::Refused(why) | Answer::Unknown(why) => Err(why),
    }
}

fn store(keeper: &Arc<Keeper>) -> ReplicatedStore {
    let begun = clock::start();
    loop {
        match store_now(keeper) {
            Ok(store) => return store,
            Err(why) => assert!(begun.elapsed() < FAILOVER_MAX, "{why}"),
        }
    }
}

/// Streams of their own for each case, on the same servers.
struct Streams(Arc<Keeper>);

impl Place for Streams {
    fn store(&self) -> Arc<dyn Store> {
        Arc::new(store(&self.0))
    }
}

fn open(store: &dyn Store) -> Result<(Box<dyn GroupLog>, u64), Fault> {
    let mut last = 0;
    let (log, _) = store.open(SMALL, Lsn(0), &mut |frame| {
        last = frame.meta.lsn.0;
        check_body(frame)
    })?;
    Ok((log, last))
}

fn append(log: &mut dyn GroupLog) -> Result<(), Fault> {
    let first = log.next_lsn();
    log.append_group(first, 3, &group(first, 3))
}

#[test]
fn i3_i5_i8_i9_three_servers_of_jetstream_keep_a_partition() {
    let Some(servers) = Servers::start(3, Sync::Always) else { return };
    let number = AtomicU64::new(0);
    suite::check(&|| {
        let name = format!("case-{}", number.fetch_add(1, Ordering::Relaxed));
        Box::new(Streams(Arc::new(Keeper::connect(&setup(&servers, &name)).expect("fit"))))
    });
}

#[test]
fn i9_a_stale_append_is_refused_by_the_servers_and_a_second_copy_is_kept_once() {
    let Some(servers) = Servers::start(3, Sync::Always) else { return };
    let keeper = Arc::new(Keeper::connect(&setup(&servers, "stale")).expect("fit"));
    let log = keeper.partition(0);
    let Answer::Stored(first) = log.append(b"one", 0, "1") else { panic!("it is the first") };
    assert!(matches!(log.append(b"two", 0, "2"), Answer::Refused(_)), "another is the last");
    assert!(
        matches!(log.append(b"one", 0, "1"), Answer::Unknown(_) | Answer::Refused(_)),
        "never stored twice"
    );
    let Answer::Stored(second) = log.append(b"two", first, "2") else { panic!("a refused id is free") };
    // A stale owner that guesses the next sequence is accepted: one append in flight, and the fence, are what keeps it out.
    assert!(matches!(log.append(b"three", second, "3"), Answer::Stored(_)));
    assert!(
        matches!(keeper.partition(1).append(b"other", 0, "4"), Answer::Stored(_)),
        "partitions do not meet"
    );
    let mut kept = Vec::new();
    let last = log.last().expect("read").expect("there").sequence;
    log.read(0, last, &mut |stored| {
        kept.push(stored.bytes);
        Ok(ControlFlow::Continue(()))
    })
    .expect("read");
    assert_eq!(kept, [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
    kept.clear();
    log.read(second, last, &mut |stored| {
        kept.push(stored.bytes);
        Ok(ControlFlow::Break(()))
    })
    .expect("read");
    assert_eq!(kept, [b"two".to_vec()], "from there on, until it is enough");
}

#[test]
fn what_is_removed_leaves_nothing_behind_that_grows_or_is_listed() {
    let Some(servers) = Servers::start(3, Sync::Always) else { return };
    let keeper = Arc::new(Keeper::connect(&setup(&servers, "removed")).expect("fit"));
    let [log, other] = [0, 1].map(|partition| keeper.partition(partition));
    let names = ["0001.snap", "0002.snap", "0003.snap"];
    names.iter().for_each(|name| log.put(name, name.as_bytes()).expect("kept"));
    other.put(names[0], b"of another").expect("kept");
    names.iter().skip(1).for_each(|name| log.remove(name).expect("removed"));
    log.remove(names[1]).expect("removed before");
    assert_eq!(log.names().expect("listed"), [names[0]], "not even their names are left");
    assert_eq!(log.get(names[1]), Ok(None));
    assert_eq!(log.get(names[0]), Ok(Some(names[0].as_bytes().to_vec())));
    log.remove(names[0]).expect("removed");
    assert_eq!(log.names().expect("listed"), [""; 0]);
    assert_eq!(other.get(names[0]), Ok(Some(b"of another".to_vec())), "partitions do not meet");
}

#[test]
fn i3_i10_an_owner_goes_on_when_any_server_is_killed_and_nothing_acknowledged_is_lost() {
    let Some(mut servers) = Servers::start(3, Sync::Always) else { return };
    let keeper = Arc::new(Keeper::connect(&setup(&servers, "killed")).expect("fit"));
    let (mut log, _) = open(&store(&keeper)).expect("taken over");
    let mut acknowledged = 0;
    for server in 0..3 {
        (0..20).for_each(|_| append(&mut *log).expect("three servers are there"));
        servers.kill(server);
        let begun = clock::start();
        for _ in 0..20 {
            // An owner whose append stays unknown for long stops, and the next one takes over.
            while append(&mut *log).is_err() {
                assert!(begun.elapsed() < FAILOVER_MAX, "two of three servers are there");
                if let Ok((next, last)) = open(&store(&keeper)) {
                    assert!(last >= acknowledged, "{last} is there, {acknowledged} was acknowledged");
                    log = next;
                }
            }
            acknowledged = log.durable().0;
        }
        println!("server {server} was killed: 20 groups took {:?}", begun.elapsed());
        servers.restart(server);
        servers.settle();
    }
    let (_, last) = open(&store(&keeper)).expect("taken over");
    assert!(last >= acknowledged, "{last} is there, {acknowledged} was acknowledged");
}

#[test]
fn i3_i9_without_a_majority_nothing_is_acknowledged_and_afterwards_everything_is_there() {
    let Some(mut servers) = Servers::start(3, Sync::Always) else { return };
    let keeper = Arc::new(Keeper::connect(&setup(&servers, "majority")).expect("fit"));
    let (mut log, _) = open(&store(&keeper)).expect("taken over");
    (0..10).for_each(|_| append(&mut *log).expect("three servers are there"));
    let acknowledged = log.durable().0;
    servers.kill(0);
    servers.kill(1);
    let told = append(&mut *log).expect_err("one of three is there");
    assert!(matches!(told, Fault::Deposed { .. }), "{told}");
    assert!(append(&mut *log).is_err(), "and never again");
    servers.restart(0);
    servers.restart(1);
    servers.wait();
    let begun = clock::start();
    let last = loop {
        match open(&store(&keeper)) {
            Ok((_, last)) => break last,
            Err(fault) => assert!(begun.elapsed() < FAILOVER_MAX, "{fault}"),
        }
    };
    assert!(last == acknowledged || last == acknowledged + 3, "what was unknown is whole or absent: {last}");
}

#[test]
fn r14_servers_that_do_not_sync_or_are_too_few_are_refused_with_the_setting() {
    let Some(lazy) = Servers::start(1, Sync::TwoMinutes) else { return };
    let alone = Servers::start(1, Sync::Always).expect("there is a program");
    let one = |servers, demands| Setup { demands, ..setup(servers, "unfit") };
    let check = |setup: &Setup, words: &[&str]| {
        let told = Keeper::connect(setup).expect_err("it does not do").to_string();
        assert!(words.iter().all(|word| told.contains(word)), "{words:?} are not in: {told}");
    };
    let single = Demands { replicas: 1, ..Demands::default() };
    check(&one(&lazy, single), &["does not sync each write", "sync_interval: always"]);
    let development = Demands { is_development: true, ..single };
    Keeper::connect(&one(&lazy, development)).expect("for development");
    let unasked = Setup { system: None, ..one(&alone, single) };
    check(&unasked, &["system account", "sync_interval: always"]);
    let stated = Demands { is_sync_stated: true, ..single };
    Keeper::connect(&Setup { demands: stated, ..unasked }).expect("it was stated");
    check(&one(&alone, Demands::default()), &["1 copies", "num_replicas: 3"]);
}
