//! The embedded engine: batches, single debits in flight, and one at a time, all durable.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use tokenweir::meter::{BatchReply, DebitBatch, Durability, Organization, Outcome as Judged, Pending};
use tokenweir::telemetry::clock;

use super::{Measured, Probe};
use crate::failure::Outcome;
use crate::floors::BareDisk;
use crate::load::Item;
use crate::number::{fraction, p50_us, per_second, u32_of, u64_of};
use crate::target::{Embedded, JournalSums, Scene, Target as _, debit};

const CAMERAS: u64 = 10_000;
const BATCH: u64 = 512;
const BATCHES_IN_FLIGHT: usize = 64;
const DEBITS_IN_FLIGHT: usize = 1_024;
const ORGANIZATIONS: usize = 1_000;
/// Tasks that send to many organizations: as many as the peer has clients.
const TASKS: usize = 16;
const STRIDE: u64 = 7_919;
/// How often a debit at a time and a bare sync take turns in a round.
const TURNS: u32 = 15;

/// Every probe of the embedded engine. Each has an engine of its own, which lives as long as the run.
pub(super) fn probes() -> Outcome<Vec<Probe>> {
    let scene = |organizations, cameras| {
        let durability = Durability::Durable;
        Embedded::new(&Scene { prefix: "compare".to_owned(), organizations, cameras, durability })
    };
    let (hot, many) = (Rc::new(scene(1, CAMERAS)?), scene(ORGANIZATIONS, CAMERAS / 1_000)?);
    let (serial, singles) = (Rc::clone(&hot), Rc::clone(&hot));
    let next = Rc::new(Cell::new(0));
    let (next_single, next_serial) = (Rc::clone(&next), Rc::clone(&next));
    let (mut next_of_many, mut disk) = (0, BareDisk::new()?);
    Ok(vec![
        Probe::new("embedded batches", move |length| batches(&hot, &next, length)),
        Probe::new("embedded singles", move |length| {
            let mut n = next_single.get();
            let rate = in_flight(&singles, 1, CAMERAS, &mut n, length)?;
            next_single.set(lap_after(n));
            Ok(vec![("embedded_singles", rate)])
        }),
        Probe::new("one at a time, and bare fdatasync", move |length| {
            one_at_a_time(&serial, &mut disk, &next_serial, length)
        }),
        Probe::new("embedded singles, 1,000 organizations", move |length| {
            let rate = in_flight(&many, TASKS, CAMERAS / 1_000, &mut next_of_many, length)?;
            Ok(vec![("embedded_singles_many", rate)])
        }),
    ])
}

/// The number that begins the next lap over all cameras: whoever measures next goes on from there, so numbers only rise.
fn lap_after(n: u64) -> u64 {
    n.next_multiple_of(CAMERAS)
}

/// Debit number `n`: cameras in a scattered order, each with rising numbers.
fn numbered(n: u64, cameras: u64) -> Item {
    let place = n % cameras;
    let camera = if cameras.is_multiple_of(STRIDE) { place } else { place * STRIDE % cameras };
    Item { camera: u32_of(camera), seq: n / cameras, tokens: 1 + u32_of(n % 2_000) }
}

/// Two producers, each with 64 batches of 512 in flight, and the bytes that a debit takes on the disk.
fn batches(embedded: &Embedded, next: &Cell<u64>, length: Duration) -> Measured {
    let mut places = [next.get(), next.get() + 1];
    let before = embedded.journal()?;
    let begun = clock::start();
    let organization = &embedded.organizations[0];
    let charged: u64 = std::thread::scope(|scope| {
        let producers: Vec<_> =
            places.iter_mut().map(|next| scope.spawn(move || produce(organization, next, length))).collect();
        let charged = producers.into_iter().map(|producer| producer.join().expect("producers do not panic"));
        charged.collect::<Outcome<Vec<u64>>>().map(|charged| charged.iter().sum())
    })?;
    let took = begun.elapsed();
    next.set(lap_after(places[0].max(places[1])));
    Ok(vec![
        ("embedded_batches", per_second(charged, took)),
        ("disk_512", bytes_each(embedded, before, charged)?),
    ])
}

fn produce(organization: &Organization, next: &mut u64, length: Duration) -> Outcome<u64> {
    let (begun, mut window, mut spare) = (clock::start(), VecDeque::new(), Vec::new());
    let (mut charged, mut sent) = (0, 0);
    while begun.elapsed() < length {
        let mut batch: DebitBatch = spare.pop().unwrap_or_else(|| DebitBatch::with_capacity(512));
        batch.clear();
        for _ in 0..BATCH {
            batch.push(debit(&numbered(*next, CAMERAS)));
            *next += 2;
        }
        if window.len() >= BATCHES_IN_FLIGHT
            && let Some(oldest) = window.pop_front()
        {
            settle(oldest, &mut charged, &mut spare)?;
        }
        window.push_back(organization.send_batch(&mut batch, Durability::Durable)?);
        sent += BATCH;
    }
    for pending in window {
        settle(pending, &mut charged, &mut spare)?;
    }
    all_charged(sent, charged)
}

fn settle(pending: Pending<BatchReply>, charged: &mut u64, spare: &mut Vec<DebitBatch>) -> Outcome {
    let reply = pending.wait()?;
    *charged += u64_of(reply.batch.outcomes().iter().filter(|outcome| **outcome == Judged::Charged).count());
    spare.push(reply.batch);
    Ok(())
}

/// Single debits a second of so many tasks, each with 1,024 in flight over organizations of its own, one after the other.
fn in_flight(
    embedded: &Embedded,
    tasks: usize,
    cameras: u64,
    next: &mut u64,
    length: Duration,
) -> Outcome<f64> {
    let organizations = &embedded.organizations;
    let share = organizations.len().div_ceil(tasks);
    let tasks = organizations.chunks(share).map(|some| send_singles(some.to_vec(), cameras, *next, length));
    let tasks: Vec<_> = tasks.map(|task| embedded.runtime.spawn(task)).collect();
    let mut rate = 0.0;
    for task in tasks {
        let (reached, own) = embedded.runtime.block_on(task)??;
        *next = reached.max(*next);
        rate += own;
    }
    Ok(rate)
}

async fn send_singles(
    organizations: Vec<Organization>,
    cameras: u64,
    first: u64,
    length: Duration,
) -> Outcome<(u64, f64)> {
    let (begun, mut window, mut n) = (clock::start(), VecDeque::with_capacity(DEBITS_IN_FLIGHT), first);
    let (mut charged, count) = (0, u64_of(organizations.len()));
    while begun.elapsed() < length {
        for _ in 0..256 {
            if window.len() >= DEBITS_IN_FLIGHT
                && let Some(oldest) = window.pop_front()
            {
                charged += is_charged(oldest).await?;
            }
            let organization = &organizations[crate::number::usize_of(n % count)];
            let item = numbered(n / count, cameras);
            window.push_back(organization.send_debit(debit(&item), Durability::Durable)?);
            n += 1;
        }
    }
    for pending in window {
        charged += is_charged(pending).await?;
    }
    all_charged(n - first, charged)?;
    Ok((n.next_multiple_of(count * cameras), per_second(charged, begun.elapsed())))
}

async fn is_charged(pending: Pending<tokenweir::meter::DebitReply>) -> Outcome<u64> {
    Ok(u64::from(pending.await?.outcome == Judged::Charged))
}

/// The medians of a debit at a time and of a bare sync, and the bytes that such a debit takes on the disk. The two take turns
/// within the round: a disk that is busy with something else is busy for both.
fn one_at_a_time(embedded: &Embedded, disk: &mut BareDisk, next: &Cell<u64>, length: Duration) -> Measured {
    let (mut n, mut laps, mut syncs) = (next.get(), Vec::new(), Vec::new());
    let before = embedded.journal()?;
    for _ in 0..TURNS {
        let begun = clock::start();
        while begun.elapsed() < length / TURNS {
            let start = clock::start();
            let item = numbered(n, CAMERAS);
            let reply = embedded.organizations[0].send_debit(debit(&item), Durability::Durable)?.wait()?;
            laps.push(start.elapsed());
            all_charged(1, u64::from(reply.outcome == Judged::Charged))?;
            n += 1;
        }
        disk.sync(length / TURNS, &mut syncs)?;
    }
    next.set(lap_after(n));
    let serial = per_second(u64_of(laps.len()), laps.iter().sum());
    let bytes = bytes_each(embedded, before, u64_of(laps.len()))?;
    Ok(vec![
        ("embedded_serial_p50", p50_us(laps)),
        ("embedded_serial", serial),
        ("fdatasync_p50", p50_us(syncs)),
        ("disk_1", bytes),
    ])
}

fn bytes_each(embedded: &Embedded, before: JournalSums, debits: u64) -> Outcome<f64> {
    Ok(fraction(embedded.journal()?.bytes - before.bytes) / fraction(debits.max(1)))
}

fn all_charged(sent: u64, charged: u64) -> Outcome<u64> {
    if sent == charged { Ok(charged) } else { Err(format!("{charged} of {sent} debits were charged").into()) }
}
