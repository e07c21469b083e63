//! The HTTP edge: JSON under `/v1`, health and metrics beside it.
//!
//! Every refusal is a problem document with a stable code; every bound is declared and reported. No handler under `/v1` runs
//! without a known caller, and none decides what a caller may do: the meter does. Deliberately absent: any state
//! of its own beyond what [`State`] holds. What actix answers before a request reaches a
//! route has no problem document: 400 for a head that is no HTTP, 408 for one that does not arrive in time, 431 for
//! one that is too long. These have an empty body and close the connection.

mod auth;
#[cfg(feature = "testing")]
pub mod bodies;
mod body;
mod cameras;
mod debit_rows;
mod debits;
mod health;
mod keys;
mod licenses;
mod listener;
mod organizations;
mod problem;
mod reservations;
mod scalar;
mod seat;
mod state;
mod time_text;
mod transfers;
mod unread;

use actix_web::middleware::from_fn;
use actix_web::{HttpResponse, Resource, Route, guard, web};

pub use listener::Listener;
pub use seat::descriptors;
pub use state::{Limits, RenderMetrics, State};

use problem::Problem;

/// All routes. They expect `web::Data<State>` in the application's data.
fn routes(config: &mut web::ServiceConfig) {
    let licenses = resource("/organizations/{org}/licenses", "GET, HEAD, POST");
    let license = resource("/organizations/{org}/licenses/{license}", "GET, HEAD, DELETE");
    let transfer = resource("/transfers/{transfer}", "GET, HEAD");
    let v1 = web::scope("/v1")
        .wrap(from_fn(auth::guard))
        .service(resource("/organizations/{org}/debits", "POST").route(web::post().to(debits::debit)))
        .service(
            resource("/organizations", "GET, HEAD, POST")
                .route(read().to(organizations::list))
                .route(web::post().to(organizations::create)),
        )
        .service(
            resource("/organizations/{org}/summary", "GET, HEAD").route(read().to(organizations::summary)),
        )
        .configure(camera_routes)
        .configure(reservation_routes)
        .service(licenses.route(read().to(licenses::list)).route(web::post().to(licenses::add)))
        .service(license.route(read().to(licenses::get)).route(web::delete().to(licenses::remove)))
        .service(resource("/transfers", "POST").route(web::post().to(transfers::begin)))
        .service(transfer.route(read().to(transfers::get)))
        .service(
            resource("/keys", "GET, HEAD, POST")
                .route(read().to(keys::list))
                .route(web::post().to(keys::make)),
        )
        .service(resource("/keys/{key}", "DELETE").route(web::delete().to(keys::revoke)))
        .default_service(web::to(not_found));
    config
        .service(resource("/healthz", "GET, HEAD").route(read().to(health::alive)))
        .service(resource("/readyz", "GET, HEAD").route(read().to(health::ready)))
        .service(resource("/metrics", "GET, HEAD").route(read().to(health::metrics)))
        .service(v1)
        .default_service(web::to(not_found));
}

fn camera_routes(config: &mut web::ServiceConfig) {
    config
        .service(resource("/organizations/{org}/cameras", "GET, HEAD").route(read().to(cameras::list)))
        .service(
            resource("/organizations/{org}/cameras/{camera}", "GET, HEAD, PUT, DELETE")
                .route(read().to(cameras::get))
                .route(web::put().to(cameras::register))
                .route(web::delete().to(cameras::remove)),
        )
        .service(
            resource("/organizations/{org}/cameras/{camera}/unlimited/{license}", "PUT, DELETE")
                .route(web::put().to(cameras::bind))
                .route(web::delete().to(cameras::unbind)),
        );
}

fn reservation_routes(config: &mut web::ServiceConfig) {
    let debits = resource("/organizations/{org}/reservations/{reservation}/debits", "POST");
    config
        .service(
            resource("/organizations/{org}/reservations", "GET, HEAD, POST")
                .route(read().to(reservations::list))
                .route(web::post().to(reservations::reserve)),
        )
        .service(
            resource("/organizations/{org}/reservations/{reservation}", "GET, HEAD, DELETE")
                .route(read().to(reservations::get))
                .route(web::delete().to(reservations::release)),
        )
        .service(debits.route(web::post().to(debits::debit)));
}

/// A path, and the methods that it answers with when another one is used.
fn resource(path: &str, allow: &'static str) -> Resource {
    let refuse = move || async move { Err::<HttpResponse, _>(Problem::method_not_allowed(allow)) };
    web::resource(path).default_service(web::to(refuse))
}

/// A route that reads: HEAD is answered as GET is, without the body.
fn read() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

async fn not_found() -> Result<HttpResponse, Problem> {
    Err(Problem::not_found())
}
