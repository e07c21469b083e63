//! The coordinator and its organizations when messages come twice and late: no disk, no crash, any order.
//!
//! A message that was sent may be delivered at once, later, or more than once; what the coordinator waits for it asks for
//! again. At the end everything is delivered, and everything must have ended.

use std::collections::BTreeMap;

use tokenweir::domain::event::OrganizationCreated;
use tokenweir::domain::ids::{ActorId, KeyId, Name, OrgId, OrgNumber, TransferId};
use tokenweir::domain::invariants;
use tokenweir::domain::license::LicenseKey;
use tokenweir::domain::pool::Pool;
use tokenweir::domain::registry::TransferState;
use tokenweir::domain::time::Timestamp;
use tokenweir::domain::tokens::Tokens;
use tokenweir::protocol::coordinator::{Coordinator, Effect, TransferOrder, Until};
use tokenweir::protocol::message::{ToCoordinator, ToOrg};
use tokenweir::protocol::org::OrgProcess;
use tokenweir::storage::sim_disk::SplitMix;
use tokenweir::storage::snapshot_codec::{self, PartitionImage, PoolImage};

const ORGS: [&str; 3] = ["ant", "bee", "cat"];

#[derive(Clone, Debug)]
enum Message {
    ToOrg(OrgId, ToOrg),
    ToCoordinator(ToCoordinator),
}

struct Net {
    coordinator: Coordinator,
    orgs: BTreeMap<OrgId, OrgProcess>,
    under_way: Vec<Message>,
    now: Timestamp,
}

fn id(name: &str) -> OrgId {
    OrgId::new(name).expect("valid")
}

fn by() -> ActorId {
    ActorId::new("somebody").expect("valid")
}

impl Net {
    fn new() -> Self {
        let now = Timestamp::from_ms(1_750_000_000_000).expect("in range");
        let pool = |name: &str| {
            let (organization, name) = (id(name), Name::new(name).expect("valid"));
            Pool::new(OrganizationCreated { organization, name, secret: (1, 2), retention_ms: 60_000 }, now)
        };
        let orgs = ORGS.iter().map(|name| (id(name), OrgProcess::new(pool(name)))).collect();
        Self { coordinator: Coordinator::default(), orgs, under_way: Vec::new(), now }
    }

    fn order(&mut self, order: impl FnOnce(&mut Coordinator, Timestamp, &mut Vec<Effect>)) {
        let mut effects = Vec::new();
        order(&mut self.coordinator, self.now, &mut effects);
        for effect in effects {
            if let Effect::Send(org, message) = effect {
                self.under_way.push(Message::ToOrg(org, message));
            }
        }
    }

    fn claim(&mut self, key: &str, org: &str) {
        self.claim_key(key, org, 1);
    }

    fn claim_key(&mut self, key: &str, org: &str, licenses: usize) {
        let grants = vec![Tokens(100); licenses];
        let (key, org) = (LicenseKey { id: KeyId::new(key).expect("valid"), grants }, id(org));
        self.order(|coordinator, now, out| coordinator.claim((key, org, by()), 0, now, out));
    }

    fn transfer(&mut self, name: &str, source: &str, target: &str) {
        let transfer = TransferId::new(name).expect("valid");
        let order = TransferOrder { id: transfer, source: id(source), target: id(target), by: by() };
        self.order(|coordinator, now, out| coordinator.transfer(order, Until::Ended, 0, now, out));
    }

    fn tick(&mut self) {
        self.order(|coordinator, _, out| coordinator.tick(out));
    }

    fn deliver(&mut self, message: Message) {
        self.now = self.now.plus_ms(1);
        match message {
            Message::ToOrg(org, message) => {
                let process = self.orgs.get_mut(&org).expect("it exists");
                let (_, answer) = process.message(message, self.now).expect("no reservation is open");
                self.under_way.push(Message::ToCoordinator(answer));
            }
            Message::ToCoordinator(message) => {
                self.order(|coordinator, now, out| coordinator.answer(message, now, out));
            }
        }
    }

    /// Delivers the oldest message that `wanted` accepts, if there is one.
    fn deliver_first(&mut self, wanted: impl Fn(&Message) -> bool) -> bool {
        let Some(at) = self.under_way.iter().position(wanted) else { return false };
        let message = self.under_way.remove(at);
        self.deliver(message);
        true
    }

    fn settle(&mut self) {
        for _ in 0..20 {
            self.tick();
            while self.deliver_first(|_| true) {}
        }
    }

    /// Each key's licenses are where the registry says, once; no token is doubled; both sides of transfers agree.
    fn check(&self, scenario: &str) {
        assert!(self.coordinator.is_idle(), "{scenario}: something never ends");
        let registry = self.coordinator.registry();
        let broken = invariants::check_directory(registry, self.orgs.values().map(OrgProcess::pool));
        assert!(broken.is_empty(), "{scenario}: {broken:?}");
        let claimed: u64 =
            registry.claims.values().flat_map(|claim| &claim.grants).map(|grant| grant.0).sum();
        let granted: u64 = self.orgs.values().map(|org| org.pool().totals.granted.0).sum();
        assert_eq!(granted, claimed, "{scenario}: R6: granted against claimed; {:?}", registry.claims);
        for (key, claim) in &registry.claims {
            let has = |(org, process): (&OrgId, &OrgProcess)| {
                process.pool().keys.contains(key) == (*org == claim.organization)
            };
            assert!(self.orgs.iter().all(has), "{scenario}: R6: key {key} was applied elsewhere");
        }
        assert!(registry.transfers.values().all(|transfer| transfer.state.is_ended()), "{scenario}");
    }
}

/// Runs random orders and deliveries, then lets everything end.
fn run(seed: u64) -> (Net, usize) {
    let (mut net, mut random) = (Net::new(), SplitMix(seed));
    let mut draw = |below: u64| usize::try_from(random.draw() % below).expect("small");
    for step in 0..60 {
        let (one, other) = (draw(3), draw(3));
        match draw(10) {
            0 => net.claim(&format!("key-{}", draw(4)), ORGS[one]),
            1 if one != other => net.transfer(&format!("move-{step}"), ORGS[one], ORGS[other]),
            2 => net.tick(),
            _ if net.under_way.is_empty() => {}
            3 => {
                let message = net.under_way[draw(u64::try_from(net.under_way.len()).expect("few"))].clone();
                net.under_way.push(message);
            }
            _ => {
                let at = draw(u64::try_from(net.under_way.len()).expect("few"));
                let message = net.under_way.remove(at);
                net.deliver(message);
            }
        }
    }
    net.settle();
    let transfers = net.coordinator.registry().transfers.values();
    let finished = transfers.filter(|transfer| transfer.state == TransferState::Finished).count();
    (net, finished)
}

#[test]
fn r6_i6_i10_messages_that_come_late_or_twice_double_no_key_and_split_no_transfer() {
    let mut finished = 0;
    for seed in 0..2_000 {
        let (net, count) = run(seed);
        finished += count;
        net.check(&format!("seed {seed}"));
    }
    assert!(finished > 500, "only {finished} transfers went through");
}

/// A key is claimed while its organization's pool is being moved. The first question is refused; the transfer ends; the same
/// question, asked again meanwhile because the first answer was slow, must not add licenses for a key that is then
/// free for another organization.
#[test]
fn r6_a_key_whose_refusal_was_slow_is_not_applied_after_it_was_released() {
    let mut net = Net::new();
    net.claim("first", "ant");
    net.settle();
    net.transfer("move", "ant", "bee");
    assert!(net.deliver_first(|message| matches!(message, Message::ToOrg(_, ToOrg::PrepareOut { .. }))));
    net.claim("key", "ant");
    assert!(net.deliver_first(|message| matches!(message, Message::ToOrg(_, ToOrg::ApplyKey { .. }))));
    let refused =
        |message: &Message| matches!(message, Message::ToCoordinator(ToCoordinator::KeyAnswered { .. }));
    let answer = net.under_way.remove(net.under_way.iter().position(refused).expect("answered"));
    while net.deliver_first(|_| true) {}
    net.tick();
    while net.deliver_first(|message| matches!(message, Message::ToOrg(..))) {}
    net.deliver(answer);
    net.claim("key", "bee");
    net.settle();
    net.check("the first refusal was slow");
}

/// A pool that is being moved away may receive another meanwhile; when its own transfer is undone it holds both, and
/// must still be one that a snapshot can restore.
#[test]
fn i8_a_pool_that_got_its_licenses_back_beside_others_can_be_restored() {
    let mut net = Net::new();
    for (org, keys) in [("ant", 0..11), ("bee", 11..12), ("cat", 12..23)] {
        keys.for_each(|n| net.claim_key(&format!("key-{n}"), org, 1_000));
    }
    net.settle();
    net.transfer("away", "ant", "bee");
    assert!(net.deliver_first(|message| matches!(message, Message::ToOrg(_, ToOrg::PrepareOut { .. }))));
    net.under_way.clear();
    net.transfer("here", "cat", "ant");
    while net.deliver_first(|_| true) {}
    net.order(Coordinator::recover);
    net.settle();
    net.check("the first transfer was undone");
    let pool = net.orgs.get_mut(&id("ant")).expect("there").pool_mut();
    let image = PartitionImage { registry: None, pools: vec![PoolImage::take(pool, OrgNumber(0))] };
    snapshot_codec::decode(&snapshot_codec::encode(&image)).expect("what was written can be restored");
}
