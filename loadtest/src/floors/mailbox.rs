//! An actix mailbox alone: a message to an actor on another thread, and its answer, one after the other.

use std::time::Duration;

use actix::{Actor, Context, Handler, Message};
use crossbeam::channel;
use tokenweir::telemetry::clock;

use crate::failure::Outcome;
use crate::number::p50_us;

struct Ping(channel::Sender<()>);

impl Message for Ping {
    type Result = ();
}

struct Echoing;

impl Actor for Echoing {
    type Context = Context<Self>;
}

impl Handler<Ping> for Echoing {
    type Result = ();

    fn handle(&mut self, Ping(answer): Ping, _: &mut Context<Self>) {
        // Nobody waits any more when the measurement is over.
        _ = answer.send(());
    }
}

/// The median of there and back, in microseconds.
pub(super) fn round_trip_p50_us(length: Duration) -> Outcome<f64> {
    let (found, address) = channel::bounded(1);
    let thread = std::thread::spawn(move || {
        let system = actix_rt::System::new();
        system.block_on(async { drop(found.send((Echoing.start(), actix_rt::System::current()))) });
        system.run()
    });
    let (actor, system) = address.recv()?;
    let (answer, answered) = channel::bounded(1);
    let (begun, mut laps) = (clock::start(), Vec::new());
    while begun.elapsed() < length {
        let lap = clock::start();
        actor.do_send(Ping(answer.clone()));
        answered.recv()?;
        laps.push(lap.elapsed());
    }
    system.stop();
    thread.join().expect("the system does not panic")?;
    Ok(p50_us(laps))
}
