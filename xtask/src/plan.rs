//! The commands of xtask and the steps each is made of.
//!
//! The steps share one target folder, and use the same features wherever they can, so that a crate is built once.
//! The tests are the last step of `ci`: their results close its output.

use crate::cargo::{cargo, cargo_with, release_binary};
use crate::demo;
use crate::step::{Failure, Step};
use crate::{alerts, browser, clients, cluster, dependencies, fuzz, sim, soak, storm, targets, tour};

/// A command of xtask.
pub(crate) struct CommandLine {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) steps: fn() -> Result<Vec<Step>, Failure>,
}

/// Every command, in the order of the help text.
pub(crate) const COMMANDS: &[CommandLine] = &[
    CommandLine {
        name: "ci",
        about: "everything below but the soak in this order, the tests last, of which the simulator and the storm are two; what CI runs",
        steps: ci,
    },
    CommandLine { name: "fmt", about: "is the code formatted?", steps: fmt },
    CommandLine {
        name: "lint",
        about: "clippy, whole and as the embedded library, warnings denied",
        steps: lint,
    },
    CommandLine {
        name: "deps",
        about: "licences and bans of dependencies, by cargo-deny where it is installed",
        steps: deps,
    },
    CommandLine { name: "docs", about: "the documentation, warnings denied", steps: docs },
    CommandLine { name: alerts::NAME, about: alerts::ABOUT, steps: alerts::all },
    CommandLine {
        name: "smoke",
        about: "examples, benches in brief, release build, the demo with its sums, the README's tour",
        steps: smoke,
    },
    CommandLine { name: clients::NAME, about: clients::ABOUT, steps: clients::all },
    CommandLine { name: browser::NAME, about: browser::ABOUT, steps: browser::all },
    CommandLine { name: cluster::NAME, about: cluster::ABOUT, steps: cluster::all },
    CommandLine { name: sim::NAME, about: sim::ABOUT, steps: sim::all },
    CommandLine { name: storm::NAME, about: storm::ABOUT, steps: storm::all },
    CommandLine { name: soak::NAME, about: soak::ABOUT, steps: soak::all },
    CommandLine { name: fuzz::NAME, about: fuzz::ABOUT, steps: fuzz::all },
    CommandLine { name: "test", about: "all tests, with all features", steps: test },
];

/// The example that shows the engine without the server.
const EMBEDDED_EXAMPLE: &str = "embed";

fn ci() -> Result<Vec<Step>, Failure> {
    let mut steps = Vec::new();
    let parts = [
        fmt,
        lint,
        deps,
        docs,
        alerts::all,
        smoke,
        clients::all,
        browser::all,
        cluster::all,
        fuzz::all,
        test,
    ];
    for part in parts {
        steps.extend(part()?);
    }
    // The simulator and the storm are tests: the seeds, the planted bugs and the faults run once. Only the storm's tools come before.
    steps.insert(steps.len() - 1, storm::tools());
    Ok(steps)
}

fn fmt() -> Result<Vec<Step>, Failure> {
    Ok(vec![cargo("fmt --all --check")])
}

fn lint() -> Result<Vec<Step>, Failure> {
    Ok(vec![
        cargo("clippy --workspace --all-targets --all-features -- -D warnings"),
        cargo("clippy -p tokenweir --no-default-features --lib --examples -- -D warnings"),
    ])
}

fn deps() -> Result<Vec<Step>, Failure> {
    Ok(vec![Step::new("licences and bans of deny.toml", Box::new(dependencies::check))])
}

fn docs() -> Result<Vec<Step>, Failure> {
    Ok(vec![cargo_with("doc --workspace --no-deps --all-features", &[("RUSTDOCFLAGS", "-D warnings")])])
}

fn smoke() -> Result<Vec<Step>, Failure> {
    let weir = release_binary("weir")?;
    let mut steps: Vec<_> = targets::examples()?.iter().map(|name| example(name)).collect();
    steps.extend(targets::benches()?.iter().map(|name| bench(name)));
    // What is tried here is the program that is shipped.
    steps.push(cargo("build --release --bin weir"));
    let binary = weir.clone();
    steps.push(Step::new("weir demo --exit --json", Box::new(move || demo::check(&binary))));
    steps.push(Step::new("the tour of README.md", Box::new(move || tour::check(&weir, tour::README))));
    Ok(steps)
}

fn test() -> Result<Vec<Step>, Failure> {
    Ok(vec![cargo("test --workspace --all-features")])
}

/// An example other than the embedded one takes the features of the tests, and so their build.
fn example(name: &str) -> Step {
    let features = if name == EMBEDDED_EXAMPLE { "--no-default-features" } else { "--all-features" };
    cargo(&format!("run --example {name} {features}"))
}

/// The benches read the variable and then measure just long enough to show that they run. Whether they run is all that is
/// asked here, so they take the profile and the features of the tests, and so their build.
fn bench(name: &str) -> Step {
    cargo_with(&format!("bench --profile dev --bench {name} --all-features"), &[("WEIR_BENCH_SMOKE", "1")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_its_own_name_and_at_least_one_step() {
        for (index, command) in COMMANDS.iter().enumerate() {
            assert!(COMMANDS[..index].iter().all(|other| other.name != command.name), "{}", command.name);
            let steps = (command.steps)().expect("the repository has its layout");
            assert!(!steps.is_empty(), "{}", command.name);
        }
    }
}
