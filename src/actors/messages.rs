//! What callers ask of the actors, and what they are told.

use std::fmt;
use std::sync::Arc;

use compact_str::CompactString;
use tokio::sync::oneshot;

use crate::domain::batch::DebitBatch;
use crate::domain::command::Command;
use crate::domain::debit::{CameraRef, Debit, Identity, Outcome, UsageKind};
use crate::domain::ids::{Lsn, Slot};
use crate::domain::pool::Pool;
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;
use crate::domain::tokens::Tokens;
use crate::protocol::message::ToOrg;
use crate::storage::snapshot_codec::PoolImage;

use super::directory::Permit;

/// When a debit is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// After it is on the disk: an acknowledged debit survives every crash.
    #[default]
    Durable,
    /// As soon as it is carried out: a crash may take back the debits of the last moments.
    Applied,
}

/// Why a request was neither carried out nor refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The partition stopped after a failed write or sync.
    #[error(
        "this partition stopped ({cause}); what was acknowledged before is kept; mend the cause and restart, then send \
         this again under the same id"
    )]
    Poisoned {
        /// The first failure.
        cause: Arc<str>,
    },
    /// The organization is being rebuilt from storage after a panic.
    #[error(
        "the organization is being rebuilt from storage; nothing of this request was recorded, retry shortly"
    )]
    Rebuilding,
    /// An administrative act cannot be recorded.
    #[error(
        "the audit log cannot be used ({cause}); nothing was done, because no administrative act goes unrecorded; mend the cause and restart"
    )]
    Unaudited {
        /// Why not.
        cause: Arc<str>,
    },
    /// The partition is at another node of the cluster, or on its way there.
    #[error(
        "partition {partition} is served by another node, or on its way to one; whether this was recorded is not known, send it again \
         under the same id"
    )]
    Elsewhere {
        /// The partition.
        partition: u16,
    },
    /// The meter is closing or closed.
    #[error("the meter is closing; nothing of this request was recorded, send it again after the restart")]
    Closing,
}

/// The reply to one debit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DebitReply {
    /// What became of it.
    pub outcome: Outcome,
    /// What the pool can pay after it, and after those that were judged together with it.
    pub available: Tokens,
    /// The journal frame that everything up to this debit is in.
    pub lsn: Lsn,
    /// Whether it was on the disk when the reply left.
    pub durability: Durability,
}

/// The reply to a batch of debits.
#[derive(Debug)]
pub struct BatchReply {
    /// The batch, with what became of each debit.
    pub batch: DebitBatch,
    /// What the pool can pay after it.
    pub available: Tokens,
    /// The journal frame that everything up to this batch is in.
    pub lsn: Lsn,
    /// Whether it was on the disk when the reply left.
    pub durability: Durability,
}

/// A debit that owns its text.
#[derive(Clone, Debug)]
pub(crate) struct OwnedDebit {
    camera: OwnedCamera,
    identity: OwnedIdentity,
    tokens: u64,
    kind: UsageKind,
    time: Option<Timestamp>,
}

#[derive(Clone, Debug)]
enum OwnedCamera {
    Slot(Slot),
    Id(CompactString),
}

#[derive(Clone, Debug)]
enum OwnedIdentity {
    Seq { epoch: u32, seq: u64 },
    EventId(Box<[u8]>),
}

impl From<Debit<'_>> for OwnedDebit {
    fn from(debit: Debit<'_>) -> Self {
        let camera = match debit.camera {
            CameraRef::Slot(slot) => OwnedCamera::Slot(slot),
            CameraRef::Id(id) => OwnedCamera::Id(CompactString::new(id)),
        };
        let identity = match debit.identity {
            Identity::Seq { epoch, seq } => OwnedIdentity::Seq { epoch, seq },
            Identity::EventId(id) => OwnedIdentity::EventId(id.into()),
        };
        Self { camera, identity, tokens: debit.tokens, kind: debit.kind, time: debit.time }
    }
}

impl OwnedDebit {
    /// The debit, borrowed.
    #[must_use]
    pub(crate) fn as_debit(&self) -> Debit<'_> {
        let camera = match &self.camera {
            OwnedCamera::Slot(slot) => CameraRef::Slot(*slot),
            OwnedCamera::Id(id) => CameraRef::Id(id),
        };
        let identity = match &self.identity {
            OwnedIdentity::Seq { epoch, seq } => Identity::Seq { epoch: *epoch, seq: *seq },
            OwnedIdentity::EventId(id) => Identity::EventId(id),
        };
        Debit { camera, identity, tokens: self.tokens, kind: self.kind, time: self.time }
    }
}

/// The sending half of a reply.
pub(crate) type ReplyTo<T> = oneshot::Sender<Result<T, Unavailable>>;

/// The replies to single debits that were judged together.
pub(crate) type SingleReplies = Vec<(ReplyTo<DebitReply>, Outcome)>;

/// What is queued for an organization.
pub(crate) enum Request {
    /// A debit that was [admitted as a single one](super::directory::Org::admit_single).
    Single {
        debit: OwnedDebit,
        durability: Durability,
        reply: ReplyTo<DebitReply>,
    },
    Batch {
        batch: DebitBatch,
        durability: Durability,
        permit: Permit,
        reply: ReplyTo<BatchReply>,
    },
    Command {
        command: Command,
        permit: Permit,
        reply: ReplyTo<Result<Lsn, Refusal>>,
    },
    Read {
        read: Box<dyn Read>,
        permit: Permit,
    },
    Message(ToOrg),
    Image(ReplyTo<PoolImage>),
    Barrier(ReplyTo<()>),
    #[cfg(feature = "testing")]
    Panic,
}

/// A question about a pool. Its answer leaves when what it is based on is durable.
pub(crate) trait Read: Send {
    /// Reads the pool, and gives what releases the answer.
    fn read(self: Box<Self>, pool: &Pool, now: Timestamp, permit: Permit) -> Release;
}

/// What leaves when a group is durable.
pub(crate) enum Release {
    Singles { replies: SingleReplies, available: Tokens, lsn: Lsn, durability: Durability, permit: Permit },
    Batch { reply: ReplyTo<BatchReply>, value: BatchReply, permit: Permit },
    Call(Box<dyn FnOnce(Result<(), Unavailable>) + Send>),
}

impl Release {
    /// Releases an answer of any kind.
    pub(crate) fn answer<T: Send + 'static>(reply: ReplyTo<T>, value: T) -> Self {
        Self::Call(Box::new(move |durable| _ = reply.send(durable.map(|()| value))))
    }

    /// Lets the reply go: as it is when all before it is durable, else as unavailable. A caller that went
    /// away is no fault.
    pub(crate) fn release(self, durable: Result<(), Unavailable>) {
        match self {
            Self::Singles { replies, available, lsn, durability, permit } => {
                drop(permit);
                for (reply, outcome) in replies {
                    let value = DebitReply { outcome, available, lsn, durability };
                    _ = reply.send(durable.clone().map(|()| value));
                }
            }
            Self::Batch { reply, value, permit } => {
                drop(permit);
                _ = reply.send(durable.map(|()| value));
            }
            Self::Call(call) => call(durable),
        }
    }
}

impl fmt::Debug for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Singles { .. } => "Singles",
            Self::Batch { .. } => "Batch",
            Self::Call(_) => "Call",
        })
    }
}

/// A closure as a [`Read`].
pub(crate) struct ReadWith<F, T> {
    pub(crate) question: F,
    pub(crate) reply: ReplyTo<T>,
}

impl<F, T> Read for ReadWith<F, T>
where
    F: FnOnce(&Pool, Timestamp) -> T + Send,
    T: Send + 'static,
{
    fn read(self: Box<Self>, pool: &Pool, now: Timestamp, permit: Permit) -> Release {
        let (reply, answer) = (self.reply, (self.question)(pool, now));
        Release::Call(Box::new(move |durable| {
            drop(permit);
            _ = reply.send(durable.map(|()| answer));
        }))
    }
}
