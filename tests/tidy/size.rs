//! The size ratchet: files and functions that a reader can hold in mind.
//!
//! An exception names its reason. One that is no longer needed fails too, so the lists only shrink.

use crate::items::functions;
use crate::source::{Source, Violation};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// Files over the limit: path, reason.
pub(crate) const LONG_FILES: &[(&str, &str)] = &[];

/// Functions over the limit: path, function, reason.
pub(crate) const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[];

/// What is too long and not excepted, and what is excepted and not too long.
pub(crate) fn check(
    sources: &[Source],
    long_files: &[(&str, &str)],
    long_functions: &[(&str, &str, &str)],
) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut used_files = Vec::new();
    let mut used_functions = Vec::new();
    for source in sources {
        let lines = source.raw.lines().count();
        if lines > FILE_LINES_MAX {
            used_files.push(source.path.as_str());
            if !long_files.iter().any(|(path, _)| *path == source.path) {
                violations
                    .push(source.violation(0, format!("{lines} lines; a file has {FILE_LINES_MAX} at most")));
            }
        }
        for (name, at, lines) in long_functions_of(source) {
            used_functions.push((source.path.as_str(), name));
            if !long_functions.iter().any(|(path, function, _)| *path == source.path && *function == name) {
                let message = format!(
                    "`{name}` has {lines} lines of code; a function has {FUNCTION_LINES_MAX} at most"
                );
                violations.push(source.violation(at, message));
            }
        }
    }
    let idle_files = long_files.iter().filter(|(path, _)| !used_files.contains(path));
    violations.extend(idle_files.map(|(path, _)| idle(path, "the file")));
    let idle_functions =
        long_functions.iter().filter(|(path, name, _)| !used_functions.contains(&(*path, *name)));
    violations.extend(idle_functions.map(|(path, name, _)| idle(path, &format!("`{name}`"))));
    violations
}

fn idle(path: &str, what: &str) -> Violation {
    let message = format!("{what} is within its size now; remove its exception from tests/tidy/size.rs");
    Violation { file: path.to_owned(), line: 1, message }
}

/// Name, offset and lines of code of the functions over the limit.
fn long_functions_of(source: &Source) -> Vec<(&str, usize, usize)> {
    let tokens = source.tokens();
    let sized = functions(&tokens).into_iter().map(|function| {
        let (open, close) = function.body;
        (function.name, function.at, lines_of_code(&source.code[open + 1..close]))
    });
    sized.filter(|(_, _, lines)| *lines > FUNCTION_LINES_MAX).collect()
}

/// Empty lines and comments do not count, as in clippy's `too_many_lines`.
fn lines_of_code(body: &str) -> usize {
    body.lines().filter(|line| !line.trim().is_empty()).count()
}

fn function_of(lines: usize) -> String {
    format!("fn long() {{\n{}    // a comment\n\n}}\n", "    x();\n".repeat(lines))
}

fn check_sizes(
    raw: &str,
    long_files: &[(&str, &str)],
    long_functions: &[(&str, &str, &str)],
    messages: &[&str],
) {
    let found = check(&[Source::new("src/a.rs", raw)], long_files, long_functions);
    assert_eq!(found.len(), messages.len(), "{found:?}");
    assert!(
        found.iter().zip(messages).all(|(violation, message)| violation.to_string().contains(message)),
        "{found:?}"
    );
}

#[test]
fn a_function_is_too_long_from_the_71st_line_of_code() {
    check_sizes(&function_of(70), &[], &[], &[]);
    check_sizes(&function_of(71), &[], &[], &["src/a.rs:1: `long` has 71 lines"]);
}

#[test]
fn a_file_is_too_long_from_the_601st_line() {
    check_sizes(&"//\n".repeat(600), &[], &[], &[]);
    check_sizes(&"//\n".repeat(601), &[], &[], &["601 lines"]);
}

#[test]
fn an_exception_is_honoured_while_it_is_needed() {
    check_sizes(&function_of(71), &[], &[("src/a.rs", "long", "a table")], &[]);
    check_sizes(&"//\n".repeat(601), &[("src/a.rs", "a table")], &[], &[]);
}

#[test]
fn an_exception_that_is_no_longer_needed_fails() {
    let function = [("src/a.rs", "long", "a table")];
    check_sizes(
        &function_of(70),
        &[("src/a.rs", "a table")],
        &function,
        &["the file is within", "`long` is within"],
    );
}
