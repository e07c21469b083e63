//! The `weir` program as its users run it.

mod alerts;
mod audit;
mod backup;
mod client;
mod demo;
mod drills;
mod endpoint;
mod export;
mod forms;
mod history;
mod ingest;
mod keys;
mod killed;
mod license_keys;
mod monitoring;
mod offline;
mod pki;
mod process;
mod replay;
mod reports;
mod scene;
mod serve;
mod tls;
mod top;
mod upgrade;
