//! The actor of the coordinator, in partition 0.
//!
//! It executes the effects of the pure [`Coordinator`]: events are staged, and messages and answers leave when these are
//! durable.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext as _, Context, Handler, Message};

use crate::domain::registry::{Registry, RegistryChange, RegistryEvent};
use crate::domain::time::Timestamp;
use crate::protocol::coordinator::{Coordinator, Effect, Order, Ticket};
use crate::protocol::message::ToCoordinator;
use crate::telemetry::clock::Clock;

use super::directory::{Directory, EndsInOrder, Partition};
use super::group::Staged;
use super::messages::{Release, ReplyTo};
use super::peers::{KeysPage, Question, Reply};

/// How often unanswered messages are sent again.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// How long a caller waits for an end that does not come, in milliseconds.
const WAIT_MS_MAX: u64 = 10_000;

/// An order of a caller.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Ordered {
    pub(crate) order: Order,
    pub(crate) reply: ReplyTo<Reply>,
}

/// An organization's answer.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct FromOrg(pub(crate) ToCoordinator);

/// A question about the registry.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Ask {
    pub(crate) question: Question,
    pub(crate) reply: ReplyTo<Reply>,
}

/// The registry as it is, for a snapshot.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Image(pub(crate) ReplyTo<Registry>);

/// The partition is up: take up what a crash, or the move of the partition, interrupted.
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
    waiting: BTreeMap<Ticket, (ReplyTo<Reply>, Timestamp)>,
    next_ticket: Ticket,
    effects: Vec<Effect>,
    #[expect(dead_code, reason = "kept for its end")]
    guard: EndsInOrder,
}

impl Actor for CoordinatorActor {
    type Context = Context<Self>;
}

impl Handler<Ordered> for CoordinatorActor {
    type Result = ();

    fn handle(&mut self, Ordered { order, reply }: Ordered, ctx: &mut Self::Context) {
        let (ticket, now) = (self.next_ticket, self.clock.now());
        self.next_ticket += 1;
        self.waiting.insert(ticket, (reply, now));
        self.coordinator.order(order, ticket, now, &mut self.effects);
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

impl Handler<Ask> for CoordinatorActor {
    type Result = ();

    fn handle(&mut self, Ask { question, reply }: Ask, _: &mut Self::Context) {
        let registry = self.coordinator.registry();
        let answer = match question {
            Question::IsClaimed(key) => Reply::Is(registry.claims.contains_key(&key)),
            Question::Transfer(id) => Reply::Transfer(registry.transfers.get(&id).cloned()),
            Question::ApiKeys { after, known } => {
                Reply::ApiKeys(KeysPage::of(&registry.api_keys, after.as_ref(), known))
            }
            Question::Order(_)
            | Question::IsAnyUnknown(_)
            | Question::Summary(_)
            | Question::Organizations(_) => Reply::Unavailable,
        };
        self.partition.staging.lock().release(Release::answer(reply, answer));
    }
}

impl Handler<Image> for CoordinatorActor {
    type Result = ();

    fn handle(&mut self, Image(reply): Image, _: &mut Self::Context) {
        let release = Release::answer(reply, self.coordinator.registry().clone());
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
                        if durable.is_ok() {
                            directory.send(organization, message, &me);
                        }
                    })));
                }
                Effect::Answer(ticket, answer) => {
                    if let Some((reply, _)) = self.waiting.remove(&ticket) {
                        staged.release(Release::answer(reply, Reply::Order(answer)));
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
                directory.tell_api_key(id, key);
            }
        })));
    }
}
