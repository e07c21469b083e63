//! Nested cargo commands, run by the cargo that runs this program, at the root of the workspace.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::step::{Failure, Step};

/// A step that runs cargo with these words, as they would be typed.
pub(crate) fn cargo(words: &str) -> Step {
    cargo_with(words, &[])
}

/// As [`cargo`], with environment variables set for it.
pub(crate) fn cargo_with(words: &str, environment: &[(&str, &str)]) -> Step {
    let mut title: String = environment.iter().map(|(name, value)| format!("{name}={value:?} ")).collect();
    title.push_str("cargo ");
    title.push_str(words);
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words.split_whitespace()).envs(environment.iter().copied()).current_dir(root());
    Step::new(title, Box::new(move || run(command)))
}

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let own = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    own.parent().map(Path::to_owned).unwrap_or(own)
}

/// The path of a program that `cargo build --release` leaves, in the target folder this program was built in.
///
/// # Errors
/// When the path of this program is unknown or is not inside a target folder.
pub(crate) fn release_binary(name: &str) -> Result<PathBuf, Failure> {
    let own = std::env::current_exe()
        .map_err(|error| Failure::Layout(format!("the path of xtask itself is unknown: {error}")))?;
    let target = own.parent().and_then(Path::parent).ok_or_else(|| {
        Failure::Layout(format!("{} is not in a target folder; run it by `cargo xtask`", own.display()))
    })?;
    Ok(target.join("release").join(format!("{name}{}", std::env::consts::EXE_SUFFIX)))
}

fn run(mut command: Command) -> Result<(), String> {
    let status = command.status().map_err(|error| format!("cargo did not start: {error}"))?;
    if status.success() { Ok(()) } else { Err(status.to_string()) }
}
