//! The calls of the service, by their path. A stream's requests are handed on as they stand on the wire, for the session to
//! read; all others are read into the generated messages.

use std::convert::Infallible;
use std::task::{Context, Poll};

use prost::bytes::Buf as _;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{BoxFuture, Bytes, Service};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Status, Streaming};
use tonic_prost::ProstEncoder;

use crate::proto::v1;
use crate::proto::v1::metering_server::MeteringServer;

use super::auth::Caller;
use super::carry;
use super::service::Service as Metering;
use super::session::Session;

/// The path of the call that is a stream of debits.
pub(super) const STREAM: &str = "/tokenweir.v1.Metering/Stream";

/// The calls.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    service: Metering,
    others: MeteringServer<Metering>,
    message_bytes_max: usize,
}

/// Requests as bytes, answers as messages.
struct Unread;

impl Calls {
    /// The single calls, for those that other nodes send.
    pub(super) fn others(&self) -> MeteringServer<Metering> {
        self.others.clone()
    }

    /// The calls of this service.
    pub(super) fn new(service: Metering) -> Self {
        let message_bytes_max = service.0.limits.message_bytes_max;
        let others = MeteringServer::new(service.clone()).max_decoding_message_size(message_bytes_max);
        Self { service, others, message_bytes_max }
    }
}

impl NamedService for Calls {
    const NAME: &'static str = MeteringServer::<Metering>::NAME;
}

impl Service<Request<Body>> for Calls {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.others, cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.uri().path() != STREAM {
            let caller = request.extensions().get::<Caller>().filter(|caller| caller.meter.is_node());
            let Some(meter) = caller.map(|caller| caller.meter.clone()) else {
                return self.others.call(request);
            };
            return Box::pin(carry::call(self.service.clone(), self.others.clone(), (meter, request)));
        }
        let (service, bytes_max) = (self.service.clone(), self.message_bytes_max);
        Box::pin(async move {
            Ok(Grpc::new(Unread).max_decoding_message_size(bytes_max).streaming(service, request).await)
        })
    }
}

impl StreamingService<Bytes> for Metering {
    type Response = v1::StreamReply;
    type ResponseStream = Session;
    type Future = std::future::Ready<Result<tonic::Response<Session>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<Bytes>>) -> Self::Future {
        std::future::ready(self.session(request).map(tonic::Response::new).map_err(Status::from))
    }
}

impl Codec for Unread {
    type Encode = v1::StreamReply;
    type Decode = Bytes;
    type Encoder = ProstEncoder<v1::StreamReply>;
    type Decoder = Self;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Decoder for Unread {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(message.copy_to_bytes(message.remaining())))
    }
}
