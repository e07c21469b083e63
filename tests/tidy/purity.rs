//! `domain` and `protocol` are pure: what they compute follows from their arguments alone, so that replay and the
//! simulator see what production saw.
//!
//! Deliberately absent: a check of iteration over hash maps of other crates, which needs types.

use crate::paths::{NamedPath, paths};
use crate::source::{Source, Violation};

const PURE_LAYERS: &[&str] = &["domain", "protocol"];

/// Modules of std that reach outside.
const STD_MODULES: &[&str] = &["env", "fs", "io", "net", "process", "thread"];

/// Crates that run, wait, log, share or draw lots; the families of `actix` and `tracing` are matched by their beginning.
const CRATES: &[&str] = &["crossbeam", "dashmap", "getrandom", "metrics", "rand", "rustix", "tokio"];
const CRATE_FAMILIES: &[&str] = &["actix", "tracing"];

/// Types whose very name is enough.
const TYPES: &[&str] = &["DashMap", "DashSet", "Instant", "RandomState", "SystemTime"];

/// Maps of std, whose order changes from one process to the next.
const STD_MAPS: &[&str] = &["HashMap", "HashSet", "hash_map", "hash_set", "*"];

/// The impure names of this file, if it must be pure.
pub(crate) fn check(source: &Source) -> Vec<Violation> {
    let module = source.module();
    if !module.first().is_some_and(|layer| PURE_LAYERS.contains(layer)) {
        return Vec::new();
    }
    let tokens = source.tokens();
    let impure = |path: &NamedPath<'_>| {
        let reason = reason(&path.segments)?;
        let message = format!("`{}`: `{}` names no {reason}", path.segments.join("::"), module[0]);
        Some(source.violation(path.at, message))
    };
    paths(&tokens).iter().filter_map(impure).collect()
}

fn reason(segments: &[&str]) -> Option<&'static str> {
    let pair = |first: &[&str], second: &[&str]| {
        segments.windows(2).any(|window| first.contains(&window[0]) && second.contains(&window[1]))
    };
    let is_path = segments.len() > 1;
    let root = segments[0];
    if pair(&["std", "core"], STD_MODULES) {
        Some("part of std that reaches outside")
    } else if pair(&["collections"], STD_MAPS) {
        Some("map of std whose order is random; take a BTreeMap, or a hashbrown map that is never iterated")
    } else if segments.iter().any(|segment| TYPES.contains(segment)) {
        Some("clock, random source or shared map")
    } else if is_path
        && (CRATES.contains(&root) || CRATE_FAMILIES.iter().any(|family| root.starts_with(family)))
    {
        Some("crate that runs, waits, logs or draws lots")
    } else {
        None
    }
}

fn check_purity(path: &str, raw: &str, lines: &[usize]) {
    let found: Vec<usize> = check(&Source::new(path, raw)).iter().map(|violation| violation.line).collect();
    assert_eq!(found, lines, "{path}: {raw}");
}

#[test]
fn impure_names_are_found_in_domain_and_protocol() {
    check_purity("src/domain/time.rs", "use std::time::{\n  Duration,\n  SystemTime,\n};", &[3]);
    check_purity("src/domain/mod.rs", "use std::collections::HashMap;", &[1]);
    check_purity("src/domain/mod.rs", "use std::{collections::{BTreeMap, HashSet}, fs};", &[1, 1]);
    check_purity(
        "src/protocol/org.rs",
        "fn f() {\n  tracing::info!(\"x\");\n  tokio::spawn(g());\n}",
        &[2, 3],
    );
    check_purity("src/protocol/org.rs", "use actix_rt::System;", &[1]);
    check_purity("src/protocol/org.rs", "let now = Instant::now();", &[1]);
    check_purity("src/protocol/org.rs", "let n = rand::random();\nlet m: DashMap<u8, u8>;", &[1, 2]);
    check_purity("src/domain/ids.rs", "std::fs::read(p); std::net::lookup();", &[1, 1]);
}

#[test]
fn pure_names_comments_and_other_layers_pass() {
    check_purity("src/domain/mod.rs", "//! No tokio, no std::fs.\nuse std::collections::BTreeMap;", &[]);
    check_purity("src/domain/mod.rs", "use hashbrown::HashMap; let rand = 1; let tokio = rand;", &[]);
    check_purity("src/storage/disk.rs", "use std::fs::File;", &[]);
}
