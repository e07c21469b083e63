//! `weir replay`, into a directory and to a server.

use serde_json::Value;

use crate::process::{Ended, text, weir};
use crate::scene::{Scene, trace, trace_tokens};

const ROWS: u64 = 1_000;

fn into_directory(scene: &Scene, more: &[&str]) -> Ended {
    let (trace, data) = (scene.path("trace.csv"), scene.data());
    let args = ["replay", text(&trace), "--data", text(&data), "--org", "acme", "--cameras", "4", "--json"];
    weir(&[&args[..], more].concat())
}

fn tokens(report: &Value, path: &str) -> u64 {
    report.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("{path} of {report}"))
}

fn used_in(scene: &Scene) -> u64 {
    tokens(&weir(&["verify", text(&scene.data()), "--json"]).json(), "/totals/used")
}

#[test]
fn r13_a_trace_replayed_twice_into_a_directory_charges_nothing_twice() {
    let scene = Scene::new();
    scene.write_trace(&trace(ROWS));
    let first = into_directory(&scene, &["--flat-out", "--register", "--grant", "50000000"]).json();
    assert_eq!(tokens(&first, "/charged/tokens"), trace_tokens(ROWS));
    let second = into_directory(&scene, &["--flat-out"]).json();
    assert_eq!(tokens(&second, "/charged/debits"), 0);
    assert_eq!(tokens(&second, "/rows"), ROWS);
    assert_eq!(
        tokens(&second, "/skipped/tokens") + tokens(&second, "/duplicates/charged/tokens"),
        trace_tokens(ROWS)
    );
    assert_eq!(used_in(&scene), trace_tokens(ROWS));
}

#[test]
fn r13_a_trace_replayed_twice_to_a_server_charges_nothing_twice() {
    let scene = Scene::new();
    let trace = scene.write_trace(&trace(ROWS));
    let (server, keys) = scene.server();
    let args =
        ["replay", text(&trace), "--org", "acme", "--cameras", "64", "--flat-out", "--register", "--json"];
    let replay = || server.weir(&keys.gateway, &[&args[..], &["--admin-key", &keys.admin]].concat()).json();
    assert_eq!(tokens(&replay(), "/charged/tokens"), trace_tokens(ROWS));
    let second = replay();
    assert_eq!(tokens(&second, "/charged/debits"), 0);
    assert_eq!(tokens(&second, "/duplicates/charged/tokens"), trace_tokens(ROWS));
    let summary = server.weir(&keys.gateway, &["summary", "acme", "--json"]).json();
    assert_eq!(tokens(&summary, "/used"), trace_tokens(ROWS));
    assert_eq!(tokens(&summary, "/cameras"), 64);
}

#[test]
fn the_recorded_pace_times_a_factor_sends_every_row_too() {
    let scene = Scene::new();
    scene.write_trace(&trace(50));
    let report = into_directory(&scene, &["--speed", "50", "--register", "--grant", "50000000"]).json();
    assert_eq!(tokens(&report, "/charged/tokens"), trace_tokens(50));
}

#[test]
fn a_malformed_row_is_named_and_what_was_before_it_is_kept() {
    let scene = Scene::new();
    let good = trace(100);
    scene.write_trace(&good.replacen("18:00:05.0000000,51,", "18:00:05.0000000,many,", 1));
    let ended = into_directory(&scene, &["--flat-out", "--register", "--grant", "50000000"]);
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("line 52 of the trace: `many` is not a count"), "{}", ended.stderr);
    assert_eq!(used_in(&scene), trace_tokens(50));
    scene.write_trace(&good);
    assert_eq!(into_directory(&scene, &["--flat-out"]).code, 0);
    assert_eq!(used_in(&scene), trace_tokens(100));
}

#[test]
fn r12_debits_that_the_pool_cannot_pay_are_counted_by_code_and_judged_anew_after_a_top_up() {
    let scene = Scene::new();
    let trace = scene.write_trace(&trace(100));
    let (server, keys) = scene.server();
    server.weir(&keys.admin, &["transfer", "start", "T", "--from", "acme", "--to", "other", "--wait"]);
    let license = |key: &str, tokens| {
        let key = scene.license_key(key, &[tokens]);
        assert_eq!(server.weir(&keys.admin, &["license", "add", "acme", &key]).code, 0);
    };
    let args =
        ["replay", text(&trace), "--org", "acme", "--cameras", "4", "--flat-out", "--register", "--json"];
    let send = || server.weir(&keys.gateway, &[&args[..], &["--admin-key", &keys.admin]].concat());
    let replay = || send().json();
    license("small", 1_000);
    let first = send();
    assert!(first.code == 3 && first.stderr.contains("debits were refused"), "{first:?}");
    let first: Value = serde_json::from_str(&first.stdout).expect("the report is printed all the same");
    let refused = tokens(&first, "/refused/insufficient_tokens/tokens");
    assert!(refused > 0 && tokens(&first, "/charged/tokens") <= 1_000, "{first}");
    assert_eq!(tokens(&first, "/charged/tokens") + refused, trace_tokens(100));
    license("large", 1_000_000);
    assert_eq!(tokens(&replay(), "/charged/tokens"), refused);
}

#[test]
fn a_lower_epoch_and_a_missing_camera_are_told_before_anything_is_sent() {
    let scene = Scene::new();
    scene.write_trace(&trace(20));
    let first = into_directory(&scene, &["--flat-out", "--epoch", "5", "--register", "--grant", "50000000"]);
    assert_eq!(first.code, 0, "{first:?}");
    for (more, message) in [
        (["--epoch", "4"], "a camera is at epoch 5 already"),
        (["--camera-prefix", "door-"], "acme has no camera door-0, nor 3 others; nothing was sent"),
    ] {
        let ended = into_directory(&scene, &[&["--flat-out"], &more[..]].concat());
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.stderr.contains(message), "{}", ended.stderr);
    }
    assert_eq!(used_in(&scene), trace_tokens(20));
}

#[test]
fn what_is_asked_wrongly_is_a_usage_error() {
    let scene = Scene::new();
    let trace = scene.write_trace(&trace(1));
    let base = ["replay", text(&trace), "--org", "acme", "--cameras", "4"];
    for (more, message) in [
        (&[][..], "--speed"),
        (&["--speed", "0"], "a factor is a number above zero"),
        (&["--flat-out", "--grant", "1"], "--data"),
        (&["--flat-out", "--server", "ftp://x"], "is no url of a server"),
        (&["--flat-out", "--camera-prefix", "a b"], "the camera id is"),
    ] {
        let ended = weir(&[&base[..], more].concat());
        assert_eq!(ended.code, 2, "{ended:?}");
        assert!(ended.stderr.contains(message), "{}", ended.stderr);
    }
}

#[test]
fn a_directory_that_is_not_there_is_made_only_to_register_in() {
    let scene = Scene::new();
    scene.write_trace(&trace(1));
    let ended = into_directory(&scene, &["--flat-out"]);
    assert!(ended.code == 2 && ended.stderr.contains("is no data directory"), "{ended:?}");
    assert!(!scene.data().exists());
}

#[test]
fn what_is_skipped_is_told_to_rest_on_the_number_of_cameras() {
    let scene = Scene::new();
    let path = scene.write_trace(&trace(ROWS));
    assert_eq!(into_directory(&scene, &["--flat-out", "--register", "--grant", "50000000"]).code, 0);
    let data = scene.data();
    let args =
        ["replay", text(&path), "--data", text(&data), "--org", "acme", "--cameras", "4", "--flat-out"];
    let again = weir(&args);
    assert!(again.stdout.contains("skipped (below the newest charged)"), "{again:?}");
    assert!(
        again.stderr.contains("with --cameras 4 did; with another number they are other debits"),
        "{again:?}"
    );
}
