//! `loadtest floors`: what bounds the engine from below, each as a loop that does nothing else.

mod echo;
mod fdatasync;
mod grpc_echo;
mod mailbox;
mod plain;

use std::time::Duration;

use clap::Args;
use serde_json::json;

pub(crate) use echo::{Echo, EchoArgs, serve_echo};
pub(crate) use fdatasync::BareDisk;
pub(crate) use grpc_echo::{GrpcEcho, GrpcEchoArgs, serve_grpc_echo};
pub(crate) use plain::{PlainLoop, pool_of};

use crate::compare::grpc_load::StreamLoad;
use crate::compare::http_load::{Bodies, HTTP_BATCH, http_rate};
use crate::failure::Outcome;
use crate::number::{median, p50_us, spread};

#[derive(Args, Debug)]
pub(crate) struct FloorsArgs {
    /// Print the figures as one JSON object.
    #[arg(long)]
    json: bool,
    /// One short round: whether it works, not how fast.
    #[arg(long)]
    quick: bool,
}

/// Runs it.
pub(crate) fn run(args: &FloorsArgs) -> Outcome {
    let (rounds, length) =
        if args.quick { (1, Duration::from_millis(100)) } else { (5, Duration::from_millis(1_000)) };
    let (mut plain, mut disk) = (PlainLoop::new(), BareDisk::new()?);
    let echo = Echo::start()?;
    let bodies = Bodies::plain(HTTP_BATCH, echo.address());
    let grpc_echo = GrpcEcho::start()?;
    let mut columns = StreamLoad::echoed(&grpc_echo)?;
    let mut figures: [(&str, &str, Vec<f64>); 5] = [
        ("bare write and fdatasync of 4 KiB, p50", "us", Vec::new()),
        ("plain loop: judge, apply, encode, checksum", "M/s", Vec::new()),
        ("actix mailbox, there and back, p50", "us", Vec::new()),
        ("http echo of 500 debits that only parses them", "M/s", Vec::new()),
        ("grpc echo of columns of 512 that only decodes them", "M/s", Vec::new()),
    ];
    for _ in 0..rounds {
        let mut laps = Vec::new();
        disk.sync(length, &mut laps)?;
        figures[0].2.push(p50_us(laps));
        figures[1].2.push(plain.rate(length) / 1e6);
        figures[2].2.push(mailbox::round_trip_p50_us(length)?);
        figures[3].2.push(http_rate(&bodies, length)? / 1e6);
        figures[4].2.push(columns.rate(length)?.0 / 1e6);
    }
    if args.json {
        let row = |(name, unit, figures): &(&str, &str, Vec<f64>)| json!({"name": name, "unit": unit, "median": median(figures), "spread": spread(figures), "rounds": figures});
        println!("{}", json!({"floors": figures.iter().map(row).collect::<Vec<_>>()}));
        return Ok(());
    }
    println!("{:<52} {:>10} {:>8}", "", "median", "spread");
    for (name, unit, figures) in &figures {
        println!("{name:<52} {:>10.2} {:>8.2} {unit}", median(figures), spread(figures));
    }
    Ok(())
}
