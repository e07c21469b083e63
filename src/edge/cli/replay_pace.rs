//! How fast a recorded trace is sent: at its own pace times a factor, or flat out.

use std::str::FromStr;
use std::time::Duration;

use crate::domain::time::Timestamp;

/// How fast a trace is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As fast as it is answered.
    FlatOut,
    /// At the recorded pace times this many thousandths.
    Thousandths(u64),
}

impl Pace {
    /// How long after the first row a row at `time` is due.
    pub(super) fn due(self, first: Timestamp, time: Timestamp) -> Duration {
        match self {
            Self::FlatOut => Duration::ZERO,
            Self::Thousandths(factor) => {
                let recorded = u128::from(time.ms().saturating_sub(first.ms()));
                let micros = recorded * 1_000_000 / u128::from(factor);
                Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
            }
        }
    }
}

impl FromStr for Pace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "a factor is a number above zero with at most three decimals, as 10 or 0.5".to_owned();
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        let is_plain = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        if decimals.len() > 3 || !is_plain(whole) || !is_plain(decimals) {
            return Err(wrong());
        }
        let whole: u64 = whole.parse().map_err(|_| wrong())?;
        let decimals: u64 = format!("{decimals:0<3}").parse().map_err(|_| wrong())?;
        let factor = whole.checked_mul(1_000).and_then(|factor| factor.checked_add(decimals));
        factor.filter(|factor| *factor > 0).map(Self::Thousandths).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_is_read_exactly() {
        for (text, thousandths) in [("1", 1_000), ("10", 10_000), ("0.5", 500), ("2.25", 2_250), ("0.001", 1)]
        {
            assert_eq!(text.parse(), Ok(Pace::Thousandths(thousandths)), "{text}");
        }
        for text in ["", "0", "0.0", "-1", "1e3", ".5", "1.2345", "99999999999999999999"] {
            assert!(text.parse::<Pace>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_row_is_due_at_its_recorded_distance_divided_by_the_factor() {
        let at = |ms| Timestamp::from_ms(ms).expect("in range");
        for (pace, due_ms) in [
            (Pace::FlatOut, 0),
            (Pace::Thousandths(1_000), 600),
            (Pace::Thousandths(10_000), 60),
            (Pace::Thousandths(500), 1_200),
        ] {
            assert_eq!(pace.due(at(1_000), at(1_600)), Duration::from_millis(due_ms));
        }
    }
}
