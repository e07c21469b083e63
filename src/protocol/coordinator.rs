//! The coordinator: claims license keys once over all organizations, moves pools in two phases, keeps API keys.
//!
//! A transfer is begun (durable), its source prepared, its target prepared, then **committed** (durable: the commit
//! point) or aborting (durable), then both sides end, then it has ended. After a crash a transfer that is not committed
//! aborts, and one that is committed is driven to its end. What is not answered stays unknown and is asked again on
//! [`Coordinator::tick`]; one stuck transfer never blocks another.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::domain::event::Cargo;
use crate::domain::ids::{ActorId, KeyId, Name, OrgId, TransferId};
use crate::domain::license::LicenseKey;
use crate::domain::limits::{API_KEY_ORGANIZATIONS_MAX, API_KEYS_MAX};
use crate::domain::refusal::{Invalid, Limit, Refusal};
use crate::domain::registry::{
    Claim, Registry, RegistryChange, RegistryEvent, Role, Transfer, TransferState,
};
use crate::domain::time::Timestamp;
use crate::planted::{self, Bug};

use super::message::{ToCoordinator, ToOrg};

/// Names one waiting caller; chosen by the shell.
pub type Ticket = u64;

/// What the shell is to do, in order. Messages and answers leave when all events before them are durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Journal this.
    Append(RegistryEvent),
    /// Send a message to an organization.
    Send(OrgId, ToOrg),
    /// Answer a caller.
    Answer(Ticket, Answer),
}

/// What a caller orders. The same order again, under the same id, changes nothing more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Claim a license key for an organization.
    Claim {
        /// The key.
        key: LicenseKey,
        /// The organization.
        organization: OrgId,
        /// Who claims it.
        by: ActorId,
    },
    /// Move a pool.
    Transfer {
        /// What is moved where.
        order: TransferOrder,
        /// When to answer.
        until: Until,
    },
    /// Make an API key.
    CreateApiKey(ApiKeyOrder),
    /// Revoke an API key.
    RevokeApiKey(ActorId),
}

/// What a caller is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The license key is claimed and its licenses are in the pool.
    Claimed(Claim),
    /// Where the transfer stands.
    Transfer(Transfer),
    /// It is done.
    Done,
    /// It was refused.
    Refused(Refusal),
}

/// When a caller of a transfer is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// As soon as it is durable that the transfer began.
    Begun,
    /// When the transfer ended, or after ten seconds with where it stands.
    Ended,
}

/// A transfer that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferOrder {
    /// Names the transfer, also when it is asked for again.
    pub id: TransferId,
    /// The organization whose pool is to be moved.
    pub source: OrgId,
    /// The organization that is to receive it.
    pub target: OrgId,
    /// Who asks.
    pub by: ActorId,
}

/// An API key that is to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKeyOrder {
    /// Its id.
    pub id: ActorId,
    /// SHA-256 of its secret.
    #[serde(with = "serde_bytes")]
    pub hash: [u8; 32],
    /// What it is for.
    pub label: Name,
    /// What it may do.
    pub role: Role,
    /// For which organizations.
    pub organizations: Vec<OrgId>,
    /// Who makes it.
    pub by: ActorId,
}

/// The coordinator. Its waiting callers and the votes so far live in memory only; the registry is what survives.
#[derive(Debug, Default)]
pub struct Coordinator {
    registry: Registry,
    cargo: BTreeMap<TransferId, Cargo>,
    ended: BTreeMap<TransferId, BTreeSet<OrgId>>,
    waiting: BTreeMap<TransferId, Vec<Ticket>>,
    claiming: BTreeMap<KeyId, Vec<Ticket>>,
    /// Claims that their pool refused for good: they are not asked again until somebody does.
    refused: BTreeSet<KeyId>,
}

impl Coordinator {
    /// The coordinator of this registry.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        Self { registry, ..Self::default() }
    }

    /// The registry.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The registry, for noting the journal frame of its newest event.
    pub fn registry_mut(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// Carries out an order.
    pub fn order(&mut self, order: Order, ticket: Ticket, now: Timestamp, out: &mut Vec<Effect>) {
        match order {
            Order::Claim { key, organization, by } => self.claim((key, organization, by), ticket, now, out),
            Order::Transfer { order, until } => self.transfer(order, until, ticket, now, out),
            Order::CreateApiKey(order) => self.create_api_key(order, ticket, now, out),
            Order::RevokeApiKey(id) => self.revoke_api_key(id, ticket, now, out),
        }
    }

    /// Takes up again what a crash interrupted.
    pub fn recover(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let all = planted::is(Bug::AbortAfterCommit);
        let begun = self.open_transfers().filter(|(_, state)| all || *state == TransferState::Begun);
        for (id, _) in begun.collect::<Vec<_>>() {
            self.abort(&id, Refusal::Busy, now, out);
        }
        self.tick(out);
    }

    /// Asks again for everything that is not answered yet.
    pub fn tick(&mut self, out: &mut Vec<Effect>) {
        for (id, _) in self.open_transfers().collect::<Vec<_>>() {
            self.drive(&id, out);
        }
        out.extend(self.open_claims().map(|(key, claim)| apply_key(key, claim)));
    }

    /// Whether nothing is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.open_transfers().next().is_none() && self.open_claims().next().is_none()
    }

    /// Claims a license key for an organization that exists (R6). The same key again, by the same organization with the
    /// same licenses, is answered like the first time. A claim is never given up: a message that comes late finds it as it
    /// was, so a key can never bring its licenses to two pools. While the pool is being moved the claim waits.
    pub fn claim(
        &mut self,
        order: (LicenseKey, OrgId, ActorId),
        ticket: Ticket,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let (key, organization, by) = order;
        if let Err(invalid) = key.tokens() {
            return out.push(refuse(ticket, invalid.into()));
        }
        if let Some(claim) = self.registry.claims.get(&key.id) {
            let same = claim.organization == organization && claim.grants == key.grants;
            match (same, claim.applied) {
                (false, _) => out.push(refuse(ticket, Refusal::LicenseKeyClaimed)),
                (true, true) => out.push(Effect::Answer(ticket, Answer::Claimed(claim.clone()))),
                (true, false) => {
                    out.push(apply_key(&key.id, claim));
                    self.refused.remove(&key.id);
                    self.claiming.entry(key.id).or_default().push(ticket);
                }
            }
            return;
        }
        self.claiming.entry(key.id.clone()).or_default().push(ticket);
        let (id, grants) = (key.id.clone(), key.grants.clone());
        let (claimant, claimer) = (organization.clone(), by.clone());
        self.carry_out(
            RegistryChange::KeyClaimed { key: id, organization: claimant, grants, by: claimer },
            now,
            out,
        );
        out.push(Effect::Send(organization, ToOrg::ApplyKey { key, by }));
    }

    /// Answers a caller that waits no longer: with where its transfer stands, or that its claim is still under way. What was
    /// asked for goes on.
    pub fn give_up(&mut self, ticket: Ticket, out: &mut Vec<Effect>) {
        for tickets in self.claiming.values_mut() {
            if let Some(at) = tickets.iter().position(|waiting| *waiting == ticket) {
                tickets.remove(at);
                out.push(refuse(ticket, Refusal::Busy));
            }
        }
        for (id, tickets) in &mut self.waiting {
            if let Some(at) = tickets.iter().position(|waiting| *waiting == ticket) {
                tickets.remove(at);
                out.push(Effect::Answer(ticket, Answer::Transfer(self.registry.transfers[id].clone())));
            }
        }
    }

    /// Begins a transfer between organizations that exist. The same transfer again is answered with where it stands.
    pub fn transfer(
        &mut self,
        order: TransferOrder,
        until: Until,
        ticket: Ticket,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let TransferOrder { id, source, target, by } = order;
        if source == target {
            return out.push(refuse(ticket, Invalid::SameOrganization.into()));
        }
        match self.registry.transfers.get(&id) {
            Some(known) if (&known.source, &known.target) != (&source, &target) => {
                return out.push(refuse(ticket, Refusal::Conflict));
            }
            Some(_) => {}
            None => {
                let transfer = id.clone();
                self.carry_out(RegistryChange::TransferBegun { transfer, source, target, by }, now, out);
                self.drive(&id, out);
            }
        }
        let known = &self.registry.transfers[&id];
        if until == Until::Begun || known.state.is_ended() {
            out.push(Effect::Answer(ticket, Answer::Transfer(known.clone())));
        } else {
            self.waiting.entry(id).or_default().push(ticket);
        }
    }

    /// Makes an API key.
    pub fn create_api_key(
        &mut self,
        order: ApiKeyOrder,
        ticket: Ticket,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let ApiKeyOrder { id, hash, label, role, organizations, by } = order;
        let count = organizations.len();
        let fits = if role == Role::Operator {
            count == 0
        } else {
            (1..=API_KEY_ORGANIZATIONS_MAX).contains(&count)
        };
        if !fits {
            return out.push(refuse(ticket, Invalid::Role.into()));
        }
        if self.registry.api_keys.contains_key(&id) {
            return out.push(refuse(ticket, Refusal::Conflict));
        }
        if self.registry.api_keys.len() >= API_KEYS_MAX {
            return out.push(refuse(ticket, Refusal::LimitReached(Limit::ApiKeys)));
        }
        self.carry_out(RegistryChange::ApiKeyCreated { id, hash, label, role, organizations, by }, now, out);
        out.push(Effect::Answer(ticket, Answer::Done));
    }

    /// Revokes an API key. Revoking it again changes nothing.
    pub fn revoke_api_key(&mut self, id: ActorId, ticket: Ticket, now: Timestamp, out: &mut Vec<Effect>) {
        match self.registry.api_keys.get(&id) {
            None => return out.push(refuse(ticket, Refusal::UnknownKey)),
            Some(key) if key.revoked_at.is_some() => {}
            Some(_) => self.carry_out(RegistryChange::ApiKeyRevoked { id }, now, out),
        }
        out.push(Effect::Answer(ticket, Answer::Done));
    }

    /// Takes an organization's answer.
    pub fn answer(&mut self, message: ToCoordinator, now: Timestamp, out: &mut Vec<Effect>) {
        match message {
            ToCoordinator::KeyAnswered { key, answer } => self.key_answered(&key, answer, now, out),
            ToCoordinator::OutPrepared { transfer, vote } => self.out_prepared(&transfer, vote, now, out),
            ToCoordinator::InPrepared { transfer, vote } => self.in_prepared(&transfer, vote, now, out),
            ToCoordinator::SideEnded { transfer, organization } => {
                self.side_ended(&transfer, organization, now, out);
            }
        }
    }

    fn key_answered(
        &mut self,
        key: &KeyId,
        answer: Result<(), Refusal>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let Some(claim) = self.registry.claims.get(key).filter(|claim| !claim.applied) else { return };
        let told = match answer {
            Ok(()) => {
                let claim = Claim { applied: true, ..claim.clone() };
                self.carry_out(RegistryChange::KeyApplied { key: key.clone() }, now, out);
                Answer::Claimed(claim)
            }
            Err(refusal) if refusal.is_retryable() => return,
            Err(refusal) => {
                self.refused.insert(key.clone());
                Answer::Refused(refusal)
            }
        };
        let tickets = self.claiming.remove(key).unwrap_or_default();
        out.extend(tickets.into_iter().map(|ticket| Effect::Answer(ticket, told.clone())));
    }

    fn out_prepared(
        &mut self,
        id: &TransferId,
        vote: Result<Cargo, Refusal>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        if self.state(id) != Some(TransferState::Begun) {
            return self.tell_decision(id, |transfer| &transfer.source, out);
        }
        match vote {
            Ok(cargo) => {
                self.cargo.insert(id.clone(), cargo);
                self.drive(id, out);
            }
            Err(refusal) => self.abort(id, refusal, now, out),
        }
    }

    fn in_prepared(
        &mut self,
        id: &TransferId,
        vote: Result<(), Refusal>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        if self.state(id) != Some(TransferState::Begun) {
            return self.tell_decision(id, |transfer| &transfer.target, out);
        }
        match (vote, self.cargo.remove(id)) {
            (Ok(()), Some(cargo)) => {
                let licenses = u32::try_from(cargo.licenses.len()).expect("licenses are bounded");
                let (transfer, tokens) = (id.clone(), cargo.tokens);
                self.carry_out(RegistryChange::TransferCommitted { transfer, tokens, licenses }, now, out);
                self.drive(id, out);
            }
            (Ok(()), None) => {}
            (Err(refusal), _) => self.abort(id, refusal, now, out),
        }
    }

    /// Answers a vote that came after the decision: a side that prepared late must not wait for ever.
    fn tell_decision(&self, id: &TransferId, side: impl Fn(&Transfer) -> &OrgId, out: &mut Vec<Effect>) {
        let Some(known) = self.registry.transfers.get(id) else { return };
        let transfer = id.clone();
        let decision = match known.state {
            TransferState::Begun => return,
            TransferState::Committed | TransferState::Finished => ToOrg::Commit { transfer },
            TransferState::Aborting | TransferState::Aborted => ToOrg::Abort { transfer },
        };
        out.push(Effect::Send(side(known).clone(), decision));
    }

    fn side_ended(&mut self, id: &TransferId, organization: OrgId, now: Timestamp, out: &mut Vec<Effect>) {
        if !matches!(self.state(id), Some(TransferState::Committed | TransferState::Aborting)) {
            return;
        }
        let sides = self.ended.entry(id.clone()).or_default();
        sides.insert(organization);
        if sides.len() < 2 {
            return;
        }
        self.ended.remove(id);
        self.carry_out(RegistryChange::TransferEnded { transfer: id.clone() }, now, out);
        let known = &self.registry.transfers[id];
        let tickets = self.waiting.remove(id).unwrap_or_default();
        out.extend(tickets.into_iter().map(|ticket| Effect::Answer(ticket, Answer::Transfer(known.clone()))));
    }

    fn abort(&mut self, id: &TransferId, refusal: Refusal, now: Timestamp, out: &mut Vec<Effect>) {
        self.cargo.remove(id);
        let refusal = refusal.code().to_owned();
        self.carry_out(RegistryChange::TransferAborting { transfer: id.clone(), refusal }, now, out);
        self.drive(id, out);
    }

    /// Sends what the transfer waits for.
    fn drive(&self, id: &TransferId, out: &mut Vec<Effect>) {
        let Some(Transfer { source, target, by, state, .. }) = self.registry.transfers.get(id) else {
            return;
        };
        let (transfer, source, target) = (id.clone(), source.clone(), target.clone());
        match (state, self.cargo.get(id)) {
            (TransferState::Begun, None) => {
                let message = ToOrg::PrepareOut { transfer, target, by: by.clone() };
                out.push(Effect::Send(source, message));
            }
            (TransferState::Begun, Some(cargo)) => {
                out.push(Effect::Send(target, ToOrg::PrepareIn { transfer, cargo: cargo.clone() }));
            }
            (TransferState::Committed, _) => {
                out.push(Effect::Send(target, ToOrg::Commit { transfer: transfer.clone() }));
                out.push(Effect::Send(source, ToOrg::Commit { transfer }));
            }
            (TransferState::Aborting, _) => {
                out.push(Effect::Send(target, ToOrg::Abort { transfer: transfer.clone() }));
                out.push(Effect::Send(source, ToOrg::Abort { transfer }));
            }
            (TransferState::Finished | TransferState::Aborted, _) => {}
        }
    }

    fn carry_out(&mut self, change: RegistryChange, at: Timestamp, out: &mut Vec<Effect>) {
        let event = RegistryEvent { at, change };
        self.registry.apply(&event);
        out.push(Effect::Append(event));
    }

    fn state(&self, id: &TransferId) -> Option<TransferState> {
        self.registry.transfers.get(id).map(|transfer| transfer.state)
    }

    fn open_claims(&self) -> impl Iterator<Item = (&KeyId, &Claim)> {
        self.registry.claims.iter().filter(|(key, claim)| !claim.applied && !self.refused.contains(*key))
    }

    fn open_transfers(&self) -> impl Iterator<Item = (TransferId, TransferState)> {
        let open = self.registry.transfers.iter().filter(|(_, transfer)| !transfer.state.is_ended());
        open.map(|(id, transfer)| (id.clone(), transfer.state))
    }
}

fn apply_key(key: &KeyId, claim: &Claim) -> Effect {
    let (key, by) = (LicenseKey { id: key.clone(), grants: claim.grants.clone() }, claim.by.clone());
    Effect::Send(claim.organization.clone(), ToOrg::ApplyKey { key, by })
}

fn refuse(ticket: Ticket, refusal: Refusal) -> Effect {
    Effect::Answer(ticket, Answer::Refused(refusal))
}
