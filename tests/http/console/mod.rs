//! The console, tested from outside: a browser that keeps cookies and sends forms, without script.

mod access;
mod alerts;
pub(crate) mod browser;
mod cameras;
mod licenses;
mod operators;
mod rates;
mod rights;
mod summary;
mod tokens;
mod usage;
