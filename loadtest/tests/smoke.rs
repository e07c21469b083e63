//! The load tester as a program: it runs, it tells what it did, and an audit that does not hold fails the run.

use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

/// Held by what loads the whole machine for long: two of these at once each see the other's load as growth.
static MACHINE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn loadtest(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    command.args(arguments).output().expect("the program starts")
}

fn json_of(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().expect("it says something");
    serde_json::from_str(last).expect("its last line is JSON")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const SMALL: [&str; 8] = ["--cameras", "100", "--duration", "0.5", "--rate", "20000", "--batch", "50"];

fn run(target: &str, more: &[&str]) -> Output {
    loadtest(&[&["run", "--target", target, "--json"], more].concat())
}

#[test]
fn an_open_loop_on_the_embedded_engine_tells_what_it_did_and_its_audit_holds() {
    let page = tempfile::NamedTempFile::new().expect("a file");
    let path = page.path().to_str().expect("a path of plain text");
    let zipf = ["--organizations", "3", "--zipf", "1.1", "--html", path];
    let output = run("embedded", &[&SMALL[..], &zipf[..]].concat());
    assert!(output.status.success(), "{}", said(&output));
    let report = json_of(&output);
    let debits = report["debits"].as_u64().expect("debits");
    assert!(debits > 0 && report["audit"]["holds"] == true, "{report}");
    assert_eq!(report["audit"]["debits"].as_u64(), Some(debits), "everything was charged");
    assert_eq!(report["latency"]["from"], "the intended time");
    let latency = |name: &str| report["latency"][name].as_f64().expect("a figure");
    assert!(latency("p50_us") > 0.0 && latency("p50_us") <= latency("max_us"));
    assert!(report["fsyncs"].as_u64() > Some(0) && report["bytes_a_debit"].as_f64() > Some(1.0), "{report}");
    let html = std::fs::read_to_string(page.path()).expect("the page was written");
    assert!(
        html.contains("<svg") && html.contains("<polyline") && !html.contains("http://"),
        "it needs nothing else"
    );
}

#[test]
fn a_closed_loop_over_http_charges_what_it_acknowledges() {
    let flat_out = ["--cameras", "100", "--duration", "0.5", "--flat-out", "--window", "4", "--batch", "50"];
    let output = run("http", &flat_out);
    assert!(output.status.success(), "{}", said(&output));
    let report = json_of(&output);
    assert!(report["rates"]["charged"].as_f64() > Some(0.0) && report["audit"]["holds"] == true, "{report}");
    assert!(report["fsyncs"].as_u64() > Some(0) && report["resident_bytes"].as_u64() > Some(0), "{report}");
}

#[test]
fn a_recorded_trace_is_sent_at_its_own_times() {
    let trace = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/azure-llm/AzureLLMInferenceTrace_conv.csv");
    let output =
        run("embedded", &["--cameras", "50", "--trace", trace, "--speed", "1000", "--duration", "0.5"]);
    assert!(output.status.success(), "{}", said(&output));
    let report = json_of(&output);
    let debits = report["debits"].as_u64().expect("debits");
    assert!((1_000..6_000).contains(&debits), "half a second is 500 of 3,600 s of the trace: {report}");
}

#[test]
fn an_audit_that_does_not_hold_fails_the_run() {
    let output = run("embedded", &[&SMALL[..], &["--plant-tokens", "1"][..]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert_eq!(json_of(&output)["audit"]["holds"], false);
    assert!(said(&output).contains("the audit does not hold"), "{}", said(&output));
}

#[test]
fn the_floors_are_measured_and_told_as_json() {
    let output = loadtest(&["floors", "--quick", "--json"]);
    assert!(output.status.success(), "{}", said(&output));
    let report = json_of(&output);
    let floors = report["floors"].as_array().expect("a list");
    assert_eq!(floors.len(), 5);
    assert!(floors.iter().all(|floor| floor["median"].as_f64() > Some(0.0)), "{report}");
}

#[test]
fn a_cluster_is_measured_beside_a_bare_publisher_or_says_that_there_is_no_server() {
    let _alone = alone();
    let output = loadtest(&["cluster", "--quick", "--json"]);
    assert!(output.status.success(), "{}", said(&output));
    let report = json_of(&output);
    let rows = report["rows"].as_array().expect("a list");
    let skipped = report["skipped"].as_array().expect("a list");
    if skipped.is_empty() {
        let with_reference = rows.iter().filter(|row| row["reference_value"].as_f64() > Some(0.0)).count();
        assert!(with_reference == 25 && rows.iter().all(|row| row["ours"].is_number()), "{report}");
    } else {
        println!("skipped: {skipped:?}");
        assert!(rows.is_empty(), "{report}");
    }
}

#[test]
fn a_load_that_cannot_be_is_refused_before_anything_is_made() {
    for (arguments, what) in [
        (&["--duration", "0"][..], "above zero"),
        (&["--cameras", "1", "--producers", "2"][..], "one camera for each producer"),
        (&["--tenants", "/nowhere"][..], "name the folder of the tenants"),
        (&["--trace", "/nowhere"][..], "cannot be read"),
    ] {
        let output = run("embedded", arguments);
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains(what), "{}", said(&output));
    }
}

#[test]
fn a_short_soak_ends_as_it_began_with_every_sum_right_and_a_clean_directory() {
    let _alone = alone();
    let output = loadtest(&["soak", "--seconds", "18", "--rate", "2000", "--transfer-every", "1"]);
    assert!(output.status.success(), "{}", said(&output));
    let printed = String::from_utf8_lossy(&output.stdout);
    for words in ["clean: every frame", "every sum agrees", "flat: the last quarter"] {
        assert!(printed.contains(words), "{printed}");
    }
}
