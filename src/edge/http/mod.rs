//! The HTTP edge: JSON under `/v1`, health and metrics beside it.
//!
//! Every refusal is a problem document with a stable code; every bound is declared and reported. No handler under `/v1` runs
//! without a known caller, and none decides what a caller may do: the meter does. Deliberately absent: TLS, which
//! a proxy in front ends, and any state of its own beyond what [`State`] holds.

mod auth;
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
mod scalar;
mod state;
mod time_text;
mod transfers;
mod unread;

use actix_web::middleware::from_fn;
use actix_web::{HttpResponse, Resource, web};

pub use listener::Listener;
pub use state::{Limits, RenderMetrics, State};

use problem::Problem;

/// All routes. They expect `web::Data<State>` in the application's data.
fn routes(config: &mut web::ServiceConfig) {
    let licenses = resource("/organizations/{org}/licenses", "GET, POST");
    let license = resource("/organizations/{org}/licenses/{license}", "DELETE");
    let transfer = resource("/transfers/{transfer}", "GET");
    let v1 = web::scope("/v1")
        .wrap(from_fn(auth::guard))
        .service(resource("/organizations/{org}/debits", "POST").route(web::post().to(debits::debit)))
        .service(
            resource("/organizations", "GET, POST")
                .route(web::get().to(organizations::list))
                .route(web::post().to(organizations::create)),
        )
        .service(resource("/organizations/{org}/summary", "GET").route(web::get().to(organizations::summary)))
        .configure(camera_routes)
        .service(licenses.route(web::get().to(licenses::list)).route(web::post().to(licenses::add)))
        .service(license.route(web::delete().to(licenses::remove)))
        .service(resource("/transfers", "POST").route(web::post().to(transfers::begin)))
        .service(transfer.route(web::get().to(transfers::get)))
        .service(
            resource("/keys", "GET, POST").route(web::get().to(keys::list)).route(web::post().to(keys::make)),
        )
        .service(resource("/keys/{key}", "DELETE").route(web::delete().to(keys::revoke)))
        .default_service(web::to(not_found));
    config
        .service(resource("/healthz", "GET").route(web::get().to(health::alive)))
        .service(resource("/readyz", "GET").route(web::get().to(health::ready)))
        .service(resource("/metrics", "GET").route(web::get().to(health::metrics)))
        .service(v1)
        .default_service(web::to(not_found));
}

fn camera_routes(config: &mut web::ServiceConfig) {
    config
        .service(resource("/organizations/{org}/cameras", "GET").route(web::get().to(cameras::list)))
        .service(
            resource("/organizations/{org}/cameras/{camera}", "GET, PUT, DELETE")
                .route(web::get().to(cameras::get))
                .route(web::put().to(cameras::register))
                .route(web::delete().to(cameras::remove)),
        )
        .service(
            resource("/organizations/{org}/cameras/{camera}/unlimited/{license}", "PUT, DELETE")
                .route(web::put().to(cameras::bind))
                .route(web::delete().to(cameras::unbind)),
        );
}

/// A path, and the methods that it answers with when another one is used.
fn resource(path: &str, allow: &'static str) -> Resource {
    let refuse = move || async move { Err::<HttpResponse, _>(Problem::method_not_allowed(allow)) };
    web::resource(path).default_service(web::to(refuse))
}

async fn not_found() -> Result<HttpResponse, Problem> {
    Err(Problem::not_found())
}
