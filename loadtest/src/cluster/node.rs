//! What a node costs: idle with few partitions and with many, one of three, and under load; and what its servers cost meanwhile.

use std::time::Duration;

use tokenweir::meter::Durability;
use tokenweir::telemetry::clock;

use super::servers::Servers;
use crate::audit::audit;
use crate::compare::Figures;
use crate::drive::{Loop, Progress, drive};
use crate::failure::Outcome;
use crate::load::{Choice, Synthetic};
use crate::number::{fraction, fraction_of_len, per_second};
use crate::process::{Cost, pause};
use crate::target::{Grpc, Scene, Server, Target as _, start_server_with};

/// The rate of the load, in debits a second, and the debits of a request.
const RATE: f64 = 100_000.0;
const BATCH: usize = 50;
/// What a start leaves to be done is done by then.
const SETTLED: Duration = Duration::from_secs(2);

/// What nodes cost over some time.
struct Costs {
    /// Of a core, each.
    cpu_percent: f64,
    memory_mib: f64,
    sent: f64,
    received: f64,
    /// Of a core, each server.
    server_cpu_percent: f64,
    server_memory_mib: f64,
}

/// Measures it.
pub(super) fn costs(servers: &Servers, length: Duration, figures: &mut Figures) -> Outcome {
    let mut note = |name, figure| figures.entry(name).or_default().push(figure);
    let few = [start(servers, "idle-4", 1, 4)?];
    let cost = look(servers, "idle-4", &few, length, || Ok(()))?;
    note("idle_4_cpu", cost.cpu_percent);
    note("idle_4_memory", cost.memory_mib);
    note("idle_4_sent", cost.sent);
    note("idle_4_received", cost.received);
    note("idle_server_cpu", cost.server_cpu_percent);
    let [node] = few;
    let target = target(&node)?;
    let node = [node];
    let (mut debits, mut appends, mut latencies) = (0.0, 0.0, None);
    let cost = look(servers, "idle-4", &node, Duration::ZERO, || {
        let before = target.journal()?.groups;
        let tally = drive(&target, sources(length), Loop::Open, &Progress::default())?;
        audit(&tally.acknowledged, &target.sums()?).require()?;
        debits = per_second(tally.charged(), tally.took);
        appends = per_second(target.journal()?.groups - before, tally.took);
        latencies = Some(tally.latencies);
        Ok(())
    })?;
    note("load_debits", debits);
    note("load_appends", appends);
    for (name, quantile) in [("load_p50", 0.5), ("load_p99", 0.99)] {
        let latency = latencies.as_ref().map_or(0, |latencies| latencies.value_at_quantile(quantile));
        note(name, fraction(latency) / 1e3);
    }
    note("load_cpu", cost.cpu_percent);
    note("load_memory", cost.memory_mib);
    note("load_server_cpu", cost.server_cpu_percent);
    note("load_server_memory", cost.server_memory_mib);
    drop((target, node));
    let many = [start(servers, "idle-64", 1, 64)?];
    let cost = look(servers, "idle-64", &many, length, || Ok(()))?;
    drop(many);
    note("idle_64_cpu", cost.cpu_percent);
    note("idle_64_memory", cost.memory_mib);
    note("idle_64_sent", cost.sent);
    note("idle_64_received", cost.received);
    let three: Vec<_> = (1..=3).map(|number| start(servers, "idle-3", number, 12)).collect::<Outcome<_>>()?;
    let cost = look(servers, "idle-3", &three, length, || Ok(()))?;
    note("idle_3_cpu", cost.cpu_percent);
    note("idle_3_sent", cost.sent);
    note("idle_3_received", cost.received);
    Ok(())
}

fn start(servers: &Servers, cluster: &str, number: u16, partitions: u16) -> Outcome<Server> {
    let (user, password) = servers.user();
    let (addresses, name, partitions) =
        (servers.addresses().join(","), format!("n{number}"), partitions.to_string());
    let settings = [
        "--cluster",
        &addresses,
        "--cluster-name",
        cluster,
        "--cluster-node",
        &name,
        "--cluster-user",
        user,
        "--cluster-password-file",
        password.to_str().ok_or("a folder that is no text")?,
        "--cluster-sync",
        "stated",
        "--partitions",
        &partitions,
    ];
    start_server_with(None, &settings)
}

/// What nodes cost while something is done, and for so long after it.
fn look(
    servers: &Servers,
    cluster: &str,
    nodes: &[Server],
    length: Duration,
    mut work: impl FnMut() -> Outcome,
) -> Outcome<Costs> {
    pause(SETTLED);
    let spent = || nodes.iter().map(|node| Cost::of(node.pid()).cpu_seconds).sum::<f64>();
    let (begun, before, server, traffic) =
        (clock::start(), spent(), servers.cost(), servers.traffic(cluster)?);
    work()?;
    pause(length);
    let (took, after) = (begun.elapsed(), servers.cost());
    let percent = |seconds: f64| seconds / took.as_secs_f64() * 100.0;
    let mib = |bytes: u64| fraction(bytes) / f64::from(1 << 20);
    let count = fraction_of_len(nodes.len());
    let (sent, received) = servers.traffic(cluster)?.rates(traffic, took);
    let resident = nodes.iter().map(|node| Cost::of(node.pid()).resident_bytes).sum();
    Ok(Costs {
        cpu_percent: percent(spent() - before) / count,
        memory_mib: mib(resident) / count,
        sent: sent / count,
        received: received / count,
        server_cpu_percent: percent(after.cpu_seconds - server.cpu_seconds) / Servers::count(),
        server_memory_mib: mib(after.resident_bytes) / Servers::count(),
    })
}

fn target(node: &Server) -> Outcome<Grpc> {
    let scene =
        Scene { prefix: "load".to_owned(), organizations: 8, cameras: 100, durability: Durability::Durable };
    Grpc::new(&node.plan(), Some(&node.grpc_url), &scene)
}

fn sources(length: Duration) -> Vec<Box<dyn crate::load::Source>> {
    let load = Synthetic {
        organizations: 8,
        cameras: 100,
        batch: BATCH,
        rate: Some(RATE),
        ramp: Duration::ZERO,
        length,
        choice: Choice::Even,
    };
    (0..2).map(|producer| load.source(producer, 2)).collect()
}
