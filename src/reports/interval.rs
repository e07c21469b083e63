//! Cuts a stretch of time into intervals of any time zone, and covers each with the buckets that are kept.

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp as Instant, ToSpan as _, Zoned};

use super::error::ReportsError;
use super::schema::Level;

/// Most intervals of one answer.
pub const INTERVALS_MAX: usize = 5_000;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;

/// Into what a stretch of time is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interval {
    /// Nothing: one sum over all of it.
    #[default]
    None,
    /// Minutes.
    Minute,
    /// Hours as clocks of the zone show them.
    Hour,
    /// Days of the zone, of 23 to 25 hours where clocks are changed.
    Day,
    /// Weeks from Monday on.
    Week,
    /// Months.
    Month,
}

/// A stretch of time, in milliseconds: from, and until just before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Span {
    pub(super) from: u64,
    pub(super) until: u64,
}

/// Buckets of one level: from, and until just before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) level: Level,
    pub(super) from: u64,
    pub(super) until: u64,
}

/// The buckets that stand for a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cover {
    /// From the earliest on.
    pub(super) pieces: Vec<Piece>,
    /// What they cover: the span, or where such fine buckets are kept no longer, what comes nearest.
    pub(super) covers: Span,
}

impl Interval {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }
}

/// Cuts `asked` into whole intervals of `zone`: the first holds its first moment, the last its last one.
///
/// # Errors
/// When there are more than [`INTERVALS_MAX`], or the calendar ends.
pub(super) fn cut(asked: Span, interval: Interval, zone: &TimeZone) -> Result<Vec<Span>, ReportsError> {
    if asked.from >= asked.until {
        return Err(ReportsError::Asked("`until` lies after `from`".to_owned()));
    }
    if interval == Interval::None {
        let from = asked.from - asked.from % MINUTE_MS;
        return Ok(vec![Span { from, until: asked.until.next_multiple_of(MINUTE_MS) }]);
    }
    let mut spans = Vec::new();
    let mut from = begin(asked.from, interval, zone)?;
    while from < asked.until {
        if spans.len() == INTERVALS_MAX {
            let message = format!(
                "this is more than {INTERVALS_MAX} intervals; ask for less time, or for longer intervals"
            );
            return Err(ReportsError::Asked(message));
        }
        let until = next(from, interval, zone)?;
        spans.push(Span { from, until });
        from = until;
    }
    Ok(spans)
}

/// The buckets that stand for `span`, where minutes are kept since `minutes_since` and quarters of an hour since
/// `quarters_since`: days where it holds whole ones, finer ones at its ends. A bucket that is not kept any finer belongs
/// to the span in which it begins, so that none is counted twice or left out.
pub(super) fn cover(span: Span, minutes_since: u64, quarters_since: u64) -> Cover {
    let mut cover = Cover { pieces: Vec::new(), covers: span };
    cover.split(span, Level::Day, quarters_since, &|cover, rest| {
        cover.split(rest, Level::Quarter, minutes_since, &|cover, rest| cover.push(Level::Minute, rest));
    });
    cover
}

impl Cover {
    /// Takes the whole buckets of `level`, and leaves what stands out at both ends to `finer`, where finer ones are kept.
    fn split(&mut self, span: Span, level: Level, finer_since: u64, finer: &dyn Fn(&mut Self, Span)) {
        let ms = level.ms();
        let (first, last) = (span.from.next_multiple_of(ms), span.until - span.until % ms);
        if first > last {
            // It lies within one bucket.
            if last >= finer_since {
                finer(self, span);
            } else {
                self.covers = Span { from: span.until, until: span.until };
            }
            return;
        }
        if span.from < first {
            if span.from >= finer_since {
                finer(self, Span { from: span.from, until: first });
            } else {
                self.covers.from = first;
            }
        }
        if last < span.until && last < finer_since {
            self.push(level, Span { from: first, until: last + ms });
            self.covers.until = last + ms;
            return;
        }
        self.push(level, Span { from: first, until: last });
        if last < span.until {
            finer(self, Span { from: last, until: span.until });
        }
    }

    fn push(&mut self, level: Level, span: Span) {
        if span.from < span.until {
            let (from, until) = (level.bucket(span.from), level.bucket(span.until));
            self.pieces.push(Piece { level, from, until });
        }
    }
}

fn begin(ms: u64, interval: Interval, zone: &TimeZone) -> Result<u64, ReportsError> {
    let local = local(ms, zone)?;
    match interval {
        Interval::None | Interval::Minute => Ok(ms - ms % MINUTE_MS),
        Interval::Hour => {
            let minute = u64::try_from(local.minute()).unwrap_or(0);
            Ok(ms - ms % MINUTE_MS - minute * MINUTE_MS)
        }
        Interval::Day => midnight(local.date(), zone),
        Interval::Week => {
            let since_monday = local.date().weekday().since(Weekday::Monday);
            midnight(plus_days(local.date(), -i64::from(since_monday))?, zone)
        }
        Interval::Month => midnight(local.date().first_of_month(), zone),
    }
}

fn next(from: u64, interval: Interval, zone: &TimeZone) -> Result<u64, ReportsError> {
    let date = || Ok::<_, ReportsError>(local(from, zone)?.date());
    match interval {
        Interval::None | Interval::Minute => Ok(from + MINUTE_MS),
        Interval::Hour => {
            // Where clocks are changed by less than an hour, one interval is shorter.
            let begun = begin(from + HOUR_MS, interval, zone)?;
            Ok(if begun > from { begun } else { from + HOUR_MS })
        }
        Interval::Day => midnight(plus_days(date()?, 1)?, zone),
        Interval::Week => midnight(plus_days(date()?, 7)?, zone),
        Interval::Month => midnight(plus_days(date()?.last_of_month(), 1)?, zone),
    }
}

fn local(ms: u64, zone: &TimeZone) -> Result<Zoned, ReportsError> {
    let at = i64::try_from(ms).ok().and_then(|ms| Instant::from_millisecond(ms).ok());
    Ok(at.ok_or_else(beyond)?.to_zoned(zone.clone()))
}

fn plus_days(date: Date, days: i64) -> Result<Date, ReportsError> {
    date.checked_add(days.days()).map_err(|_| beyond())
}

/// The first moment of a day.
fn midnight(date: Date, zone: &TimeZone) -> Result<u64, ReportsError> {
    let begun = date.to_zoned(zone.clone()).map_err(|_| beyond())?;
    u64::try_from(begun.timestamp().as_millisecond()).map_err(|_| beyond())
}

fn beyond() -> ReportsError {
    ReportsError::Asked("the time asked for lies beyond what calendars hold".to_owned())
}

#[cfg(test)]
#[path = "interval_tests.rs"]
mod tests;
