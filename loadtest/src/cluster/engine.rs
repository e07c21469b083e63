//! The engine with one organization in each of its partitions, on streams or on files.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokenweir::cluster::jetstream::{JetStreamBoard, Keeper};
use tokenweir::cluster::node::{Board as _, found};
use tokenweir::cluster::record::{HEADER_BYTES, Owned};
use tokenweir::cluster::{Answer, ReplicatedStore};
use tokenweir::meter::{Answering, Config, Durability, Meter, Nodes, Owner, Peers};
use tokenweir::storage::DirectoryId;
use tokenweir::storage::manifest::Stage;
use tokenweir::telemetry::clock;

use super::servers::Servers;
use crate::audit::audit;
use crate::drive::{Acknowledged, Loop, Progress, drive};
use crate::failure::Outcome;
use crate::load::{Above, Arrival, Choice, Item, Source, Synthetic};
use crate::number::{u64_of, usize_of};
use crate::process::{pause, temporary_directory};
use crate::target::{Embedded, Scene, Target as _, debit};

const CAMERAS: u64 = 1_000;
const BATCH: usize = 512;
/// Streams of the journals, where there are so many partitions.
const STREAMS: u16 = 3;
/// How long a turn runs before and after it is looked at.
const WARM: Duration = Duration::from_millis(300);
/// What lies between the sequence numbers of two turns: more than a turn sends.
const STEP: u64 = 1 << 40;
const DIRECTORY: DirectoryId = DirectoryId([0x10; 16]);

/// An engine, and what it acknowledged.
pub(super) struct Engine {
    embedded: Embedded,
    acknowledged: BTreeMap<usize, Acknowledged>,
    base: u64,
    is_on_streams: bool,
    #[expect(dead_code, reason = "kept for its end: the connection to the servers goes with it")]
    keeper: Option<Arc<Keeper>>,
}

/// What became of a turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    /// Debits charged.
    pub(super) debits: u64,
    /// Groups; on streams each is a record.
    pub(super) records: u64,
    /// Bytes of all records.
    pub(super) bytes: u64,
    pub(super) took: Duration,
}

/// There are no other nodes.
#[derive(Debug)]
struct Alone;

/// All requests of a source for one organization.
struct For {
    source: Box<dyn Source>,
    organization: usize,
}

impl Engine {
    /// An engine that took all partitions of new streams.
    pub(super) fn on_streams(servers: &Servers, name: &str, partitions: u16) -> Outcome<Self> {
        let keeper = Arc::new(servers.keeper(name, streams(partitions))?);
        let board = JetStreamBoard::new(Arc::clone(&keeper));
        let leases = found(&board, DIRECTORY, partitions)?;
        let table = board.read()?.ok_or("there is no table")?;
        let Answer::Stored(epoch) = board.write(&leases.encode(), table.sequence) else {
            return Err("the table cannot be written".into());
        };
        let directory = temporary_directory()?;
        let config = Config { partitions, ..Config::new(directory.path()) };
        let meter = Meter::join(config, DIRECTORY, Arc::new(Alone))?;
        for partition in 0..partitions {
            let owned = Owned { partition, directory: DIRECTORY };
            let store = ReplicatedStore::new(board.log(partition), owned, epoch);
            meter.take(Arc::new(store), Stage::BeingMade)?;
        }
        let scene = one_in_each(&meter, partitions)?;
        Ok(Self::of(Embedded::of(meter, directory, &scene)?, Some(keeper)))
    }

    /// An engine on files.
    pub(super) fn on_files(partitions: u16) -> Outcome<Self> {
        let directory = temporary_directory()?;
        let meter = Meter::open(Config { partitions, ..Config::new(directory.path()) })?;
        let scene = one_in_each(&meter, partitions)?;
        Ok(Self::of(Embedded::of(meter, directory, &scene)?, None))
    }

    fn of(embedded: Embedded, keeper: Option<Arc<Keeper>>) -> Self {
        let is_on_streams = keeper.is_some();
        Self { embedded, acknowledged: BTreeMap::new(), base: 0, is_on_streams, keeper }
    }

    /// As fast as it goes for so long, each organization by a producer of its own with so many batches in flight. What begins with the threads of the load, their
    /// memory above all, is over when it is looked at.
    pub(super) fn turn<T: Send>(
        &mut self,
        length: Duration,
        window: usize,
        look: &(dyn Fn() -> T + Sync),
    ) -> Outcome<(Turn, [T; 2])> {
        let whole = WARM + length + WARM;
        let load = Synthetic {
            organizations: 1,
            cameras: CAMERAS,
            batch: BATCH,
            rate: None,
            ramp: Duration::ZERO,
            length: whole,
            choice: Choice::Hot,
        };
        let base = self.next_base();
        let source = |organization| -> Box<dyn Source> {
            let source = Box::new(Above { source: load.source(0, 1), base });
            Box::new(For { source, organization })
        };
        let sources = (0..self.embedded.organizations.len()).map(source).collect();
        let how = Loop::Closed { window, length: whole };
        let (progress, embedded) = (Progress::default(), &self.embedded);
        let mark = || {
            let answered = progress.answered.load(Ordering::Relaxed);
            Outcome::Ok((clock::start(), answered, embedded.journal()?, look()))
        };
        let (tally, marks) = std::thread::scope(|scope| {
            let watch = scope.spawn(|| {
                pause(WARM);
                let before = mark().map_err(|error| error.to_string())?;
                pause(length);
                Ok::<_, String>((before, mark().map_err(|error| error.to_string())?))
            });
            let tally = drive(embedded, sources, how, &progress);
            (tally, watch.join().expect("it does not panic"))
        });
        let (tally, (before, after)) = (tally?, marks?);
        if tally.charged() != progress.answered.load(Ordering::Relaxed) {
            return Err("not every debit was charged".into());
        }
        for (organization, own) in &tally.acknowledged {
            self.acknowledge(*organization, *own);
        }
        let records = after.2.groups - before.2.groups;
        let heads = if self.is_on_streams { records * u64_of(HEADER_BYTES) } else { 0 };
        let bytes = after.2.bytes - before.2.bytes + heads;
        let (debits, took) = (after.1 - before.1, after.0.duration_since(before.0));
        Ok((Turn { debits, records, bytes, took }, [before.3, after.3]))
    }

    /// One debit; how long it took.
    pub(super) fn one(&mut self) -> Outcome<Duration> {
        let item = Item { camera: 0, seq: self.next_base() + 1, tokens: 7 };
        let begun = clock::start();
        let pending = self.embedded.organizations[0].send_debit(debit(&item), Durability::Durable)?;
        pending.wait()?;
        let took = begun.elapsed();
        self.acknowledge(0, Acknowledged { debits: 1, tokens: item.tokens.into() });
        Ok(took)
    }

    /// Whether exactly what was acknowledged was charged.
    pub(super) fn audit(&self) -> Outcome {
        audit(&self.acknowledged, &self.embedded.sums()?).require()
    }

    fn next_base(&mut self) -> u64 {
        self.base += STEP;
        self.base
    }

    fn acknowledge(&mut self, organization: usize, own: Acknowledged) {
        let all = self.acknowledged.entry(organization).or_default();
        all.debits += own.debits;
        all.tokens += own.tokens;
    }
}

/// Streams of a cluster of so many partitions.
pub(super) fn streams(partitions: u16) -> u16 {
    STREAMS.min(partitions)
}

/// Organizations whose names fall into different partitions.
fn one_in_each(meter: &Meter, partitions: u16) -> Outcome<Scene> {
    let organizations = usize_of(partitions.into());
    for number in 0.. {
        let scene = Scene {
            prefix: format!("load-{number}"),
            organizations,
            cameras: CAMERAS,
            durability: Durability::Durable,
        };
        let mut taken = vec![false; organizations];
        for number in 0..organizations {
            taken[usize::from(meter.partition_of(&scene.organization(number)?))] = true;
        }
        if taken.iter().all(|taken| *taken) {
            return Ok(scene);
        }
    }
    unreachable!("there are enough names")
}

impl Source for For {
    fn next(&mut self, items: &mut Vec<Item>) -> Option<Arrival> {
        let organization = self.organization;
        self.source.next(items).map(|arrival| Arrival { organization, ..arrival })
    }
}

impl Peers for Alone {
    fn ask(&self, partition: u16, _: Vec<u8>) -> Answering<Result<Vec<u8>, String>> {
        Box::pin(async move { Err(format!("nobody else owns partition {partition}")) })
    }

    fn tell(&self, _: u16, _: Vec<u8>) {}

    fn carry(&self, partition: u16, request: Vec<u8>) -> Answering<Result<Vec<u8>, String>> {
        self.ask(partition, request)
    }

    fn owner(&self, _: u16) -> Option<Owner> {
        None
    }

    fn nodes(&self) -> Nodes {
        Nodes::default()
    }

    fn ask_node(&self, node: &str, _: Vec<u8>) -> Answering<Result<Vec<u8>, String>> {
        let nobody = format!("there is no node {node}");
        Box::pin(async move { Err(nobody) })
    }

    fn carry_to(&self, node: &str, request: Vec<u8>) -> Answering<Result<Vec<u8>, String>> {
        self.ask_node(node, request)
    }
}
