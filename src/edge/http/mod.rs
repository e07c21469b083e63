//! The HTTP edge: JSON under `/v1`, health and metrics beside it.
//!
//! Every refusal is a problem document with a stable code; every bound is declared and reported. No handler under `/v1` runs
//! without a known caller, and none decides what a caller may do: the meter does. Deliberately absent: any state
//! of its own beyond what [`State`] holds. What actix answers before a request reaches a
//! route has no problem document: 400 for a head that is no HTTP, 408 for one that does not arrive in time, 431 for
//! one that is too long. These have an empty body and close the connection.

mod alerts;
pub mod audit;
mod auth;
#[cfg(feature = "testing")]
pub mod bodies;
mod body;
mod cameras;
mod carried;
mod carry;
mod conditions;
mod debit_plain;
mod debit_rows;
mod debit_shape;
mod debits;
mod describe;
mod event;
mod event_rows;
mod events;
mod health;
mod idempotency;
mod keys;
mod licenses;
mod listener;
mod manual;
mod openapi;
mod organizations;
mod problem;
mod rates;
mod reports;
mod reservations;
pub mod route;
mod scalar;
mod schemas;
mod seat;
mod state;
mod time_text;
mod transfers;
mod unread;
mod webhooks;

use actix_web::middleware::from_fn;
use actix_web::{HttpResponse, Scope, web};

pub(in crate::edge) use alerts::blocking;
pub(in crate::edge) use body::{media_type, with_body};
pub use carried::Inbox;
pub(in crate::edge) use carried::{Arrival, Guest, Told};
pub(in crate::edge) use carry::{ask_others, on as carry_on};
pub use listener::Listener;
pub(in crate::edge) use problem::Problem;
pub(in crate::edge) use reports::read_reports;
pub use seat::descriptors;
pub use state::{Limits, RenderMetrics, State, Trouble};
pub(in crate::edge) use time_text::TimeText;

/// Registers all routes. They expect `web::Data<State>` in the application's data.
fn register(config: &mut web::ServiceConfig) {
    for scope in route::SCOPES {
        let guarded = web::scope(scope)
            .wrap(from_fn(idempotency::once))
            .wrap(from_fn(auth::guard))
            .default_service(web::to(not_found));
        config.service(route::resources(Some(scope)).into_iter().fold(guarded, Scope::service));
    }
    route::resources(None).into_iter().fold(&mut *config, web::ServiceConfig::service);
    config.default_service(web::to(not_found));
}

async fn not_found() -> Result<HttpResponse, Problem> {
    Err(Problem::not_found())
}
