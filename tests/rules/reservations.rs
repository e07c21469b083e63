//! R12 and I7: reservations hold tokens, pay debits, and end once.

use std::collections::BTreeMap;

use tokenweir::domain::debit::{Debit, FirstOutcome, Outcome};
use tokenweir::domain::limits::{POOL_TOKENS_MAX, RESERVATION_MS_MAX, RESERVATION_MS_MIN};
use tokenweir::domain::refusal::{Invalid, Limit, Refusal};
use tokenweir::domain::reservation::HowEnded;
use tokenweir::protocol::message::{ToCoordinator, ToOrg};

use super::support::{Org, actor, at, org_id, reservation_id, seq, transfer_id, unlimited};

const TTL: u64 = 10_000;
const CHARGED: Outcome = Outcome::Charged;
const SAME: Outcome = Outcome::Duplicate(FirstOutcome::Charged);

/// A debit of so many tokens.
fn of(tokens: u64, number: u64) -> Debit<'static> {
    Debit { tokens, ..seq("cam", number) }
}

fn refused(refusal: Refusal) -> Outcome {
    Outcome::Refused(refusal)
}

/// What the pool has, holds and can pay.
fn expect(org: &Org, balance: u64, held: u64) {
    let pool = org.pool();
    let found = (pool.balance.0, pool.reservations.held().0, pool.available().0);
    assert_eq!(found, (balance, held, balance - held));
    assert_eq!(format!("{:?}", org.replayed()), format!("{pool:?}"), "I8");
}

fn how_ended(org: &Org, id: &str) -> Option<HowEnded> {
    org.pool().reservations.get(&reservation_id(id)).expect("known").ended.map(|ended| ended.how)
}

#[test]
fn r12_what_is_reserved_is_not_available_and_is_used_when_it_is_settled() {
    let mut org = Org::with_tokens("acme", 10);
    assert_eq!(org.reserve("r", 6, TTL), Ok(true));
    expect(&org, 10, 6);
    assert_eq!(org.debit(of(5, 1)), refused(Refusal::InsufficientTokens));
    assert_eq!(org.reserve("other", 5, TTL), Err(Refusal::InsufficientTokens));
    assert_eq!(org.settle("r", &[of(4, 2), of(1, 3)]), [CHARGED, CHARGED]);
    expect(&org, 5, 1);
    assert_eq!(org.debit(of(4, 4)), CHARGED);
    assert_eq!(org.release("r"), Ok(true));
    expect(&org, 1, 0);
    assert_eq!(org.pool().totals.used.0, 9);
}

#[test]
fn i7_a_reservation_is_never_settled_for_more_than_it_holds() {
    let mut org = Org::with_tokens("acme", 10);
    assert_eq!(org.reserve("r", 3, TTL), Ok(true));
    let outcomes = org.settle("r", &[of(2, 1), of(2, 2), of(2, 1), of(1, 3), of(1, 4)]);
    let ended = refused(Refusal::ReservationEnded);
    assert_eq!(outcomes, [CHARGED, refused(Refusal::ReservationExceeded), SAME, CHARGED, ended]);
    assert_eq!(how_ended(&org, "r"), Some(HowEnded::Settled));
    expect(&org, 7, 0);
    assert_eq!(org.settle("none", &[of(1, 5)]), [refused(Refusal::UnknownReservation)]);
}

#[test]
fn i7_a_reservation_ends_once_by_whatever_comes_first() {
    let mut org = Org::with_tokens("acme", 10);
    assert_eq!(org.reserve("r", 3, TTL), Ok(true));
    assert_eq!((org.release("r"), org.release("r")), (Ok(true), Ok(false)));
    org.clock = at(TTL);
    assert_eq!(how_ended(&org, "r"), Some(HowEnded::Released));
    assert_eq!(org.reserve("r", 3, TTL), Ok(false), "a retry finds it as it ended");
    assert_eq!(org.settle("r", &[of(1, 1)]), [refused(Refusal::ReservationEnded)]);
    expect(&org, 10, 0);
    assert_eq!(org.release("none"), Err(Refusal::UnknownReservation));
}

#[test]
fn i7_an_expired_reservation_gives_back_what_it_holds_at_once_and_a_clock_that_falls_does_not_revive_it() {
    let mut org = Org::with_tokens("acme", 10);
    org.reserve("first", 3, TTL).expect("it fits");
    org.reserve("second", 4, 2 * TTL).expect("it fits");
    org.settle("first", &[of(1, 1)]);
    org.clock = at(TTL - 1);
    org.expire();
    expect(&org, 9, 6);
    org.clock = at(TTL);
    assert_eq!(org.settle("first", &[of(1, 2)]), [refused(Refusal::ReservationEnded)]);
    expect(&org, 9, 4);
    org.clock = at(0);
    assert_eq!(org.settle("first", &[of(1, 2)]), [refused(Refusal::ReservationEnded)]);
    assert_eq!(how_ended(&org, "first"), Some(HowEnded::Expired));
    assert_eq!(org.release("first"), Ok(false));
    org.crash();
    org.clock = at(9 * TTL);
    org.expire();
    expect(&org, 9, 0);
}

#[test]
fn r12_the_same_order_again_holds_nothing_more_and_another_under_its_id_is_a_conflict() {
    let mut org = Org::with_tokens("acme", 10);
    assert_eq!((org.reserve("r", 6, TTL), org.reserve("r", 6, TTL)), (Ok(true), Ok(false)));
    org.clock = at(1);
    assert_eq!(org.reserve("r", 6, TTL), Ok(false));
    assert_eq!(org.reserve("r", 5, TTL), Err(Refusal::Conflict));
    assert_eq!(org.reserve("r", 6, TTL + 1), Err(Refusal::Conflict));
    expect(&org, 10, 6);
}

#[test]
fn a_reservation_out_of_its_bounds_is_invalid_and_changes_nothing() {
    let mut org = Org::with_tokens("acme", 10);
    for (tokens, ttl_ms, invalid) in [
        (0, TTL, Invalid::Reserved),
        (POOL_TOKENS_MAX + 1, TTL, Invalid::Reserved),
        (u64::MAX, TTL, Invalid::Reserved),
        (1, RESERVATION_MS_MIN - 1, Invalid::TimeToLive),
        (1, RESERVATION_MS_MAX + 1, Invalid::TimeToLive),
        (1, u64::MAX, Invalid::TimeToLive),
    ] {
        assert_eq!(org.reserve("r", tokens, ttl_ms), Err(invalid.into()));
    }
    expect(&org, 10, 0);
}

#[test]
fn an_organization_has_so_many_open_reservations_and_remembers_so_many_that_ended() {
    let mut org = Org::with_tokens("acme", 20_000);
    for number in 0..10_000 {
        assert_eq!(org.reserve(&format!("r{number}"), 1, TTL), Ok(true));
    }
    assert_eq!(org.reserve("over", 1, TTL), Err(Refusal::LimitReached(Limit::Reservations)));
    org.release("r9999").expect("it is open");
    assert_eq!(org.reserve("over", 1, TTL), Ok(true));
    org.clock = at(TTL);
    org.expire();
    assert_eq!(org.release("r9999"), Err(Refusal::UnknownReservation), "the oldest that ended is forgotten");
    assert_eq!(org.release("over"), Ok(false));
    expect(&org, 20_000, 0);
}

#[test]
fn r9_an_exempt_debit_draws_nothing_from_a_reservation() {
    let mut org = Org::with_tokens("acme", 10);
    org.reserve("r", 3, TTL).expect("it fits");
    org.bind("cam", unlimited("u", 0, TTL)).expect("it fits");
    assert_eq!(org.settle("r", &[of(5, 1), of(1, 2)]), [Outcome::Exempt, Outcome::Exempt]);
    expect(&org, 10, 3);
}

#[test]
fn r11_a_transfer_closes_the_source_to_new_reservations_and_waits_until_the_open_ones_end() {
    let order = || {
        let (transfer, target, by) = (transfer_id("t"), org_id("target"), actor());
        ToOrg::PrepareOut { transfer, target, by }
    };
    let mut org = Org::with_tokens("acme", 10);
    org.reserve("r", 6, TTL).expect("it fits");
    assert_eq!(org.answer(order()), None);
    assert_eq!(org.reserve("other", 1, TTL), Err(Refusal::InTransfer));
    assert_eq!(org.reserve("r", 6, TTL), Ok(false), "what is open is told, not refused");
    assert_eq!(org.settle("r", &[of(2, 1)]), [CHARGED]);
    assert_eq!(org.debit(of(1, 2)), CHARGED, "debits go on until it is prepared");
    assert_eq!(org.answer(order()), None);
    org.clock = at(TTL);
    let Some(ToCoordinator::OutPrepared { vote: Ok(cargo), .. }) = org.answer(order()) else {
        panic!("nothing is open any more");
    };
    assert_eq!(cargo.tokens.0, 7, "all that remained");
    assert_eq!(org.settle("r", &[of(1, 3)]), [refused(Refusal::ReservationEnded)]);
    org.abort("t");
    assert_eq!(org.reserve("other", 1, TTL), Ok(true));
    expect(&org, 7, 1);
}

#[test]
fn r11_a_transfer_that_is_aborted_while_it_waits_opens_the_source_again() {
    let mut org = Org::with_tokens("acme", 10);
    org.reserve("r", 6, TTL).expect("it fits");
    let (transfer, target, by) = (transfer_id("t"), org_id("target"), actor());
    assert_eq!(org.answer(ToOrg::PrepareOut { transfer, target, by }), None);
    org.abort("t");
    assert_eq!(org.reserve("other", 4, TTL), Ok(true));
    expect(&org, 10, 10);
}

/// Reservations as a child would write them down: what each holds, and until when.
#[derive(Default)]
struct Naive {
    balance: u64,
    open: BTreeMap<&'static str, (u64, u64)>,
    made: Vec<&'static str>,
    charged: Vec<u64>,
    now: u64,
}

impl Naive {
    fn held(&self) -> u64 {
        self.open.values().map(|(held, _)| held).sum()
    }

    fn reserve(&mut self, id: &'static str, tokens: u64) -> Result<bool, Refusal> {
        if self.made.contains(&id) {
            return Ok(false);
        }
        if self.balance - self.held() < tokens {
            return Err(Refusal::InsufficientTokens);
        }
        self.made.push(id);
        self.open.insert(id, (tokens, self.now + TTL));
        Ok(true)
    }

    fn settle(&mut self, id: &'static str, tokens: u64, number: u64) -> Outcome {
        if self.charged.contains(&number) {
            return SAME;
        }
        match self.open.get_mut(id) {
            None if self.made.contains(&id) => return refused(Refusal::ReservationEnded),
            None => return refused(Refusal::UnknownReservation),
            Some((held, _)) if *held < tokens => return refused(Refusal::ReservationExceeded),
            Some((held, _)) => *held -= tokens,
        }
        self.open.retain(|_, (held, _)| *held > 0);
        self.balance -= tokens;
        self.charged.push(number);
        CHARGED
    }

    fn debit(&mut self, tokens: u64, number: u64) -> Outcome {
        if self.charged.contains(&number) {
            return SAME;
        }
        if self.balance - self.held() < tokens {
            return refused(Refusal::InsufficientTokens);
        }
        self.balance -= tokens;
        self.charged.push(number);
        CHARGED
    }

    fn release(&mut self, id: &'static str) -> Result<bool, Refusal> {
        if !self.made.contains(&id) {
            return Err(Refusal::UnknownReservation);
        }
        Ok(self.open.remove(id).is_some())
    }

    fn pass(&mut self, ms: u64) {
        self.now += ms;
        self.open.retain(|_, (_, until)| *until > self.now);
    }
}

type Step = fn(&mut Org, &mut Naive);

const STEPS: [Step; 9] = [
    |org, naive| assert_eq!(org.reserve("a", 3, TTL), naive.reserve("a", 3)),
    |org, naive| assert_eq!(org.reserve("b", 2, TTL), naive.reserve("b", 2)),
    |org, naive| assert_eq!(org.settle("a", &[of(1, 1)]), [naive.settle("a", 1, 1)]),
    |org, naive| assert_eq!(org.settle("a", &[of(2, 2)]), [naive.settle("a", 2, 2)]),
    |org, naive| assert_eq!(org.settle("b", &[of(1, 1)]), [naive.settle("b", 1, 1)]),
    |org, naive| assert_eq!(org.release("a"), naive.release("a")),
    |org, naive| assert_eq!(org.debit(of(2, 3)), naive.debit(2, 3)),
    |org, naive| {
        org.clock = org.clock.plus_ms(TTL / 2);
        org.expire();
        naive.pass(TTL / 2);
    },
    |org, _| org.crash(),
];

#[test]
fn i7_i2_every_short_sequence_of_reservations_debits_time_and_crashes_agrees_with_a_naive_account() {
    const LENGTH: u32 = 5;
    for number in 0..STEPS.len().pow(LENGTH) {
        let mut org = Org::with_tokens("acme", 5);
        let mut naive = Naive { balance: 5, ..Naive::default() };
        for place in 0..LENGTH {
            STEPS[number / STEPS.len().pow(place) % STEPS.len()](&mut org, &mut naive);
            let (pool, held) = (org.pool(), naive.held());
            assert_eq!((pool.balance.0, pool.reservations.held().0), (naive.balance, held), "{number}");
            assert_eq!(pool.reservations.open(), naive.open.len(), "{number}");
        }
    }
}
