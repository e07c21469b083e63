//! The two sides of a transfer (R11) as a pool sees them.
//!
//! An ended side is remembered for ever, so that a message that comes late or twice changes nothing (I6).

use serde::{Deserialize, Serialize};

use super::event::Cargo;
use super::ids::OrgId;

/// Where a transfer stands for one pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferSide {
    /// Frozen; the cargo is in transit.
    OutPrepared {
        /// Where it goes.
        target: OrgId,
        /// What is in transit.
        cargo: Cargo,
    },
    /// Ready to receive the cargo.
    InPrepared {
        /// What is in transit.
        cargo: Cargo,
    },
    /// The source ended by commit.
    Closed,
    /// The target ended by commit.
    Credited,
    /// Either side ended by abort.
    Aborted,
}

impl TransferSide {
    /// Whether the side still waits for the decision.
    #[must_use]
    pub fn is_prepared(&self) -> bool {
        matches!(self, Self::OutPrepared { .. } | Self::InPrepared { .. })
    }
}
