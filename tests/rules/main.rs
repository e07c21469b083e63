//! The rules of metering (R1 to R14), told through the public face of `domain` and `protocol`.
//!
//! R1, and who may transfer (R11), are the business of `meter::access` and are tested there.

mod exhaustive;
mod identities;
mod keys;
mod late;
mod licenses;
mod metering;
mod model;
mod naive;
mod precedence;
mod rates;
mod replay;
mod reservations;
mod schedules;
mod support;
mod transfers;
mod world;
