//! The console, tested from outside: a browser that keeps cookies and sends forms, without script.

mod access;
mod alerts;
pub(crate) mod browser;
mod cameras;
mod licenses;
mod operators;
mod rights;
mod summary;
mod usage;
