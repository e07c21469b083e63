//! Ten thousand connections, or as many as this process may have.

use std::net::TcpStream;

use crate::bystander::Bystanders;
use crate::fort::{Fort, raise_files};
use crate::{Attack, check as check_attack};

const CONNECTIONS: u64 = 10_000;
/// Files of this process that are no such connections.
const OTHERS: u64 = 200;

pub(crate) fn check() {
    let most = CONNECTIONS.min(raise_files().saturating_sub(OTHERS));
    println!("{most} connections, half to each edge");
    let fort = Fort::start(&["--connections-max", "10000"]);
    check_attack(&fort, &Attack { name: "10,000 connections", run: hold_many }, &Bystanders::of_epoch(1));
    fort.stop();
}

/// Opens all of them and holds them while the bystanders go on. Those that are too many are told and closed.
fn hold_many(fort: &Fort, bystanders: &Bystanders) {
    let most = CONNECTIONS.min(raise_files().saturating_sub(OTHERS)) / 2;
    let held: Vec<TcpStream> = (0..most).flat_map(|_| [fort.http(), fort.grpc()]).collect();
    bystanders.wait_for(100);
    drop(held);
}
