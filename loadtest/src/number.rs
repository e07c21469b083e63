//! Numbers for people: the one place where counts become fractions.

use std::time::Duration;

/// A count as a fraction; exact up to 2^53.
#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "figures for people")]
pub(crate) fn fraction(count: u64) -> f64 {
    count as f64
}

/// A length as a fraction.
pub(crate) fn fraction_of_len(length: usize) -> f64 {
    fraction(u64_of(length))
}

/// A length as a count.
pub(crate) fn u64_of(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// A count as a length.
pub(crate) fn usize_of(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// A camera's number in its organization as its slot.
pub(crate) fn u32_of(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The nearest whole number that is not negative.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates"
)]
pub(crate) fn whole(figure: f64) -> u64 {
    figure.round().max(0.0) as u64
}

/// How many a second.
pub(crate) fn per_second(count: u64, took: Duration) -> f64 {
    fraction(count) / took.as_secs_f64().max(1e-9)
}

/// The middle of some figures; the upper one of two. Zero for none.
pub(crate) fn median(figures: &[f64]) -> f64 {
    let sorted = sorted(figures);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

/// The largest of some figures. Zero for none.
pub(crate) fn largest(figures: &[f64]) -> f64 {
    sorted(figures).last().copied().unwrap_or(0.0)
}

/// How far figures lie apart, as a part of their median.
pub(crate) fn spread(figures: &[f64]) -> f64 {
    let sorted = sorted(figures);
    match (sorted.first(), sorted.last()) {
        (Some(least), Some(most)) if median(figures) > 0.0 => (most - least) / median(figures),
        _ => 0.0,
    }
}

/// The median of durations, in microseconds.
pub(crate) fn p50_us(mut laps: Vec<Duration>) -> f64 {
    laps.sort_unstable();
    laps.get(laps.len() / 2).map_or(0.0, |lap| lap.as_secs_f64() * 1e6)
}

/// A duration in whole nanoseconds.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn sorted(figures: &[f64]) -> Vec<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_spread_do_not_depend_on_the_order() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((spread(&[3.0, 1.0, 2.0]) - 1.0).abs() < 1e-9);
        assert!(median(&[]).abs() < 1e-9 && spread(&[]).abs() < 1e-9);
    }

    #[test]
    fn a_negative_figure_is_no_count() {
        assert_eq!([-1.0, 0.4, 2.5].map(whole), [0, 0, 3]);
    }
}
