//! How the naive pool judges a debit.

use tokenweir::domain::debit::{Debit, FirstOutcome, Identity, Outcome, UsageKind};
use tokenweir::domain::hash::content_print;
use tokenweir::domain::limits::{EVENT_AHEAD_MS_MAX, RATE_CARDS_MAX, SEQ_CONTENT_WINDOW, SEQ_WINDOW};
use tokenweir::domain::rates::Unit;
use tokenweir::domain::refusal::{Invalid, Refusal};
use tokenweir::domain::time::Timestamp;

use super::super::support::RETENTION;
use super::{Content, Naive, full_id, name_of};

/// What is remembered of a debit's identity.
#[derive(Clone, Copy, Debug)]
enum Memory {
    New,
    TooOld,
    Same(FirstOutcome),
    Other,
}

impl Naive {
    /// Every outcome that the rules allow for the debit, which a reservation is to pay or the pool.
    pub(crate) fn allowed(
        &self,
        (debit, unit, paid_by): (&Debit<'_>, Option<Unit>, Option<&str>),
        clock: Timestamp,
    ) -> Vec<Outcome> {
        let now = clock.ms().max(self.last_ms);
        if debit.tokens == 0 {
            let what = if unit.is_some() { Invalid::Quantity } else { Invalid::Tokens };
            return vec![Outcome::Refused(Refusal::Invalid(what))];
        }
        if debit.time.is_some_and(|time| time.ms() > now + EVENT_AHEAD_MS_MAX) {
            return vec![Outcome::Refused(Refusal::Invalid(Invalid::TimeAhead))];
        }
        let Some(camera) = self.cameras.get(name_of(debit)) else {
            return vec![Outcome::Refused(Refusal::UnknownCamera)];
        };
        let price = self.price(debit, unit, now);
        let judge = |memory| self.judge((debit, price, paid_by), *camera, memory, now);
        self.memories(debit, unit, now).into_iter().map(judge).collect()
    }

    /// What it costs, by the newest price from then or before; none when it has no price.
    pub(super) fn price(&self, debit: &Debit<'_>, unit: Option<Unit>, now: u64) -> Option<u64> {
        if unit.is_none() {
            return Some(debit.tokens);
        }
        let time = debit.time.map_or(now, Timestamp::ms);
        let remembered = self.rates.iter().rev().take(RATE_CARDS_MAX);
        let (_, price) = remembered.into_iter().find(|(from, _)| from.ms() <= time)?;
        let is_priced = UsageKind::ALL[..2].contains(&debit.kind);
        is_priced.then(|| (debit.tokens * price).div_ceil(1_000))
    }

    fn judge(
        &self,
        (debit, price, paid_by): (&Debit<'_>, Option<u64>, Option<&str>),
        (here, on): (bool, bool),
        memory: Memory,
        now: u64,
    ) -> Outcome {
        Outcome::Refused(match memory {
            Memory::Same(first) => return Outcome::Duplicate(first),
            _ if !here => Refusal::UnknownCamera,
            _ if !on => Refusal::CloudAiDisabled,
            Memory::TooOld => Refusal::TooOld,
            Memory::Other => Refusal::Conflict,
            Memory::New => match price {
                None => Refusal::Unpriced,
                Some(_) if self.is_exempt(debit, now) => return Outcome::Exempt,
                Some(tokens) => match self.refusal(paid_by, tokens) {
                    None => return Outcome::Charged,
                    Some(refusal) => refusal,
                },
            },
        })
    }

    fn is_exempt(&self, debit: &Debit<'_>, now: u64) -> bool {
        let time = debit.time.map_or(now, Timestamp::ms);
        self.bindings.values().any(|(camera, license)| {
            let valid = license.from.ms() <= time && time < license.until.ms();
            camera == name_of(debit) && valid && license.kind == debit.kind
        })
    }

    fn memories(&self, debit: &Debit<'_>, unit: Option<Unit>, now: u64) -> Vec<Memory> {
        let first = self.charged.get(&full_id(debit));
        let same = first.is_some_and(|(content, _)| same_content(*content, (debit, unit)));
        match (debit.identity, first) {
            (Identity::Seq { epoch, seq }, _) => {
                let (top_epoch, top) = self.newest.get(name_of(debit)).copied().unwrap_or((epoch, seq));
                let below = if epoch == top_epoch { top.saturating_sub(seq) } else { 0 };
                match first {
                    _ if epoch < top_epoch || below > SEQ_WINDOW => vec![Memory::TooOld],
                    Some((_, outcome)) if same || below >= SEQ_CONTENT_WINDOW => vec![Memory::Same(*outcome)],
                    Some(_) => vec![Memory::Other],
                    None => vec![Memory::New],
                }
            }
            (Identity::EventId(_), first) => {
                let horizon = now - RETENTION;
                let is_old = |time: Option<Timestamp>| time.expect("an event id has a time").ms() < horizon;
                match first {
                    Some((_, outcome)) if same && is_old(debit.time) => {
                        vec![Memory::Same(*outcome), Memory::TooOld]
                    }
                    Some((_, outcome)) if same => vec![Memory::Same(*outcome)],
                    _ if is_old(debit.time) => vec![Memory::TooOld],
                    // The first was at a time that is past the retention: with a new time it may pass for a new event.
                    Some(((.., time), _)) if is_old(*time) => vec![Memory::Other, Memory::New],
                    Some(_) => vec![Memory::Other],
                    None => vec![Memory::New],
                }
            }
        }
    }
}

/// Content is compared by its print, as the pool does: two in 65,536 contents look alike.
fn same_content(
    (tokens, first_unit, kind, time): Content,
    (debit, unit): (&Debit<'_>, Option<Unit>),
) -> bool {
    let small = |tokens: u64| u32::try_from(tokens).expect("tests spend little");
    let what = |kind: UsageKind, unit: Option<Unit>| kind.number() + 16 * unit.map_or(0, Unit::number);
    let first = content_print(small(tokens), what(kind, first_unit), time);
    let now = content_print(small(debit.tokens), what(debit.kind, unit), debit.time);
    let ignored = if matches!(debit.identity, Identity::EventId(_)) { 1 } else { 0 };
    first | ignored == now | ignored
}
