//! The drills of `docs/OPERATIONS.md`, run as they stand there: a document that shows commands must show commands
//! that work.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::process::{program, text};
use crate::scene::Scene;
use crate::upgrade::lay_out;

/// A drill that takes longer hangs.
const SECONDS_MAX: &str = "120";

/// Namespaces in which a file system may be mounted that goes with them, by privilege.
const MOUNTING: [&[&str]; 2] = [&["unshare", "--mount"], &["unshare", "--map-root-user", "--mount"]];

/// The shell block behind a mark of the document.
fn block(name: &str) -> String {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/OPERATIONS.md");
    let document = std::fs::read_to_string(document).expect("readable");
    let (_, rest) =
        document.split_once(&format!("<!-- drill: {name} -->\n```sh\n")).expect("the drill is there");
    rest.split_once("```").expect("it ends").0.to_owned()
}

/// A port that is free now.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there are free ports");
    listener.local_addr().expect("bound").port()
}

/// Runs a drill in a folder, below `within`; answers with what it printed.
fn run(folder: &Path, name: &str, within: &[&str]) -> String {
    let script = [block("beginning"), block(name)].concat();
    let script = script.replace("127.0.0.1:8080", &format!("127.0.0.1:{}", free_port()));
    let (path, log) = (folder.join("drill.sh"), folder.join("drill.log"));
    std::fs::write(&path, script).expect("written");
    let output = std::fs::File::create(&log).expect("made");
    let weir = Path::new(program().get_program()).parent().expect("it is in a folder").to_owned();
    let paths = format!("{}:{}", weir.display(), std::env::var("PATH").unwrap_or_default());
    let timed = ["timeout", "--foreground", SECONDS_MAX, "bash", "-euo", "pipefail", text(&path)];
    let line = [within, &timed].concat();
    let mut command = Command::new(line[0]);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("WEIR_")) {
        command.env_remove(name);
    }
    command.args(&line[1..]).current_dir(folder).env("PATH", paths).process_group(0);
    command.stdin(Stdio::null()).stdout(output.try_clone().expect("open")).stderr(output);
    let mut child = command.spawn().expect("the drill starts");
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process id");
    let status = child.wait().expect("it was ours");
    // A drill that failed leaves its server; that nothing is left is the usual case.
    _ = kill_process_group(group, Signal::KILL);
    let printed = std::fs::read_to_string(&log).expect("readable");
    assert!(status.success(), "the drill `{name}` ended with {status}, having printed:\n{printed}");
    printed
}

fn check_shown(printed: &str, shown: &[&str]) {
    for words in shown {
        assert!(printed.contains(words), "the drill does not show `{words}`; it printed:\n{printed}");
    }
}

#[test]
fn the_drill_of_a_full_disk_stops_the_partition_and_loses_nothing_acknowledged() {
    let mounts = |within: &&&[&str]| {
        let tried = [within, &["mount", "-t", "tmpfs", "tmpfs", env!("CARGO_TARGET_TMPDIR")][..]].concat();
        let tried = Command::new(tried[0]).args(&tried[1..]).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    };
    let Some(within) = MOUNTING.iter().find(mounts) else {
        eprintln!("skipped: no small file system can be mounted here");
        return;
    };
    let scene = Scene::new();
    let printed = run(scene.path("").as_path(), "full disk", within);
    let shown = [
        "the disk is full",
        "No space left on device",
        r#"tokenweir_partition_poisoned{partition="0"} 1"#,
        "a partition had stopped",
        "were acknowledged",
        "clean: every frame and snapshot reads back",
    ];
    check_shown(&printed, &shown);
}

#[test]
fn the_drill_of_a_corrupt_segment_names_the_damage_and_goes_on_from_a_backup() {
    let scene = Scene::new();
    let printed = run(scene.path("").as_path(), "corrupt segment", &[]);
    let shown = [
        "00000000000000000001.wal is damaged at byte 88 (lsn 2)",
        "verify found the damage",
        "restored last-night to disk/restored and verified it",
        "clean: every frame and snapshot reads back",
    ];
    check_shown(&printed, &shown);
}

#[test]
fn the_drill_of_an_upgrade_takes_a_directory_of_every_version_to_this_one_and_back() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats/directories");
    for version in std::fs::read_dir(kept).expect("kept") {
        let scene = Scene::new();
        lay_out(&version.expect("readable").path(), &scene.path("disk/data"));
        let printed = run(scene.path("").as_path(), "upgrade", &[]);
        check_shown(
            &printed,
            &["backed up disk/data to before-upgrade", "restored before-upgrade to disk/back"],
        );
    }
}
