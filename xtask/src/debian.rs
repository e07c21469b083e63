//! Programs that some checks need, from the packages of Debian.
//!
//! Only root installs, and only where no init would start a service that a package brings: a container, not somebody's machine.

use std::path::Path;
use std::process::{Command, Stdio};

/// Whether there is a program of this name; it is installed with `package` where it is missing and that is possible.
pub(crate) fn has(program: &str, package: &str) -> bool {
    is_there(program) || (install(package) && is_there(program))
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn install(package: &str) -> bool {
    let has_init = Path::new("/run/systemd/system").exists();
    !has_init && apt_get(&["update"]) && apt_get(&["install", "--yes", "--no-install-recommends", package])
}

fn apt_get(words: &[&str]) -> bool {
    let mut command = Command::new("apt-get");
    command.args(words).env("DEBIAN_FRONTEND", "noninteractive");
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}
