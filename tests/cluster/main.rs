//! Several engines over one simulated log, through `Meter`: partitions come and go, and peers lose, double and delay what they say.
//!
//! `moves` takes partitions away under load; `orders` is about transfers, claims and API keys across nodes. No test sleeps.
#![cfg(feature = "testing")]

mod moves;
mod nodes;
mod orders;
