//! A node: the organizations and the coordinator over partitions that are stepped.
//!
//! It does what the actors do around the pure processes, one thing after the other. When something leaves is not decided
//! here: staging, the writer, recovery and snapshots are those of the engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokenweir::cluster::ReplicatedStore;
use tokenweir::cluster::record::Owned;
use tokenweir::cluster::sim_log::SimLog;
use tokenweir::domain::alerts::{AlertsChange, Measure, Threshold};
use tokenweir::domain::batch::DebitBatch;
use tokenweir::domain::bindings::UnlimitedLicense;
use tokenweir::domain::command::{CameraSpec, Command};
use tokenweir::domain::debit::{CameraRef, Debit, Identity, Measured, UsageKind};
use tokenweir::domain::event::{Change, Event, OrganizationCreated};
use tokenweir::domain::hash;
use tokenweir::domain::ids::{
    ActorId, AlertId, CameraId, KeyId, LicenseId, Lsn, Name, OrgId, OrgNumber, ReservationId, TransferId,
};
use tokenweir::domain::license::LicenseKey;
use tokenweir::domain::pool::Pool;
use tokenweir::domain::rates::{Price, Unit};
use tokenweir::domain::refusal::Refusal;
use tokenweir::domain::registry::{Registry, Role};
use tokenweir::domain::time::Timestamp;
use tokenweir::domain::tokens::Tokens;
use tokenweir::protocol::coordinator::{
    Answer, ApiKeyOrder, Coordinator, Effect, Ticket, TransferOrder, Until,
};
use tokenweir::protocol::message::{ToOrg, from_nobody};
use tokenweir::protocol::org::OrgProcess;
use tokenweir::stepped::Stepped;
use tokenweir::storage::manifest::Stage;
use tokenweir::storage::snapshot_codec::{self, PartitionImage, PoolImage};
use tokenweir::storage::{DirectoryId, DirectoryLock, Fault, Manifest, Result, SimDisk, Store, fixture};

use crate::net::{CameraIs, Envelope, Item, KeyIs, Left, Order, Post, Reply, Request, Setting, Terms};

/// How long a caller waits for an end that does not come, in milliseconds.
const PATIENCE_MS: u64 = 10_000;
/// How long event ids are remembered, in milliseconds.
pub(crate) const RETENTION_MS: u64 = 600_000;
/// From when on a price applies: before every event, so that the newest one does.
const PRICED_FROM_MS: u64 = 1_700_000_000_000;

pub(crate) struct Node {
    pub(crate) parts: Vec<Part>,
    pub(crate) post: Post,
    coordinator: Coordinator,
    effects: Vec<Effect>,
    waiting: BTreeMap<Ticket, (Waiting, Timestamp)>,
    next_ticket: Ticket,
    /// Whether snapshots are followed by the removal of what they made superfluous.
    retires: bool,
    _lock: Option<DirectoryLock>,
}

pub(crate) struct Part {
    pub(crate) stepped: Stepped,
    /// None while the organization is being rebuilt.
    pub(crate) orgs: Vec<Option<OrgProcess>>,
    pub(crate) snapshot: Option<Gathering>,
}

/// An organization that is up, with no reservation open beyond its time.
struct Up<'a> {
    stepped: &'a Stepped,
    process: &'a mut OrgProcess,
    number: OrgNumber,
}

/// A snapshot that takes its images one after the other.
pub(crate) struct Gathering {
    lsn: Lsn,
    pools: Vec<PoolImage>,
    registry: Option<Registry>,
    asked: usize,
}

#[derive(Clone, Copy)]
enum Waiting {
    Claim(usize, usize),
    Transfer(usize),
    Key(usize, KeyIs),
}

pub(crate) fn org_id(org: usize) -> OrgId {
    OrgId::new(&format!("org-{org}")).expect("valid")
}

fn camera_id(camera: usize) -> String {
    format!("cam-{camera}")
}

fn reservation_id(reservation: usize) -> ReservationId {
    ReservationId::new(&format!("held-{reservation}")).expect("valid")
}

fn license_id(org: usize, license: usize) -> LicenseId {
    LicenseId::new(&format!("unlimited-{org}-{license}")).expect("valid")
}

fn key_id(key: usize) -> ActorId {
    ActorId::new(&format!("key-{key}")).expect("valid")
}

/// The command that registers a camera, with its Cloud AI on or off.
pub(crate) fn register(camera: usize, cloud_ai: bool) -> Command {
    let (id, network) = (CameraId::new(&camera_id(camera)).expect("valid"), Name::new("net").expect("valid"));
    Command::RegisterCamera(CameraSpec { id, network, cloud_ai, pro_license: false })
}

/// The command that sets what an image costs, of every kind.
fn set_price(millitokens: u64) -> Command {
    let price = |kind| Price { kind, unit: Unit::Image, millitokens };
    let prices = UsageKind::ALL.into_iter().map(price).collect();
    Command::SetRates { from: Timestamp::from_ms(PRICED_FROM_MS).ok(), prices, by: by() }
}

fn set_threshold(at: u64) -> Command {
    let id = AlertId::new("low").expect("valid");
    let low = Threshold { id, measure: Measure::TokensLeft, at, rearm: None, window_ms: None };
    Command::ChangeAlerts { change: AlertsChange::Thresholds(vec![low]), by: by() }
}

fn by() -> ActorId {
    ActorId::new("admin").expect("valid")
}

impl Node {
    /// Starts on a directory, made when there is none.
    pub(crate) fn start(
        disk: &SimDisk,
        partitions: u16,
        lock: DirectoryLock,
        now: Timestamp,
    ) -> Result<Self> {
        let home = |partition| tokenweir::storage::Home { partition, ..fixture::home(disk.clone()) };
        let (layout, directory) = (home(0).layout, home(0).directory);
        let mut manifest = Manifest::read(disk, &layout)?.unwrap_or(Manifest {
            partitions,
            directory,
            created_at_ms: now.ms(),
            stage: Stage::BeingMade,
        });
        if manifest.stage == Stage::BeingMade {
            manifest.write(disk, &layout)?;
        }
        let stores = (0..partitions).map(|partition| -> Arc<dyn Store> { Arc::new(home(partition)) });
        let node = Self::open(stores, manifest.stage, Some(lock))?;
        if manifest.stage == Stage::BeingMade {
            manifest.stage = Stage::Made;
            manifest.write(disk, &layout)?;
        }
        Ok(node)
    }

    /// Takes over partitions that are kept in replicated logs; nobody else has this epoch.
    pub(crate) fn take_over(logs: &[SimLog], epoch: u64) -> Result<Self> {
        let stage = if epoch == 1 { Stage::BeingMade } else { Stage::Made };
        let stores = (0..).zip(logs).map(|(partition, log)| -> Arc<dyn Store> {
            let owned = Owned { partition, directory: DirectoryId([0xD1; 16]) };
            Arc::new(ReplicatedStore::new(Arc::new(log.clone()), owned, epoch))
        });
        Self::open(stores, stage, None)
    }

    fn open(
        stores: impl Iterator<Item = Arc<dyn Store>>,
        stage: Stage,
        lock: Option<DirectoryLock>,
    ) -> Result<Self> {
        let (mut parts, mut registry) = (Vec::new(), Registry::default());
        for store in stores {
            let partition = store.partition();
            let (stepped, found) = Stepped::open(store, fixture::SMALL, stage)?;
            if partition == 0 {
                registry = found.state.registry;
            }
            let orgs = found.state.pools.into_iter().map(|pool| pool.map(OrgProcess::new)).collect();
            parts.push(Part { stepped, orgs, snapshot: None });
        }
        let (coordinator, post) = (Coordinator::new(registry), Post::default());
        let (effects, waiting, next_ticket) = (Vec::new(), BTreeMap::new(), 0);
        let retires = lock.is_none();
        Ok(Self { parts, post, coordinator, effects, waiting, next_ticket, retires, _lock: lock })
    }

    /// Takes up what a crash interrupted.
    pub(crate) fn recover(&mut self, now: Timestamp) {
        self.coordinator.recover(now, &mut self.effects);
        self.execute();
    }

    pub(crate) fn registry(&self) -> &Registry {
        self.coordinator.registry()
    }

    pub(crate) fn pools(&self) -> impl Iterator<Item = &Pool> + Clone {
        self.parts.iter().flat_map(|part| part.orgs.iter().flatten().map(OrgProcess::pool))
    }

    pub(crate) fn create(&mut self, org: usize, now: Timestamp) {
        let (id, secret) = (org_id(org), (7, u64::try_from(org).expect("few")));
        let name = Name::new(id.as_str()).expect("an id is a name");
        let created = OrganizationCreated { organization: id, name, secret, retention_ms: RETENTION_MS };
        let event = Event { at: now, change: Change::OrganizationCreated(created.clone()) };
        let mut pool = Pool::new(created, now);
        pool.apply(&event);
        let partition = self.partition_of(&org_id(org));
        let part = &mut self.parts[partition];
        let mut process = OrgProcess::new(pool);
        part.stepped.org_event(&mut process, number(part.orgs.len()), &event);
        part.orgs.push(Some(process));
    }

    pub(crate) fn command(&mut self, org: usize, command: Command, now: Timestamp) {
        self.up(&org_id(org), now).expect("created").command(command, now).expect("within bounds");
    }

    /// All that is held, as a snapshot would hold it; none while an organization is being rebuilt.
    pub(crate) fn bytes(&mut self) -> Option<Vec<Vec<u8>>> {
        let mut registry = Some(self.coordinator.registry().clone());
        let images = self.parts.iter_mut().map(|part| {
            let orgs = (0..).map(OrgNumber).zip(&mut part.orgs);
            let pools = orgs.map(|(number, org)| Some(PoolImage::take(org.as_mut()?.pool_mut(), number)));
            let image = PartitionImage { registry: registry.take(), pools: pools.collect::<Option<_>>()? };
            Some(snapshot_codec::encode(&image))
        });
        images.collect()
    }

    /// Takes what arrives.
    pub(crate) fn deliver(&mut self, envelope: Envelope, now: Timestamp) {
        match envelope {
            Envelope::Request(request) => self.request(request, now),
            Envelope::ToOrg(org, message) => self.message(&org, message, now),
            Envelope::ToCoordinator(message) => {
                self.coordinator.answer(message, now, &mut self.effects);
                self.execute();
            }
        }
    }

    /// The coordinator asks again for what is not answered, and answers those who waited long enough.
    pub(crate) fn tick(&mut self, now: Timestamp) {
        let patience_ended = now.minus_ms(PATIENCE_MS);
        let tired = self.waiting.iter().filter(|(_, (_, since))| *since < patience_ended);
        for ticket in tired.map(|(ticket, _)| *ticket).collect::<Vec<_>>() {
            self.coordinator.give_up(ticket, &mut self.effects);
        }
        self.coordinator.tick(&mut self.effects);
        self.execute();
    }

    /// One step of a snapshot: it begins, takes an image, or is written; whether it was.
    pub(crate) fn snapshot(&mut self, partition: usize) -> Result<bool> {
        let (post, part) = (self.post.clone(), &mut self.parts[partition]);
        let lsn = part.stepped.last_lsn();
        let Some(gathering) = &mut part.snapshot else {
            let (pools, registry) = (Vec::new(), None);
            part.snapshot = Some(Gathering { lsn, pools, registry, asked: 0 });
            return Ok(false);
        };
        let asked = gathering.asked;
        if gathering.pools.len() + usize::from(gathering.registry.is_some()) < asked {
            return Ok(false);
        }
        let all = part.orgs.len() + usize::from(partition == 0);
        gathering.asked = all.min(asked + 1);
        if asked < part.orgs.len() {
            let Some(process) = &mut part.orgs[asked] else {
                part.snapshot = None;
                return Ok(false);
            };
            let number = OrgNumber(u32::try_from(asked).expect("few"));
            let image = Box::new(PoolImage::take(process.pool_mut(), number));
            part.stepped.release(move |durable| {
                if durable {
                    post.push(Left::Image { partition, image });
                }
            });
        } else if asked < all {
            let registry = Box::new(self.coordinator.registry().clone());
            part.stepped.release(move |durable| {
                if durable {
                    post.push(Left::Registry(registry));
                }
            });
        } else if let Some(Gathering { lsn, pools, registry, .. }) = part.snapshot.take() {
            part.stepped.snapshot(lsn, PartitionImage { registry, pools })?;
            if self.retires {
                part.stepped.retire(lsn)?;
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// The actor of an organization panics: it is rebuilt when what is staged is durable.
    pub(crate) fn panic(&mut self, partition: usize, org: usize) {
        let (post, part) = (self.post.clone(), &mut self.parts[partition]);
        let target = part.stepped.last_lsn();
        if part.orgs[org].take().is_some() {
            part.stepped.release(move |durable| {
                if durable {
                    post.push(Left::Rebuild { partition, org, target });
                }
            });
        }
    }

    /// Takes what became due in this node.
    pub(crate) fn due(&mut self, left: Left) -> std::result::Result<(), String> {
        match left {
            Left::Image { partition, image } => {
                if let Some(gathering) = &mut self.parts[partition].snapshot {
                    gathering.pools.push(*image);
                }
            }
            Left::Registry(registry) => {
                if let Some(gathering) = &mut self.parts[0].snapshot {
                    gathering.registry = Some(*registry);
                }
            }
            Left::Rebuild { partition, org, target } => {
                let part = &mut self.parts[partition];
                let number = OrgNumber(u32::try_from(org).expect("few"));
                part.orgs[org] = Some(OrgProcess::new(part.stepped.rebuild(number, target)?));
            }
            Left::Reply(_) | Left::Envelope(_) => unreachable!("these leave the node"),
        }
        Ok(())
    }

    fn request(&mut self, request: Request, now: Timestamp) {
        match request {
            Request::Debits { org, items, applied } => self.debits(org, items, applied, now),
            Request::Read { org } => self.read(org, now),
            Request::Reserve(Order { org, reservation, tokens, ttl_ms }) => {
                let (id, tokens) = (reservation_id(reservation), Tokens(tokens));
                let command = Command::Reserve { reservation: id, tokens, ttl_ms, by: by() };
                self.reserve(org, reservation, command, now);
            }
            Request::Release { org, reservation } => {
                let command = Command::ReleaseReservation { reservation: reservation_id(reservation) };
                self.reserve(org, reservation, command, now);
            }
            Request::Set(setting) => self.set(setting, now),
            Request::AskKey { key } => {
                let is = self.registry().api_keys.get(&key_id(key)).map_or(KeyIs::Unknown, |known| {
                    if known.revoked_at.is_some() { KeyIs::Revoked } else { KeyIs::Valid }
                });
                self.parts[0].stepped.release(answer(self.post.clone(), Reply::Key { key, is }));
            }
            Request::Claim { key, org, tokens } => {
                let id = KeyId::new(&format!("key-{key}")).expect("valid");
                let key_of = LicenseKey { id, grants: vec![Tokens(tokens), Tokens(1)] };
                let ticket = self.ticket(Waiting::Claim(key, org), now);
                self.coordinator.claim((key_of, org_id(org), by()), ticket, now, &mut self.effects);
                self.execute();
            }
            Request::Transfer { id, source, target } => {
                let name = TransferId::new(&format!("move-{id}")).expect("valid");
                let (source, target) = (org_id(source), org_id(target));
                let order = TransferOrder { id: name, source, target, by: by() };
                let ticket = self.ticket(Waiting::Transfer(id), now);
                self.coordinator.transfer(order, Until::Ended, ticket, now, &mut self.effects);
                self.execute();
            }
        }
    }

    fn set(&mut self, setting: Setting, now: Timestamp) {
        let (org, command) = match setting {
            Setting::Camera { org, camera, to: CameraIs::Removed } => {
                (org, Command::RemoveCamera { camera: CameraId::new(&camera_id(camera)).expect("valid") })
            }
            Setting::Camera { org, camera, to } => (org, register(camera, to == CameraIs::On)),
            Setting::Unlimited { org, license, to: None } => {
                (org, Command::UnbindUnlimited { license: license_id(org, license) })
            }
            Setting::Unlimited { org, license, to: Some(Terms { camera, from_ms, until_ms }) } => {
                let camera = CameraId::new(&camera_id(camera)).expect("valid");
                let at = |ms| Timestamp::from_ms(ms).expect("in range");
                let (id, kind) = (license_id(org, license), UsageKind::ContextualVideoAnalytics);
                let license = UnlimitedLicense { id, kind, from: at(from_ms), until: at(until_ms) };
                (org, Command::BindUnlimited { camera, license })
            }
            Setting::Price { org, to } => (org, set_price(to)),
            Setting::Threshold { org, to } => (org, set_threshold(to)),
            Setting::Key { key, to } => return self.set_key(key, to, now),
        };
        let post = self.post.clone();
        let Some(mut up) = self.up(&org_id(org), now) else {
            return post.push(Left::Reply(Reply::Unavailable));
        };
        let answer = up.command(command, now);
        let reply = Reply::Set { setting, answer, lsn: Some(up.stepped.last_lsn()) };
        up.stepped.release(self::answer(post, reply));
    }

    fn set_key(&mut self, key: usize, to: KeyIs, now: Timestamp) {
        let ticket = self.ticket(Waiting::Key(key, to), now);
        if to == KeyIs::Valid {
            let label = Name::new("a gateway").expect("valid");
            let (id, hash, organizations) = (key_id(key), [7; 32], vec![org_id(0)]);
            let order = ApiKeyOrder { id, hash, label, role: Role::Gateway, organizations, by: by() };
            self.coordinator.create_api_key(order, ticket, now, &mut self.effects);
        } else {
            self.coordinator.revoke_api_key(key_id(key), ticket, now, &mut self.effects);
        }
        self.execute();
    }

    fn ticket(&mut self, waiting: Waiting, now: Timestamp) -> Ticket {
        self.next_ticket += 1;
        self.waiting.insert(self.next_ticket, (waiting, now));
        self.next_ticket
    }

    fn debits(&mut self, org: usize, items: Vec<Item>, applied: bool, now: Timestamp) {
        let post = self.post.clone();
        let Some(Up { stepped, process, number }) = self.up(&org_id(org), now) else {
            return post.push(Left::Reply(Reply::Unavailable));
        };
        let mut batch = DebitBatch::default();
        batch.pay_by(items.first().and_then(|item| item.paid_by).map(reservation_id));
        for item in &items {
            push(&mut batch, item);
        }
        let lsn = stepped.charges(number, &process.debits(&mut batch, now));
        if let Some(lsn) = lsn {
            process.pool_mut().lsn = lsn;
        }
        let (outcomes, lsn) = (batch.outcomes().to_vec(), stepped.last_lsn());
        let reply = Reply::Debits { org, items, outcomes, lsn, durable: !applied };
        let leave = answer(post, reply);
        if applied { stepped.release_at_once(leave) } else { stepped.release(leave) }
    }

    fn read(&mut self, org: usize, now: Timestamp) {
        let post = self.post.clone();
        let Some(Up { stepped, process, .. }) = self.up(&org_id(org), now) else {
            return post.push(Left::Reply(Reply::Unavailable));
        };
        let pool = process.pool();
        let summary = Box::new(pool.summary(process.now(now)));
        let price = pool.rates.newest().map(|card| card.prices[0].millitokens);
        let threshold = pool.alerts.as_ref().map(|alerts| alerts.thresholds[0].at);
        let reply = Reply::Read { org, summary, price, threshold, lsn: stepped.last_lsn() };
        stepped.release(answer(post, reply));
    }

    /// Carries out a command about a reservation, and answers with where that stands.
    fn reserve(&mut self, org: usize, reservation: usize, command: Command, now: Timestamp) {
        let post = self.post.clone();
        let Some(mut up) = self.up(&org_id(org), now) else {
            return post.push(Left::Reply(Reply::Unavailable));
        };
        let answer = up.command(command, now).map(|()| {
            let known = up.process.pool().reservations.get(&reservation_id(reservation));
            known.expect("it was just judged").clone()
        });
        let reply = Reply::Reservation { org, reservation, answer, lsn: up.stepped.last_lsn() };
        up.stepped.release(self::answer(post, reply));
    }

    fn message(&mut self, org: &OrgId, message: ToOrg, now: Timestamp) {
        let post = self.post.clone();
        if self.find(org).is_none() {
            let answer = from_nobody(message, org.clone());
            return answer
                .into_iter()
                .for_each(|answer| post.push(Left::Envelope(Envelope::ToCoordinator(answer))));
        }
        let Some(Up { stepped, process, number }) = self.up(org, now) else { return };
        let Some((event, answer)) = process.message(message, now) else { return };
        if let Some(event) = event {
            stepped.org_event(process, number, &event);
        }
        let envelope = Left::Envelope(Envelope::ToCoordinator(answer));
        stepped.release(move |durable| {
            if durable {
                post.push(envelope);
            }
        });
    }

    fn execute(&mut self) {
        for effect in std::mem::take(&mut self.effects) {
            let (post, stepped) = (self.post.clone(), &self.parts[0].stepped);
            match effect {
                Effect::Append(event) => stepped.registry_event(&mut self.coordinator, &event),
                Effect::Send(org, message) => {
                    let envelope = Left::Envelope(Envelope::ToOrg(org, message));
                    stepped.release(move |durable| {
                        if durable {
                            post.push(envelope);
                        }
                    });
                }
                Effect::Answer(ticket, told) => {
                    if let Some((waiting, _)) = self.waiting.remove(&ticket) {
                        stepped.release(answer(post, waiting.reply(told)));
                    }
                }
            }
        }
    }

    /// An organization to ask something; none while it is being rebuilt, or when there is no such organization.
    fn up(&mut self, org: &OrgId, now: Timestamp) -> Option<Up<'_>> {
        let (partition, at) = self.find(org)?;
        let Part { stepped, orgs, .. } = &mut self.parts[partition];
        let (process, number) = (orgs[at].as_mut()?, number(at));
        if let Some(event) = process.expire(now) {
            stepped.org_event(process, number, &event);
        }
        Some(Up { stepped, process, number })
    }

    fn partition_of(&self, org: &OrgId) -> usize {
        usize::from(hash::partition(org, u16::try_from(self.parts.len()).expect("few")))
    }

    fn find(&self, org: &OrgId) -> Option<(usize, usize)> {
        let partition = self.partition_of(org);
        let (count, mut at) = (org.as_str().strip_prefix("org-")?.parse::<usize>().ok()?, 0);
        for earlier in 0..count {
            at += usize::from(self.partition_of(&org_id(earlier)) == partition);
        }
        (at < self.parts[partition].orgs.len()).then_some((partition, at))
    }
}

impl Up<'_> {
    fn command(&mut self, command: Command, now: Timestamp) -> std::result::Result<(), Refusal> {
        if let Some(event) = self.process.command(command, now)? {
            self.stepped.org_event(self.process, self.number, &event);
        }
        Ok(())
    }
}

impl Waiting {
    fn reply(self, answer: Answer) -> Reply {
        match self {
            Self::Claim(key, org) => Reply::Claim { key, org, answer },
            Self::Transfer(id) => Reply::Transfer { id, answer },
            Self::Key(key, to) => {
                let answer = if let Answer::Refused(refusal) = answer { Err(refusal) } else { Ok(()) };
                Reply::Set { setting: Setting::Key { key, to }, answer, lsn: None }
            }
        }
    }
}

/// Whether a start was refused because somebody else writes there.
pub(crate) fn is_locked(fault: &Fault) -> bool {
    matches!(fault, Fault::Locked { .. })
}

fn answer(post: Post, reply: Reply) -> impl FnOnce(bool) + Send + 'static {
    move |durable| post.push(Left::Reply(if durable { reply } else { Reply::Unavailable }))
}

fn number(org: usize) -> OrgNumber {
    OrgNumber(u32::try_from(org).expect("few"))
}

fn push(batch: &mut DebitBatch, item: &Item) {
    let (camera, event_id) = (camera_id(item.camera), format!("event-{}", item.number));
    let identity = if item.by_event_id {
        Identity::EventId(event_id.as_bytes())
    } else {
        Identity::Seq { epoch: 1, seq: item.number }
    };
    let time = Some(Timestamp::from_ms(item.time_ms).expect("in range"));
    let (camera, Item { kind, tokens, .. }) = (CameraRef::Id(&camera), *item);
    if item.is_priced {
        batch.push_measured(Measured { camera, identity, unit: Unit::Image, count: tokens, kind, time });
    } else {
        batch.push(Debit { camera, identity, tokens, kind, time });
    }
}
