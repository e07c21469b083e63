//! What the coordinator and the organizations say to each other. Every message may come twice, late, or not at all.

use serde::{Deserialize, Serialize};

use crate::domain::event::Cargo;
use crate::domain::ids::{ActorId, KeyId, OrgId, TransferId};
use crate::domain::license::LicenseKey;
use crate::domain::refusal::Refusal;

/// From the coordinator to an organization.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToOrg {
    /// Add the licenses of a key that the organization claimed.
    ApplyKey {
        /// The key.
        key: LicenseKey,
        /// Who claimed it.
        by: ActorId,
    },
    /// Freeze, and put all tokens and licenses in transit.
    PrepareOut {
        /// The transfer.
        transfer: TransferId,
        /// Where they go.
        target: OrgId,
        /// Who moves them.
        by: ActorId,
    },
    /// Stand ready to receive.
    PrepareIn {
        /// The transfer.
        transfer: TransferId,
        /// What is in transit.
        cargo: Cargo,
    },
    /// The transfer is committed: end your side.
    Commit {
        /// The transfer.
        transfer: TransferId,
    },
    /// The transfer is aborted: end your side.
    Abort {
        /// The transfer.
        transfer: TransferId,
    },
}

/// From an organization to the coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToCoordinator {
    /// The key's licenses are in the pool, or why not.
    KeyAnswered {
        /// The key.
        key: KeyId,
        /// The answer.
        answer: Result<(), Refusal>,
    },
    /// The source's vote, with what is in transit.
    OutPrepared {
        /// The transfer.
        transfer: TransferId,
        /// The vote.
        vote: Result<Cargo, Refusal>,
    },
    /// The target's vote.
    InPrepared {
        /// The transfer.
        transfer: TransferId,
        /// The vote.
        vote: Result<(), Refusal>,
    },
    /// The organization's side of the transfer ended.
    SideEnded {
        /// The transfer.
        transfer: TransferId,
        /// Which organization.
        organization: OrgId,
    },
}

/// The answer of an organization that does not exist. What was decided stays unanswered: only who prepared can carry
/// it out.
#[must_use]
pub fn from_nobody(message: ToOrg, organization: OrgId) -> Option<ToCoordinator> {
    let refusal = Refusal::UnknownOrganization;
    match message {
        ToOrg::PrepareOut { transfer, .. } => {
            Some(ToCoordinator::OutPrepared { transfer, vote: Err(refusal) })
        }
        ToOrg::PrepareIn { transfer, .. } => Some(ToCoordinator::InPrepared { transfer, vote: Err(refusal) }),
        ToOrg::Abort { transfer } => Some(ToCoordinator::SideEnded { transfer, organization }),
        ToOrg::ApplyKey { .. } | ToOrg::Commit { .. } => None,
    }
}
