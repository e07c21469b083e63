//! `Idempotency-Key`: the same request again gets the first answer, as long as that is kept.
//!
//! What is kept is in memory, bounded and forgotten at a restart. So it is a comfort and never the promise: what makes a repetition
//! harmless is the id that each request names anyway (an event, a transfer, a reservation, a license key, an organization), or,
//! where a request names none (an API key is made), an id derived from this key. These are in the journal. Only answers of success are
//! kept: what was refused changed nothing and is judged anew. An answer with a secret is never kept.
//!
//! The form is that of draft-ietf-httpapi-idempotency-key-header. ADR 0019 has the reasons.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use actix_web::body::{BodySize, BoxBody, MessageBody, to_bytes};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::{Bytes, Data};
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, ResponseError as _};
use sha2::{Digest as _, Sha256};

use crate::domain::hex::Hex;
use crate::domain::limits::{
    IDEMPOTENCY_ANSWER_BYTES_MAX, IDEMPOTENCY_BYTES_MAX, IDEMPOTENCY_KEEP_MS, IDEMPOTENCY_KEY_BYTES_MAX,
};
use crate::meter::ActorId;
use crate::telemetry::clock;

use super::auth::bearer_id;
use super::problem::Problem;
use super::state::State;

/// The header that names a request.
pub(super) const HEADER: &str = "idempotency-key";
/// The header of an answer that was given before.
pub(super) const REPLAYED: &str = "idempotency-replayed";
/// What an entry takes besides the bytes of its answer.
const ENTRY_BYTES: usize = 256;

type Digest = [u8; 32];

/// The requests of late, each under its caller and its key.
#[derive(Debug, Default)]
pub(super) struct Requests(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    entries: HashMap<Digest, Entry>,
    /// Names of entries that are answered, the oldest first.
    order: VecDeque<(Digest, Instant)>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    /// Method, path, query and body of the request.
    content: Digest,
    /// None while it is carried out.
    answer: Option<Arc<Answer>>,
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
}

/// The key of a request on its way, and what is known of it once its body is read.
#[derive(Clone)]
pub(super) struct Named(Rc<RefCell<Naming>>);

struct Naming {
    name: Digest,
    found: Found,
}

enum Found {
    Unread,
    Begun,
    Before(Arc<Answer>),
}

/// An answer that holds a secret, in the extensions of a response: it is not kept.
pub(super) struct Secret;

/// Answers a request with a key as the first time, or carries it out and keeps the answer.
pub(super) async fn once(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let name = match name_of(request.request()) {
        Ok(Some(name)) => name,
        Ok(None) => return Ok(next.call(request).await?.map_into_boxed_body()),
        Err(problem) => return Ok(request.into_response(problem.error_response())),
    };
    let named = Named(Rc::new(RefCell::new(Naming { name, found: Found::Unread })));
    let state =
        Data::clone(request.app_data::<Data<State>>().expect("the routes are set up with their state"));
    request.extensions_mut().insert(named.clone());
    let mut claim = Claim { state, named: named.clone() };
    let response = next.call(request).await?.map_into_boxed_body();
    let before =
        if let Found::Before(answer) = &named.0.borrow().found { Some(Arc::clone(answer)) } else { None };
    if let Some(answer) = before {
        return Ok(response.into_response(answer.again()));
    }
    claim.keep(response).await
}

impl Named {
    /// What the request named, in the words of an id: the same for ever, of this caller and this key.
    pub(super) fn derived_id(&self) -> ActorId {
        let id = Hex(&self.0.borrow().name[..8]).to_string();
        ActorId::new(&id).expect("hexadecimal is an id")
    }
}

/// The key that a request bears, if it bears one.
pub(super) fn named(request: &HttpRequest) -> Option<Named> {
    request.extensions().get::<Named>().cloned()
}

/// Notes the body of a request that may bear a key.
///
/// # Errors
/// When the request is answered already, is being carried out, or the key was used for another one. The first of these is
/// replaced by the answer on its way out.
pub(super) fn note_body(request: &HttpRequest, state: &State, body: &[u8]) -> Result<(), Problem> {
    let Some(Named(naming)) = named(request) else { return Ok(()) };
    let mut naming = naming.borrow_mut();
    let content = digest(&[
        request.method().as_str().as_bytes(),
        request.path().as_bytes(),
        request.query_string().as_bytes(),
        body,
    ]);
    let mut kept = state.requests.lock();
    kept.forget_old(clock::start());
    match kept.entries.get(&naming.name) {
        None => {
            kept.entries.insert(naming.name, Entry { content, answer: None });
            naming.found = Found::Begun;
            Ok(())
        }
        Some(entry) if entry.content != content => Err(Problem::idempotency_key_reused()),
        Some(Entry { answer: None, .. }) => Err(Problem::idempotency_key_in_use()),
        Some(Entry { answer: Some(answer), .. }) => {
            naming.found = Found::Before(answer.clone());
            Err(Problem::idempotency_key_in_use())
        }
    }
}

/// Who calls and its key, as one name. Only what changes something on every repetition has one.
fn name_of(request: &HttpRequest) -> Result<Option<Digest>, Problem> {
    let mut headers = request.headers().get_all(HEADER);
    let (Some(header), method) = (headers.next(), request.method()) else { return Ok(None) };
    if method != Method::POST {
        return Ok(None);
    }
    let text = header.to_str().ok().filter(|_| headers.next().is_none());
    let text =
        text.map(|text| text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text));
    let fits = |text: &&str| (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&text.len());
    let key = text.filter(fits).ok_or_else(Problem::bad_idempotency_key)?;
    Ok(Some(digest(&[bearer_id(request)?.as_str().as_bytes(), key.as_bytes()])))
}

fn digest(parts: &[&[u8]]) -> Digest {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// A request that is being carried out under its key. What is given up unanswered may be begun again.
struct Claim {
    state: Data<State>,
    named: Named,
}

impl Claim {
    /// Keeps the answer of a request that this claim began.
    async fn keep(
        &mut self,
        response: ServiceResponse,
    ) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
        let begun = matches!(self.named.0.borrow().found, Found::Begun);
        let is_secret = response.response().extensions().get::<Secret>().is_some();
        let length = if let BodySize::Sized(length) = response.response().body().size() { length } else { 0 };
        let fits = usize::try_from(length).is_ok_and(|length| length <= IDEMPOTENCY_ANSWER_BYTES_MAX);
        if !begun || is_secret || !fits || !response.status().is_success() {
            return Ok(response);
        }
        let (request, response) = response.into_parts();
        let (head, body) = response.into_parts();
        let body = to_bytes(body).await.map_err(actix_web::error::ErrorInternalServerError)?;
        let headers = [CONTENT_TYPE, LOCATION].into_iter();
        let headers =
            headers.filter_map(|name| Some((name.clone(), head.headers().get(name)?.clone()))).collect();
        let answer = Arc::new(Answer { status: head.status(), headers, body: body.clone() });
        let name = self.named.0.borrow().name;
        self.state.requests.lock().keep(name, answer, clock::start());
        Ok(ServiceResponse::new(request, head.set_body(BoxBody::new(body))))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let naming = self.named.0.borrow();
        if matches!(naming.found, Found::Begun) {
            self.state.requests.lock().give_up(&naming.name);
        }
    }
}

impl Answer {
    fn again(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        response.insert_header((REPLAYED, "true"));
        self.headers.iter().for_each(|header| _ = response.insert_header(header.clone()));
        response.body(self.body.clone())
    }
}

impl Requests {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().expect("nothing panics while it holds the answers")
    }
}

impl Kept {
    fn keep(&mut self, name: Digest, answer: Arc<Answer>, now: Instant) {
        let Some(entry) = self.entries.get_mut(&name) else { return };
        self.bytes += ENTRY_BYTES + answer.body.len();
        entry.answer = Some(answer);
        self.order.push_back((name, now));
        while self.bytes > IDEMPOTENCY_BYTES_MAX && self.forget_oldest() {}
    }

    /// Forgets a request that was begun and not answered.
    fn give_up(&mut self, name: &Digest) {
        if self.entries.get(name).is_some_and(|entry| entry.answer.is_none()) {
            self.entries.remove(name);
        }
    }

    fn forget_old(&mut self, now: Instant) {
        let keep = Duration::from_millis(IDEMPOTENCY_KEEP_MS);
        let is_old = |(_, at): &(Digest, Instant)| now.saturating_duration_since(*at) > keep;
        while self.order.front().is_some_and(is_old) && self.forget_oldest() {}
    }

    fn forget_oldest(&mut self) -> bool {
        let Some((name, _)) = self.order.pop_front() else { return false };
        if let Some(Entry { answer: Some(answer), .. }) = self.entries.remove(&name) {
            self.bytes -= ENTRY_BYTES + answer.body.len();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(bytes: usize) -> Arc<Answer> {
        Arc::new(Answer { status: StatusCode::OK, headers: Vec::new(), body: vec![b' '; bytes].into() })
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_oldest_goes_first() {
        let (mut kept, now) = (Kept::default(), clock::start());
        for n in 0..200_u8 {
            let name = [n; 32];
            kept.entries.insert(name, Entry { content: name, answer: None });
            kept.keep(name, answer(IDEMPOTENCY_ANSWER_BYTES_MAX), now);
            assert!(kept.bytes <= IDEMPOTENCY_BYTES_MAX, "{}", kept.bytes);
        }
        assert!(!kept.entries.contains_key(&[0; 32]) && kept.entries.contains_key(&[199; 32]));
        assert_eq!(kept.entries.len(), kept.order.len());
        kept.forget_old(now + Duration::from_millis(IDEMPOTENCY_KEEP_MS + 1));
        assert_eq!((kept.entries.len(), kept.bytes), (0, 0));
    }

    #[test]
    fn what_is_given_up_unanswered_is_forgotten_and_what_is_answered_is_not() {
        let (mut kept, name) = (Kept::default(), [1; 32]);
        kept.entries.insert(name, Entry { content: name, answer: None });
        kept.give_up(&name);
        assert!(kept.entries.is_empty());
        kept.entries.insert(name, Entry { content: name, answer: None });
        kept.keep(name, answer(1), clock::start());
        kept.give_up(&name);
        assert_eq!(kept.entries.len(), 1);
    }
}
