//! Bodies: bounded in length and in time, and of a kind that the path reads.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use actix_web::web::{Bytes, BytesMut};
use actix_web::{FromRequest, HttpRequest, HttpResponse, web};
use futures_core::Stream as _;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;

use super::problem::Problem;
use super::state::{Room, State};

const JSON: &str = "application/json";
/// Longest body of a single object, in bytes; the longest is a license key of 1,000 licenses.
const OBJECT_BYTES_MAX: u64 = 256 << 10;

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

/// Reads a body of at most `most` bytes to its end and gives it to `then`; its room is free again afterwards.
///
/// # Errors
/// When the body is too long, too slow, broken off, or when too much of other bodies is held already.
pub(super) async fn with_body<T, F: Future<Output = Result<T, Problem>>>(
    state: &State,
    most: u64,
    headers: &HeaderMap,
    payload: web::Payload,
    then: impl FnOnce(Bytes) -> F,
) -> Result<T, Problem> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > most) {
        return Err(Problem::body_too_large(most));
    }
    let mut room = state.take_room();
    let timeout_ms = state.limits.request_timeout_ms;
    let read =
        actix_rt::time::timeout(Duration::from_millis(timeout_ms), collect(payload, most, &mut room)).await;
    let body = read.map_err(|_| Problem::request_timeout(timeout_ms))??;
    then(body).await
}

/// Reads a body to its end. Room is taken for what arrives, not for what is announced: whoever announces much and sends
/// little takes nothing from the others.
async fn collect(mut payload: web::Payload, most: u64, room: &mut Room<'_>) -> Result<Bytes, Problem> {
    let (mut whole, mut parts) = (Bytes::new(), BytesMut::new());
    while let Some(part) = std::future::poll_fn(|cx| Pin::new(&mut payload).poll_next(cx)).await {
        let part = part.map_err(|_| Problem::malformed_body("it ended before its announced length"))?;
        room.grow(u64::try_from(part.len()).unwrap_or(u64::MAX))?;
        if room.bytes() > most {
            return Err(Problem::body_too_large(most));
        }
        if whole.is_empty() && parts.is_empty() {
            whole = part;
        } else {
            parts.extend_from_slice(&std::mem::take(&mut whole));
            parts.extend_from_slice(&part);
        }
    }
    Ok(if parts.is_empty() { whole } else { parts.freeze() })
}

/// Reads the one object that a body of JSON holds.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if first.is_some_and(|first| *first != b'{') && serde_json::from_slice::<IgnoredAny>(body).is_ok() {
        return Err(Problem::invalid("the body is one json object, with its fields by name".to_owned()));
    }
    serde_json::from_slice(body).map_err(|error| unreadable(&error))
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
            let most = state.limits.body_bytes_max.min(OBJECT_BYTES_MAX);
            let read = |body: Bytes| async move { parse(&body).map(Self) };
            with_body(state, most, request.headers(), payload, read).await
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
