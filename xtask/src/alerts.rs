//! The alert rules of `docs/monitoring`, checked and tested by Prometheus' own `promtool`.
//!
//! Where it is missing it is installed, if that can be done; else the step says so and is passed over. No server runs.

use std::process::Command;

use crate::cargo::root;
use crate::debian;
use crate::step::{Failure, Step};

/// The command.
pub(crate) const NAME: &str = "alerts";

/// What the help text says of it.
pub(crate) const ABOUT: &str = "the alert rules of docs/monitoring, by promtool";

/// Checks the rules, and runs their tests.
pub(crate) fn all() -> Result<Vec<Step>, Failure> {
    Ok(vec![Step::new("the alert rules of docs/monitoring", Box::new(check))])
}

fn check() -> Result<(), String> {
    if !debian::has("promtool", "prometheus") {
        println!("skipped: there is no promtool, and it cannot be installed from here");
        return Ok(());
    }
    for words in [["check", "rules", "rules.yml"], ["test", "rules", "rules_test.yml"]] {
        let mut command = Command::new("promtool");
        let status = command.args(words).current_dir(root().join("docs/monitoring")).status();
        let status = status.map_err(|error| format!("promtool did not start: {error}"))?;
        if !status.success() {
            return Err(format!("promtool {}: {status}", words.join(" ")));
        }
    }
    Ok(())
}
