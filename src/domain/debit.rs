//! A debit: what a camera's analysis costs, under an identity by which it is charged at most once (R13).
//!
//! Debits travel in a [`DebitBatch`]: rows of fixed size, one arena for text, and the outcomes beside them. Its buffers are
//! reused, so that a debit on its way allocates nothing.

use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

use super::hash;
use super::ids::{Name, ReservationId, Slot};
use super::limits::{BATCH_DEBITS_MAX, DEBIT_TOKENS_MAX, EVENT_ID_BYTES_MAX, ID_BYTES_MAX};
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

/// A batch of debits of one organization, and what became of each.
#[derive(Clone, Debug, Default)]
pub struct DebitBatch {
    rows: Vec<DebitRow>,
    text: Vec<u8>,
    /// The networks that rows name.
    networks: Vec<Span>,
    outcomes: Vec<Outcome>,
    reservation: Option<ReservationId>,
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

/// A debit as a row of a batch.
#[derive(Clone, Copy, Debug)]
pub struct DebitRow {
    pub(crate) camera: RowCamera,
    pub(crate) identity: RowIdentity,
    pub(crate) time: Option<Timestamp>,
    /// Tokens, or so many of the unit.
    pub(crate) amount: u32,
    /// None for tokens.
    pub(crate) unit: Option<Unit>,
    pub(crate) kind: UsageKind,
    pub(crate) invalid: Option<Invalid>,
    /// The place, from 1, of the network that it names.
    pub(crate) network: Option<NonZeroU16>,
}

/// What the rows of a batch have in common.
#[derive(Clone, Copy, Debug)]
pub struct InCommon<'a> {
    /// The text that their ids stand in.
    pub text: &'a [u8],
    /// What pays them; the pool where there is none.
    pub reservation: Option<&'a ReservationId>,
    pub(crate) networks: &'a [Span],
}

impl<'a> InCommon<'a> {
    /// The network that is named at this place.
    pub(crate) fn network(&self, place: NonZeroU16) -> &'a [u8] {
        self.networks[usize::from(place.get()) - 1].of(self.text)
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum RowCamera {
    Slot(Slot),
    Id(Span),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum RowIdentity {
    Seq { epoch: u32, seq: u64 },
    EventId(Span),
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

impl DebitBatch {
    /// An empty batch with room for `debits`.
    #[must_use]
    pub fn with_capacity(debits: usize) -> Self {
        let (rows, outcomes) = (Vec::with_capacity(debits), Vec::with_capacity(debits));
        Self { rows, outcomes, ..Self::default() }
    }

    /// Says what pays all its debits: a reservation, or the pool where there is none. [`Self::clear`] leaves it to the pool.
    pub fn pay_by(&mut self, reservation: Option<ReservationId>) {
        self.reservation = reservation;
    }

    /// Adds a debit. A value out of its bounds is judged with the batch: it gets `invalid`, its neighbours
    /// are not affected.
    #[inline]
    pub fn push(&mut self, debit: Debit<'_>) {
        match check(&debit) {
            Ok(tokens) => self.push_row(&debit, tokens, None),
            Err(invalid) => self.push_invalid(invalid),
        }
    }

    /// Adds an event that the rate card prices. A value out of its bounds is judged with the batch, as that of a debit is.
    pub fn push_measured(&mut self, event: Measured<'_>) {
        let Measured { camera, identity, unit, count, kind, time } = event;
        let debit = Debit { camera, identity, tokens: count, kind, time };
        match check(&debit) {
            Ok(count) => self.push_row(&debit, count, Some(unit)),
            Err(Invalid::Tokens) => self.push_invalid(Invalid::Quantity),
            Err(invalid) => self.push_invalid(invalid),
        }
    }

    /// Says that the camera of the debit that was added last is in this network: a camera of another one is another one, and is refused
    /// ([`Refusal::OtherNetwork`]). A debit without a word of it is charged wherever its camera is.
    pub fn expect_network(&mut self, network: &Name) {
        let (Some(row), name) = (self.rows.last_mut(), network.as_str().as_bytes()) else { return };
        if self.networks.last().is_none_or(|last| last.of(&self.text) != name) {
            self.networks.push(Span::push(&mut self.text, name));
        }
        // A batch of more rows than this is refused as a whole.
        row.network = u16::try_from(self.networks.len()).ok().and_then(NonZeroU16::new);
    }

    #[inline]
    fn push_row(&mut self, debit: &Debit<'_>, amount: u32, unit: Option<Unit>) {
        let camera = match debit.camera {
            CameraRef::Slot(slot) => RowCamera::Slot(slot),
            CameraRef::Id(id) => RowCamera::Id(Span::push(&mut self.text, id.as_bytes())),
        };
        let identity = match debit.identity {
            Identity::Seq { epoch, seq } => RowIdentity::Seq { epoch, seq },
            Identity::EventId(id) => RowIdentity::EventId(Span::push(&mut self.text, id)),
        };
        let (time, kind, invalid) = (debit.time, debit.kind, None);
        self.rows.push(DebitRow { camera, identity, time, amount, unit, kind, invalid, network: None });
    }

    /// Adds a debit of which it is known already that it is `invalid`: its outcome keeps its place.
    pub fn push_invalid(&mut self, invalid: Invalid) {
        let identity = RowIdentity::Seq { epoch: 0, seq: 0 };
        let camera = RowCamera::Slot(Slot(u32::MAX));
        let invalid = Some(invalid);
        self.rows.push(DebitRow {
            camera,
            identity,
            time: None,
            amount: 0,
            unit: None,
            kind: UsageKind::default(),
            invalid,
            network: None,
        });
    }

    /// Makes room for so many more debits.
    pub fn reserve(&mut self, debits: usize) {
        self.rows.reserve(debits);
    }

    /// Takes back the debits from number `rows` on.
    pub fn truncate(&mut self, rows: usize) {
        self.rows.truncate(rows);
    }

    /// Empties the batch and keeps its buffers.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.text.clear();
        self.networks.clear();
        self.outcomes.clear();
        self.reservation = None;
    }

    /// How many debits it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// What became of each debit, in order; empty until the batch was judged.
    #[must_use]
    pub fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// The tokens that each debit asks for, in order; 0 for an invalid one, and for one that is to be priced.
    pub fn tokens(&self) -> impl Iterator<Item = u32> {
        self.rows.iter().map(|row| if row.unit.is_none() { row.amount } else { 0 })
    }

    /// Checks the number of debits.
    ///
    /// # Errors
    /// When there are more than a batch may hold.
    pub fn check_size(&self) -> Result<(), Invalid> {
        if self.rows.len() <= BATCH_DEBITS_MAX { Ok(()) } else { Err(Invalid::BatchSize) }
    }

    /// The text that ids of its rows stand in.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The reservation that pays its debits; the pool does where there is none.
    #[must_use]
    pub fn reservation(&self) -> Option<&ReservationId> {
        self.reservation.as_ref()
    }

    /// The parts that judging needs: rows and text to read, outcomes to write.
    pub(crate) fn parts(&mut self) -> (&[DebitRow], InCommon<'_>, &mut Vec<Outcome>) {
        self.outcomes.clear();
        let (reservation, networks) = (self.reservation.as_ref(), self.networks.as_slice());
        let common = InCommon { text: &self.text, reservation, networks };
        (&self.rows, common, &mut self.outcomes)
    }
}

#[inline]
fn check(debit: &Debit<'_>) -> Result<u32, Invalid> {
    if let CameraRef::Id(id) = debit.camera
        && (id.is_empty() || id.len() > ID_BYTES_MAX)
    {
        return Err(Invalid::CameraId);
    }
    if let Identity::EventId(id) = debit.identity {
        if id.is_empty() || id.len() > EVENT_ID_BYTES_MAX {
            return Err(Invalid::EventId);
        }
        if debit.time.is_none() {
            return Err(Invalid::EventIdWithoutTime);
        }
    }
    let tokens = u32::try_from(debit.tokens).ok();
    tokens.filter(|tokens| (1..=DEBIT_TOKENS_MAX).contains(tokens)).ok_or(Invalid::Tokens)
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

    #[test]
    fn values_out_of_bounds_are_invalid() {
        let good = Debit {
            camera: CameraRef::Id("cam"),
            identity: Identity::Seq { epoch: 0, seq: 0 },
            tokens: 1,
            kind: UsageKind::default(),
            time: None,
        };
        assert_eq!(check(&good), Ok(1));
        let long = "x".repeat(129);
        for (bad, invalid) in [
            (Debit { tokens: 0, ..good }, Invalid::Tokens),
            (Debit { tokens: 1_000_000_001, ..good }, Invalid::Tokens),
            (Debit { tokens: u64::MAX, ..good }, Invalid::Tokens),
            (Debit { camera: CameraRef::Id(""), ..good }, Invalid::CameraId),
            (Debit { camera: CameraRef::Id(&long), ..good }, Invalid::CameraId),
            (Debit { identity: Identity::EventId(b""), ..good }, Invalid::EventId),
            (Debit { identity: Identity::EventId(long.as_bytes()), ..good }, Invalid::EventId),
            (Debit { identity: Identity::EventId(b"e"), ..good }, Invalid::EventIdWithoutTime),
        ] {
            assert_eq!(check(&bad), Err(invalid), "{bad:?}");
        }
    }
}
