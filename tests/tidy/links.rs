//! Links from one document of the repository to another, and to headings.
//!
//! Deliberately absent: addresses on the network. They fail for reasons that are not ours.

use std::collections::BTreeMap;

use crate::source::Violation;

/// The links in these documents (path, text) that lead nowhere; `exists` answers for files that are not among them.
pub(crate) fn check(documents: &[(String, String)], exists: &dyn Fn(&str) -> bool) -> Vec<Violation> {
    let headings: BTreeMap<&str, Vec<String>> =
        documents.iter().map(|(path, text)| (path.as_str(), anchors(text))).collect();
    let mut violations = Vec::new();
    for (path, text) in documents {
        for (line, target) in links(text) {
            if let Some(problem) = problem(path, target, &headings, exists) {
                violations.push(Violation {
                    file: path.clone(),
                    line,
                    message: format!("`{target}`: {problem}"),
                });
            }
        }
    }
    violations
}

fn problem(
    from: &str,
    target: &str,
    headings: &BTreeMap<&str, Vec<String>>,
    exists: &dyn Fn(&str) -> bool,
) -> Option<&'static str> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let Some(path) = resolve(from, file) else { return Some("leads out of the repository") };
    if !headings.contains_key(path.as_str()) && !exists(&path) {
        return Some("no such file");
    }
    let known = headings.get(path.as_str())?;
    let is_known = anchor.is_none_or(|anchor| known.iter().any(|heading| heading == anchor));
    (!is_known).then_some("no such heading")
}

/// The path from the root of the repository; none where it leads out of it.
fn resolve(from: &str, target: &str) -> Option<String> {
    if target.is_empty() {
        return Some(from.to_owned());
    }
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    if target.starts_with('/') {
        parts.clear();
    }
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// Line and target of each link in the prose; code is passed over.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("](") {
            let is_code = before.matches('`').count() % 2 == 1;
            // Behind code, the count begins anew after the backtick that closes it.
            let (target, next) =
                if is_code { ("", after.split_once('`').map_or("", |(_, next)| next)) } else { cut(after) };
            if !target.is_empty() {
                found.push((number, target));
            }
            rest = next;
        }
        if let Some((label, target)) = line.split_once("]: ")
            && label.starts_with('[')
        {
            found.push((number, target.split_whitespace().next().unwrap_or_default()));
        }
    }
    found
}

/// What stands before the closing parenthesis, without a title, and what follows it.
fn cut(after: &str) -> (&str, &str) {
    let (inside, next) = after.split_once(')').unwrap_or((after, ""));
    let target = inside.split_whitespace().next().unwrap_or_default();
    (target.trim_start_matches('<').trim_end_matches('>'), next)
}

/// The anchors of the headings, as forges make them: lower case, spaces to hyphens, signs dropped, repeats numbered.
fn anchors(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (_, line) in prose(text).filter(|(_, line)| line.starts_with('#')) {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|sign| sign.is_alphanumeric() || matches!(sign, ' ' | '-' | '_'));
        let anchor = kept.collect::<String>().replace(' ', "-");
        let count = seen.entry(anchor.clone()).or_default();
        found.push(if *count == 0 { anchor } else { format!("{anchor}-{count}") });
        *count += 1;
    }
    found
}

/// The numbered lines outside of fenced code.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_fenced ^= is_fence;
        (!is_fenced && !is_fence).then_some((index + 1, line))
    })
}

fn check_links(text: &str, lines: &[usize]) {
    let other = ("docs/OTHER.md".to_owned(), "# The Other: one\n\n## Same\n\n## Same\n".to_owned());
    let found = check(&[("docs/HERE.md".to_owned(), text.to_owned()), other], &|path| path == "LICENSE");
    assert_eq!(found.iter().map(|violation| violation.line).collect::<Vec<_>>(), lines, "{found:?}");
}

#[test]
fn links_to_files_and_headings_that_exist_pass() {
    check_links("[a](OTHER.md) ![b](../LICENSE) [c](/docs/OTHER.md#the-other-one \"title\")", &[]);
    check_links("# Here\n[a](#here) [b](OTHER.md#same-1) [c](https://example.org/x.md) [d](mailto:a@b)", &[]);
}

#[test]
fn links_that_lead_nowhere_are_found() {
    check_links("[a](OTHER.md)\n[b](GONE.md)", &[2]);
    check_links("[a](OTHER.md#gone)", &[1]);
    check_links("[a](#gone)", &[1]);
    check_links("[a](../../outside.md)", &[1]);
    check_links("[a]: GONE.md", &[1]);
    check_links("`code` [a](GONE.md)", &[1]);
}

#[test]
fn what_looks_like_a_link_inside_code_passes() {
    check_links("```\n[a](GONE.md)\n```\n`x[0](GONE.md)` and `[b](GONE.md)`", &[]);
}
