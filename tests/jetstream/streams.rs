//! The streams of the journals: their number is a fact of the cluster, and their leaders are on different servers.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokenweir::cluster::jetstream::{Access, Keeper, Setup};
use tokenweir::cluster::record::Owned;
use tokenweir::cluster::{Answer, Remote as _, ReplicatedStore};
use tokenweir::telemetry::clock;

use crate::servers::{Servers, Sync};
use crate::weir::Over;
use crate::{FAILOVER_MAX, OWNED, append, fit, open, setup};

/// Servers that came back are looked at twice before a leader moves there.
const SPREAD_MAX: Duration = Duration::from_secs(60);

fn of(streams: u16, setup: Setup) -> Arc<Keeper> {
    Arc::new(Keeper::connect(&Setup { streams, ..setup }).expect("fit"))
}

/// The stream that each of some partitions is in, by its log's subject.
fn subjects(keeper: &Arc<Keeper>) -> Vec<String> {
    (0..4).map(|partition| keeper.partition(partition).place()).collect()
}

/// Asks the servers for something in their own words, as any client could.
fn request(servers: &Servers, subject: &str, body: &str) -> String {
    let access = servers.access("app");
    let address = access.servers[0].trim_start_matches("nats://");
    let mut stream = TcpStream::connect(address).expect("it listens");
    let mut lines = BufReader::new(stream.try_clone().expect("a second handle")).lines();
    let hello = r#"CONNECT {"verbose":false,"user":"app","pass":"app"}"#;
    let words = format!("{hello}\r\nSUB answers 1\r\nPUB {subject} answers {}\r\n{body}\r\n", body.len());
    stream.write_all(words.as_bytes()).expect("it reads");
    loop {
        let line = lines.next().expect("it is there").expect("text");
        if line.starts_with("MSG answers") {
            return lines.next().expect("it is there").expect("text");
        }
    }
}

/// Waits until different servers lead the streams; who does.
pub(crate) fn spread(keeper: &Keeper, what: &str) -> Vec<String> {
    let begun = clock::start();
    loop {
        let leaders = keeper.leaders().unwrap_or_default();
        let different: BTreeSet<_> = leaders.iter().filter(|leader| !leader.is_empty()).collect();
        if different.len() == 3 {
            println!("{what}: spread after {:?}", begun.elapsed());
            return leaders;
        }
        assert!(begun.elapsed() < SPREAD_MAX, "{what}: {leaders:?}");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

/// Appends to the log of a partition until it is over; the longest that one took.
fn append_until_over(
    keeper: &Arc<Keeper>,
    partition: u16,
    groups: &AtomicU64,
    is_over: &AtomicBool,
) -> Duration {
    let owned = Owned { partition, ..OWNED };
    let store = ReplicatedStore::new(Arc::new(keeper.partition(partition)), owned, 1);
    let (mut log, mut longest) = (open(&store).expect("taken over").0, Duration::ZERO);
    while !is_over.load(Ordering::Relaxed) {
        let begun = clock::start();
        append(&mut *log).expect("two of three servers are there");
        longest = longest.max(begun.elapsed());
        groups.fetch_add(1, Ordering::Relaxed);
    }
    longest
}

#[test]
fn a_server_that_dies_stops_the_stream_that_it_led_and_leads_one_again_when_it_comes_back() {
    let Some(mut servers) = Servers::start(3, Sync::Always) else { return };
    // It is connected to the server that dies.
    let access = servers.access("app");
    let first = Access { servers: access.servers[..1].to_vec(), ..access };
    let keeper = of(3, Setup { access: first, ..setup(&servers, "spread") });
    let leaders = spread(&keeper, "made");
    let (groups, is_over) = ([const { AtomicU64::new(0) }; 3], AtomicBool::new(false));
    let wait = |what: &str, more: u64| {
        let (begun, before) =
            (clock::start(), groups.each_ref().map(|groups| groups.load(Ordering::Relaxed)));
        let is_served =
            || groups.iter().zip(before).all(|(now, then)| now.load(Ordering::Relaxed) >= then + more);
        while !is_served() {
            assert!(begun.elapsed() < FAILOVER_MAX, "{what}");
            std::thread::park_timeout(Duration::from_millis(10));
        }
    };
    let longest = std::thread::scope(|scope| {
        let (keeper, is_over) = (&keeper, &is_over);
        let spawn =
            |(partition, groups)| scope.spawn(move || append_until_over(keeper, partition, groups, is_over));
        let appending: Vec<_> = (0..3).zip(&groups).map(spawn).collect();
        let over = Over(is_over);
        wait("three servers are there", 50);
        servers.kill(0);
        wait("a server was killed", 50);
        drop(over);
        appending.into_iter().map(|appending| appending.join().expect("it appends")).collect::<Vec<_>>()
    });
    println!("n0 was killed, of {leaders:?}; the longest append of each: {longest:?}");
    let others = leaders.iter().zip(&longest).filter(|(leader, _)| *leader != "n0");
    assert!(others.into_iter().all(|(_, longest)| *longest < Duration::from_secs(3)), "they have a leader");
    servers.restart(0);
    servers.wait();
    spread(&keeper, "it came back");
}

#[test]
fn how_many_streams_a_cluster_has_is_decided_once() {
    let Some(servers) = Servers::start(1, Sync::Always) else { return };
    let first = of(2, fit(&servers, "count"));
    let expected = ["0.p000", "1.p001", "0.p002", "1.p003"];
    let expected: Vec<_> = expected.iter().map(|end| format!("the log count.journal.{end}")).collect();
    assert_eq!(subjects(&first), expected);
    assert_eq!(subjects(&of(3, fit(&servers, "count"))), expected, "another setting changes nothing");
}

#[test]
fn a_cluster_with_the_one_stream_of_before_keeps_it() {
    let Some(servers) = Servers::start(1, Sync::Always) else { return };
    let stream = r#"{"name":"old-journal","subjects":["old.journal.*"],"storage":"file","discard":"new","num_replicas":1}"#;
    let made = request(&servers, "$JS.API.STREAM.CREATE.old-journal", stream);
    assert!(!made.contains("error"), "{made}");
    let keeper = of(3, fit(&servers, "old"));
    let expected: Vec<_> = (0..4).map(|partition| format!("the log old.journal.p00{partition}")).collect();
    assert_eq!(subjects(&keeper), expected);
    assert!(matches!(keeper.partition(2).append(b"one", 0, "1"), Answer::Stored(_)));
    assert_eq!(keeper.leaders().map(|leaders| leaders.len()), Ok(1));
}
