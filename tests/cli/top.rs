//! `weir top --once` against a real server; its frames have tests beside their code.

use crate::process::{text, weir};
use crate::scene::{Scene, trace, trace_tokens};

#[test]
fn once_prints_partitions_and_organizations_with_their_figures() {
    let scene = Scene::new();
    let (server, keys) = scene.server();
    let trace_file = scene.write_trace(&trace(100));
    let args = ["replay", text(&trace_file), "--org", "acme", "--cameras", "4", "--flat-out", "--register"];
    let sent = server.weir(&keys.gateway, &[&args[..], &["--admin-key", &keys.admin]].concat());
    assert_eq!(sent.code, 0, "{sent:?}");
    let top = server.weir(&keys.admin, &["top", "--once"]);
    let words: Vec<_> = top.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(words[0], ["weir", "top", server.url.as_str(), "ready"], "{top:?}");
    assert!(top.stdout.contains("debits since its start: charged 100, "), "{top:?}");
    assert!(words.iter().any(|line| line[..].ends_with(&["serves"])), "{top:?}");
    let acme = words.iter().position(|line| line.first() == Some(&"acme")).expect("it is shown");
    let other = words.iter().position(|line| line.first() == Some(&"other")).expect("it is shown");
    assert!(acme < other, "what burns more stands first: {top:?}");
    let used = trace_tokens(100);
    let read = server.weir(&keys.admin, &["top", "--json"]).json();
    assert_eq!(read["organizations"][0]["used"], used);
    assert_eq!(read["organizations"][0]["available"], 50_001_000 - used);
    assert_eq!(read["traffic"]["debits"]["charged"], 100);
    let csv = server.weir(&keys.admin, &["top", "--output", "csv"]).stdout;
    assert!(csv.starts_with("available,burn,held,left_ms,organization,refused,used\n49"), "{csv}");
}

#[test]
fn a_key_that_reads_no_organization_is_shown_the_refusals_and_the_partitions() {
    let scene = Scene::new();
    let (server, keys) = scene.server();
    let top = server.weir(&keys.operator, &["top", "--once"]);
    assert!(top.code == 0 && top.stdout.contains("serves") && top.stdout.contains("forbidden"), "{top:?}");
}

#[test]
fn what_cannot_be_shown_fails_and_says_what_to_do() {
    let scene = Scene::new();
    let (server, keys) = scene.server();
    let guessed = server.weir("weir_none", &["top", "--once"]);
    assert!(guessed.code == 1 && guessed.stderr.contains("401"), "{guessed:?}");
    let piped = server.weir(&keys.admin, &["top"]);
    assert!(piped.code == 2 && piped.stderr.contains("--once"), "{piped:?}");
    let url = server.url.clone();
    server.running.kill();
    let gone = weir(&["top", "--once", "--server", &url, "--key", &keys.admin]);
    assert!(gone.code == 1 && gone.stderr.contains("no answer from"), "{gone:?}");
}
