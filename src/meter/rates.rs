//! Rate cards of an organization, and what events would cost by them.

use crate::domain::batch::DebitBatch;
use crate::domain::command::Command;
use crate::domain::debit::Outcome;
use crate::domain::decide::{self, Verdict};
use crate::domain::pool::Pool;
use crate::domain::rates::{Price, RateCard};
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;

use super::error::Error;
use super::organization::{Organization, allow};

/// What would become of a debit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// The outcome that it would have.
    pub outcome: Outcome,
    /// Tokens that it would be charged, or exempt from; 0 when it was before, or would be refused.
    pub tokens: u32,
    /// The version of the rate card that prices it; none where the debit bears its tokens.
    pub rate_card: Option<u32>,
}

impl Estimate {
    fn of(judged: Result<Verdict, Refusal>) -> Self {
        let nothing = |outcome| Self { outcome, tokens: 0, rate_card: None };
        match judged {
            Ok(Verdict::Charge(charge)) => {
                let outcome = if charge.exempt { Outcome::Exempt } else { Outcome::Charged };
                let rate_card = charge.priced.map(|priced| priced.version);
                Self { outcome, tokens: charge.tokens, rate_card }
            }
            Ok(Verdict::Duplicate(first)) => nothing(Outcome::Duplicate(first)),
            Err(refusal) => nothing(Outcome::Refused(refusal)),
        }
    }
}

impl Organization {
    /// Sets the prices of events from a time on, or from now. Cards that apply from later are superseded then, earlier ones go
    /// on pricing the events of their time; what was charged stays as it was. A transfer of the pool leaves its rate cards.
    /// Answers with the card that is the newest.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] unless an administrator asks, and when the prices are no rate card.
    pub async fn set_rates(&self, from: Option<Timestamp>, prices: Vec<Price>) -> Result<RateCard, Error> {
        let set = Command::SetRates { from, prices, by: self.by() };
        self.administer("set_rates", None, set).await?;
        let newest = self.ask(|pool: &Pool, _| pool.rates.newest().cloned()).await?;
        Ok(newest.ok_or(Refusal::Unpriced)?)
    }

    /// The rate cards that are remembered, the newest last.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] without the right to read.
    pub async fn rates(&self) -> Result<Vec<RateCard>, Error> {
        allow(self.rights.read)?;
        self.ask(|pool: &Pool, _| pool.rates.cards().cloned().collect()).await
    }

    /// What each debit of a batch would cost, judged as if it came alone. Nothing is changed.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] without the right to debit, [`Refusal::Busy`], and when the batch is too large.
    pub async fn estimate(&self, mut batch: DebitBatch) -> Result<Vec<Estimate>, Error> {
        allow(self.rights.debit)?;
        batch.check_size()?;
        let debits = batch.len();
        let judge = move |pool: &Pool, now: Timestamp| {
            let (rows, _) = batch.parts();
            rows.iter().map(|row| Estimate::of(decide::debit(pool, &row, rows.common, now))).collect()
        };
        self.ask_of(debits, judge).await
    }
}
