//! What is told of a cluster, and the bar of each row.

use crate::compare::rows::{Bar, Spec, alone, beside};

const RATE: &str = "debits/s";
const BARE: &str = "bare JetStream publish of the same bytes";
const FILES: &str = "the same with the journal in files";
const CORE: &str = "% of a core";
const BAR: Bar = Bar::AtLeast(0.8);

/// All rows, in the order in which they are told.
pub(super) const ROWS: &[Spec] = &[
    beside("cluster_1_partition", "ours_1", RATE, ("bare_1", BARE), BAR),
    beside("cluster_2_partitions", "ours_2", RATE, ("bare_2", BARE), BAR),
    beside("cluster_4_partitions", "ours_4", RATE, ("bare_4", BARE), BAR),
    beside("cluster_8_partitions", "ours_8", RATE, ("bare_8", BARE), BAR),
    beside("cluster_1_partition_small", "ours_small_1", RATE, ("bare_small_1", BARE), BAR),
    beside("cluster_4_partitions_small", "ours_small_4", RATE, ("bare_small_4", BARE), BAR),
    beside("cluster_1_partition_apart", "ours_apart_1", RATE, ("bare_apart_1", BARE), BAR),
    beside("cluster_2_partitions_apart", "ours_apart_2", RATE, ("bare_apart_2", BARE), BAR),
    beside("cluster_4_partitions_apart", "ours_apart_4", RATE, ("bare_apart_4", BARE), BAR),
    beside("cluster_8_partitions_apart", "ours_apart_8", RATE, ("bare_apart_8", BARE), BAR),
    beside("cluster_1_partition_cpu", "ours_cpu_1", CORE, ("bare_cpu_1", BARE), Bar::Stated),
    beside(
        "cluster_1_partition_servers_cpu",
        "ours_servers_cpu_1",
        CORE,
        ("bare_servers_cpu_1", BARE),
        Bar::Stated,
    ),
    beside("cluster_8_partitions_cpu", "ours_cpu_8", CORE, ("bare_cpu_8", BARE), Bar::Stated),
    beside(
        "cluster_8_partitions_servers_cpu",
        "ours_servers_cpu_8",
        CORE,
        ("bare_servers_cpu_8", BARE),
        Bar::Stated,
    ),
    beside("cluster_1_apart_cpu", "ours_cpu_apart_1", CORE, ("bare_cpu_apart_1", BARE), Bar::Stated),
    beside(
        "cluster_1_apart_servers_cpu",
        "ours_servers_cpu_apart_1",
        CORE,
        ("bare_servers_cpu_apart_1", BARE),
        Bar::Stated,
    ),
    beside("cluster_8_apart_cpu", "ours_cpu_apart_8", CORE, ("bare_cpu_apart_8", BARE), Bar::Stated),
    beside(
        "cluster_8_apart_servers_cpu",
        "ours_servers_cpu_apart_8",
        CORE,
        ("bare_servers_cpu_apart_8", BARE),
        Bar::Stated,
    ),
    beside("cluster_1_beside_files", "ours_1", RATE, ("files_1", FILES), Bar::Stated),
    beside("cluster_2_beside_files", "ours_2", RATE, ("files_2", FILES), Bar::Stated),
    beside("cluster_4_beside_files", "ours_4", RATE, ("files_4", FILES), Bar::Stated),
    beside("cluster_8_beside_files", "ours_8", RATE, ("files_8", FILES), Bar::Stated),
    beside("cluster_1_small_beside_files", "ours_small_1", RATE, ("files_small_1", FILES), Bar::Stated),
    beside("cluster_4_small_beside_files", "ours_small_4", RATE, ("files_small_4", FILES), Bar::Stated),
    alone("each_of_1_partition", "each_1", RATE, Bar::Stated),
    alone("each_of_2_partitions", "each_2", RATE, Bar::Stated),
    alone("each_of_4_partitions", "each_4", RATE, Bar::Stated),
    alone("each_of_8_partitions", "each_8", RATE, Bar::Stated),
    alone("appends_each_of_1", "appends_1", "records/s", Bar::Stated),
    alone("appends_each_of_2", "appends_2", "records/s", Bar::Stated),
    alone("appends_each_of_4", "appends_4", "records/s", Bar::Stated),
    alone("appends_each_of_8", "appends_8", "records/s", Bar::Stated),
    alone("appends_small_each_of_1", "appends_small_1", "records/s", Bar::Stated),
    alone("appends_small_each_of_4", "appends_small_4", "records/s", Bar::Stated),
    alone("record_of_1", "bytes_1", "bytes", Bar::Stated),
    alone("record_of_2", "bytes_2", "bytes", Bar::Stated),
    alone("record_of_4", "bytes_4", "bytes", Bar::Stated),
    alone("record_of_8", "bytes_8", "bytes", Bar::Stated),
    alone("record_small_of_1", "bytes_small_1", "bytes", Bar::Stated),
    alone("record_small_of_4", "bytes_small_4", "bytes", Bar::Stated),
    beside("one_at_a_time_p50", "ours_p50", "us", ("bare_p50", BARE), Bar::Stated),
    alone("idle_node_of_4_cpu", "idle_4_cpu", CORE, Bar::Stated),
    alone("idle_node_of_4_memory", "idle_4_memory", "MiB", Bar::Stated),
    alone("idle_node_of_4_sent", "idle_4_sent", "messages/s", Bar::Stated),
    alone("idle_node_of_4_received", "idle_4_received", "messages/s", Bar::Stated),
    alone("idle_node_of_64_cpu", "idle_64_cpu", CORE, Bar::Stated),
    alone("idle_node_of_64_memory", "idle_64_memory", "MiB", Bar::Stated),
    alone("idle_node_of_64_sent", "idle_64_sent", "messages/s", Bar::Stated),
    alone("idle_node_of_64_received", "idle_64_received", "messages/s", Bar::Stated),
    alone("idle_of_3_nodes_cpu", "idle_3_cpu", CORE, Bar::Stated),
    alone("idle_of_3_nodes_sent", "idle_3_sent", "messages/s", Bar::Stated),
    alone("idle_of_3_nodes_received", "idle_3_received", "messages/s", Bar::Stated),
    alone("loaded_node_debits", "load_debits", RATE, Bar::Stated),
    alone("loaded_node_appends", "load_appends", "records/s", Bar::Stated),
    alone("loaded_node_p50", "load_p50", "us", Bar::Stated),
    alone("loaded_node_p99", "load_p99", "us", Bar::Stated),
    alone("loaded_node_cpu", "load_cpu", CORE, Bar::Stated),
    alone("loaded_node_memory", "load_memory", "MiB", Bar::Stated),
    alone("loaded_server_cpu", "load_server_cpu", CORE, Bar::Stated),
    alone("loaded_server_memory", "load_server_memory", "MiB", Bar::Stated),
    alone("idle_server_cpu", "idle_server_cpu", CORE, Bar::Stated),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Figures;

    #[test]
    fn every_row_of_a_cluster_says_what_it_misses_and_has_a_name_of_its_own() {
        let mut missing = Vec::new();
        assert!(ROWS.iter().all(|row| row.fill(&Figures::new(), &mut missing).is_none()));
        missing.sort_unstable();
        missing.dedup();
        assert!(missing.len() >= ROWS.len(), "{missing:?}");
    }
}
