//! How a module file opens, and words that promise work.

use crate::source::{Source, Violation, is_word};

const MARKS: &[&str] = &["TODO", "FIXME", "XXX"];
const MACROS: &[&str] = &["todo", "unimplemented"];

/// The violation of a file that does not open with its documentation.
pub(crate) fn opening(source: &Source) -> Option<Violation> {
    let is_documented = source.raw.starts_with("//!");
    (!is_documented).then(|| source.violation(0, "the file does not open with `//!`"))
}

/// Marks in code and comments, and macros that stand for missing code.
pub(crate) fn unfinished(source: &Source) -> Vec<Violation> {
    let mut violations = Vec::new();
    for mark in MARKS {
        let whole =
            source.raw.match_indices(mark).filter(|(at, _)| is_whole_word(&source.raw, *at, mark.len()));
        violations.extend(whole.map(|(at, _)| source.violation(at, format!("`{mark}`"))));
    }
    for pair in source.tokens().windows(2) {
        if MACROS.contains(&pair[0].text) && pair[1].text == "!" {
            violations.push(source.violation(pair[0].at, format!("`{}!`", pair[0].text)));
        }
    }
    violations
}

fn is_whole_word(text: &str, at: usize, length: usize) -> bool {
    let bytes = text.as_bytes();
    let is_bounded = |byte: Option<&u8>| byte.is_none_or(|byte| !is_word(*byte));
    is_bounded(at.checked_sub(1).and_then(|before| bytes.get(before))) && is_bounded(bytes.get(at + length))
}

#[test]
fn a_file_without_documentation_at_its_top_is_found() {
    assert!(opening(&Source::new("src/a.rs", "use std::fmt;\n//! Late.")).is_some());
    assert!(opening(&Source::new("src/a.rs", "")).is_some());
    assert!(opening(&Source::new("src/a.rs", "//! What it is for.")).is_none());
}

#[test]
fn marks_and_macros_of_unfinished_code_are_found() {
    let raw = "// TODO: later\nfn f() {\n  todo!()\n}\n// FIXME\nunimplemented!(\"x\");\n/* XXX */";
    let mut lines: Vec<usize> =
        unfinished(&Source::new("src/a.rs", raw)).iter().map(|found| found.line).collect();
    lines.sort_unstable();
    assert_eq!(lines, [1, 3, 5, 6, 7]);
}

#[test]
fn words_that_only_contain_a_mark_pass() {
    let raw = "const XXXL: u8 = 1; let todo = \"todo!\"; // mastodon TODOS";
    assert_eq!(unfinished(&Source::new("src/a.rs", raw)), []);
}
