//! A rolling restart under load: every node, then every server, one after the other, each stopped in order and started again.

use crate::rounds;
use crate::servers::{Servers, Sync};
use crate::weir::{FAILOVER_MAX, Load, NODES, Weirs};

#[test]
fn r13_r14_i3_i4_a_rolling_restart_of_every_node_and_every_server_loses_nothing_and_charges_nothing_twice() {
    let Some(servers) = Servers::start(3, Sync::Always) else { return };
    let mut weirs = Weirs::start(servers);
    Load::run(&mut weirs, |weirs, load| {
        weirs.settle();
        load.served("to begin with");
        for node in (0..rounds().unwrap_or(1)).flat_map(|_| 0..NODES) {
            let struck = weirs.owned(node);
            weirs.stop(node);
            weirs.spawn(node);
            weirs.expect_ready(node);
            weirs.settle();
            assert!(load.failover(&format!("node {node} was restarted in order"), &struck) < FAILOVER_MAX);
        }
        for server in (0..rounds().unwrap_or(1)).flat_map(|_| 0..3) {
            weirs.servers.stop(server);
            weirs.servers.restart(server);
            weirs.servers.settle();
            assert!(load.served(&format!("server {server} was restarted in order")) < FAILOVER_MAX);
        }
    });
}
