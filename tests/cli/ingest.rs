//! `weir ingest ndjson`: lines that are debits, and lines that are none.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::process::program;
use crate::scene::Scene;

/// Four debits in the form of somebody else's log, and what is none between them.
const LINES: &str = concat!(
    r#"{"cam": "cam-1", "id": "a", "at": 1, "usage": {"total": 5}}"#,
    "\nno json\n\n",
    r#"{"cam": "cam-1", "at": 1, "usage": {"total": 7}}"#,
    "\n[]\n",
    r#"{"cam": "roof", "id": "b", "at": 1, "usage": {"total": 9}}"#,
    "\n",
    r#"{"cam": "cam-1", "id": 17, "at": 1, "usage": {"total": 11}}"#,
);
const MAPPING: [&str; 8] =
    ["--map", "camera=cam", "--map", "event_id=id", "--map", "time=at", "--map", "tokens=usage.total"];

/// The lines with this moment as their time, in seconds.
fn lines(scene: &Scene) -> String {
    let now = std::fs::metadata(scene.data()).expect("it is there").modified().expect("a time");
    let now = now.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    LINES.replace("\"at\": 1", &format!("\"at\": {now}.25"))
}

#[test]
fn r13_lines_of_json_are_charged_once_and_bad_ones_are_told_by_their_number() {
    let scene = Scene::new();
    let (server, keys) = scene.server();
    let set = ["camera", "set", "acme", "cam-1", "--network", "gate"];
    assert_eq!(server.weir(&keys.admin, &set).code, 0);
    let file = scene.path("log.ndjson");
    std::fs::write(&file, lines(&scene)).expect("written");
    let file = file.to_str().expect("text");
    let fixed = ["ingest", "ndjson", file, "--org", "acme", "--seconds", "--json", "--batch", "2"];
    for (charged, duplicate) in [(3, 0), (0, 3)] {
        let ended = server.weir(&keys.gateway, &[&fixed[..], &MAPPING].concat());
        assert_eq!(ended.code, 3, "{ended:?}");
        let told: Value = serde_json::from_str(&ended.stdout).expect("JSON");
        assert_eq!((&told["lines"], &told["bad_lines"]), (&json!(7), &json!(2)), "{told}");
        let debits = json!({"sent": 4, "charged": charged, "exempt": 0, "duplicate": duplicate,
            "refused": {"unknown_camera": 1}});
        assert_eq!(told["debits"], debits);
        for part in ["line 2: it is no json", "line 5: it is no json object", "line 6: unknown_camera: "] {
            assert!(ended.stderr.contains(part), "{part}: {ended:?}");
        }
    }
    let summary = server.weir(&keys.admin, &["summary", "acme", "--json"]).json();
    assert_eq!(summary["used"], 23);
}

#[test]
fn standard_input_is_read_and_needs_a_name_where_lines_have_no_id() {
    let scene = Scene::new();
    let (server, keys) = scene.server();
    assert_eq!(server.weir(&keys.admin, &["camera", "set", "acme", "cam-1", "--network", "gate"]).code, 0);
    let line = lines(&scene).lines().nth(3).expect("four").to_owned();
    for (source, expected) in [(&[][..], 3), (&["--source", "pipe"][..], 0), (&["--source", "pipe"][..], 0)] {
        let mut command = program();
        command.args(["ingest", "ndjson", "-", "--org", "acme", "--seconds", "--set", "camera=cam-1"]);
        command.args(&MAPPING[2..]).args(source).args(["--server", &server.url, "--key", &keys.gateway]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the program starts");
        let mut input = child.stdin.take().expect("it is piped");
        input.write_all(line.as_bytes()).expect("it reads");
        drop(input);
        assert_eq!(child.wait().expect("it ends").code(), Some(expected), "{source:?}");
    }
    let summary = server.weir(&keys.admin, &["summary", "acme", "--json"]).json();
    assert_eq!(summary["used"], 7);
}

#[test]
fn what_cannot_begin_is_a_usage_error() {
    let scene = Scene::new();
    let (server, keys) = scene.server();
    for args in [
        &["no-such-file", "--org", "acme"][..],
        &["-", "--org", "acme", "--map", "colour=x"],
        &["-", "--org", "acme", "--set", "tokens"],
        &["-"],
    ] {
        let ended = server.weir(&keys.gateway, &[&["ingest", "ndjson"], args].concat());
        assert_eq!(ended.code, 2, "{ended:?}");
    }
}
