//! Requests on their way between nodes: what they look like, and how the owner carries out those of others.
//!
//! A request that arrives here goes the way of every other: who calls and what he may do is judged anew. That it was carried is known by how it
//! arrived, never by anything in it, so nobody who calls over HTTP can pretend it. It is never carried on.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use actix_http::{Request, h1};
use actix_web::body::{BoxBody, MessageBody, to_bytes_limited};
use actix_web::dev::{Service, ServiceResponse};
use actix_web::http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HeaderMap, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use actix_web::http::{Method, StatusCode, Uri};
use actix_web::web::Bytes;
use actix_web::{Error, HttpMessage as _, HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::domain::limits::{CARRIED_BYTES_MAX, CARRIED_MAX};
use crate::edge::carrying::{self, HTTP};
use crate::meter::ActorId;

/// What belongs to a connection, and goes no further than it.
const OF_CONNECTION: [HeaderName; 7] =
    [CONNECTION, CONTENT_LENGTH, EXPECT, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// What a page of the console tells once: a text, and a secret.
pub(in crate::edge) type Told = (String, Option<String>);

type Headers = Vec<(String, Vec<u8>)>;

/// A request without its body.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Asked {
    method: String,
    uri: String,
    headers: Headers,
    peer: Option<SocketAddr>,
    guest: Option<Guest>,
}

/// Who is signed in at the console of the node that the request came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::edge) struct Guest {
    /// The key that signed in, or the name of who bears the token.
    pub(in crate::edge) key: ActorId,
    /// The token that signed in.
    pub(in crate::edge) token: Option<String>,
    /// What a form of his session bears.
    pub(in crate::edge) csrf: String,
    /// What the next page tells.
    pub(in crate::edge) notice: Option<Told>,
}

/// An answer without its body.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answered {
    status: u16,
    headers: Headers,
    /// The request is to be carried again: here is nothing to answer it.
    again: bool,
    /// What is left for the next page to tell.
    pub(super) notice: Option<Told>,
}

/// That a request was carried here, among its extensions.
#[derive(Clone, Debug)]
pub(in crate::edge) struct Arrival(Rc<Arrived>);

#[derive(Debug)]
struct Arrived {
    guest: Option<Guest>,
    notice: RefCell<Option<Told>>,
    again: Cell<bool>,
}

/// The way in for requests that other nodes carry here.
#[derive(Clone, Debug)]
pub struct Inbox {
    to: mpsc::Sender<Carried>,
    places: Arc<Semaphore>,
}

/// A request that waits to be carried out.
#[derive(Debug)]
pub(super) struct Carried {
    request: Vec<u8>,
    answer: oneshot::Sender<Vec<u8>>,
    _place: OwnedSemaphorePermit,
}

impl Inbox {
    /// The way in, and where [`serve`] takes what comes.
    pub(super) fn new() -> (Self, mpsc::Receiver<Carried>) {
        let (to, carried) = mpsc::channel(CARRIED_MAX);
        (Self { to, places: Arc::new(Semaphore::new(CARRIED_MAX)) }, carried)
    }

    /// The answer of a node that carries nothing out now: to ask again.
    #[must_use]
    pub fn again() -> Vec<u8> {
        let status = StatusCode::SERVICE_UNAVAILABLE.as_u16();
        carrying::encode(HTTP, &Answered { status, headers: Headers::new(), again: true, notice: None }, &[])
    }

    /// Carries out a request that another node sent. The answer says to ask again where there is no room, or the server stops.
    pub async fn answer(&self, request: Vec<u8>) -> Vec<u8> {
        let answered = async {
            let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
            let (answer, answered) = oneshot::channel();
            self.to.try_send(Carried { request, answer, _place: place }).ok()?;
            answered.await.ok()
        };
        answered.await.unwrap_or_else(Inbox::again)
    }
}

impl Arrival {
    /// That a request was carried here, if it was.
    pub(in crate::edge) fn of(request: &HttpRequest) -> Option<Self> {
        request.extensions().get::<Self>().cloned()
    }

    /// Who is signed in where the request came from.
    pub(in crate::edge) fn guest(&self) -> Option<&Guest> {
        self.0.guest.as_ref()
    }

    /// Has the next page of the guest tell this.
    pub(in crate::edge) fn leave(&self, notice: Told) {
        _ = self.0.notice.replace(Some(notice));
    }

    /// What is to be told to the guest; it is told once.
    pub(in crate::edge) fn take_notice(&self) -> Option<Told> {
        self.0.notice.take()
    }

    /// Has the request carried again.
    pub(super) fn ask_again(&self) {
        self.0.again.set(true);
    }
}

impl Asked {
    /// What another node is asked.
    pub(super) fn new(request: &HttpRequest, guest: Option<Guest>) -> Self {
        Self {
            method: request.method().as_str().to_owned(),
            uri: request.uri().to_string(),
            headers: told(request.headers()),
            peer: request.peer_addr(),
            guest,
        }
    }

    /// The same of another path, to be read.
    pub(super) fn of_path(self, path: &str) -> Self {
        Self { method: Method::GET.as_str().to_owned(), uri: path.to_owned(), ..self }
    }

    /// The request, for the service that answers it.
    fn into_request(self, body: Bytes) -> Option<(Request, Arrival)> {
        let (_, mut payload) = h1::Payload::create(true);
        payload.unread_data(body);
        let mut request = Request::with_payload(payload.into());
        let head = request.head_mut();
        head.method = Method::from_bytes(self.method.as_bytes()).ok()?;
        head.uri = self.uri.parse::<Uri>().ok()?;
        head.peer_addr = self.peer;
        headers(self.headers).for_each(|(name, value)| head.headers.append(name, value));
        let notice = RefCell::new(self.guest.as_ref().and_then(|guest| guest.notice.clone()));
        let arrival = Arrival(Rc::new(Arrived { guest: self.guest, notice, again: Cell::new(false) }));
        request.extensions_mut().insert(arrival.clone());
        Some((request, arrival))
    }
}

impl Answered {
    /// Reads an answer; none where the request is to be carried again.
    pub(super) fn read(bytes: &[u8]) -> Option<(Self, HttpResponse)> {
        let (mut answered, body) = carrying::decode::<Self>(HTTP, bytes)?;
        if answered.again {
            return None;
        }
        let mut response = HttpResponse::build(StatusCode::from_u16(answered.status).ok()?);
        headers(std::mem::take(&mut answered.headers)).for_each(|header| _ = response.append_header(header));
        Some((answered, response.body(Bytes::copy_from_slice(body))))
    }
}

/// Carries out what comes in, each request beside the others.
pub(super) async fn serve<S, B>(service: S, mut carried: mpsc::Receiver<Carried>)
where
    S: Service<Request, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    let service = Rc::new(service);
    while let Some(Carried { request, answer, _place: place }) = carried.recv().await {
        let service = Rc::clone(&service);
        actix_rt::spawn(async move {
            _ = answer.send(carry_out(&*service, &request).await.unwrap_or_else(Inbox::again));
            drop(place);
        });
    }
}

/// The answer to a request; none where that cannot be read or brought back.
async fn carry_out<S, B>(service: &S, request: &[u8]) -> Option<Vec<u8>>
where
    S: Service<Request, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody + 'static,
{
    let (asked, body) = carrying::decode::<Asked>(HTTP, request)?;
    let (request, arrival) = asked.into_request(Bytes::copy_from_slice(body))?;
    let response = match service.call(request).await {
        Ok(response) => response.into_parts().1.map_into_boxed_body(),
        Err(error) => HttpResponse::from_error(error),
    };
    let (head, body) = response.into_parts();
    let head = Answered {
        status: head.status().as_u16(),
        headers: told(head.headers()),
        again: arrival.0.again.get(),
        notice: arrival.take_notice(),
    };
    let body: Result<Bytes, _> = to_bytes_limited::<BoxBody>(body, CARRIED_BYTES_MAX).await.ok()?;
    Some(carrying::encode(HTTP, &head, &body.ok()?))
}

fn told(headers: &HeaderMap) -> Headers {
    let goes_on = headers.iter().filter(|(name, _)| !OF_CONNECTION.contains(name));
    goes_on.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect()
}

fn headers(told: Headers) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    told.into_iter().filter_map(|(name, value)| {
        let name = HeaderName::try_from(name).ok()?;
        Some((name, HeaderValue::from_bytes(&value).ok()?))
    })
}
