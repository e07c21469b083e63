//! `weir demo`: its report, its end, and what becomes of its server when it is killed.

use std::sync::mpsc::channel;

use rustix::fs::{FlockOperation, flock};
use serde_json::Value;

use crate::process::{PATIENCE, Running, program, text, weir};
use crate::scene::Scene;

#[test]
fn r14_the_demo_adds_up_over_a_crash_in_its_middle() {
    let ended = weir(&["demo", "--exit", "--json"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let report: Value = serde_json::from_str(&ended.stdout).expect("one object and nothing else");
    let count = |name: &str| report[name].as_u64().unwrap_or_else(|| panic!("{name} of {report}"));
    assert_eq!((count("rows"), count("tokens_in_file")), (19_366, 26_450_535));
    assert_eq!(count("charged") + count("exempt") + count("refused_tokens"), 26_450_535);
    assert_eq!(count("granted"), count("charged") + count("available_source") + count("available_target"));
    assert!(count("exempt") > 0 && count("refused_tokens") > 0, "{report}");
    assert_eq!((count("licenses_source"), count("licenses_target")), (0, 3));
    assert_eq!((&report["recovered_equal"], &report["conserved"]), (&true.into(), &true.into()));
    assert!(ended.stderr.contains("SIGKILL") && ended.stderr.contains("CC-BY 4.0"), "{}", ended.stderr);
}

#[test]
fn the_demo_serves_on_and_stops_in_order_when_it_is_told_to() {
    let scene = Scene::new();
    let demo = Running::start(&["demo", "--data", text(&scene.data())]);
    demo.wait_for("serving on http://127.0.0.1:");
    assert_eq!(demo.stop(), Some(0));
    let report = weir(&["verify", text(&scene.data()), "--json"]).json();
    assert_eq!(report["clean"], true);
    assert!(report["partitions"].as_array().expect("partitions").iter().all(|p| p["closed_cleanly"] == true));
}

#[test]
fn the_server_of_a_demo_that_is_killed_ends_too() {
    let scene = Scene::new();
    let demo = Running::start(&["demo", "--data", text(&scene.data())]);
    demo.wait_for("serving on http://127.0.0.1:");
    demo.kill();
    let lock = scene.data().join("LOCK");
    let (sender, freed) = channel();
    std::thread::spawn(move || {
        let file = std::fs::File::open(lock).expect("the server made it");
        // The kernel grants the lock when the server is gone.
        _ = sender.send(flock(&file, FlockOperation::LockExclusive));
    });
    freed.recv_timeout(PATIENCE).expect("the server ended").expect("the lock is free");
}

#[test]
fn a_directory_that_holds_anything_is_not_taken_for_the_demo() {
    let scene = Scene::new();
    let data = scene.charged_directory(1);
    let ended = weir(&["demo", "--exit", "--data", text(&data)]);
    assert!(ended.code == 2 && ended.stderr.contains("is not empty; nothing was changed"), "{ended:?}");
}

/// What is in the directory for temporary files of its own.
fn left_in(scene: &Scene) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(scene.path("tmp")).expect("it is there");
    entries.map(|entry| entry.expect("readable").path()).collect()
}

fn demo_in(scene: &Scene) -> std::process::Command {
    let tmp = scene.path("tmp");
    std::fs::create_dir(&tmp).expect("made");
    let mut command = program();
    command.env("TMPDIR", &tmp).arg("demo").stdin(std::process::Stdio::null());
    command
}

#[test]
fn a_demo_that_cannot_begin_leaves_nothing_and_says_so() {
    let scene = Scene::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let output = demo_in(&scene).args(["--exit", "--listen", &address]).output().expect("it starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("nothing is kept") && !stderr.contains("weir inspect"), "{stderr}");
    assert_eq!(left_in(&scene), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_demo_that_is_stopped_before_its_end_leaves_nothing() {
    use rustix::process::{Pid, Signal, kill_process};
    // Each at another moment: the server is not there yet, is made, makes its files, serves, and is killed and made again.
    let moments = [
        (Signal::TERM, "starting", None),
        (Signal::INT, "starting", Some("operator.key")),
        (Signal::HUP, "starting", Some("data/p000")),
        (Signal::TERM, "made organizations", None),
        (Signal::INT, "killed the server", None),
    ];
    for (signal, line_start, file) in moments {
        let scene = Scene::new();
        let mut child = demo_in(&scene).stdout(std::process::Stdio::piped()).spawn().expect("it starts");
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().expect("piped")));
        lines
            .find(|line| line.as_ref().expect("text").starts_with(line_start))
            .expect("it is said")
            .expect("text");
        let is_made = |file| left_in(&scene).iter().any(|own| own.join(file).exists());
        while file.is_some_and(|file| !is_made(file)) {
            std::thread::yield_now();
        }
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("it runs");
        assert_eq!(child.wait().expect("ours").code(), Some(130));
        assert_eq!(left_in(&scene), Vec::<std::path::PathBuf>::new());
    }
}
