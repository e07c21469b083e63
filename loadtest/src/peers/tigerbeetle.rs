//! TigerBeetle, by its own benchmark: one replica, one client, a hot account that every transfer debits.

use std::process::{Command, Stdio};

use crate::compare::{Measured, Probe};
use crate::failure::Outcome;
use crate::process::{find_program, temporary_directory};

/// Figure, transfers of a batch, and transfers in all: some seconds of each.
const LOADS: [(&str, u32, u32); 3] =
    [("tigerbeetle_8189", 8_189, 1_000_000), ("tigerbeetle_500", 500, 300_000), ("tigerbeetle_1", 1, 4_000)];

/// Its probe; why there is none where it is not there. Each load makes a data file of its own.
pub(crate) fn probes() -> Result<Vec<Probe>, String> {
    if find_program("tigerbeetle").is_none() {
        return Err("tigerbeetle: there is no such program on the PATH".to_owned());
    }
    Ok(vec![Probe::new("tigerbeetle", |_| measure())])
}

fn measure() -> Measured {
    LOADS.iter().map(|(figure, batch, transfers)| Ok((*figure, benchmark(*batch, *transfers)?))).collect()
}

fn benchmark(batch: u32, transfers: u32) -> Outcome<f64> {
    let directory = temporary_directory()?;
    let mut command = Command::new("tigerbeetle");
    command.args([
        "benchmark",
        "--account-count=10000",
        "--account-count-hot=1",
        "--transfer-hot-percent=100",
    ]);
    command.arg(format!("--transfer-batch-size={batch}")).arg(format!("--transfer-count={transfers}"));
    let output = command.current_dir(directory.path()).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    rate(&said)
        .ok_or_else(|| format!("it told no rate: {said}{}", String::from_utf8_lossy(&output.stderr)).into())
}

/// The rate in what the benchmark prints.
fn rate(said: &str) -> Option<f64> {
    let line = said.lines().find_map(|line| line.trim().strip_prefix("load accepted = "))?;
    line.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_found_in_what_the_benchmark_prints() {
        let said = "12 batches in 3.00 s\ntransfer batch size = 500 txs\nload accepted = 137000 tx/s\nbatch latency p50 = 3 ms\n";
        assert_eq!(rate(said), Some(137_000.0));
        assert_eq!(rate("error: no such option\n"), None);
    }
}
