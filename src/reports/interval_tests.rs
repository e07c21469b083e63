//! Intervals where clocks are changed, and what covers them.

use super::*;

const DAY_MS: u64 = 24 * HOUR_MS;

fn ms(text: &str) -> u64 {
    let at: Instant = text.parse().expect("a time");
    u64::try_from(at.as_millisecond()).expect("after 1970")
}

/// The lengths, in minutes, of the intervals between two times.
fn lengths(zone: &str, interval: Interval, from: &str, until: &str) -> Vec<u64> {
    let zone = TimeZone::get(zone).expect("a zone");
    let spans = cut(Span { from: ms(from), until: ms(until) }, interval, &zone).expect("few");
    assert!(spans.windows(2).all(|pair| pair[0].until == pair[1].from), "{spans:?}");
    spans.iter().map(|span| (span.until - span.from) / MINUTE_MS).collect()
}

#[test]
fn days_on_which_clocks_are_changed_have_23_and_25_hours() {
    let spring = lengths("Europe/Berlin", Interval::Day, "2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z");
    assert_eq!(spring, [1_440, 1_380, 1_440]);
    let autumn = lengths("America/New_York", Interval::Day, "2026-10-31T12:00:00Z", "2026-11-02T12:00:00Z");
    assert_eq!(autumn, [1_440, 1_500, 1_440]);
    let half = lengths("Australia/Lord_Howe", Interval::Day, "2026-04-04T02:00:00Z", "2026-04-04T16:00:00Z");
    assert_eq!(half, [1_440, 1_470], "clocks go back by half an hour there");
}

#[test]
fn hours_weeks_and_months_are_those_of_the_zone() {
    let hours = lengths("Europe/Berlin", Interval::Hour, "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z");
    assert_eq!(hours, [60; 25]);
    let hours = lengths("Asia/Kolkata", Interval::Hour, "2026-01-01T00:10:00Z", "2026-01-01T01:00:00Z");
    assert_eq!(hours, [60, 60], "hours begin at half past there");
    let short =
        lengths("Australia/Lord_Howe", Interval::Hour, "2026-10-03T14:00:00Z", "2026-10-03T17:00:00Z");
    assert!(short.iter().all(|length| (30..=60).contains(length)), "{short:?}");
    let weeks = lengths("Europe/Berlin", Interval::Week, "2026-03-25T12:00:00Z", "2026-03-30T12:00:00Z");
    assert_eq!(weeks, [7 * 1_440 - 60, 7 * 1_440]);
    let months = lengths("Europe/Berlin", Interval::Month, "2026-02-10T12:00:00Z", "2026-03-10T12:00:00Z");
    assert_eq!(months, [28 * 1_440, 31 * 1_440 - 60]);
}

#[test]
fn a_day_without_its_midnight_begins_with_its_first_moment() {
    let zone = TimeZone::get("America/Sao_Paulo").expect("a zone");
    let asked = Span { from: ms("2018-11-04T12:00:00Z"), until: ms("2018-11-04T13:00:00Z") };
    let spans = cut(asked, Interval::Day, &zone).expect("one");
    let expected = Span { from: ms("2018-11-04T03:00:00Z"), until: ms("2018-11-05T02:00:00Z") };
    assert_eq!(spans, [expected]);
}

#[test]
fn too_many_intervals_are_refused() {
    let asked = Span { from: ms("2026-01-01T00:00:00Z"), until: ms("2026-01-05T00:00:00Z") };
    assert!(matches!(cut(asked, Interval::Minute, &TimeZone::UTC), Err(ReportsError::Asked(_))));
}

#[test]
fn a_span_is_covered_by_days_and_by_finer_buckets_at_its_ends() {
    let day = 20_000 * DAY_MS;
    let span = Span { from: day - 2 * HOUR_MS - MINUTE_MS, until: day + 3 * DAY_MS + 17 * MINUTE_MS };
    let found = cover(span, 0, 0);
    assert_eq!(found.covers, span);
    let levels: Vec<_> = found.pieces.iter().map(|piece| (piece.level, piece.until - piece.from)).collect();
    let expected =
        [(Level::Minute, 1), (Level::Quarter, 8), (Level::Day, 3), (Level::Quarter, 1), (Level::Minute, 2)];
    assert_eq!(levels, expected);
}

#[test]
fn buckets_that_are_kept_no_finer_belong_to_the_span_in_which_they_begin() {
    let (day, kept) = (20_000 * DAY_MS, 20_010 * DAY_MS);
    let step = 5 * HOUR_MS + 30 * MINUTE_MS;
    let (mut from, mut counted) = (day - step, Vec::new());
    while from < kept + DAY_MS {
        let span = Span { from, until: from + 7 * HOUR_MS };
        for Piece { level, from, until } in cover(span, kept + DAY_MS / 2, kept).pieces {
            counted.extend((from..until).map(|bucket| (bucket * level.ms(), (bucket + 1) * level.ms())));
        }
        from = span.until;
    }
    assert!(counted.windows(2).all(|pair| pair[0].1 == pair[1].0), "nothing twice, nothing left out");
    assert_eq!(counted.first().map(|first| first.0), Some(day));
}
