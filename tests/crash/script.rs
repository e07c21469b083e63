//! What is asked of the world: two partitions, three organizations, every kind of event, two runs with a clean close between.

use tokenweir::domain::bindings::UnlimitedLicense;
use tokenweir::domain::command::{CameraSpec, Command};
use tokenweir::domain::debit::{CameraRef, Debit, Identity, UsageKind};
use tokenweir::domain::ids::{ActorId, CameraId, KeyId, LicenseId, Name, OrgId, ReservationId, TransferId};
use tokenweir::domain::license::LicenseKey;
use tokenweir::domain::registry::Role;
use tokenweir::domain::time::Timestamp;
use tokenweir::domain::tokens::Tokens;
use tokenweir::protocol::coordinator::{ApiKeyOrder, TransferOrder, Until};
use tokenweir::storage::{Result, SimDisk};

use super::ledger::Ledger;
use super::recovery::{self, Trace};
use super::world::{World, partition_of};

pub(crate) const START_MS: u64 = 1_750_000_000_000;
pub(crate) const RETENTION_MS: u64 = 60_000;

/// One debit of the script.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    camera: &'static str,
    identity: Identity<'static>,
    tokens: u64,
    time: Option<u64>,
}

impl Item {
    pub(crate) fn debit(&self) -> Debit<'_> {
        let time = self.time.map(|ms| Timestamp::from_ms(ms).expect("in range"));
        let Self { camera, identity, tokens, .. } = *self;
        Debit {
            camera: CameraRef::Id(camera),
            identity,
            tokens,
            kind: UsageKind::ContextualVideoAnalytics,
            time,
        }
    }
}

pub(crate) fn seq(epoch: u32, seq: u64, tokens: u64) -> Item {
    Item { camera: "cam", identity: Identity::Seq { epoch, seq }, tokens, time: None }
}

pub(crate) fn event(id: &'static str, tokens: u64) -> Item {
    Item { camera: "cam", identity: Identity::EventId(id.as_bytes()), tokens, time: Some(START_MS) }
}

fn off(number: u64) -> Item {
    Item { camera: "off", ..seq(1, number, 5) }
}

/// The organizations: the first and the last live in partition 0, the middle one in partition 1.
pub(crate) fn organizations() -> [OrgId; 3] {
    let names = ('a'..='z').map(|letter| OrgId::new(&format!("org-{letter}")).expect("valid"));
    let (mut zero, mut one): (Vec<_>, Vec<_>) = names.partition(|org| partition_of(org) == 0);
    [zero.swap_remove(0), one.swap_remove(0), zero.swap_remove(0)]
}

fn by() -> ActorId {
    ActorId::new("admin").expect("valid")
}

fn camera(name: &str, cloud_ai: bool) -> Command {
    let (id, network) = (CameraId::new(name).expect("valid"), Name::new("net").expect("valid"));
    Command::RegisterCamera(CameraSpec { id, network, cloud_ai, pro_license: !cloud_ai })
}

fn unlimited() -> LicenseId {
    LicenseId::new("unlimited").expect("valid")
}

fn bind() -> Command {
    let at = |ms| Timestamp::from_ms(ms).expect("in range");
    let (from, until) = (at(START_MS), at(START_MS + 30_000));
    let license =
        UnlimitedLicense { id: unlimited(), kind: UsageKind::ContextualVideoAnalytics, from, until };
    Command::BindUnlimited { camera: CameraId::new("cam").expect("valid"), license }
}

fn reservation(name: &str) -> ReservationId {
    ReservationId::new(name).expect("valid")
}

fn reserve(name: &str, tokens: u64, ttl_ms: u64) -> Command {
    Command::Reserve { reservation: reservation(name), tokens: Tokens(tokens), ttl_ms, by: by() }
}

/// One reservation that is settled whole, one that is settled in part and released, one that expires.
fn reservations(world: &mut World<'_>, org: &OrgId) -> Result<()> {
    for (name, tokens, ttl_ms) in [("whole", 30, 5_000), ("part", 40, 60_000), ("late", 50, 1_000)] {
        world.command(org, reserve(name, tokens, ttl_ms)).expect("it fits");
    }
    world.paid_by(Some(&reservation("whole")), org, &[seq(2, 10, 20), seq(2, 11, 10), seq(2, 12, 1)]);
    world.paid_by(Some(&reservation("part")), org, &[seq(2, 13, 15), seq(2, 10, 20), seq(2, 14, 26)]);
    world.paid_by(Some(&reservation("none")), org, &[seq(2, 14, 1)]);
    world.pump()?;
    wait(world, 1_000);
    world.paid_by(Some(&reservation("late")), org, &[seq(2, 14, 5)]);
    world.command(org, Command::ReleaseReservation { reservation: reservation("part") }).expect("open");
    world.pump()
}

pub(crate) fn claim(world: &mut World<'_>, org: &OrgId, key: &str, grants: &[u64]) {
    let grants = grants.iter().copied().map(Tokens).collect();
    let key = LicenseKey { id: KeyId::new(key).expect("valid"), grants };
    world
        .order(|coordinator, ticket, now, out| coordinator.claim((key, org.clone(), by()), ticket, now, out));
}

fn transfer(world: &mut World<'_>, id: &str, source: &OrgId, target: &OrgId, until: Until) {
    let id = TransferId::new(id).expect("valid");
    let order = TransferOrder { id, source: source.clone(), target: target.clone(), by: by() };
    world.order(|coordinator, ticket, now, out| coordinator.transfer(order, until, ticket, now, out));
}

fn api_key(world: &mut World<'_>, org: &OrgId) {
    let (id, label) = (ActorId::new("key-1").expect("valid"), Name::new("a gateway").expect("valid"));
    let order = ApiKeyOrder {
        id,
        hash: [5; 32],
        label,
        role: Role::Gateway,
        organizations: vec![org.clone()],
        by: by(),
    };
    world.order(|coordinator, ticket, now, out| coordinator.create_api_key(order, ticket, now, out));
}

fn wait(world: &mut World<'_>, ms: u64) {
    world.ledger.now = world.ledger.now.plus_ms(ms);
}

/// Runs the whole script; ends early where the disk does.
pub(crate) fn run(disk: &SimDisk, ledger: &mut Ledger) -> Result<()> {
    first_run(disk, ledger)?.close()?;
    let mut world = World::open(disk, ledger)?;
    second_run(&mut world, &organizations())?;
    world.close()
}

/// The first run, not closed.
pub(crate) fn first_run<'a>(disk: &SimDisk, ledger: &'a mut Ledger) -> Result<World<'a>> {
    let orgs = organizations();
    let mut world = World::open(disk, ledger)?;
    set_up(&mut world, &orgs)?;
    debits(&mut world, &orgs)?;
    move_over(&mut world, &orgs)?;
    Ok(world)
}

/// The first run and then some, by a process that died without closing what it wrote.
pub(crate) fn left_open() -> (SimDisk, Ledger, Trace) {
    let disk = SimDisk::new();
    let trace = Some([vec![recovery::empty(0)], vec![recovery::empty(1)]]);
    let mut ledger = Ledger { trace, ..Ledger::default() };
    let mut world = first_run(&disk, &mut ledger).expect("no fault is injected");
    for (number, org) in (0..).zip(organizations()) {
        claim(&mut world, &org, &format!("more-{number}"), &[100]);
    }
    for (number, org) in (1..9).flat_map(|number| organizations().map(|org| (number, org))) {
        world.debits(&org, &[seq(50, number, 1), seq(50, number, 1)]);
        world.pump().expect("no fault is injected");
    }
    let trace = ledger.trace.take().expect("wanted");
    (disk, ledger, trace)
}

fn set_up(world: &mut World<'_>, [first, middle, last]: &[OrgId; 3]) -> Result<()> {
    world.create(first);
    world.create(middle);
    world.pump()?;
    world.create(last);
    for org in [first, middle, last] {
        world.command(org, camera("cam", true)).expect("within bounds");
    }
    world.command(middle, camera("off", false)).expect("within bounds");
    world.prepare(0);
    claim(world, first, "key-a", &[500, 300]);
    world.pump()?;
    claim(world, middle, "key-b", &[1_000]);
    claim(world, last, "key-a", &[500, 300]);
    api_key(world, middle);
    world.pump()
}

fn debits(world: &mut World<'_>, [first, middle, last]: &[OrgId; 3]) -> Result<()> {
    world.debits(first, &[seq(1, 1, 10), seq(1, 2, 20), event("one", 5)]);
    world.debits(middle, &[seq(1, 1, 100), off(1), Item { camera: "none", ..seq(1, 9, 1) }]);
    world
        .debits(first, &[seq(1, 2, 20), event("one", 5), event("one", 6), seq(1, 3, 100_000), seq(1, 3, 30)]);
    world.pump()?;
    world.prepare(1);
    world.command(middle, bind()).expect("registered");
    world.debits(middle, &[seq(1, 2, 50), event("two", 7)]);
    world.snapshot(0, |world| {
        world.debits(first, &[seq(1, 4, 1)]);
        world.debits(last, &[seq(1, 1, 1)]);
    })?;
    world.pump()?;
    wait(world, 40_000);
    world.debits(middle, &[seq(1, 3, 50), seq(2, 1, 3)]);
    world.command(middle, Command::UnbindUnlimited { license: unlimited() }).expect("bound");
    world.pump()?;
    world.snapshot(1, |world| drop(world.debits(middle, &[seq(2, 2, 4)])))?;
    reservations(world, middle)?;
    world.prepare(0);
    world.debits(first, &[event("three", 9)]);
    world.pump()
}

/// A transfer between the partitions with debits on both sides at every step of it, one that is refused, one at once back.
fn move_over(world: &mut World<'_>, [first, middle, last]: &[OrgId; 3]) -> Result<()> {
    transfer(world, "move-1", middle, first, Until::Ended);
    for step in 0..6 {
        world.debits(middle, &[seq(3, step, 2)]);
        world.debits(first, &[seq(3, step, 3)]);
        world.commit(0)?;
        world.debits(first, &[seq(4, step, 3)]);
        world.commit(1)?;
        if step == 2 {
            world.snapshot(1, |world| drop(world.debits(middle, &[seq(3, 50, 2)])))?;
        }
    }
    world.pump()?;
    transfer(world, "move-2", last, middle, Until::Ended);
    transfer(world, "move-3", first, middle, Until::Begun);
    claim(world, first, "key-c", &[40]);
    world.pump()?;
    world.snapshot(0, |_| ())?;
    wait(world, 2 * RETENTION_MS);
    world.debits(first, &[event("one", 5), event("four", 5)]);
    world
        .command(middle, Command::RemoveCamera { camera: CameraId::new("off").expect("valid") })
        .expect("known");
    world.debits(middle, &[seq(5, 1, 11)]);
    world.pump()
}

fn second_run(world: &mut World<'_>, [_, middle, last]: &[OrgId; 3]) -> Result<()> {
    world.debits(middle, &[seq(5, 1, 11), seq(5, 2, 12), seq(1, 1, 100)]);
    world.pump()?;
    claim(world, last, "key-d", &[70, 80]);
    transfer(world, "move-4", last, middle, Until::Ended);
    world.prepare(0);
    world.prepare(1);
    world.pump()?;
    transfer(world, "move-5", middle, last, Until::Ended);
    world.pump()?;
    world.snapshot(1, |world| drop(world.debits(middle, &[seq(6, 1, 1)])))?;
    world.snapshot(0, |world| drop(world.debits(last, &[seq(6, 1, 13)])))?;
    for number in 2..12 {
        world.debits(last, &[seq(6, number, 1)]);
        world.commit(0)?;
    }
    world.pump()
}
