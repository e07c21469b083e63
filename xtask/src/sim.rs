//! `cargo xtask sim`: the deterministic simulator of `tests/sim`, with the seeds and the planted bugs that are asked for.
//!
//! It runs as a test with all features, so that it shares the build of the other tests. A seed that fails is printed with a
//! shrunk list of actions.

use crate::cargo::{cargo, cargo_with};
use crate::step::{Failure, Step};

/// The command.
pub(crate) const NAME: &str = "sim";

/// What the help text says of it.
pub(crate) const ABOUT: &str =
    "the simulator: 200 seeds, then each planted bug; or --planted, --seed N, --seeds N, --minutes M";

/// What runs where nothing is asked for.
pub(crate) fn all() -> Result<Vec<Step>, Failure> {
    Ok(vec![seeds(&[]), planted()])
}

/// The steps that the options of the command ask for.
///
/// # Errors
/// Names the option that is not one, or that lacks its number.
pub(crate) fn asked_for(options: &[String]) -> Result<Vec<Step>, Failure> {
    let (mut steps, mut environment) = (Vec::new(), Vec::new());
    let mut words = options.iter();
    while let Some(option) = words.next() {
        let variable = match option.as_str() {
            "--planted" => {
                steps.push(planted());
                continue;
            }
            "--seed" => "WEIR_SIM_SEED",
            "--seeds" => "WEIR_SIM_SEEDS",
            "--minutes" => "WEIR_SIM_MINUTES",
            _ => return Err(Failure::usage(format!("`{option}` is not an option of `{NAME}`"))),
        };
        let number = words.next().filter(|number| number.parse::<u64>().is_ok());
        let number = number.ok_or_else(|| Failure::usage(format!("`{option}` takes a whole number")))?;
        environment.push((variable, number.as_str()));
    }
    if !environment.is_empty() {
        steps.push(seeds(&environment));
    }
    Ok(steps)
}

fn seeds(environment: &[(&str, &str)]) -> Step {
    cargo_with("test --package tokenweir --all-features --test sim seeds -- --nocapture", environment)
}

fn planted() -> Step {
    cargo("test --package tokenweir --all-features --test sim planted -- --nocapture")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(words: &[&str]) -> Result<usize, Failure> {
        let options: Vec<String> = words.iter().map(ToString::to_string).collect();
        asked_for(&options).map(|steps| steps.len())
    }

    #[test]
    fn seeds_and_planted_bugs_are_a_step_each() {
        assert_eq!(steps(&["--seeds", "10", "--minutes", "2"]).expect("they go together"), 1);
        assert_eq!(steps(&["--planted", "--seed", "7"]).expect("they go together"), 2);
    }

    #[test]
    fn an_unknown_option_and_a_missing_number_are_refused() {
        for words in [&["--sed", "1"][..], &["--seed"], &["--seeds", "many"]] {
            assert!(steps(words).is_err(), "{words:?}");
        }
    }
}
