//! The running engine, through `Meter`: real threads, real actors, a temporary directory or a simulated disk.
//!
//! `rules` and `usage` name the rules of the product; `identity` is R13; `lifecycle` opens, closes and drops; `load` fills the
//! queues; `faults` breaks the disk; `transfers` interrupts transfers; `supervision` makes organizations panic;
//! `extremes` goes to the declared bounds; `audit` reads the trail of administrative acts. No test sleeps: `gate` holds a disk back as long as a test wants.
#![cfg(feature = "testing")]

mod audit;
mod extremes;
mod faults;
mod gate;
mod identity;
mod lifecycle;
mod load;
mod missing;
mod reservations;
mod rules;
mod supervision;
mod support;
mod transfers;
mod usage;
