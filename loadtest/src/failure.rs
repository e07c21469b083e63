//! Why something did not work, and saying so.

use std::error::Error;

/// What went wrong; its text is for people.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// What became of something that can fail.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Says something to whoever runs the program, beside its result.
pub(crate) fn tell(line: &str) {
    eprintln!("{line}");
}
