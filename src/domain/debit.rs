//! A debit: what a camera's analysis costs, under an identity by which it is charged at most once (R13).

use serde::{Deserialize, Serialize};

use super::hash;
use super::ids::{ReservationId, Slot};
use super::rates::Unit;
use super::refusal::{Invalid, Refusal};
use super::time::Timestamp;

/// What the tokens are used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageKind {
    /// Contextual video analytics, which an Unlimited AI License exempts (R9).
    #[default]
    ContextualVideoAnalytics,
    /// Search over recorded video in natural language.
    VideoSearch,
    /// Summaries of recorded video.
    VideoSummary,
    /// Anything else.
    Other,
}

impl UsageKind {
    /// All kinds; the place of each is its stored number.
    pub const ALL: [Self; 4] =
        [Self::ContextualVideoAnalytics, Self::VideoSearch, Self::VideoSummary, Self::Other];

    /// The number by which the kind is stored.
    #[inline]
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::ContextualVideoAnalytics => 0,
            Self::VideoSearch => 1,
            Self::VideoSummary => 2,
            Self::Other => 3,
        }
    }

    /// The kind with this number.
    ///
    /// # Errors
    /// When there is none.
    pub fn from_number(number: u8) -> Result<Self, Invalid> {
        Self::ALL.get(usize::from(number)).copied().ok_or(Invalid::UsageKind)
    }

    /// The kind's name, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ContextualVideoAnalytics => "contextual_video_analytics",
            Self::VideoSearch => "video_search",
            Self::VideoSummary => "video_summary",
            Self::Other => "other",
        }
    }

    /// The kind of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn from_name(name: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or(Invalid::UsageKind)
    }
}

/// How a debit names its camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CameraRef<'a> {
    /// By its id.
    Id(&'a str),
    /// By its slot in the pool, which saves the look-up.
    Slot(Slot),
}

/// The identity of a debit within its organization and camera. It names the physical event: reuse it on
/// retry, never mint a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity<'a> {
    /// A sequence number, rising per camera within an epoch.
    Seq {
        /// Rises when the sender lost its counter.
        epoch: u32,
        /// Rises with every event.
        seq: u64,
    },
    /// An id of the sender's own; it goes with the event's time.
    EventId(&'a [u8]),
}

/// One debit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Debit<'a> {
    /// The camera that consumed.
    pub camera: CameraRef<'a>,
    /// Under which identity it is charged at most once.
    pub identity: Identity<'a>,
    /// Tokens: 1 to 1,000,000,000.
    pub tokens: u64,
    /// What they were used for.
    pub kind: UsageKind,
    /// The event's time; the time of admission where absent.
    pub time: Option<Timestamp>,
}

/// An event that bears no token count: the rate card of its organization prices it when it is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured<'a> {
    /// The camera that consumed.
    pub camera: CameraRef<'a>,
    /// Under which identity it is charged at most once.
    pub identity: Identity<'a>,
    /// What is counted.
    pub unit: Unit,
    /// How many; of seconds, how many milliseconds. 1 to 1,000,000,000.
    pub count: u64,
    /// What the tokens are used for.
    pub kind: UsageKind,
    /// The event's time; the time of admission where absent.
    pub time: Option<Timestamp>,
}

/// What became of a debit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The pool was charged.
    Charged,
    /// The camera is under a valid Unlimited AI License: recorded, nothing was charged.
    Exempt,
    /// The same debit was charged before; this is what became of it then.
    Duplicate(FirstOutcome),
    /// Nothing was charged, and nothing remembered.
    Refused(Refusal),
}

/// What became of the first of several debits with one identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstOutcome {
    /// The pool was charged.
    Charged,
    /// It was exempt.
    Exempt,
}

/// A place in the text of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: u32,
    len: u8,
}

impl Span {
    /// The bytes at this place of `text`.
    #[must_use]
    pub fn of(self, text: &[u8]) -> &[u8] {
        let start = usize::try_from(self.start).unwrap_or(usize::MAX);
        &text[start..start + usize::from(self.len)]
    }

    /// Appends `bytes` (at most 255) to `text` and names their place.
    pub fn push(text: &mut Vec<u8>, bytes: &[u8]) -> Self {
        let start = u32::try_from(text.len()).expect("a batch's text stays below 4 GiB");
        text.extend_from_slice(bytes);
        Self { start, len: u8::try_from(bytes.len()).expect("ids are at most 128 bytes") }
    }
}

/// A debit that was admitted: all that is needed to carry it out, and to journal it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The camera.
    pub slot: Slot,
    /// Under which identity it is remembered.
    pub identity: ChargeIdentity,
    /// The event's time where the debit bore one.
    pub time: Option<Timestamp>,
    /// Tokens.
    pub tokens: u32,
    /// The content print.
    pub print: u16,
    /// What the tokens were used for.
    pub kind: UsageKind,
    /// Whether nothing is drawn from the pool.
    pub exempt: bool,
    /// What the tokens are the price of; none where the debit bore them.
    pub priced: Option<Priced>,
}

/// What was priced, and by which rate card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priced {
    /// What is counted.
    pub unit: Unit,
    /// How many.
    pub count: u32,
    /// The version of the rate card.
    pub version: u32,
}

impl Charge {
    /// The print of the content that was asked for: of a priced event that is its quantity, so that it stays the same event when
    /// prices change.
    #[inline]
    #[must_use]
    pub fn content_print(&self) -> u16 {
        let (amount, unit) =
            self.priced.map_or((self.tokens, None), |priced| (priced.count, Some(priced.unit)));
        content_print(amount, unit, self.kind, self.time)
    }
}

/// The print of what a debit asks for.
#[inline]
pub(crate) fn content_print(
    amount: u32,
    unit: Option<Unit>,
    kind: UsageKind,
    time: Option<Timestamp>,
) -> u16 {
    hash::content_print(amount, kind.number() | unit.map_or(0, Unit::number) << 4, time)
}

/// The identity of an admitted debit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChargeIdentity {
    /// A sequence number.
    Seq {
        /// Its epoch.
        epoch: u32,
        /// Its number.
        seq: u64,
    },
    /// An event id.
    EventId {
        /// Its hash.
        hash: u64,
        /// Where its bytes stand in the batch's text.
        id: Span,
    },
}

/// The admitted debits of one batch: the event that is journaled.
#[derive(Clone, Copy, Debug)]
pub struct Charges<'a> {
    /// When they were admitted.
    pub at: Timestamp,
    /// The debits in order.
    pub charges: &'a [Charge],
    /// The text that their event ids stand in.
    pub text: &'a [u8],
    /// What pays them; the pool where there is none.
    pub reservation: Option<&'a ReservationId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_kinds_are_known_by_name_and_by_number() {
        for kind in UsageKind::ALL {
            assert_eq!(UsageKind::from_name(kind.name()), Ok(kind));
            assert_eq!(UsageKind::from_number(kind.number()), Ok(kind));
        }
        assert_eq!(UsageKind::from_name("x"), Err(Invalid::UsageKind));
        assert_eq!(UsageKind::from_number(4), Err(Invalid::UsageKind));
    }
}
