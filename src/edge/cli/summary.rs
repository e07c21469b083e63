//! `weir summary`: the AI Token Summary of an organization.

use clap::Args;
use serde_json::Value;

use crate::domain::ids::OrgId;

use super::client::ServerArgs;
use super::failure::Failure;
use super::output::{answer, field, number_field, rows, table};

/// Whose summary.
#[derive(Args, Debug)]
pub struct SummaryArgs {
    /// The organization.
    pub organization: OrgId,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Runs it.
pub(super) fn run(args: &SummaryArgs) -> Result<(), Failure> {
    let summary = args.server.client()?.get(&format!("/v1/organizations/{}/summary", args.organization))?;
    answer(args.server.output(), &summary, text);
    Ok(())
}

fn text(summary: &Value) -> String {
    let line = |name: &str, value: String| [name.to_owned(), value];
    let left = summary["estimated_analytics_ms"].as_u64().map_or("nothing burns at present".to_owned(), span);
    let lines = [
        line("Current Available", number_field(summary, "available")),
        line("Estimated Camera AI Analytics", left),
        line("Cloud AI Enabled", number_field(summary, "cloud_ai_enabled")),
        line("Total Cameras", number_field(summary, "cameras")),
        line("used", number_field(summary, "used")),
        line("exempt", number_field(summary, "exempt")),
        line("granted", number_field(summary, "granted")),
        line("held by reservations", number_field(summary, "held")),
        line("in transit", number_field(summary, "in_transit")),
        line("transferred in", number_field(summary, "transferred_in")),
        line("transferred out", number_field(summary, "transferred_out")),
        line("shared ai token licenses", number_field(summary, "licenses")),
    ];
    let row = |network: &Value| {
        [field(network, "name"), number_field(network, "used"), number_field(network, "exempt")]
    };
    let networks: Vec<_> = rows(summary, "networks").iter().map(row).collect();
    let title = format!("{} ({})", field(summary, "name"), field(summary, "organization"));
    let head = table([title.as_str(), ""], &lines);
    format!("{head}\n\n{}", table(["network", "used", "exempt"], &networks))
}

/// A span of time in its two largest units.
pub(super) fn span(ms: u64) -> String {
    let units = [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000), ("ms", 1)];
    let first = units.iter().position(|(_, unit)| ms >= *unit).unwrap_or(units.len() - 1);
    let (name, unit) = units[first];
    let rest = units.get(first + 1).filter(|(_, next)| ms % unit >= *next);
    let rest = rest.map(|(name, next)| format!(" {} {name}", ms % unit / next)).unwrap_or_default();
    format!("{} {name}{rest}", ms / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_told_in_its_two_largest_units() {
        for (ms, text) in [(0, "0 ms"), (1_500, "1 s 500 ms"), (3_600_000, "1 h"), (90_000_000, "1 d 1 h")] {
            assert_eq!(span(ms), text);
        }
    }
}
