//! What stands before every call: who calls, how long it may take, and room for what it sends.
//!
//! No call is reached without a known caller, and of an unknown one nothing is read. Room is held until the answer of a single call
//! is there; a stream of debits is bounded by its credit instead. A deadline ends the wait for an answer, not what was begun.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body::{Frame, SizeHint};
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::codegen::{BoxFuture, Bytes, Service};
use tonic::server::NamedService;

use crate::edge::budget::Room;
use crate::meter::Meter;

use super::auth::Caller;
use super::calls::STREAM;
use super::state::State;
use super::trouble::{Trouble, name_owner};

/// By how much a deadline is kept early. The transport keeps it too, and would answer `CANCELLED`.
const EARLY: Duration = Duration::from_millis(1);

/// A service, with what stands before every call.
#[derive(Clone, Debug)]
pub(super) struct Front<S> {
    service: S,
    state: Arc<State>,
}

/// What a call sends, as it arrives; room is taken for it.
struct Counted {
    body: Body,
    room: Arc<Mutex<Room>>,
}

impl<S> Front<S> {
    pub(super) fn new(service: S, state: &Arc<State>) -> Self {
        Self { service, state: Arc::clone(state) }
    }
}

impl<S: NamedService> NamedService for Front<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Front<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let caller = match Caller::of(&self.state, request.headers(), request.extensions().get().copied()) {
            Ok(caller) => caller,
            Err(trouble) => return Box::pin(std::future::ready(Ok(Status::from(trouble).into_http()))),
        };
        let room = Arc::new(Mutex::new(self.state.budget.room(caller.principal().actor())));
        let (deadline, meter) = (deadline(request.headers()), caller.meter.clone());
        request.extensions_mut().insert(caller);
        if request.uri().path() != STREAM {
            request = request.map(|body| Body::new(Counted { body, room: Arc::clone(&room) }));
        }
        let answer = self.service.call(request);
        let Some(deadline) = deadline else {
            return Box::pin(async move {
                let answer = answer.await;
                drop(room);
                answer.map(|answer| naming_owner(&meter, answer))
            });
        };
        let answer = timeout(deadline.saturating_sub(EARLY), answer);
        Box::pin(async move {
            let answer = answer.await;
            drop(room);
            let answer = answer.unwrap_or_else(|_| Ok(Status::from(Trouble::deadline()).into_http()));
            answer.map(|answer| naming_owner(&meter, answer))
        })
    }
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(full) = room.grow(u64::try_from(bytes).unwrap_or(u64::MAX)) {
                return Poll::Ready(Some(Err(Trouble::from(full).into())));
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn naming_owner(meter: &Meter, mut answer: Response<Body>) -> Response<Body> {
    name_owner(meter, answer.headers_mut());
    answer
}

/// How long the caller waits, as its header `grpc-timeout` says. One that cannot be read is none.
fn deadline(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u32 = Some(number).filter(|number| number.len() <= 8)?.parse().ok()?;
    let one = match unit {
        "H" => Duration::from_secs(60 * 60),
        "M" => Duration::from_secs(60),
        "S" => Duration::from_secs(1),
        "m" => Duration::from_millis(1),
        "u" => Duration::from_micros(1),
        "n" => Duration::from_nanos(1),
        _ => return None,
    };
    one.checked_mul(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_a_number_of_at_most_eight_digits_and_a_unit() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3_600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("4m", Some(Duration::from_millis(4))),
            ("5u", Some(Duration::from_micros(5))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("100000000n", None),
            ("S", None),
            ("", None),
            ("1s", None),
            ("-1S", None),
            ("1µ", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().expect("a header"));
            assert_eq!(deadline(&headers), expected, "{text}");
        }
    }
}
