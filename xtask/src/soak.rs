//! `cargo xtask soak`: the load tester's soak, an hour unless another time is asked for.
//!
//! A test of the load tester runs it for some seconds; it is no step of `ci`.

use crate::cargo::cargo;
use crate::options::numbers;
use crate::step::{Failure, Step};

/// The command.
pub(crate) const NAME: &str = "soak";

/// What the help text says of it.
pub(crate) const ABOUT: &str =
    "an hour at a steady rate, whose end must look like its beginning; or --minutes M";

/// What runs where nothing is asked for.
pub(crate) fn all() -> Result<Vec<Step>, Failure> {
    asked_for(&[])
}

/// The steps that the options of the command ask for.
///
/// # Errors
/// As [`numbers`].
pub(crate) fn asked_for(options: &[String]) -> Result<Vec<Step>, Failure> {
    let asked = numbers(NAME, options, &[("--minutes", "minutes")])?;
    let minutes = asked.last().and_then(|(_, number)| number.parse().ok()).unwrap_or(60_u64);
    let seconds = minutes.saturating_mul(60);
    Ok(vec![cargo(&format!("run --release --package loadtest -- soak --seconds {seconds}"))])
}
