//! Three nodes and three servers, each on a host of its own, under load, while the network between them is cut: on both sides, on one, and mended again.
//!
//! Whatever is cut, nothing that was acknowledged is lost and nothing is charged twice. A node that no server carries says so.

use crate::network::Network;
use crate::rounds;
use crate::servers::{Servers, Sync};
use crate::told::{Told, readiness};
use crate::weir::{FAILOVER_MAX, Load, Weirs, wait};

/// Hosts of the servers, then those of the nodes.
const SERVERS: [u8; 3] = [0, 1, 2];
const NODES: [u8; 3] = [3, 4, 5];

#[test]
fn r13_r14_i3_i4_i9_a_network_that_is_cut_anywhere_loses_nothing_and_charges_nothing_twice() {
    let Some(network) = Network::start(6) else { return };
    let Some(servers) = Servers::start_at(&network, &SERVERS, Sync::Always) else { return };
    let mut weirs = Weirs::start_at(servers, &network, &NODES);
    Load::run(&mut weirs, |weirs, load| {
        weirs.settle();
        load.served("to begin with");
        let servers = if rounds().is_some() { &SERVERS[..] } else { &SERVERS[..1] };
        for _ in 0..rounds().unwrap_or(1) {
            cut_off(weirs, load, &network);
            from_one(weirs, load, &network, servers);
            between_servers(weirs, load, &network, servers);
            one_way(weirs, load, &network);
        }
    });
}

/// An owner that no server is reached by, and that returns.
fn cut_off(weirs: &Weirs, load: &Load, network: &Network) {
    network.part(NODES[0], &SERVERS);
    assert!(load.failover("a node was cut off from all servers", &weirs.owned(0)) < FAILOVER_MAX);
    weirs.expect_told(0, (503, "cut_off"));
    wait("its metrics are to say so", || Told::by(weirs, &[0]).sum("tokenweir_cluster_heard", "") == 0);
    network.mend();
    weirs.expect_told(0, (200, "ready"));
    weirs.settle();
    load.moved("it came back", &weirs.owned(0));
}

/// A node that reaches two of three servers goes on.
fn from_one(weirs: &Weirs, load: &Load, network: &Network, servers: &[u8]) {
    for server in servers {
        network.part(NODES[1], &[*server]);
        load.served(&format!("a node was cut off from server {server} alone"));
        network.mend();
    }
    weirs.expect_told(1, (200, "ready"));
    weirs.settle();
    load.served("all was mended");
}

/// A server that the other two do not reach; nodes still do.
fn between_servers(weirs: &Weirs, load: &Load, network: &Network, servers: &[u8]) {
    for server in servers {
        let others: Vec<u8> = SERVERS.into_iter().filter(|other| other != server).collect();
        network.part(*server, &others);
        load.served(&format!("server {server} was cut off from the other two"));
        network.mend();
        weirs.servers.settle();
        weirs.settle();
        load.served("it came back");
    }
}

/// What a node or a server sends is lost, and what is sent to it arrives.
fn one_way(weirs: &Weirs, load: &Load, network: &Network) {
    SERVERS.into_iter().for_each(|server| network.cut(NODES[2], server));
    assert!(load.failover("what a node sends is lost", &weirs.owned(2)) < FAILOVER_MAX);
    weirs.expect_told(2, (503, "cut_off"));
    network.mend();
    weirs.expect_told(2, (200, "ready"));
    weirs.settle();
    load.moved("it came back", &weirs.owned(2));
    SERVERS.into_iter().for_each(|server| network.cut(server, NODES[2]));
    assert!(load.failover("what is sent to a node is lost", &weirs.owned(2)) < FAILOVER_MAX);
    network.mend();
    weirs.expect_told(2, (200, "ready"));
    weirs.settle();
    load.moved("it came back", &weirs.owned(2));
    [1, 2].into_iter().for_each(|other| network.cut(SERVERS[0], SERVERS[other]));
    load.served("what a server sends to the other two is lost");
    network.mend();
    weirs.servers.wait();
    load.served("it came back");
    assert_eq!(readiness(weirs, 2), (200, "ready".to_owned()));
}
