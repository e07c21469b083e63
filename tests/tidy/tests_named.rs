//! What tests are called, which rules they name, and what they must not do.

use std::collections::BTreeSet;

use crate::items::{attributes, functions, inline_modules};
use crate::paths::paths;
use crate::source::{Source, Violation};

/// The rules of the product are R1 to this one.
const LAST_RULE: u32 = 14;

const WORDS_MIN: usize = 3;

/// The folder of this suite. Its planted violations are no tests of the product.
const OWN_FOLDER: &str = "tests/tidy/";

/// Test files that may sleep: path, reason. An entry that is no longer needed fails.
pub(crate) const SLEEPS: &[(&str, &str)] = &[];

/// Tests whose name is not a sentence.
pub(crate) fn short_names(source: &Source) -> Vec<Violation> {
    let tokens = source.tokens();
    let tests = functions(&tokens).into_iter().filter(|function| function.is_test);
    let short = tests.filter(|test| words_of(test.name).count() < WORDS_MIN);
    short
        .map(|test| source.violation(test.at, format!("`{}` has fewer than {WORDS_MIN} words", test.name)))
        .collect()
}

/// The rules, and the invariants that the document names, which no test has in its name or in the name of its file.
///
/// Passes while the repository has no tests but this suite.
pub(crate) fn unnamed_rules(sources: &[Source], invariants: Option<&str>) -> Vec<String> {
    let is_outside =
        |source: &&Source| source.path.starts_with("tests/") && !source.path.starts_with(OWN_FOLDER);
    if !sources.iter().any(|source| is_outside(&source)) {
        return Vec::new();
    }
    let in_crate = sources.iter().filter(|source| is_outside(source) || source.path.starts_with("src/"));
    let named: BTreeSet<String> = in_crate.flat_map(words_of_tests).collect();
    let rules = (1..=LAST_RULE).map(|number| format!("R{number}"));
    let wanted = rules.chain(invariants.map(invariants_of).unwrap_or_default());
    wanted.filter(|id| !named.contains(&id.to_lowercase())).collect()
}

/// Tests that never run.
pub(crate) fn ignored(source: &Source) -> Vec<Violation> {
    let tokens = source.tokens();
    let is_ignore = |words: &[&str]| {
        words.first() == Some(&"ignore") || (words.first() == Some(&"cfg_attr") && words.contains(&"ignore"))
    };
    let found = attributes(&tokens).into_iter().filter(|(_, words)| is_ignore(words));
    found.map(|(at, _)| source.violation(at, "an ignored test shows nothing")).collect()
}

/// Sleeps in tests that are not allowed, and permissions that are not used.
pub(crate) fn sleeping(sources: &[Source], allowed: &[(&str, &str)]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut used = Vec::new();
    for source in sources {
        let sleeps = sleeps_of(source);
        if !sleeps.is_empty() && allowed.iter().any(|(path, _)| *path == source.path) {
            used.push(source.path.as_str());
            continue;
        }
        let message = "a test sleeps: too short on a busy machine, too long on any other";
        violations.extend(sleeps.into_iter().map(|at| source.violation(at, message)));
    }
    for (path, _) in allowed.iter().filter(|(path, _)| !used.contains(path)) {
        let message =
            "no test sleeps here now; remove the permission from tests/tidy/tests_named.rs".to_owned();
        violations.push(Violation { file: (*path).to_owned(), line: 1, message });
    }
    violations
}

/// The offsets of `thread::sleep` in test files and in modules named `tests`.
fn sleeps_of(source: &Source) -> Vec<usize> {
    let tokens = source.tokens();
    let modules = inline_modules(&tokens);
    let module = source.module();
    let is_test_file = source.path.starts_with("tests/") || module.contains(&"tests");
    let is_in_tests = |at: usize| {
        is_test_file
            || modules.iter().any(|inner| inner.name == "tests" && (inner.body.0..inner.body.1).contains(&at))
    };
    let is_sleep = |segments: &[&str]| segments.windows(2).any(|pair| pair == ["thread", "sleep"]);
    let found = paths(&tokens).into_iter().filter(|path| is_sleep(&path.segments) && is_in_tests(path.at));
    found.map(|path| path.at).collect()
}

/// The words in the names of a file's tests and, if it has any, in its path.
fn words_of_tests(source: &Source) -> Vec<String> {
    let tokens = source.tokens();
    let tests: Vec<_> = functions(&tokens).into_iter().filter(|function| function.is_test).collect();
    let path = source.path.trim_end_matches(".rs").split('/').filter(|_| !tests.is_empty());
    tests.iter().map(|test| test.name).chain(path).flat_map(words_of).map(str::to_owned).collect()
}

fn words_of(name: &str) -> impl Iterator<Item = &str> {
    name.split('_').filter(|word| !word.is_empty())
}

/// The ids like `I4` in the text, each once, by number.
fn invariants_of(text: &str) -> Vec<String> {
    let words = text.split(|sign: char| !sign.is_alphanumeric());
    let numbers: BTreeSet<u32> = words.filter_map(|word| word.strip_prefix('I')?.parse().ok()).collect();
    numbers.into_iter().map(|number| format!("I{number}")).collect()
}

#[test]
fn a_test_name_of_two_words_is_found_and_other_functions_are_free() {
    let raw = "#[test]\nfn it_works() {}\nfn helper() {}\n#[actix::test]\nasync fn it_works_too() {}";
    let found = short_names(&Source::new("tests/it/a.rs", raw));
    assert_eq!(found.iter().map(|violation| violation.line).collect::<Vec<_>>(), [2]);
}

#[test]
fn a_rule_without_a_test_is_listed() {
    let tests: String =
        (1..=13).map(|rule| format!("#[test]\nfn r{rule}_is_kept_in_full() {{}}\n")).collect();
    let sources =
        [Source::new("tests/it/rules.rs", &tests), Source::new("src/a.rs", "fn r14_is_no_test() {}")];
    assert_eq!(unnamed_rules(&sources, None), ["R14"]);
    assert_eq!(unnamed_rules(&sources, Some("| I1 | kept |\n| I10: kept. I1 again")), ["R14", "I1", "I10"]);
}

#[test]
fn the_name_of_a_file_with_tests_counts_for_its_rules() {
    let tests: String =
        (1..=13).map(|rule| format!("#[test]\nfn r{rule}_is_kept_in_full() {{}}\n")).collect();
    let sources = [Source::new("tests/crash/r14_survives.rs", &tests)];
    assert!(unnamed_rules(&sources, None).is_empty());
}

#[test]
fn this_suite_alone_is_not_asked_for_the_rules() {
    assert!(unnamed_rules(&[Source::new("tests/tidy/main.rs", "")], Some("I1")).is_empty());
}

#[test]
fn ignored_tests_are_found_however_they_are_marked() {
    let raw = "#[ignore]\n#[ignore = \"slow\"]\n#[cfg_attr(miri, ignore)]\n#[expect(x, reason = \"ignore\")]\n// #[ignore]";
    let found = ignored(&Source::new("tests/it/a.rs", raw));
    assert_eq!(found.iter().map(|violation| violation.line).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn sleeping_tests_are_found_and_sleeping_programs_are_not() {
    let raw = "fn f() { std::thread::sleep(d) }\nmod tests {\n  fn g() { thread::sleep(d) }\n}";
    let lines = |path: &str, allowed: &[(&str, &str)]| {
        let found = sleeping(&[Source::new(path, raw)], allowed);
        found.iter().map(|violation| violation.line).collect::<Vec<_>>()
    };
    assert_eq!(lines("src/a.rs", &[]), [3]);
    assert_eq!(lines("tests/it/a.rs", &[]), [1, 3]);
    assert!(lines("tests/it/a.rs", &[("tests/it/a.rs", "measures time itself")]).is_empty());
}

#[test]
fn a_permission_to_sleep_that_is_not_used_fails() {
    let found = sleeping(&[Source::new("tests/it/a.rs", "fn f() {}")], &[("tests/it/a.rs", "none")]);
    assert_eq!(found.len(), 1);
}
