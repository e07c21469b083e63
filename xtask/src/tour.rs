//! The tour of the README, run as it stands: a document that shows commands must show commands that work.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::cargo::root;

const BEGIN: &str = "<!-- tour: begin -->";
const END: &str = "<!-- tour: end -->";
/// What the output must show, so that a tour that does nothing cannot pass.
const SHOWN: [&str; 6] = [
    r#""outcome":"duplicate""#,
    r#""outcome":"exempt""#,
    r#""code":"unknown_camera""#,
    r#""state":"finished""#,
    r#""code":"license_is_permanent""#,
    "tokenweir_debits_total",
];

/// Runs the tour in an empty folder, with the release binary on the path.
///
/// # Errors
/// When a command fails, hangs, or the output lacks what it must show.
pub(crate) fn check(weir: &Path) -> Result<(), String> {
    let readme =
        fs::read_to_string(root().join("README.md")).map_err(|error| format!("README.md: {error}"))?;
    let folder = std::env::temp_dir().join(format!("weir-tour-{}", std::process::id()));
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let outcome = free_port().and_then(|port| run(weir, &folder, &script(&readme, port)?));
    drop(fs::remove_dir_all(&folder));
    outcome.and_then(|output| judge(&output))
}

/// The shell blocks of the tour as one script, on this port.
fn script(readme: &str, port: u16) -> Result<String, String> {
    let tour = readme.split_once(BEGIN).and_then(|(_, rest)| Some(rest.split_once(END)?.0));
    let tour = tour.ok_or("README.md has no tour between its marks")?;
    let blocks: Vec<&str> =
        tour.split("```sh\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0)).collect();
    if blocks.is_empty() {
        return Err("the tour of README.md has no commands".to_owned());
    }
    Ok(blocks.join("\n").replace("127.0.0.1:8080", &format!("127.0.0.1:{port}")))
}

fn judge(output: &str) -> Result<(), String> {
    match SHOWN.iter().find(|shown| !output.contains(*shown)) {
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
    let mut child = Command::new("timeout")
        .args(["120", "bash", "-euo", "pipefail"])
        .arg(&path)
        .current_dir(folder)
        .env("PATH", paths)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .process_group(0)
        .spawn()
        .map_err(|error| format!("the tour did not start: {error}"))?;
    let group = format!("-{}", child.id());
    let status = child.wait().map_err(|error| error.to_string())?;
    drop(Command::new("kill").args(["-9", "--", &group]).stderr(Stdio::null()).status());
    let printed = fs::read_to_string(&log).map_err(|error| error.to_string())?;
    if status.success() {
        Ok(printed)
    } else {
        Err(format!("the tour ended with {status}, having printed:\n{printed}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(judge("").is_err());
        assert_eq!(judge(&SHOWN.join(" ")), Ok(()));
    }
}
