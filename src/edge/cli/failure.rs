//! Why a command failed: a message for people and an exit code for programs.

use std::fmt;
use std::process::ExitCode;

use serde_json::{Value, json};

/// Why a command failed.
#[derive(Debug)]
pub struct Failure {
    message: String,
    exit: u8,
}

impl Failure {
    /// The command did not reach its end, or what it checked does not hold (exit code 1).
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit: 1 }
    }

    /// The command could not begin: it was asked wrongly, or what it works on cannot be opened (exit code 2).
    pub fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit: 2 }
    }

    /// The command reached its end, and some of what it asked for was refused (exit code 3).
    pub fn refused(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit: 3 }
    }

    /// The failure for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({ "error": self.message, "exit_code": self.exit })
    }

    /// The code that the program ends with.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.exit)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(error.to_string())
    }
}
