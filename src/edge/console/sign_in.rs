//! Signing in with an API key or a token, and out.
//!
//! A key that is not known is counted like one that is tried over HTTP. The cookie holds a random id and nothing else; script never sees it,
//! and no other site can have it sent. Nobody is sent anywhere but to a page of ours.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{ACCEPT, SET_COOKIE};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use crate::edge::bearers::Stranger;
use crate::edge::http::route::Right;
use crate::edge::http::{Problem, State};
use crate::meter::ActorId;
use crate::telemetry::clock;

use super::form::Form;
use super::route::{Handler, ROOT, Route, form};
use super::session::Entrant;
use super::shell::Shell;
use super::visit::{self, Visit, Visitor};
use super::{Console, answer};

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        method: Method::GET,
        path: SIGN_IN,
        right: Right::None,
        act: None,
        handler: Handler::Anybody(|| web::to(show)),
    },
    Route {
        method: Method::POST,
        path: SIGN_IN,
        right: Right::None,
        act: None,
        handler: Handler::Anybody(|| web::to(enter)),
    },
    form("/console/sign-out", Right::AnyKey, None, |visit| Box::pin(leave(visit))),
];

const SIGN_IN: &str = "/console/sign-in";
/// Longest form with a key or a token.
const FORM_BYTES_MAX: u64 = 20 << 10;
/// Longest path that is returned to.
const NEXT_BYTES_MAX: usize = 512;

#[derive(Template)]
#[template(path = "console/sign_in.html")]
struct SignInPage {
    shell: Shell,
    next: String,
    has_ended: bool,
    problem: Option<String>,
    is_open: bool,
}

/// Sends somebody who is not signed in to where he can.
pub(super) fn send_there(request: &HttpRequest) -> HttpResponse {
    let wants_events = |header: &str| header.contains("text/event-stream");
    if request.headers().get(ACCEPT).and_then(|header| header.to_str().ok()).is_some_and(wants_events) {
        let mut ended = HttpResponse::Unauthorized().finish();
        answer::guard(ended.headers_mut());
        return ended;
    }
    let asked = if request.method() == Method::GET { next(request.path()) } else { None };
    match asked.filter(|path| *path != ROOT) {
        Some(path) => answer::see_other(&format!("{SIGN_IN}?next={path}")),
        None => answer::see_other(SIGN_IN),
    }
}

async fn show(request: HttpRequest) -> HttpResponse {
    let asked = Form::parse(request.query_string()).unwrap_or_default();
    let next = next(asked.text("next")).unwrap_or_default();
    if Visitor::is_there(&request) {
        return answer::see_other(if next.is_empty() { ROOT } else { &next });
    }
    page(&request, StatusCode::OK, next, None)
}

async fn enter(request: HttpRequest, payload: web::Payload) -> HttpResponse {
    let (state, console) = (visit::data::<State>(&request), visit::data::<Console>(&request));
    let nobody = ActorId::new("sign-in").expect("a valid id");
    let form = match Form::read(&state, FORM_BYTES_MAX, &request, (nobody, payload)).await {
        Ok(form) => form,
        Err(problem) => return answer::problem_alone(&problem),
    };
    let next = next(form.text("next")).unwrap_or_default();
    let Some(meter) = state.meter() else { return answer::problem_alone(&Problem::recovering()) };
    let peer = request.peer_addr().map(|peer| peer.ip());
    let known = match state.bearers.identify(meter, Some(form.text("key")), peer) {
        Ok(known) => known,
        Err(stranger) => {
            let problem = Problem::from(stranger);
            if problem.status() == 429 {
                return answer::problem_alone(&problem);
            }
            let told = match stranger {
                Stranger::Token(_) => problem.detail(),
                _ => "This API key is not known, or it was revoked.",
            };
            let status = StatusCode::from_u16(problem.status()).unwrap_or(StatusCode::UNAUTHORIZED);
            return page(&request, status, next, Some(told));
        }
    };
    let now = clock::start();
    let token = known.until.map(|until| {
        let left_ms = until.ms().saturating_sub(meter.now().ms());
        (Arc::from(form.text("key")), now + Duration::from_millis(left_ms))
    });
    // Whoever was signed in with this browser is not any more.
    if let Some(old) = visit::session(&request) {
        console.sessions.end(&old);
    }
    let cookie = console.sessions.begin(Entrant { key: known.principal.actor(), token }, now);
    with_cookie(answer::see_other(if next.is_empty() { ROOT } else { &next }), &request, &cookie)
}

async fn leave(visit: Visit) -> Result<HttpResponse, Problem> {
    visit.visitor.console.sessions.end(&visit.visitor.session);
    Ok(with_cookie(answer::see_other(SIGN_IN), &visit.request, ""))
}

fn page(request: &HttpRequest, status: StatusCode, next: String, problem: Option<&str>) -> HttpResponse {
    let is_local = request.peer_addr().is_some_and(|peer| peer.ip().to_canonical().is_loopback());
    let is_open = !is_local && !visit::is_encrypted(request);
    let problem = problem.map(str::to_owned);
    let has_ended = !next.is_empty() && problem.is_none();
    answer::page_with(
        status,
        &SignInPage { shell: Shell::alone("Sign in"), next, has_ended, problem, is_open },
    )
}

/// The same answer with the cookie of a session, or without one where that is empty.
fn with_cookie(mut answer: HttpResponse, request: &HttpRequest, value: &str) -> HttpResponse {
    let name = visit::cookie_name(request);
    let secure = if visit::is_encrypted(request) { "; Secure" } else { "" };
    let ends = if value.is_empty() { "; Max-Age=0" } else { "" };
    let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{ends}");
    answer.headers_mut().insert(SET_COOKIE, cookie.parse().expect("hexadecimal fits a header"));
    answer
}

/// A path of the console that a browser may be sent to: nothing that could be read as another host, another scheme or a header.
fn next(path: &str) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._:".contains(&byte);
    let is_ours = path == ROOT || path.strip_prefix(ROOT).is_some_and(|rest| rest.starts_with('/'));
    let fits = path.len() <= NEXT_BYTES_MAX && path.bytes().all(is_plain) && !path.contains("//");
    let goes_up = path.split('/').any(|step| step == "..");
    (is_ours && fits && !goes_up && !path.starts_with(SIGN_IN)).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_anywhere_but_to_a_page_of_the_console() {
        for ours in
            ["/console", "/console/organizations/north/summary", "/console/organizations/00:1b.c_d-e/cameras"]
        {
            assert_eq!(next(ours).as_deref(), Some(ours));
        }
        for other in [
            "",
            "/",
            "//evil.example",
            "/consolex",
            "/console//evil.example",
            "/console/../docs",
            "https://evil.example/console",
            "/console\\evil",
            "/console/a b",
            "/console/a\r\nSet-Cookie: x",
            "/console?next=x",
            "/console/%2f%2fevil",
            "console",
            "/console/sign-in",
            "/docs",
            "/console@evil.example",
        ] {
            assert_eq!(next(other), None, "{other:?}");
        }
        assert_eq!(next(&format!("/console/{}", "a".repeat(NEXT_BYTES_MAX))), None);
    }
}
