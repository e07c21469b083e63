//! A partition while it is here: its two threads, from the moment that they start until it has left.
//!
//! It comes into its place when all its organizations are there, and leaves it before they go, so nobody is ever told that an organization does not
//! exist because its partition is on the move. To leave, it admits nothing more, carries out what is queued, makes it durable, and ends its threads.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use actix::{Actor, Addr};
use crossbeam::channel::{Sender, bounded};
use tokio::sync::{Notify, oneshot};

use crate::domain::ids::OrgNumber;
use crate::domain::pool::Pool;
use crate::domain::registry::Registry;
use crate::storage::{DirectoryLock, Hold, Store};
use crate::telemetry::clock::Clock;
use crate::telemetry::metric::{self, DebitCounters};

use super::committer::{self, Writer};
use super::coordinator::{CoordinatorActor, Recover};
use super::directory::{Directory, EndsInOrder, Partition};
use super::group::Staging;
use super::messages::Unavailable;
use super::org::Local;
use super::partition::{PartitionActor, Policy, Settle};
use super::recover::{Opened, Recovered};
use super::snapshotter::Job;

/// What all partitions of an engine have in common.
#[derive(Clone)]
pub(crate) struct Commons {
    pub(crate) directory: Arc<Directory>,
    pub(crate) policy: Policy,
    /// What a reader of the journals needs still.
    pub(crate) hold: Option<Arc<Hold>>,
    pub(crate) clock: Clock,
    pub(crate) snapshots: Sender<Job>,
    pub(crate) lock: Option<Arc<DirectoryLock>>,
}

/// A partition that is here.
pub(crate) struct Tenure {
    partition: Arc<Partition>,
    stop: oneshot::Sender<()>,
    arbiter: JoinHandle<()>,
    /// None when the partition is damaged.
    committer: Option<JoinHandle<()>>,
}

/// What an arbiter thread starts with.
struct Launch {
    commons: Commons,
    partition: Arc<Partition>,
    store: Arc<dyn Store>,
    pools: Vec<(OrgNumber, Pool)>,
    registry: Registry,
    writer: Option<Arc<Mutex<Writer>>>,
}

type Launched = (Addr<PartitionActor>, Option<Addr<CoordinatorActor>>);

impl Tenure {
    /// Starts a partition and brings it into its place.
    pub(crate) fn begin(commons: &Commons, recovered: Recovered) -> std::io::Result<Self> {
        let partition = Arc::new(partition(&recovered));
        let Recovered { store, opened } = recovered;
        let (pools, registry, writer, committer) = match opened {
            Ok(Opened { state, log, .. }) => {
                let writer = Arc::new(Mutex::new(Writer::new(Arc::clone(&partition), log)?));
                let committer = start_committer(&partition, &writer)?;
                (state.pools, state.registry, Some(writer), Some(committer))
            }
            Err(_) => (Vec::new(), Registry::default(), None, None),
        };
        let api_keys = registry.api_keys.clone();
        let launch = Launch {
            commons: commons.clone(),
            partition: Arc::clone(&partition),
            store,
            pools: (0..).map(OrgNumber).zip(pools.into_iter().flatten()).collect(),
            registry,
            writer,
        };
        let (stop, arbiter, (actor, coordinator)) = start_arbiter(launch)?;
        partition.set_actor(actor);
        let directory = &commons.directory;
        if let Some(coordinator) = coordinator {
            directory.lead(coordinator.clone(), api_keys);
            directory.enter(Arc::clone(&partition));
            coordinator.do_send(Recover);
        } else {
            directory.enter(Arc::clone(&partition));
        }
        Ok(Self { partition, stop, arbiter, committer })
    }

    /// The number of the partition.
    pub(crate) fn number(&self) -> u16 {
        self.partition.number
    }

    /// Ends these partitions, side by side; what was acknowledged, and what was queued, is kept. What comes after that is told `why`.
    pub(crate) fn end(all: Vec<(Self, Unavailable)>, directory: &Directory) {
        all.iter().for_each(|(here, why)| here.partition.close(why));
        let settle = |(here, _): &(Self, Unavailable)| {
            let (reply, settled) = oneshot::channel();
            here.partition.tell(Settle(reply));
            settled
        };
        let settled: Vec<_> = all.iter().map(settle).collect();
        settled.into_iter().for_each(|settled| drop(settled.blocking_recv()));
        all.iter().for_each(|(here, why)| here.partition.staging.close(why.clone()));
        let mut arbiters = Vec::new();
        for (Self { partition, stop, arbiter, committer }, why) in all {
            drop(committer.map(JoinHandle::join));
            _ = stop.send(());
            arbiters.push((arbiter, partition.number, why));
        }
        for (arbiter, number, why) in arbiters {
            drop(arbiter.join());
            directory.depart(number, &why);
        }
    }
}

/// What all threads know of the partition; a damaged one serves nothing and says why.
fn partition(Recovered { store, opened }: &Recovered) -> Partition {
    let number = store.partition();
    metric::snapshots_begin(number);
    match opened {
        Ok(opened) => {
            let staging = Staging::new(&*opened.log, metric::poisoned(number));
            Partition::new(number, staging, opened.base.snapshot.0)
        }
        Err(damage) => {
            Partition::new(number, Staging::failed(&damage.to_string(), metric::poisoned(number)), 0)
        }
    }
}

fn start_committer(
    partition: &Arc<Partition>,
    writer: &Arc<Mutex<Writer>>,
) -> std::io::Result<JoinHandle<()>> {
    let (partition, writer) = (Arc::clone(partition), Arc::clone(writer));
    let name = format!("weir-commit-{}", partition.number);
    std::thread::Builder::new().name(name).spawn(move || committer::run(&partition, &writer))
}

/// Starts the arbiter thread of a partition: an actix system of its own, on a runtime that waits for work without
/// the operating system's event queue, because no actor here does any input or output.
fn start_arbiter(launch: Launch) -> std::io::Result<(oneshot::Sender<()>, JoinHandle<()>, Launched)> {
    let (stop, stopped) = oneshot::channel();
    let (ready, launched) = bounded(1);
    let name = format!("weir-arbiter-{}", launch.partition.number);
    let run = move || {
        let runtime =
            || tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        actix_rt::System::with_tokio_rt(runtime).block_on(async move {
            _ = ready.send(launch.run());
            drop(stopped.await);
        });
    };
    let thread = std::thread::Builder::new().name(name).spawn(run)?;
    let launched = launched.recv().map_err(|_| std::io::Error::other("the arbiter ended at its start"))?;
    Ok((stop, thread, launched))
}

impl Launch {
    fn run(self) -> Launched {
        let Self { commons, partition, store, pools, registry, writer } = self;
        let Commons { directory, policy, hold, clock, snapshots, lock } = commons;
        let coordinator = (partition.number == 0).then(|| {
            let (partition, directory) = (Arc::clone(&partition), Arc::clone(&directory));
            CoordinatorActor::new(registry, partition, directory, clock.clone()).start()
        });
        let (counters, last_snapshot_at) = (DebitCounters::new(partition.number), clock.now());
        let (spare, answered) = (Cell::default(), Notify::new());
        let local = Rc::new(Local { clock, counters, directory, store, writer, spare, answered });
        actix_rt::spawn(Rc::clone(&local).stay_awake());
        let guard = EndsInOrder { partition: Arc::clone(&partition), who: "the partition's actor panicked" };
        let mut actor = PartitionActor {
            partition,
            local,
            orgs: Vec::new(),
            policy,
            hold,
            snapshots,
            lock,
            underway: false,
            last_snapshot_at,
            waiting: Vec::new(),
            guard,
            coordinator: coordinator.clone(),
        };
        pools.into_iter().for_each(|(number, pool)| actor.adopt(number, pool));
        (actor.start(), coordinator)
    }
}
