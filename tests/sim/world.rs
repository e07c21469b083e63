//! The world of a run: one machine with its disk, the nodes on it, the clients, the net, the clock.
//!
//! First faults and work mix as the actions say (safety); then faults stop, everything is asked again, and everything must end
//! (liveness). The machine is the unit of a crash: whoever runs on it ends.

mod clients;
mod cluster;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher as _};

use tokenweir::domain::debit::Outcome;
use tokenweir::domain::hash;
use tokenweir::domain::invariants;
use tokenweir::domain::registry::TransferState;
use tokenweir::domain::reservation::HowEnded;
use tokenweir::domain::summary::Summary;
use tokenweir::domain::time::Timestamp;
use tokenweir::protocol::coordinator::Answer;
use tokenweir::storage::sim_disk::CrashPlan;
use tokenweir::storage::{DirectoryLock, Disk as _, SimDisk};

use crate::actions::{Action, RESERVED_MS_MAX};
use crate::auditor::{Auditor, Check};
use crate::gateway::Gateway;
use crate::net::{Envelope, Left, Order, Reply, Request, Setting};
use crate::node::{self, Node, org_id};
use crate::swarm::Swarm;
use crate::world::cluster::Cluster;

const START_MS: u64 = 1_750_000_000_000;
const CAMERAS: usize = 2;
const GATEWAYS: usize = 2;
/// After so many steps somebody restarts a node of which a partition stopped.
const SICK_STEPS_MAX: u64 = 12;
/// In so many rounds everything must end.
const ROUNDS_MAX: u64 = 60;

/// How often what happened.
pub(crate) type Coverage = BTreeMap<&'static str, u64>;

pub(crate) struct World {
    swarm: Swarm,
    disk: SimDisk,
    /// The logs that the partitions are kept in; none where they are files.
    cluster: Option<Cluster>,
    directory: tempfile::TempDir,
    nodes: Vec<Node>,
    net: Vec<Envelope>,
    auditor: Auditor,
    now: Timestamp,
    /// The latest time that any clock ever showed.
    latest: Timestamp,
    /// By organization: how many debits were sent.
    numbers: BTreeMap<usize, u64>,
    sent: Vec<Request>,
    keys: Vec<Request>,
    moves: Vec<Request>,
    orders: Vec<Order>,
    gateways: [Gateway; GATEWAYS],
    /// How many leases were asked for.
    leases: usize,
    /// What a crash that is under way will leave.
    plan: u64,
    sick: u64,
    /// What a process held that closed in order: the next one must start with it.
    live: Option<Vec<Vec<u8>>>,
    summaries: BTreeMap<usize, Summary>,
    trace: DefaultHasher,
    pub(crate) coverage: Coverage,
}

fn place(pick: u64, len: usize) -> usize {
    usize::try_from(pick).expect("a small number") % len.max(1)
}

impl World {
    /// A world whose organizations are there, with cameras and some tokens, before any fault.
    pub(crate) fn new(swarm: Swarm) -> Result<Self, String> {
        let mut world = Self {
            swarm,
            disk: SimDisk::new(),
            cluster: swarm.is_replicated.then(|| Cluster::new(swarm.partitions)),
            directory: tempfile::tempdir().expect("a temporary directory, for the kernel's lock"),
            nodes: Vec::new(),
            net: Vec::new(),
            auditor: Auditor::default(),
            now: Timestamp::from_ms(START_MS).expect("in range"),
            latest: Timestamp::from_ms(START_MS).expect("in range"),
            numbers: BTreeMap::new(),
            sent: Vec::new(),
            keys: Vec::new(),
            moves: Vec::new(),
            orders: Vec::new(),
            gateways: Default::default(),
            leases: 0,
            plan: 0,
            sick: 0,
            live: None,
            summaries: BTreeMap::new(),
            trace: DefaultHasher::new(),
            coverage: Coverage::new(),
        };
        world.start()?;
        let now = world.now;
        for org in 0..swarm.organizations {
            world.nodes[0].create(org, now);
            let partition = usize::from(hash::partition(&org_id(org), swarm.partitions));
            world.auditor.created(org, partition, CAMERAS);
            (0..CAMERAS).for_each(|camera| world.nodes[0].command(org, node::register(camera, true), now));
            world.claim(u64::try_from(org).expect("few") * 2 + 1, 300);
        }
        world.pump()?;
        Ok(world)
    }

    /// A number that follows from all that happened.
    pub(crate) fn trace(&self) -> u64 {
        self.trace.finish()
    }

    pub(crate) fn step(&mut self, action: Action) -> Check {
        self.note(&format!("{action:?}"));
        self.act(action)?;
        self.drain()?;
        if self.cluster.is_some() {
            return self.look_after();
        }
        if self.disk.has_stopped() {
            self.count("ended inside an operation");
            return self.crash(self.plan);
        }
        let failed = self.nodes.iter().flat_map(|node| &node.parts).find_map(|part| part.stepped.failure());
        self.sick = if failed.is_some() { self.sick + 1 } else { 0 };
        if self.sick > SICK_STEPS_MAX {
            let cause = failed.expect("it is sick");
            let known = ["sync failed", "write failed", "no storage space"];
            let known = known.into_iter().find(|known| cause.contains(known));
            self.count(known.ok_or(format!("R14: a partition stopped without a fault: {cause}"))?);
            let plan = self.trace();
            return self.crash(plan % 1_000);
        }
        Ok(())
    }

    /// Faults stop: everything is asked again, and must end.
    pub(crate) fn end(&mut self) -> Check {
        if self.cluster.is_some() {
            self.heal()?;
        } else {
            self.crash(1)?;
        }
        for _ in 0..3 {
            self.pump()?;
            self.pass_reservations()?;
            let doubts = self.auditor.doubts();
            self.net.extend(doubts.into_iter().map(Envelope::Request));
        }
        self.pump()?;
        self.auditor.all_ended()?;
        self.net.extend((0..self.swarm.organizations).map(|org| Envelope::Request(Request::Read { org })));
        self.summaries.clear();
        self.pump()?;
        for org in 0..self.swarm.organizations {
            let summary = self.summaries.get(&org).ok_or("I10: a read was not answered")?;
            self.auditor.last_summary(org, summary)?;
        }
        let sum = |of: fn(&Summary) -> u64| self.summaries.values().map(of).sum::<u64>();
        let (granted, there) = (sum(|s| s.totals.granted.0), sum(|s| s.available.0 + s.totals.used.0));
        if granted == there { Ok(()) } else { Err(format!("I1: {granted} were granted, {there} are there")) }
    }

    /// So much time passes that no reservation is open any more, and what waited for that goes on.
    fn pass_reservations(&mut self) -> Check {
        self.latest = self.latest.plus_ms(RESERVED_MS_MAX);
        self.now = self.latest;
        self.auditor.time(self.now.ms());
        self.nodes.iter_mut().for_each(|node| node.tick(self.now));
        self.pump()
    }

    fn act(&mut self, action: Action) -> Check {
        if self.cluster.is_some()
            && let Some(done) = self.act_in_cluster(action)
        {
            return done;
        }
        match action {
            Action::Debits { pick, count, retry, applied } => {
                self.send_debits(pick, count, retry, applied && self.cluster.is_none());
            }
            Action::Claim { pick, tokens } => self.claim(pick, tokens),
            Action::Transfer { pick } => self.send_transfer(pick),
            Action::Reserve { pick, tokens, ttl_ms } => self.reserve(pick, tokens, ttl_ms),
            Action::Release { pick } => {
                if let Some(Order { org, reservation, .. }) = self.some_order(pick) {
                    self.net.push(Envelope::Request(Request::Release { org, reservation }));
                }
            }
            Action::Camera { pick } => self.set_camera(pick),
            Action::Unlimited { pick, lasts_ms } => self.set_unlimited(pick, lasts_ms),
            Action::Key { pick } => self.set_or_ask_key(pick),
            Action::Price { pick } => self.set_price(pick),
            Action::Threshold { pick } => self.set_threshold(pick),
            Action::Gateway { pick, tokens } => self.gateway(pick, tokens),
            Action::Read { pick } => {
                let org = place(pick, self.swarm.organizations);
                self.net.push(Envelope::Request(Request::Read { org }));
            }
            Action::Deliver { pick } => (0..1 + pick % 3).for_each(|more| self.deliver(pick / 3 + more)),
            Action::Drop { pick } if !self.net.is_empty() => {
                self.net.swap_remove(place(pick, self.net.len()));
                self.count("message dropped");
            }
            Action::Duplicate { pick } if !self.net.is_empty() => {
                self.net.push(self.net[place(pick, self.net.len())].clone());
                self.count("message duplicated");
            }
            Action::Drop { .. } | Action::Duplicate { .. } => {}
            Action::Tick => self.nodes.iter_mut().for_each(|node| node.tick(self.now)),
            Action::Clock { back, ms } => {
                self.now = if back { self.now.minus_ms(ms) } else { self.now.plus_ms(ms) };
                self.latest = self.latest.max(self.now);
                self.auditor.time(self.now.ms());
                self.count(if back { "clock set back" } else { "clock went on" });
            }
            Action::Crash { after, bytes, plan } => {
                self.plan = plan;
                self.disk.stop_at(self.disk.operations() + after, bytes);
            }
            Action::FailSync { nth } => self.disk.fail_sync(nth),
            Action::FailWrite { nth } => self.disk.fail_write(nth),
            Action::FullDisk { bytes } => self.disk.limit_space(bytes),
            Action::Second => return self.second(),
            Action::Take { pick }
            | Action::Write { pick }
            | Action::WriteAlone { pick }
            | Action::Snapshot { pick }
            | Action::Prepare { pick }
            | Action::Rebuild { pick } => return self.act_in_node(action, pick),
        }
        Ok(())
    }

    fn act_in_node(&mut self, action: Action, pick: u64) -> Check {
        if matches!(action, Action::Rebuild { .. }) && pick.is_multiple_of(5) {
            return self.close();
        }
        let at = place(pick / 7, self.nodes.len());
        let node = &mut self.nodes[at];
        let partition = place(pick, node.parts.len());
        let part = &mut node.parts[partition];
        let done = match action {
            Action::Take { .. } => part.stepped.take().then_some("sync under way"),
            Action::Write { .. } => {
                let slow = part.stepped.gathers_meanwhile();
                part.stepped.write().then_some(if slow { "sync was slow" } else { "group written" })
            }
            Action::WriteAlone { .. } => part.stepped.write_alone().then_some("written alone"),
            Action::Prepare { .. } => part.stepped.prepare().then_some("segment prepared"),
            Action::Rebuild { .. } if !part.orgs.is_empty() => {
                let org = place(pick / 5, part.orgs.len());
                node.panic(partition, org);
                Some("actor panicked")
            }
            Action::Snapshot { .. } => match (0..pick % 4).try_fold(false, |_, _| node.snapshot(partition)) {
                Ok(written) => written.then_some("snapshot written"),
                Err(fault) if fault.is_damage() => {
                    return Err(format!("I8: a snapshot was refused: {fault}"));
                }
                Err(_) => Some("snapshot failed"),
            },
            _ => None,
        };
        done.into_iter().for_each(|what| self.count(what));
        Ok(())
    }

    fn deliver(&mut self, pick: u64) {
        if self.net.is_empty() {
            return;
        }
        let at = place(pick, self.net.len());
        if at > 0 {
            self.count("message overtook");
        }
        let envelope = self.net.swap_remove(at);
        if let Envelope::Request(request) = &envelope {
            self.auditor.request(request);
        }
        let node = place(pick / 5, self.nodes.len());
        self.nodes[node].deliver(envelope, self.now);
    }

    /// A second process wants the directory.
    fn second(&mut self) -> Check {
        match DirectoryLock::exclusive(&self.directory.path().join("LOCK")) {
            Err(fault) if node::is_locked(&fault) => self.count("second writer refused"),
            Err(fault) => return Err(format!("the lock cannot be had: {fault}")),
            Ok(lock) => {
                if let Ok(mut node) = Node::start(&self.disk, self.swarm.partitions, lock, self.now) {
                    node.recover(self.now);
                    self.nodes.push(node);
                }
            }
        }
        Ok(())
    }

    /// The process closes in order, and starts again with what it had.
    fn close(&mut self) -> Check {
        let mut whole = true;
        for part in self.nodes.iter_mut().flat_map(|node| &mut node.parts) {
            while part.stepped.write() || part.stepped.take() {}
            whole &= part.stepped.failure().is_none() && part.stepped.close().is_ok();
        }
        self.drain()?;
        self.live = self.nodes[0].bytes().filter(|_| whole);
        self.nodes.clear();
        self.auditor.crash();
        self.disk = self.disk.restart();
        self.count(if whole { "closed" } else { "closed after a failure" });
        self.start()
    }

    /// The machine or its processes end now, and start again.
    fn crash(&mut self, plan: u64) -> Check {
        if !self.disk.has_stopped() {
            self.disk.stop_at(self.disk.operations(), 0);
        }
        let dead = self.disk.sync_dir(std::path::Path::new("d")).is_err() && self.disk.has_stopped();
        assert!(dead, "a crash after which the process can still write is none");
        self.nodes.clear();
        self.sick = 0;
        self.auditor.crash();
        if !self.swarm.late_messages {
            self.net.retain(|envelope| matches!(envelope, Envelope::Request(_)));
        }
        self.disk = match plan % 4 {
            0 => {
                self.count("process ended");
                self.disk.restart()
            }
            1 => self.cut_power(CrashPlan::LoseUnsynced),
            2 => self.cut_power(CrashPlan::KeepUnsynced),
            _ => self.cut_power(CrashPlan::Seeded(plan)),
        };
        if plan.is_multiple_of(3) {
            self.disk.stop_at(self.disk.operations() + plan % 14, 5);
            let started = self.start();
            if !self.disk.has_stopped() {
                return started;
            }
            self.count("ended inside recovery");
            self.nodes.clear();
            self.disk = self.cut_power(CrashPlan::Seeded(plan + 1));
        }
        self.start()
    }

    fn cut_power(&mut self, plan: CrashPlan) -> SimDisk {
        let (disk, losses) = self.disk.crash_told(plan);
        let as_planned = match plan {
            CrashPlan::LoseUnsynced => losses.kept == 0,
            CrashPlan::KeepUnsynced => losses.lost + losses.names == 0,
            CrashPlan::Seeded(_) => true,
        };
        assert!(as_planned, "{plan:?} left {losses:?}");
        for (happened, what) in [
            (true, "power cut"),
            (losses.lost > 0, "sectors lost"),
            (losses.kept > 0, "sectors kept"),
            (losses.torn > 0, "write torn"),
            (losses.overtook > 0, "write overtook"),
            (losses.names > 0, "names lost"),
            (losses.visible, "readers saw a loss"),
        ] {
            if happened {
                self.count(what);
            }
        }
        disk
    }

    /// A node starts, and what it recovered is looked at as a whole.
    fn start(&mut self) -> Check {
        if self.cluster.is_some() {
            return self.take_over();
        }
        let lock = DirectoryLock::exclusive(&self.directory.path().join("LOCK"));
        let lock = lock.map_err(|fault| format!("I9: the lock of a dead process holds: {fault}"))?;
        let node = Node::start(&self.disk, self.swarm.partitions, lock, self.now);
        self.begin(node.map_err(|fault| format!("I5: it does not start: {fault}"))?)
    }

    /// What a node recovered is looked at as a whole, then it goes on.
    fn begin(&mut self, mut node: Node) -> Check {
        let broken = invariants::check_directory(node.registry(), node.pools());
        if let Some(first) = broken.first() {
            return Err(format!("{}: after recovery: {}", first.id, first.what));
        }
        if self.live.take().is_some_and(|live| node.bytes() != Some(live)) {
            return Err("I8: a replay is not what was live".to_owned());
        }
        node.recover(self.now);
        self.nodes.push(node);
        Ok(())
    }

    /// Takes what left the nodes, and what is due in them.
    fn drain(&mut self) -> Check {
        for at in 0..self.nodes.len() {
            loop {
                let left = self.nodes[at].post.take();
                if left.is_empty() {
                    break;
                }
                left.into_iter().try_for_each(|left| self.left(at, left))?;
            }
        }
        Ok(())
    }

    fn left(&mut self, at: usize, left: Left) -> Check {
        match left {
            Left::Envelope(envelope) => self.net.push(envelope),
            Left::Reply(reply) => {
                self.note(&format!("{reply:?}"));
                self.tally(&reply);
                self.auditor.reply(&reply)?;
                self.gateways.iter_mut().for_each(|gateway| gateway.hear(&reply));
                if let Reply::Read { org, summary, .. } = reply {
                    self.summaries.insert(org, *summary);
                }
            }
            due => {
                let done = self.nodes[at].due(due);
                let is_deposed = self.cluster.is_some() && at + 1 < self.nodes.len();
                if !self.disk.has_stopped() && !is_deposed {
                    done.map_err(|why| format!("I3: an organization cannot be rebuilt: {why}"))?;
                }
            }
        }
        Ok(())
    }

    /// Delivers and writes until nothing is under way.
    fn pump(&mut self) -> Check {
        for _ in 0..ROUNDS_MAX {
            while !self.net.is_empty() {
                self.deliver(0);
            }
            let mut worked = false;
            for part in self.nodes.iter_mut().flat_map(|node| &mut node.parts) {
                part.stepped.prepare();
                while part.stepped.write() || part.stepped.take() {
                    worked = true;
                }
            }
            self.drain()?;
            if !worked && self.net.is_empty() {
                return Ok(());
            }
        }
        Err("I10: messages go on without end".to_owned())
    }

    /// Counts what clients were told.
    fn tally(&mut self, reply: &Reply) {
        match reply {
            Reply::Debits { items, outcomes, .. } => {
                for (item, outcome) in items.iter().zip(outcomes) {
                    self.count(match outcome {
                        Outcome::Duplicate(_) => "debit duplicate",
                        Outcome::Charged if item.is_priced => "images charged",
                        Outcome::Refused(refusal) => refusal.code(),
                        Outcome::Charged => "debit charged",
                        Outcome::Exempt => "debit exempt",
                    });
                }
            }
            Reply::Transfer { answer: Answer::Transfer(told), .. } => self.count(match told.state {
                TransferState::Finished => "transfer finished",
                TransferState::Aborted => "transfer aborted",
                _ => "transfer open",
            }),
            Reply::Reservation { answer: Err(refusal), .. } => self.count(refusal.code()),
            Reply::Reservation { answer: Ok(told), .. } => {
                self.count(match told.ended.map(|ended| ended.how) {
                    None => "reservation open",
                    Some(HowEnded::Settled) => "reservation settled",
                    Some(HowEnded::Released) => "reservation released",
                    Some(HowEnded::Expired) => "reservation expired",
                });
            }
            Reply::Set { answer: Err(refusal), .. } => self.count(refusal.code()),
            Reply::Set { setting, answer: Ok(()), .. } => self.count(match setting {
                Setting::Camera { .. } => "camera set",
                Setting::Unlimited { .. } => "unlimited license set",
                Setting::Key { .. } => "api key set",
                Setting::Price { .. } => "price set",
                Setting::Threshold { .. } => "threshold set",
            }),
            Reply::Claim { answer: Answer::Refused(refusal), .. } => self.count(refusal.code()),
            Reply::Unavailable => self.count("unavailable"),
            Reply::Claim { .. } | Reply::Transfer { .. } | Reply::Read { .. } | Reply::Key { .. } => {}
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.coverage.entry(what).or_default() += 1;
    }

    fn note(&mut self, what: &str) {
        self.trace.write(what.as_bytes());
    }
}
