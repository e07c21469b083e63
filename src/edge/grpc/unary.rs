//! From messages of single calls to what the meter takes and gives, and back.

use crate::meter::{
    CameraRef, Debit, DebitBatch, Identity, Invalid, Measured, NetworkUsage, Outcome, ReservationId,
    ReservationStatus, ReservationView, Summary, Timestamp, TransferState, TransferView, Unit, UsageKind,
    status,
};
use crate::proto::v1;

use super::ack::number;

/// What a message asks for.
pub(super) enum Asked<'a> {
    /// Tokens.
    Debit(Debit<'a>),
    /// What the rate card says.
    Measured(Measured<'a>),
}

/// A debit, or an event to be priced where it bears no tokens; the meter judges what the message lets pass.
///
/// # Errors
/// When it has no identity, or a value that no debit can have.
pub(super) fn asked(message: &v1::Debit) -> Result<Asked<'_>, Invalid> {
    let debit = debit(message)?;
    let Some(measured) = message.measured.as_ref().filter(|_| message.tokens == 0) else {
        return Ok(Asked::Debit(debit));
    };
    let unit = Unit::from_number(u64::try_from(measured.unit).map_err(|_| Invalid::Unit)?)?;
    let Debit { camera, identity, kind, time, .. } = debit;
    Ok(Asked::Measured(Measured { camera, identity, unit, count: measured.count, kind, time }))
}

fn debit(message: &v1::Debit) -> Result<Debit<'_>, Invalid> {
    let identity = match message.identity.as_ref().ok_or(Invalid::Identity)? {
        v1::debit::Identity::Seq(v1::Seq { epoch, seq }) => Identity::Seq { epoch: *epoch, seq: *seq },
        v1::debit::Identity::EventId(id) => Identity::EventId(id),
    };
    Ok(Debit {
        camera: CameraRef::Id(&message.camera),
        identity,
        tokens: message.tokens,
        kind: UsageKind::from_number(u8::try_from(message.kind).map_err(|_| Invalid::UsageKind)?)?,
        time: message.time_ms.map(Timestamp::from_ms).transpose()?,
    })
}

/// Adds debits to a batch; one that cannot be read keeps its place as `invalid`.
pub(super) fn push(debits: &[v1::Debit], batch: &mut DebitBatch) {
    for message in debits {
        match asked(message) {
            Ok(Asked::Debit(debit)) => batch.push(debit),
            Ok(Asked::Measured(event)) => batch.push_measured(event),
            Err(invalid) => batch.push_invalid(invalid),
        }
    }
}

/// The reservation that a message names; none where it leaves it to the pool.
///
/// # Errors
/// When it is no id.
pub(super) fn reservation_id(text: &str) -> Result<Option<ReservationId>, Invalid> {
    if text.is_empty() { Ok(None) } else { ReservationId::new(text).map(Some) }
}

/// What became of a debit.
pub(super) fn result(outcome: Outcome) -> v1::DebitResult {
    let detail = if let Outcome::Refused(refusal) = outcome { refusal.to_string() } else { String::new() };
    v1::DebitResult { outcome: number(outcome).into(), code: status::code(outcome).to_owned(), detail }
}

/// A summary.
pub(super) fn summary(summary: Summary) -> v1::SummaryReply {
    let network = |network: NetworkUsage| v1::NetworkUsage {
        name: network.name.as_str().to_owned(),
        used: network.used.0,
        exempt: network.exempt.0,
    };
    v1::SummaryReply {
        organization: summary.organization.as_str().to_owned(),
        name: summary.name.as_str().to_owned(),
        available: summary.available.0,
        in_transit: summary.in_transit.0,
        granted: summary.totals.granted.0,
        used: summary.totals.used.0,
        exempt: summary.totals.exempt.0,
        transferred_in: summary.totals.transferred_in.0,
        transferred_out: summary.totals.transferred_out.0,
        debits_charged: summary.totals.debits_charged,
        debits_exempt: summary.totals.debits_exempt,
        licenses: u64::try_from(summary.licenses).unwrap_or(u64::MAX),
        estimated_analytics_ms: summary.estimated_analytics_ms,
        cloud_ai_enabled: summary.cloud_ai_enabled,
        cameras: summary.cameras,
        networks: summary.networks.into_iter().map(network).collect(),
        held: summary.held.0,
        reservations: u64::try_from(summary.reservations).unwrap_or(u64::MAX),
    }
}

/// Where a transfer stands.
pub(super) fn transfer(transfer: TransferView) -> v1::TransferReply {
    let state = match transfer.state {
        TransferState::Begun => v1::TransferState::Begun,
        TransferState::Committed => v1::TransferState::Committed,
        TransferState::Aborting => v1::TransferState::Aborting,
        TransferState::Finished => v1::TransferState::Finished,
        TransferState::Aborted => v1::TransferState::Aborted,
    };
    v1::TransferReply {
        id: transfer.id.as_str().to_owned(),
        source: transfer.source.as_str().to_owned(),
        target: transfer.target.as_str().to_owned(),
        state: state.into(),
        tokens: transfer.tokens.0,
        licenses: transfer.licenses,
        refusal: transfer.refusal.unwrap_or_default(),
        begun_at_ms: transfer.begun_at.ms(),
        ended_at_ms: transfer.ended_at.map(Timestamp::ms),
    }
}

/// A reservation.
pub(super) fn reservation(reservation: &ReservationView) -> v1::Reservation {
    let status = match reservation.status {
        ReservationStatus::Open => v1::ReservationStatus::Open,
        ReservationStatus::Settled => v1::ReservationStatus::Settled,
        ReservationStatus::Released => v1::ReservationStatus::Released,
        ReservationStatus::Expired => v1::ReservationStatus::Expired,
    };
    v1::Reservation {
        id: reservation.id.as_str().to_owned(),
        status: status.into(),
        reserved: reservation.reserved.0,
        settled: reservation.settled.0,
        held: reservation.held.0,
        made_at_ms: reservation.made_at.ms(),
        expires_at_ms: reservation.expires_at.ms(),
        ended_at_ms: reservation.ended_at.map(Timestamp::ms),
        by: reservation.by.as_str().to_owned(),
    }
}
