//! What nodes tell of themselves: their metrics, and whether they are ready.

use serde_json::Value;
use tokenweir::telemetry::cluster;
use ureq::Agent;

use crate::weir::{PARTITIONS, Weirs};

pub(crate) const TAKEOVERS: &str = "tokenweir_cluster_takeovers_total";

/// The metrics of some nodes, all series of each.
pub(crate) struct Told(Vec<String>);

impl Told {
    /// What these nodes tell now.
    pub(crate) fn by(weirs: &Weirs, nodes: &[usize]) -> Self {
        let lines = |node: &usize| get(&weirs.url(*node), "/metrics").1.lines().map(str::to_owned).collect();
        Self(nodes.iter().flat_map::<Vec<String>, _>(lines).collect())
    }

    /// The sum of a metric over all series of it that bear these words; of each the whole part.
    pub(crate) fn sum(&self, name: &str, words: &str) -> u64 {
        let is_one = |line: &&String| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(words)
        };
        let number = |line: &String| line.rsplit(' ').next()?.split('.').next()?.parse::<u64>().ok();
        self.0.iter().filter(is_one).filter_map(number).sum()
    }

    /// Whether a metric is told at all.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|line| !line.starts_with('#') && line.starts_with(name))
    }
}

/// What a node says of its readiness: the status and its word.
pub(crate) fn readiness(weirs: &Weirs, node: usize) -> (u16, String) {
    readiness_at(&weirs.url(node))
}

/// The same of the node at this address.
pub(crate) fn readiness_at(url: &str) -> (u16, String) {
    let (status, body) = get(url, "/readyz");
    let health: Value = serde_json::from_str(&body).unwrap_or_default();
    (status, health["status"].as_str().unwrap_or_default().to_owned())
}

/// What is told as soon as three nodes serve.
pub(crate) fn every_metric(weirs: &Weirs) {
    let told = Told::by(weirs, &[0, 1, 2]);
    let names = include_str!("../../src/telemetry/cluster.rs").split('"');
    for name in names.filter(|word| word.starts_with("tokenweir_")) {
        assert!(told.has(name), "{name} is not told");
    }
    let (partitions, nodes) = (u64::from(PARTITIONS), 3);
    assert_eq!(told.sum(cluster::OWNED, ""), partitions, "each partition is owned by one");
    assert!(told.sum(TAKEOVERS, "") >= partitions && told.sum(TAKEOVERS, "died") == 0);
    assert!(told.sum("tokenweir_cluster_takeover_seconds_count", "") >= partitions);
    assert_eq!(told.sum("tokenweir_cluster_heard", ""), nodes);
    assert!(told.sum("tokenweir_cluster_table_revision", "") >= nodes);
    assert!(told.sum("tokenweir_cluster_table_writes_total", "stored") >= 1);
    for name in ["append_seconds_count", "group_bytes_count", "appends_total"] {
        assert!(told.sum(&format!("tokenweir_cluster_{name}"), "") >= partitions, "{name}");
    }
}

fn get(url: &str, path: &str) -> (u16, String) {
    let agent: Agent = Agent::config_builder().http_status_as_error(false).proxy(None).build().into();
    let mut answer =
        agent.get(format!("{url}{path}")).call().unwrap_or_else(|error| panic!("{url}{path}: {error}"));
    (answer.status().as_u16(), answer.body_mut().read_to_string().expect("text"))
}
