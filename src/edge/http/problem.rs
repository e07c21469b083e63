//! What an answer that is no success looks like: a problem document (RFC 9457) with a stable code.
//!
//! Codes and statuses of the meter's answers come from [`crate::meter::status`]; only what the meter never sees
//! (an unreadable body, an unknown route, a missing key) gets its code here; what is wrong with a license key is told by
//! [`crate::edge::license_key`].

use std::borrow::Cow;
use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::limits;
use crate::edge::bearers::Stranger;
use crate::edge::budget::Full;
use crate::edge::license_key::KeyError;
use crate::edge::token::TokenError;
use crate::meter::{ActorId, Error, Invalid, Limit, Refusal, Unavailable, status};

/// How long a caller waits before it repeats a request that may succeed later, in seconds.
const RETRY_AFTER_SECONDS: &str = "1";
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// The values that readers of bodies and queries check by themselves.
const BOUNDED: [Invalid; 10] = [
    Invalid::OrganizationId,
    Invalid::CameraId,
    Invalid::LicenseId,
    Invalid::KeyId,
    Invalid::TransferId,
    Invalid::ActorId,
    Invalid::Name,
    Invalid::AlertId,
    Invalid::WebhookId,
    Invalid::WebhookUrl,
];

/// An answer that is no success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::edge) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
    limit: Option<u64>,
    header: Option<Header>,
    events: Vec<RefusedEvent>,
    elsewhere: Option<u16>,
}

/// An event of several that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct RefusedEvent {
    pub(super) index: usize,
    pub(super) code: &'static str,
    pub(super) detail: Cow<'static, str>,
    #[serde(skip)]
    is_retryable: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Header {
    RetryLater,
    WaitAndConnect { seconds: u64 },
    Bearer(&'static str),
    Allow(String),
}

#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct Document<'a> {
    r#type: String,
    title: String,
    status: u16,
    detail: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    events: &'a [RefusedEvent],
}

impl Problem {
    /// A value that a request holds is out of its bounds, and the edge knows more than which one.
    pub(in crate::edge) fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Self { detail: detail.into(), ..Self::from(Refusal::Invalid(Invalid::Syntax)) }
    }

    /// No API key, or none that is known.
    pub(super) fn unauthenticated() -> Self {
        let detail = "this needs an api key that is known and not revoked, or a token; send it as `Authorization: Bearer weir_...`";
        let header = Some(Header::Bearer("Bearer"));
        Self { header, ..Self::of_edge(StatusCode::UNAUTHORIZED, "unauthenticated", detail) }
    }

    /// No known API key, once more from an address that sent too many such calls; it waits so many seconds.
    pub(super) fn too_many_guesses(seconds: u64) -> Self {
        let limit = u64::from(limits::GUESSES_MAX);
        let detail = format!(
            "this address sent more than {limit} calls without a known api key; a known key is taken at any time, others in {seconds} s"
        );
        let problem = Self::of_edge(StatusCode::TOO_MANY_REQUESTS, "too_many_guesses", detail);
        Self { header: Some(Header::WaitAndConnect { seconds }), ..problem }.with_limit(limit)
    }

    /// A form of the console that was not sent from a page of it.
    pub(in crate::edge) fn foreign_form() -> Self {
        let detail = "this form was not sent from a page of this session; nothing was done, open the page again and repeat it";
        Self::of_edge(StatusCode::FORBIDDEN, "foreign_form", detail)
    }

    /// There is nothing under this path.
    pub(in crate::edge) fn not_found() -> Self {
        Self::of_edge(StatusCode::NOT_FOUND, "not_found", "there is nothing under this path")
    }

    /// The path has no such method; `allow` lists those that it has.
    pub(in crate::edge) fn method_not_allowed(allow: &str) -> Self {
        let detail = format!("this path allows {allow}");
        let header = Some(Header::Allow(allow.to_owned()));
        Self { header, ..Self::of_edge(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail) }
    }

    /// The header `Idempotency-Key` is none.
    pub(super) fn bad_idempotency_key() -> Self {
        let limit = limits::IDEMPOTENCY_KEY_BYTES_MAX;
        Self::invalid(format!("an Idempotency-Key stands once, and is 1 to {limit} bytes of ASCII"))
            .with_limit(count(limit))
    }

    /// The key of this request was used for another one.
    pub(super) fn idempotency_key_reused() -> Self {
        let detail = "this Idempotency-Key was used for another request; nothing was done, use a new key for a new request";
        Self::of_edge(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", detail)
    }

    /// The same request is being carried out.
    pub(super) fn idempotency_key_in_use() -> Self {
        let detail =
            "a request with this Idempotency-Key is being carried out; ask again shortly for its answer";
        let header = Some(Header::RetryLater);
        Self { header, ..Self::of_edge(StatusCode::CONFLICT, "idempotency_key_in_use", detail) }
    }

    /// The API key of this request was made before, and its secret was shown then.
    pub(in crate::edge) fn api_key_made(id: &ActorId) -> Self {
        let detail = format!(
            "this request made the api key `{id}` before; its secret was shown once and is not kept; revoke that key and make another \
             under a new Idempotency-Key"
        );
        Self::of_edge(StatusCode::CONFLICT, "api_key_made", detail)
    }

    /// The body is longer than `limit` bytes.
    pub(super) fn body_too_large(limit: u64) -> Self {
        let detail = format!("a body has at most {limit} bytes; nothing was done, send less at a time");
        Self::of_edge(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail).with_limit(limit)
    }

    /// The body is of a kind that this path does not read; `expected` lists those that it does.
    pub(in crate::edge) fn unsupported_media_type(expected: &'static str) -> Self {
        let detail = format!("this path reads {expected}, in utf-8 and without a content encoding");
        Self::of_edge(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
    }

    /// The body is not what its content type says; `place` says what is wrong, and where.
    pub(in crate::edge) fn malformed_body(place: impl fmt::Display) -> Self {
        let detail = format!("the body cannot be read, nothing was done: {place}");
        Self::of_edge(StatusCode::BAD_REQUEST, "malformed_body", detail)
    }

    /// The body did not arrive in time.
    pub(super) fn request_timeout(limit_ms: u64) -> Self {
        let detail = format!("the body did not arrive within {limit_ms} ms; nothing was done");
        Self::of_edge(StatusCode::REQUEST_TIMEOUT, "request_timeout", detail).with_limit(limit_ms)
    }

    /// The meter is still being opened.
    pub(in crate::edge) fn recovering() -> Self {
        let detail = "the meter is recovering what its directory holds; nothing was done, retry shortly";
        let header = Some(Header::RetryLater);
        Self { header, ..Self::of_edge(StatusCode::SERVICE_UNAVAILABLE, "recovering", detail) }
    }

    /// The server keeps no reports.
    pub(in crate::edge) fn reports_are_off() -> Self {
        let detail = "this server keeps no reports; start it with `reports = on`";
        Self::of_edge(StatusCode::NOT_FOUND, "reports_are_off", detail)
    }

    /// The reports cannot be read now.
    pub(super) fn reports_unavailable(detail: String) -> Self {
        let header = Some(Header::RetryLater);
        Self { header, ..Self::of_edge(StatusCode::SERVICE_UNAVAILABLE, "reports_unavailable", detail) }
    }

    /// The server decides no alerts.
    pub(in crate::edge) fn alerts_are_off() -> Self {
        let detail = "this server watches no thresholds and calls no webhooks; start it with `alerts = on`";
        Self::of_edge(StatusCode::NOT_FOUND, "alerts_are_off", detail)
    }

    /// The alerts cannot be read or written now.
    pub(in crate::edge) fn alerts_unavailable(detail: String) -> Self {
        let header = Some(Header::RetryLater);
        Self { header, ..Self::of_edge(StatusCode::SERVICE_UNAVAILABLE, "alerts_unavailable", detail) }
    }

    /// A report would read or hold too much.
    pub(super) fn report_too_large(detail: String) -> Self {
        Self::of_edge(StatusCode::UNPROCESSABLE_ENTITY, "report_too_large", detail)
    }

    /// More connections are open than `limit`.
    pub(super) fn too_many_connections(limit: u64) -> Self {
        let detail =
            format!("{limit} connections are open, which is the most; nothing was done, retry shortly");
        let problem = Self::of_edge(StatusCode::SERVICE_UNAVAILABLE, "too_many_connections", detail);
        Self { header: Some(Header::RetryLater), ..problem }.with_limit(limit)
    }

    /// The batch holds more than `limit` debits.
    pub(super) fn batch_too_large(limit: usize) -> Self {
        let detail =
            format!("a batch holds at most {limit} debits; nothing was charged, send less at a time");
        let problem = Self::from(Refusal::Invalid(Invalid::BatchSize));
        Self { detail: detail.into(), ..problem }.with_limit(count(limit))
    }

    /// Of several events these were refused; the others are charged.
    pub(super) fn events_refused(events: Vec<RefusedEvent>) -> Self {
        let is_retryable = events.iter().any(|event| event.is_retryable);
        let status =
            if is_retryable { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::UNPROCESSABLE_ENTITY };
        let detail = format!(
            "{} events were refused, the others are charged; to send all of them again charges none twice",
            events.len()
        );
        let header = is_retryable.then_some(Header::RetryLater);
        Self { header, events, ..Self::of_edge(status, "events_refused", detail) }
    }

    /// This problem as that of the event at the place `index`.
    pub(super) fn of_event(self, index: usize) -> RefusedEvent {
        let is_retryable = self.header == Some(Header::RetryLater);
        RefusedEvent { index, code: self.code, detail: self.detail, is_retryable }
    }

    /// The whole answer as it goes over a connection that is closed after it, for where no request is read.
    pub(super) fn wire_text(&self) -> String {
        let (body, status) = (self.document(), self.status);
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {}\r\n\
             retry-after: {RETRY_AFTER_SECONDS}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    }

    /// The same problem, with the bound of the value that the text of a reader speaks of, if it has one.
    pub(super) fn with_limit_of(self, text: &str) -> Self {
        let told = BOUNDED.into_iter().find(|invalid| text.starts_with(&invalid.to_string()));
        match told.and_then(limit_of_value) {
            Some(limit) => self.with_limit(limit),
            None => self,
        }
    }

    /// The same problem, told by this detail if there is one.
    pub(super) fn with_detail(self, detail: Option<Cow<'static, str>>) -> Self {
        Self { detail: detail.unwrap_or(self.detail), ..self }
    }

    /// The partition of another node that it is about, where that is the problem.
    pub(in crate::edge) fn elsewhere(&self) -> Option<u16> {
        self.elsewhere
    }

    /// The stable code.
    pub(in crate::edge) fn code(&self) -> &'static str {
        self.code
    }

    /// The same problem, of which this bound is the reason.
    pub(super) fn with_limit(self, limit: u64) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// What happened and what to do next, for people.
    pub(in crate::edge) fn detail(&self) -> &str {
        &self.detail
    }

    /// Its HTTP status.
    pub(in crate::edge) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    fn document(&self) -> String {
        let document = Document {
            r#type: format!("urn:tokenweir:problem:{}", self.code),
            title: self.code.replace('_', " "),
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
            limit: self.limit,
            events: &self.events,
        };
        serde_json::to_string(&document).expect("text and numbers are JSON")
    }

    fn of_edge(status: StatusCode, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        let (limit, header, elsewhere) = (None, None, None);
        Self { status, code, detail: detail.into(), limit, header, events: Vec::new(), elsewhere }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let (limit, elsewhere) = match &error {
            Error::Refused(refusal) => (limit_of(*refusal), None),
            Error::Unavailable(Unavailable::Elsewhere { partition }) => (None, Some(*partition)),
            Error::Unavailable(_) => (None, None),
        };
        Self {
            status: StatusCode::from_u16(status::http(&error)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            code: error.code(),
            detail: error.to_string().into(),
            limit,
            header: error.is_retryable().then_some(Header::RetryLater),
            events: Vec::new(),
            elsewhere,
        }
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        let status = match error {
            KeyError::Unsigned | KeyError::Malformed(_) => StatusCode::BAD_REQUEST,
            KeyError::UnknownIssuer(_) | KeyError::BadSignature => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::of_edge(status, error.code(), format!("{error}; nothing was added"))
    }
}

impl From<Stranger> for Problem {
    fn from(stranger: Stranger) -> Self {
        match stranger {
            Stranger::Unknown => Self::unauthenticated(),
            Stranger::Guessing { seconds } => Self::too_many_guesses(seconds),
            Stranger::Token(error) => {
                let (status, header) = match error {
                    TokenError::KeysPending => (StatusCode::SERVICE_UNAVAILABLE, Header::RetryLater),
                    _ => (StatusCode::UNAUTHORIZED, Header::Bearer(r#"Bearer error="invalid_token""#)),
                };
                Self { header: Some(header), ..Self::of_edge(status, error.code(), error.to_string()) }
            }
        }
    }
}

impl From<Full> for Problem {
    fn from(full: Full) -> Self {
        Self::from(Refusal::Busy).with_limit(full.limit)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::from(Error::Refused(refusal))
    }
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        Self::from(Refusal::Invalid(invalid))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        match &self.header {
            Some(Header::RetryLater) => response.insert_header((RETRY_AFTER, RETRY_AFTER_SECONDS)),
            // Whoever guesses has to connect again.
            Some(Header::WaitAndConnect { seconds }) => {
                response.insert_header((RETRY_AFTER, seconds.to_string())).force_close()
            }
            Some(Header::Bearer(challenge)) => response.insert_header((WWW_AUTHENTICATE, *challenge)),
            Some(Header::Allow(methods)) => response.insert_header((ALLOW, methods.as_str())),
            None => &mut response,
        };
        response.content_type(MEDIA_TYPE).body(self.document())
    }
}

/// The bound that a refusal reports.
fn limit_of(refusal: Refusal) -> Option<u64> {
    match refusal {
        Refusal::Invalid(invalid) => limit_of_value(invalid),
        Refusal::LimitReached(limit) => Some(limit_of_total(limit)),
        _ => None,
    }
}

fn limit_of_value(invalid: Invalid) -> Option<u64> {
    Some(match invalid {
        Invalid::OrganizationId
        | Invalid::CameraId
        | Invalid::LicenseId
        | Invalid::KeyId
        | Invalid::TransferId
        | Invalid::ReservationId
        | Invalid::AlertId
        | Invalid::WebhookId
        | Invalid::ActorId => count(limits::ID_BYTES_MAX),
        Invalid::Grant | Invalid::Reserved => limits::POOL_TOKENS_MAX,
        Invalid::TimeToLive => limits::RESERVATION_MS_MAX,
        Invalid::Name => count(limits::NAME_BYTES_MAX),
        Invalid::Tokens | Invalid::Quantity => u64::from(limits::DEBIT_TOKENS_MAX),
        Invalid::Prices => limits::RATE_MILLITOKENS_MAX,
        Invalid::EventId => count(limits::EVENT_ID_BYTES_MAX),
        Invalid::TimeAhead => limits::EVENT_AHEAD_MS_MAX,
        Invalid::Role => count(limits::API_KEY_ORGANIZATIONS_MAX),
        Invalid::Retention => limits::RETENTION_MS_MAX,
        Invalid::BatchSize => count(limits::BATCH_DEBITS_MAX),
        Invalid::Thresholds => count(limits::ALERTS_MAX),
        Invalid::WebhookUrl => count(limits::WEBHOOK_URL_BYTES_MAX),
        Invalid::Overlap => limits::SECRET_OVERLAP_MS_MAX,
        _ => return None,
    })
}

fn limit_of_total(limit: Limit) -> u64 {
    match limit {
        Limit::PoolTokens => limits::POOL_TOKENS_MAX,
        Limit::Licenses => count(limits::POOL_LICENSES_MAX),
        Limit::Cargo => count(limits::CARGO_BYTES_MAX),
        Limit::Cameras => u64::from(limits::POOL_CAMERAS_MAX),
        Limit::Networks => count(limits::POOL_NETWORKS_MAX),
        Limit::Bindings => count(limits::CAMERA_BINDINGS_MAX),
        Limit::Organizations => u64::from(limits::PARTITION_ORGANIZATIONS_MAX),
        Limit::Reservations => count(limits::RESERVATIONS_OPEN_MAX),
        Limit::ApiKeys => count(limits::API_KEYS_MAX),
        Limit::Webhooks => count(limits::WEBHOOKS_MAX),
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_its_code_its_status_and_its_bound() {
        for (refusal, status, code, limit) in [
            (Refusal::InsufficientTokens, 402, "insufficient_tokens", None),
            (Refusal::LicenseIsPermanent, 409, "license_is_permanent", None),
            (Refusal::Invalid(Invalid::Name), 400, "invalid", Some(128)),
            (Refusal::LimitReached(Limit::Bindings), 422, "limit_reached", Some(16)),
        ] {
            let problem = Problem::from(refusal);
            assert_eq!((problem.status.as_u16(), problem.code, problem.limit), (status, code, limit));
            assert_eq!(problem.header, None, "{code}");
        }
        for later in [Refusal::Busy, Refusal::InTransfer] {
            assert_eq!(Problem::from(later).header, Some(Header::RetryLater));
        }
    }
}
