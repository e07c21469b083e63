//! The `weir` program as its users run it.

mod client;
mod demo;
mod keys;
mod offline;
mod pki;
mod process;
mod replay;
mod scene;
mod serve;
mod tls;
