//! The gRPC edge and its client, tested from outside: a real server on a free port, a real data directory.

mod access;
mod client;
mod connections;
mod fixture;
#[cfg(feature = "testing")]
#[expect(dead_code, reason = "the engine's tests use the rest of it")]
#[path = "../engine/gate.rs"]
mod gate;
mod health;
mod killed;
mod lease;
mod lease_storms;
mod lifecycle;
mod measured;
#[path = "../cli/pki.rs"]
mod pki;
#[expect(dead_code, reason = "the tests of the command line use the rest of it")]
#[path = "../cli/process.rs"]
mod process;
mod reservations;
mod rights;
#[path = "../http/signer.rs"]
mod signer;
#[cfg(feature = "testing")]
mod stalled;
mod stream;
mod tls;
mod tokens;
mod unary;
mod wire;
