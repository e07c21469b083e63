//! Partitions in replicated logs: nodes take them over from one another, and one that was deposed does not know it yet.
//!
//! What would go wrong with a disk goes wrong with the logs here, so that the same actions serve both.

use tokenweir::cluster::sim_log::{Fate, SimLog};
use tokenweir::storage::Fault;

use crate::actions::Action;
use crate::auditor::Check;
use crate::node::Node;

use super::{SICK_STEPS_MAX, World, place};

/// So many nodes are there at most, of which one is not deposed.
const NODES_MAX: usize = 3;
/// In so many tries a node must have taken over.
const TRIES_MAX: u32 = 20;

/// The logs, and the newest epoch.
pub(crate) struct Cluster {
    pub(super) logs: Vec<SimLog>,
    epoch: u64,
}

impl Cluster {
    pub(super) fn new(partitions: u16) -> Self {
        Self { logs: (0..partitions).map(|_| SimLog::default()).collect(), epoch: 0 }
    }

    fn log(&self, pick: u64) -> &SimLog {
        &self.logs[place(pick, self.logs.len())]
    }
}

impl World {
    /// Carries out what is another thing with logs than with files; none when it is the same.
    pub(super) fn act_in_cluster(&mut self, action: Action) -> Option<Check> {
        let (cluster, pick) = (self.cluster.as_ref()?, self.trace() >> 8);
        match action {
            Action::FailSync { nth } => {
                (0..nth % 3).for_each(|_| cluster.log(pick).fate(Fate::Answered));
                cluster.log(pick).fate([Fate::Unheard, Fate::Late, Fate::Overtaken][place(pick / 3, 3)]);
            }
            Action::FailWrite { .. } => {
                cluster.log(pick).fate([Fate::Lost, Fate::Twice, Fate::Late][place(pick / 3, 3)]);
            }
            Action::FullDisk { bytes } => {
                let log = cluster.log(bytes);
                log.fate(Fate::Unheard);
                if bytes.is_multiple_of(2) { log.tell_old() } else { log.be_unreadable() }
            }
            Action::Prepare { pick } => _ = cluster.log(pick).deliver(place(pick / 3, 7)),
            Action::Second => {
                self.count("taken over from one that believes");
                return Some(self.take_over());
            }
            Action::Crash { plan, .. } => {
                let at = place(plan, self.nodes.len());
                self.count(if at + 1 < self.nodes.len() { "deposed node ended" } else { "owner ended" });
                self.nodes.remove(at);
                if at == self.nodes.len() {
                    return Some(self.take_over());
                }
            }
            Action::Rebuild { pick } if pick.is_multiple_of(5) => return Some(self.hand_over()),
            _ => return None,
        }
        Some(Ok(()))
    }

    /// A new node takes over; those before go on and believe that they own.
    pub(super) fn take_over(&mut self) -> Check {
        self.auditor.crash();
        if !self.swarm.late_messages {
            self.net.retain(|envelope| matches!(envelope, crate::net::Envelope::Request(_)));
        }
        if self.nodes.len() >= NODES_MAX {
            self.nodes.remove(0);
        }
        for _ in 0..TRIES_MAX {
            let cluster = self.cluster.as_mut().expect("it is replicated");
            cluster.epoch += 1;
            match Node::take_over(&cluster.logs, cluster.epoch) {
                Err(Fault::Deposed { .. } | Fault::Remote { .. }) => self.count("takeover failed"),
                Err(fault) => return Err(format!("I5: it does not take over: {fault}")),
                Ok(node) => return self.begin(node),
            }
        }
        Err("I10: nobody can take over".to_owned())
    }

    /// The owner closes in order, and the next one starts with what it had.
    fn hand_over(&mut self) -> Check {
        let Some(owner) = self.nodes.last_mut() else { return self.take_over() };
        let mut whole = true;
        for part in &mut owner.parts {
            while part.stepped.write() || part.stepped.take() {}
            whole &= part.stepped.failure().is_none() && part.stepped.close().is_ok();
        }
        self.drain()?;
        self.live = self.nodes.last_mut().and_then(Node::bytes).filter(|_| whole);
        self.nodes.pop();
        self.count(if whole { "handed over" } else { "closed after a failure" });
        self.take_over()
    }

    /// Nodes that stopped are ended after a while; when none is left the next one takes over.
    pub(super) fn look_after(&mut self) -> Check {
        let failures = |node: &Node| node.parts.iter().find_map(|part| part.stepped.failure());
        let failed = self.nodes.iter().find_map(failures);
        self.sick = if failed.is_some() { self.sick + 1 } else { 0 };
        if let Some(cause) = failed.filter(|_| self.sick > SICK_STEPS_MAX) {
            if !cause.contains("is served by another node") {
                return Err(format!("R14: a partition stopped without a fault: {cause}"));
            }
            self.count("deposed");
            let owner_is_well = self.nodes.last().is_some_and(|node| failures(node).is_none());
            self.nodes.retain(|node| failures(node).is_none());
            self.sick = 0;
            if !owner_is_well {
                return self.take_over();
            }
        }
        Ok(())
    }

    /// Faults stop: everything that happened is counted, and one node takes over.
    pub(super) fn heal(&mut self) -> Check {
        let cluster = self.cluster.as_ref().expect("it is replicated");
        cluster.logs.iter().for_each(SimLog::heal);
        let happened: Vec<_> = cluster.logs.iter().flat_map(SimLog::happened).collect();
        for (what, times) in happened {
            *self.coverage.entry(what).or_default() += times;
        }
        self.nodes.clear();
        self.take_over()
    }
}
