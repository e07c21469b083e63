//! Where everything is: which organizations there are, and the queue in front of each.
//!
//! Admission stands before the queue: an organization has at most so many debits in flight, those that wait for
//! their commit included. Mailboxes of actix are not bounded by their capacity, so they carry only the signal that
//! there is work.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock, RwLock};

use actix::{Addr, Handler, Message};
use crossbeam::queue::SegQueue;
use dashmap::DashMap;
use tokio::sync::oneshot;

use crate::domain::hash;
use crate::domain::ids::{ActorId, Name, OrgId, OrgNumber};
use crate::domain::pool::Pool;
use crate::domain::refusal::Refusal;
use crate::domain::registry::ApiKey;
use crate::domain::time::Timestamp;
use crate::telemetry::metric;

use super::coordinator::CoordinatorActor;
use super::group::Staging;
use super::messages::{Release, Request, Unavailable};
use super::org::{Drain, OrgActor};
use super::partition::PartitionActor;
use super::peers::Peers;

/// What all threads know of a partition while it is here. When it comes back it is another one.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) number: u16,
    pub(crate) staging: Staging,
    /// Why nothing more is admitted, once it is closing or leaving.
    closing: OnceLock<Unavailable>,
    actor: OnceLock<Addr<PartitionActor>>,
    /// Organizations whose actor is to look, or looks.
    told: AtomicU64,
    /// Journal bytes since the newest snapshot began.
    pub(crate) bytes_since_snapshot: AtomicU64,
    /// The newest snapshot's lsn.
    pub(crate) snapshot_lsn: AtomicU64,
    /// The newest snapshot's size in bytes.
    pub(crate) snapshot_bytes: AtomicU64,
    /// Somebody waits for a snapshot, to go on.
    pub(crate) snapshot_is_awaited: AtomicBool,
    /// Groups made durable.
    pub(crate) groups: AtomicU64,
    /// Bytes made durable.
    pub(crate) bytes: AtomicU64,
}

/// All organizations that are here, and the API keys; the way to those that are elsewhere is in [`super::link`].
#[derive(Debug)]
pub(crate) struct Directory {
    places: Vec<RwLock<Arc<Partition>>>,
    pub(crate) organizations: DashMap<OrgId, Arc<Org>>,
    /// Where partition 0 is, the truth; elsewhere a copy of it.
    pub(crate) api_keys: RwLock<BTreeMap<ActorId, ApiKey>>,
    pub(super) coordinator: RwLock<Option<Addr<CoordinatorActor>>>,
    pub(crate) peers: Option<Arc<dyn Peers>>,
}

/// What all threads know of an organization.
pub(crate) struct Org {
    pub(crate) id: OrgId,
    pub(crate) number: OrgNumber,
    pub(crate) made: Made,
    pub(crate) partition: Arc<Partition>,
    pub(crate) ingress: SegQueue<Request>,
    /// The actor was told that there is work, and did not find the queue empty since.
    scheduled: AtomicBool,
    abandoned: AtomicBool,
    in_flight: AtomicU64,
    in_flight_max: u64,
    /// Debits refused since the start, after they were admitted.
    pub(crate) refused: AtomicU64,
    actor: OnceLock<Addr<OrgActor>>,
}

/// How an organization was created. Nothing changes it.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) name: Name,
    pub(crate) retention_ms: u64,
    pub(crate) at: Timestamp,
}

/// Stops a partition whose actor ends before the meter closes: it panicked, and what it held is lost.
#[derive(Debug)]
pub(crate) struct EndsInOrder {
    pub(crate) partition: Arc<Partition>,
    pub(crate) who: &'static str,
}

/// A share of what an organization may have in flight; given back when it is dropped.
pub(crate) struct Permit {
    org: Arc<Org>,
    weight: u64,
}

/// What a request weighs at least among the debits in flight: one debit alone takes about as long as so many of a batch.
pub(crate) const REQUEST_WEIGHT: u64 = 8;

/// So few frames behind a snapshot are replayed in no time.
const FRAMES_REPLAYED_AT_ONCE: u64 = 100;
/// So many bytes of a snapshot take as long to write as a frame to replay.
const SNAPSHOT_BYTES_OF_A_FRAME: u64 = 4 << 10;

impl Partition {
    /// Whether a snapshot spares whoever takes the partition next more than it costs.
    pub(crate) fn is_worth_saving(&self) -> bool {
        let behind = self.staging.durable().0.saturating_sub(self.snapshot_lsn.load(Ordering::Acquire));
        let bytes = self.snapshot_bytes.load(Ordering::Acquire);
        behind >= FRAMES_REPLAYED_AT_ONCE.max(bytes / SNAPSHOT_BYTES_OF_A_FRAME)
    }

    pub(crate) fn new(number: u16, staging: Staging, snapshot_lsn: u64) -> Self {
        Self {
            number,
            staging,
            closing: OnceLock::new(),
            actor: OnceLock::new(),
            told: AtomicU64::new(0),
            bytes_since_snapshot: AtomicU64::new(0),
            snapshot_lsn: AtomicU64::new(snapshot_lsn),
            snapshot_bytes: AtomicU64::new(0),
            snapshot_is_awaited: AtomicBool::new(false),
            groups: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// What stands for a partition that is not here.
    fn elsewhere(number: u16) -> Self {
        Self::new(number, Staging::elsewhere(number, metric::poisoned(number)), 0)
    }

    /// Whether no organization has work but the one that looked and `rests`, or will look again.
    pub(crate) fn others_rest(&self, rests: bool) -> bool {
        self.told.load(Ordering::Acquire) <= u64::from(!rests)
    }

    /// Whether somebody waits for the snapshot that is under way.
    pub(crate) fn awaits_snapshot(&self) -> bool {
        self.snapshot_is_awaited.load(Ordering::Relaxed) || self.closing.get().is_some()
    }

    /// Admits nothing more.
    pub(crate) fn close(&self, why: &Unavailable) {
        drop(self.closing.set(why.clone()));
    }

    pub(crate) fn set_actor(&self, actor: Addr<PartitionActor>) {
        drop(self.actor.set(actor));
    }

    /// Tells its actor something. There is none while it is elsewhere: who waits for an answer is told by the end of its reply.
    pub(crate) fn tell<M>(&self, message: M)
    where
        M: Message<Result = ()> + Send + 'static,
        PartitionActor: Handler<M>,
    {
        if let Some(actor) = self.actor.get() {
            actor.do_send(message);
        }
    }

    /// Refuses what could not be served.
    ///
    /// # Errors
    /// When the partition stopped or is not here, or the meter is closing.
    pub(crate) fn check_open(&self) -> Result<(), Unavailable> {
        if let Some(why) = self.closing.get() {
            return Err(why.clone());
        }
        self.staging.failure().map_or(Ok(()), Err)
    }

    /// Why a reply never came: its sender went away without a word.
    pub(crate) fn lost(&self) -> Unavailable {
        self.check_open().err().unwrap_or(Unavailable::Rebuilding)
    }

    /// Makes sure that nobody else had become the owner when this was called; an answer that rests on no frame at all waits for it.
    ///
    /// # Errors
    /// When somebody had, or the partition stopped.
    pub(crate) async fn confirm(&self) -> Result<(), Unavailable> {
        if !self.staging.confirms() {
            return self.check_open();
        }
        let (reply, confirmed) = oneshot::channel();
        self.staging.lock().release(Release::answer(reply, ()));
        confirmed.await.unwrap_or_else(|_| Err(self.lost()))
    }
}

impl Directory {
    /// A directory of so many partitions, none of which is here yet.
    pub(crate) fn new(partitions: u16, peers: Option<Arc<dyn Peers>>) -> Self {
        let place = |number| RwLock::new(Arc::new(Partition::elsewhere(number)));
        Self {
            places: (0..partitions).map(place).collect(),
            organizations: DashMap::new(),
            api_keys: RwLock::default(),
            coordinator: RwLock::default(),
            peers,
        }
    }

    /// How many partitions there are, here and elsewhere.
    pub(crate) fn count(&self) -> u16 {
        u16::try_from(self.places.len()).unwrap_or(u16::MAX)
    }

    /// A partition, or what stands for it; none when there is none of that number.
    pub(crate) fn partition(&self, number: u16) -> Option<Arc<Partition>> {
        let place = self.places.get(usize::from(number))?;
        Some(Arc::clone(&place.read().expect("places never panic")))
    }

    /// The partitions that are here.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = Arc<Partition>> {
        (0..self.count())
            .filter_map(|number| self.partition(number))
            .filter(|here| here.actor.get().is_some())
    }

    /// The number of the partition that an organization belongs to.
    pub(crate) fn number_of(&self, id: &OrgId) -> u16 {
        hash::partition(id, self.count())
    }

    /// The partition that an organization belongs to.
    pub(crate) fn partition_of(&self, id: &OrgId) -> Arc<Partition> {
        self.partition(self.number_of(id)).expect("every organization belongs to a partition")
    }

    /// The organization of this id; none when there is none in its partition, as far as is known here: who answers so
    /// [confirms](Partition::confirm) it first.
    ///
    /// # Errors
    /// When its partition stopped or is not here, so that it cannot be told.
    pub(crate) fn look_up(&self, id: &OrgId) -> Result<Option<Arc<Org>>, Unavailable> {
        let find = || self.organizations.get(id).map(|org| Arc::clone(&org));
        if let Some(org) = find() {
            return Ok(Some(org));
        }
        // A partition that was here all the while that nobody was found has nobody of that name.
        let partition = self.partition_of(id);
        let found = find();
        match partition.check_open() {
            Err(unavailable) if found.is_none() => Err(unavailable),
            _ => Ok(found),
        }
    }

    /// A partition whose organizations are all here comes into its place.
    pub(super) fn enter(&self, partition: Arc<Partition>) {
        let place = &self.places[usize::from(partition.number)];
        *place.write().expect("places never panic") = partition;
    }

    /// The coordinator is here from now on, and with it the truth about the API keys.
    pub(super) fn lead(&self, coordinator: Addr<CoordinatorActor>, api_keys: BTreeMap<ActorId, ApiKey>) {
        *self.api_keys.write().expect("api keys never panic") = api_keys;
        *self.coordinator.write().expect("places never panic") = Some(coordinator);
    }

    /// A partition ended: nobody looks at the queues of its organizations any more. One that left goes with all its organizations.
    pub(super) fn depart(&self, number: u16, why: &Unavailable) {
        let is_of = |org: &Arc<Org>| org.partition.number == number;
        let all = self.organizations.iter().map(|entry| Arc::clone(&entry));
        let ended: Vec<_> = all.filter(is_of).collect();
        if matches!(why, Unavailable::Elsewhere { .. }) {
            self.enter(Arc::new(Partition::elsewhere(number)));
            if number == 0 {
                *self.coordinator.write().expect("places never panic") = None;
            }
            self.organizations.retain(|_, org| !is_of(org));
        }
        ended.iter().for_each(|org| org.abandon());
    }
}

impl Org {
    pub(crate) fn new(pool: &Pool, number: OrgNumber, partition: Arc<Partition>, in_flight_max: u64) -> Self {
        Self {
            id: pool.id.clone(),
            number,
            made: Made { name: pool.name.clone(), retention_ms: pool.retention_ms, at: pool.created_at },
            partition,
            ingress: SegQueue::new(),
            scheduled: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            in_flight: AtomicU64::new(0),
            in_flight_max,
            refused: AtomicU64::new(0),
            actor: OnceLock::new(),
        }
    }

    pub(crate) fn set_actor(&self, actor: Addr<OrgActor>) {
        drop(self.actor.set(actor));
    }

    /// Admits a request of so many debits.
    ///
    /// # Errors
    /// [`Refusal::Busy`] when as much is in flight as is admitted.
    pub(crate) fn admit(self: &Arc<Self>, debits: usize) -> Result<Permit, Refusal> {
        let weight = weight(debits);
        self.count(weight)?;
        Ok(Permit { org: Arc::clone(self), weight })
    }

    /// Admits a single debit; whether nothing else is in flight. It is given back by the [permit](Self::permit_of_singles)
    /// of all that it is judged with.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub(crate) fn admit_single(&self) -> Result<bool, Refusal> {
        Ok(self.count(REQUEST_WEIGHT)? == 0)
    }

    /// The permit of so many single debits that were admitted.
    pub(crate) fn permit_of_singles(self: &Arc<Self>, singles: usize) -> Permit {
        let weight = u64::try_from(singles).unwrap_or(u64::MAX).saturating_mul(REQUEST_WEIGHT);
        Permit { org: Arc::clone(self), weight }
    }

    /// Counts `weight` more in flight; what was in flight before.
    fn count(&self, weight: u64) -> Result<u64, Refusal> {
        let before = self.in_flight.fetch_add(weight, Ordering::AcqRel);
        if before > 0 && before + weight > self.in_flight_max {
            self.in_flight.fetch_sub(weight, Ordering::AcqRel);
            metric::refused_busy();
            return Err(Refusal::Busy);
        }
        Ok(before)
    }

    /// Queues a request of a caller.
    ///
    /// # Errors
    /// When the partition stopped or the meter is closing.
    pub(crate) fn submit(&self, request: Request) -> Result<(), Unavailable> {
        if let Err(unavailable) = self.partition.check_open() {
            self.discard(&request);
            return Err(unavailable);
        }
        self.queue(request);
        if self.abandoned.load(Ordering::Acquire) {
            self.abandon();
        }
        Ok(())
    }

    /// Queues a request of the engine's own.
    pub(crate) fn queue(&self, request: Request) {
        self.ingress.push(request);
        self.wake();
    }

    /// Nobody comes to look any more: whoever still waits is told by the end of its reply.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        while let Some(request) = self.ingress.pop() {
            self.discard(&request);
        }
    }

    /// Gives back the share of a request that is thrown away: a single debit has no permit of its own.
    fn discard(&self, request: &Request) {
        if matches!(request, Request::Single { .. }) {
            self.in_flight.fetch_sub(REQUEST_WEIGHT, Ordering::AcqRel);
        }
    }

    /// Makes sure that the actor comes to look. Mostly it was told already, which is seen without taking the flag from it.
    pub(crate) fn wake(&self) {
        fence(Ordering::SeqCst);
        if !self.scheduled.load(Ordering::Relaxed)
            && !self.scheduled.swap(true, Ordering::AcqRel)
            && let Some(actor) = self.actor.get()
        {
            self.partition.told.fetch_add(1, Ordering::AcqRel);
            actor.do_send(Drain);
        }
    }

    /// The actor looked. Whether it may rest: if not, it has to look again, once the others had their turn. The two fences see to
    /// it that a request is either seen here or wakes the actor.
    pub(crate) fn rests(&self) -> bool {
        if !self.ingress.is_empty() {
            return false;
        }
        self.scheduled.store(false, Ordering::Release);
        fence(Ordering::SeqCst);
        if !self.ingress.is_empty() && !self.scheduled.swap(true, Ordering::AcqRel) {
            return false;
        }
        self.partition.told.fetch_sub(1, Ordering::AcqRel);
        true
    }

    /// The actor puts its next look off though there is work: it counts as resting until it [resumes](Self::resume), and nobody tells
    /// it to look before.
    pub(crate) fn pause(&self) {
        self.partition.told.fetch_sub(1, Ordering::AcqRel);
    }

    /// Ends a [pause](Self::pause).
    pub(crate) fn resume(&self) {
        self.partition.told.fetch_add(1, Ordering::AcqRel);
    }
}

impl Drop for EndsInOrder {
    fn drop(&mut self) {
        if self.partition.closing.get().is_none() {
            self.partition.staging.fail(self.who);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.org.in_flight.fetch_sub(self.weight, Ordering::AcqRel);
    }
}

impl fmt::Debug for Org {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Org({})", self.id)
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit({})", self.weight)
    }
}

/// What a request of so many debits weighs.
pub(crate) fn weight(debits: usize) -> u64 {
    u64::try_from(debits).unwrap_or(u64::MAX).max(REQUEST_WEIGHT)
}
