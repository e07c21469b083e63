//! The actor of the coordinator, in partition 0.
//!
//! It executes the effects of the pure [`Coordinator`]: events are staged, and messages and answers leave when these are
//! durable.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext as _, Context, Handler, Message};

use crate::domain::ids::{ActorId, OrgId};
use crate::domain::license::LicenseKey;
use crate::domain::registry::{Registry, RegistryChange, RegistryEvent};
use crate::domain::time::Timestamp;
use crate::protocol::coordinator::{Answer, ApiKeyOrder, Coordinator, Effect, Ticket, TransferOrder, Until};
use crate::protocol::message::{ToCoordinator, ToOrg, from_nobody};
use crate::telemetry::clock::Clock;

use super::directory::{Directory, EndsInOrder, Partition};
use super::group::Staged;
use super::messages::{Release, ReplyTo, Request};

/// How often unanswered messages are sent again.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// How long a caller waits for an end that does not come, in milliseconds.
const WAIT_MS_MAX: u64 = 10_000;

/// An order of a caller.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Order {
    pub(crate) what: What,
    pub(crate) reply: ReplyTo<Answer>,
}

/// What is ordered.
#[derive(Debug)]
pub(crate) enum What {
    Claim(LicenseKey, OrgId, ActorId),
    Transfer(TransferOrder, Until),
    CreateApiKey(ApiKeyOrder),
    RevokeApiKey(ActorId),
}

/// An organization's answer.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct FromOrg(pub(crate) ToCoordinator);

/// A question about the registry.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ReadRegistry(pub(crate) Box<dyn FnOnce(&Registry) -> Release + Send>);

/// All partitions are up: take up what a crash interrupted.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Recover;

/// The actor.
#[derive(Debug)]
pub(crate) struct CoordinatorActor {
    coordinator: Coordinator,
    partition: Arc<Partition>,
    directory: Arc<Directory>,
    clock: Clock,
    waiting: BTreeMap<Ticket, (ReplyTo<Answer>, Timestamp)>,
    next_ticket: Ticket,
    effects: Vec<Effect>,
    #[expect(dead_code, reason = "kept for its end")]
    guard: EndsInOrder,
}

impl Actor for CoordinatorActor {
    type Context = Context<Self>;
}

impl Handler<Order> for CoordinatorActor {
    type Result = ();

    fn handle(&mut self, Order { what, reply }: Order, ctx: &mut Self::Context) {
        let (ticket, now) = (self.next_ticket, self.clock.now());
        self.next_ticket += 1;
        self.waiting.insert(ticket, (reply, now));
        let (coordinator, out) = (&mut self.coordinator, &mut self.effects);
        match what {
            What::Claim(key, organization, by) => {
                coordinator.claim((key, organization, by), ticket, now, out);
            }
            What::Transfer(order, until) => coordinator.transfer(order, until, ticket, now, out),
            What::CreateApiKey(order) => coordinator.create_api_key(order, ticket, now, out),
            What::RevokeApiKey(id) => coordinator.revoke_api_key(id, ticket, now, out),
        }
        self.execute(ctx);
    }
}

impl Handler<FromOrg> for CoordinatorActor {
    type Result = ();

    fn handle(&mut self, FromOrg(message): FromOrg, ctx: &mut Self::Context) {
        self.coordinator.answer(message, self.clock.now(), &mut self.effects);
        self.execute(ctx);
    }
}

impl Handler<ReadRegistry> for CoordinatorActor {
    type Result = ();

    fn handle(&mut self, ReadRegistry(read): ReadRegistry, _: &mut Self::Context) {
        let release = read(self.coordinator.registry());
        self.partition.staging.lock().release(release);
    }
}

impl Handler<Recover> for CoordinatorActor {
    type Result = ();

    fn handle(&mut self, _: Recover, ctx: &mut Self::Context) {
        ctx.run_interval(ASK_AGAIN, |actor, ctx| actor.ask_again(ctx));
        self.coordinator.recover(self.clock.now(), &mut self.effects);
        self.execute(ctx);
    }
}

impl CoordinatorActor {
    /// The actor of `registry`.
    pub(crate) fn new(
        registry: Registry,
        partition: Arc<Partition>,
        directory: Arc<Directory>,
        clock: Clock,
    ) -> Self {
        let guard =
            EndsInOrder { partition: Arc::clone(&partition), who: "the coordinator's actor panicked" };
        let (coordinator, waiting, effects) = (Coordinator::new(registry), BTreeMap::new(), Vec::new());
        Self { coordinator, partition, directory, clock, waiting, next_ticket: 0, effects, guard }
    }

    /// Sends again what is not answered, and tells those who waited long enough where things stand.
    fn ask_again(&mut self, ctx: &Context<Self>) {
        if let Some(failure) = self.partition.staging.failure() {
            let waiting = std::mem::take(&mut self.waiting);
            return waiting.into_values().for_each(|(reply, _)| _ = reply.send(Err(failure.clone())));
        }
        let patience_ended = self.clock.now().minus_ms(WAIT_MS_MAX);
        let tired = self.waiting.iter().filter(|(_, (_, since))| *since < patience_ended);
        for ticket in tired.map(|(ticket, _)| *ticket).collect::<Vec<_>>() {
            self.coordinator.give_up(ticket, &mut self.effects);
        }
        if !self.coordinator.is_idle() {
            self.coordinator.tick(&mut self.effects);
        }
        self.execute(ctx);
    }

    fn execute(&mut self, ctx: &Context<Self>) {
        let partition = Arc::clone(&self.partition);
        let mut staged = partition.staging.lock();
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Append(event) => self.append(&mut staged, event),
                Effect::Send(organization, message) => {
                    let (directory, me) = (Arc::clone(&self.directory), ctx.address());
                    staged.release(Release::Call(Box::new(move |durable| {
                        if durable.is_ok()
                            && let Some(answer) = send(&directory, organization, message)
                        {
                            me.do_send(FromOrg(answer));
                        }
                    })));
                }
                Effect::Answer(ticket, answer) => {
                    if let Some((reply, _)) = self.waiting.remove(&ticket) {
                        staged.release(Release::answer(reply, answer));
                    }
                }
            }
        }
    }

    fn append(&mut self, staged: &mut Staged<'_>, event: RegistryEvent) {
        staged.registry_event(&mut self.coordinator, &event);
        let (RegistryChange::ApiKeyCreated { id, .. } | RegistryChange::ApiKeyRevoked { id }) = event.change
        else {
            return;
        };
        let Some(key) = self.coordinator.registry().api_keys.get(&id).cloned() else { return };
        let directory = Arc::clone(&self.directory);
        staged.release(Release::Call(Box::new(move |durable| {
            if durable.is_ok() {
                directory.api_keys.write().expect("api keys never panic").insert(id, key);
            }
        })));
    }
}

/// Queues a message for an organization; the answer that stands for it when there is none.
fn send(directory: &Directory, organization: OrgId, message: ToOrg) -> Option<ToCoordinator> {
    match directory.look_up(&organization) {
        Ok(Some(org)) => org.queue(Request::Message(message)),
        Ok(None) => return from_nobody(message, organization),
        // Its partition stopped: whether it is there, and what it prepared, cannot be told.
        Err(_) => {}
    }
    None
}
