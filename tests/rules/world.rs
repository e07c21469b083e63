//! A coordinator and its organizations, joined by a wire on which the test decides what arrives, when, and how often.

use std::collections::BTreeMap;

use tokenweir::domain::ids::OrgId;
use tokenweir::domain::invariants;
use tokenweir::domain::license::LicenseKey;
use tokenweir::domain::registry::{Registry, RegistryChange, RegistryEvent, Transfer, TransferState};
use tokenweir::domain::time::Timestamp;
use tokenweir::protocol::coordinator::{Answer, Coordinator, Effect, TransferOrder, Until};
use tokenweir::protocol::message::{ToCoordinator, ToOrg, from_nobody};

use super::support::{Org, actor, at, org_id, transfer_id};

/// A message on its way.
#[derive(Clone, Debug)]
pub(crate) enum Letter {
    ToOrg(OrgId, ToOrg),
    ToCoordinator(ToCoordinator),
}

/// A coordinator, its journal, its organizations and what is on the wire.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) orgs: BTreeMap<OrgId, Org>,
    pub(crate) coordinator: Coordinator,
    pub(crate) events: Vec<RegistryEvent>,
    pub(crate) wire: Vec<Letter>,
    pub(crate) answers: Vec<(u64, Answer)>,
    pub(crate) clock_ms: u64,
}

impl World {
    /// Organizations with so many tokens each; their licenses are claimed through the coordinator.
    pub(crate) fn new(orgs: &[(&str, u64)]) -> Self {
        let mut world = Self::default();
        for (id, tokens) in orgs {
            world.orgs.insert(org_id(id), Org::with_tokens(id, 0));
            if *tokens > 0 {
                world.claim(id, super::support::key(&format!("{id}-key"), &[*tokens]), 0);
                world.run();
            }
        }
        world.answers.clear();
        world
    }

    pub(crate) fn org(&mut self, id: &str) -> &mut Org {
        self.orgs.get_mut(&org_id(id)).expect("the organization exists")
    }

    pub(crate) fn available(&self, id: &str) -> u64 {
        self.orgs[&org_id(id)].available()
    }

    pub(crate) fn claim(&mut self, org: &str, key: LicenseKey, ticket: u64) {
        self.claim_keeping(org, key, ticket, usize::MAX);
    }

    /// Notes that a key whose licenses an organization was given directly is claimed by it.
    pub(crate) fn note_claim(&mut self, org: &str, key: LicenseKey) {
        let (id, organization, grants, by) = (key.id, org_id(org), key.grants, actor());
        let claimed = RegistryChange::KeyClaimed { key: id.clone(), organization, grants, by };
        for change in [claimed, RegistryChange::KeyApplied { key: id }] {
            let event = RegistryEvent { at: self.now(), change };
            self.coordinator.registry_mut().apply(&event);
            self.events.push(event);
        }
    }

    /// Claims a key, of which only the first `kept` effects happen before the coordinator crashes.
    pub(crate) fn claim_keeping(&mut self, org: &str, key: LicenseKey, ticket: u64, kept: usize) {
        let mut out = Vec::new();
        self.coordinator.claim((key, org_id(org), actor()), ticket, self.now(), &mut out);
        self.carry_out(out, kept);
    }

    pub(crate) fn transfer(&mut self, id: &str, source: &str, target: &str, ticket: u64) {
        let mut out = Vec::new();
        let (id, source, target) = (transfer_id(id), org_id(source), org_id(target));
        let order = TransferOrder { id, source, target, by: actor() };
        self.coordinator.transfer(order, Until::Ended, ticket, self.now(), &mut out);
        self.carry_out(out, usize::MAX);
    }

    pub(crate) fn tick(&mut self) {
        let mut out = Vec::new();
        self.coordinator.tick(&mut out);
        self.carry_out(out, usize::MAX);
    }

    /// Delivers the message at `place`.
    pub(crate) fn deliver(&mut self, place: usize) {
        self.deliver_keeping(place, usize::MAX);
    }

    /// Delivers the message at `place`; of what its receiver does then, only the first `kept` effects happen
    /// before it crashes and starts again.
    pub(crate) fn deliver_keeping(&mut self, place: usize, kept: usize) {
        self.clock_ms += 1;
        match self.wire.remove(place) {
            Letter::ToOrg(to, message) => self.hand_over(&to, message, kept),
            Letter::ToCoordinator(message) => {
                let mut out = Vec::new();
                self.coordinator.answer(message, self.now(), &mut out);
                self.carry_out(out, kept);
            }
        }
        self.check();
    }

    /// Delivers everything in order.
    pub(crate) fn run(&mut self) {
        while !self.wire.is_empty() {
            self.deliver(0);
        }
    }

    /// Without further faults everything comes to its end (I10).
    pub(crate) fn settle(&mut self) {
        for _ in 0..4 {
            self.run();
            if self.coordinator.is_idle() {
                break;
            }
            self.tick();
        }
        assert!(self.coordinator.is_idle(), "I10: something never ends: {:?}", self.coordinator);
        for org in self.orgs.values() {
            assert_eq!(org.pool().outgoing, None, "I10: a pool stays frozen");
            assert!(
                !org.pool().transfers.values().any(|side| side.is_prepared()),
                "I10: a side stays prepared"
            );
        }
        self.check();
    }

    pub(crate) fn crash_coordinator(&mut self) {
        let mut registry = Registry::default();
        for event in &self.events {
            registry.apply(event);
        }
        self.coordinator = Coordinator::new(registry);
        let mut out = Vec::new();
        self.coordinator.recover(self.now(), &mut out);
        self.carry_out(out, usize::MAX);
        self.check();
    }

    /// What the registry knows of a transfer.
    pub(crate) fn known(&self, id: &str) -> &Transfer {
        &self.coordinator.registry().transfers[&transfer_id(id)]
    }

    pub(crate) fn state(&self, id: &str) -> Option<TransferState> {
        self.coordinator.registry().transfers.get(&transfer_id(id)).map(|known| known.state)
    }

    pub(crate) fn check(&self) {
        let pools = self.orgs.values().map(Org::pool);
        let found = invariants::check_directory(self.coordinator.registry(), pools);
        assert!(found.is_empty(), "{found:?}");
    }

    /// R6: what was granted was claimed, each key by the one organization that holds its licenses.
    pub(crate) fn check_keys(&self) {
        for pool in self.orgs.values().map(Org::pool) {
            for key in &pool.keys {
                let claim = self.coordinator.registry().claims.get(key);
                let own = claim.is_some_and(|claim| claim.organization == pool.id);
                assert!(own, "R6: {} holds key {key}, which is claimed as {claim:?}", pool.id);
            }
        }
    }

    fn now(&self) -> Timestamp {
        at(self.clock_ms)
    }

    fn hand_over(&mut self, to: &OrgId, message: ToOrg, kept: usize) {
        let clock = self.now();
        let Some(org) = self.orgs.get_mut(to) else {
            self.wire.extend(from_nobody(message, to.clone()).map(Letter::ToCoordinator));
            return;
        };
        org.clock = clock;
        let journaled = org.journal.len();
        let answer = org.answer(message).map(Letter::ToCoordinator);
        let wrote = org.journal.len() - journaled;
        if kept == usize::MAX {
            self.wire.extend(answer);
            return;
        }
        org.journal.truncate(journaled + wrote.min(kept));
        org.crash();
        if kept > wrote {
            self.wire.extend(answer);
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>, kept: usize) {
        for effect in effects.into_iter().take(kept) {
            match effect {
                Effect::Append(event) => self.events.push(event),
                Effect::Send(to, message) => self.wire.push(Letter::ToOrg(to, message)),
                Effect::Answer(ticket, answer) => self.answers.push((ticket, answer)),
            }
        }
        if kept != usize::MAX {
            self.crash_coordinator();
        }
    }
}
