//! A step of a run: its title, its work, how its time and its failure are told.
//!
//! The steps of a run print one line before and one after their own output, except the last: nothing follows the
//! output of the last step, so that the test results are what a reader of a long log finds at its end.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The work of a step.
pub(crate) type Work = Box<dyn FnOnce() -> Result<(), String>>;

/// One thing to do, with the words that name it in the log.
pub(crate) struct Step {
    title: String,
    work: Work,
}

impl Step {
    pub(crate) fn new(title: impl Into<String>, work: Work) -> Self {
        Self { title: title.into(), work }
    }
}

/// Why a run ended before its end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line asks for something that does not exist.
    Usage(String),
    /// The repository is not laid out as a step needs it.
    Layout(String),
    /// A step failed.
    Step { title: String, cause: String },
    /// The last step failed, and its own output has said why.
    Told,
}

impl Failure {
    pub(crate) fn usage(message: String) -> Self {
        Self::Usage(message)
    }

    /// Prints the failure, unless the output of the step must stay the last, and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        if !matches!(self, Self::Told) {
            eprintln!("\nerror: {self}");
        }
        ExitCode::from(if matches!(self, Self::Usage(_)) { 2 } else { 1 })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) | Self::Layout(message) => f.write_str(message),
            Self::Step { title, cause } => {
                write!(f, "step `{title}` failed: {cause}; the steps after it did not run")
            }
            Self::Told => f.write_str("the last step failed"),
        }
    }
}

/// Runs the steps in order and stops at the first that fails.
///
/// # Errors
/// Names the step that failed and why.
pub(crate) fn run_all(steps: Vec<Step>) -> Result<(), Failure> {
    let count = steps.len();
    let begun = now();
    for (index, step) in steps.into_iter().enumerate() {
        let number = index + 1;
        say(&format!("==> [{number}/{count}] {}", step.title));
        let step_begun = now();
        let outcome = (step.work)();
        if number == count {
            return finish_last(outcome, count, step.title);
        }
        outcome.map_err(|cause| Failure::Step { title: step.title, cause })?;
        say(&format!("    done in {}, {} since the start", seconds(step_begun), seconds(begun)));
    }
    Ok(())
}

/// A step that is alone has no log above it to be found in, so its failure is told; after others it has had the last word.
fn finish_last(outcome: Result<(), String>, count: usize, title: String) -> Result<(), Failure> {
    outcome.map_err(|cause| if count == 1 { Failure::Step { title, cause } } else { Failure::Told })
}

fn say(line: &str) {
    println!("{line}");
    // A closed pipe must not end the checks: their exit code is still wanted.
    let _ = std::io::stdout().flush();
}

#[expect(
    clippy::disallowed_methods,
    reason = "the durations printed here describe the machine, not the product"
)]
fn now() -> Instant {
    Instant::now()
}

fn seconds(since: Instant) -> String {
    shown(now().saturating_duration_since(since))
}

fn shown(duration: Duration) -> String {
    format!("{}.{} s", duration.as_secs(), duration.subsec_millis() / 100)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    /// Steps that note their titles as they run; the named one fails.
    fn run_noting(titles: &[&'static str], failing: &str) -> (Vec<&'static str>, Result<(), Failure>) {
        let ran = Rc::new(RefCell::new(Vec::new()));
        let steps = titles
            .iter()
            .map(|&title| {
                let ran = Rc::clone(&ran);
                let outcome = if title == failing { Err("planted".to_owned()) } else { Ok(()) };
                let work = move || {
                    ran.borrow_mut().push(title);
                    outcome
                };
                Step::new(title, Box::new(work))
            })
            .collect();
        let outcome = run_all(steps);
        (ran.take(), outcome)
    }

    #[test]
    fn steps_run_in_their_order() {
        let (ran, outcome) = run_noting(&["one", "two", "three"], "");
        assert_eq!(ran, ["one", "two", "three"]);
        assert!(outcome.is_ok());
    }

    #[test]
    fn the_first_failure_ends_the_run_and_names_its_step() {
        let (ran, outcome) = run_noting(&["one", "two", "three"], "two");
        assert_eq!(ran, ["one", "two"]);
        let message = outcome.expect_err("step two fails").to_string();
        assert!(message.contains("`two`") && message.contains("planted"), "{message}");
    }

    #[test]
    fn a_failure_of_the_last_step_fails_the_run_without_further_words() {
        let (_, outcome) = run_noting(&["one", "two"], "two");
        assert!(matches!(outcome, Err(Failure::Told)));
    }

    #[test]
    fn durations_are_shown_in_tenths_of_a_second() {
        assert_eq!(shown(Duration::from_millis(61_949)), "61.9 s");
    }
}
