//! The actor of a partition: creates its organizations, gathers its snapshots, closes it in order.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::{
    Actor, ActorFutureExt as _, Addr, AsyncContext as _, Context, Handler, Message, WrapFuture as _,
};
use crossbeam::channel::Sender;
use tokio::sync::oneshot;

use crate::domain::event::{Change, Event, OrganizationCreated};
use crate::domain::ids::{Lsn, OrgNumber};
use crate::domain::limits::PARTITION_ORGANIZATIONS_MAX;
use crate::domain::pool::Pool;
use crate::domain::refusal::{Limit, Refusal};
use crate::domain::registry::Registry;
use crate::domain::time::Timestamp;
use crate::storage::snapshot_codec::PartitionImage;
use crate::storage::{DirectoryLock, Hold, event_codec};

use super::coordinator::{self, CoordinatorActor};
use super::directory::{EndsInOrder, Made, Org, Partition};
use super::messages::{Release, ReplyTo, Request};
use super::org::{Local, OrgActor};
use super::snapshotter::Job;

/// How often it is looked whether the directory is in its place, and whether a snapshot is due.
const LOOK: Duration = Duration::from_millis(200);

/// When snapshots are taken, and what is admitted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// Journal growth after which a snapshot is due, in bytes; never less than the last snapshot's size.
    pub(crate) snapshot_bytes: u64,
    /// Time after which a snapshot is due when anything was journaled, in milliseconds.
    pub(crate) snapshot_period_ms: u64,
    /// Journal to keep for restoring to a point in time, in bytes of each partition's segments.
    pub(crate) journal_keep_bytes: u64,
    /// Debits that one organization may have in flight.
    pub(crate) in_flight_max: u64,
}

/// Create an organization.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Create {
    pub(crate) created: OrganizationCreated,
    /// Whether the retention was asked for, or is that of new organizations now.
    pub(crate) is_retention_asked: bool,
    pub(crate) reply: ReplyTo<Result<Timestamp, Refusal>>,
}

/// Carry out everything that is queued; the reply comes when it is durable.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Settle(pub(crate) oneshot::Sender<()>);

/// Let an answer go that rests on no frame, when the log has confirmed that this is the partition's owner.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Confirm(pub(crate) Release);

/// Take a snapshot now, unless one is under way; what it holds tells whether it was written.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct TakeSnapshot(pub(crate) Written);

/// Is told whether a snapshot was written.
pub(crate) type Written = Box<dyn FnOnce(bool) + Send>;

#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
struct SnapshotDone {
    written: bool,
}

/// The actor.
pub(crate) struct PartitionActor {
    pub(crate) partition: Arc<Partition>,
    pub(crate) local: Rc<Local>,
    pub(crate) orgs: Vec<Arc<Org>>,
    pub(crate) policy: Policy,
    pub(crate) snapshots: Sender<Job>,
    pub(crate) hold: Option<Arc<Hold>>,
    pub(crate) lock: Option<Arc<DirectoryLock>>,
    pub(crate) underway: bool,
    pub(crate) last_snapshot_at: Timestamp,
    pub(crate) waiting: Vec<Written>,
    #[expect(dead_code, reason = "kept for its end")]
    pub(crate) guard: EndsInOrder,
    /// In partition 0.
    pub(crate) coordinator: Option<Addr<CoordinatorActor>>,
}

impl Actor for PartitionActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(LOOK, |actor, ctx| {
            if actor.lock.as_ref().is_some_and(|lock| !lock.is_in_place()) {
                actor
                    .partition
                    .staging
                    .fail("the data directory was moved, replaced or deleted while it was in use");
            } else if actor.snapshot_is_due() {
                actor.take_snapshot(ctx);
            }
        });
    }
}

impl Handler<Create> for PartitionActor {
    type Result = ();

    fn handle(&mut self, Create { created, is_retention_asked, reply }: Create, _: &mut Self::Context) {
        let before =
            self.local.directory.organizations.get(&created.organization).map(|org| org.made.clone());
        let answer = match before {
            Some(made) => created_before(&made, &created, is_retention_asked),
            None => self.create(created),
        };
        self.partition.staging.lock().release(Release::answer(reply, answer));
    }
}

impl Handler<Confirm> for PartitionActor {
    type Result = ();

    fn handle(&mut self, Confirm(release): Confirm, _: &mut Self::Context) {
        self.partition.staging.lock().release(release);
    }
}

impl Handler<TakeSnapshot> for PartitionActor {
    type Result = ();

    fn handle(&mut self, TakeSnapshot(told): TakeSnapshot, ctx: &mut Self::Context) {
        self.waiting.push(told);
        if !self.underway {
            self.take_snapshot(ctx);
        }
    }
}

impl Handler<SnapshotDone> for PartitionActor {
    type Result = ();

    fn handle(&mut self, SnapshotDone { written }: SnapshotDone, _: &mut Self::Context) {
        self.underway = false;
        self.partition.snapshot_is_awaited.store(false, Ordering::Relaxed);
        self.waiting.drain(..).for_each(|told| told(written));
    }
}

impl Handler<Settle> for PartitionActor {
    type Result = ();

    fn handle(&mut self, Settle(reply): Settle, ctx: &mut Self::Context) {
        let barrier = |org: &Arc<Org>| {
            let (done, wait) = oneshot::channel();
            org.queue(Request::Barrier(done));
            wait
        };
        let barriers: Vec<_> = self.orgs.iter().map(barrier).collect();
        let settled = async move {
            for wait in barriers {
                drop(wait.await);
            }
            _ = reply.send(());
        };
        ctx.spawn(settled.into_actor(self));
    }
}

impl PartitionActor {
    /// Starts the actor of a pool that is there already.
    pub(crate) fn adopt(&mut self, number: OrgNumber, pool: Pool) {
        let (id, most) = (pool.id.clone(), self.policy.in_flight_max);
        let org = Arc::new(Org::new(&pool, number, Arc::clone(&self.partition), most));
        OrgActor::launch(&org, &self.local, pool);
        self.local.directory.organizations.insert(id, Arc::clone(&org));
        self.orgs.push(org);
    }

    fn create(&mut self, created: OrganizationCreated) -> Result<Timestamp, Refusal> {
        let number =
            u32::try_from(self.orgs.len()).ok().filter(|number| *number < PARTITION_ORGANIZATIONS_MAX);
        let number = OrgNumber(number.ok_or(Refusal::LimitReached(Limit::Organizations))?);
        let at = self.local.clock.now();
        let mut pool = Pool::new(created.clone(), at);
        let event = Event { at, change: Change::OrganizationCreated(created) };
        pool.apply(&event);
        let encode = |out: &mut Vec<u8>| event_codec::encode_org_event(out, number, &event);
        pool.lsn = self.partition.staging.lock().append(
            event_codec::ORG_EVENT,
            event_codec::ORG_EVENT_VERSION,
            encode,
        );
        self.adopt(number, pool);
        Ok(at)
    }

    fn snapshot_is_due(&self) -> bool {
        let grown = self.partition.bytes_since_snapshot.load(Ordering::Relaxed);
        let enough = self.policy.snapshot_bytes.max(self.partition.snapshot_bytes.load(Ordering::Relaxed));
        let next = self.last_snapshot_at.plus_ms(self.policy.snapshot_period_ms);
        !self.underway && (grown >= enough || (grown > 0 && self.local.clock.now() >= next))
    }

    /// Takes the image of every pool, one after the other, while debits go on. Each image leaves its actor when what it
    /// holds is durable, so a snapshot never holds what a crash could take back.
    fn take_snapshot(&mut self, ctx: &mut Context<Self>) {
        self.underway = true;
        self.last_snapshot_at = self.local.clock.now();
        self.partition.bytes_since_snapshot.store(0, Ordering::Relaxed);
        let (lsn, orgs) = (self.partition.staging.lock().last_lsn(), self.orgs.clone());
        let gathered = gather(orgs, self.coordinator.clone()).into_actor(self);
        ctx.spawn(gathered.map(move |image, actor, ctx| actor.hand_over(lsn, image, ctx.address())));
    }

    fn hand_over(&mut self, lsn: Lsn, image: Option<PartitionImage>, me: Addr<Self>) {
        let Some(image) = image else { return me.do_send(SnapshotDone { written: false }) };
        let done = Box::new(move |written| me.do_send(SnapshotDone { written }));
        let (store, partition) = (Arc::clone(&self.local.store), Arc::clone(&self.partition));
        let (journal_keep_bytes, hold) = (self.policy.journal_keep_bytes, self.hold.clone());
        let job = Job { store, partition, lsn, image, journal_keep_bytes, hold, done };
        if let Err(unsent) = self.snapshots.send(job) {
            (unsent.into_inner().done)(false);
        }
    }
}

/// The same creation again is answered as the first time, whoever lost that answer.
///
/// # Errors
/// When another organization is asked for than there is under this id.
fn created_before(
    made: &Made,
    asked: &OrganizationCreated,
    is_retention_asked: bool,
) -> Result<Timestamp, Refusal> {
    let same_retention = !is_retention_asked || made.retention_ms == asked.retention_ms;
    if made.name == asked.name && same_retention { Ok(made.at) } else { Err(Refusal::OrganizationExists) }
}

/// The images of a partition; none when one could not be had, because an organization is being rebuilt or the
/// partition failed.
async fn gather(orgs: Vec<Arc<Org>>, coordinator: Option<Addr<CoordinatorActor>>) -> Option<PartitionImage> {
    let mut pools = Vec::with_capacity(orgs.len());
    for org in orgs {
        let (reply, image) = oneshot::channel();
        org.queue(Request::Image(reply));
        pools.push(image.await.ok()?.ok()?);
    }
    let registry = match coordinator {
        Some(coordinator) => Some(registry(&coordinator).await?),
        None => None,
    };
    Some(PartitionImage { registry, pools })
}

async fn registry(coordinator: &Addr<CoordinatorActor>) -> Option<Registry> {
    let (reply, image) = oneshot::channel();
    coordinator.do_send(coordinator::Image(reply));
    image.await.ok()?.ok()
}
