//! Clients that mean harm, against the real server over both edges.
//!
//! While each attack runs, a well-behaved client of each edge goes on and is served; the memory of the process stays below a
//! bound, and nothing that an attack took is held after it. The attacks stand in `over_http` and `over_grpc`, an entry each;
//! `many` has that of many connections. The limits are described in `docs/OPERATIONS.md`, the figures in
//! `docs/RELIABILITY.md`; `cargo test --all-features --test hostile -- --nocapture` prints them anew.

mod bystander;
mod fort;
mod http2;
mod many;
mod over_grpc;
mod over_http;
#[expect(dead_code, reason = "the tests of the command line use the rest of it")]
#[path = "../cli/process.rs"]
mod process;
#[expect(dead_code, reason = "the storm uses the rest of it")]
#[path = "../storm/server.rs"]
mod server;

use std::time::Duration;

use bystander::Bystanders;
use fort::Fort;

/// Something harmful.
pub(crate) struct Attack {
    name: &'static str,
    run: fn(&Fort, &Bystanders),
}

/// Most memory that the server may take under attack; it grants 64 MiB to bodies and messages.
const PEAK_KIB_MAX: u64 = 320 << 10;
/// Debits of each bystander before and after an attack.
const SERVED: u64 = 20;

/// Runs an attack beside bystanders, and tells what they and the server saw of it.
fn check(fort: &Fort, attack: &Attack, bystanders: &Bystanders) {
    fort.forget_peak();
    std::thread::scope(|scope| {
        let threads = bystanders.start(scope, fort);
        let _ends = Ends(bystanders);
        bystanders.wait_for(SERVED);
        (attack.run)(fort, bystanders);
        bystanders.wait_for(SERVED);
        bystanders.end();
        let took = threads.map(|thread| thread.join().expect("no assertion failed"));
        let peak = fort.peak_kib();
        let [http, grpc] = took.each_ref().map(|took| told(took));
        println!("{:<58} {:>5} MiB  http {http}  grpc {grpc}", attack.name, peak >> 10);
        assert!(peak <= PEAK_KIB_MAX, "{}: {peak} KiB", attack.name);
    });
}

/// How many were served, and how long the slowest of 99 in 100 took.
fn told(took: &[Duration]) -> String {
    let mut sorted = took.to_vec();
    sorted.sort_unstable();
    let p99 = sorted[(sorted.len() - 1) * 99 / 100];
    format!("{:>5} served, p99 {:>4} ms", took.len(), p99.as_millis())
}

/// Ends the bystanders, whatever ends the attack.
struct Ends<'a>(&'a Bystanders);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

fn check_all(attacks: &[Attack]) {
    let fort = Fort::start(&["--bodies-bytes-max", "67108864"]);
    let files = fort.open_files();
    for (epoch, attack) in (1..).zip(attacks) {
        check(&fort, attack, &Bystanders::of_epoch(epoch));
    }
    let begun = tokenweir::telemetry::clock::start();
    while fort.open_files() > files + 16 {
        assert!(begun.elapsed() < fort::PATIENCE, "{} files are open, {files} were", fort.open_files());
        std::thread::park_timeout(Duration::from_millis(20));
    }
    fort.stop();
}

#[test]
fn whoever_misbehaves_over_http_takes_bounded_memory_and_others_are_served() {
    check_all(over_http::ATTACKS);
}

#[test]
fn whoever_misbehaves_over_grpc_takes_bounded_memory_and_others_are_served() {
    check_all(over_grpc::ATTACKS);
}

#[test]
fn ten_thousand_connections_are_served_or_told_and_others_are_served() {
    many::check();
}
