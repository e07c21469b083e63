//! What the coordinator knows: claimed license keys, transfers, and API keys. It lives in partition 0.
//!
//! The serialized events are the stored form. Fields and variants are only ever added; golden files hold that.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::planted::{self, Bug};

use super::ids::{ActorId, KeyId, Lsn, Name, OrgId, TransferId};
use super::time::Timestamp;
use super::tokens::Tokens;

/// The coordinator's state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registry {
    /// Claimed license keys (R6).
    pub claims: BTreeMap<KeyId, Claim>,
    /// Transfers (R11), ended ones included.
    pub transfers: BTreeMap<TransferId, Transfer>,
    /// API keys, revoked ones included.
    pub api_keys: BTreeMap<ActorId, ApiKey>,
    /// The journal frame of the newest event.
    pub lsn: Lsn,
}

/// A license key that an organization claimed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The organization.
    pub organization: OrgId,
    /// The tokens of each license.
    pub grants: Vec<Tokens>,
    /// Who claimed it.
    pub by: ActorId,
    /// When.
    pub at: Timestamp,
    /// Whether its licenses are known to be in the pool.
    pub applied: bool,
}

/// A transfer of a whole pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// The organization whose pool is moved.
    pub source: OrgId,
    /// The organization that receives it.
    pub target: OrgId,
    /// Who asked for it.
    pub by: ActorId,
    /// When it began.
    pub begun_at: Timestamp,
    /// Where it stands.
    pub state: TransferState,
    /// Tokens moved; zero until committed.
    pub tokens: Tokens,
    /// Licenses moved; zero until committed.
    pub licenses: u32,
    /// The code of the refusal that aborted it.
    pub refusal: Option<String>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// Where a transfer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferState {
    /// Both sides are being prepared.
    Begun,
    /// It will be carried out on both sides, whatever happens.
    Committed,
    /// It will be undone on both sides, whatever happens.
    Aborting,
    /// It was carried out on both sides.
    Finished,
    /// It was undone on both sides.
    Aborted,
}

impl TransferState {
    /// Whether nothing more will happen.
    #[must_use]
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Finished | Self::Aborted)
    }
}

/// What an API key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Creates organizations and API keys; reads no organization.
    Operator,
    /// Administers its organizations.
    Admin,
    /// Reads its organizations.
    Viewer,
    /// Sends debits for its organizations.
    Gateway,
}

/// An API key. Only a hash of its secret is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// SHA-256 of the secret.
    #[serde(with = "serde_bytes")]
    pub hash: [u8; 32],
    /// What it is for.
    pub label: Name,
    /// What it may do.
    pub role: Role,
    /// For which organizations.
    pub organizations: Vec<OrgId>,
    /// Who made it.
    pub by: ActorId,
    /// When.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// One thing that happened to the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryEvent {
    /// When.
    pub at: Timestamp,
    /// What.
    pub change: RegistryChange,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegistryChange {
    /// A license key was claimed by an organization.
    KeyClaimed {
        /// The key.
        key: KeyId,
        /// The organization.
        organization: OrgId,
        /// The tokens of each license.
        grants: Vec<Tokens>,
        /// Who claimed it.
        by: ActorId,
    },
    /// The key's licenses are in the pool.
    KeyApplied {
        /// The key.
        key: KeyId,
    },
    /// A transfer began.
    TransferBegun {
        /// The transfer.
        transfer: TransferId,
        /// The organization whose pool is moved.
        source: OrgId,
        /// The organization that receives it.
        target: OrgId,
        /// Who asked for it.
        by: ActorId,
    },
    /// The transfer is committed: the commit point.
    TransferCommitted {
        /// The transfer.
        transfer: TransferId,
        /// Tokens moved.
        tokens: Tokens,
        /// Licenses moved.
        licenses: u32,
    },
    /// The transfer is aborted.
    TransferAborting {
        /// The transfer.
        transfer: TransferId,
        /// The code of the refusal.
        refusal: String,
    },
    /// Both sides of the transfer ended.
    TransferEnded {
        /// The transfer.
        transfer: TransferId,
    },
    /// An API key was made.
    ApiKeyCreated {
        /// Its id.
        id: ActorId,
        /// SHA-256 of its secret.
        #[serde(with = "serde_bytes")]
        hash: [u8; 32],
        /// What it is for.
        label: Name,
        /// What it may do.
        role: Role,
        /// For which organizations.
        organizations: Vec<OrgId>,
        /// Who made it.
        by: ActorId,
    },
    /// An API key was revoked.
    ApiKeyRevoked {
        /// Its id.
        id: ActorId,
    },
}

impl Registry {
    /// Carries out an event. It cannot fail: it was decided against this very state.
    pub fn apply(&mut self, event: &RegistryEvent) {
        let at = event.at;
        match event.change.clone() {
            RegistryChange::KeyClaimed { key, organization, grants, by } => {
                self.claims.insert(key, Claim { organization, grants, by, at, applied: false });
            }
            RegistryChange::KeyApplied { key } => {
                if let Some(claim) = self.claims.get_mut(&key) {
                    claim.applied = true;
                }
            }
            RegistryChange::TransferBegun { transfer, source, target, by } => {
                self.transfers.insert(transfer, Transfer::begun(source, target, by, at));
            }
            RegistryChange::TransferCommitted { transfer, tokens, licenses } => {
                self.change(&transfer, |open| {
                    (open.state, open.tokens, open.licenses) = (TransferState::Committed, tokens, licenses);
                });
            }
            RegistryChange::TransferAborting { transfer, refusal } => {
                self.change(&transfer, |open| {
                    (open.state, open.refusal) = (TransferState::Aborting, Some(refusal));
                });
            }
            RegistryChange::TransferEnded { transfer } => {
                self.change(&transfer, |open| {
                    let committed = open.state == TransferState::Committed;
                    open.state = if committed { TransferState::Finished } else { TransferState::Aborted };
                    open.ended_at = Some(at);
                });
            }
            RegistryChange::ApiKeyCreated { id, hash, label, role, organizations, by } => {
                let key = ApiKey { hash, label, role, organizations, by, created_at: at, revoked_at: None };
                self.api_keys.insert(id, key);
            }
            RegistryChange::ApiKeyRevoked { id } => {
                if let Some(key) = self.api_keys.get_mut(&id).filter(|_| !planted::is(Bug::KeepRevokedKey)) {
                    key.revoked_at = Some(at);
                }
            }
        }
    }

    fn change(&mut self, transfer: &TransferId, how: impl FnOnce(&mut Transfer)) {
        if let Some(open) = self.transfers.get_mut(transfer) {
            how(open);
        }
    }
}

impl Transfer {
    fn begun(source: OrgId, target: OrgId, by: ActorId, begun_at: Timestamp) -> Self {
        let (state, tokens, licenses) = (TransferState::Begun, Tokens::ZERO, 0);
        Self { source, target, by, begun_at, state, tokens, licenses, refusal: None, ended_at: None }
    }
}
