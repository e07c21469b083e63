//! `weir serve` where the system is short of something, and what it takes of it.

use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use crate::process::{Ended, Running, Server, operator_key, program, text, trusted_issuers};
use crate::scene::{Scene, trace};

/// `weir serve` on the scene's directory with at most `files` open files.
fn serve_with(scene: &Scene, files: u32) -> Command {
    let weir = program();
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n {files}; exec \"$0\" \"$@\"")]).arg(weir.get_program());
    command.args(["serve", "--listen", "127.0.0.1:0", "--log", "warn", "--segment-bytes-min", "65536"]);
    command.args(["--data", text(&scene.data()), "--operator-key-file", text(&scene.path("operator.key"))]);
    command.args(["--license-issuers", text(&trusted_issuers(&scene.path("")))]);
    for (name, value) in weir.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.stdin(Stdio::null()).process_group(0);
    command
}

#[test]
fn a_server_with_too_few_descriptors_does_not_start_and_says_how_many_it_needs() {
    let scene = Scene::new();
    let output = serve_with(&scene, 300).output().expect("it starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("may open 300 files, at least 496 are needed"), "{stderr}");
    assert!(!scene.data().exists());
}

/// A server with at most `files` open files, an organization `acme` with tokens, and the keys of its admin and its gateway.
fn chargeable(scene: &Scene, files: u32) -> (Server, [String; 2]) {
    let running = Running::start_command(&mut serve_with(scene, files));
    let url = running.wait_for("listening on ");
    running.wait_for("ready");
    let server = Server { url, running };
    let operator = operator_key(&scene.path("operator.key"));
    let run = |key: &str, args: &[&str]| server.weir(key, &[args, &["--json"]].concat()).json();
    run(&operator, &["orgs", "create", "acme"]);
    let keys = ["admin", "gateway"].map(|role| {
        let made = run(&operator, &["key", "create", "--role", role, "--label", role, "--org", "acme"]);
        made["key"].as_str().expect("shown once").to_owned()
    });
    run(&keys[0], &["license", "add", "acme", &scene.license_key("K", &[500_000_000])]);
    (server, keys)
}

/// Sends more debits than one segment of the journal holds.
fn send_many(scene: &Scene, server: &Server, [admin, gateway]: &[String; 2]) -> Ended {
    let path = scene.write_trace(&trace(20_000));
    let args = ["replay", text(&path), "--org", "acme", "--cameras", "4", "--flat-out", "--register"];
    server.weir(gateway, &[&args[..], &["--give-up-after", "1", "--admin-key", admin]].concat())
}

/// A journal that cannot open its next segment stops its partition: strangers must not be able to bring that about.
#[test]
fn more_idle_connections_than_descriptors_stop_neither_the_journal_nor_the_probes() {
    let scene = Scene::new();
    let (server, keys) = chargeable(&scene, 500);
    let address = server.url.trim_start_matches("http://").to_owned();
    let idle: Vec<_> = (0..600).map(|_| TcpStream::connect(&address).expect("accepted")).collect();
    let told = server.weir(&keys[1], &["summary", "acme"]);
    assert!(told.code == 1 && told.stderr.contains("too_many_connections"), "{told:?}");
    drop(idle);
    let answers = || server.weir(&keys[1], &["summary", "acme"]).code;
    // The last of them are forgotten a moment after they were closed.
    assert_eq!((0..1_000).map(|_| answers()).find(|code| *code == 0), Some(0));
    let sent = send_many(&scene, &server, &keys);
    assert_eq!(sent.code, 0, "{sent:?}");
    assert_eq!(server.running.stop(), Some(0), "no partition stopped");
}

#[test]
fn a_server_whose_partition_stopped_ends_with_a_failure_when_it_is_told_to_stop() {
    let scene = Scene::new();
    let (server, keys) = chargeable(&scene, 1_000);
    std::fs::rename(scene.data(), scene.path("elsewhere")).expect("moved");
    std::fs::write(scene.data(), "no directory").expect("written");
    let sent = send_many(&scene, &server, &keys);
    assert_eq!(sent.code, 1, "{sent:?}");
    assert_eq!(server.running.stop(), Some(1));
}

/// With huge pages a server holds several times what it needs, and how much changes by itself.
#[test]
fn a_server_takes_no_huge_pages() {
    let scene = Scene::new();
    let running = Running::start_command(&mut serve_with(&scene, 1_000));
    running.wait_for("ready");
    let of_it =
        |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", running.pid())).expect("it runs");
    let status = of_it("status");
    assert!(status.lines().any(|line| line == "THP_enabled:\t0"), "{status}");
    let taken = of_it("smaps_rollup")
        .lines()
        .find_map(|line| line.strip_prefix("AnonHugePages:")?.split_whitespace().next()?.parse::<u64>().ok());
    // What the allocator took before `main` was reached.
    assert!(taken.is_some_and(|kib| kib <= 8_192), "{taken:?} KiB");
}
