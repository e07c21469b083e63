//! The rows as a table for people.

use std::fmt::Write as _;

use super::rows::Row;

/// The table.
pub(crate) fn text(rows: &[Row]) -> String {
    let mut out = format!(
        "{:<34} {:>12} {:<18} {:>12} {:>8} {:>6} {:>5} {:>6}  {}\n",
        "", "ours", "", "reference", "ratio", "bar", "met", "spread", "reference is"
    );
    for row in rows {
        let reference = row.reference_value.map(told).unwrap_or_default();
        let ratio = row.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
        let bar = row.bar.map(|bar| bar.to_string()).unwrap_or_default();
        let met = row.met.map_or("", |met| if met { "yes" } else { "NO" });
        let (id, ours, unit, spread) = (row.id, told(row.ours), row.unit, row.spread);
        let what = row.reference.unwrap_or_default();
        writeln!(
            out,
            "{id:<34} {ours:>12} {unit:<18} {reference:>12} {ratio:>8} {bar:>6} {met:>5} {spread:>6.2}  {what}"
        )
        .expect("a string grows");
    }
    out
}

fn told(figure: f64) -> String {
    if figure >= 1e6 {
        format!("{:.2} M", figure / 1e6)
    } else if figure >= 1e4 {
        format!("{:.1} k", figure / 1e3)
    } else {
        format!("{figure:.2}")
    }
}
