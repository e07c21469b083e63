//! gRPC alone: a server that decodes batches of debits and acknowledges each. It runs as a process of its own, with as many
//! threads as the real one, and with its credit.

use std::pin::Pin;
use std::process::Command;
use std::task::{Context, Poll, ready};

use clap::Args;
use futures_core::Stream;
use tokenweir::proto::v1;
use tokenweir::proto::v1::metering_server::{Metering, MeteringServer};
use tokenweir::proto::v1::stream_reply::Reply;
use tokenweir::proto::v1::stream_request::Request as Word;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

use crate::failure::Outcome;
use crate::number::u32_of;
use crate::process::Service;

/// As many as `weir serve` has by default.
const WORKERS: usize = 2;
/// As much as `weir serve` grants by default.
const CREDIT: u64 = 16_384;

#[derive(Args, Debug)]
pub(crate) struct GrpcEchoArgs {
    /// Address and port.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: std::net::SocketAddr,
}

/// Serves until it is killed.
pub(crate) fn serve_grpc_echo(args: &GrpcEchoArgs) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    runtime.block_on(async {
        let incoming = TcpIncoming::bind(args.listen)?.with_nodelay(Some(true));
        println!("listening on http://{}", incoming.local_addr()?);
        Ok(Server::builder().add_service(MeteringServer::new(Echoing)).serve_with_incoming(incoming).await?)
    })
}

/// An echo that runs; it ends with its handle.
#[derive(Debug)]
pub(crate) struct GrpcEcho {
    /// Where it is.
    pub(crate) url: String,
    #[expect(dead_code, reason = "kept for its end: the process goes with it")]
    service: Service,
}

impl GrpcEcho {
    /// Starts one.
    pub(crate) fn start() -> Outcome<Self> {
        let service =
            Service::start("the grpc echo", Command::new(std::env::current_exe()?).arg("grpc-echo"))?;
        let line = service.wait_for("listening on http://")?;
        let url = line.rsplit_once(' ').map_or("", |(_, url)| url).trim().to_owned();
        Ok(Self { url, service })
    }
}

#[derive(Debug)]
struct Echoing;

/// The answers of one stream: its requests, as they come.
struct Answers {
    requests: Streaming<v1::StreamRequest>,
    greeted: bool,
}

impl Stream for Answers {
    type Item = Result<v1::StreamReply, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !self.greeted {
            self.greeted = true;
            return Poll::Ready(Some(Ok(reply(Reply::Credit(v1::Credit { debits: CREDIT })))));
        }
        let request = ready!(Pin::new(&mut self.requests).poll_next(cx));
        Poll::Ready(request.map(|request| answer(request?.request)))
    }
}

fn answer(request: Option<Word>) -> Result<v1::StreamReply, Status> {
    match request {
        Some(Word::DebitBatch(batch)) => {
            let tokens = batch.tokens.iter().fold(0u64, |sum, tokens| sum.wrapping_add(u64::from(*tokens)));
            std::hint::black_box((tokens, &batch.camera, &batch.seq_delta));
            let (organization, batch) = (batch.organization, batch.batch);
            let ack = v1::Ack { organization, first_batch: batch, last_batch: batch, ..Default::default() };
            Ok(reply(Reply::Ack(ack)))
        }
        Some(Word::Open(open)) => {
            let organizations = open.organizations.iter().map(|organization| v1::OpenedOrganization {
                organization: 1,
                cameras: (1..).zip(&organization.cameras).map(|(handle, _)| u32_of(handle)).collect(),
                problem: None,
            });
            Ok(reply(Reply::Opened(v1::Opened { organizations: organizations.collect() })))
        }
        None => Err(Status::invalid_argument("nothing was asked")),
    }
}

fn reply(reply: Reply) -> v1::StreamReply {
    v1::StreamReply { reply: Some(reply) }
}

#[tonic::async_trait]
impl Metering for Echoing {
    type StreamStream = Answers;

    async fn stream(
        &self,
        request: Request<Streaming<v1::StreamRequest>>,
    ) -> Result<Response<Answers>, Status> {
        Ok(Response::new(Answers { requests: request.into_inner(), greeted: false }))
    }

    async fn debit(&self, _: Request<v1::DebitRequest>) -> Result<Response<v1::DebitReply>, Status> {
        Err(only_streams())
    }

    async fn debit_batch(
        &self,
        _: Request<v1::DebitBatchRequest>,
    ) -> Result<Response<v1::DebitBatchReply>, Status> {
        Err(only_streams())
    }

    async fn summary(&self, _: Request<v1::SummaryRequest>) -> Result<Response<v1::SummaryReply>, Status> {
        Err(only_streams())
    }

    async fn transfer(&self, _: Request<v1::TransferRequest>) -> Result<Response<v1::TransferReply>, Status> {
        Err(only_streams())
    }

    async fn reserve(&self, _: Request<v1::ReserveRequest>) -> Result<Response<v1::ReserveReply>, Status> {
        Err(only_streams())
    }

    async fn release_reservation(
        &self,
        _: Request<v1::ReleaseReservationRequest>,
    ) -> Result<Response<v1::ReleaseReservationReply>, Status> {
        Err(only_streams())
    }

    async fn reservations(
        &self,
        _: Request<v1::ReservationsRequest>,
    ) -> Result<Response<v1::ReservationsReply>, Status> {
        Err(only_streams())
    }
}

fn only_streams() -> Status {
    Status::unimplemented("the echo serves streams alone")
}
