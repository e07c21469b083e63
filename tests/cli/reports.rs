//! Reports through the program: killed in their middle, built anew, asked by every command that `docs/REPORTS.md` shows.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tokenweir::domain::ids::OrgId;
use tokenweir::meter::{Config, Meter, Principal};
use tokenweir::reports::{By, Interval, Reports, UsageQuery, homes};
use tokenweir::storage::{Hold, HoldReader};

use crate::process::{PATIENCE, Server, program, text, weir};
use crate::scene::{Scene, trace_tokens};

const DOCUMENT: &str = include_str!("../../docs/REPORTS.md");
const ROWS: u64 = 30_000;

fn acme() -> OrgId {
    OrgId::new("acme").expect("valid")
}

/// The commands that the document shows: those that ask a server, and those on a directory.
fn commands() -> (Vec<Vec<&'static str>>, Vec<Vec<&'static str>>) {
    let shown = DOCUMENT.lines().filter_map(|line| line.strip_prefix("    weir "));
    shown.map(|line| line.split_whitespace().collect::<Vec<_>>()).partition(|words| !words.contains(&"DIR"))
}

fn rebuilt(data: &Path) -> Value {
    weir(&["reports", "rebuild", text(data), "--json"]).json()
}

#[test]
fn a_server_that_is_killed_while_it_reports_reports_each_debit_once() {
    let scene = Scene::new();
    let data = scene.charged_directory(ROWS);
    for calls in 0..5 {
        let server = Server::start(&data, &scene.path("operator.key"), &["--partitions", "1"]);
        for _ in 0..calls {
            weir(&["orgs", "list", "--server", &server.url, "--key", "weir_none_none"]);
        }
        server.running.kill();
    }
    let meter = Meter::open(Config::new(&data)).expect("a crash is survived");
    let follows = meter.clone();
    let durable = Box::new(move |partition: u16| follows.durable(partition));
    let homes = homes(&data).expect("a data directory");
    let hold = Arc::new(Hold::new(1 << 30, &[HoldReader::Reports]));
    let reports = Reports::start(meter.partitions(), durable, Some(hold), 1_000).expect("a thread");
    homes.iter().for_each(|home| reports.follow(home.into()));
    assert!(reports.catch_up(PATIENCE), "{:?}", reports.status());
    let (reader, now) = (reports.read(&acme()).expect("reported"), meter.now());
    let query = UsageQuery {
        from: now.minus_ms(86_400_000),
        until: now.plus_ms(1),
        interval: Interval::Hour,
        zone: jiff::tz::TimeZone::UTC,
        by: By { camera: true, network: true, kind: true, outcome: true },
        network: None,
        camera: None,
        kind: None,
        top: None,
    };
    let usage = reader.usage(&query).expect("read");
    assert_eq!((usage.total.charged, usage.total.debits_charged), (trace_tokens(ROWS), ROWS));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let handle = meter.organization(&Principal::Host, &acme()).expect("it exists");
    let summary = runtime.block_on(handle.summary()).expect("served");
    assert_eq!(summary.totals.used.0, usage.total.charged);
}

#[test]
fn every_command_of_the_document_runs_and_adds_up() {
    let scene = Scene::new();
    let data = scene.charged_directory(500);
    assert_eq!(rebuilt(&data)[0]["from_first"], true);
    let key = weir(&[
        "key",
        "create",
        "--data",
        text(&data),
        "--role",
        "viewer",
        "--label",
        "v",
        "--org",
        "acme",
        "--json",
    ]);
    let key = key.json()["key"].as_str().expect("shown once").to_owned();
    let (asks, offline) = commands();
    let server = Server::start(&data, &scene.path("unused.key"), &[]);
    assert_eq!(weir(&["reports", "rebuild", text(&data)]).code, 2, "a server holds the directory");
    for words in &asks {
        let ended = server.weir(&key, words);
        assert_eq!(ended.code, 0, "{words:?}: {ended:?}");
    }
    let usage = server.weir(&key, &["usage", "acme", "--by", "camera", "--json"]).json();
    assert_eq!(usage["total"]["charged"], trace_tokens(500));
    let shown = server.weir(&key, &["usage", "acme", "--by", "camera"]).stdout;
    assert!(shown.contains("total") && shown.lines().count() > 4, "{shown}");
    let csv = server.weir(&key, &["events", "acme", "--limit", "7", "--csv"]).stdout;
    assert_eq!(csv.matches("\r\n").count(), 8, "{csv}");
    assert_eq!(server.running.stop(), Some(0));
    for words in &offline {
        let mut command = program();
        command.args(words.iter().map(|word| if *word == "DIR" { text(&data) } else { word }));
        let ended = command.current_dir(scene.path("")).output().expect("the program starts");
        assert!(ended.status.success(), "{words:?}: {ended:?}");
    }
    assert!(asks.len() > 6 && offline.len() == 4, "{asks:?} {offline:?}");
    let exported = std::fs::read_to_string(scene.path("events.csv")).expect("written");
    assert_eq!(exported.matches("\r\n").count(), 501);
    let lines = weir(&["export", text(&data), "--format", "ndjson"]).stdout;
    let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("json")).collect();
    let charged: u64 = rows.iter().filter_map(|row| row["tokens"].as_u64()).sum();
    assert_eq!((rows.len(), charged), (500, trace_tokens(500)));
    assert!(rows.windows(2).all(|pair| pair[0]["balance"].as_u64() > pair[1]["balance"].as_u64()));
}
