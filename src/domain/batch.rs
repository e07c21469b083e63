//! A batch of debits on its way: rows of fixed size, one arena for text, and the outcomes beside them. Its buffers are reused, so that
//! a debit on its way allocates nothing.
//!
//! The ordinary row is a third of any other, because rows are made on one core and judged on another: what counts is how much memory
//! passes between the two.

use std::num::NonZeroU16;

use super::debit::{CameraRef, Debit, Identity, Measured, Outcome, Span, UsageKind};
use super::ids::{Name, ReservationId, Slot};
use super::limits::{BATCH_DEBITS_MAX, DEBIT_TOKENS_MAX, EVENT_ID_BYTES_MAX, ID_BYTES_MAX};
use super::rates::Unit;
use super::refusal::Invalid;
use super::time::Timestamp;

/// A batch of debits of one organization, and what became of each.
#[derive(Clone, Debug, Default)]
pub struct DebitBatch {
    /// The rows up to the first that is not plain.
    plain: Vec<PlainRow>,
    /// The epoch of the plain ones.
    epoch: u32,
    /// The rows from there on.
    rows: Vec<DebitRow>,
    text: Vec<u8>,
    /// The networks that rows name.
    networks: Vec<Span>,
    outcomes: Vec<Outcome>,
    reservation: Option<ReservationId>,
}

/// The ordinary debit as a row of a batch: by slot, under a sequence number of the batch's epoch, of the default kind, without a
/// time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlainRow {
    seq: u64,
    slot: Slot,
    tokens: u32,
}

impl PlainRow {
    /// The same as any other row.
    #[inline]
    pub(crate) fn whole(self, epoch: u32) -> DebitRow {
        DebitRow {
            camera: RowCamera::Slot(self.slot),
            identity: RowIdentity::Seq { epoch, seq: self.seq },
            time: None,
            amount: self.tokens,
            unit: None,
            kind: UsageKind::default(),
            invalid: None,
            network: None,
        }
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

/// The rows of a batch: first the plain ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a> {
    pub(crate) plain: &'a [PlainRow],
    pub(crate) epoch: u32,
    pub(crate) others: &'a [DebitRow],
    pub(crate) common: InCommon<'a>,
}

impl<'a> Rows<'a> {
    /// All of them, each as any other.
    pub(crate) fn iter(self) -> impl Iterator<Item = DebitRow> + 'a {
        let plain = self.plain.iter().map(move |row| row.whole(self.epoch));
        plain.chain(self.others.iter().copied())
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

impl DebitBatch {
    /// An empty batch with room for `debits`.
    #[must_use]
    pub fn with_capacity(debits: usize) -> Self {
        let (plain, outcomes) = (Vec::with_capacity(debits), Vec::with_capacity(debits));
        Self { plain, outcomes, ..Self::default() }
    }

    /// Says what pays all its debits: a reservation, or the pool where there is none. [`Self::clear`] leaves it to the pool.
    pub fn pay_by(&mut self, reservation: Option<ReservationId>) {
        self.reservation = reservation;
    }

    /// Adds a debit. A value out of its bounds is judged with the batch: it gets `invalid`, its neighbours
    /// are not affected.
    // Called for each debit where one thing or the other of it is known: of the rest nothing is left.
    #[inline(always)]
    pub fn push(&mut self, debit: Debit<'_>) {
        match check(&debit) {
            Ok(tokens) => match self.plain_row(&debit, tokens) {
                Some(row) => self.plain.push(row),
                None => self.push_row(&debit, tokens, None),
            },
            Err(invalid) => self.push_invalid(invalid),
        }
    }

    /// The debit as a plain row, if it is plain and all before it are. The first one says of which epoch they are.
    #[inline]
    fn plain_row(&mut self, debit: &Debit<'_>, tokens: u32) -> Option<PlainRow> {
        let (CameraRef::Slot(slot), Identity::Seq { epoch, seq }) = (debit.camera, debit.identity) else {
            return None;
        };
        if self.plain.is_empty() {
            self.epoch = epoch;
        }
        let is_plain = self.rows.is_empty()
            && epoch == self.epoch
            && debit.kind == UsageKind::default()
            && debit.time.is_none();
        is_plain.then_some(PlainRow { seq, slot, tokens })
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
    /// ([`Refusal::OtherNetwork`](super::refusal::Refusal::OtherNetwork)). A debit without a word of it is charged wherever its camera is.
    pub fn expect_network(&mut self, network: &Name) {
        if self.rows.is_empty() {
            let last = self.plain.pop().map(|row| row.whole(self.epoch));
            self.rows.extend(last);
        }
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
        let nothing = PlainRow { seq: 0, slot: Slot(u32::MAX), tokens: 0 };
        self.rows.push(DebitRow { invalid: Some(invalid), ..nothing.whole(0) });
    }

    /// Makes room for so many more debits by slot, under sequence numbers of one epoch, of the default kind and without a time.
    pub fn reserve(&mut self, debits: usize) {
        self.plain.reserve(debits);
    }

    /// Takes back the debits from number `rows` on.
    pub fn truncate(&mut self, rows: usize) {
        self.rows.truncate(rows.saturating_sub(self.plain.len()));
        self.plain.truncate(rows);
    }

    /// Empties the batch and keeps its buffers.
    pub fn clear(&mut self) {
        self.plain.clear();
        self.rows.clear();
        self.text.clear();
        self.networks.clear();
        self.outcomes.clear();
        self.reservation = None;
    }

    /// How many debits it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.plain.len() + self.rows.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What became of each debit, in order; empty until the batch was judged.
    #[must_use]
    pub fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// The tokens that each debit asks for, in order; 0 for an invalid one, and for one that is to be priced.
    pub fn tokens(&self) -> impl Iterator<Item = u32> {
        let whole = self.rows.iter().map(|row| if row.unit.is_none() { row.amount } else { 0 });
        self.plain.iter().map(|row| row.tokens).chain(whole)
    }

    /// Checks the number of debits.
    ///
    /// # Errors
    /// When there are more than a batch may hold.
    pub fn check_size(&self) -> Result<(), Invalid> {
        if self.len() <= BATCH_DEBITS_MAX { Ok(()) } else { Err(Invalid::BatchSize) }
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

    /// The parts that judging needs: rows to read, outcomes to write.
    pub(crate) fn parts(&mut self) -> (Rows<'_>, &mut Vec<Outcome>) {
        self.outcomes.clear();
        let (reservation, networks) = (self.reservation.as_ref(), self.networks.as_slice());
        let common = InCommon { text: &self.text, reservation, networks };
        (Rows { plain: &self.plain, epoch: self.epoch, others: &self.rows, common }, &mut self.outcomes)
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
    use proptest::prelude::*;

    use super::*;

    /// Debits of which many are plain and some are not, each in one way.
    fn debits() -> impl Strategy<Value = Vec<Debit<'static>>> {
        let odd = prop_oneof![8 => Just(0_u8), 1 => 1_u8..6];
        prop::collection::vec((any::<u32>(), any::<u64>(), 1..DEBIT_TOKENS_MAX, odd), 0..40).prop_map(
            |rows| {
                let debit = |(slot, seq, tokens, odd): (u32, u64, u32, u8)| Debit {
                    camera: if odd == 1 { CameraRef::Id("cam") } else { CameraRef::Slot(Slot(slot)) },
                    identity: match odd {
                        2 => Identity::Seq { epoch: 8, seq },
                        3 => Identity::EventId(b"event"),
                        _ => Identity::Seq { epoch: 7, seq },
                    },
                    tokens: if odd == 5 { 0 } else { tokens.into() },
                    kind: if odd == 4 { UsageKind::Other } else { UsageKind::default() },
                    time: (odd == 3).then_some(Timestamp::FIRST),
                };
                rows.into_iter().map(debit).collect()
            },
        )
    }

    /// A row in the words of a debit; none of one that is invalid.
    fn told<'a>(row: DebitRow, text: &'a [u8]) -> Option<Debit<'a>> {
        let camera = match row.camera {
            RowCamera::Slot(slot) => CameraRef::Slot(slot),
            RowCamera::Id(id) => CameraRef::Id(std::str::from_utf8(id.of(text)).expect("text")),
        };
        let identity = match row.identity {
            RowIdentity::Seq { epoch, seq } => Identity::Seq { epoch, seq },
            RowIdentity::EventId(id) => Identity::EventId(id.of(text)),
        };
        let debit = Debit { camera, identity, tokens: row.amount.into(), kind: row.kind, time: row.time };
        row.invalid.is_none().then_some(debit)
    }

    proptest! {
        #[test]
        fn rows_keep_their_order_and_their_content_whichever_of_them_are_plain(
            debits in debits(),
            kept in any::<prop::sample::Index>(),
            named in any::<bool>(),
        ) {
            let (mut batch, network) = (DebitBatch::default(), Name::new("Yard").expect("a short name"));
            debits.iter().for_each(|debit| batch.push(*debit));
            if named {
                batch.expect_network(&network);
            }
            let rows: Vec<_> = batch.parts().0.iter().collect();
            let good = |debit: &Debit<'static>| check(debit).is_ok().then_some(*debit);
            let expected: Vec<_> = debits.iter().map(good).collect();
            let found: Vec<_> = rows.iter().map(|row| told(*row, batch.text())).collect();
            prop_assert_eq!(found, expected.clone());
            let names = rows.iter().map(|row| row.network.is_some());
            prop_assert!(names.rev().eq((0..rows.len()).map(|back| named && back == 0)));
            let tokens = expected.iter().map(|debit| debit.map_or(0, |debit| debit.tokens));
            prop_assert!(batch.tokens().map(u64::from).eq(tokens));

            let kept = kept.index(debits.len() + 1);
            batch.truncate(kept);
            prop_assert_eq!(batch.len(), kept);
            let rows: Vec<_> = batch.parts().0.iter().collect();
            let found: Vec<_> = rows.iter().map(|row| told(*row, batch.text())).collect();
            prop_assert_eq!(&found, &expected[..kept]);
            batch.clear();
            prop_assert!(batch.is_empty() && batch.parts().0.iter().next().is_none());
        }
    }

    #[test]
    fn the_ordinary_row_is_a_third_of_any_other() {
        assert_eq!((size_of::<PlainRow>(), size_of::<DebitRow>()), (16, 48));
        let plain = Debit {
            camera: CameraRef::Slot(Slot(1)),
            identity: Identity::Seq { epoch: 7, seq: 1 },
            tokens: 1,
            kind: UsageKind::default(),
            time: None,
        };
        let mut batch = DebitBatch::default();
        (0..3).for_each(|_| batch.push(plain));
        assert_eq!((batch.plain.len(), batch.rows.len()), (3, 0));
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
