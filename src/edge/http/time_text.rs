//! Points in time as people write them: RFC 3339 with any offset, or milliseconds since the Unix epoch. Written in UTC with
//! milliseconds.
//!
//! The calendar is `jiff`'s; its own point in time ends two hours before the year 9999 does, so that a license "until
//! 9999-12-31" would not fit. Finer fractions than milliseconds are cut off.

use std::fmt;

use jiff::SignedDuration;
use jiff::civil::DateTime;
use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::meter::{Invalid, Timestamp};

/// What is told about text or a number that is no time.
pub(super) const EXPECTED: &str =
    "a time is RFC 3339 with an offset, or whole milliseconds since 1970; it lies before the year 10000";

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// A point in time as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::edge) struct TimeText(pub(in crate::edge) Timestamp);

impl TimeText {
    /// Reads RFC 3339.
    pub(in crate::edge) fn parse(text: &str) -> Result<Self, Invalid> {
        let ms = ms_of(text.as_bytes()).ok_or(Invalid::Time)?;
        Ok(Self(Timestamp::from_ms(u64::try_from(ms).map_err(|_| Invalid::Time)?)?))
    }
}

impl fmt::Display for TimeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since_epoch = SignedDuration::from_millis(i64::try_from(self.0.ms()).unwrap_or(i64::MAX));
        let at = EPOCH.checked_add(since_epoch).map_err(|_| fmt::Error)?;
        write!(f, "{:04}-{:02}-{:02}T", at.year(), at.month(), at.day())?;
        write!(f, "{:02}:{:02}:{:02}.{:03}Z", at.hour(), at.minute(), at.second(), at.millisecond())
    }
}

impl From<Timestamp> for TimeText {
    fn from(time: Timestamp) -> Self {
        Self(time)
    }
}

impl Serialize for TimeText {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TimeText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(TimeVisitor)
    }
}

struct TimeVisitor;

impl Visitor<'_> for TimeVisitor {
    type Value = TimeText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<TimeText, E> {
        TimeText::parse(text).map_err(|_| E::custom(EXPECTED))
    }

    fn visit_u64<E: Error>(self, ms: u64) -> Result<TimeText, E> {
        Timestamp::from_ms(ms).map(TimeText).map_err(|_| E::custom(EXPECTED))
    }
}

/// Milliseconds since the epoch of `YYYY-MM-DDThh:mm:ss[.fraction](Z|+hh:mm|-hh:mm)`.
fn ms_of(text: &[u8]) -> Option<i64> {
    let (date_time, rest) = text.split_at_checked(19)?;
    let is_formed =
        [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')].iter().all(|(at, sign)| date_time[*at] == *sign);
    if !is_formed || !matches!(date_time[10], b'T' | b't' | b' ') {
        return None;
    }
    let field = |at: usize| narrow(digits(&date_time[at..at + 2])?);
    let year = i16::try_from(digits(&date_time[..4])?).ok()?;
    let at = DateTime::new(year, field(5)?, field(8)?, field(11)?, field(14)?, field(17)?, 0).ok()?;
    let (fraction_ms, offset) = fraction(rest)?;
    let ms = i64::try_from(at.duration_since(EPOCH).as_millis()).ok()?;
    Some(ms + fraction_ms - offset_ms(offset)?)
}

/// The milliseconds of a fraction, if there is one, and what follows it.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(text) = text.strip_prefix(b".") else { return Some((0, text)) };
    let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (fraction, rest) = text.split_at(length);
    let mut ms = [b'0'; 3];
    let kept = length.min(3);
    ms[..kept].copy_from_slice(&fraction[..kept]);
    if length == 0 { None } else { Some((digits(&ms)?, rest)) }
}

fn offset_ms(text: &[u8]) -> Option<i64> {
    let (sign, hours, minutes) = match text {
        b"Z" | b"z" => return Some(0),
        [b'+', a, b, b':', c, d] => (1, digits(&[*a, *b])?, digits(&[*c, *d])?),
        [b'-', a, b, b':', c, d] => (-1, digits(&[*a, *b])?, digits(&[*c, *d])?),
        _ => return None,
    };
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes) * 60_000)
}

fn digits(text: &[u8]) -> Option<i64> {
    let add = |sum: i64, byte: &u8| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0'));
    text.iter().try_fold(0, add)
}

fn narrow(n: i64) -> Option<i8> {
    i8::try_from(n).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_any_offset_and_written_in_utc() {
        for (text, ms, written) in [
            ("2026-01-02T03:04:05Z", 1_767_323_045_000, "2026-01-02T03:04:05.000Z"),
            ("2026-01-02t03:04:05.6789z", 1_767_323_045_678, "2026-01-02T03:04:05.678Z"),
            ("2026-01-02T03:04:05.1+02:30", 1_767_314_045_100, "2026-01-02T00:34:05.100Z"),
            ("2024-02-29T23:59:59-01:00", 1_709_254_799_000, "2024-03-01T00:59:59.000Z"),
            ("9999-12-31T23:59:59.999Z", 253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
            ("1970-01-01T00:00:00.001Z", 1, "1970-01-01T00:00:00.001Z"),
        ] {
            let time = TimeText::parse(text).expect(text);
            assert_eq!((time.0.ms(), time.to_string().as_str()), (ms, written), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2026-01-02",
            "2026-01-02T03:04:05",
            "2026-02-30T03:04:05Z",
            "2026-01-02T24:00:00Z",
            "2026-01-02T03:04:05.Z",
            "2026-01-02T03:04:05+2:00",
            "2026-01-02T03:04:05+24:00",
            "1970-01-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "9999-12-31T23:59:59-00:01",
            "+026-01-02T03:04:05Z",
            "２026-01-02T03:04:05Z",
        ] {
            assert_eq!(TimeText::parse(text), Err(Invalid::Time), "{text}");
        }
    }
}
