//! `cargo xtask fuzz`: every target of `fuzz/fuzz_targets` under libFuzzer, for a few seconds in CI, for longer by hand.
//!
//! Built by the cargo and the toolchain of everything else, in the profile of the tests and so with their dependencies. What libFuzzer
//! must see is compiled for it by this very program: cargo calls it in place of rustc, for members of the workspace alone, and
//! it adds the flags. Deliberately absent: a sanitizer (the code is safe Rust), and `cargo fuzz`, which would build every
//! dependency once more; it can be used beside this.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::cargo::{cargo_with, root};
use crate::step::{Failure, Step};
use crate::targets::names_in;

/// The command.
pub(crate) const NAME: &str = "fuzz";

/// What the help text says of it.
pub(crate) const ABOUT: &str = "each fuzz target for 3 seconds; or --target NAME, --seconds N";

const SECONDS: &str = "3";

/// Set where cargo calls this program in place of rustc.
const AS_RUSTC: &str = "XTASK_AS_RUSTC";

/// The crates whose branches libFuzzer sees.
const SEEN: [&str; 2] = ["tokenweir", "fuzz"];

/// Counters for branches, a table of their places, and calls at comparisons. `cargo build` notices no change here: touch a
/// file of those crates.
const FLAGS: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

const BUILD: &str = "build --package fuzz --bins --features libfuzzer --config profile.dev.package.tokenweir.opt-level=2 \
                     --config profile.dev.package.fuzz.opt-level=2";

/// What runs where nothing is asked for.
///
/// # Errors
/// When the targets cannot be listed.
pub(crate) fn all() -> Result<Vec<Step>, Failure> {
    steps(targets()?, SECONDS)
}

/// The steps that the options of the command ask for.
///
/// # Errors
/// Names the option that is not one, or its value.
pub(crate) fn asked_for(options: &[String]) -> Result<Vec<Step>, Failure> {
    let (mut chosen, mut seconds) = (targets()?, SECONDS);
    for pair in options.chunks(2) {
        match pair {
            [option, name] if option == "--target" => {
                if !chosen.contains(name) {
                    let known = chosen.join(", ");
                    return Err(Failure::usage(format!("`{name}` is not a fuzz target; known are {known}")));
                }
                chosen = vec![name.clone()];
            }
            [option, number] if option == "--seconds" && number.parse::<u32>().is_ok() => seconds = number,
            [option, ..] => {
                return Err(Failure::usage(format!(
                    "`{option}`: `{NAME}` takes --target NAME and --seconds N"
                )));
            }
            [] => {}
        }
    }
    steps(chosen, seconds)
}

/// Whether cargo called this program in place of rustc; then it does what rustc does, and ends so.
pub(crate) fn as_rustc() -> Option<ExitCode> {
    std::env::var_os(AS_RUSTC)?;
    let mut arguments = std::env::args_os().skip(1);
    let mut rustc = Command::new(arguments.next()?);
    let arguments: Vec<_> = arguments.collect();
    let is_seen = arguments
        .windows(2)
        .any(|pair| pair[0] == "--crate-name" && SEEN.iter().any(|name| pair[1] == *name));
    rustc.args(&arguments).args(FLAGS.iter().filter(|_| is_seen));
    let code = rustc.status().ok().and_then(|status| u8::try_from(status.code()?).ok());
    Some(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

fn targets() -> Result<Vec<String>, Failure> {
    names_in(&root().join("fuzz/fuzz_targets"))
}

fn steps(targets: Vec<String>, seconds: &str) -> Result<Vec<Step>, Failure> {
    let own = own_path()?;
    let wrapper = own.to_string_lossy().into_owned();
    let mut steps = vec![cargo_with(BUILD, &[("RUSTC_WORKSPACE_WRAPPER", &wrapper), (AS_RUSTC, "1")])];
    for target in targets {
        let program = own.with_file_name(&target);
        let seconds = seconds.to_owned();
        let title = format!("fuzz target {target} for {seconds} s");
        steps.push(Step::new(title, Box::new(move || run(&program, &target, &seconds))));
    }
    Ok(steps)
}

fn own_path() -> Result<PathBuf, Failure> {
    std::env::current_exe()
        .map_err(|error| Failure::Layout(format!("the path of xtask itself is unknown: {error}")))
}

/// What libFuzzer finds new goes below the target folder; an input that fails goes there too.
fn run(program: &Path, target: &str, seconds: &str) -> Result<(), String> {
    let folder = |name| program.with_file_name("fuzz").join(name).join(target);
    let (found, failed) = (folder("corpus"), folder("failed"));
    for folder in [&found, &failed] {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let status = Command::new(program)
        .args([&found, &root().join("fuzz/corpus").join(target)])
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", failed.display()))
        .args(["-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1", "-print_funcs=0", "-verbosity=0"])
        .status()
        .map_err(|error| format!("{} did not start: {error}", program.display()))?;
    if status.success() {
        return Ok(());
    }
    let failed = failed.display();
    Err(format!("{status}; the input is in {failed}: correct the fault, and keep it in fuzz/corpus/{target}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(words: &[&str]) -> Result<usize, Failure> {
        let options: Vec<String> = words.iter().map(ToString::to_string).collect();
        asked_for(&options).map(|steps| steps.len())
    }

    #[test]
    fn one_target_is_a_build_and_a_run_and_all_are_the_default() {
        let all = targets().expect("the folder exists").len();
        assert_eq!(count(&["--target", "frames"]).expect("it is there"), 2);
        assert_eq!(count(&["--seconds", "60"]).expect("a number"), 1 + all);
    }

    #[test]
    fn unknown_targets_and_options_are_refused_and_the_known_ones_are_named() {
        let message = count(&["--target", "frame"]).expect_err("there is none of this name").to_string();
        assert!(message.contains("frames") && message.contains("rules"), "{message}");
        for words in [&["--seconds", "many"][..], &["--seconds"], &["--target"], &["--minutes", "1"]] {
            assert!(count(words).is_err(), "{words:?}");
        }
    }
}
