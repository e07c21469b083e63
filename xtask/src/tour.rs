//! The tours of the documents, run as they stand: a document that shows commands must show commands that work.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::cargo::root;

const BEGIN: &str = "<!-- tour: begin -->";
const END: &str = "<!-- tour: end -->";
/// A document, and what the output of its tour must show, so that a tour that does nothing cannot pass.
pub(crate) const README: (&str, &[&str]) = (
    "README.md",
    &[
        "signature: that of the issuer",
        r#""available_after":1500000"#,
        r#""outcome":"duplicate""#,
        r#""outcome":"exempt""#,
        r#""code":"unknown_camera""#,
        r#""state":"finished""#,
        r#""status":409"#,
        r#""code":"license_is_permanent""#,
        "tokenweir_debits_total",
        "clean: every frame and snapshot reads back, and every invariant holds",
    ],
);
pub(crate) const INGEST: (&str, &[&str]) = (
    "docs/INGEST.md",
    &[
        r#""code":"events_refused""#,
        r#""available":999556"#,
        "2 sent: 0 charged, 0 exempt, 2 duplicate, 0 refused",
        r#""rate_card":1"#,
        r#""tokens":23"#,
    ],
);

/// Runs the tour of a document in an empty folder, with the release binary on the path.
///
/// # Errors
/// When a command fails, hangs, or the output lacks what it must show.
pub(crate) fn check(weir: &Path, (document, shown): (&str, &[&str])) -> Result<(), String> {
    let text = fs::read_to_string(root().join(document)).map_err(|error| format!("{document}: {error}"))?;
    let folder = std::env::temp_dir().join(format!("weir-tour-{}", std::process::id()));
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let outcome = free_port().and_then(|port| run(weir, &folder, &script(&text, port)?));
    drop(fs::remove_dir_all(&folder));
    outcome.and_then(|output| judge(&output, shown))
}

/// The shell blocks of the tour as one script, on this port.
fn script(text: &str, port: u16) -> Result<String, String> {
    let tour = text.split_once(BEGIN).and_then(|(_, rest)| Some(rest.split_once(END)?.0));
    let tour = tour.ok_or("the document has no tour between its marks")?;
    let blocks: Vec<&str> =
        tour.split("```sh\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0)).collect();
    if blocks.is_empty() {
        return Err("the tour has no commands".to_owned());
    }
    Ok(blocks.join("\n").replace("127.0.0.1:8080", &format!("127.0.0.1:{port}")))
}

fn judge(output: &str, shown: &[&str]) -> Result<(), String> {
    match shown.iter().find(|shown| !output.contains(*shown)) {
        None => Ok(()),
        Some(missing) => Err(format!("the tour does not show {missing}; it printed:\n{output}")),
    }
}

/// A port that is free now.
fn free_port() -> Result<u16, String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    Ok(listener.local_addr().map_err(|error| error.to_string())?.port())
}

/// Runs the script in a process group of its own, which ends with it: a server that it left behind must not stay.
fn run(weir: &Path, folder: &Path, script: &str) -> Result<String, String> {
    let (path, log) = (folder.join("tour.sh"), folder.join("tour.log"));
    fs::write(&path, script).map_err(|error| error.to_string())?;
    let output = File::create(&log).map_err(|error| error.to_string())?;
    let errors = output.try_clone().map_err(|error| error.to_string())?;
    let bin = weir.parent().ok_or("the release binary has no folder")?.display().to_string();
    let paths = format!("{bin}:{}", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("timeout");
    command.args(["120", "bash", "-euo", "pipefail"]).arg(&path).current_dir(folder).env("PATH", paths);
    // Settings of a server of the developer's are not the tour's.
    for name in std::env::vars_os().map(|(name, _)| name) {
        if name.to_string_lossy().starts_with("WEIR_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0);
    let mut child = command.spawn().map_err(|error| format!("the tour did not start: {error}"))?;
    let group = child.id();
    let status = child.wait().map_err(|error| error.to_string())?;
    kill_group(group)?;
    let printed = fs::read_to_string(&log).map_err(|error| error.to_string())?;
    if status.success() {
        Ok(printed)
    } else {
        Err(format!("the tour ended with {status}, having printed:\n{printed}"))
    }
}

/// Kills what is left of a process group. That nothing is left is the usual case, and no fault. It is the shell's own `kill`:
/// not every system has a program of that name.
fn kill_group(group: u32) -> Result<(), String> {
    let kill = format!("kill -KILL -- -{group}");
    let killed = Command::new("bash").args(["-c", &kill]).stderr(Stdio::null()).status();
    killed.map(drop).map_err(|error| format!("what the tour left running cannot be ended: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a script as the tour is run, in a folder of its own that is named by the test.
    fn run_here(name: &str, script: impl FnOnce(&Path) -> String) -> Result<String, String> {
        let folder = std::env::temp_dir().join(format!("weir-tour-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).expect("the temporary folder can be written");
        let outcome = run(Path::new("/no-such-folder/weir"), &folder, &script(&folder));
        drop(fs::remove_dir_all(&folder));
        outcome
    }

    #[test]
    fn the_script_is_what_stands_in_the_shell_blocks_of_the_tour() {
        let readme = "```sh\nno\n```\n<!-- tour: begin -->\nx\n```sh\na 127.0.0.1:8080\n```\n```toml\nno\n```\n```sh\nb\n```\n\
                      <!-- tour: end -->\n```sh\nno\n```\n";
        assert_eq!(script(readme, 7).expect("a tour"), "a 127.0.0.1:7\n\nb\n");
        assert!(script("nothing", 7).is_err());
        assert!(script("<!-- tour: begin --> <!-- tour: end -->", 7).is_err());
    }

    #[test]
    fn a_tour_that_shows_nothing_is_a_failure() {
        for (_, all) in [README, INGEST] {
            let judge = |output: &str| judge(output, all);
            assert!(judge("").is_err());
            assert_eq!(judge(&all.join(" ")), Ok(()));
            for shown in all {
                assert!(judge(&all.join(" ").replace(shown, "")).is_err_and(|error| error.contains(shown)));
            }
        }
    }

    #[test]
    fn the_readme_has_a_tour_that_names_no_fixed_port_once_it_is_moved() {
        let readme = fs::read_to_string(root().join("README.md")).expect("it is part of the repository");
        let script = script(&readme, 7).expect("it has a tour");
        assert!(script.contains("127.0.0.1:7/readyz") && !script.contains("8080"), "{script}");
    }

    #[test]
    fn a_planted_block_that_fails_ends_the_tour_and_its_output_is_told() {
        let planted = format!(
            "{BEGIN}\n```sh\necho one; echo two >&2\n```\n```sh\nfalse | cat\n```\n```sh\necho three\n```\n{END}"
        );
        let script = script(&planted, 7).expect("a tour");
        let error = run_here("planted", |_| script).expect_err("a block fails");
        assert!(error.contains("exit status: 1") && error.ends_with("one\ntwo\n"), "{error}");
    }

    /// The pipe ends when its last writer does: the background process, which inherits it.
    #[test]
    fn what_a_tour_leaves_in_the_background_is_killed() {
        let begin = |folder: &Path| {
            let pipe = folder.join("pipe");
            assert!(Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()));
            let script = format!("exec 3> {}; echo begun >&3; sleep 3600 & true", pipe.display());
            (std::thread::spawn(move || fs::read_to_string(pipe)), script)
        };
        let mut reader = None;
        let ran = run_here("background", |folder| {
            let (thread, script) = begin(folder);
            reader = Some(thread);
            script
        });
        assert_eq!(ran, Ok(String::new()));
        let read = reader.expect("it began").join().expect("it does not panic");
        assert_eq!(read.expect("the pipe is there"), "begun\n");
    }

    #[test]
    fn a_tour_has_the_folder_of_the_binary_first_on_its_path_and_no_settings_of_a_server() {
        let shown = run_here("place", |_| "echo ${PATH%%:*}; env | grep ^WEIR_ || true".to_owned());
        assert_eq!(shown, Ok("/no-such-folder\n".to_owned()));
    }
}
