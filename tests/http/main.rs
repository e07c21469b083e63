//! The HTTP edge, tested from outside: a real server on a free port, a real client, a real data directory.

mod access;
mod alerts;
mod audit;
mod connections;
mod console;
mod debits;
mod declared;
mod events;
mod fixture;
mod impossible;
mod license_keys;
mod lifecycle;
mod limits;
mod organizations;
mod problems;
mod rates;
mod repeated;
mod reports;
mod reservations;
mod rights;
mod routes;
mod signer;
mod tags;
mod tokens;
mod transfers;
mod webhooks;
