//! Who calls: nothing under `/v1` is reached without an API key that is known and not revoked, or a token that counts.
//!
//! What the caller may do is decided in [`crate::meter::access`], not here.

use std::future::{Ready, ready};
use std::str::FromStr;

use actix_web::body::MessageBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::AUTHORIZATION;
use actix_web::middleware::Next;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, ResponseError as _, web};

use crate::meter::{ActorId, Edge, Invalid, Meter, OrgId, Organization, Origin, Principal};

use super::body::Kept;
use super::problem::Problem;
use super::state::State;
use super::{audit, carry};

/// Who calls, and the meter that it calls. Only [`guard`] makes one.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) meter: Meter,
    pub(super) principal: Principal,
}

/// The organization that the path names, with the caller's rights in it. It stands before what reads the body: where another node owns it, the body is left
/// for [`carry::on`].
#[derive(Debug)]
pub(super) struct InOrganization(pub(super) Organization);

/// Lets a request pass when the meter is open and the caller is known.
pub(super) async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    match identify(request.request()) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            let response = next.call(request).await?;
            let problem = response.response().error().and_then(|error| error.as_error::<Problem>());
            let Some(problem) = problem else { return Ok(response.map_into_left_body()) };
            if let Some(partition) = problem.elsewhere()
                && let Some((answer, _)) = carry::on(response.request(), partition, None).await
            {
                return Ok(response.into_response(answer).map_into_right_body());
            }
            audit::note(response.request(), problem);
            Ok(response.map_into_left_body())
        }
        Err(problem) => Ok(request.into_response(problem.error_response()).map_into_right_body()),
    }
}

/// What the path names at the place `name`.
pub(super) fn path_id<T: FromStr<Err = Invalid>>(request: &HttpRequest, name: &str) -> Result<T, Problem> {
    Ok(request.match_info().get(name).unwrap_or_default().parse()?)
}

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::of(request))
    }
}

impl Caller {
    /// The caller of a request that passed [`guard`].
    ///
    /// # Errors
    /// When it did not.
    pub(super) fn of(request: &HttpRequest) -> Result<Self, Problem> {
        request.extensions().get::<Self>().cloned().ok_or_else(Problem::unauthenticated)
    }
}

/// Under which id acts of a request are recorded that passed [`guard`].
///
/// # Errors
/// When it did not pass.
pub(super) fn bearer_id(request: &HttpRequest) -> Result<ActorId, Problem> {
    let extensions = request.extensions();
    extensions.get::<Caller>().map(|caller| caller.principal.actor()).ok_or_else(Problem::unauthenticated)
}

impl FromRequest for InOrganization {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let organization = organization(request);
        if organization.as_ref().is_err_and(|problem| problem.elsewhere().is_some()) {
            request.extensions_mut().insert(Kept::Unread(payload.take()));
        }
        ready(organization)
    }
}

fn organization(request: &HttpRequest) -> Result<InOrganization, Problem> {
    let extensions = request.extensions();
    let caller = extensions.get::<Caller>().ok_or_else(Problem::unauthenticated)?;
    let id: OrgId = path_id(request, "org")?;
    Ok(InOrganization(caller.meter.organization(&caller.principal, &id)?))
}

fn identify(request: &HttpRequest) -> Result<Caller, Problem> {
    let state = request.app_data::<web::Data<State>>().expect("the routes are set up with their state");
    let meter = state.meter().ok_or_else(Problem::recovering)?;
    let peer = request.peer_addr().map(|peer| peer.ip());
    let known = state.bearers.identify(meter, bearer(request), peer)?;
    let meter = meter.seen_from(Origin { edge: Edge::Http, peer });
    Ok(Caller { meter, principal: known.principal })
}

/// The key or token that the request bears. Of several, none is taken.
fn bearer(request: &HttpRequest) -> Option<&str> {
    let mut headers = request.headers().get_all(AUTHORIZATION);
    let (Some(header), None) = (headers.next(), headers.next()) else { return None };
    let (scheme, key) = header.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}
