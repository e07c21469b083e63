//! What is depended on: by `cargo deny` where it is installed, else a lighter check of our own against the same
//! `deny.toml`.
//!
//! Our own reads the licences of everything that this machine builds, and the names that are banned. Deliberately
//! absent from it: advisories, sources, other platforms, and the texts of licences.

use std::process::{Command, Stdio};

use crate::cargo::root;

/// Checks licences, bans and sources with `cargo deny`, or licences and bans without.
///
/// # Errors
/// Names what is not allowed, or why it cannot be told.
pub(crate) fn check() -> Result<(), String> {
    let mut deny = cargo(&["deny", "--version"]);
    if deny.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        let words = ["deny", "--all-features", "check", "bans", "licenses", "sources"];
        let status = cargo(&words).status().map_err(|error| error.to_string())?;
        return if status.success() { Ok(()) } else { Err(status.to_string()) };
    }
    println!("cargo-deny is not installed: licences and bans of this platform are checked without it");
    let settings =
        std::fs::read_to_string(root().join("deny.toml")).map_err(|error| format!("deny.toml: {error}"))?;
    let words = [
        "tree",
        "--workspace",
        "--all-features",
        "--edges",
        "all",
        "--prefix",
        "none",
        "--format",
        "{l}|{p}",
    ];
    let tree = cargo(&words).stderr(Stdio::inherit()).output().map_err(|error| error.to_string())?;
    if !tree.status.success() {
        return Err(tree.status.to_string());
    }
    judge(&String::from_utf8_lossy(&tree.stdout), &settings)
}

fn cargo(words: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words).current_dir(root());
    command
}

/// Compares lines of `licence|name version` with the settings.
fn judge(tree: &str, settings: &str) -> Result<(), String> {
    let allowed = quoted(settings, "\nallow = [");
    let banned = quoted(settings, "\ndeny = [");
    if allowed.is_empty() || banned.is_empty() {
        return Err("deny.toml has no list of licences, or none of banned crates".to_owned());
    }
    let mut found: Vec<_> = tree.lines().filter_map(|line| line.split_once('|')).collect();
    found.sort_unstable();
    found.dedup();
    let wrong: Vec<_> = found
        .iter()
        .filter(|(licence, package)| {
            let name = package.split(' ').next().unwrap_or_default();
            !is_allowed(licence, &allowed) || banned.contains(&name)
        })
        .map(|(licence, package)| format!("{package} ({licence})"))
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(format!("deny.toml does not allow {}", wrong.join(", "))) }
}

/// The first quoted word of each line of a list that begins so.
fn quoted<'a>(settings: &'a str, begin: &str) -> Vec<&'a str> {
    let list = settings.split_once(begin).and_then(|(_, rest)| rest.split_once("\n]"));
    let lines = list.map_or("", |(list, _)| list).lines();
    lines.filter_map(|line| line.split('"').nth(1)).collect()
}

/// Whether an expression of licences can be met: `AND` binds closer than `OR`, and a slash is an old `OR`.
fn is_allowed(licence: &str, allowed: &[&str]) -> bool {
    let spaced =
        licence.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ").replace(" WITH ", "\u{1}");
    let words: Vec<_> = spaced.split(' ').filter(|word| !word.is_empty()).collect();
    let mut rest = words.as_slice();
    any(&mut rest, allowed) && rest.is_empty()
}

fn any(rest: &mut &[&str], allowed: &[&str]) -> bool {
    let mut met = all(rest, allowed);
    while let ["OR", after @ ..] = *rest {
        *rest = after;
        met |= all(rest, allowed);
    }
    met
}

fn all(rest: &mut &[&str], allowed: &[&str]) -> bool {
    let mut met = one(rest, allowed);
    while let ["AND", after @ ..] = *rest {
        *rest = after;
        met &= one(rest, allowed);
    }
    met
}

fn one(rest: &mut &[&str], allowed: &[&str]) -> bool {
    let [word, after @ ..] = *rest else { return false };
    *rest = after;
    if *word != "(" {
        return allowed.contains(&word.replace('\u{1}', " WITH ").as_str());
    }
    let met = any(rest, allowed);
    let [")", after @ ..] = *rest else { return false };
    *rest = after;
    met
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: &str = "[licenses]\nallow = [\n  \"MIT\",\n  \"Zlib\",\n  \"A WITH B\",\n]\n[bans]\ndeny = [\n  \
                            { crate = \"openssl\", reason = \"x\" },\n]\n";

    #[test]
    fn an_expression_is_met_by_either_side_of_or_and_both_of_and() {
        let allowed = ["MIT", "Zlib", "A WITH B"];
        for licence in
            ["MIT", "GPL OR MIT", "GPL/MIT", "(GPL OR MIT) AND Zlib", "GPL AND X OR MIT", "A WITH B OR GPL"]
        {
            assert!(is_allowed(licence, &allowed), "{licence}");
        }
        for licence in ["", "GPL", "MIT AND GPL", "A", "(MIT", "MIT)", "(GPL OR MIT) AND GPL"] {
            assert!(!is_allowed(licence, &allowed), "{licence}");
        }
    }

    #[test]
    fn what_is_not_allowed_is_named() {
        assert_eq!(judge("MIT|a v1\nZlib OR GPL|b v2 (*)", SETTINGS), Ok(()));
        let told = judge("MIT|a v1\nGPL|b v2\nMIT|openssl v3\n|c v4", SETTINGS).expect_err("three are wrong");
        assert!(
            ["b v2 (GPL)", "openssl v3 (MIT)", "c v4 ()"].iter().all(|wrong| told.contains(wrong)),
            "{told}"
        );
        assert!(judge("MIT|a v1", "").is_err());
    }
}
