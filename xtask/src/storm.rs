//! `cargo xtask storm`: the real server under every fault of `tests/storm`, each once, or drawn from a seed for some minutes.
//!
//! Its tools, `strace` and `libfaketime`, are installed where this is Debian and runs as root; a fault whose tool is missing is passed
//! over and says so.

use crate::cargo::{cargo, cargo_with};
use crate::debian;
use crate::options::numbers;
use crate::step::{Failure, Step};

/// The command.
pub(crate) const NAME: &str = "storm";

/// What the help text says of it.
pub(crate) const ABOUT: &str =
    "the server under kills, failing disks, pauses, clock jumps: each once; or --minutes M, --seed N";

/// The programs, and the packages of Debian that have them.
const TOOLS: [(&str, &str); 2] = [("strace", "strace"), ("faketime", "faketime")];

/// What runs where nothing is asked for.
pub(crate) fn all() -> Result<Vec<Step>, Failure> {
    Ok(vec![tools(), cargo("test --package tokenweir --all-features --test storm -- --nocapture")])
}

/// The steps that the options of the command ask for.
///
/// # Errors
/// As [`numbers`].
pub(crate) fn asked_for(options: &[String]) -> Result<Vec<Step>, Failure> {
    let known = [("--minutes", "WEIR_STORM_MINUTES"), ("--seed", "WEIR_STORM_SEED")];
    let mut environment = numbers(NAME, options, &known)?;
    if environment.iter().all(|(name, _)| *name != "WEIR_STORM_MINUTES") {
        environment.push(("WEIR_STORM_MINUTES", "1"));
    }
    let words = "test --package tokenweir --all-features --test storm a_storm -- --nocapture";
    Ok(vec![tools(), cargo_with(words, &environment)])
}

/// Installs the tools that are missing, where that is possible.
pub(crate) fn tools() -> Step {
    Step::new("the tools of the storm: strace and faketime", Box::new(install))
}

fn install() -> Result<(), String> {
    for (program, package) in TOOLS {
        if !debian::has(program, package) {
            println!(
                "skipped: there is no {program} and it cannot be installed from here; its faults are passed over"
            );
        }
    }
    Ok(())
}
