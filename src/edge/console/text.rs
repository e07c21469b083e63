//! How amounts, times and spans are written in pages.
//!
//! What is written here is digits and signs of ours and needs no escaping. Everything else is escaped by the templates.

use std::fmt;

use askama::filters::HtmlSafe;
use serde::{Serialize, Serializer};

use crate::edge::http::TimeText;
use crate::meter::{Invalid, Refusal, Role, Timestamp, Tokens, UsageKind};

/// A count, whole, in groups of three digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count(pub(super) u64);

/// A count as an element: what is shown, and the bare number for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Data(pub(super) u64);

/// A count in short where there is little room, as an element that tells it whole when it is pointed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Short(pub(super) u64);

/// A point in time as an element; script shows it in the zone of the viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Time(pub(super) Timestamp);

/// A length of time in milliseconds, in its two largest units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span(pub(super) u64);

impl HtmlSafe for Count {}
impl HtmlSafe for Data {}
impl HtmlSafe for Short {}
impl HtmlSafe for Time {}
impl HtmlSafe for Span {}

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl From<Tokens> for Count {
    fn from(tokens: Tokens) -> Self {
        Self(tokens.0)
    }
}

impl From<Tokens> for Data {
    fn from(tokens: Tokens) -> Self {
        Self(tokens.0)
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let (head, groups) = digits.split_at(digits.len() % 3);
        f.write_str(head)?;
        for (n, group) in groups.as_bytes().chunks(3).enumerate() {
            let comma = if n == 0 && head.is_empty() { "" } else { "," };
            write!(f, "{comma}{}", std::str::from_utf8(group).map_err(|_| fmt::Error)?)?;
        }
        Ok(())
    }
}

impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, r#"<data value="{}">{}</data>"#, self.0, Count(self.0))
    }
}

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, r#"<data value="{}" title="{}">{}</data>"#, self.0, Count(self.0), in_short(self.0))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = TimeText(self.0).to_string();
        let (date, time) = (&text[..10], &text[11..19]);
        write!(f, r#"<time datetime="{text}">{date} {time} UTC</time>"#)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 5] =
            [(31_557_600_000, "y"), (86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")];
        let Some(place) = UNITS.iter().position(|(ms, _)| self.0 >= *ms) else {
            return f.write_str("under 1 s");
        };
        let (ms, name) = UNITS[place];
        write!(f, "{} {name}", Count(self.0 / ms))?;
        match UNITS.get(place + 1) {
            Some((finer, finer_name)) if self.0 % ms >= *finer => {
                write!(f, " {} {finer_name}", self.0 % ms / finer)
            }
            _ => Ok(()),
        }
    }
}

/// A time of UTC as a field of date and time has it, with or without seconds.
///
/// # Errors
/// When it is none.
pub(super) fn time(text: &str) -> Result<Timestamp, Refusal> {
    let whole =
        if text.len() == "2026-01-01T00:00".len() { format!("{text}:00Z") } else { format!("{text}Z") };
    Ok(TimeText::parse(&whole).map_err(|_| Refusal::Invalid(Invalid::Time))?.0)
}

/// Three digits and a unit, cut off and never rounded up: what is there is never told as more.
pub(super) fn in_short(n: u64) -> String {
    const UNITS: [(u64, &str); 5] = [
        (1_000_000_000_000_000, "P"),
        (1_000_000_000_000, "T"),
        (1_000_000_000, "G"),
        (1_000_000, "M"),
        (1_000, "k"),
    ];
    let Some((unit, name)) = UNITS.into_iter().find(|(unit, _)| n >= *unit) else { return n.to_string() };
    let (whole, hundredths) = (n / unit, n % unit / (unit / 100));
    match whole {
        _ if hundredths == 0 => format!("{whole} {name}"),
        0..10 => format!("{whole}.{hundredths:02} {name}").replace("0 ", " "),
        10..100 if hundredths >= 10 => format!("{whole}.{} {name}", hundredths / 10),
        _ => format!("{whole} {name}"),
    }
}

/// A role for people.
pub(super) fn role(role: Role) -> &'static str {
    match role {
        Role::Operator => "operator",
        Role::Admin => "admin",
        Role::Viewer => "viewer",
        Role::Gateway => "gateway",
    }
}

/// A usage kind for people.
pub(super) fn kind(kind: UsageKind) -> &'static str {
    match kind {
        UsageKind::ContextualVideoAnalytics => "Contextual video analytics",
        UsageKind::VideoSearch => "Video search",
        UsageKind::VideoSummary => "Video summary",
        UsageKind::Other => "Other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_stand_in_groups_of_three_and_keep_every_digit() {
        for (n, text) in [
            (0, "0"),
            (12, "12"),
            (999, "999"),
            (1_000, "1,000"),
            (123_456, "123,456"),
            (9_007_199_254_740_991, "9,007,199,254,740,991"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(Count(n).to_string(), text);
            assert_eq!(text.replace(',', "").parse(), Ok(n));
        }
    }

    #[test]
    fn counts_in_short_are_never_more_than_there_is() {
        for (n, text) in [
            (999, "999"),
            (1_000, "1 k"),
            (1_999, "1.99 k"),
            (1_200, "1.2 k"),
            (12_345, "12.3 k"),
            (10_050, "10 k"),
            (999_999, "999 k"),
            (1_050_000, "1.05 M"),
            (30_000_000, "30 M"),
        ] {
            assert_eq!(in_short(n), text, "{n}");
        }
    }

    #[test]
    fn spans_are_told_in_their_two_largest_units() {
        for (ms, text) in [
            (0, "under 1 s"),
            (1_000, "1 s"),
            (90_000, "1 min 30 s"),
            (900_000, "15 min"),
            (86_400_000 + 3_600_000 * 3, "1 d 3 h"),
            (86_400_000 + 60_000, "1 d"),
            (31_557_600_000 * 2_000, "2,000 y"),
        ] {
            assert_eq!(Span(ms).to_string(), text, "{ms}");
        }
    }

    #[test]
    fn a_time_is_told_in_utc_for_people_and_whole_for_script() {
        let at = Timestamp::from_ms(1_767_323_045_678).expect("valid");
        assert_eq!(
            Time(at).to_string(),
            r#"<time datetime="2026-01-02T03:04:05.678Z">2026-01-02 03:04:05 UTC</time>"#
        );
    }
}
