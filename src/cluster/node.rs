//! A node of a cluster: runs [`member`](super::member) with a clock, a board that all nodes share, and the host that serves the partitions.
//!
//! One thread decides. Reading and writing the table, taking and leaving run on threads of their own, so that a server that is slow to answer holds up no beat.
//!
//! Invariants:
//!
//! - A partition is left before its lease is released, also when the node stops.
//! - A host that panics while it takes a partition did not take it.
//!
//! Absent on purpose: what serving means, which is the [`Host`]'s; and where the board is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use metrics::Gauge;

use crate::storage::manifest::Stage;
use crate::storage::{DirectoryId, Fault, Result, Store};
use crate::telemetry::clock::{self, Monotonic, ns};
use crate::telemetry::cluster;

use super::lease::{Addresses, Beat, Leases, Life};
use super::member::{Departure, Member, Step, Times, Vacancy};
use super::record::Owned;
use super::remote::{Answer, Remote, Stored};
use super::store::ReplicatedStore;

/// How often a node looks at the time, at least.
const LOOK: Duration = Duration::from_millis(50);
/// How often a node says that it lives.
const BEAT: Duration = Duration::from_millis(250);
/// How often the table is read when nothing calls for it.
const READ: Duration = Duration::from_millis(500);
/// How long a partition that could not be taken rests.
const REST: Duration = Duration::from_millis(500);
/// How long leaving may take before a node ends all the same; others find out by their clocks then.
const LEAVING: Duration = Duration::from_secs(10);
/// How often making the first table is tried.
const FIRST_TRIES: u32 = 10;

/// How long a node that is not heard is believed to live, unless configured.
pub const TERM: Duration = Duration::from_secs(2);

/// Serves partitions. Calls block.
pub trait Host: Send + Sync + Debug {
    /// Takes over the partition that is kept there and serves it from then on. One whose log was never begun is made where `stage` says so, and is
    /// damaged otherwise.
    ///
    /// # Errors
    /// Why it does not; then nothing of the partition is here.
    fn take(&self, store: Arc<dyn Store>, stage: Stage) -> Result<()>;

    /// Makes ready to leave a partition in order, while it is still served, so that whoever takes it has little to do. Takes a few seconds at most.
    fn save(&self, partition: u16);

    /// Leaves a partition: admits nothing more, makes durable what was admitted, and forgets it.
    fn leave(&self, partition: u16);

    /// Whether a partition that was taken is still served; not, when its log ended.
    fn serves(&self, partition: u16) -> bool;
}

/// What is done with a beat that is heard.
pub type OnBeat = Box<dyn Fn(&[u8]) + Send + Sync>;

/// What the nodes share. Calls block, but for [`Board::say`].
pub trait Board: Send + Sync + Debug {
    /// The table as it is kept.
    ///
    /// # Errors
    /// Why it cannot be had now.
    fn read(&self) -> std::result::Result<Option<Stored>, String>;

    /// Writes the table when the last revision is `behind`, zero for none.
    fn write(&self, table: &[u8], behind: u64) -> Answer;

    /// Says something to all nodes, this one among them. It may be lost.
    fn say(&self, beat: &[u8]);

    /// Hands on what is said from now on.
    ///
    /// # Errors
    /// Why nothing can be heard.
    fn listen(&self, heard: OnBeat) -> std::result::Result<(), String>;

    /// The log of a partition.
    fn log(&self, partition: u16) -> Arc<dyn Remote>;
}

/// How a node is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The name and the run of this node.
    pub life: Life,
    /// Where it serves.
    pub addresses: Addresses,
    /// How long a node that is not heard is believed to live.
    pub term: Duration,
    /// Where it shows what it knows.
    pub lookout: Lookout,
}

/// Shows what a node knows; clones show the same.
#[derive(Clone, Debug, Default)]
pub struct Lookout(Arc<Mutex<Arc<Sight>>>);

impl Lookout {
    /// What is known now.
    #[must_use]
    pub fn sight(&self) -> Arc<Sight> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn show(&self, sight: Sight) {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if **shown != sight {
            *shown = Arc::new(sight);
        }
    }
}

/// What is known of a cluster from one of its nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// Whether this node heard itself within a term.
    pub is_heard: bool,
    /// Who owns each partition and where he serves, as far as is known.
    pub owners: Vec<Option<(Life, Addresses)>>,
    /// The latest life of each other node that was heard since this one started, whether it goes on or not, by name.
    pub others: Vec<Life>,
    /// The partitions that this node serves.
    pub serving: Vec<u16>,
    /// Why this node ended by itself, if it did.
    pub ended: Option<String>,
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    events: Sender<Event>,
    lookout: Lookout,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
enum Event {
    Heard(Beat),
    Learned(std::result::Result<Option<(u64, Leases)>, String>),
    Written(Leases, Answer),
    Taken(u16, bool),
    Left(u16),
    /// Leave everything, then end.
    Leave,
    /// End as it is.
    End,
}

/// The table that all nodes share; made when there is none, with this identity and so many partitions.
///
/// # Errors
/// [`Fault::Remote`] when it cannot be read or made.
pub fn found(board: &dyn Board, directory: DirectoryId, partitions: u16) -> Result<Leases> {
    let failed =
        |cause| Fault::Remote { action: "read", place: "the table of the cluster".to_owned(), cause };
    let mut why = String::new();
    for tries in 0..FIRST_TRIES {
        if tries > 0 {
            board.log(0).pause(tries);
        }
        match board.read() {
            Ok(Some(stored)) => return Leases::decode(&stored.bytes).map_err(failed),
            Ok(None) => match board.write(&Leases::new(directory, partitions).encode(), 0) {
                Answer::Stored(_) => {}
                Answer::Refused(told) | Answer::Unknown(told) => why = told,
            },
            Err(told) => why = told,
        }
    }
    Err(failed(why))
}

impl Node {
    /// Starts a node of a cluster that was [`found`].
    ///
    /// # Errors
    /// When a thread cannot be started, or nothing be heard.
    pub fn start(
        setup: Setup,
        leases: &Leases,
        board: Arc<dyn Board>,
        host: Arc<dyn Host>,
    ) -> io::Result<Self> {
        let (events, happened) = unbounded();
        let times = Times {
            term_ns: ns(setup.term),
            beat_ns: ns(BEAT.min(setup.term / 4)),
            read_ns: ns(READ),
            rest_ns: ns(REST),
        };
        let partitions = u16::try_from(leases.holders.len()).expect("a table is bounded");
        cluster::begin(&Vacancy::NAMES, &Departure::NAMES);
        let heard = events.clone();
        let on_beat = move |beat: &[u8]| match Beat::decode(beat) {
            Ok(beat) => _ = heard.send(Event::Heard(beat)),
            Err(error) => tracing::warn!(error, "heard what is no beat of a node"),
        };
        board.listen(Box::new(on_beat)).map_err(io::Error::other)?;
        let running = Running {
            member: Member::new(setup.life, times, leases.directory, partitions),
            addresses: setup.addresses,
            directory: leases.directory,
            asks: start_asking(&board, &events)?,
            board,
            host,
            events: events.clone(),
            clock: Monotonic::system(),
            leave_by_ns: None,
            lookout: setup.lookout.clone(),
            owned: (0..partitions).map(cluster::owned).collect(),
            shown: BTreeSet::new(),
        };
        let thread = std::thread::Builder::new().name("weir-node".to_owned());
        let thread = Mutex::new(Some(thread.spawn(move || running.run(&happened))?));
        Ok(Self { events, lookout: setup.lookout, thread })
    }

    /// Shows what is known of the cluster.
    #[must_use]
    pub fn lookout(&self) -> &Lookout {
        &self.lookout
    }

    /// Leaves every partition, so that others take them, and ends. Blocks until then, ten seconds at most.
    pub fn leave(&self) {
        self.end(Event::Leave);
    }

    fn end(&self, how: Event) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            _ = self.events.send(how);
            drop(thread.join());
        }
    }
}

impl Drop for Node {
    /// Ends without leaving: others find out by their clocks.
    fn drop(&mut self) {
        self.end(Event::End);
    }
}

/// What the thread of a node has.
struct Running {
    member: Member,
    addresses: Addresses,
    directory: DirectoryId,
    board: Arc<dyn Board>,
    host: Arc<dyn Host>,
    events: Sender<Event>,
    asks: Sender<Step>,
    clock: Monotonic,
    /// When it ends whatever it still has.
    leave_by_ns: Option<u64>,
    lookout: Lookout,
    /// Of each partition whether this node serves it, as a metric.
    owned: Vec<Gauge>,
    /// The nodes of which metrics tell when they were heard.
    shown: BTreeSet<String>,
}

impl Running {
    fn run(mut self, happened: &Receiver<Event>) {
        loop {
            match happened.recv_timeout(LOOK) {
                Ok(Event::End) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(event) => self.happen(event),
                Err(RecvTimeoutError::Timeout) => {}
            }
            // One look for all that came meanwhile.
            for event in happened.try_iter() {
                if matches!(event, Event::End) {
                    return;
                }
                self.happen(event);
            }
            if self.look() {
                return;
            }
        }
    }

    fn happen(&mut self, event: Event) {
        let now_ns = self.clock.now_ns();
        match event {
            Event::Heard(beat) => self.member.hear(now_ns, beat),
            Event::Learned(read) => self.member.learn(now_ns, read),
            Event::Written(leases, answer) => {
                cluster::table_writes(answer.name()).increment(1);
                self.member.written(leases, &answer);
            }
            Event::Taken(partition, is_taken) => self.member.taken(now_ns, partition, is_taken),
            Event::Left(partition) => self.member.left(partition),
            Event::Leave => {
                self.member.leave();
                self.leave_by_ns = Some(now_ns + ns(LEAVING));
            }
            Event::End => {}
        }
    }

    /// Does what is due; whether the node ended.
    fn look(&mut self) -> bool {
        let now_ns = self.clock.now_ns();
        if let Some(boot) = self.member.replaced() {
            self.ended(boot);
            return true;
        }
        let lost: Vec<u16> =
            self.member.serving().filter(|partition| !self.host.serves(*partition)).collect();
        let mut steps: Vec<Step> =
            lost.into_iter().filter_map(|partition| self.member.lost(partition)).collect();
        steps.extend(self.member.tick(now_ns));
        steps.into_iter().for_each(|step| self.carry_out(step));
        let beat = self.member.beat(now_ns, &self.addresses);
        if let Some(beat) = beat {
            self.board.say(&beat.encode());
            self.measure(now_ns);
        }
        self.show(now_ns, None);
        self.member.has_left() || self.leave_by_ns.is_some_and(|by_ns| now_ns > by_ns)
    }

    fn carry_out(&self, step: Step) {
        match step {
            Step::Read | Step::Write { .. } => _ = self.asks.send(step),
            Step::Take { partition, epoch, stage, vacancy } => {
                let owned = Owned { partition, directory: self.directory };
                let store = ReplicatedStore::new(self.board.log(partition), owned, epoch);
                let host = Arc::clone(&self.host);
                self.apart("weir-take", partition, move || {
                    let begun = clock::start();
                    let taken = catch_unwind(AssertUnwindSafe(|| host.take(Arc::new(store), stage)));
                    match &taken {
                        Ok(Ok(())) => {
                            let took = begun.elapsed();
                            cluster::taken(vacancy.name(), took.as_secs_f64());
                            tracing::info!(partition, epoch, ?took, "taken over");
                        }
                        Ok(Err(fault)) => tracing::warn!(partition, epoch, %fault, "not taken over"),
                        Err(_) => tracing::error!(partition, epoch, "not taken over: it panicked"),
                    }
                    let is_taken = matches!(taken, Ok(Ok(())));
                    if !is_taken {
                        cluster::not_taken();
                    }
                    Event::Taken(partition, is_taken)
                });
            }
            Step::Leave(partition, departure) => {
                cluster::left(departure.name());
                let host = Arc::clone(&self.host);
                self.apart("weir-leave", partition, move || {
                    let left = catch_unwind(AssertUnwindSafe(|| {
                        if departure.is_in_order() {
                            host.save(partition);
                        }
                        host.leave(partition);
                    }));
                    tracing::info!(partition, why = departure.name(), is_clean = left.is_ok(), "left");
                    Event::Left(partition)
                });
            }
        }
    }

    /// Does something on a thread of its own and takes what became of it. Where none can be started it is done here.
    fn apart(&self, what: &str, partition: u16, work: impl FnOnce() -> Event + Send + 'static) {
        let (events, work) = (self.events.clone(), Arc::new(Mutex::new(Some(work))));
        let shared = Arc::clone(&work);
        let run = move || {
            let work = shared.lock().unwrap_or_else(PoisonError::into_inner).take();
            work.into_iter().for_each(|work| _ = events.send(work()));
        };
        let thread = std::thread::Builder::new().name(format!("{what}-{partition}"));
        if let Err(error) = thread.spawn(run) {
            tracing::warn!(%error, "no thread can be started; the node waits for what it does");
            let work = work.lock().unwrap_or_else(PoisonError::into_inner).take();
            work.into_iter().for_each(|work| _ = self.events.send(work()));
        }
    }

    fn ended(&self, boot: u64) {
        let why = format!(
            "a node of the same name has started after this one (boot {boot}); give each node a name of its own"
        );
        tracing::error!("{why}");
        self.member.serving().for_each(|partition| self.host.leave(partition));
        self.show(self.clock.now_ns(), Some(why));
    }

    /// Shows what is known as metrics.
    fn measure(&mut self, now_ns: u64) {
        let member = &self.member;
        cluster::known(member.misplaced(), member.is_heard(now_ns), member.revision());
        let serving: BTreeSet<u16> = member.serving().collect();
        self.owned.iter().zip(0..).for_each(|(owned, partition)| {
            owned.set(if serving.contains(&partition) { 1 } else { 0 });
        });
        let heard: BTreeMap<_, _> =
            member.heard(now_ns).map(|(node, age_ns)| (node.to_owned(), age_ns)).collect();
        heard.iter().for_each(|(node, age_ns)| {
            cluster::heard(node, Some(Duration::from_nanos(*age_ns).as_secs_f64()));
        });
        self.shown
            .iter()
            .filter(|node| !heard.contains_key(*node))
            .for_each(|node| cluster::heard(node, None));
        self.shown = heard.into_keys().collect();
    }

    fn show(&self, now_ns: u64, ended: Option<String>) {
        let partitions = self.member.leases().map_or(0, |leases| leases.holders.len());
        let owner = |partition| {
            let (life, addresses) = self.member.owner(u16::try_from(partition).ok()?)?;
            Some((life.clone(), addresses.clone()))
        };
        let sight = Sight {
            is_heard: self.member.is_heard(now_ns),
            owners: (0..partitions).map(owner).collect(),
            others: self.member.known().collect(),
            serving: self.member.serving().collect(),
            ended,
        };
        self.lookout.show(sight);
    }
}

/// Starts the thread that reads and writes the table, one question at a time.
fn start_asking(board: &Arc<dyn Board>, events: &Sender<Event>) -> io::Result<Sender<Step>> {
    let (asks, asked) = bounded::<Step>(1);
    let (board, events) = (Arc::clone(board), events.clone());
    let ask = move || {
        for step in asked {
            let event = match step {
                Step::Write { leases, behind } => {
                    let answer = board.write(&leases.encode(), behind);
                    Event::Written(leases, answer)
                }
                _ => Event::Learned(read(&*board)),
            };
            if events.send(event).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("weir-node-table".to_owned()).spawn(ask)?;
    Ok(asks)
}

fn read(board: &dyn Board) -> std::result::Result<Option<(u64, Leases)>, String> {
    let Some(stored) = board.read()? else { return Ok(None) };
    match Leases::decode(&stored.bytes) {
        Ok(leases) => Ok(Some((stored.sequence, leases))),
        Err(why) => {
            tracing::error!(why, "the table of the cluster cannot be read");
            Err(why)
        }
    }
}
