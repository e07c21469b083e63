//! Which layer of the crate may name which other: `domain <- protocol, storage <- actors <- meter <- edge, reports <- server`.

use crate::paths::{in_crate, paths};
use crate::source::{Source, Violation};

/// Every layer with the layers it may name besides itself. A new arrow is a decision: it is made here, in the open.
const LAYERS: &[(&str, &[&str])] = &[
    ("planted", &[]),
    ("domain", &["planted"]),
    ("protocol", &["planted", "domain"]),
    ("storage", &["planted", "domain"]),
    ("telemetry", &["domain"]),
    ("proto", &[]),
    ("client", &["domain", "telemetry", "proto"]),
    ("actors", &["planted", "domain", "protocol", "storage", "telemetry"]),
    ("cluster", &["planted", "domain", "protocol", "storage", "telemetry"]),
    ("meter", &["domain", "protocol", "storage", "telemetry", "actors", "cluster"]),
    ("reports", &["domain", "storage", "telemetry"]),
    ("alerts", &["domain", "storage", "telemetry"]),
    ("config", &["domain", "telemetry", "meter"]),
    ("edge", &["domain", "telemetry", "proto", "meter", "reports", "alerts", "config"]),
    (
        "server",
        &[
            "domain",
            "protocol",
            "storage",
            "telemetry",
            "actors",
            "cluster",
            "meter",
            "config",
            "edge",
            "reports",
            "alerts",
        ],
    ),
];

/// Commands that read the files of a data directory, or the streams of a cluster, themselves: they work on what is stored, and so name it.
const OFFLINE_TOOLS: &[&str] = &[
    "src/edge/cli/backup.rs",
    "src/edge/cli/export.rs",
    "src/edge/cli/inspect.rs",
    "src/edge/cli/reports.rs",
    "src/edge/cli/restore.rs",
    "src/edge/cli/verify.rs",
    "src/edge/cli/verify_audit.rs",
    "src/edge/cli/verify_cut.rs",
    "src/edge/cli/verify_place.rs",
    "src/edge/streams.rs",
];
const OFFLINE_TOOLS_MAY_NAME: &[&str] = &["storage", "protocol", "cluster"];

/// The arrows of this file that point the wrong way.
pub(crate) fn check(source: &Source) -> Vec<Violation> {
    let module = source.module();
    // The roots of the library and the program put the layers together.
    let Some(&own) = module.first() else { return Vec::new() };
    let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == own) else {
        let message = format!("`{own}` is no layer; give it a place in LAYERS of tests/tidy/arrows.rs");
        return vec![source.violation(0, message)];
    };
    let tokens = source.tokens();
    let mut violations = Vec::new();
    for path in paths(&tokens) {
        let Some(target) = in_crate(source, &tokens, &path) else { continue };
        let Some(&layer) = target.first() else { continue };
        let is_layer = LAYERS.iter().any(|(known, _)| *known == layer);
        let is_offline =
            OFFLINE_TOOLS.contains(&source.path.as_str()) && OFFLINE_TOOLS_MAY_NAME.contains(&layer);
        if is_layer && layer != own && !allowed.contains(&layer) && !is_offline {
            violations.push(source.violation(path.at, format!("`{own}` must not name `{layer}`")));
        } else if !is_layer && !path.is_macro {
            let message =
                format!("`{layer}` is named through the root of the crate; name the layer it comes from");
            violations.push(source.violation(path.at, message));
        }
    }
    violations
}

fn check_arrows(path: &str, raw: &str, lines: &[usize]) {
    let found: Vec<usize> = check(&Source::new(path, raw)).iter().map(|violation| violation.line).collect();
    assert_eq!(found, lines, "{path}: {raw}");
}

#[test]
fn an_arrow_against_the_stream_is_found_however_it_is_spelled() {
    check_arrows("src/domain/pool.rs", "use crate::domain::ids;\nuse crate::storage::Disk;", &[2]);
    check_arrows("src/domain/pool.rs", "use crate::{\n  domain::ids,\n  actors,\n};", &[3]);
    check_arrows("src/storage/mod.rs", "fn f() {\n  crate::protocol::org::run();\n}", &[2]);
    check_arrows("src/storage/disk.rs", "use super::super::meter::Meter;", &[1]);
    check_arrows("src/protocol/org.rs", "use tokenweir::telemetry;", &[1]);
    check_arrows(
        "src/edge/http/debits.rs",
        "use crate::actors::Directory;\nuse crate::storage::Lsn;",
        &[1, 2],
    );
    check_arrows("src/reports/usage.rs", "use crate::meter::Meter;", &[1]);
    check_arrows("src/meter/mod.rs", "use crate::server;", &[1]);
    check_arrows("src/client/mod.rs", "use crate::meter::Meter;\nuse crate::edge::grpc;", &[1, 2]);
    check_arrows("src/meter/mod.rs", "use crate::proto::v1;", &[1]);
}

#[test]
fn arrows_with_the_stream_and_text_that_only_looks_like_one_pass() {
    check_arrows("src/meter/mod.rs", "use crate::{actors, domain, protocol, storage, telemetry};", &[]);
    check_arrows(
        "src/domain/mod.rs",
        "//! Not crate::storage.\npub(crate) mod ids;\nconst A: &str = \"crate::actors\";",
        &[],
    );
    check_arrows("src/domain/pool.rs", "mod tests { use super::super::ids::X; use super::*; }", &[]);
    check_arrows("src/lib.rs", "use crate::server::run;", &[]);
    check_arrows("src/server.rs", "use crate::edge::http; use crate::meter::Meter;", &[]);
}

#[test]
fn only_the_offline_tools_read_storage_from_the_edge() {
    let raw = "use crate::storage::Reader; use crate::protocol::Org;";
    check_arrows("src/edge/cli/verify.rs", raw, &[]);
    check_arrows("src/edge/cli/inspect.rs", raw, &[]);
    check_arrows("src/edge/cli/serve.rs", raw, &[1, 1]);
    check_arrows("src/edge/cli/verify.rs", "use crate::actors::Org;", &[1]);
}

#[test]
fn a_name_taken_through_the_root_is_found_and_a_macro_is_not() {
    check_arrows("src/domain/pool.rs", "use crate::Meter;", &[1]);
    check_arrows("src/domain/pool.rs", "use crate::*;", &[1]);
    check_arrows("src/domain/pool.rs", "crate::ensure!(x);", &[]);
}

#[test]
fn a_folder_without_a_place_in_the_stream_is_found() {
    check_arrows("src/util/mod.rs", "", &[1]);
}

#[test]
fn the_table_of_layers_has_no_circle() {
    for (index, (layer, allowed)) in LAYERS.iter().enumerate() {
        let above = &LAYERS[index..];
        assert!(
            above.iter().all(|(later, _)| !allowed.contains(later)),
            "{layer} names a layer that comes after it"
        );
    }
}
