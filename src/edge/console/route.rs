//! What the console answers, as data: each route with who may call it and what it changes.
//!
//! The router is made from [`all`], and the module `visit` holds every request against its row before a handler sees it. So a test that
//! walks over the rows meets everything that there is.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, Resource, Route as Handled, guard, web};

use crate::edge::http::Problem;
use crate::edge::http::route::Right;

use super::visit::{self, Visit};
use super::{
    alerts, assets, audit, cameras, events, home, keys, licenses, live, operator, rates, sign_in, summary,
    transfers, webhooks,
};

/// Where the console begins.
pub const ROOT: &str = "/console";

/// The answer of a handler on its way.
pub(super) type Answered = Pin<Box<dyn Future<Output = Result<HttpResponse, Problem>>>>;

/// One method of one path.
pub struct Route {
    /// `GET`, or `POST` for what changes something.
    pub method: Method,
    /// The path, with its variable segments in braces.
    pub path: &'static str,
    /// What a visitor needs.
    pub right: Right,
    /// The act that it carries out, by the code under which it is recorded; none for a route that administers nothing.
    pub act: Option<&'static str>,
    pub(super) handler: Handler,
}

/// What answers a route.
#[derive(Clone, Copy)]
pub(super) enum Handler {
    /// A page or a form of somebody who is signed in.
    Visitor(fn(Visit) -> Answered),
    /// What is for everybody.
    Anybody(fn() -> Handled),
}

/// A page.
pub(super) const fn page(path: &'static str, right: Right, handler: fn(Visit) -> Answered) -> Route {
    Route { method: Method::GET, path, right, act: None, handler: Handler::Visitor(handler) }
}

/// A form.
pub(super) const fn form(
    path: &'static str,
    right: Right,
    act: Option<&'static str>,
    handler: fn(Visit) -> Answered,
) -> Route {
    Route { method: Method::POST, path, right, act, handler: Handler::Visitor(handler) }
}

/// All routes.
pub fn all() -> impl Iterator<Item = &'static Route> {
    let groups: [&'static [Route]; 15] = [
        assets::ROUTES,
        sign_in::ROUTES,
        home::ROUTES,
        summary::ROUTES,
        live::ROUTES,
        events::ROUTES,
        cameras::ROUTES,
        rates::ROUTES,
        alerts::ROUTES,
        webhooks::ROUTES,
        keys::ROUTES,
        audit::ROUTES,
        operator::ROUTES,
        licenses::ROUTES,
        transfers::ROUTES,
    ];
    groups.into_iter().flatten()
}

/// The paths of all routes, ready to be registered.
pub(super) fn resources() -> Vec<Resource> {
    let mut paths: Vec<&'static str> = all().map(|route| route.path).collect();
    paths.sort_unstable();
    paths.dedup();
    paths.into_iter().map(resource).collect()
}

fn resource(path: &'static str) -> Resource {
    let mut resource = web::resource(path);
    for route in all().filter(|route| route.path == path) {
        let handled = match route.handler {
            Handler::Anybody(handler) => handler(),
            Handler::Visitor(_) => web::to(move |request: HttpRequest, payload: web::Payload| {
                visit::serve(route, request, payload)
            }),
        };
        resource = resource.route(if route.method == Method::GET {
            handled.guard(guard::Any(guard::Get()).or(guard::Head()))
        } else {
            handled.method(route.method.clone())
        });
    }
    let allow = all().filter(|route| route.path == path).map(|route| route.method.as_str());
    let allow =
        allow.map(|name| if name == "GET" { "GET, HEAD" } else { name }).collect::<Vec<_>>().join(", ");
    resource.default_service(web::to(move || {
        std::future::ready(Err::<HttpResponse, _>(Problem::method_not_allowed(&allow)))
    }))
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({:?})", self.method, self.path, self.right)
    }
}
