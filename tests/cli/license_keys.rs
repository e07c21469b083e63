//! License keys from their issuer to an organization, by the commands alone.

use std::os::unix::process::CommandExt as _;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::process::{Running, Server, operator_key, program, text, trusted_issuers, weir};
use crate::scene::Scene;

#[test]
fn r6_an_issuer_is_made_and_its_key_issued_shown_claimed_and_listed() {
    let scene = Scene::new();
    let (private, list) = (scene.path("own.jwk"), scene.path("issuers"));
    let made = weir(&["license", "issuer", "new", "--name", "own", "--out", text(&private)]);
    assert!(
        made.code == 0 && made.stdout.lines().count() == 1 && made.stderr.contains("keep it"),
        "{made:?}"
    );
    let trusted = std::fs::read_to_string(trusted_issuers(&scene.path(""))).expect("text");
    std::fs::write(&list, format!("{trusted}\n{}", made.stdout)).expect("written");
    let issue = ["license", "issue", "--issuer", text(&private), "--licenses", "10", "--tokens", "1000000"];
    let issued = weir(&[&issue[..], &["--id", "K-7"]].concat());
    assert!(issued.stderr.contains("own:K-7: 10 licenses, 10,000,000 tokens"), "{issued:?}");
    let key = issued.stdout.trim();

    let shown = weir(&["license", "show", key, "--issuers", text(&list)]);
    let parts = ["key: own:K-7", "issuer: own", "signature: that of the issuer", "own:K-7.10  1,000,000"];
    assert!(parts.iter().all(|part| shown.stdout.contains(part)), "{shown:?}");
    let unverified = weir(&["license", "show", key, "--json"]).json();
    assert_eq!((&unverified["verified"], &unverified["tokens"]), (&false.into(), &10_000_000.into()));
    let altered = [&key[..key.len() - 10], "AAAAAAAAAA"].concat();
    let refused = weir(&["license", "show", &altered, "--issuers", text(&list)]);
    assert!(refused.code == 1 && refused.stderr.contains("bad_signature"), "{refused:?}");

    let (server, keys) = scene.server();
    let claimed = server.weir(&keys.admin, &["license", "add", "acme", key]);
    assert!(claimed.stdout.contains("own:K-7 was claimed by"), "{claimed:?}");
    assert_eq!(server.weir(&keys.admin, &["license", "add", "acme", key]).stdout, claimed.stdout);
    let listed = server.weir(&keys.admin, &["license", "list", "acme"]);
    assert!(listed.stdout.contains("own:K-7.10") && listed.stdout.contains("acme"), "{listed:?}");
    let moved = ["transfer", "start", "T-1", "--from", "acme", "--to", "other", "--wait"];
    assert_eq!(server.weir(&keys.admin, &moved).code, 0);
    let history = server.weir(&keys.admin, &["license", "history", "other", "own:K-7.10"]);
    let steps: Vec<_> = history.stdout.lines().rev().take(2).collect();
    assert!(steps[0].contains("transferred  other") && steps[0].ends_with("T-1"), "{history:?}");
    assert!(steps[1].contains("added        acme"), "{history:?}");
}

#[test]
fn r6_keys_that_are_not_believed_are_told_by_their_codes_and_bring_nothing() {
    let scene = Scene::new();
    let (server, keys) = scene.server();
    let foreign = scene.path("foreign.jwk");
    assert_eq!(weir(&["license", "issuer", "new", "--out", text(&foreign)]).code, 0);
    let issue = ["license", "issue", "--issuer", text(&foreign), "--licenses", "1", "--tokens", "5"];
    let good = scene.license_key("K-9", &[5]);
    let altered = [&good[..good.len() - 10], "AAAAAAAAAA"].concat();
    for (key, code) in [
        (weir(&issue).stdout.trim(), "unknown_issuer"),
        ("K-9", "unsigned_key"),
        (&format!("{good}="), "malformed_key"),
        (&altered, "bad_signature"),
    ] {
        let refused = server.weir(&keys.admin, &["license", "add", "acme", key]);
        assert!(refused.code == 1 && refused.stderr.contains(code), "{refused:?}");
    }
    let summary = server.weir(&keys.admin, &["summary", "acme", "--json"]).json();
    assert_eq!(summary["available"], 50_001_000);
}

#[test]
fn an_issuer_issues_only_from_its_own_file_and_within_the_bounds() {
    let scene = Scene::new();
    let file = scene.path("issuer.jwk");
    let issue = |more: &[&str]| weir(&[&["license", "issue", "--issuer", text(&file)], more].concat());
    let one = ["--licenses", "1", "--tokens", "5"];
    assert_eq!(issue(&one).code, 2, "there is no issuer yet");
    trusted_issuers(&scene.path(""));
    assert_ne!(issue(&one).stdout, issue(&one).stdout, "an id that is not given is random");
    for (more, part) in [
        (&["--licenses", "1001", "--tokens", "5"][..], "1 to 1000 licenses"),
        (&["--licenses", "18446744073709551615", "--tokens", "5"], "1 to 1000 licenses"),
        (&["--licenses", "1", "--tokens", "0"], "1 to"),
        (&["--licenses", "1", "--tokens", "18446744073709551616"], "--tokens"),
        (&["--licenses", "1", "--licenses", "2", "--tokens", "5"], "go together"),
        (&["--licenses", "1", "--tokens", "5", "--id", "a b"], "license key id"),
    ] {
        let refused = issue(more);
        assert!(
            refused.code == 2 && refused.stdout.is_empty() && refused.stderr.contains(part),
            "{refused:?}"
        );
    }
    let again = weir(&["license", "issuer", "new", "--out", text(&file)]);
    assert!(again.code == 2 && again.stderr.contains("nothing was done"), "{again:?}");
}

#[test]
fn a_server_does_not_start_with_a_list_of_issuers_that_it_cannot_use() {
    let scene = Scene::new();
    std::fs::write(scene.path("list"), "not an issuer").expect("written");
    for (list, part) in [(scene.path("list"), "line 1"), (scene.path("none"), "none")] {
        let data = scene.data();
        let ended = weir(&["serve", "--data", text(&data), "--license-issuers", text(&list)]);
        assert!(ended.code == 1 && ended.stderr.contains("`license_issuers`") && ended.stderr.contains(part));
        assert!(!data.exists(), "{ended:?}");
    }
}

#[test]
fn r6_sighup_reads_the_list_of_issuers_again_and_a_bad_one_is_told_and_not_taken() {
    let scene = Scene::new();
    let list = scene.path("list");
    std::fs::write(&list, "").expect("written");
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "echo pid $$; exec \"$0\" \"$@\""]).arg(program().get_program());
    let (data, key_file) = (scene.data(), scene.path("operator.key"));
    command.args(["serve", "--data", text(&data), "--operator-key-file", text(&key_file), "--log", "off"]);
    command.args(["--listen", "127.0.0.1:0", "--license-issuers", text(&list)]);
    let running = Running::start_command(command.process_group(0).stdin(Stdio::null()));
    let pid = running.wait_for("pid ").parse().expect("a number");
    let hang_up = || kill_process(Pid::from_raw(pid).expect("a process id"), Signal::HUP).expect("it runs");
    let url = running.wait_for("listening on ");
    running.wait_for("ready");
    let server = Server { url, running };
    let operator = operator_key(&key_file);
    assert_eq!(server.weir(&operator, &["orgs", "create", "acme"]).code, 0);
    let made = ["key", "create", "--role", "admin", "--label", "it", "--org", "acme"];
    let admin = server.weir(&operator, &made).stdout;
    let trusted = trusted_issuers(&scene.path(""));
    let key = scene.license_key("K", &[5]);
    let add = || server.weir(admin.trim(), &["license", "add", "acme", &key]);
    assert!(add().stderr.contains("unknown_issuer"));
    std::fs::copy(trusted, &list).expect("copied");
    hang_up();
    server.running.wait_for("license issuers read again");
    assert_eq!(add().code, 0);
    std::fs::write(&list, "{").expect("written");
    hang_up();
    assert!(server.running.wait_for("license issuers kept: ").contains("line 1"));
    assert_eq!(add().code, 0);
}
