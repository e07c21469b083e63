//! `weir alerts`: set and list thresholds, and show what was told.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::domain::alerts::Measure;
use crate::domain::ids::{AlertId, OrgId};

use super::client::{OrganizationArgs, ServerArgs};
use super::failure::Failure;
use super::output::{answer, field, number_field, rows, table};

/// Set and list thresholds: what an organization wants to be told of its tokens.
#[derive(Debug, Subcommand)]
pub enum AlertsCommand {
    /// Set all thresholds of an organization (admin).
    Set(SetArgs),
    /// List the thresholds of an organization, and which of them have fired.
    List(OrganizationArgs),
    /// Show what was told, newest first.
    Log(LogArgs),
}

/// Thresholds as they are to be.
#[derive(Args, Debug)]
pub struct SetArgs {
    /// The organization.
    pub organization: OrgId,
    /// A threshold: NAME:MEASURE=AT, as in low:tokens_left=1000, tenth:percent_left=10, soon:time_left=24h, empty:exhausted,
    /// refused:refusals=100/5m. With ~REARM at the end it is armed again there, as in low:tokens_left=1000~1500. Those that are
    /// left out are removed.
    #[arg(long = "threshold", value_name = "NAME:MEASURE=AT", required_unless_present = "none", value_parser = threshold)]
    pub thresholds: Vec<Value>,
    /// Remove all thresholds.
    #[arg(long, conflicts_with = "thresholds")]
    pub none: bool,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Which part of the log.
#[derive(Args, Debug)]
pub struct LogArgs {
    /// The organization.
    pub organization: OrgId,
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub limit: usize,
    /// Those before this number.
    #[arg(long, value_name = "NUMBER")]
    pub before: Option<u64>,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Runs it.
pub(super) fn run(command: &AlertsCommand) -> Result<(), Failure> {
    let path = |organization| format!("/v1/organizations/{organization}/alerts");
    match command {
        AlertsCommand::Set(args) => {
            let body = json!({ "thresholds": args.thresholds });
            let list = args.server.client()?.put(&path(&args.organization), &body)?;
            answer(args.server.output(), &list, thresholds);
        }
        AlertsCommand::List(args) => {
            let list = args.server.client()?.get(&path(&args.organization))?;
            answer(args.server.output(), &list, thresholds);
        }
        AlertsCommand::Log(args) => {
            let before = args.before.map_or(String::new(), |before| format!("&before={before}"));
            let path = format!("{}/log?limit={}{before}", path(&args.organization), args.limit);
            let page = args.server.client()?.get(&path)?;
            answer(args.server.output(), &page, log);
        }
    }
    Ok(())
}

fn thresholds(list: &Value) -> String {
    let row = |one: &Value| {
        ["id", "measure", "at", "rearm", "window_ms", "state", "fired_at", "fired_value"]
            .map(|name| if one[name].is_u64() { number_field(one, name) } else { field(one, name) })
    };
    let cells: Vec<_> = rows(list, "thresholds").iter().map(row).collect();
    table(["threshold", "measure", "at", "rearm", "window_ms", "state", "fired", "value"], &cells)
}

fn log(page: &Value) -> String {
    let row = |one: &Value| {
        let available = number_field(&one["message"]["data"], "available");
        let [number, at, topic, alert] = ["number", "at", "topic", "alert"].map(|name| field(one, name));
        [number, at, topic, alert, available]
    };
    let cells: Vec<_> = rows(page, "notices").iter().map(row).collect();
    let next = page["next"].as_u64().map_or(String::new(), |next| format!("\nmore: --before {next}"));
    format!("{}{next}", table(["number", "at", "topic", "threshold", "available"], &cells))
}

/// Reads a threshold as it is written.
fn threshold(text: &str) -> Result<Value, String> {
    let (id, rest) = text.split_once(':').ok_or("a threshold is NAME:MEASURE=AT")?;
    let id = AlertId::new(id).map_err(|invalid| invalid.to_string())?;
    let (rest, rearm) = rest.split_once('~').map_or((rest, None), |(rest, rearm)| (rest, Some(rearm)));
    let (measure, at) = rest.split_once('=').map_or((rest, None), |(measure, at)| (measure, Some(at)));
    let known = Measure::ALL.into_iter().find(|known| known.name() == measure);
    let names = Measure::ALL.map(Measure::name).join(", ");
    let measure = known.ok_or_else(|| format!("a measure is one of {names}"))?;
    let value = |text: &str| -> Result<u64, String> {
        let read =
            if measure == Measure::TimeLeft { millis(text) } else { text.replace('_', "").parse().ok() };
        read.ok_or_else(|| format!("`{text}` is no value of {}", measure.name()))
    };
    let mut body = Map::from_iter([("id".to_owned(), json!(id)), ("measure".to_owned(), json!(measure))]);
    if let Some(at) = at {
        let (at, window) = at.split_once('/').map_or((at, None), |(at, window)| (at, Some(window)));
        body.insert("at".to_owned(), json!(value(at)?));
        if let Some(window) = window {
            let window = millis(window).ok_or_else(|| format!("`{window}` is no time like 5m"))?;
            body.insert("window_ms".to_owned(), json!(window));
        }
    }
    if let Some(rearm) = rearm {
        body.insert("rearm".to_owned(), json!(value(rearm)?));
    }
    Ok(Value::Object(body))
}

/// A time like `90s`, `5m`, `24h` or `7d`, in milliseconds.
pub(super) fn millis(text: &str) -> Option<u64> {
    let unit = text.chars().last()?;
    let scale = match unit {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return None,
    };
    text[..text.len() - 1].parse::<u64>().ok()?.checked_mul(scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_read_as_they_are_written() {
        for (text, read) in [
            ("low:tokens_left=1000", json!({"id": "low", "measure": "tokens_left", "at": 1_000})),
            (
                "low:tokens_left=1_000~1500",
                json!({"id": "low", "measure": "tokens_left", "at": 1_000, "rearm": 1_500}),
            ),
            ("t:percent_left=10", json!({"id": "t", "measure": "percent_left", "at": 10})),
            (
                "soon:time_left=24h~36h",
                json!({"id": "soon", "measure": "time_left", "at": 86_400_000, "rearm": 129_600_000}),
            ),
            ("empty:exhausted", json!({"id": "empty", "measure": "exhausted"})),
            ("r:refusals=100/5m", json!({"id": "r", "measure": "refusals", "at": 100, "window_ms": 300_000})),
        ] {
            assert_eq!(threshold(text), Ok(read), "{text}");
        }
        for bad in [
            "",
            "low",
            "low:color=1",
            ":tokens_left=1",
            "low:tokens_left=x",
            "s:time_left=5",
            "r:refusals=1/x",
        ] {
            assert!(threshold(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_time_has_a_unit() {
        for (text, ms) in
            [("90s", Some(90_000)), ("7d", Some(604_800_000)), ("5", None), ("m", None), ("", None)]
        {
            assert_eq!(millis(text), ms, "{text}");
        }
    }
}
