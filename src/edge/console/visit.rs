//! A request of somebody who is signed in, held against the row of its route before a handler sees it.
//!
//! In this order: the session lasts and its key is not revoked; the key has the right that the row asks for; a form comes from our own
//! origin with the token of its session. What the meter then does it judges once more by itself.

use std::collections::BTreeSet;
use std::str::FromStr;

use actix_web::http::Method;
use actix_web::http::header::COOKIE;
use actix_web::{HttpRequest, HttpResponse, web};

use crate::domain::limits::FORM_BYTES_MAX;
use crate::edge::bearers::Stranger;
use crate::edge::http::route::Right;
use crate::edge::http::{self, Arrival, Problem, State};
use crate::edge::token::TokenError;
use crate::meter::{
    Action, Deed, Edge, Invalid, Meter, OrgId, Organization, Origin, Principal, Refusal, Summary,
};
use crate::telemetry::clock;

use super::form::Form;
use super::route::{Handler, Route};
use super::session::{Notice, Signed};
use super::{Console, answer, sign_in};

/// The header of a request that a page makes by itself; it does not keep the session alive.
const BY_ITSELF: &str = "weir-refresh";
/// Refusals that come before the meter is asked to carry anything out.
const REFUSALS: [&str; 5] = ["forbidden", "unsigned_key", "malformed_key", "unknown_issuer", "bad_signature"];

/// Somebody who is signed in.
#[derive(Clone)]
pub(super) struct Visitor {
    pub(super) console: web::Data<Console>,
    pub(super) state: web::Data<State>,
    pub(super) meter: Meter,
    pub(super) principal: Principal,
    pub(super) session: Signed,
    /// Whether somebody made the request, and not a page by itself.
    pub(super) is_by_hand: bool,
}

/// A request of somebody who may make it.
pub(super) struct Visit {
    pub(super) visitor: Visitor,
    pub(super) request: HttpRequest,
    /// The fields of the form, or of the query.
    pub(super) form: Form,
    route: &'static Route,
}

/// Why nobody is known.
enum Absent {
    Recovering,
    SignedOut,
}

/// Answers a request by its route.
pub(super) async fn serve(
    route: &'static Route,
    request: HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    let visitor = match Visitor::of(&request) {
        Ok(visitor) => visitor,
        Err(Absent::Recovering) => return answer::problem_alone(&Problem::recovering()),
        Err(Absent::SignedOut) => return sign_in::send_there(&request),
    };
    let problem = match admit(route, &visitor, &request, payload).await {
        Ok(answer) => return answer,
        Err(problem) => problem,
    };
    if let Some(partition) = problem.elsewhere()
        && let Some(answer) = visitor.carry_on(&request, partition).await
    {
        return answer;
    }
    answer::problem(&visitor, &request, &problem)
}

async fn admit(
    route: &'static Route,
    visitor: &Visitor,
    request: &HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let Handler::Visitor(handler) = route.handler else { return Err(Problem::not_found()) };
    if let Err(problem) = check(route.right, visitor, request) {
        visitor.note(route, request, &problem);
        return Err(problem);
    }
    let form = if route.method == Method::POST {
        let key = visitor.session.key.clone();
        let form = Form::read(&visitor.state, FORM_BYTES_MAX, request, (key, payload)).await?;
        Some(form)
            .filter(|form| visitor.session.has_token(form.text("csrf")))
            .ok_or_else(Problem::foreign_form)?
    } else {
        Form::parse(request.query_string())?
    };
    let visit = Visit { visitor: visitor.clone(), request: request.clone(), form, route };
    let answered = handler(visit).await;
    // The meter notes by itself whom it refused a transfer, because it knows both organizations.
    if let Some(problem) = answered.as_ref().err().filter(|_| route.act != Some("begin_transfer")) {
        visitor.note(route, request, problem);
    }
    answered
}

/// Whether the visitor has the right that a route asks for.
fn check(right: Right, visitor: &Visitor, request: &HttpRequest) -> Result<(), Problem> {
    let organization = || path_id::<OrgId>(request, "org");
    let has = match right {
        Right::None | Right::AnyKey | Right::ReadEither => true,
        Right::CreateOrganization => visitor.principal.may(Action::CreateOrganization),
        Right::ManageApiKeys => visitor.principal.may(Action::ManageApiKeys),
        Right::Administer | Right::AdministerBoth => {
            visitor.principal.may(Action::Administer(&organization()?))
        }
        Right::Read => visitor.principal.may(Action::Read(&organization()?)),
        Right::Debit | Right::DebitNamed | Right::DebitOrAdminister => {
            visitor.principal.may(Action::Debit(&organization()?))
        }
    };
    if has { Ok(()) } else { Err(Refusal::Forbidden.into()) }
}

/// Whom a session stands for now.
///
/// # Errors
/// When its key was revoked, or its token does not count any more.
pub(super) fn principal(state: &State, meter: &Meter, session: &Signed) -> Result<Principal, Stranger> {
    match &session.token {
        None => meter.principal_of_key(&session.key).ok_or(Stranger::Unknown),
        Some(token) => Ok(state.bearers.look_at(meter, token)?.principal),
    }
}

/// What the path names at the place `name`.
///
/// # Errors
/// When it is no such id.
pub(super) fn path_id<T: FromStr<Err = Invalid>>(request: &HttpRequest, name: &str) -> Result<T, Problem> {
    Ok(request.match_info().get(name).unwrap_or_default().parse()?)
}

impl Visitor {
    fn of(request: &HttpRequest) -> Result<Self, Absent> {
        let state = data::<State>(request);
        let console = data::<Console>(request);
        let meter = state.meter().ok_or(Absent::Recovering)?;
        let is_by_hand = !request.headers().contains_key(BY_ITSELF);
        let session = match Arrival::of(request) {
            Some(arrival) => Signed::of(&arrival),
            None => session_cookie(request)
                .and_then(|cookie| console.sessions.find(cookie, clock::start(), is_by_hand)),
        };
        let session = session.ok_or(Absent::SignedOut)?;
        let principal = match principal(&state, meter, &session) {
            Ok(principal) => principal,
            // The keys of its issuer are on their way: the session lasts.
            Err(Stranger::Token(TokenError::KeysPending)) => return Err(Absent::Recovering),
            Err(_) => {
                console.sessions.end(&session);
                return Err(Absent::SignedOut);
            }
        };
        let peer = request.peer_addr().map(|peer| peer.ip());
        let meter = meter.seen_from(Origin { edge: Edge::Console, peer });
        Ok(Self { meter, state, console, principal, session, is_by_hand })
    }

    /// Whether it is signed in at all.
    pub(super) fn is_there(request: &HttpRequest) -> bool {
        Self::of(request).is_ok()
    }

    /// Whether it may do this.
    pub(super) fn may(&self, action: Action<'_>) -> bool {
        self.principal.may(action)
    }

    /// The organizations that its key or token names, each once.
    pub(super) fn organizations(&self) -> BTreeSet<&OrgId> {
        match &self.principal {
            Principal::Host => BTreeSet::new(),
            Principal::Key { organizations, .. } => organizations.iter().collect(),
            Principal::Token(bearer) => {
                bearer.roles.iter().filter_map(|given| given.organization.as_ref()).collect()
            }
        }
    }

    /// Has the next page tell this.
    pub(super) fn leave(&self, notice: Notice) {
        self.console.sessions.leave(&self.session, notice);
    }

    /// The answer of the node that owns what the request is for; none where that has to be told as a problem.
    async fn carry_on(&self, request: &HttpRequest, partition: u16) -> Option<HttpResponse> {
        let sessions = &self.console.sessions;
        let notice = if self.is_by_hand { sessions.take_notice(&self.session) } else { None };
        let carried = http::carry_on(request, partition, Some(self.session.guest(notice.clone()))).await;
        let (answer, left) = match carried {
            Some((answer, left)) => (Some(answer), left.map(Notice::from)),
            None => (None, notice),
        };
        left.into_iter().for_each(|notice| self.leave(notice));
        answer
    }

    /// Records that an act was refused before the meter was asked to carry it out.
    fn note(&self, route: &Route, request: &HttpRequest, problem: &Problem) {
        let Some(act) = route.act.filter(|_| REFUSALS.contains(&problem.code())) else { return };
        let named = request.match_info().iter().filter(|(name, _)| *name != "org");
        let target = named.map(|(_, value)| value).collect::<Vec<_>>().join("/");
        let organizations = path_id(request, "org").into_iter().collect();
        let deed = Deed { act, organizations, target: Some(target).filter(|target| !target.is_empty()) };
        self.meter.note_refused(&self.principal, deed, problem.code());
    }
}

impl Visit {
    /// Records a refusal that the page tells by itself.
    pub(super) fn note(&self, problem: &Problem) {
        self.visitor.note(self.route, &self.request, problem);
    }

    /// The organization that the path names, with the rights of the visitor, and its summary.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub(super) async fn organization(&self) -> Result<(Organization, Summary), Problem> {
        let id: OrgId = path_id(&self.request, "org")?;
        let organization = self.visitor.meter.organization(&self.visitor.principal, &id)?;
        let summary = organization.summary().await?;
        Ok((organization, summary))
    }
}

/// The data of the application.
pub(super) fn data<T: 'static>(request: &HttpRequest) -> web::Data<T> {
    request.app_data::<web::Data<T>>().cloned().expect("the routes are set up with their data")
}

/// Whether the browser's connection is encrypted, as far as this server or a proxy before it says.
pub(super) fn is_encrypted(request: &HttpRequest) -> bool {
    let told = request.headers().get("x-forwarded-proto").and_then(|value| value.to_str().ok());
    data::<Console>(request).is_encrypted || told == Some("https")
}

/// The name of the cookie. Over an encrypted connection a browser takes this one from nobody but this very host.
pub(super) fn cookie_name(request: &HttpRequest) -> &'static str {
    if is_encrypted(request) { "__Host-weir-session" } else { "weir-session" }
}

/// The session that a request bears, if it lasts.
pub(super) fn session(request: &HttpRequest) -> Option<Signed> {
    data::<Console>(request).sessions.find(session_cookie(request)?, clock::start(), false)
}

fn session_cookie(request: &HttpRequest) -> Option<&str> {
    let name = cookie_name(request);
    let headers = request.headers().get_all(COOKIE).filter_map(|header| header.to_str().ok());
    let mut pairs =
        headers.flat_map(|header| header.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(known, _)| *known == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;
    use crate::config::{Config, TlsFiles};

    #[test]
    fn over_an_encrypted_connection_the_cookie_is_bound_to_this_very_host() {
        let plain = Config::new("unused");
        let files = TlsFiles { certificate: "c".into(), key: "k".into(), client_ca: None };
        let encrypted = Config { tls: Some(files), ..plain.clone() };
        for (config, told, name) in [
            (&plain, "http", "weir-session"),
            (&plain, "https", "__Host-weir-session"),
            (&encrypted, "http", "__Host-weir-session"),
        ] {
            let console = web::Data::new(Console::new(config));
            let request = TestRequest::default().app_data(console).insert_header(("x-forwarded-proto", told));
            let request = request.insert_header((COOKIE, format!("a=b; {name}=found; weir-zone=UTC")));
            let request = request.to_http_request();
            assert_eq!((cookie_name(&request), session_cookie(&request)), (name, Some("found")));
        }
    }
}
