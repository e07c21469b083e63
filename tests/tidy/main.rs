//! The house rules that neither the compiler nor clippy can check.
//!
//! Every checker takes text and returns violations, so that each is itself tested with planted ones. A check passes
//! over folders that do not exist. Deliberately absent: a Rust parser. Comments and literals are blanked, the rest is
//! cut into tokens, and that is enough for what is asked here.
//!
//! It depends on nothing of the crate and on std only, so it also runs alone, in a second:
//! `rustc --edition 2024 --test tests/tidy/main.rs -o /tmp/tidy && CARGO_MANIFEST_DIR=$PWD /tmp/tidy`

mod arrows;
mod items;
mod links;
mod paths;
mod purity;
mod size;
mod source;
mod tests_named;
mod wording;

use std::path::PathBuf;

use source::{Source, Violation, markdown_files, read_if_there, rust_files};

fn root() -> PathBuf {
    let built_in = option_env!("CARGO_MANIFEST_DIR").map(Into::into);
    std::env::var_os("CARGO_MANIFEST_DIR")
        .or(built_in)
        .expect("CARGO_MANIFEST_DIR names the repository")
        .into()
}

/// Every Rust file of the repository.
fn sources() -> Vec<Source> {
    rust_files(&root())
}

/// The files of the crate itself.
fn crate_sources() -> Vec<Source> {
    sources().into_iter().filter(|source| source.path.starts_with("src/")).collect()
}

fn assert_none(violations: &[Violation], what_to_do: &str) {
    let listed: Vec<String> = violations.iter().map(ToString::to_string).collect();
    assert!(violations.is_empty(), "\n{}\n{} found. {what_to_do}\n", listed.join("\n"), violations.len());
}

#[test]
fn dependency_arrows_point_one_way() {
    let violations: Vec<_> = crate_sources().iter().flat_map(arrows::check).collect();
    assert_none(
        &violations,
        "move the code to the layer it belongs to, or pass what it needs as an argument",
    );
}

#[test]
fn domain_and_protocol_name_no_io_clock_or_random_source() {
    let violations: Vec<_> = crate_sources().iter().flat_map(purity::check).collect();
    assert_none(
        &violations,
        "take time, ids and randomness as arguments, and leave IO and logging to the outer layers",
    );
}

#[test]
fn files_and_functions_stay_within_their_sizes() {
    let violations = size::check(&sources(), size::LONG_FILES, size::LONG_FUNCTIONS);
    assert_none(
        &violations,
        "split it by concept; the lists of exceptions in tests/tidy/size.rs only shrink",
    );
}

#[test]
fn every_module_file_opens_with_its_purpose() {
    let in_program = |source: &&Source| {
        ["src/", "fuzz/", "xtask/src/"].iter().any(|folder| source.path.starts_with(folder))
    };
    let violations: Vec<_> = sources().iter().filter(in_program).filter_map(wording::opening).collect();
    assert_none(
        &violations,
        "open the file with `//!`: its purpose, its invariants, what is deliberately absent",
    );
}

#[test]
fn sources_hold_no_unfinished_business() {
    let violations: Vec<_> = crate_sources().iter().flat_map(wording::unfinished).collect();
    assert_none(&violations, "finish it, or file an issue and remove the mark");
}

#[test]
fn test_names_are_sentences_of_three_words_or_more() {
    let violations: Vec<_> = sources().iter().flat_map(tests_named::short_names).collect();
    assert_none(&violations, "name the behaviour that the test shows");
}

#[test]
fn every_rule_and_every_invariant_is_named_by_a_test() {
    let sources = sources();
    let invariants = read_if_there(&root().join("docs/INVARIANTS.md"));
    let missing = tests_named::unnamed_rules(&sources, invariants.as_deref());
    assert!(
        missing.is_empty(),
        "no test names {}. begin a test's name with it, as in `r1_`",
        missing.join(", ")
    );
}

#[test]
fn no_test_is_ignored() {
    let violations: Vec<_> = sources().iter().flat_map(tests_named::ignored).collect();
    assert_none(&violations, "make the test pass or delete it");
}

#[test]
fn tests_wait_for_events_instead_of_sleeping() {
    let violations = tests_named::sleeping(&sources(), tests_named::SLEEPS);
    assert_none(&violations, "wait on a channel, a condition or a child's output, with a deadline");
}

#[test]
fn links_between_documents_resolve() {
    let root = root();
    let violations = links::check(&markdown_files(&root), &|path| root.join(path).exists());
    assert_none(&violations, "correct the link, or write the document it promises");
}
