//! The gRPC edge and its client, tested from outside: a real server on a free port, a real data directory.

mod access;
mod client;
mod fixture;
mod health;
mod lifecycle;
#[path = "../cli/pki.rs"]
mod pki;
mod stream;
mod tls;
mod unary;
mod wire;
