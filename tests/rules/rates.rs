//! Rate cards: events that bear no token count are priced once, by the card of their time.

use tokenweir::domain::command::Command;
use tokenweir::domain::debit::{CameraRef, FirstOutcome, Identity, Measured, Outcome, UsageKind};
use tokenweir::domain::limits::{DEBIT_TOKENS_MAX, RATE_CARDS_MAX, RATE_MILLITOKENS_MAX};
use tokenweir::domain::rates::{Price, Unit};
use tokenweir::domain::refusal::{Invalid, Refusal};
use tokenweir::domain::time::Timestamp;

use super::support::{Org, actor, at, seq, unlimited};

const CHARGED: Outcome = Outcome::Charged;
const SAME: Outcome = Outcome::Duplicate(FirstOutcome::Charged);
const UNPRICED: Outcome = Outcome::Refused(Refusal::Unpriced);

fn price(unit: Unit, millitokens: u64) -> Price {
    Price { kind: UsageKind::default(), unit, millitokens }
}

fn set(org: &mut Org, from: Option<Timestamp>, prices: &[Price]) -> Result<bool, Refusal> {
    org.command(Command::SetRates { from, prices: prices.to_vec(), by: actor() })
}

/// So many images of an event of `cam`.
fn images(number: u64, count: u64, time: Option<Timestamp>) -> Measured<'static> {
    let identity = Identity::Seq { epoch: 1, seq: number };
    Measured {
        camera: CameraRef::Id("cam"),
        identity,
        unit: Unit::Image,
        count,
        kind: UsageKind::default(),
        time,
    }
}

fn used(org: &Org) -> u64 {
    assert_eq!(format!("{:?}", org.replayed()), format!("{:?}", org.pool()), "I8");
    org.pool().totals.used.0
}

#[test]
fn r12_an_event_is_priced_by_the_newest_card_that_applies_at_its_time() {
    let mut org = Org::with_tokens("acme", 1_000);
    assert_eq!(org.measured(images(1, 2, None)), UNPRICED);
    assert_eq!(set(&mut org, None, &[price(Unit::Image, 1_500)]), Ok(true));
    assert_eq!(set(&mut org, Some(at(1_000)), &[price(Unit::Image, 10_000)]), Ok(true));
    assert_eq!((org.measured(images(1, 2, None)), used(&org)), (CHARGED, 3));
    assert_eq!((org.measured(images(2, 2, Some(at(1_000)))), used(&org)), (CHARGED, 23));
    assert_eq!((org.measured(images(3, 2, Some(at(999)))), used(&org)), (CHARGED, 26));
    org.clock = at(2_000);
    assert_eq!((org.measured(images(4, 1, None)), used(&org)), (CHARGED, 36));
    assert_eq!(set(&mut org, None, &[price(Unit::Event, 1_000)]), Ok(true), "it supersedes both");
    assert_eq!((org.measured(images(5, 1, None)), used(&org)), (UNPRICED, 36));
    assert_eq!((org.measured(images(5, 1, Some(at(1_999)))), used(&org)), (CHARGED, 46));
    let dearer = Measured { kind: UsageKind::Other, ..images(6, 1, Some(at(0))) };
    assert_eq!(org.measured(dearer), UNPRICED, "a price is of one kind");
    org.crash();
    assert_eq!(used(&org), 46);
}

#[test]
fn r13_the_same_event_is_a_duplicate_when_prices_have_changed_and_other_content_is_a_conflict() {
    let mut org = Org::with_tokens("acme", 1_000);
    assert_eq!(set(&mut org, None, &[price(Unit::Image, 1_000)]), Ok(true));
    assert_eq!(org.measured(images(1, 7, None)), CHARGED);
    assert_eq!(set(&mut org, None, &[price(Unit::Image, 2_000)]), Ok(true));
    assert_eq!(org.measured(images(1, 7, None)), SAME);
    org.crash();
    assert_eq!((org.measured(images(1, 7, None)), used(&org)), (SAME, 7));
    let conflict = Outcome::Refused(Refusal::Conflict);
    assert_eq!(org.measured(images(1, 8, None)), conflict);
    assert_eq!(org.measured(Measured { unit: Unit::Second, ..images(1, 7, None) }), conflict);
    assert_eq!(org.debit(tokenweir::domain::debit::Debit { tokens: 7, ..seq("cam", 1) }), conflict);
}

#[test]
fn r12_what_costs_more_than_there_is_or_than_a_debit_may_is_refused_whole() {
    let mut org = Org::with_tokens("acme", 10);
    assert_eq!(set(&mut org, None, &[price(Unit::Image, RATE_MILLITOKENS_MAX)]), Ok(true));
    assert_eq!(org.measured(images(1, 1, None)), Outcome::Refused(Refusal::InsufficientTokens));
    let invalid = |what| Outcome::Refused(Refusal::Invalid(what));
    assert_eq!(org.measured(images(1, 2, None)), invalid(Invalid::Tokens));
    for count in [0, u64::from(DEBIT_TOKENS_MAX) + 1, u64::MAX] {
        assert_eq!(org.measured(images(1, count, None)), invalid(Invalid::Quantity));
    }
    assert_eq!(used(&org), 0);
}

#[test]
fn r9_an_exempt_event_is_priced_and_not_charged() {
    let mut org = Org::with_tokens("acme", 10);
    org.bind("cam", unlimited("u", 0, 1_000)).expect("it can be bound");
    assert_eq!(org.measured(images(1, 3, None)), UNPRICED, "what is not charged is counted all the same");
    assert_eq!(set(&mut org, None, &[price(Unit::Image, 1_000)]), Ok(true));
    assert_eq!((org.measured(images(1, 3, None)), used(&org)), (Outcome::Exempt, 0));
    assert_eq!(org.pool().totals.exempt.0, 3);
}

#[test]
fn a_card_that_changes_nothing_is_no_new_version_and_the_oldest_are_forgotten() {
    let mut org = Org::with_tokens("acme", 10);
    for (number, version) in (1_u64..).zip(1_u32..).take(RATE_CARDS_MAX + 3) {
        let prices = [price(Unit::Event, number)];
        assert_eq!((set(&mut org, None, &prices), set(&mut org, None, &prices)), (Ok(true), Ok(false)));
        assert_eq!(org.pool().rates.newest().map(|card| card.version), Some(version));
        org.clock = at(number);
    }
    let versions: Vec<_> = org.pool().rates.cards().map(|card| card.version).collect();
    assert_eq!((versions.len(), versions[0]), (RATE_CARDS_MAX, 4));
    assert_eq!(set(&mut org, Some(at(0)), &[]), Err(Refusal::Invalid(Invalid::Prices)));
    assert_eq!(used(&org), 0);
}

#[test]
fn r11_a_transfer_leaves_the_rate_cards_of_both_organizations() {
    let mut org = Org::with_tokens("acme", 10);
    assert_eq!(set(&mut org, None, &[price(Unit::Image, 1_000)]), Ok(true));
    let before = org.pool().rates.clone();
    org.prepare_out("t");
    assert_eq!(org.measured(images(1, 1, None)), Outcome::Refused(Refusal::InTransfer));
    assert_eq!(set(&mut org, None, &[price(Unit::Image, 2_000)]), Ok(true), "prices are no tokens");
    org.commit("t");
    assert_ne!(org.pool().rates, before);
    assert_eq!(org.measured(images(1, 1, None)), Outcome::Refused(Refusal::InsufficientTokens));
    assert_eq!(used(&org), 0);
}
