//! The rate card of an organization: what an event costs that bears no token count.
//!
//! A card is a list of prices, each for a usage kind and a unit, and applies from a time on until the next one does. An event is
//! priced by the card of its own time, once, when it is admitted; the journal has the tokens. Money is not in here, and
//! no floats: a price is a whole number of thousandths of a token, and what comes out is rounded up to whole tokens.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::debit::UsageKind;
use super::ids::ActorId;
use super::limits::{DEBIT_TOKENS_MAX, RATE_CARDS_MAX, RATE_MILLITOKENS_MAX};
use super::refusal::{Invalid, Refusal};
use super::time::Timestamp;

/// What a quantity counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Events.
    Event,
    /// Images that were looked at.
    Image,
    /// Seconds of video; a quantity counts them in milliseconds.
    Second,
}

/// What one unit of a kind costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// What the tokens are used for.
    pub kind: UsageKind,
    /// Of what this is the price.
    pub unit: Unit,
    /// Thousandths of a token for one of it: 1 to 1,000,000,000,000.
    pub millitokens: u64,
}

/// Prices that apply together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateCard {
    /// Its version: 1 for the first of an organization, and one more for each after it.
    pub version: u32,
    /// The time of the first events that it prices.
    pub from: Timestamp,
    /// When it was set.
    pub at: Timestamp,
    /// Who set it.
    pub by: ActorId,
    /// The prices, at most one for a kind and a unit, in their order.
    pub prices: Vec<Price>,
}

/// The rate cards of an organization.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rates {
    /// In the order of their versions, which is that of their times.
    cards: VecDeque<RateCard>,
}

impl Unit {
    /// All units; the place of each, counted from 1, is its stored number.
    pub const ALL: [Self; 3] = [Self::Event, Self::Image, Self::Second];

    /// The number by which the unit is stored; 0 is that of tokens, which need no price.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Event => 1,
            Self::Image => 2,
            Self::Second => 3,
        }
    }

    /// The unit with this number.
    ///
    /// # Errors
    /// When there is none.
    pub fn from_number(number: u64) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|unit| u64::from(unit.number()) == number).ok_or(Invalid::Unit)
    }

    /// The unit's name, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Image => "image",
            Self::Second => "second",
        }
    }

    /// How many of a quantity's count are one unit.
    fn counts(self) -> u64 {
        if self == Self::Second { 1_000 } else { 1 }
    }
}

impl Price {
    /// The tokens of so many: rounded up, so that what costs anything costs one token at least.
    ///
    /// # Errors
    /// When they are more than a debit may have.
    pub fn of(&self, count: u32) -> Result<u32, Invalid> {
        let per_token = u128::from(self.unit.counts()) * 1_000;
        let tokens = (u128::from(count) * u128::from(self.millitokens)).div_ceil(per_token);
        u32::try_from(tokens)
            .ok()
            .filter(|tokens| (1..=DEBIT_TOKENS_MAX).contains(tokens))
            .ok_or(Invalid::Tokens)
    }
}

impl Rates {
    /// The tokens of so many at `time`, and the version of the card that prices it.
    ///
    /// # Errors
    /// [`Refusal::Unpriced`] when no card applies, or none of its prices; when it costs more than a debit may.
    pub fn price(
        &self,
        kind: UsageKind,
        (unit, count): (Unit, u32),
        time: Timestamp,
    ) -> Result<(u32, u32), Refusal> {
        let card = self.cards.iter().rev().find(|card| card.from <= time).ok_or(Refusal::Unpriced)?;
        let price = card.prices.iter().find(|price| (price.kind, price.unit) == (kind, unit));
        Ok((price.ok_or(Refusal::Unpriced)?.of(count)?, card.version))
    }

    /// The cards that are remembered, the newest last.
    pub fn cards(&self) -> impl DoubleEndedIterator<Item = &RateCard> {
        self.cards.iter()
    }

    /// The newest card.
    #[must_use]
    pub fn newest(&self) -> Option<&RateCard> {
        self.cards.back()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cards.is_empty()
    }

    /// Adds a card. The oldest goes when more are remembered than [`RATE_CARDS_MAX`]; events of its time are unpriced then.
    pub fn add(&mut self, card: RateCard) {
        if self.cards.len() == RATE_CARDS_MAX {
            self.cards.pop_front();
        }
        self.cards.push_back(card);
    }
}

/// Puts prices in their order.
///
/// # Errors
/// When there are none, two for one kind and unit, or one out of its bounds.
pub fn ordered(mut prices: Vec<Price>) -> Result<Vec<Price>, Invalid> {
    prices.sort_by_key(|price| (price.kind, price.unit));
    if are_prices(&prices) { Ok(prices) } else { Err(Invalid::Prices) }
}

/// Whether these can be the prices of a card, as they stand.
#[must_use]
pub fn are_prices(prices: &[Price]) -> bool {
    let rises = prices.windows(2).all(|two| (two[0].kind, two[0].unit) < (two[1].kind, two[1].unit));
    let is_priced = |price: &Price| (1..=RATE_MILLITOKENS_MAX).contains(&price.millitokens);
    !prices.is_empty() && rises && prices.iter().all(is_priced)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(unit: Unit, millitokens: u64) -> Price {
        Price { kind: UsageKind::default(), unit, millitokens }
    }

    #[test]
    fn a_price_is_rounded_up_to_whole_tokens() {
        for (unit, millitokens, count, tokens) in [
            (Unit::Event, 1_000, 1, Ok(1)),
            (Unit::Event, 1, 1, Ok(1)),
            (Unit::Image, 1_500, 1, Ok(2)),
            (Unit::Image, 1_500, 2, Ok(3)),
            (Unit::Image, 1_500, 3, Ok(5)),
            (Unit::Second, 2_000, 1_000, Ok(2)),
            (Unit::Second, 2_000, 1_001, Ok(3)),
            (Unit::Second, 2_000, 1, Ok(1)),
            (Unit::Second, 333, 10_000, Ok(4)),
            (Unit::Event, RATE_MILLITOKENS_MAX, 1, Ok(DEBIT_TOKENS_MAX)),
            (Unit::Event, RATE_MILLITOKENS_MAX, 2, Err(Invalid::Tokens)),
            (Unit::Image, RATE_MILLITOKENS_MAX, u32::MAX, Err(Invalid::Tokens)),
        ] {
            assert_eq!(price(unit, millitokens).of(count), tokens, "{count} of {unit:?} at {millitokens}");
        }
    }

    #[test]
    fn prices_stand_in_order_and_once_for_each_kind_and_unit() {
        let (event, image) = (price(Unit::Event, 5), price(Unit::Image, 7));
        let both = vec![event.clone(), image.clone()];
        assert_eq!(ordered(vec![image, event.clone()]), Ok(both));
        for bad in [
            vec![],
            vec![event.clone(), event],
            vec![price(Unit::Event, 0)],
            vec![price(Unit::Event, 1 << 60)],
        ] {
            assert_eq!(ordered(bad.clone()), Err(Invalid::Prices), "{bad:?}");
        }
    }

    #[test]
    fn units_are_known_by_name_and_by_number() {
        for (number, unit) in (1..).zip(Unit::ALL) {
            assert_eq!(unit.number(), number);
            assert_eq!(serde_json_name(unit), unit.name());
        }
    }

    fn serde_json_name(unit: Unit) -> String {
        let packed = rmp_serde::to_vec_named(&unit).expect("a name");
        rmp_serde::from_slice(&packed).expect("a text")
    }
}
