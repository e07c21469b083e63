//! `docs/monitoring`: alerts and panels name only what a server tells.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;

use crate::scene::Scene;

const RULES: &str = include_str!("../../docs/monitoring/rules.yml");
const TESTS: &str = include_str!("../../docs/monitoring/rules_test.yml");
const DASHBOARD: &str = include_str!("../../docs/monitoring/dashboard.json");
const NAMES: &str = include_str!("../../src/telemetry/metric.rs");
/// A node of a cluster alone tells these; `tests/jetstream` sees it do so.
const CLUSTER_NAMES: &str = include_str!("../../src/telemetry/cluster.rs");
const DOCUMENTS: [(&str, &str); 4] = [
    ("docs/OPERATIONS.md", include_str!("../../docs/OPERATIONS.md")),
    ("docs/CLUSTER.md", include_str!("../../docs/CLUSTER.md")),
    ("docs/REPORTS.md", include_str!("../../docs/REPORTS.md")),
    ("docs/ALERTS.md", include_str!("../../docs/ALERTS.md")),
];

/// They appear with the first snapshot, and with the first look of the reports, the alerts and the webhooks.
const LATER: [&str; 9] = [
    "tokenweir_snapshot_bytes",
    "tokenweir_snapshot_seconds",
    "tokenweir_reports_lsn",
    "tokenweir_reports_lag_frames",
    "tokenweir_reports_failed",
    "tokenweir_alerts_lag_frames",
    "tokenweir_alerts_failed",
    "tokenweir_webhook_deliveries_pending",
    "tokenweir_webhook_oldest_pending_seconds",
];

/// The metrics that a text names; of a histogram the name that its series share.
fn metrics(text: &str) -> BTreeSet<&str> {
    let words = text.split(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_');
    let series = words.filter(|word| word.starts_with("tokenweir_"));
    let suffixes = ["_bucket", "_sum", "_count"];
    series.map(|name| suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)).collect()
}

fn scrape(url: &str) -> String {
    let address = url.trim_start_matches("http://");
    let mut connection = TcpStream::connect(address).expect("it listens");
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("the metrics are text");
    answer
}

#[test]
fn every_metric_of_the_rules_and_the_dashboard_is_told_by_a_server() {
    let scene = Scene::new();
    let (server, _keys) = scene.server();
    let answer = scrape(&server.url);
    let told: BTreeSet<_> = metrics(&answer).into_iter().chain(LATER).collect();
    assert_eq!(told, metrics(NAMES), "what a server tells, and the names in the code");
    let told = &told | &metrics(CLUSTER_NAMES);
    for (place, text) in [("rules.yml", RULES), ("rules_test.yml", TESTS), ("dashboard.json", DASHBOARD)] {
        let unknown: Vec<_> = metrics(text).difference(&told).copied().collect();
        assert!(unknown.is_empty(), "{place} names {unknown:?}, which no server tells: {answer}");
    }
    let untold: Vec<_> = told.difference(&metrics(DOCUMENTS[0].1)).copied().collect();
    assert!(untold.is_empty(), "{untold:?} stand in no table of {}", DOCUMENTS[0].0);
    let unseen: Vec<_> = told.difference(&metrics(DASHBOARD)).copied().collect();
    assert!(unseen.is_empty(), "no panel shows {unseen:?}");
}

#[test]
fn every_panel_has_its_own_id_a_title_a_unit_and_a_description() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("there are panels");
    let ids: BTreeSet<_> = panels.iter().filter_map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len());
    for panel in panels {
        for place in ["/title", "/description", "/fieldConfig/defaults/unit", "/targets/0/expr"] {
            assert!(panel.pointer(place).is_some_and(|text| text != ""), "{place} of {panel}");
        }
    }
}

#[test]
fn every_alert_says_how_bad_it_is_and_what_to_do_and_has_a_test() {
    let alerts: Vec<_> = RULES.split("- alert: ").skip(1).collect();
    assert!(!alerts.is_empty());
    let sections: BTreeSet<_> = DOCUMENTS.into_iter().flat_map(|(path, text)| sections(path, text)).collect();
    for alert in alerts {
        let name = alert.lines().next().unwrap_or_default();
        assert!(
            TESTS.contains(&format!("alertname=\"{name}\"")) || TESTS.contains(&format!("alertname: {name}")),
            "{name} has no test"
        );
        for field in ["expr: ", "for: ", "severity: ", "summary: ", "description: "] {
            assert_eq!(alert.matches(&format!(" {field}")).count(), 1, "{field} of {name}");
        }
        let runbook = alert.split_once(" runbook: ").and_then(|(_, rest)| rest.lines().next());
        assert!(runbook.is_some_and(|section| sections.contains(section)), "{name} leads to {runbook:?}");
    }
}

/// The sections of a document, as links name them.
fn sections(path: &str, text: &str) -> Vec<String> {
    let anchor = |heading: &str| {
        let title = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        title.chars().filter(|sign| sign.is_alphanumeric() || *sign == '-').collect::<String>()
    };
    let headings = text.lines().filter(|line| line.starts_with("##"));
    headings.map(|heading| format!("{path}#{}", anchor(heading))).collect()
}
