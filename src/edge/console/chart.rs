//! Charts: the balance and the usage of a time as SVG, without a script or a style in it.
//!
//! They are drawn in whole units of their own and stretched to the width that there is; what is written beside them is HTML, so that it keeps
//! its size. A bar of something is never drawn as nothing.

use std::fmt::Write as _;

use crate::edge::http::TimeText;
use crate::meter::Timestamp;

use super::text::{Count, Short};

/// Units from the bottom to the top.
const HEIGHT: u64 = 1_000;
/// Units from one interval to the next.
const STEP: usize = 12;
/// Units between two bars.
const SPACE: usize = 2;
/// The lowest bar of something.
const LEAST: u64 = 6;

/// What is known of one interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
    pub(super) charged: u64,
    pub(super) exempt: u64,
    /// Tokens at its end, where that is known.
    pub(super) balance: Option<u64>,
}

/// A chart, ready to be drawn.
#[derive(Debug)]
pub(super) struct Chart {
    pub(super) width: usize,
    pub(super) top: Short,
    pub(super) half: Short,
    /// The line of a balance, and the area below it.
    pub(super) line: String,
    pub(super) area: String,
    pub(super) bars: Vec<Bar>,
    pub(super) hits: Vec<Hit>,
    /// What it shows, in a sentence.
    pub(super) told: String,
}

/// One part of a column.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bar {
    pub(super) x: usize,
    pub(super) y: u64,
    pub(super) width: usize,
    pub(super) height: u64,
    pub(super) is_exempt: bool,
}

/// Where one interval is pointed at, and what is told then.
#[derive(Debug)]
pub(super) struct Hit {
    pub(super) x: usize,
    pub(super) width: usize,
    pub(super) at: TimeText,
    pub(super) until: TimeText,
    pub(super) told: String,
}

impl Chart {
    /// The balance at the end of each interval.
    pub(super) fn of_balance(points: &[Point]) -> Self {
        let mut known = points.iter().filter_map(|point| point.balance);
        let top = round_up(known.clone().max().unwrap_or(0));
        let (mut line, mut area, mut begun) = (String::new(), String::new(), None);
        for (n, point) in points.iter().enumerate() {
            let Some(balance) = point.balance else {
                close(&mut area, begun.take(), n * STEP);
                continue;
            };
            let (x, y) = ((n + 1) * STEP, HEIGHT - scaled(balance, top));
            if begun.is_none() {
                begun = Some(n * STEP);
                _ = write!(line, "M{} {y}", n * STEP);
                _ = write!(area, "M{} {HEIGHT}V{y}", n * STEP);
            }
            _ = write!(line, "L{x} {y}");
            _ = write!(area, "L{x} {y}");
        }
        close(&mut area, begun, points.len() * STEP);
        let told = match (known.clone().next(), known.next_back()) {
            (Some(first), Some(last)) => format!("Balance from {} to {} tokens", Count(first), Count(last)),
            _ => "Nothing is known of the balance".to_owned(),
        };
        let say = |point: &Point| match point.balance {
            Some(balance) => format!("{} tokens left", Count(balance)),
            None => "not known".to_owned(),
        };
        Self { line, area, bars: Vec::new(), ..Self::empty(points, top, told, say) }
    }

    /// What was charged in each interval, and above it what was exempt.
    pub(super) fn of_usage(points: &[Point]) -> Self {
        let all = |point: &Point| point.charged.saturating_add(point.exempt);
        let top = round_up(points.iter().map(all).max().unwrap_or(0));
        let mut bars = Vec::new();
        for (n, point) in points.iter().enumerate() {
            let mut y = HEIGHT;
            for (tokens, is_exempt) in [(point.charged, false), (point.exempt, true)] {
                if tokens > 0 {
                    let height = scaled(tokens, top).max(LEAST).min(y);
                    y -= height;
                    bars.push(Bar { x: n * STEP + SPACE / 2, y, width: STEP - SPACE, height, is_exempt });
                }
            }
        }
        let (charged, exempt) = points.iter().fold((0u64, 0u64), |(charged, exempt), point| {
            (charged.saturating_add(point.charged), exempt.saturating_add(point.exempt))
        });
        let told = format!("{} tokens used and {} exempt", Count(charged), Count(exempt));
        let say = |point: &Point| format!("{} used, {} exempt", Count(point.charged), Count(point.exempt));
        Self { bars, ..Self::empty(points, top, told, say) }
    }

    fn empty(points: &[Point], top: u64, told: String, say: impl Fn(&Point) -> String) -> Self {
        let hit = |(n, point): (usize, &Point)| Hit {
            x: n * STEP,
            width: STEP,
            at: TimeText(point.from),
            until: TimeText(point.until),
            told: say(point),
        };
        Self {
            width: (points.len() * STEP).max(STEP),
            top: Short(top),
            half: Short(top / 2),
            line: String::new(),
            area: String::new(),
            bars: Vec::new(),
            hits: points.iter().enumerate().map(hit).collect(),
            told,
        }
    }
}

/// Ends an area at the bottom.
fn close(area: &mut String, begun: Option<usize>, x: usize) {
    if begun.is_some() {
        _ = write!(area, "L{x} {HEIGHT}Z");
    }
}

/// The share of the height; what is exact at its ends stays so.
fn scaled(tokens: u64, top: u64) -> u64 {
    let share = u128::from(tokens.min(top)) * u128::from(HEIGHT) / u128::from(top.max(1));
    u64::try_from(share).unwrap_or(HEIGHT)
}

/// The top of an axis for what is at most so much: a round number, whose half is whole.
fn round_up(most: u64) -> u64 {
    let mut unit = 10u64;
    loop {
        for digit in [1, 2, 4, 6, 8] {
            match unit.checked_mul(digit) {
                Some(top) if top >= most => return top,
                None => return most,
                Some(_) => {}
            }
        }
        match unit.checked_mul(10) {
            Some(next) => unit = next,
            None => return most,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(values: &[(u64, u64, Option<u64>)]) -> Vec<Point> {
        let at = |n: usize| Timestamp::from_ms(u64::try_from(n + 1).expect("small") * 60_000).expect("valid");
        let point = |(n, (charged, exempt, balance)): (usize, &(u64, u64, Option<u64>))| Point {
            from: at(n),
            until: at(n + 1),
            charged: *charged,
            exempt: *exempt,
            balance: *balance,
        };
        values.iter().enumerate().map(point).collect()
    }

    #[test]
    fn the_top_of_an_axis_is_round_and_holds_everything() {
        for (most, top) in [
            (0, 10),
            (10, 10),
            (11, 20),
            (1_700, 2_000),
            (35_000_000, 40_000_000),
            (90, 100),
            (u64::MAX, u64::MAX),
        ] {
            assert_eq!(round_up(most), top, "{most}");
        }
    }

    #[test]
    fn bars_stand_on_each_other_and_something_is_never_nothing() {
        let chart =
            Chart::of_usage(&points(&[(1_000, 0, None), (0, 0, None), (1, 1, None), (500, 500, None)]));
        let shape = |bar: &Bar| (bar.x, bar.y, bar.height, bar.is_exempt);
        let shapes: Vec<_> = chart.bars.iter().map(shape).collect();
        assert_eq!(
            shapes,
            [
                (1, 0, 1_000, false),
                (25, 994, 6, false),
                (25, 988, 6, true),
                (37, 500, 500, false),
                (37, 0, 500, true)
            ]
        );
        assert_eq!((chart.width, chart.hits.len()), (48, 4));
        assert_eq!(chart.told, "1,501 tokens used and 501 exempt");
    }

    #[test]
    fn the_line_of_a_balance_is_broken_where_nothing_is_known() {
        let chart =
            Chart::of_balance(&points(&[(0, 0, Some(10)), (0, 0, None), (0, 0, Some(5)), (0, 0, Some(0))]));
        assert_eq!(chart.line, "M0 0L12 0M24 500L36 500L48 1000");
        assert_eq!(chart.area, "M0 1000V0L12 0L12 1000ZM24 1000V500L36 500L48 1000L48 1000Z");
        assert_eq!(chart.told, "Balance from 10 to 0 tokens");
        let none = Chart::of_balance(&[]);
        assert_eq!((none.line.as_str(), none.hits.len()), ("", 0));
    }

    #[test]
    fn the_largest_amounts_are_drawn_without_overflow() {
        let most = points(&[(u64::MAX, u64::MAX, Some(u64::MAX))]);
        let chart = Chart::of_usage(&most);
        assert!(chart.bars.iter().all(|bar| bar.y + bar.height <= HEIGHT), "{:?}", chart.bars);
        assert_eq!(Chart::of_balance(&most).line, "M0 0L12 0");
    }
}
