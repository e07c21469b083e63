//! Tests of the debit frame: round trips, bounds, and damage.

use proptest::prelude::*;

use super::*;

const AT_MS: u64 = 1_700_000_000_000;
const SECRET: HashSecret = (1, 2);

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms).expect("in range")
}

fn seq_charge(slot: u32, tokens: u32, seq: u64) -> Charge {
    let (time, kind) = (None, UsageKind::default());
    let print = hash::content_print(tokens, kind.number(), time);
    let identity = ChargeIdentity::Seq { epoch: 3, seq };
    Charge { slot: Slot(slot), identity, time, tokens, print, kind, exempt: false, priced: None }
}

fn batch<'a>(charges: &'a [Charge], text: &'a [u8]) -> Charges<'a> {
    Charges { at: at(AT_MS), charges, text, reservation: None }
}

fn encoded(charges: &[Charge], text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_debits(&mut out, OrgNumber(7), &batch(charges, text));
    out
}

fn check(charges: &[Charge], text: &[u8]) {
    let body = encoded(charges, text);
    let mut decoded = DecodedDebits::new();
    decode_debits(&body, &mut decoded).expect("just written");
    decoded.resolve(SECRET);
    assert_eq!((decoded.org, decoded.at), (OrgNumber(7), at(AT_MS)));
    let again = decoded.charges();
    assert_eq!(again.charges.len(), charges.len());
    for (got, expected) in again.charges.iter().zip(charges) {
        assert_eq!(event_id_of(got, again.text), event_id_of(expected, text));
        let placed = ChargeIdentity::Seq { epoch: 0, seq: 0 };
        assert_eq!(Charge { identity: placed, ..*got }, Charge { identity: placed, ..*expected });
        match (got.identity, expected.identity) {
            (ChargeIdentity::EventId { hash, .. }, ChargeIdentity::EventId { hash: expected, .. }) => {
                assert_eq!(hash, expected);
            }
            (got, expected) => assert_eq!(got, expected),
        }
    }
    assert_eq!(encoded(again.charges, again.text), body);
}

/// What a proptest draws for one row: slot, tokens, kind, exempt, time offset, epoch, seq, event id.
type Drawn = (u32, u32, u8, bool, Option<u64>, (u32, u64), Option<Vec<u8>>);

fn draw() -> impl Strategy<Value = Drawn> {
    (
        0..POOL_CAMERAS_MAX,
        1..=DEBIT_TOKENS_MAX,
        0..4_u8,
        any::<bool>(),
        prop::option::of(0..400_000_u64),
        (any::<u32>(), any::<u64>()),
        prop::option::weighted(0.3, prop::collection::vec(any::<u8>(), 1..=EVENT_ID_BYTES_MAX)),
    )
}

fn make(drawn: Vec<Drawn>) -> (Vec<Charge>, Vec<u8>) {
    let mut text = b"unrelated text of the batch".to_vec();
    let make = |(slot, tokens, kind, exempt, offset, (epoch, seq), id): Drawn| {
        let offset = if id.is_some() { Some(offset.unwrap_or(9)) } else { offset };
        let time = offset.map(|offset| at(AT_MS - 100_000 + offset));
        let identity = match id {
            Some(id) => {
                let hash = hash::event_id(SECRET, Slot(slot), &id);
                ChargeIdentity::EventId { hash, id: Span::push(&mut text, &id) }
            }
            None => ChargeIdentity::Seq { epoch, seq },
        };
        let kind = UsageKind::from_number(kind).expect("in range");
        let unit = Unit::ALL.into_iter().find(|unit| u32::from(unit.number()) == tokens % 7);
        let priced =
            unit.map(|unit| Priced { unit, count: DEBIT_TOKENS_MAX - tokens + 1, version: 1 + epoch / 2 });
        let charge = Charge { slot: Slot(slot), identity, time, tokens, print: 0, kind, exempt, priced };
        Charge { print: charge.content_print(), ..charge }
    };
    let charges = drawn.into_iter().map(make).collect();
    (charges, text)
}

/// 512 debits over 10,000 cameras, as a gateway sends them.
fn typical() -> Vec<Charge> {
    let mut state = 42_u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut small = |below| u32::try_from(random(below)).expect("small");
    (0..512)
        .map(|_| seq_charge(small(10_000), 1 + small(4_000), 1_000_000 + u64::from(small(50_000))))
        .collect()
}

#[test]
fn a_typical_batch_takes_at_most_six_bytes_a_debit() {
    let charges = typical();
    let body = encoded(&charges, &[]);
    assert!(body.len() <= 6 * charges.len(), "{} bytes for {}", body.len(), charges.len());
    check(&charges, &[]);
}

#[test]
fn values_at_their_bounds_come_back_alike() {
    let edge = [
        seq_charge(0, 1, 0),
        seq_charge(POOL_CAMERAS_MAX - 1, DEBIT_TOKENS_MAX, u64::MAX),
        Charge { identity: ChargeIdentity::Seq { epoch: u32::MAX, seq: 5 }, ..seq_charge(1, 2, 0) },
    ];
    check(&edge, &[]);
    check(&edge[1..2], &[]);
    check(&vec![seq_charge(5, 6, 7); FRAME_DEBITS_MAX], &[]);
}

#[test]
fn values_out_of_their_bounds_are_refused() {
    let good = seq_charge(1, 1, 1);
    let id = Span::push(&mut Vec::new(), b"e");
    let of_event = Charge { identity: ChargeIdentity::EventId { hash: 0, id }, ..good };
    for (bad, what) in [
        (Charge { slot: Slot(POOL_CAMERAS_MAX), ..good }, "slot"),
        (Charge { tokens: 0, ..good }, "tokens"),
        (Charge { tokens: DEBIT_TOKENS_MAX + 1, ..good }, "tokens"),
        (of_event, "without the event's time"),
    ] {
        let refused = decode_debits(&encoded(&[good, bad], b"e"), &mut DecodedDebits::new()).expect_err(what);
        assert!(refused.to_string().contains(what), "{refused}");
    }
}

fn priced_row_of(row: [u64; 3]) -> Vec<u8> {
    let mut out = vec![1];
    columns::encode_rows(&mut out, std::iter::once(row));
    out
}

#[test]
fn a_head_out_of_its_bounds_is_refused() {
    let body = |org: u64, at: u64, count: u64, flags: u8| {
        let mut out = Vec::new();
        [org, at, count].iter().for_each(|value| wire::put_varint(&mut out, *value));
        out.push(flags);
        columns::encode_rows(&mut out, std::iter::once([1_u64; 5]));
        out
    };
    let decode = |body: &[u8]| decode_debits(body, &mut DecodedDebits::new());
    assert_eq!(decode(&body(7, AT_MS, 1, 0)), Ok(()));
    let org = u64::from(PARTITION_ORGANIZATIONS_MAX);
    let too_many = u64::try_from(FRAME_DEBITS_MAX).expect("small") + 1;
    for (bad, what) in [
        (body(org, AT_MS, 1, 0), "number"),
        (body(7, 0, 1, 0), "time"),
        (body(7, AT_MS, 0, 0), "count"),
        (body(7, AT_MS, too_many, 0), "count"),
        (body(7, AT_MS, 1, 32), "flags"),
        ([body(7, AT_MS, 1, PRICED), vec![0]].concat(), "flag for priced rows without any"),
        ([body(7, AT_MS, 1, PRICED), priced_row_of([0, 1, 1])].concat(), "rate card"),
        ([body(7, AT_MS, 1, PRICED), priced_row_of([4, 1, 1])].concat(), "rate card"),
        ([body(7, AT_MS, 1, PRICED), priced_row_of([1, 0, 1])].concat(), "rate card"),
        ([body(7, AT_MS, 1, PRICED), priced_row_of([1, 1_000_000_001, 1])].concat(), "rate card"),
        ([body(7, AT_MS, 1, PRICED), priced_row_of([1, 1, 0])].concat(), "rate card"),
        ([body(7, AT_MS, 1, PRICED), priced_row_of([1, 1, 1 << 32])].concat(), "rate card"),
        (body(7, AT_MS, 1, RESERVATION), "cut off"),
        ([body(7, AT_MS, 1, RESERVATION), vec![0]].concat(), "reservation"),
        ([body(7, AT_MS, 1, RESERVATION), vec![1, b' ']].concat(), "reservation"),
        ([body(7, AT_MS, 1, RESERVATION), vec![1, 0xff]].concat(), "reservation"),
        ([body(7, AT_MS, 1, 0), vec![0]].concat(), "follow after the end"),
        ([body(7, AT_MS, 1, TIMES), vec![0, 0]].concat(), "flag for times without any"),
        ([body(7, AT_MS, 1, EXEMPT), vec![0]].concat(), "flag for exempt rows without any"),
    ] {
        let refused = decode(&bad).expect_err(what);
        assert!(refused.to_string().contains(what), "{what}: {refused}");
    }
}

#[test]
fn r12_the_reservation_that_paid_comes_back_and_does_not_stay_in_the_buffer() {
    let charges = [seq_charge(1, 2, 3), seq_charge(1, 2, 4)];
    let id = ReservationId::new(&"r".repeat(64)).expect("valid");
    let (mut body, mut decoded) = (Vec::new(), DecodedDebits::new());
    encode_debits(&mut body, OrgNumber(7), &Charges { reservation: Some(&id), ..batch(&charges, &[]) });
    decode_debits(&body, &mut decoded).expect("just written");
    assert_eq!((decoded.charges().reservation, decoded.charges().charges), (Some(&id), &charges[..]));
    for cut in 0..body.len() {
        assert!(decode_debits(&body[..cut], &mut DecodedDebits::new()).is_err(), "cut at {cut}");
    }
    decode_debits(&encoded(&charges, &[]), &mut decoded).expect("just written");
    assert_eq!(decoded.charges().reservation, None);
}

#[test]
fn a_buffer_that_is_used_again_holds_only_the_newest_frame() {
    let (charges, text) = make(vec![(1, 2, 0, true, Some(5), (0, 0), Some(b"id".to_vec()))]);
    let mut decoded = DecodedDebits::new();
    decode_debits(&encoded(&charges, &text), &mut decoded).expect("just written");
    assert_eq!(decoded.charges().text, b"id");
    decode_debits(&encoded(&[seq_charge(1, 2, 3)], &[]), &mut decoded).expect("just written");
    assert_eq!((decoded.charges().charges.len(), decoded.charges().text), (1, &b""[..]));
}

proptest! {
    #[test]
    fn any_batch_comes_back_alike(drawn in prop::collection::vec(draw(), 1..80)) {
        let (charges, text) = make(drawn);
        check(&charges, &text);
    }

    #[test]
    fn a_cut_off_body_is_refused(drawn in prop::collection::vec(draw(), 1..12)) {
        let (charges, text) = make(drawn);
        let body = encoded(&charges, &text);
        for cut in 0..body.len() {
            prop_assert!(decode_debits(&body[..cut], &mut DecodedDebits::new()).is_err(), "cut at {}", cut);
        }
    }

    #[test]
    fn a_damaged_body_never_panics(
        drawn in prop::collection::vec(draw(), 1..12), place in any::<prop::sample::Index>(), mask in 1_u8..
    ) {
        let (charges, text) = make(drawn);
        let mut body = encoded(&charges, &text);
        let place = place.index(body.len());
        body[place] ^= mask;
        let mut decoded = DecodedDebits::new();
        if decode_debits(&body, &mut decoded).is_ok() {
            decoded.resolve(SECRET);
            let again = decoded.charges();
            let mut out = Vec::new();
            encode_debits(&mut out, decoded.org, &again);
            prop_assert!(decode_debits(&out, &mut DecodedDebits::new()).is_ok());
        }
    }

    #[test]
    fn any_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_debits(&body, &mut DecodedDebits::new());
    }
}
