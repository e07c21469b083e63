//! Alerts from a journal that is really written: each thing is told once, whatever happens to who tells it.

mod deliveries;
mod once;
mod random;
mod refused;
mod support;
