//! What became of batches, as messages: charged rows are implied, the others are listed.

use crate::meter::{BatchReply, Durability, Error, FirstOutcome, Outcome, Refusal, Unavailable};
use crate::proto::v1;

/// Most listed rows of one acknowledgement before another one is begun; a row takes a few bytes.
const LISTED_ROWS_MAX: usize = 4_096;

/// The place of one client batch in what was judged together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The number that the client gave it.
    pub(super) number: u64,
    /// Its rows.
    pub(super) rows: usize,
}

/// Acknowledgements in order; neighbours are joined while they are of one organization.
#[derive(Debug, Default)]
pub(super) struct Acks {
    open: Option<v1::Ack>,
    listed: usize,
}

impl Acks {
    /// Adds what was judged together; the acknowledgement that it does not fit to is given back.
    #[must_use]
    pub(super) fn judged(
        &mut self,
        organization: u32,
        parts: &[Part],
        reply: &BatchReply,
    ) -> Option<v1::Ack> {
        let durability = durability_number(reply.durability);
        let full = self.begin(organization, parts, durability);
        let ack = self.open.as_mut().expect("one was begun");
        (ack.available, ack.lsn) = (Some(reply.available.0), Some(reply.lsn.0));
        let mut outcomes = reply.batch.outcomes();
        for part in parts {
            let (own, rest) = outcomes.split_at(part.rows);
            outcomes = rest;
            if let Some(exceptions) = exceptions(part.number, own) {
                self.listed += exceptions.row.len();
                ack.exceptions.push(exceptions);
            }
        }
        full
    }

    /// Adds batches of which every row has the same outcome, without being judged.
    #[must_use]
    pub(super) fn unjudged(&mut self, organization: u32, parts: &[Part], error: &Error) -> Option<v1::Ack> {
        let full = self.begin(organization, parts, v1::Durability::Durable.into());
        let ack = self.open.as_mut().expect("one was begun");
        let every_row = number_of_error(error).into();
        let all =
            parts.iter().map(|part| v1::Exceptions { batch: part.number, every_row, ..Default::default() });
        ack.exceptions.extend(all);
        full
    }

    /// The acknowledgement that is still open.
    #[must_use]
    pub(super) fn take(&mut self) -> Option<v1::Ack> {
        self.listed = 0;
        self.open.take()
    }

    /// Makes the open acknowledgement cover `parts`, or begins another.
    fn begin(&mut self, organization: u32, parts: &[Part], durability: i32) -> Option<v1::Ack> {
        let (first, last) =
            (parts.first().map_or(0, |part| part.number), parts.last().map_or(0, |part| part.number));
        let joins = |ack: &v1::Ack| ack.organization == organization && ack.durability == durability;
        if let Some(ack) = self.open.as_mut().filter(|ack| joins(ack) && self.listed < LISTED_ROWS_MAX) {
            ack.last_batch = last;
            return None;
        }
        let full = self.take();
        let begun =
            v1::Ack { organization, first_batch: first, last_batch: last, durability, ..Default::default() };
        self.open = Some(begun);
        full
    }
}

/// The rows of a batch that were not charged; none when all were.
fn exceptions(batch: u64, outcomes: &[Outcome]) -> Option<v1::Exceptions> {
    let first = *outcomes.iter().find(|outcome| **outcome != Outcome::Charged)?;
    let is_invalid = matches!(first, Outcome::Refused(Refusal::Invalid(_)));
    if !is_invalid && outcomes.iter().all(|outcome| *outcome == first) {
        return Some(v1::Exceptions { batch, every_row: number(first).into(), ..Default::default() });
    }
    let mut listed = v1::Exceptions { batch, ..Default::default() };
    for (row, outcome) in (0_u32..).zip(outcomes).filter(|(_, outcome)| **outcome != Outcome::Charged) {
        listed.row.push(row);
        listed.outcome.push(number(*outcome).into());
        if let Outcome::Refused(Refusal::Invalid(invalid)) = outcome {
            listed.details.push(v1::RowDetail { row, detail: invalid.to_string() });
        }
    }
    Some(listed)
}

/// The number of an outcome.
pub(super) fn number(outcome: Outcome) -> v1::Outcome {
    match outcome {
        Outcome::Charged => v1::Outcome::Charged,
        Outcome::Exempt => v1::Outcome::Exempt,
        Outcome::Duplicate(FirstOutcome::Charged) => v1::Outcome::DuplicateCharged,
        Outcome::Duplicate(FirstOutcome::Exempt) => v1::Outcome::DuplicateExempt,
        Outcome::Refused(refusal) => number_of_refusal(refusal),
    }
}

/// The durability that a number stands for; an unknown one is the safe one.
pub(super) fn durability(number: i32) -> Durability {
    if number == i32::from(v1::Durability::Applied) { Durability::Applied } else { Durability::Durable }
}

/// The number of a durability.
pub(super) fn durability_number(durability: Durability) -> i32 {
    match durability {
        Durability::Durable => v1::Durability::Durable.into(),
        Durability::Applied => v1::Durability::Applied.into(),
    }
}

fn number_of_error(error: &Error) -> v1::Outcome {
    match error {
        Error::Refused(refusal) => number_of_refusal(*refusal),
        // No debit is answered with the latter: none is an administrative act.
        Error::Unavailable(Unavailable::Poisoned { .. } | Unavailable::Unaudited { .. }) => {
            v1::Outcome::Poisoned
        }
        Error::Unavailable(Unavailable::Rebuilding) => v1::Outcome::Rebuilding,
        Error::Unavailable(Unavailable::Closing) => v1::Outcome::Closing,
        Error::Unavailable(Unavailable::Elsewhere { .. }) => v1::Outcome::Elsewhere,
    }
}

fn number_of_refusal(refusal: Refusal) -> v1::Outcome {
    match refusal {
        Refusal::Invalid(_) => v1::Outcome::Invalid,
        Refusal::UnknownOrganization => v1::Outcome::UnknownOrganization,
        Refusal::UnknownCamera => v1::Outcome::UnknownCamera,
        Refusal::CloudAiDisabled => v1::Outcome::CloudAiDisabled,
        Refusal::TooOld => v1::Outcome::TooOld,
        Refusal::Conflict => v1::Outcome::Conflict,
        Refusal::InTransfer => v1::Outcome::InTransfer,
        Refusal::InsufficientTokens => v1::Outcome::InsufficientTokens,
        Refusal::Busy => v1::Outcome::Busy,
        Refusal::Forbidden => v1::Outcome::Forbidden,
        Refusal::UnknownReservation => v1::Outcome::UnknownReservation,
        Refusal::ReservationEnded => v1::Outcome::ReservationEnded,
        Refusal::ReservationExceeded => v1::Outcome::ReservationExceeded,
        Refusal::Unpriced => v1::Outcome::Unpriced,
        _ => v1::Outcome::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::Invalid;

    #[test]
    fn charged_rows_are_implied_and_the_others_are_listed() {
        let (charged, refused) = (Outcome::Charged, Outcome::Refused(Refusal::Conflict));
        assert_eq!(exceptions(1, &[charged; 3]), None);
        let all = exceptions(1, &[refused; 3]).expect("exceptions");
        assert_eq!((all.every_row(), all.row.len()), (v1::Outcome::Conflict, 0));
        let invalid = Outcome::Refused(Invalid::Tokens.into());
        let some = exceptions(1, &[charged, refused, invalid]).expect("exceptions");
        assert_eq!((some.row.as_slice(), some.every_row()), (&[1, 2][..], v1::Outcome::Unspecified));
        assert_eq!(some.outcome, [i32::from(v1::Outcome::Conflict), i32::from(v1::Outcome::Invalid)]);
        assert!(some.details[0].row == 2 && some.details[0].detail.contains("tokens"));
    }

    #[test]
    fn every_debit_refusal_has_a_number_named_like_its_code() {
        for refusal in [
            Refusal::Invalid(Invalid::Tokens),
            Refusal::UnknownOrganization,
            Refusal::UnknownCamera,
            Refusal::CloudAiDisabled,
            Refusal::TooOld,
            Refusal::Conflict,
            Refusal::InTransfer,
            Refusal::InsufficientTokens,
            Refusal::Busy,
            Refusal::Forbidden,
            Refusal::UnknownReservation,
            Refusal::ReservationEnded,
            Refusal::ReservationExceeded,
        ] {
            let name = number_of_refusal(refusal).as_str_name().trim_start_matches("OUTCOME_").to_lowercase();
            assert_eq!(name, refusal.code());
        }
    }
}
