//! Connections: counted as they are accepted, told when they are too many, and closed when they ask for nothing.
//!
//! Up to the bound a connection may ask for anything. A few more are accepted for those who watch the server: `/healthz`, `/readyz`
//! and `/metrics` are answered there, everything else is refused. What comes beyond these too is refused and closed as it is
//! accepted, before it has said anything; over TLS it is closed without a word. A connection that has not agreed on its encryption
//! yet is held for a few seconds and not counted here. So nobody hangs in the backlog, and descriptors are bounded by
//! [`descriptors`]. Near the bound a connection has two seconds to make its first request,
//! beyond it half a second.
//!
//! Whoever opens connections without end can still take the places of the probes, which are then told so at once.
//! Deliberately absent: ending connections that are kept alive between two requests. The keep-alive time bounds them.

use std::any::Any;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_rt::net::TcpStream;
use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::body::MessageBody;
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::middleware::Next;
use actix_web::{Error, ResponseError as _};
use rustix::net::{SendFlags, Shutdown, send, shutdown};

use super::problem::Problem;
use super::state::State;

/// Connections beyond the bound that are accepted for [`PROBES`].
const PROBE_CONNECTIONS: usize = 32;
/// Connections beyond these that are told and closed at the same time. The others wait in the backlog for an instant.
const TURNED_AWAY_CONNECTIONS: usize = 32;
/// What is answered beyond the bound.
const PROBES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];
/// How long a connection may say nothing when the bound is near.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// How long one beyond the bound may: whoever wants to watch the server asks at once.
const PROBE_SILENCE_MAX: Duration = Duration::from_millis(500);

/// The most connections that are open at once when `connections_max` may ask for anything.
pub(super) fn accepted(connections_max: usize) -> usize {
    connections_max.saturating_add(PROBE_CONNECTIONS + TURNED_AWAY_CONNECTIONS)
}

/// The descriptors that `connections_max` connections may take: one each, and one more for each whose silence is watched.
#[must_use]
pub fn descriptors(connections_max: usize) -> usize {
    let watched = connections_max - near(connections_max) + PROBE_CONNECTIONS;
    accepted(connections_max).saturating_add(watched)
}

/// One open connection; it is counted until it closes.
#[derive(Debug)]
pub(super) struct Seat {
    state: Arc<State>,
    place: Place,
    watch: Option<Arc<Watch>>,
}

/// Where a connection stands among all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Usual,
    NearBound,
    ForProbes,
    TurnedAway,
}

/// What is needed to close a connection that says nothing.
#[derive(Debug)]
struct Watch {
    socket: OwnedFd,
    has_asked: AtomicBool,
}

/// Counts a connection that was accepted, and turns it away when it is one too many even for probes.
pub(super) fn take(state: &Arc<State>, connection: &dyn Any, extensions: &mut Extensions) {
    let seat = Seat::take(state);
    if let Some(stream) = connection.downcast_ref::<TcpStream>() {
        seat.tell(stream);
        extensions.insert(seat.settle(stream));
    } else if let Some(encrypted) = connection.downcast_ref::<TlsStream<TcpStream>>() {
        extensions.insert(seat.settle(encrypted.get_ref().0));
    } else {
        extensions.insert(seat);
    }
}

/// Refuses what is not for a connection beyond the bound, and closes it after its answer.
pub(super) async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let limit = request.conn_data::<Seat>().and_then(Seat::begin_request);
    let Some(limit) = limit else { return Ok(next.call(request).await?.map_into_left_body()) };
    let mut answer = if PROBES.contains(&request.path()) {
        next.call(request).await?.map_into_left_body()
    } else {
        request.into_response(Problem::too_many_connections(limit).error_response()).map_into_right_body()
    };
    answer.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    Ok(answer)
}

impl Seat {
    fn take(state: &Arc<State>) -> Self {
        let most = state.limits.connections_max;
        let before = state.connections.fetch_add(1, Ordering::AcqRel);
        let place = match before {
            _ if before < near(most) => Place::Usual,
            _ if before < most => Place::NearBound,
            _ if before < most.saturating_add(PROBE_CONNECTIONS) => Place::ForProbes,
            _ => Place::TurnedAway,
        };
        Self { state: Arc::clone(state), place, watch: None }
    }

    /// Tells a connection that is turned away why, where what is sent is not encrypted.
    fn tell(&self, stream: &TcpStream) {
        if self.place == Place::TurnedAway {
            let answer = Problem::too_many_connections(self.limit()).wire_text();
            // Whoever is gone already needs no answer.
            _ = send(stream, answer.as_bytes(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        }
    }

    /// Does with the connection what its place asks for.
    fn settle(mut self, stream: &TcpStream) -> Self {
        match self.place {
            Place::Usual => {}
            Place::NearBound => self.watch = watch(stream, SILENCE_MAX),
            Place::ForProbes => self.watch = watch(stream, PROBE_SILENCE_MAX),
            // A shut connection is closed by the next read, which finds its end.
            Place::TurnedAway => _ = shutdown(stream, Shutdown::Both),
        }
        self
    }

    /// Notes that it was asked for something; answers with the bound when it is beyond it.
    fn begin_request(&self) -> Option<u64> {
        if let Some(watch) = &self.watch {
            watch.has_asked.store(true, Ordering::Release);
        }
        matches!(self.place, Place::ForProbes | Place::TurnedAway).then(|| self.limit())
    }

    fn limit(&self) -> u64 {
        u64::try_from(self.state.limits.connections_max).unwrap_or(u64::MAX)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.state.connections.fetch_sub(1, Ordering::AcqRel);
    }
}

/// From how many connections on the bound is near: three quarters.
fn near(connections_max: usize) -> usize {
    connections_max - connections_max / 4
}

/// Closes the connection when it has asked for nothing in time. Its descriptor lives as long as the seat.
fn watch(stream: &TcpStream, silence_max: Duration) -> Option<Arc<Watch>> {
    let socket = stream.as_fd().try_clone_to_owned().ok()?;
    let watch = Arc::new(Watch { socket, has_asked: AtomicBool::new(false) });
    let watched = Arc::downgrade(&watch);
    actix_rt::spawn(async move {
        actix_rt::time::sleep(silence_max).await;
        if let Some(watch) = watched.upgrade().filter(|watch| !watch.has_asked.load(Ordering::Acquire)) {
            // It is closed by the next read, which finds its end.
            _ = shutdown(&watch.socket, Shutdown::Both);
        }
    });
    Some(watch)
}
