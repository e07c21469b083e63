//! Crash images of a whole meter on a simulated disk, on one thread, by the code that ships.
//!
//! `world` is two partitions with their organizations and the coordinator; `script` is what is asked of them; `recovery`
//! says what must hold of whatever a crash leaves; `images` stops the script everywhere; `cuts` backs it up at every moment and
//! restores it to every point; `damage` flips bits; `messages` delivers the coordinator's messages late and twice. Deliberately absent: actix, threads, a real clock. The running
//! engine is tested in `tests/engine`.
#![cfg(feature = "testing")]

mod cuts;
mod damage;
mod group;
mod images;
mod ledger;
mod messages;
mod recovery;
mod script;
mod world;
