//! What the server answers, as data: each route with who may call it and what it is for.
//!
//! The router, the `Allow` headers and the description of the interface are made from [`all`], so that they cannot disagree. A
//! module that answers requests lists its routes beside its handlers. Deliberately absent: the decision who may call. The
//! meter takes it; [`Right`] says what it takes, and a test holds one against the other.

use std::fmt;

use actix_web::http::Method;
use actix_web::{HttpResponse, Resource, guard, web};

use utoipa::openapi::path::Parameter;

use crate::meter::{Action, ActorId, OrgId, Principal, Role};

use super::describe::{Answer, Body};
use super::problem::Problem;
use super::{
    alerts, audit, cameras, debits, events, health, keys, licenses, manual, openapi, organizations, rates,
    reports, reservations, transfers, webhooks,
};

/// What stands before the path of every route that asks for an API key: our own, and the one that clients of OpenMeter know.
pub(super) const SCOPES: [&str; 2] = ["/v1", "/api/v1"];

/// One method of one path.
pub struct Route {
    /// The method. `HEAD` is answered wherever `GET` is.
    pub method: Method,
    /// The path, with its variable segments in braces.
    pub path: &'static str,
    /// What a caller needs.
    pub right: Right,
    /// What it does, in a few words.
    pub summary: &'static str,
    /// What its query and its headers may hold.
    pub(super) parameters: fn() -> Vec<Parameter>,
    /// The body that it reads, if it reads one.
    pub(super) body: Option<Body>,
    /// What it answers when all is well.
    pub(super) answers: &'static [Answer],
    /// How it may refuse, beyond what every route of its kind does.
    pub(super) problems: fn() -> Vec<Problem>,
    pub(super) handler: fn() -> actix_web::Route,
}

/// What a caller needs to call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Nothing, not even an API key.
    None,
    /// An API key of any role; what it may not know of is left out of the answer.
    AnyKey,
    /// To create organizations.
    CreateOrganization,
    /// To make, list and revoke API keys.
    ManageApiKeys,
    /// To administer the organization of the path.
    Administer,
    /// To administer both organizations that the body names.
    AdministerBoth,
    /// To read the organization of the path.
    Read,
    /// To read an organization of what the path names; for everybody else there is no such thing.
    ReadEither,
    /// To send debits for the organization of the path.
    Debit,
    /// To send debits for the organization that each event names.
    DebitNamed,
    /// To send debits for the organization of the path, or to administer it.
    DebitOrAdminister,
}

/// All routes.
pub fn all() -> impl Iterator<Item = &'static Route> {
    let groups: [&'static [Route]; 16] = [
        // Paths are tried one after the other.
        debits::ROUTES,
        events::ROUTES,
        organizations::ROUTES,
        cameras::ROUTES,
        licenses::ROUTES,
        rates::ROUTES,
        alerts::ROUTES,
        webhooks::ROUTES,
        reports::ROUTES,
        reservations::ROUTES,
        transfers::ROUTES,
        keys::ROUTES,
        audit::ROUTES,
        health::ROUTES,
        openapi::ROUTES,
        manual::ROUTES,
    ];
    groups.into_iter().flatten()
}

/// The paths of all routes in a scope, or of those that ask for no API key, ready to be registered.
pub(super) fn resources(scope: Option<&str>) -> Vec<Resource> {
    let is_here = |route: &&Route| match scope {
        Some(scope) => route.path.strip_prefix(scope).is_some_and(|rest| rest.starts_with('/')),
        None => route.right == Right::None,
    };
    let mut paths: Vec<Vec<&Route>> = Vec::new();
    for route in all().filter(is_here) {
        match paths.iter_mut().find(|path| path[0].path == route.path) {
            Some(path) => path.push(route),
            None => paths.push(vec![route]),
        }
    }
    paths.iter().map(|path| resource(scope.unwrap_or_default(), path)).collect()
}

/// One path; a method that it does not have is told those that it has.
fn resource(scope: &str, routes: &[&Route]) -> Resource {
    let allow = allow(routes);
    let refuse = move || std::future::ready(Err::<HttpResponse, _>(Problem::method_not_allowed(&allow)));
    let path = routes[0].path;
    let mut resource = web::resource(path.strip_prefix(scope).unwrap_or(path));
    for route in routes {
        let handler = (route.handler)();
        resource = resource.route(if route.method == Method::GET {
            handler.guard(guard::Any(guard::Get()).or(guard::Head()))
        } else {
            handler.method(route.method.clone())
        });
    }
    resource.default_service(web::to(refuse))
}

fn allow(routes: &[&Route]) -> String {
    let name = |route: &&Route| {
        if route.method == Method::GET { "GET, HEAD".into() } else { route.method.to_string() }
    };
    routes.iter().map(name).collect::<Vec<_>>().join(", ")
}

impl Right {
    /// Whether a key of this role has it, for organizations that the key names.
    #[must_use]
    pub fn is_of(self, role: Role) -> bool {
        let own = OrgId::new("own").expect("a valid id");
        let id = ActorId::new("key").expect("a valid id");
        let bearer = Principal::Key { id, role, organizations: vec![own.clone()] };
        match self {
            Self::None | Self::AnyKey => true,
            Self::CreateOrganization => bearer.may(Action::CreateOrganization),
            Self::ManageApiKeys => bearer.may(Action::ManageApiKeys),
            Self::Administer | Self::AdministerBoth => bearer.may(Action::Administer(&own)),
            Self::Read | Self::ReadEither => bearer.may(Action::Read(&own)),
            Self::Debit | Self::DebitNamed => bearer.may(Action::Debit(&own)),
            Self::DebitOrAdminister => {
                bearer.may(Action::Debit(&own)) || bearer.may(Action::Administer(&own))
            }
        }
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({:?})", self.method, self.path, self.right)
    }
}
