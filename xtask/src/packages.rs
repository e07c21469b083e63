//! Clients that nobody here wrote, installed beside the build as their users install them.
//!
//! Each needs an interpreter and, the first time, a package index. Where one is missing the caller is told, and passes over it: a
//! Rust toolchain is all that the checks demand.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A Python with the packages that the file `wanted` lists, in a folder of the build's.
///
/// # Errors
/// What is missing.
pub(crate) fn python(weir: &Path, name: &str, wanted: &Path) -> Result<PathBuf, String> {
    let folder = beside(weir, name)?;
    let python = folder.join("bin/python");
    installed(&folder, wanted, || {
        quietly(
            Command::new("python3").args(["-m", "venv"]).arg(&folder),
            "there is no python3 with venv and pip",
        )?;
        let install = ["-m", "pip", "install", "--quiet", "--timeout", "20", "--retries", "1", "-r"];
        quietly(
            Command::new(&python).args(install).arg(wanted),
            "the packages for python cannot be installed from here",
        )
    })?;
    Ok(python)
}

/// A folder of the build's with the packages for Node that the `package.json` at `wanted` lists.
///
/// # Errors
/// What is missing.
pub(crate) fn node(weir: &Path, name: &str, wanted: &Path) -> Result<PathBuf, String> {
    let folder = beside(weir, name)?;
    installed(&folder, wanted, || {
        let copied = fs::create_dir_all(&folder).and_then(|()| fs::copy(wanted, folder.join("package.json")));
        copied.map_err(|error| error.to_string())?;
        let install =
            ["install", "--silent", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"];
        quietly(
            Command::new("npm").args(install).current_dir(&folder),
            "the packages for node cannot be installed from here",
        )
    })?;
    Ok(folder)
}

/// The folder of this name beside the build.
///
/// # Errors
/// When the program is in no folder.
pub(crate) fn beside(weir: &Path, name: &str) -> Result<PathBuf, String> {
    let target = weir.parent().and_then(Path::parent).ok_or("the binary has no folder")?;
    Ok(target.join(name))
}

/// Installs what is wanted, unless it is what was installed before.
fn installed(
    folder: &Path,
    wanted: &Path,
    install: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    let note = folder.join("installed.txt");
    let text = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    if text(&note) == text(wanted) {
        return Ok(());
    }
    install()?;
    fs::copy(wanted, &note).map(drop).map_err(|error| error.to_string())
}

fn quietly(command: &mut Command, without: &str) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output();
    if output.is_ok_and(|output| output.status.success()) { Ok(()) } else { Err(without.to_owned()) }
}
