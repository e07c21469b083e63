//! `weir usage`, `weir balance` and `weir events`: the reports of an organization, as tables, JSON or CSV.

use clap::Args;
use serde_json::Value;

use crate::domain::ids::{CameraId, OrgId};

use super::client::ServerArgs;
use super::failure::Failure;
use super::output::{answer, field, note, number_field, print_raw, rows, table};

/// Of which time, and how it is shown.
#[derive(Args, Debug)]
pub struct TimeArgs {
    /// The first moment, as RFC 3339; 24 hours before the end when not given.
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// The first moment after; now when not given.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Print CSV.
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Into what the time is cut.
#[derive(Args, Debug)]
pub struct IntervalArgs {
    /// `none`, `minute`, `hour`, `day`, `week` or `month`.
    #[arg(long, value_name = "INTERVAL")]
    pub interval: Option<String>,
    /// The time zone of the intervals, like `Europe/Berlin`; UTC when not given.
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
}

/// Whose usage, and how it is told apart.
#[derive(Args, Debug)]
pub struct UsageArgs {
    /// The organization.
    pub organization: OrgId,
    /// Into what the time is cut.
    #[command(flatten)]
    pub interval: IntervalArgs,
    /// By what it is told apart: `network`, `camera`, `kind`, `outcome` (charged or exempt), or several with commas.
    #[arg(long, value_name = "WHAT")]
    pub by: Option<String>,
    /// Of which debits.
    #[command(flatten)]
    pub only: OnlyArgs,
    /// Only so many groups, those that were charged most; the others together.
    #[arg(long, value_name = "N")]
    pub top: Option<u32>,
    /// Of which time.
    #[command(flatten)]
    pub time: TimeArgs,
}

/// Which debits.
#[derive(Args, Debug)]
pub struct OnlyArgs {
    /// Only this network.
    #[arg(long)]
    pub network: Option<String>,
    /// Only this camera.
    #[arg(long)]
    pub camera: Option<CameraId>,
    /// Only this usage kind.
    #[arg(long)]
    pub kind: Option<String>,
}

impl OnlyArgs {
    /// What it asks for, as the query names it.
    fn query(&self) -> [(&str, Option<&str>); 3] {
        let camera = self.camera.as_ref().map(CameraId::as_str);
        [("network", self.network.as_deref()), ("camera", camera), ("kind", self.kind.as_deref())]
    }
}

/// Whose balance.
#[derive(Args, Debug)]
pub struct BalanceArgs {
    /// The organization.
    pub organization: OrgId,
    /// Into what the time is cut; hours when not given.
    #[command(flatten)]
    pub interval: IntervalArgs,
    /// Of which time.
    #[command(flatten)]
    pub time: TimeArgs,
}

/// Whose event log.
#[derive(Args, Debug)]
pub struct EventsArgs {
    /// The organization.
    pub organization: OrgId,
    /// Of which debits.
    #[command(flatten)]
    pub only: OnlyArgs,
    /// Only `charged` or `exempt`.
    #[arg(long)]
    pub outcome: Option<String>,
    /// Only what stands before this number, where the page before ended.
    #[arg(long, value_name = "NUMBER")]
    pub before: Option<u64>,
    /// How many rows.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub limit: u32,
    /// Of which time; all that the log holds when not given.
    #[command(flatten)]
    pub time: TimeArgs,
}

/// Runs `weir usage`.
pub(super) fn run(args: &UsageArgs) -> Result<(), Failure> {
    let [network, camera, kind] = args.only.query();
    let top = args.top.map(|top| top.to_string());
    let more = [
        ("by", args.by.as_deref()),
        network,
        camera,
        kind,
        ("top", top.as_deref()),
        ("interval", args.interval.interval.as_deref()),
        ("zone", args.interval.zone.as_deref()),
    ];
    show(&args.time, &format!("/v1/organizations/{}/usage", args.organization), &more, usage_text)
}

/// Runs `weir balance`.
pub(super) fn balance(args: &BalanceArgs) -> Result<(), Failure> {
    let more = [("interval", args.interval.interval.as_deref()), ("zone", args.interval.zone.as_deref())];
    let path = format!("/v1/organizations/{}/balance-history", args.organization);
    show(&args.time, &path, &more, balance_text)
}

/// Runs `weir events`.
pub(super) fn events(args: &EventsArgs) -> Result<(), Failure> {
    let (limit, before) = (args.limit.to_string(), args.before.map(|before| before.to_string()));
    let [network, camera, kind] = args.only.query();
    let more = [
        network,
        camera,
        kind,
        ("outcome", args.outcome.as_deref()),
        ("before", before.as_deref()),
        ("limit", Some(limit.as_str())),
    ];
    show(&args.time, &format!("/v1/organizations/{}/event-log", args.organization), &more, events_text)
}

fn show(
    time: &TimeArgs,
    path: &str,
    more: &[(&str, Option<&str>)],
    text: fn(&Value) -> String,
) -> Result<(), Failure> {
    let times = [("from", time.from.as_deref()), ("until", time.until.as_deref())];
    let path = format!("{path}{}", query(times.iter().chain(more)));
    let client = time.server.client()?;
    if time.csv {
        print_raw(&client.get_text(&path, "text/csv")?);
        return Ok(());
    }
    let found = client.get(&path)?;
    answer(time.server.json, &found, text);
    if !time.server.json {
        hints(&found);
    }
    Ok(())
}

/// What limits the answer, for people.
fn hints(found: &Value) {
    if found["exact"] == false {
        note("buckets that old are of whole days: each row says which moments it counts");
    }
    for gap in rows(found, "gaps") {
        note(&format!(
            "between {} and {} {} tokens were charged, and it is not known when and where",
            field(gap, "since"),
            field(gap, "until"),
            number_field(gap, "charged")
        ));
    }
    if found["lag_frames"].as_u64().unwrap_or(0) > 0 {
        note(&format!("{} frames of the journal are not reported yet", number_field(found, "lag_frames")));
    }
}

fn usage_text(usage: &Value) -> String {
    let mut lines: Vec<_> = rows(usage, "rows").iter().map(usage_row).collect();
    let total = &usage["total"];
    lines.push([
        "total".to_owned(),
        String::new(),
        String::new(),
        number_field(total, "charged"),
        number_field(total, "exempt"),
        number_field(total, "debits_charged"),
        number_field(total, "debits_exempt"),
    ]);
    table(["from", "until", "of", "charged", "exempt", "debits charged", "debits exempt"], &lines)
}

fn usage_row(row: &Value) -> [String; 7] {
    let names = ["network", "camera", "kind", "outcome"].map(|name| field(row, name));
    let of = if row["rest"] == true { "(all others)".to_owned() } else { names.join(" ").trim().to_owned() };
    [
        field(row, "from"),
        field(row, "until"),
        of,
        number_field(row, "charged"),
        number_field(row, "exempt"),
        number_field(row, "debits_charged"),
        number_field(row, "debits_exempt"),
    ]
}

fn balance_text(history: &Value) -> String {
    let row = |row: &Value| {
        [
            field(row, "from"),
            number_field(row, "balance"),
            number_field(row, "granted"),
            number_field(row, "received"),
            number_field(row, "sent"),
            number_field(row, "charged"),
        ]
    };
    let lines: Vec<_> = rows(history, "rows").iter().map(row).collect();
    table(["from", "balance", "granted", "received", "sent", "charged"], &lines)
}

fn events_text(log: &Value) -> String {
    let row = |row: &Value| {
        let why = field(row, "license");
        let outcome = if why.is_empty() { field(row, "outcome") } else { format!("exempt by {why}") };
        [
            field(row, "number"),
            field(row, "at"),
            field(row, "network"),
            field(row, "camera"),
            field(row, "kind"),
            number_field(row, "tokens"),
            outcome,
            number_field(row, "balance"),
        ]
    };
    let lines: Vec<_> = rows(log, "events").iter().map(row).collect();
    let mut text =
        table(["number", "at", "network", "camera", "kind", "tokens", "outcome", "balance"], &lines);
    if let Some(next) = log["next"].as_u64() {
        text.push_str(&format!("\nolder ones follow; show them with --before {next}"));
    }
    text
}

/// The query of a URL, of what is given.
fn query<'a>(parts: impl Iterator<Item = &'a (&'a str, Option<&'a str>)>) -> String {
    let given = parts.filter_map(|(name, value)| Some(format!("{name}={}", encoded((*value)?))));
    let given = given.collect::<Vec<_>>().join("&");
    if given.is_empty() { given } else { format!("?{given}") }
}

/// Text with everything but letters, digits and `- . _ ~` as percent and two digits (RFC 3986).
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_holds_what_is_given_and_encodes_it() {
        let parts = [("a", Some("x y&z+é")), ("b", None), ("zone", Some("Europe/Berlin"))];
        assert_eq!(query(parts.iter()), "?a=x%20y%26z%2B%C3%A9&zone=Europe%2FBerlin");
        assert_eq!(query([("b", None)].iter()), "");
    }
}
