//! The way to the coordinator, and from it to every organization, wherever their partitions are.
//!
//! What is here is reached through its actor, what is elsewhere through the [peers](super::peers). Nothing is passed on twice: a node that is asked for a
//! partition which it does not own says so.
//!
//! Elsewhere than at partition 0 the API keys are a copy: told at every change, and asked for when a node starts and every second, which also
//! covers what was lost and a node that was cut off. So a revoked key acts at another node for a second more at most, as long as that node reaches the owner
//! of partition 0. A key that was revoked stays so whatever comes late.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use futures_util::future::join_all;
use tokio::sync::oneshot;

use crate::domain::ids::{ActorId, KeyId, OrgId, TransferId};
use crate::domain::limits::NODES_ASKED_MAX;
use crate::domain::pool::Pool;
use crate::domain::registry::{ApiKey, Transfer};
use crate::domain::summary::Summary;
use crate::protocol::coordinator::{Answer, Order};
use crate::protocol::message::{ToCoordinator, ToOrg, from_nobody};

use super::coordinator::{Ask, CoordinatorActor, FromOrg, Ordered};
use super::directory::{Directory, Org};
use super::messages::{ReadWith, Release, Request, Unavailable};
use super::partition::Confirm;
use super::peers::{
    self, Answering, KeysVersion, Listed, Listing, Message, NodeQuestion, NodeReply, Nodes, Owner, Peers,
    Question, Reply,
};

/// How long an answer about the API keys, about organizations, or of a node for a page is waited for.
const KEYS_PATIENCE: Duration = Duration::from_secs(1);

impl Directory {
    /// Has the coordinator carry out an order.
    ///
    /// # Errors
    /// When it cannot be served now; what became of it may be unknown.
    pub(crate) async fn order(self: &Arc<Self>, order: Order) -> Result<Answer, Unavailable> {
        match self.ask(0, Question::Order(order)).await? {
            Reply::Order(answer) => Ok(answer),
            _ => Err(Unavailable::Elsewhere { partition: 0 }),
        }
    }

    /// Whether a license key was claimed.
    ///
    /// # Errors
    /// When it cannot be told now.
    pub(crate) async fn is_claimed(self: &Arc<Self>, key: KeyId) -> Result<bool, Unavailable> {
        self.is(0, Question::IsClaimed(key)).await
    }

    /// Where a transfer stands; none when there is none.
    ///
    /// # Errors
    /// When it cannot be told now.
    pub(crate) async fn transfer(self: &Arc<Self>, id: TransferId) -> Result<Option<Transfer>, Unavailable> {
        match self.ask(0, Question::Transfer(id)).await? {
            Reply::Transfer(transfer) => Ok(transfer),
            _ => Err(Unavailable::Elsewhere { partition: 0 }),
        }
    }

    /// Whether one of these organizations does not exist, wherever it would be.
    ///
    /// # Errors
    /// When it cannot be told now.
    pub(crate) async fn is_any_unknown(self: &Arc<Self>, all: &[&OrgId]) -> Result<bool, Unavailable> {
        let mut by_partition = BTreeMap::<u16, Vec<OrgId>>::new();
        for &id in all {
            by_partition.entry(self.number_of(id)).or_default().push(id.clone());
        }
        for (partition, ids) in by_partition {
            if self.is(partition, Question::IsAnyUnknown(ids)).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The AI Token Summary of an organization, wherever it is; none when there is no such organization.
    ///
    /// # Errors
    /// When it cannot be told now.
    pub(crate) async fn summary(self: &Arc<Self>, id: OrgId) -> Result<Option<Summary>, Unavailable> {
        let partition = self.number_of(&id);
        match self.ask(partition, Question::Summary(id)).await? {
            Reply::Summary(summary) => Ok(summary.map(|summary| *summary)),
            _ => Err(Unavailable::Elsewhere { partition }),
        }
    }

    /// The organizations that are here, and the partitions that are.
    fn organizations_here(&self, listing: &Listing) -> Listed {
        let is_later = |id: &OrgId| listing.after.as_ref().is_none_or(|after| id > after);
        let mut found: Vec<OrgId> = match &listing.named {
            Some(named) => named.iter().filter(|id| self.organizations.contains_key(*id)).cloned().collect(),
            None => self.organizations.iter().map(|entry| entry.key().clone()).collect(),
        };
        found.retain(is_later);
        found.sort_unstable();
        found.truncate(listing.rows);
        let partitions = self.partitions().filter(|partition| self.is_here(partition.number));
        Listed {
            organizations: found.into_iter().collect(),
            partitions: partitions.map(|partition| partition.number).collect(),
        }
    }

    /// The organizations of all nodes, which are asked side by side. The partitions of a node that gave no answer are missing.
    pub(crate) async fn organizations_everywhere(self: &Arc<Self>, listing: Listing) -> Listed {
        let (mut all, mut asked) = (self.organizations_here(&listing), BTreeSet::new());
        let elsewhere = (0..self.count()).filter(|partition| !all.partitions.contains(partition));
        let firsts = elsewhere
            .filter(|partition| self.owner(*partition).is_some_and(|owner| asked.insert(owner.node)));
        let ask = |partition| {
            let question = Question::Organizations(listing.clone());
            tokio::time::timeout(KEYS_PATIENCE, self.ask(partition, question))
        };
        for answer in join_all(firsts.map(ask).collect::<Vec<_>>()).await {
            if let Ok(Ok(Reply::Organizations(listed))) = answer {
                all.organizations.extend(listed.organizations);
                all.partitions.extend(listed.partitions);
            }
        }
        while all.organizations.len() > listing.rows {
            all.organizations.pop_last();
        }
        all
    }

    /// The nodes that are known of, so many as are asked; none where there are no other nodes.
    pub(crate) fn nodes(&self) -> Option<Nodes> {
        let mut nodes = self.peers.as_ref()?.nodes();
        nodes.others.truncate(NODES_ASKED_MAX);
        Some(nodes)
    }

    /// Asks nodes side by side, each something; none for one that gave no answer within a second.
    pub(crate) async fn ask_nodes(
        &self,
        asked: Vec<(String, NodeQuestion)>,
    ) -> Vec<(String, Option<NodeReply>)> {
        let ask = |(node, question): (String, NodeQuestion)| async move {
            let answer = self.of_node(|peers| peers.ask_node(&node, peers::encode(&question))).await;
            (node, answer.and_then(|bytes| peers::decode(&bytes)))
        };
        join_all(asked.into_iter().map(ask)).await
    }

    /// Has all other nodes carry out a request, side by side; none for one that gave no answer within a second.
    pub(crate) async fn carry_to_others(&self, request: &[u8]) -> Vec<(String, Option<Vec<u8>>)> {
        let others = self.nodes().unwrap_or_default().others;
        let carry = |node: String| async move {
            let answer = self.of_node(|peers| peers.carry_to(&node, request.to_vec())).await;
            (node, answer)
        };
        join_all(others.into_iter().map(carry)).await
    }

    async fn of_node(
        &self,
        ask: impl FnOnce(&dyn Peers) -> Answering<Result<Vec<u8>, String>>,
    ) -> Option<Vec<u8>> {
        let answer = ask(&**self.peers.as_ref()?);
        match tokio::time::timeout(KEYS_PATIENCE, answer).await.ok()? {
            Ok(bytes) => Some(bytes),
            Err(why) => {
                tracing::debug!(why, "a node gave no answer");
                None
            }
        }
    }

    /// Brings the copy of the API keys up to date, unless it is of this version; the version that it is of then.
    ///
    /// # Errors
    /// When the owner of partition 0 gave no answer; what came so far counts.
    pub(crate) async fn copy_api_keys(
        self: &Arc<Self>,
        known: Option<KeysVersion>,
    ) -> Result<KeysVersion, Unavailable> {
        let elsewhere = Unavailable::Elsewhere { partition: 0 };
        let (mut question, mut first) = (Question::ApiKeys { after: None, known }, None);
        loop {
            let answer = tokio::time::timeout(KEYS_PATIENCE, self.ask(0, question)).await;
            let Reply::ApiKeys(page) = answer.map_err(|_| elsewhere.clone())?? else { return Err(elsewhere) };
            let after = page.keys.last().map(|(id, _)| id.clone());
            page.keys.into_iter().for_each(|(id, key)| self.note_api_key(id, key));
            // What changed while pages were read is of a later version than the first.
            let version = *first.get_or_insert(page.version);
            if !page.more {
                return Ok(version);
            }
            question = Question::ApiKeys { after, known: None };
        }
    }

    /// Takes an API key as it was made or revoked.
    pub(crate) fn note_api_key(&self, id: ActorId, key: ApiKey) {
        let mut keys = self.api_keys.write().expect("api keys never panic");
        let known = keys.entry(id).or_insert_with(|| key.clone());
        if known.revoked_at.is_none() {
            *known = key;
        }
    }

    /// An API key was made or revoked here, durably: everybody is to know.
    pub(super) fn tell_api_key(&self, id: ActorId, key: ApiKey) {
        self.note_api_key(id.clone(), key.clone());
        if let Some(peers) = &self.peers {
            let message = peers::encode(&Message::ApiKey { id, key });
            let elsewhere = (1..self.count()).filter(|number| !self.is_here(*number));
            elsewhere.for_each(|partition| peers.tell(partition, message.clone()));
        }
    }

    /// Sends a message of the coordinator, which is `here`, to an organization.
    pub(super) fn send(&self, organization: OrgId, message: ToOrg, here: &Addr<CoordinatorActor>) {
        let partition = self.number_of(&organization);
        match &self.peers {
            Some(peers) if !self.is_here(partition) => {
                peers.tell(partition, peers::encode(&Message::ToOrg { organization, message }));
            }
            _ => {
                let here = here.clone();
                self.deliver(&organization, message, move |answer| here.do_send(FromOrg(answer)));
            }
        }
    }

    /// Sends an organization's answer to the coordinator.
    pub(super) fn answer_coordinator(&self, answer: ToCoordinator) {
        match (&self.peers, self.coordinator()) {
            (_, Some(coordinator)) if self.is_here(0) => coordinator.do_send(FromOrg(answer)),
            (Some(peers), _) => peers.tell(0, peers::encode(&Message::ToCoordinator(answer))),
            (None, _) => {}
        }
    }

    /// Answers a peer, for a partition that should be here.
    pub(crate) fn answer(self: &Arc<Self>, partition: u16, request: &[u8]) -> Answering<Vec<u8>> {
        let (me, question) = (Arc::clone(self), peers::decode(request));
        Box::pin(async move {
            let reply = match question {
                Some(question) => me.answer_here(partition, question).await.unwrap_or(Reply::Unavailable),
                None => Reply::Unavailable,
            };
            peers::encode(&reply)
        })
    }

    /// Hears what a peer tells. What is for a partition that is not here is dropped: it will be told again.
    pub(crate) fn hear(self: &Arc<Self>, message: &[u8]) {
        match peers::decode(message) {
            Some(Message::ToOrg { organization, message }) => {
                let me = Arc::clone(self);
                self.deliver(&organization, message, move |answer| me.answer_coordinator(answer));
            }
            Some(Message::ToCoordinator(answer)) => {
                if let Some(coordinator) = self.coordinator() {
                    coordinator.do_send(FromOrg(answer));
                }
            }
            Some(Message::ApiKey { id, key }) => self.note_api_key(id, key),
            None => tracing::warn!("a message of a peer is of another release; it is told again"),
        }
    }

    async fn is(self: &Arc<Self>, partition: u16, question: Question) -> Result<bool, Unavailable> {
        match self.ask(partition, question).await? {
            Reply::Is(it_is) => Ok(it_is),
            _ => Err(Unavailable::Elsewhere { partition }),
        }
    }

    async fn ask(self: &Arc<Self>, partition: u16, question: Question) -> Result<Reply, Unavailable> {
        let elsewhere = Unavailable::Elsewhere { partition };
        let Some(peers) = self.peers.as_ref().filter(|_| !self.is_here(partition)) else {
            return self.answer_here(partition, question).await;
        };
        let answer = peers.ask(partition, peers::encode(&question)).await;
        match answer.map(|bytes| peers::decode(&bytes)) {
            Ok(Some(Reply::Unavailable) | None) => Err(elsewhere),
            Ok(Some(reply)) => Ok(reply),
            Err(why) => {
                tracing::debug!(partition, why, "a peer gave no answer");
                Err(elsewhere)
            }
        }
    }

    async fn answer_here(self: &Arc<Self>, partition: u16, question: Question) -> Result<Reply, Unavailable> {
        let elsewhere = Unavailable::Elsewhere { partition };
        let question = match question {
            Question::IsAnyUnknown(all) => return self.is_any_unknown_here(partition, &all).await,
            Question::Summary(id) => return self.summary_here(partition, &id).await,
            Question::Organizations(listing) => {
                return Ok(Reply::Organizations(self.organizations_here(&listing)));
            }
            of_coordinator => of_coordinator,
        };
        let place = self.partition(partition).ok_or(elsewhere.clone())?;
        place.check_open()?;
        let coordinator = self.coordinator().ok_or(elsewhere)?;
        let (reply, answer) = oneshot::channel();
        match question {
            Question::Order(order) => coordinator.do_send(Ordered { order, reply }),
            question => coordinator.do_send(Ask { question, reply }),
        }
        answer.await.unwrap_or_else(|_| Err(place.lost()))
    }

    /// An organization of a partition that should be here. That there is none is confirmed.
    async fn find_here(&self, partition: u16, id: &OrgId) -> Result<Option<Arc<Org>>, Unavailable> {
        if self.number_of(id) != partition {
            return Err(Unavailable::Elsewhere { partition });
        }
        let found = self.look_up(id)?;
        if found.is_none() {
            self.partition_of(id).confirm().await?;
        }
        Ok(found)
    }

    async fn is_any_unknown_here(&self, partition: u16, all: &[OrgId]) -> Result<Reply, Unavailable> {
        for id in all {
            if self.find_here(partition, id).await?.is_none() {
                return Ok(Reply::Is(true));
            }
        }
        Ok(Reply::Is(false))
    }

    async fn summary_here(&self, partition: u16, id: &OrgId) -> Result<Reply, Unavailable> {
        let Some(org) = self.find_here(partition, id).await? else { return Ok(Reply::Summary(None)) };
        let Ok(permit) = org.admit(1) else { return Ok(Reply::Unavailable) };
        let (reply, answer) = oneshot::channel();
        let question = |pool: &Pool, now| pool.summary(now);
        org.submit(Request::Read { read: Box::new(ReadWith { question, reply }), permit })?;
        let summary = answer.await.unwrap_or_else(|_| Err(org.partition.lost()))?;
        Ok(Reply::Summary(Some(Box::new(summary))))
    }

    /// Queues a message for an organization that is here; `answer` gets the answer that stands for it when there is none.
    fn deliver(
        &self,
        organization: &OrgId,
        message: ToOrg,
        answer: impl FnOnce(ToCoordinator) + Send + 'static,
    ) {
        match self.look_up(organization) {
            Ok(Some(org)) => org.queue(Request::Message(message)),
            Ok(None) => {
                let from_nobody = from_nobody(message, organization.clone());
                // Who was deposed without knowing does not know who was created since; the log tells him.
                let release = Release::Call(Box::new(move |durable| {
                    if let (Ok(()), Some(from_nobody)) = (durable, from_nobody) {
                        answer(from_nobody);
                    }
                }));
                self.partition_of(organization).tell(Confirm(release));
            }
            // Its partition stopped: whether it is there, and what it prepared, cannot be told.
            Err(_) => {}
        }
    }

    /// Has the owner of a partition carry out a request of a caller.
    ///
    /// # Errors
    /// Why there is no answer; there is none without other nodes.
    pub(crate) async fn carry(&self, partition: u16, request: Vec<u8>) -> Result<Vec<u8>, String> {
        match &self.peers {
            Some(peers) => peers.carry(partition, request).await,
            None => Err("there are no other nodes".to_owned()),
        }
    }

    /// Where the owner of a partition serves, as far as is known.
    pub(crate) fn owner(&self, partition: u16) -> Option<Owner> {
        self.peers.as_ref()?.owner(partition)
    }

    /// Whether a partition is here, also when it stopped; one that was taken over by somebody else is not.
    pub(crate) fn is_here(&self, partition: u16) -> bool {
        let place = self.partition(partition);
        place.is_some_and(|place| !matches!(place.check_open(), Err(Unavailable::Elsewhere { .. })))
    }

    fn coordinator(&self) -> Option<Addr<CoordinatorActor>> {
        self.coordinator.read().expect("places never panic").clone()
    }
}
