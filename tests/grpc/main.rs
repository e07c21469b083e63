//! The gRPC edge and its client, tested from outside: a real server on a free port, a real data directory.

mod access;
mod client;
mod fixture;
mod health;
mod lifecycle;
mod stream;
mod unary;
mod wire;
