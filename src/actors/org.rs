//! The actor of one organization: takes what is queued, lets the process judge it, stages frames and replies.
//!
//! It looks at the queue for requests of at most [`LOOK_WEIGHT_MAX`] at a time and then lets the other organizations of the
//! partition have their turn. After a look that changed nothing though more is queued, as when a flood is refused, it
//! pauses: the processor goes to those who are charged. A panic is caught here: the process is thrown away and rebuilt from
//! storage by the [`supervisor`](super::supervisor); what was judged but not staged is gone with it, and its callers are told.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::{Actor, Addr, AsyncContext as _, Context, Handler, Message};
use tokio::sync::Notify;

use crate::domain::batch::DebitBatch;
use crate::domain::command::Command;
use crate::domain::ids::Lsn;
use crate::domain::pool::Pool;
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;
use crate::protocol::message::ToOrg;
use crate::protocol::org::OrgProcess;
use crate::storage::Store;
use crate::storage::snapshot_codec::PoolImage;
use crate::telemetry::clock::{self, Clock};
use crate::telemetry::metric::DebitCounters;

use super::committer::{self, Writer};
use super::directory::{self, Directory, Org, Partition, Permit};
use super::group::{Group, Staged};
use super::messages::{
    BatchReply, DebitReply, Durability, Release, ReplyTo, Request, SingleReplies, Unavailable,
};
use super::supervisor::{self, Rebuilt};

/// What the requests of one look at the queue weigh at most, in debits: some hundred microseconds of work.
const LOOK_WEIGHT_MAX: u64 = 8_192;

/// How long an organization pauses whose requests change nothing; timers count whole milliseconds.
const PAUSE: Duration = Duration::from_millis(1);

/// At least how often an organization with open reservations looks whether one expired: the clock may be set meanwhile.
const SWEEP: Duration = Duration::from_secs(1);

/// How long an arbiter stays awake after a lone request.
const AWAKE: Duration = Duration::from_micros(100);

/// What the actors of one arbiter share.
pub(crate) struct Local {
    pub(crate) clock: Clock,
    pub(crate) counters: DebitCounters,
    pub(crate) directory: Arc<Directory>,
    pub(crate) store: Arc<dyn Store>,
    /// None when the partition is damaged.
    pub(crate) writer: Option<Arc<Mutex<Writer>>>,
    /// The group that the arbiter gathers in next.
    pub(crate) spare: Cell<Group>,
    /// Told when a lone request was answered: the next one often follows at once.
    pub(crate) answered: Notify,
}

/// There is work in the queue.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Drain;

/// A reservation may have expired.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
struct Sweep;

/// The actor.
pub(crate) struct OrgActor {
    org: Arc<Org>,
    local: Rc<Local>,
    /// None while the organization is being rebuilt.
    process: Option<OrgProcess>,
    /// How often it was rebuilt: only the newest rebuilding counts.
    rebuilds: u64,
    singles: DebitBatch,
    single_replies: Vec<Single>,
    /// Whether it will be told to look for expired reservations.
    sweeps: bool,
}

struct Single {
    reply: ReplyTo<DebitReply>,
    durability: Durability,
}

impl Actor for OrgActor {
    type Context = Context<Self>;
}

impl Handler<Drain> for OrgActor {
    type Result = ();

    fn handle(&mut self, _: Drain, ctx: &mut Context<Self>) {
        let before = self.lsn();
        if catch_unwind(AssertUnwindSafe(|| self.drain())).is_err() {
            self.discard();
            supervisor::rebuild(&self.org, &self.local.store, self.rebuilds, ctx.address());
        }
        self.sweep_later(ctx);
        let rests = self.org.rests();
        let pauses = !rests && self.lsn() == before;
        if pauses {
            self.pause(ctx);
        } else if !rests {
            look_again(ctx.address());
        }
        self.local.hand_over(&self.org.partition, rests || pauses);
    }
}

impl Handler<Rebuilt> for OrgActor {
    type Result = ();

    fn handle(&mut self, Rebuilt { rebuild, pool }: Rebuilt, _: &mut Context<Self>) {
        if rebuild != self.rebuilds {
            return;
        }
        tracing::info!(organization = %self.org.id, "rebuilt the organization from storage; it serves again");
        self.process = Some(OrgProcess::new(*pool));
        self.org.wake();
    }
}

impl Handler<Sweep> for OrgActor {
    type Result = ();

    fn handle(&mut self, _: Sweep, _: &mut Context<Self>) {
        self.sweeps = false;
        self.org.wake();
    }
}

impl Local {
    /// Keeps the arbiter from parking for a moment after what was alone, because waking it for the next request would take
    /// longer than that. Its actors go on meanwhile, and so does whoever else wants the processor.
    pub(crate) async fn stay_awake(self: Rc<Self>) {
        loop {
            self.answered.notified().await;
            let begun = clock::start();
            while begun.elapsed() < AWAKE {
                std::thread::yield_now();
                tokio::task::yield_now().await;
            }
        }
    }

    /// Hands what is staged to the committer, or writes it at once when it is alone. The organization that looked `rests`, or will
    /// look again.
    fn hand_over(&self, partition: &Partition, rests: bool) {
        let Some(writer) = &self.writer else { return };
        let staging = &partition.staging;
        self.spare.set(match staging.hand_over(partition.others_rest(rests), self.spare.take()) {
            Err(spare) => spare,
            Ok(mut group) => {
                committer::lock(writer).write(&mut group);
                staging.written();
                self.answered.notify_one();
                group
            }
        });
    }
}

impl OrgActor {
    /// Starts the actor of `pool` on the current arbiter.
    pub(crate) fn launch(org: &Arc<Org>, local: &Rc<Local>, pool: Pool) {
        let actor = Self {
            org: Arc::clone(org),
            local: Rc::clone(local),
            process: Some(OrgProcess::new(pool)),
            rebuilds: 0,
            singles: DebitBatch::default(),
            single_replies: Vec::new(),
            sweeps: false,
        };
        org.set_actor(actor.start());
        org.wake();
    }

    /// The last frame that changed the pool; none while it is being rebuilt.
    fn lsn(&self) -> Option<Lsn> {
        self.process.as_ref().map(|process| process.pool().lsn)
    }

    /// Looks again in a moment.
    fn pause(&self, ctx: &mut Context<Self>) {
        self.org.pause();
        ctx.run_later(PAUSE, |actor, ctx| {
            actor.org.resume();
            ctx.notify(Drain);
        });
    }

    fn drain(&mut self) {
        self.catch_up();
        let mut budget = LOOK_WEIGHT_MAX;
        while budget > 0
            && let Some(request) = self.org.ingress.pop()
        {
            let debits = if let Request::Batch { batch, .. } = &request { batch.len() } else { 1 };
            budget = budget.saturating_sub(directory::weight(debits));
            if let Request::Single { debit, durability, reply } = request {
                self.single_replies.push(Single { reply, durability });
                self.singles.push(debit.as_debit());
            } else {
                self.judge_singles();
                let now = self.catch_up();
                self.serve(request, now);
            }
        }
        self.judge_singles();
    }

    /// The time at which the next request is served; what expired by then has ended. It is read for each request, because one
    /// that comes while others are served may have been sent after they were.
    fn catch_up(&mut self) -> Timestamp {
        let now = self.local.clock.now();
        if let Some(process) = &mut self.process
            && let Some(event) = process.expire(now)
        {
            self.org.partition.staging.lock().org_event(process, self.org.number, &event);
        }
        now
    }

    /// Comes back when the next reservation expires, or earlier.
    fn sweep_later(&mut self, ctx: &mut Context<Self>) {
        let next = self.process.as_ref().and_then(|process| process.pool().reservations.next_expiry());
        if let (Some(next), false) = (next, self.sweeps) {
            let left = next.ms().saturating_sub(self.local.clock.now().ms());
            ctx.notify_later(Sweep, Duration::from_millis(left).min(SWEEP));
            self.sweeps = true;
        }
    }

    fn serve(&mut self, request: Request, now: Timestamp) {
        match request {
            Request::Single { .. } => unreachable!("single debits are gathered"),
            Request::Batch { batch, durability, permit, reply } => {
                self.judge_batch(batch, durability, permit, reply, now);
            }
            Request::Command { command, permit, reply } => self.command(command, permit, reply, now),
            Request::Read { read, permit } => {
                let Some(process) = &self.process else { return };
                let release = read.read(process.pool(), process.now(now), permit);
                self.org.partition.staging.lock().release(release);
            }
            Request::Message(message) => self.message(message, now),
            Request::Image(reply) => {
                let Some(process) = &mut self.process else { return refuse(reply, Unavailable::Rebuilding) };
                let image = PoolImage::take(process.pool_mut(), self.org.number);
                self.org.partition.staging.lock().release(Release::answer(reply, image));
            }
            Request::Barrier(reply) => self.org.partition.staging.lock().release(Release::answer(reply, ())),
            #[cfg(feature = "testing")]
            Request::Panic => panic!("a test asked for it"),
        }
    }

    fn judge_singles(&mut self) {
        if self.single_replies.is_empty() {
            return;
        }
        let now = self.catch_up();
        let Some(process) = &mut self.process else { return self.discard_singles() };
        let (mut staged, lsn) = judge(process, &mut self.singles, &self.org, &self.local, now);
        let available = process.pool().available();
        let (mut durable, mut applied) =
            (SingleReplies::with_capacity(self.single_replies.len()), Vec::new());
        for (Single { reply, durability }, outcome) in
            self.single_replies.drain(..).zip(self.singles.outcomes())
        {
            let replies = if durability == Durability::Durable { &mut durable } else { &mut applied };
            replies.push((reply, *outcome));
        }
        for (replies, durability) in [(durable, Durability::Durable), (applied, Durability::Applied)] {
            if !replies.is_empty() {
                let permit = self.org.permit_of_singles(replies.len());
                let release = Release::Singles { replies, available, lsn, durability, permit };
                release_as(&mut staged, durability, release);
            }
        }
        drop(staged);
        self.singles.clear();
    }

    fn judge_batch(
        &mut self,
        mut batch: DebitBatch,
        durability: Durability,
        permit: Permit,
        reply: ReplyTo<BatchReply>,
        now: Timestamp,
    ) {
        let Some(process) = &mut self.process else { return refuse(reply, Unavailable::Rebuilding) };
        let (mut staged, lsn) = judge(process, &mut batch, &self.org, &self.local, now);
        let available = process.pool().available();
        let value = BatchReply { batch, available, lsn, durability };
        release_as(&mut staged, durability, Release::Batch { reply, value, permit });
    }

    fn command(
        &mut self,
        command: Command,
        permit: Permit,
        reply: ReplyTo<Result<Lsn, Refusal>>,
        now: Timestamp,
    ) {
        let Some(process) = &mut self.process else { return refuse(reply, Unavailable::Rebuilding) };
        let judged = process.command(command, now);
        let mut staged = self.org.partition.staging.lock();
        let answer = judged.map(|event| match event {
            None => staged.last_lsn(),
            Some(event) => staged.org_event(process, self.org.number, &event),
        });
        staged.release(Release::Call(Box::new(move |durable| {
            drop(permit);
            _ = reply.send(durable.map(|()| answer));
        })));
    }

    fn message(&mut self, message: ToOrg, now: Timestamp) {
        let Some(process) = &mut self.process else { return };
        let Some((event, answer)) = process.message(message, now) else { return };
        let mut staged = self.org.partition.staging.lock();
        if let Some(event) = event {
            staged.org_event(process, self.org.number, &event);
        }
        let directory = Arc::clone(&self.local.directory);
        staged.release(Release::Call(Box::new(move |durable| {
            if durable.is_ok() {
                directory.answer_coordinator(answer);
            }
        })));
    }

    /// Throws away what a panic may have left half done. Callers whose replies go with it are told to retry.
    fn discard(&mut self) {
        self.process = None;
        self.rebuilds += 1;
        self.local.counters.rebuilds.increment(1);
        self.discard_singles();
    }

    fn discard_singles(&mut self) {
        drop(self.org.permit_of_singles(self.single_replies.len()));
        for single in self.single_replies.drain(..) {
            refuse(single.reply, Unavailable::Rebuilding);
        }
        self.singles.clear();
    }
}

/// Judges a batch and stages what it charged; the lock is kept for its replies.
fn judge<'a>(
    process: &mut OrgProcess,
    batch: &mut DebitBatch,
    org: &'a Org,
    local: &Local,
    now: Timestamp,
) -> (Staged<'a>, Lsn) {
    let before = process.pool().totals;
    let charges = process.debits(batch, now);
    let mut staged = org.partition.staging.lock_for_now();
    let lsn = staged.charges(org.number, &charges);
    if let Some(lsn) = lsn {
        process.pool_mut().lsn = lsn;
    }
    let refused = local.counters.count(batch.outcomes(), (&before, &process.pool().totals));
    if refused > 0 {
        org.refused.fetch_add(refused, Ordering::Relaxed);
    }
    let lsn = lsn.unwrap_or_else(|| staged.last_lsn());
    (staged, lsn)
}

/// Has the actor look again when all others that have work had their turn: its mailbox would keep it on, and its thread would keep
/// the processor from who makes their requests.
fn look_again(actor: Addr<OrgActor>) {
    actix_rt::spawn(async move {
        std::thread::yield_now();
        tokio::task::yield_now().await;
        actor.do_send(Drain);
    });
}

fn release_as(staged: &mut Staged<'_>, durability: Durability, release: Release) {
    match durability {
        Durability::Durable => staged.release(release),
        Durability::Applied => staged.release_at_once(release),
    }
}

fn refuse<T>(reply: ReplyTo<T>, why: Unavailable) {
    _ = reply.send(Err(why));
}
