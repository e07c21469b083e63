//! The debit frame's body: admitted debits as columns, packed by hand, about five bytes a debit.
//!
//! Layout: organization number, time of admission (ms), count (varints); flags (`u8`); then
//! - all identified by sequence numbers: rows of slot, tokens, kind, epoch, seq;
//! - otherwise (`EVENT_IDS`): rows of slot, tokens, kind; a bitmap of the rows that bear event ids; rows of epoch and seq
//!   for those that do not; the lengths of the event ids; their bytes end to end;
//! - `TIMES`: a column of 0 for a row without a time, else one more than the zigzag of admission minus event time;
//! - `EXEMPT`: a bitmap of the exempt rows;
//! - `RESERVATION`: the length (`u8`) and the text of the id of the reservation that paid them;
//! - `PRICED`: a bitmap of the rows that a rate card priced; rows of unit, count, version of the card for those.
//!
//! Neither content prints nor hashes of event ids are stored: the first follow from the content, the second from the id under
//! the secret of the pool ([`DecodedDebits::resolve`]).

use crate::domain::debit::{Charge, ChargeIdentity, Charges, Priced, Span, UsageKind};
use crate::domain::hash::{self, HashSecret};
use crate::domain::ids::{OrgNumber, ReservationId, Slot};
use crate::domain::limits::{
    BATCH_DEBITS_MAX, DEBIT_TOKENS_MAX, EVENT_ID_BYTES_MAX, PARTITION_ORGANIZATIONS_MAX, POOL_CAMERAS_MAX,
};
use crate::domain::rates::Unit;
use crate::domain::time::Timestamp;

use super::columns::{self, Rows};
use super::decode_error::DecodeError;
use super::wire;

/// Most debits of one frame.
pub const FRAME_DEBITS_MAX: usize = 2 * BATCH_DEBITS_MAX;

/// Flag: some rows bear event ids.
const EVENT_IDS: u8 = 1;
/// Flag: some rows bear a time.
const TIMES: u8 = 2;
/// Flag: some rows are exempt.
const EXEMPT: u8 = 4;
/// Flag: a reservation paid.
const RESERVATION: u8 = 8;
/// Flag: some rows were priced by a rate card.
const PRICED: u8 = 16;

/// Appends the body of a debit frame.
///
/// # Panics
/// When there is no debit, or more than [`FRAME_DEBITS_MAX`]: what is written can be read again.
pub fn encode_debits(out: &mut Vec<u8>, org: OrgNumber, batch: &Charges<'_>) {
    let charges = batch.charges;
    assert!((1..=FRAME_DEBITS_MAX).contains(&charges.len()), "a frame holds 1 to {FRAME_DEBITS_MAX} debits");
    let flags = flags_of(charges) | batch.reservation.map_or(0, |_| RESERVATION);
    wire::put_varint(out, u64::from(org.0));
    wire::put_varint(out, batch.at.ms());
    wire::put_varint(out, u64::try_from(charges.len()).expect("bounded above"));
    out.push(flags);
    if flags & EVENT_IDS == 0 {
        columns::encode_rows(out, charges.iter().map(seq_row));
    } else {
        put_mixed(out, charges, batch.text);
    }
    if flags & TIMES != 0 {
        columns::encode(out, charges.iter().map(|charge| to_offset(batch.at, charge.time)));
    }
    if flags & EXEMPT != 0 {
        wire::put_bitmap(out, charges.iter().map(|charge| charge.exempt));
    }
    if let Some(id) = batch.reservation {
        out.push(u8::try_from(id.as_str().len()).expect("an id is short"));
        out.extend_from_slice(id.as_str().as_bytes());
    }
    if flags & PRICED != 0 {
        wire::put_bitmap(out, charges.iter().map(|charge| charge.priced.is_some()));
        columns::encode_rows(out, charges.iter().filter_map(priced_row));
    }
}

/// A debit frame as read; its buffers are reused.
#[derive(Clone, Debug)]
pub struct DecodedDebits {
    /// The organization.
    pub org: OrgNumber,
    /// When they were admitted.
    pub at: Timestamp,
    charges: Vec<Charge>,
    text: Vec<u8>,
    reservation: Option<ReservationId>,
}

impl DecodedDebits {
    /// Empty buffers.
    #[must_use]
    pub fn new() -> Self {
        let (charges, text) = (Vec::new(), Vec::new());
        Self { org: OrgNumber(0), at: Timestamp::FIRST, charges, text, reservation: None }
    }

    /// Fills in the hashes of event ids, which follow from the secret of the organization's pool. Until then
    /// they are 0.
    pub fn resolve(&mut self, secret: HashSecret) {
        if self.text.is_empty() {
            return;
        }
        for charge in &mut self.charges {
            if let ChargeIdentity::EventId { hash, id } = &mut charge.identity {
                *hash = hash::event_id(secret, charge.slot, id.of(&self.text));
            }
        }
    }

    /// The debits, to be carried out.
    #[must_use]
    pub fn charges(&self) -> Charges<'_> {
        let reservation = self.reservation.as_ref();
        Charges { at: self.at, charges: &self.charges, text: &self.text, reservation }
    }
}

impl Default for DecodedDebits {
    fn default() -> Self {
        Self::new()
    }
}

/// Reads the body of a debit frame into `into`, replacing what was there.
///
/// # Errors
/// When the body is cut off or too long, or a value is out of its bounds. What `into` then holds is of no use.
pub fn decode_debits(body: &[u8], into: &mut DecodedDebits) -> Result<(), DecodeError> {
    let from = &mut &*body;
    into.charges.clear();
    into.text.clear();
    into.org = take_org(from)?;
    into.at =
        Timestamp::from_ms(wire::take_varint(from)?).map_err(|_| DecodeError("a debit frame's time"))?;
    let count = usize::try_from(wire::take_varint(from)?).unwrap_or(usize::MAX);
    if !(1..=FRAME_DEBITS_MAX).contains(&count) {
        return Err(DecodeError("a debit frame's count"));
    }
    let flags = wire::take_u8(from)?;
    if flags & !(EVENT_IDS | TIMES | EXEMPT | RESERVATION | PRICED) != 0 {
        return Err(DecodeError("a debit frame's flags"));
    }
    if flags & EVENT_IDS == 0 {
        take_seq_rows(from, count, &mut into.charges)?;
    } else {
        take_mixed(from, count, into)?;
    }
    if flags & TIMES != 0 {
        take_times(from, into)?;
    }
    if flags & EXEMPT != 0 {
        take_exempt(from, &mut into.charges)?;
    }
    into.reservation = if flags & RESERVATION == 0 { None } else { Some(take_reservation(from)?) };
    if flags & PRICED != 0 {
        take_priced(from, &mut into.charges)?;
    }
    wire::end(from)?;
    into.charges.iter_mut().try_for_each(finish)
}

/// Takes the number of an organization off the front of `from`.
///
/// # Errors
/// When it is cut off, or no partition has so many.
pub(super) fn take_org(from: &mut &[u8]) -> Result<OrgNumber, DecodeError> {
    let number = wire::take_varint_u32(from)?;
    if number < PARTITION_ORGANIZATIONS_MAX {
        Ok(OrgNumber(number))
    } else {
        Err(DecodeError("an organization's number"))
    }
}

fn take_reservation(from: &mut &[u8]) -> Result<ReservationId, DecodeError> {
    let len = usize::from(wire::take_u8(from)?);
    let id = std::str::from_utf8(wire::take(from, len)?).ok().and_then(|id| ReservationId::new(id).ok());
    id.ok_or(DecodeError("a debit frame's reservation"))
}

/// A few plain accumulators, put together once: this runs over every debit.
#[inline]
fn flags_of(charges: &[Charge]) -> u8 {
    let (mut event_ids, mut times, mut exempt, mut priced) = (false, 0, false, false);
    for charge in charges {
        event_ids |= matches!(charge.identity, ChargeIdentity::EventId { .. });
        times |= charge.time.map_or(0, Timestamp::ms);
        exempt |= charge.exempt;
        priced |= charge.priced.is_some();
    }
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    flag(event_ids, EVENT_IDS) | flag(times != 0, TIMES) | flag(exempt, EXEMPT) | flag(priced, PRICED)
}

#[inline]
fn seq_row(charge: &Charge) -> [u64; 5] {
    let [epoch, seq] = seq_of(charge).unwrap_or_default();
    let [slot, tokens, kind] = base_row(charge);
    [slot, tokens, kind, epoch, seq]
}

#[inline]
fn base_row(charge: &Charge) -> [u64; 3] {
    [u64::from(charge.slot.0), u64::from(charge.tokens), u64::from(charge.kind.number())]
}

#[inline]
fn seq_of(charge: &Charge) -> Option<[u64; 2]> {
    match charge.identity {
        ChargeIdentity::Seq { epoch, seq } => Some([u64::from(epoch), seq]),
        ChargeIdentity::EventId { .. } => None,
    }
}

fn priced_row(charge: &Charge) -> Option<[u64; 3]> {
    let Priced { unit, count, version } = charge.priced?;
    Some([u64::from(unit.number()), u64::from(count), u64::from(version)])
}

fn event_id_of<'a>(charge: &Charge, text: &'a [u8]) -> Option<&'a [u8]> {
    match charge.identity {
        ChargeIdentity::EventId { id, .. } => Some(id.of(text)),
        ChargeIdentity::Seq { .. } => None,
    }
}

fn put_mixed(out: &mut Vec<u8>, charges: &[Charge], text: &[u8]) {
    columns::encode_rows(out, charges.iter().map(base_row));
    wire::put_bitmap(out, charges.iter().map(|charge| seq_of(charge).is_none()));
    columns::encode_rows(out, charges.iter().filter_map(seq_of));
    let ids = charges.iter().filter_map(|charge| event_id_of(charge, text));
    columns::encode(out, ids.clone().map(|id| u64::try_from(id.len()).expect("an event id is short")));
    ids.for_each(|id| out.extend_from_slice(id));
}

fn take_seq_rows(from: &mut &[u8], count: usize, charges: &mut Vec<Charge>) -> Result<(), DecodeError> {
    let rows = Rows::<5>::take(from, count)?;
    charges.reserve(count);
    for [slot, tokens, kind, epoch, seq] in rows.iter() {
        charges.push(charge([slot, tokens, kind], seq_identity([epoch, seq])?)?);
    }
    Ok(())
}

fn take_mixed(from: &mut &[u8], count: usize, into: &mut DecodedDebits) -> Result<(), DecodeError> {
    let rows = Rows::<3>::take(from, count)?;
    let bears_id = wire::take_bitmap(from, count)?;
    let id_count = wire::count_bits(bears_id);
    if id_count == 0 {
        return Err(DecodeError("a debit frame's flag for event ids without any"));
    }
    let mut seqs = Rows::<2>::take(from, count - id_count)?.iter();
    let mut lengths = Rows::<1>::take(from, id_count)?.iter();
    into.charges.reserve(count);
    for (i, row) in rows.iter().enumerate() {
        let identity = if wire::bit(bears_id, i) {
            take_event_id(from, lengths.next().unwrap_or_default(), &mut into.text)?
        } else {
            seq_identity(seqs.next().unwrap_or_default())?
        };
        into.charges.push(charge(row, identity)?);
    }
    Ok(())
}

fn take_event_id(
    from: &mut &[u8],
    [len]: [u64; 1],
    text: &mut Vec<u8>,
) -> Result<ChargeIdentity, DecodeError> {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if !(1..=EVENT_ID_BYTES_MAX).contains(&len) {
        return Err(DecodeError("an event id's length"));
    }
    Ok(ChargeIdentity::EventId { hash: 0, id: Span::push(text, wire::take(from, len)?) })
}

#[inline]
fn seq_identity([epoch, seq]: [u64; 2]) -> Result<ChargeIdentity, DecodeError> {
    let epoch = u32::try_from(epoch).map_err(|_| DecodeError("a debit's epoch"))?;
    Ok(ChargeIdentity::Seq { epoch, seq })
}

#[inline]
fn charge([slot, tokens, kind]: [u64; 3], identity: ChargeIdentity) -> Result<Charge, DecodeError> {
    let slot = u32::try_from(slot).ok().filter(|slot| *slot < POOL_CAMERAS_MAX);
    let tokens = u32::try_from(tokens).ok().filter(|tokens| (1..=DEBIT_TOKENS_MAX).contains(tokens));
    let kind = u8::try_from(kind).ok().and_then(|kind| UsageKind::from_number(kind).ok());
    Ok(Charge {
        slot: Slot(slot.ok_or(DecodeError("a debit's slot"))?),
        identity,
        time: None,
        tokens: tokens.ok_or(DecodeError("a debit's tokens"))?,
        print: 0,
        kind: kind.ok_or(DecodeError("a debit's usage kind"))?,
        exempt: false,
        priced: None,
    })
}

fn take_times(from: &mut &[u8], into: &mut DecodedDebits) -> Result<(), DecodeError> {
    let times = Rows::<1>::take(from, into.charges.len())?;
    for (charge, [offset]) in into.charges.iter_mut().zip(times.iter()) {
        charge.time = from_offset(into.at, offset)?;
    }
    let any = into.charges.iter().any(|charge| charge.time.is_some());
    if any { Ok(()) } else { Err(DecodeError("a debit frame's flag for times without any")) }
}

fn take_exempt(from: &mut &[u8], charges: &mut [Charge]) -> Result<(), DecodeError> {
    let exempt = wire::take_bitmap(from, charges.len())?;
    if wire::count_bits(exempt) == 0 {
        return Err(DecodeError("a debit frame's flag for exempt rows without any"));
    }
    for (i, charge) in charges.iter_mut().enumerate() {
        charge.exempt = wire::bit(exempt, i);
    }
    Ok(())
}

fn take_priced(from: &mut &[u8], charges: &mut [Charge]) -> Result<(), DecodeError> {
    let priced = wire::take_bitmap(from, charges.len())?;
    let count = wire::count_bits(priced);
    if count == 0 {
        return Err(DecodeError("a debit frame's flag for priced rows without any"));
    }
    let mut rows = Rows::<3>::take(from, count)?.iter();
    for (i, charge) in charges.iter_mut().enumerate() {
        if wire::bit(priced, i) {
            charge.priced = Some(priced_of(rows.next().unwrap_or_default())?);
        }
    }
    Ok(())
}

fn priced_of([unit, count, version]: [u64; 3]) -> Result<Priced, DecodeError> {
    let unit = Unit::ALL.into_iter().find(|known| u64::from(known.number()) == unit);
    let count = u32::try_from(count).ok().filter(|count| (1..=DEBIT_TOKENS_MAX).contains(count));
    let version = u32::try_from(version).ok().filter(|version| *version > 0);
    let priced = unit.zip(count).zip(version);
    let priced = priced.map(|((unit, count), version)| Priced { unit, count, version });
    priced.ok_or(DecodeError("what a rate card priced"))
}

/// What follows from a whole row.
fn finish(charge: &mut Charge) -> Result<(), DecodeError> {
    if charge.time.is_none() && matches!(charge.identity, ChargeIdentity::EventId { .. }) {
        return Err(DecodeError("an event id without the event's time"));
    }
    charge.print = charge.content_print();
    Ok(())
}

/// 0 for no time; else one more than twice by how much it lies before `at`, or twice by how much after it.
fn to_offset(at: Timestamp, time: Option<Timestamp>) -> u64 {
    let Some(time) = time else { return 0 };
    match at.ms().checked_sub(time.ms()) {
        Some(before) => 2 * before + 1,
        None => 2 * (time.ms() - at.ms()),
    }
}

fn from_offset(at: Timestamp, offset: u64) -> Result<Option<Timestamp>, DecodeError> {
    let half = offset / 2;
    let ms = match offset {
        0 => return Ok(None),
        _ if offset % 2 == 1 => at.ms().checked_sub(half),
        _ => at.ms().checked_add(half),
    };
    ms.and_then(|ms| Timestamp::from_ms(ms).ok()).map(Some).ok_or(DecodeError("a debit's time"))
}

#[cfg(test)]
#[path = "debit_codec_tests.rs"]
mod tests;
