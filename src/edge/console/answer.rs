//! What pages go out with: what a browser may do with them, and that nobody keeps them.

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};
use askama::Template;

use crate::edge::http::Problem;

use super::shell::Shell;
use super::visit::Visitor;

/// Nothing but our own files, forms to ourselves alone, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// What every page goes out with. Were no referrer told at all, browsers would not tell the origin of a form either.
const HEADERS: [(&str, &str); 7] = [
    ("content-security-policy", POLICY),
    ("cache-control", "no-store"),
    ("referrer-policy", "same-origin"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];
const HTML: &str = "text/html; charset=utf-8";

/// A page that tells what went wrong.
#[derive(Template)]
#[template(path = "console/problem.html")]
struct ProblemPage {
    shell: Shell,
    heading: &'static str,
    code: &'static str,
    detail: String,
    advice: &'static str,
    is_passing: bool,
}

/// A page, found.
pub(super) fn page(page: &impl Template) -> HttpResponse {
    page_with(StatusCode::OK, page)
}

/// A page with another status.
pub(super) fn page_with(status: StatusCode, page: &impl Template) -> HttpResponse {
    let mut answer = HttpResponse::build(status).body(rendered(page));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(HTML));
    guard(answer.headers_mut());
    answer
}

/// Sends the browser to another of our pages, which it gets by `GET`.
pub(super) fn see_other(path: &str) -> HttpResponse {
    let mut answer = HttpResponse::SeeOther().insert_header((LOCATION, path)).finish();
    guard(answer.headers_mut());
    answer
}

/// The page of a problem of somebody who is signed in.
pub(super) fn problem(visitor: &Visitor, request: &HttpRequest, problem: &Problem) -> HttpResponse {
    of_problem(Shell::of(visitor, request, heading(problem)), problem)
}

/// The page of a problem of nobody in particular.
pub(super) fn problem_alone(problem: &Problem) -> HttpResponse {
    of_problem(Shell::alone(heading(problem)), problem)
}

/// Sets what every answer goes out with.
pub(super) fn guard(headers: &mut HeaderMap) {
    for (name, value) in HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
}

fn of_problem(shell: Shell, problem: &Problem) -> HttpResponse {
    let detail = problem.detail().to_owned();
    let is_passing = matches!(problem.status(), 429 | 503);
    let page = ProblemPage {
        shell,
        heading: heading(problem),
        code: problem.code(),
        detail,
        advice: advice(problem),
        is_passing,
    };
    // The headers of the problem stay: how long to wait, what is allowed.
    let mut answer = problem.error_response().set_body(rendered(&page)).map_into_boxed_body();
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(HTML));
    guard(answer.headers_mut());
    answer
}

fn heading(problem: &Problem) -> &'static str {
    match (problem.code(), problem.status()) {
        ("recovering", _) => "The server is starting",
        ("forbidden", _) => "Your key does not allow this",
        ("foreign_form", _) => "This form has expired",
        ("alerts_are_off" | "reports_are_off", _) => "This is switched off on this server",
        (_, 404) => "There is nothing here",
        ("busy" | "in_transfer", _) | (_, 503) => "Not available right now",
        (_, 429) => "Too many attempts",
        (_, 500..) => "Something went wrong",
        _ => "This was refused",
    }
}

/// What to do next, where the detail does not say.
fn advice(problem: &Problem) -> &'static str {
    match (problem.code(), problem.status()) {
        ("forbidden", _) => "Sign in with a key that may, or ask whoever keeps the keys for one.",
        ("precondition_failed", _) => {
            "Somebody changed it since this page was shown. Go back, reload the page, and repeat it."
        }
        (_, 400 | 422) => "Go back and correct it; nothing was changed.",
        _ => "",
    }
}

fn rendered(page: &impl Template) -> String {
    page.render().expect("a page is text, and text is always written")
}
