//! Several engines over one simulated log, through `Meter`: partitions come and go, and peers lose, double and delay what they say.
//!
//! `moves` takes partitions away under load; `orders` is about transfers, claims and API keys across nodes; `carried` has the HTTP
//! edges of the nodes carry requests to each other; `everywhere` reads there what all nodes have; `followed` has the gRPC client find the owners. No test sleeps.
#![cfg(feature = "testing")]

#[cfg(feature = "server")]
mod carried;
#[cfg(feature = "server")]
mod everywhere;
#[cfg(all(feature = "server", feature = "client"))]
mod followed;
mod moves;
mod nodes;
mod orders;
