//! `weir audit`, and the audit log through kills, backups and damage.

use std::path::Path;

use crate::process::{Server, text, weir};
use crate::scene::Scene;

/// What `weir audit list` tells of an organization: acts with their outcomes, newest first.
fn trail(server: &Server, key: &str, more: &[&str]) -> Vec<String> {
    let listed = server.weir(key, &[&["audit", "list"], more, &["--json"]].concat()).json();
    let told = |entry: &serde_json::Value| {
        let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        format!("{} {}", text("act"), text("outcome"))
    };
    listed["entries"].as_array().expect("a list").iter().map(told).collect()
}

/// The newest segment of the audit log below a directory.
fn segment(data: &Path) -> std::path::PathBuf {
    let all = std::fs::read_dir(data.join("audit/p000/journal")).expect("there is a log");
    let mut all: Vec<_> = all.map(|entry| entry.expect("listed").path()).collect();
    all.retain(|path| path.extension().is_some_and(|suffix| suffix == "wal"));
    all.sort();
    all.pop().expect("a segment")
}

#[test]
fn the_trail_outlives_a_kill_a_torn_tail_a_backup_and_a_restoration_to_an_earlier_time() {
    let scene = Scene::new();
    let (server, keys) = scene.server();
    assert_eq!(server.weir(&keys.admin, &["camera", "set", "acme", "c1", "--network", "lobby"]).code, 0);
    let refused = server.weir(&keys.gateway, &["camera", "remove", "acme", "c1"]);
    assert!(refused.code == 1 && refused.stderr.contains("forbidden"), "{refused:?}");
    let before = trail(&server, &keys.admin, &["acme"]);
    assert_eq!(before[..2], ["remove_camera forbidden", "register_camera done"]);
    let operators = trail(&server, &keys.operator, &[]);
    assert!(operators.contains(&"create_api_key done".to_owned()), "{operators:?}");
    let table = server.weir(&keys.admin, &["audit", "list", "acme", "--limit", "1"]).stdout;
    assert!(table.contains("remove_camera") && !table.contains("register_camera"), "{table}");
    server.running.kill();

    let data = scene.data();
    let path = segment(&data);
    let mut bytes = std::fs::read(&path).expect("read");
    let end = bytes.iter().rposition(|byte| *byte != 0).expect("frames").next_multiple_of(8);
    bytes[end + 8..end + 40].fill(0x5a);
    std::fs::write(&path, &bytes).expect("a torn tail");
    let server = Server::start(&data, &scene.path("operator.key"), &[]);
    assert_eq!(trail(&server, &keys.admin, &["acme"]), before);
    assert_eq!(server.weir(&keys.admin, &["camera", "remove", "acme", "c1"]).code, 0);

    let (backup, restored) = (scene.path("backup"), scene.path("restored"));
    assert_eq!(weir(&["backup", text(&backup), "--data", text(&data)]).code, 0);
    assert_eq!(server.running.stop(), Some(0));
    let early = ["restore", text(&backup), text(&restored), "--at", "0:3"];
    let made = weir(&early);
    assert_eq!(made.code, 0, "{made:?}");
    for directory in [&data, &backup, &restored] {
        let verified = weir(&["verify", text(directory), "--json"]).json();
        assert!(verified["audit"]["frames"].as_u64() > Some(4), "{verified}");
        assert_eq!((&verified["clean"], &verified["audit"]["open"]), (&true.into(), &0.into()));
    }
    let kept = std::fs::read(segment(&restored)).expect("read");
    let whole = String::from_utf8_lossy(&kept).matches("remove_camera").count();
    assert_eq!(whole, 3, "the log is kept whole: a refusal, a beginning and its outcome");
}

#[test]
fn damage_to_the_log_is_told_by_verify_and_stops_administration_alone() {
    let scene = Scene::new();
    let (server, keys) = scene.server();
    assert_eq!(server.running.stop(), Some(0));
    let data = scene.data();
    let path = segment(&data);
    let mut bytes = std::fs::read(&path).expect("read");
    bytes[64 + 40] ^= 1;
    std::fs::write(&path, &bytes).expect("damaged");
    let verified = weir(&["verify", text(&data)]);
    assert!(verified.code == 1 && verified.stderr.contains("audit/p000/journal"), "{verified:?}");
    let server = Server::start(&data, &scene.path("operator.key"), &[]);
    assert_eq!(server.weir(&keys.admin, &["summary", "acme"]).code, 0);
    for args in [&["camera", "remove", "acme", "c"][..], &["audit", "list", "acme"]] {
        let refused = server.weir(&keys.admin, args);
        assert!(refused.code == 1 && refused.stderr.contains("unaudited"), "{refused:?}");
    }
    assert_eq!(std::fs::read(&path).expect("read"), bytes, "nothing is repaired");
}
