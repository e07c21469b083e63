//! Has the owner of an organization carry out a call that came to this node, and carries out here what other nodes send.
//!
//! As over HTTP (ADR 0026): a call is tried here first; the answer `elsewhere` stands only when no owner gave another one within
//! [`CARRIED_WAIT_MS`](crate::domain::limits::CARRIED_WAIT_MS), or the caller's deadline; who calls is judged anew by the owner. Only single calls are carried: a stream of debits goes to the owner by itself.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body::{Body as _, Frame};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::request::Parts;
use tonic::codegen::http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tonic::codegen::{Bytes, Service as _};

use crate::domain::limits::{CARRIED_BYTES_MAX, CARRIED_MAX};
use crate::edge::carrying::{self, GRPC};
use crate::meter::Meter;
use crate::proto::v1::metering_server::MeteringServer;
use crate::telemetry::{clock, cluster};

use super::auth::Caller;
use super::incoming::Peer;
use super::service::Service;
use super::state::State;
use super::trouble::{about, partition_elsewhere};

type Headers = Vec<(String, Vec<u8>)>;

/// A call without its message.
#[derive(Debug, Serialize, Deserialize)]
struct Asked {
    path: String,
    headers: Headers,
    peer: Option<IpAddr>,
}

/// An answer without its message.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Answered {
    headers: Headers,
    trailers: Option<Headers>,
    /// The call is to be carried again: here is nothing to answer it.
    again: bool,
}

/// A body that is there as a whole.
struct Whole {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

/// The way in for calls that other nodes carry here.
#[derive(Clone, Debug)]
pub struct Inbox {
    calls: MeteringServer<Service>,
    state: Arc<State>,
    runtime: Handle,
    places: Arc<Semaphore>,
}

/// Answers a call here, or has the owner answer it.
pub(super) async fn call(
    Service(state): Service,
    mut calls: MeteringServer<Service>,
    (meter, request): (Meter, Request<Body>),
) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let sent = match read(body, state.limits.message_bytes_max).await {
        Ok((sent, _)) => sent,
        Err(status) => return Ok(status.into_http()),
    };
    let here = Request::from_parts(head.clone(), Whole::body(sent.clone(), None));
    let answer = calls.call(here).await?;
    let Some(partition) = partition_elsewhere(answer.headers()) else { return Ok(answer) };
    let begun = clock::start();
    let carried = async {
        let _place = state.carrying.try_acquire().ok()?;
        let message = carrying::encode(GRPC, &Asked::of(&head), &sent);
        let message = Some(message).filter(|message| message.len() <= CARRIED_BYTES_MAX)?;
        carrying::ask((&meter, &state.carrying), partition, &message, Answered::read).await
    };
    let carried = carried.await;
    cluster::carried(carried.is_some(), begun.elapsed().as_secs_f64());
    // The caller may go to the owner himself the next time.
    Ok(carried.map_or(answer, |carried| about(partition, carried)))
}

impl Asked {
    fn of(head: &Parts) -> Self {
        let peer = head.extensions.get().map(|Peer(address)| *address);
        Self { path: head.uri.path().to_owned(), headers: told(&head.headers), peer }
    }
}

impl Answered {
    /// Reads an answer; none where the call is to be carried again.
    fn read(bytes: &[u8]) -> Option<Response<Body>> {
        let (answered, body) = carrying::decode::<Self>(GRPC, bytes)?;
        if answered.again {
            return None;
        }
        let body = Whole::body(Bytes::copy_from_slice(body), answered.trailers.map(headers));
        let mut response = Response::new(body);
        *response.headers_mut() = headers(answered.headers);
        Some(response)
    }
}

impl Inbox {
    pub(super) fn new(calls: MeteringServer<Service>, state: Arc<State>, runtime: Handle) -> Self {
        Self { calls, state, runtime, places: Arc::new(Semaphore::new(CARRIED_MAX)) }
    }

    /// The answer of a node that carries nothing out now: to ask again.
    #[must_use]
    pub fn again() -> Vec<u8> {
        carrying::encode(GRPC, &Answered { again: true, ..Answered::default() }, &[])
    }

    /// Carries out a call that another node sent. The answer says to ask again where there is no room, or the organization is not here.
    pub async fn answer(&self, message: Vec<u8>) -> Vec<u8> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return Self::again() };
        let inbox = self.clone();
        let answered = self.runtime.spawn(async move {
            let answered = inbox.carry_out(&message).await;
            drop(place);
            answered
        });
        answered.await.ok().flatten().unwrap_or_else(Self::again)
    }

    async fn carry_out(mut self, message: &[u8]) -> Option<Vec<u8>> {
        let (Asked { path, headers: sent, peer }, body) = carrying::decode(GRPC, message)?;
        let mut request = Request::new(Whole::body(Bytes::copy_from_slice(body), None));
        *request.method_mut() = tonic::codegen::http::Method::POST;
        *request.uri_mut() = path.parse().ok()?;
        *request.headers_mut() = headers(sent);
        let answer = match Caller::of(&self.state, request.headers(), peer.map(Peer)) {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
                let Ok(answer) = self.calls.call(request).await;
                answer
            }
            Err(trouble) => Status::from(trouble).into_http(),
        };
        let (head, body) = answer.into_parts();
        if partition_elsewhere(&head.headers).is_some() {
            return None;
        }
        let (body, trailers) = read(body, CARRIED_BYTES_MAX).await.ok()?;
        let answered =
            Answered { headers: told(&head.headers), trailers: trailers.as_ref().map(told), again: false };
        Some(carrying::encode(GRPC, &answered, &body))
    }
}

impl Whole {
    fn body(data: Bytes, trailers: Option<HeaderMap>) -> Body {
        Body::new(Self { data: Some(data).filter(|data| !data.is_empty()), trailers })
    }
}

impl http_body::Body for Whole {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let data = self.data.take().map(Frame::data);
        Poll::Ready(data.or_else(|| self.trailers.take().map(Frame::trailers)).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.trailers.is_none()
    }
}

/// All that a body sends, and what follows it.
async fn read(mut body: Body, bytes_max: usize) -> Result<(Bytes, Option<HeaderMap>), Status> {
    let (mut data, mut trailers) = (Vec::new(), None);
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        match frame?.into_data() {
            // The service says what is wrong with what is too long, from what is there.
            Ok(part) if data.len() <= bytes_max => data.extend_from_slice(&part),
            Ok(_) => break,
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok((data.into(), trailers))
}

fn told(headers: &HeaderMap) -> Headers {
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect()
}

fn headers(told: Headers) -> HeaderMap {
    let read = |(name, value): (String, Vec<u8>)| {
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_bytes(&value).ok()?))
    };
    let mut headers = HeaderMap::new();
    told.into_iter().filter_map(read).for_each(|(name, value)| _ = headers.append(name, value));
    headers
}
