//! Meters the AI tokens that camera streams consume.
//!
//! One shared pool per organization is debited exactly once per analysis, never below zero, never losing what was
//! acknowledged. Start at [`meter::Meter`]; an example of a gateway that embeds it is `examples/embed.rs`.
//!
//! A tour, from the inside out; each layer names only those before it:
//!
//! - [`domain`]: the rules, pure.
//! - [`protocol`]: the org process and the transfer coordinator, pure.
//! - [`storage`]: journal, snapshots, recovery, over a small disk trait.
//! - `actors`: actix shells, committers, supervision, ordered start and stop.
//! - `cluster` (feature `cluster`): a partition's journal as a log that several machines keep.
//! - [`meter`]: the library's face, and who may do what.
//! - `reports` (feature `reports`): what the journals say, to be asked.
//! - `alerts` (feature `server`): thresholds and webhooks, decided from the journals.
//! - `edge`, `config`, `server` (feature `server`): HTTP, gRPC, the command line, the composition root.
//! - [`planted`]: bugs that the simulator must find, nothing without the feature of that name.
//! - `proto`, `client` (feature `client`): the gRPC API, and a client of it for gateways.

mod actors;
#[cfg(feature = "server")]
pub mod alerts;
#[cfg(feature = "client")]
pub mod client;
#[cfg(any(test, feature = "cluster", feature = "testing"))]
pub mod cluster;
#[cfg(feature = "server")]
pub mod config;
pub mod domain;
#[cfg(feature = "server")]
pub mod edge;
pub mod meter;
pub mod planted;
#[cfg(feature = "proto")]
pub mod proto;
pub mod protocol;
#[cfg(feature = "reports")]
pub mod reports;
#[cfg(feature = "server")]
pub mod server;
pub mod storage;
pub mod telemetry;

#[cfg(feature = "testing")]
pub use actors::stepped;
