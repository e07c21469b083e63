//! Bodies: bounded in length and in time, and of a kind that the path reads.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use actix_web::web::Bytes;
use actix_web::{FromRequest, HttpRequest, HttpResponse, web};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::problem::Problem;
use super::state::State;

const JSON: &str = "application/json";

/// A body of JSON.
#[derive(Debug)]
pub(super) struct Json<T>(pub(super) T);

/// The query of a URL.
#[derive(Debug)]
pub(super) struct Query<T>(pub(super) T);

/// The media type of a body, without its parameters and in lower case; empty when there is none.
pub(super) fn media_type(headers: &HeaderMap) -> String {
    let header = headers.get(CONTENT_TYPE).and_then(|header| header.to_str().ok()).unwrap_or_default();
    header.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether a body is encoded in a way that has to be undone before it is read.
pub(super) fn is_encoded(headers: &HeaderMap) -> bool {
    let identity =
        |header: &actix_web::http::header::HeaderValue| header.as_bytes().eq_ignore_ascii_case(b"identity");
    headers.get(CONTENT_ENCODING).is_some_and(|header| !identity(header))
}

/// Reads a body to its end and gives it to `then`; its room is free again afterwards.
///
/// # Errors
/// When the body is too long, too slow, broken off, or when too much of other bodies is held already.
pub(super) async fn with_body<T, F: Future<Output = Result<T, Problem>>>(
    state: &State,
    headers: &HeaderMap,
    payload: web::Payload,
    then: impl FnOnce(Bytes) -> F,
) -> Result<T, Problem> {
    let most = state.limits.body_bytes_max;
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > most) {
        return Err(Problem::body_too_large(most));
    }
    let _room = state.take_room(announced.unwrap_or(most))?;
    let read = payload.to_bytes_limited(usize::try_from(most).unwrap_or(usize::MAX));
    let timeout_ms = state.limits.request_timeout_ms;
    let read = actix_rt::time::timeout(Duration::from_millis(timeout_ms), read).await;
    let read = read.map_err(|_| Problem::request_timeout(timeout_ms))?;
    let body = read.map_err(|_| Problem::body_too_large(most))?.map_err(Problem::malformed_body)?;
    then(body).await
}

/// An answer of JSON.
pub(super) fn created<T: Serialize>(body: T) -> HttpResponse {
    HttpResponse::Created().json(body)
}

/// An answer of JSON.
pub(super) fn ok<T: Serialize>(body: T) -> HttpResponse {
    HttpResponse::Ok().json(body)
}

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), web::Payload::from_request(request, payload));
        Box::pin(async move {
            if media_type(request.headers()) != JSON || is_encoded(request.headers()) {
                return Err(Problem::unsupported_media_type(JSON));
            }
            let state =
                request.app_data::<web::Data<State>>().expect("the routes are set up with their state");
            let payload = payload.await.map_err(Problem::malformed_body)?;
            let parse = |body: Bytes| async move {
                serde_json::from_slice(&body).map(Self).map_err(|e| unreadable(&e))
            };
            with_body(state, request.headers(), payload, parse).await
        })
    }
}

impl<T: DeserializeOwned> FromRequest for Query<T> {
    type Error = Problem;
    type Future = std::future::Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let query = web::Query::<T>::from_query(request.query_string());
        std::future::ready(match query {
            Ok(query) => Ok(Self(query.into_inner())),
            Err(error) => Err(Problem::invalid(format!("the query of the url: {error}"))),
        })
    }
}

/// JSON that holds the wrong values is invalid; what is no JSON at all is malformed.
fn unreadable(error: &serde_json::Error) -> Problem {
    match error.classify() {
        Category::Data => Problem::invalid(format!("the body: {error}")),
        Category::Io | Category::Syntax | Category::Eof => Problem::malformed_body(error),
    }
}
