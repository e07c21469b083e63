//! What the outside speaks to: HTTP, gRPC, the console, and the command line.
//!
//! An edge translates and bounds; what a caller may do, and what becomes of a request, the meter decides. No edge names
//! storage, actors or protocol, except the commands that read a data directory, or the streams of a cluster, themselves.

pub mod bearers;
pub mod budget;
pub mod carrying;
pub mod cli;
pub mod console;
pub mod csv;
pub mod grpc;
pub mod guesses;
pub mod http;
pub mod license_key;
mod meters;
pub mod streams;
mod thousandths;
pub mod tls;
pub mod token;
pub mod webhooks;
