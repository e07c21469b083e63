//! Random sequences of commands, debits, reservations, transfers, clock steps and crashes: two organizations and their coordinator
//! do what two naive pools do.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tokenweir::domain::batch::DebitBatch;
use tokenweir::domain::bindings::UnlimitedLicense;
use tokenweir::domain::command::{CameraSpec, Command};
use tokenweir::domain::debit::{Debit, Identity, Measured, UsageKind};
use tokenweir::domain::event::Change;
use tokenweir::domain::ids::OrgId;
use tokenweir::domain::limits::RESERVATION_MS_MIN;
use tokenweir::domain::rates::{Price, Unit};
use tokenweir::protocol::message::ToOrg;

use super::naive::Naive;
use super::support::{
    BEGIN_MS, Entry, HOUR, RETENTION, at, camera, camera_id, event, org_id, reservation_id, seq, unlimited,
};
use super::world::{Letter, World};

pub(crate) const ORGS: [&str; 2] = ["a", "b"];
pub(crate) const CAMERAS: [&str; 3] = ["cam", "cam-2", "cam-3"];
pub(crate) const LICENSES: [&str; 3] = ["u", "v", "first-a.1"];
pub(crate) const TRANSFERS: [&str; 5] = ["t1", "t2", "t3", "t4", "t5"];
pub(crate) const KEYS: [&str; 4] = ["k1", "k2", "k3", "k4"];
pub(crate) const RESERVATIONS: [&str; 4] = ["r1", "r2", "r3", "r4"];
pub(crate) const TTLS: [u64; 3] = [RESERVATION_MS_MIN, HOUR, 5 * HOUR];
pub(crate) const CLOCK_STEPS: [u64; 5] = [1, HOUR, 7 * HOUR, RETENTION, 3 * RETENTION];

/// A debit in numbers.
#[derive(Clone, Debug)]
pub(crate) struct Draw {
    pub(crate) camera: usize,
    pub(crate) by_event: bool,
    pub(crate) epoch: u32,
    pub(crate) number: u64,
    pub(crate) other_time: bool,
    pub(crate) tokens: u64,
    pub(crate) kind: usize,
    /// What `tokens` are instead, where they are to be priced.
    pub(crate) unit: Option<Unit>,
}

/// What both are asked to do, and what happens to them.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Debits(usize, Vec<Draw>),
    /// Debits that a reservation is to pay.
    Settle(usize, usize, Vec<Draw>),
    /// So many tokens for one of the times to live.
    Reserve(usize, usize, u64, usize),
    Release(usize, usize),
    Register(usize, usize, bool),
    Remove(usize, usize),
    Bind(usize, usize, usize, u64, u64),
    Unbind(usize, usize),
    Add(usize, usize, Vec<u64>),
    Transfer(usize, usize),
    Deliver(usize),
    Tick,
    Ahead(usize),
    Back(usize),
    CrashOrg(usize),
    CrashCoordinator,
    /// Images of two kinds cost so many millitokens, from this hour on.
    Rates(usize, u64, u64),
}

fn draw() -> impl Strategy<Value = Draw> {
    let number = prop_oneof![3 => 0_u64..12, 1 => 0_u64..150];
    let parts = (
        0..CAMERAS.len(),
        any::<bool>(),
        1_u32..3,
        number,
        prop::bool::weighted(0.1),
        0_u64..6,
        (0_usize..5, prop::bool::weighted(0.2)),
    );
    parts.prop_map(|(camera, by_event, epoch, number, other_time, tokens, (kind, measured))| {
        let epoch = if epoch == 2 && number % 5 == 0 { 2 } else { 1 };
        Draw {
            camera,
            by_event,
            epoch,
            number,
            other_time,
            tokens,
            kind: kind.saturating_sub(2),
            unit: measured.then_some(Unit::Image),
        }
    })
}

fn step() -> impl Strategy<Value = Step> {
    let (org, cam) = (0..ORGS.len(), 0..CAMERAS.len());
    let draws = || prop::collection::vec(draw(), 1..6);
    let (license, held) = (0..LICENSES.len(), 0..RESERVATIONS.len());
    prop_oneof![
        12 => (org.clone(), draws()).prop_map(|(org, draws)| Step::Debits(org, draws)),
        4 => (org.clone(), held.clone(), draws()).prop_map(|(org, held, draws)| Step::Settle(org, held, draws)),
        3 => (org.clone(), held.clone(), 1_u64..30, 0..TTLS.len()).prop_map(|(o, r, t, ttl)| Step::Reserve(o, r, t, ttl)),
        1 => (org.clone(), held).prop_map(|(org, held)| Step::Release(org, held)),
        3 => (org.clone(), cam.clone(), prop::bool::weighted(0.8)).prop_map(|(o, c, on)| Step::Register(o, c, on)),
        1 => (org.clone(), cam.clone()).prop_map(|(org, camera)| Step::Remove(org, camera)),
        2 => (org.clone(), cam, 0_usize..2, 0_u64..40, 0_u64..80).prop_map(|(o, c, l, f, u)| Step::Bind(o, c, l, f, u)),
        1 => (org.clone(), license).prop_map(|(org, license)| Step::Unbind(org, license)),
        2 => (org.clone(), 0..KEYS.len(), prop::collection::vec(1_u64..30, 1..4)).prop_map(|(o, k, g)| Step::Add(o, k, g)),
        2 => (0..TRANSFERS.len(), org.clone()).prop_map(|(transfer, source)| Step::Transfer(transfer, source)),
        8 => (0_usize..4).prop_map(Step::Deliver),
        1 => Just(Step::Tick),
        2 => (0..CLOCK_STEPS.len()).prop_map(Step::Ahead),
        1 => (0..CLOCK_STEPS.len()).prop_map(Step::Back),
        1 => org.clone().prop_map(Step::CrashOrg),
        1 => Just(Step::CrashCoordinator),
        1 => (org.clone(), 1_u64..5_000, 0_u64..60).prop_map(|(org, price, from)| Step::Rates(org, price, from)),
    ]
}

/// The organizations under test beside their naive pools.
struct Twins {
    world: World,
    naive: BTreeMap<OrgId, Naive>,
    read: BTreeMap<OrgId, usize>,
}

impl Twins {
    fn new() -> Self {
        let mut twins =
            Self { world: World::new(&[("a", 0), ("b", 0)]), naive: BTreeMap::new(), read: BTreeMap::new() };
        for org in ORGS {
            let mut naive = Naive::new(org);
            naive.register("cam", true, at(0)).expect("it fits");
            twins.naive.insert(org_id(org), naive);
            twins.add(org, &format!("first-{org}"), &[40]);
        }
        twins
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Debits(org, draws) => self.debits(ORGS[org], None, &draws),
            Step::Settle(org, id, draws) => self.debits(ORGS[org], Some(RESERVATIONS[id]), &draws),
            Step::Reserve(org, id, tokens, ttl) => {
                self.reserve(ORGS[org], RESERVATIONS[id], (tokens, TTLS[ttl]));
            }
            Step::Release(org, id) => self.release(ORGS[org], RESERVATIONS[id]),
            Step::Register(org, camera, on) => self.register(ORGS[org], CAMERAS[camera], on),
            Step::Rates(org, price, from) => self.rates(ORGS[org], price, from),
            Step::Remove(org, camera) => self.remove(ORGS[org], CAMERAS[camera]),
            Step::Bind(org, camera, license, from, until) => {
                self.bind(
                    ORGS[org],
                    CAMERAS[camera],
                    &unlimited(LICENSES[license], from * HOUR, until * HOUR),
                );
            }
            Step::Unbind(org, license) => self.unbind(ORGS[org], LICENSES[license]),
            Step::Add(org, key, grants) => self.add(ORGS[org], KEYS[key], &grants),
            Step::Transfer(transfer, source) => {
                self.world.transfer(TRANSFERS[transfer], ORGS[source], ORGS[1 - source], 0);
            }
            Step::Deliver(_) if self.world.wire.is_empty() => {}
            Step::Deliver(place) => self.deliver(place % self.world.wire.len()),
            Step::Tick if self.world.wire.len() < 8 => self.world.tick(),
            Step::Tick => {}
            Step::Ahead(by) => self.set_clock(self.world.clock_ms + CLOCK_STEPS[by]),
            Step::Back(by) => self.set_clock(self.world.clock_ms.saturating_sub(CLOCK_STEPS[by])),
            Step::CrashOrg(org) => {
                let (org, naive) = self.pair(ORGS[org]);
                org.crash();
                naive.crash();
            }
            Step::CrashCoordinator => self.world.crash_coordinator(),
        }
        self.follow_transfers();
        self.world.check();
        for (id, naive) in &self.naive {
            naive.compare(self.world.orgs[id].pool());
        }
    }

    /// Tells the naive pool what comes to an organization, then delivers it.
    fn deliver(&mut self, place: usize) {
        let (arrives, there) = (at(self.world.clock_ms + 1), self.world.wire.len());
        let is_answered = if let Letter::ToOrg(to, message) = &self.world.wire[place] {
            let naive = self.naive.get_mut(to).expect("both have a naive pool");
            naive.expire(arrives);
            match message {
                ToOrg::PrepareOut { transfer, .. } => Some(!naive.waits_for_reservations(transfer.as_str())),
                ToOrg::Abort { transfer } => {
                    naive.stop_waiting(transfer.as_str());
                    Some(true)
                }
                _ => Some(true),
            }
        } else {
            None
        };
        self.world.deliver(place);
        let right = is_answered.is_none_or(|is_answered| is_answered == (self.world.wire.len() == there));
        assert!(right, "R11: a transfer waits for open reservations, and for nothing else");
    }

    /// Lets everything arrive that is under way, and checks that it ended. What is reserved is over by then.
    fn finish(&mut self) {
        let over_ms = self.naive.values().map(Naive::all_expired_ms).max().unwrap_or(0);
        self.set_clock(self.world.clock_ms.max(over_ms.saturating_sub(BEGIN_MS)));
        while !self.world.coordinator.is_idle() || !self.world.wire.is_empty() {
            if self.world.wire.is_empty() {
                self.take(Step::Tick);
            }
            self.take(Step::Deliver(0));
        }
        self.world.settle();
    }

    fn set_clock(&mut self, ms: u64) {
        self.world.clock_ms = ms;
        self.world.orgs.values_mut().for_each(|org| org.clock = at(ms));
    }

    /// An organization that is asked for something, and its naive pool.
    fn pair(&mut self, org: &str) -> (&mut super::support::Org, &mut Naive) {
        let naive = self.naive.get_mut(&org_id(org)).expect("both have a naive pool");
        (self.world.org(org), naive)
    }

    fn debits(&mut self, org: &str, paid_by: Option<&str>, draws: &[Draw]) {
        let (org, naive) = self.pair(org);
        naive.expire(org.clock);
        let ids: Vec<_> = draws.iter().map(|draw| format!("event-{}", draw.number)).collect();
        let debits: Vec<_> = draws.iter().zip(&ids).map(|(draw, id)| debit(draw, id)).collect();
        let mut batch = DebitBatch::default();
        batch.pay_by(paid_by.map(reservation_id));
        for (debit, draw) in debits.iter().zip(draws) {
            let Debit { camera, identity, tokens: count, kind, time } = *debit;
            match draw.unit {
                None => batch.push(*debit),
                Some(unit) => batch.push_measured(Measured { camera, identity, unit, count, kind, time }),
            }
        }
        let outcomes = org.judge(batch);
        for ((debit, draw), outcome) in debits.iter().zip(draws).zip(outcomes) {
            let event = (debit, draw.unit, paid_by);
            let allowed = naive.allowed(event, org.clock);
            assert!(allowed.contains(&outcome), "{event:?}: {outcome:?}, where {allowed:?} is allowed");
            naive.follow(event, outcome, org.clock);
        }
    }

    fn reserve(&mut self, org: &str, id: &str, (tokens, ttl_ms): (u64, u64)) {
        let (org, naive) = self.pair(org);
        assert_eq!(org.reserve(id, tokens, ttl_ms), naive.reserve(id, (tokens, ttl_ms), org.clock));
    }

    fn release(&mut self, org: &str, id: &str) {
        let (org, naive) = self.pair(org);
        assert_eq!(org.release(id), naive.release(id, org.clock));
    }

    fn rates(&mut self, org: &str, millitokens: u64, hour: u64) {
        let (org, naive) = self.pair(org);
        naive.expire(org.clock);
        let price = |kind| Price { kind, unit: Unit::Image, millitokens };
        let (prices, from) = (UsageKind::ALL[..2].iter().map(|kind| price(*kind)).collect(), at(hour * HOUR));
        let set = Command::SetRates { from: Some(from), prices, by: super::support::actor() };
        assert_eq!(org.command(set), Ok(naive.set_rates(from, millitokens, org.clock)));
    }

    fn register(&mut self, org: &str, id: &str, on: bool) {
        let (org, naive) = self.pair(org);
        naive.expire(org.clock);
        let spec = CameraSpec { cloud_ai: on, ..camera(id) };
        assert_eq!(org.command(Command::RegisterCamera(spec)), naive.register(id, on, org.clock));
    }

    fn remove(&mut self, org: &str, id: &str) {
        let (org, naive) = self.pair(org);
        naive.expire(org.clock);
        let answer = org.command(Command::RemoveCamera { camera: camera_id(id) });
        assert_eq!(answer, naive.remove(id, org.clock));
    }

    fn bind(&mut self, org: &str, id: &str, license: &UnlimitedLicense) {
        let (org, naive) = self.pair(org);
        naive.expire(org.clock);
        assert_eq!(org.bind(id, license.clone()), naive.bind(id, license, org.clock));
    }

    fn unbind(&mut self, org: &str, license: &str) {
        let (org, naive) = self.pair(org);
        naive.expire(org.clock);
        assert_eq!(org.unbind(license), naive.unbind(license, org.clock));
    }

    fn add(&mut self, org: &str, key: &str, grants: &[u64]) {
        let key = format!("{key}-{org}");
        let (pool, naive) = self.pair(org);
        naive.expire(pool.clock);
        let added = pool.add(&key, grants);
        assert_eq!(added, naive.add(&key, grants, pool.clock));
        if added == Ok(true) {
            self.world.note_claim(org, super::support::key(&key, grants));
        }
    }

    /// Tells the naive pools what was journaled of transfers since they looked last.
    fn follow_transfers(&mut self) {
        for (id, org) in &self.world.orgs {
            let read = self.read.entry(id.clone()).or_default();
            for entry in &org.journal[*read..] {
                if let Entry::Event(event) = entry {
                    follow(&mut self.naive, id, &event.change, org.clock);
                }
            }
            *read = org.journal.len();
        }
    }
}

fn follow(
    pools: &mut BTreeMap<OrgId, Naive>,
    id: &OrgId,
    change: &Change,
    clock: tokenweir::domain::time::Timestamp,
) {
    let coming = match change {
        Change::TransferInPrepared { transfer, cargo } => pools[&cargo.source].cargo(transfer.as_str()),
        _ => None,
    };
    let naive = pools.get_mut(id).expect("both have a naive pool");
    match change {
        Change::TransferOutPrepared { transfer, .. } => {
            assert_eq!(naive.prepare_out(transfer.as_str(), clock), Ok(true));
        }
        Change::TransferInPrepared { transfer, .. } => {
            // A late prepare may reach the target after the source was restored: nothing is on its way then.
            naive.prepare_in(transfer.as_str(), coming.unwrap_or_default(), clock);
        }
        Change::TransferOutClosed { transfer } | Change::TransferInCredited { transfer } => {
            naive.commit(transfer.as_str(), clock);
        }
        Change::TransferAborted { transfer } => naive.abort(transfer.as_str(), clock),
        _ => {}
    }
}

/// Event ids have a time of their own, so that a repeated one mostly repeats its time.
fn debit<'a>(draw: &Draw, id: &'a str) -> Debit<'a> {
    let (camera, kind) = (CAMERAS[draw.camera], UsageKind::ALL[draw.kind]);
    let time = draw.number * 5 * HOUR + u64::from(draw.other_time);
    let (tokens, identity) = (draw.tokens, Identity::Seq { epoch: draw.epoch, seq: draw.number });
    if draw.by_event {
        Debit { tokens, kind, ..event(camera, id, time) }
    } else {
        let time = (draw.number.is_multiple_of(3) || draw.other_time).then(|| at(time));
        Debit { tokens, kind, identity, time, ..seq(camera, 0) }
    }
}

/// Puts both through a history.
pub(crate) fn follow_history(steps: impl IntoIterator<Item = Step>) {
    let mut twins = Twins::new();
    for step in steps {
        twins.take(step);
    }
    twins.finish();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn i1_i2_i4_i7_two_organizations_do_what_two_naive_pools_do(steps in prop::collection::vec(step(), 1..120)) {
        follow_history(steps);
    }
}
