//! Connections as they come, no more than there may be.
//!
//! One too many is closed at once: without that, as many as come would each hold buffers. A connection has a bounded time to agree on its
//! encryption, where there is one, and to begin to speak HTTP/2; others are accepted meanwhile.

use std::future::Future as _;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tonic::transport::server::Connected;

/// How long nothing is accepted after the operating system refused to: mostly it is out of files, for a while.
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes with which every HTTP/2 connection begins.
const PREFACE_BYTES: usize = 24;

/// Connections as they come.
pub(super) struct Incoming {
    listener: TcpListener,
    seats: Arc<Semaphore>,
    pause: Option<Pin<Box<Sleep>>>,
    begin_within: Duration,
    tls: Option<TlsAcceptor>,
    handshakes: JoinSet<io::Result<Connection>>,
}

/// A connection; it is counted until it closes.
pub(super) struct Connection {
    stream: Box<dyn Wire>,
    beginning: Option<Beginning>,
    peer: Peer,
    _seat: OwnedSemaphorePermit,
}

/// The address at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// What a connection is, encrypted or not.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// What is left of a connection's beginning.
struct Beginning {
    bytes: usize,
    deadline: Pin<Box<Sleep>>,
}

impl Incoming {
    /// The connections of a listening socket, at most so many at a time, each begun within this time.
    pub(super) fn new(
        listener: TcpListener,
        connections_max: usize,
        begin_within: Duration,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        let seats = Arc::new(Semaphore::new(connections_max));
        Self { listener, seats, pause: None, begin_within, tls, handshakes: JoinSet::new() }
    }

    /// Takes a connection that was accepted; none when it is one too many, or has to shake hands first.
    fn take(&mut self, stream: TcpStream, peer: Peer) -> Option<Connection> {
        let Ok(seat) = Arc::clone(&self.seats).try_acquire_owned() else {
            tracing::debug!("closed a grpc connection: as many are open as may be");
            return None;
        };
        // A socket that cannot be set up so is slower, and serves.
        drop(stream.set_nodelay(true));
        let within = self.begin_within;
        let Some(tls) = &self.tls else { return Some(Connection::new(stream, peer, within, seat)) };
        let handshake = tls.accept(stream);
        self.handshakes.spawn(async move {
            let encrypted = timeout(within, handshake).await.map_err(io::Error::from)??;
            Ok(Connection::new(encrypted, peer, within, seat))
        });
        None
    }

    /// The next connection that agreed on its encryption.
    fn poll_encrypted(&mut self, cx: &mut Context<'_>) -> Poll<Connection> {
        while let Some(ended) = ready!(self.handshakes.poll_join_next(cx)) {
            match ended {
                Ok(Ok(connection)) => return Poll::Ready(connection),
                Ok(Err(error)) => {
                    tracing::debug!(%error, "closed a grpc connection: no encryption was agreed on");
                }
                Err(error) => tracing::error!(%error, "a handshake of a grpc connection ended in a defect"),
            }
        }
        Poll::Pending
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(connection) = self.poll_encrypted(cx) {
            return Poll::Ready(Some(Ok(connection)));
        }
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match ready!(self.listener.poll_accept(cx)) {
                Ok((stream, peer)) => {
                    if let Some(connection) = self.take(stream, Peer(peer.ip())) {
                        return Poll::Ready(Some(Ok(connection)));
                    }
                    // A handshake that was begun just now wakes who polled for it.
                    if let Poll::Ready(connection) = self.poll_encrypted(cx) {
                        return Poll::Ready(Some(Ok(connection)));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a grpc connection was not accepted");
                    self.pause = Some(Box::pin(sleep(PAUSE)));
                }
            }
        }
    }
}

impl Connection {
    fn new(
        stream: impl Wire + 'static,
        peer: Peer,
        begin_within: Duration,
        seat: OwnedSemaphorePermit,
    ) -> Self {
        let beginning = Beginning { bytes: 0, deadline: Box::pin(sleep(begin_within)) };
        Self { stream: Box::new(stream), beginning: Some(beginning), peer, _seat: seat }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let Some(beginning) = &mut self.beginning else { return read };
        beginning.bytes += buffer.filled().len() - filled;
        if beginning.bytes >= PREFACE_BYTES {
            self.beginning = None;
        } else if read.is_pending() && beginning.deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
