//! Bodies: bounded in length and in time, and of a kind that the path reads.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::error::{PayloadError, QueryPayloadError};
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use actix_web::web::{Bytes, BytesMut};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, HttpResponse, web};
use futures_core::Stream as _;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;

use crate::edge::budget::Room;
use crate::meter::{Action, ActorId, OrgId};

use super::auth::{Caller, path_id};
use super::idempotency::note_body;
use super::problem::Problem;
use super::state::State;

const JSON: &str = "application/json";
/// Longest body of a single object, in bytes; the longest holds a license key.
const OBJECT_BYTES_MAX: u64 = 256 << 10;
/// In what steps room is taken for a body that arrives.
const STEP_BYTES: u64 = 16 << 10;

/// A body of JSON.
#[derive(Debug)]
pub(super) struct Json<T>(pub(super) T);

/// The query of a URL.
#[derive(Debug)]
pub(super) struct Query<T>(pub(super) T);

/// The media type of a body, without its parameters and in lower case; empty when there is none.
pub(in crate::edge) fn media_type(headers: &HeaderMap) -> String {
    let header = headers.get(CONTENT_TYPE).and_then(|header| header.to_str().ok()).unwrap_or_default();
    header.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether a body is encoded in a way that has to be undone before it is read.
pub(super) fn is_encoded(headers: &HeaderMap) -> bool {
    let identity =
        |header: &actix_web::http::header::HeaderValue| header.as_bytes().eq_ignore_ascii_case(b"identity");
    headers.get(CONTENT_ENCODING).is_some_and(|header| !identity(header))
}

/// Whether the body's text is in another character set than UTF-8.
pub(super) fn is_other_charset(headers: &HeaderMap) -> bool {
    let header = headers.get(CONTENT_TYPE).and_then(|header| header.to_str().ok()).unwrap_or_default();
    let parameters = header.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let mut charsets = parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    charsets.any(|(_, value)| !value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8"))
}

/// What a request sends, for a node that may carry it on.
pub(super) enum Kept {
    /// It was read, and takes room.
    Read(Bytes, Room),
    /// It was not read.
    Unread(Payload),
}

/// Reads a body of at most `most` bytes to its end and gives it to `then`; its room is free again afterwards, or with the request
/// where another node may have to carry that out. A request that was answered under its key before is not given to it.
///
/// # Errors
/// When the body is too long, too slow, broken off, or when too much of other bodies is held already.
pub(in crate::edge) async fn with_body<T, F: Future<Output = Result<T, Problem>>>(
    state: &State,
    most: u64,
    request: &HttpRequest,
    (key, payload): (ActorId, web::Payload),
    then: impl FnOnce(Bytes) -> F,
) -> Result<T, Problem> {
    let (body, room) = read(state, most, request, (key, payload)).await?;
    note_body(request, state, &body)?;
    let kept = state.is_node().then(|| body.clone());
    let answered = then(body).await;
    if let Some(body) = kept {
        request.extensions_mut().insert(Kept::Read(body, room));
    }
    answered
}

/// Reads a body of at most `most` bytes to its end.
///
/// # Errors
/// When it is too long, too slow, broken off, or when too much of other bodies is held already.
pub(super) async fn read(
    state: &State,
    most: u64,
    request: &HttpRequest,
    (key, payload): (ActorId, web::Payload),
) -> Result<(Bytes, Room), Problem> {
    let announced =
        request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > most) {
        return Err(Problem::body_too_large(most));
    }
    let mut room = state.room(key);
    let timeout_ms = state.limits.request_timeout_ms;
    let read =
        actix_rt::time::timeout(Duration::from_millis(timeout_ms), collect(payload, most, &mut room)).await;
    let body = read.map_err(|_| Problem::request_timeout(timeout_ms))??;
    Ok((body, room))
}

/// Reads a body to its end. Room is taken for what arrives, not for what is announced: whoever announces much and sends
/// little takes nothing from the others.
async fn collect(mut payload: web::Payload, most: u64, room: &mut Room) -> Result<Bytes, Problem> {
    let (mut whole, mut parts) = (Bytes::new(), BytesMut::new());
    while let Some(part) = poll_fn(|cx| Pin::new(&mut payload).poll_next(cx)).await {
        let part = part.map_err(|error| Problem::malformed_body(broken_off(&error)))?;
        let length = u64::try_from(whole.len() + parts.len() + part.len()).unwrap_or(u64::MAX);
        if length > most {
            return Err(Problem::body_too_large(most));
        }
        if length > room.bytes() {
            let steps = length.div_ceil(STEP_BYTES).saturating_mul(STEP_BYTES);
            room.grow(steps.min(most) - room.bytes())?;
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

fn broken_off(error: &PayloadError) -> &'static str {
    match error {
        PayloadError::Incomplete(_) => "it broke off before its end",
        PayloadError::EncodingCorrupted => "its chunks are not framed as http says",
        _ => "the connection failed before its end",
    }
}

/// Reads the one object that a body of JSON holds.
///
/// # Errors
/// When it holds none, or one with values out of their bounds.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
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

/// A body of JSON that somebody may send, or may not.
pub(super) trait Asks: DeserializeOwned + 'static {
    /// Whether this caller may ask for it. It is decided before the body is read.
    ///
    /// # Errors
    /// When it may not.
    fn allow(caller: &Caller, request: &HttpRequest) -> Result<(), Problem>;
}

/// Allows what an administrator of the organization in the path may do.
///
/// # Errors
/// When the caller is none.
pub(super) fn administers(caller: &Caller, request: &HttpRequest) -> Result<(), Problem> {
    let organization: OrgId = path_id(request, "org")?;
    Ok(caller.principal.authorize(Action::Administer(&organization))?)
}

impl<T: Asks> FromRequest for Json<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), web::Payload::from_request(request, payload));
        Box::pin(async move {
            let caller = Caller::of(&request)?;
            T::allow(&caller, &request)?;
            let headers = request.headers();
            if media_type(headers) != JSON || is_encoded(headers) || is_other_charset(headers) {
                return Err(Problem::unsupported_media_type(JSON));
            }
            let state =
                request.app_data::<web::Data<State>>().expect("the routes are set up with their state");
            let payload = payload.await.map_err(|_| Problem::malformed_body("it cannot be taken"))?;
            let most = state.limits.body_bytes_max.min(OBJECT_BYTES_MAX);
            let read = |body: Bytes| async move { parse(&body).map(Self) };
            with_body(state, most, &request, (caller.principal.actor(), payload), read).await
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
            Err(QueryPayloadError::Deserialize(error)) => {
                let text = error.to_string();
                Err(Problem::invalid(format!("the query of the url: {text}")).with_limit_of(&text))
            }
            Err(_) => Err(Problem::invalid("the query of the url cannot be read")),
        })
    }
}

/// JSON that holds the wrong values is invalid; what is no JSON at all is malformed.
fn unreadable(error: &serde_json::Error) -> Problem {
    match error.classify() {
        Category::Data => {
            let text = error.to_string();
            Problem::invalid(format!("the body: {text}")).with_limit_of(&text)
        }
        Category::Io | Category::Syntax | Category::Eof => Problem::malformed_body(error),
    }
}
