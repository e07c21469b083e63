//! gRPC streams: packed columns and one debit a message, to our server and to one that only decodes and acknowledges; and the
//! library's client, which gathers single debits by itself.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokenweir::client::{CameraRef, Client, Config as ClientConfig, Debit, Identity, Sent, UsageKind};
use tokenweir::meter::Durability;
use tokenweir::proto::v1;
use tokenweir::proto::v1::stream_reply::Reply;
use tokenweir::proto::v1::stream_request::Request as Word;
use tokenweir::telemetry::clock;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, mpsc};
use tonic::Streaming;

use super::{Measured, Probe};
use crate::failure::Outcome;
use crate::floors::GrpcEcho;
use crate::number::{per_second, u32_of, u64_of, usize_of};
use crate::target::{
    DebitStream, EPOCH, Http, HttpPlan, Names, Scene, Target as _, camera_id, columns, word,
};

const CAMERAS: u64 = 10_000;
/// Streams of packed columns, each on a connection of its own.
const COLUMN_STREAMS: u64 = 4;
/// Rows of a message of packed columns.
pub(crate) const COLUMN_ROWS: u64 = 512;
/// Streams that send one debit a message.
const SINGLE_STREAMS: u64 = 16;
/// Single debits of the client whose answers were not looked at yet.
const CLIENT_IN_FLIGHT: usize = 50_000;

/// A server, its only organization, and how to get there.
#[derive(Clone, Debug)]
struct Place {
    url: String,
    key: String,
    organization: String,
}

/// Streams of one shape, and the number that their next debits begin with.
#[derive(Debug)]
pub(crate) struct StreamLoad {
    place: Place,
    runtime: Rc<Runtime>,
    streams: u64,
    rows: u64,
    next: u64,
}

impl StreamLoad {
    /// Packed columns to an echo.
    pub(crate) fn echoed(echo: &GrpcEcho) -> Outcome<Self> {
        let (key, organization) = ("none".to_owned(), "any".to_owned());
        let place = Place { url: echo.url.clone(), key, organization };
        Ok(Self { place, runtime: Rc::new(runtime()?), streams: COLUMN_STREAMS, rows: COLUMN_ROWS, next: 0 })
    }

    /// Debits a second that were acknowledged, the client included, and how many there were.
    pub(crate) fn rate(&mut self, length: Duration) -> Outcome<(f64, u64)> {
        let Self { place, runtime, streams, rows, next } = self;
        let (acknowledged, took, reached) =
            runtime.block_on(flat_out(place, (*streams, *rows), *next, length))?;
        *next = reached;
        Ok((per_second(acknowledged, took), acknowledged))
    }
}

/// Our server and the echo.
pub(super) fn probes(echo: GrpcEcho) -> Outcome<Vec<Probe>> {
    let scene = Scene {
        prefix: "grpc".to_owned(),
        organizations: 1,
        cameras: CAMERAS,
        durability: Durability::Durable,
    };
    let http = Rc::new(Http::new(&HttpPlan::Start(None), &scene)?);
    let place = Place {
        url: http.grpc_url().ok_or("the server was started here")?.to_owned(),
        key: http.gateway_key(0).to_owned(),
        organization: scene.organization(0)?.to_string(),
    };
    let runtime = Rc::new(runtime()?);
    let mut echoed = StreamLoad::echoed(&echo)?;
    let ours = Ours { http, charged: 0, next: 0, place: place.clone(), runtime: Rc::clone(&runtime) };
    let ours = Rc::new(std::cell::RefCell::new(ours));
    let (singly, by_client) = (Rc::clone(&ours), Rc::clone(&ours));
    let load = |streams, rows, next| StreamLoad {
        place: place.clone(),
        runtime: Rc::clone(&runtime),
        streams,
        rows,
        next,
    };
    let (mut packed, mut single) = (load(COLUMN_STREAMS, COLUMN_ROWS, 0), load(SINGLE_STREAMS, 1, 0));
    Ok(vec![
        Probe::new("grpc echo", move |length| {
            let _kept = &echo;
            Ok(vec![("grpc_echo", echoed.rate(length)?.0)])
        }),
        Probe::new("grpc, columns of 512", move |length| {
            ours.borrow_mut().measure("grpc_columns", &mut packed, length)
        }),
        Probe::new("grpc, one debit a message", move |length| {
            singly.borrow_mut().measure("grpc_singles", &mut single, length)
        }),
        Probe::new("grpc, the client gathers", move |length| by_client.borrow_mut().gathered(length)),
    ])
}

/// Our server, and what it acknowledged.
struct Ours {
    http: Rc<Http>,
    place: Place,
    runtime: Rc<Runtime>,
    charged: u64,
    /// The number above all that were sent, by whichever load.
    next: u64,
}

impl Ours {
    fn measure(&mut self, name: &'static str, load: &mut StreamLoad, length: Duration) -> Measured {
        load.next = load.next.max(self.next);
        let (rate, acknowledged) = load.rate(length)?;
        self.next = load.next;
        self.audit(acknowledged)?;
        Ok(vec![(name, rate)])
    }

    fn gathered(&mut self, length: Duration) -> Measured {
        let gathering = gather(&self.place, self.next, length);
        let (acknowledged, took) = self.runtime.block_on(gathering)?;
        self.next += acknowledged / CAMERAS + 1;
        self.audit(acknowledged)?;
        Ok(vec![("grpc_client", per_second(acknowledged - CAMERAS, took))])
    }

    fn audit(&mut self, acknowledged: u64) -> Outcome {
        self.charged += acknowledged;
        let found: u64 = self.http.sums()?.iter().map(|sums| sums.debits).sum();
        if found == self.charged {
            Ok(())
        } else {
            Err(format!("{} debits were acknowledged, {found} charged", self.charged).into())
        }
    }
}

fn runtime() -> Outcome<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

/// Keeps as much on its way over every stream as its credit allows; how many debits were acknowledged, in which time, and the
/// number above all that were sent.
async fn flat_out(
    place: &Place,
    (streams, rows): (u64, u64),
    first: u64,
    length: Duration,
) -> Outcome<(u64, Duration, u64)> {
    let mut open = Vec::new();
    for stream in 0..streams {
        let cameras =
            (0..CAMERAS / streams).map(|camera| camera_id(stream * (CAMERAS / streams) + camera)).collect();
        let names = Names { organization: place.organization.clone(), cameras };
        open.push(DebitStream::open(&place.url, &place.key, &[names]).await?);
    }
    let begun = clock::start();
    let pumps: Vec<_> =
        open.into_iter().map(|stream| tokio::spawn(pump(stream, rows, first, length))).collect();
    let (mut acknowledged, mut reached) = (0, first);
    for pump in pumps {
        let (debits, last) = pump.await??;
        acknowledged += debits;
        reached = reached.max(last + 1);
    }
    Ok((acknowledged, begun.elapsed(), reached))
}

/// One stream: cameras in turn, each with rising numbers. How many debits were acknowledged, and the highest number.
async fn pump(stream: DebitStream, rows: u64, first: u64, length: Duration) -> Outcome<(u64, u64)> {
    let DebitStream { words, replies, credit, mut handles } = stream;
    let handles = handles.pop().ok_or("one organization was opened")?;
    let credit = Arc::new(Semaphore::new(usize_of(credit)));
    let acknowledging = tokio::spawn(acknowledge(replies, rows, Arc::clone(&credit)));
    let (begun, cameras, mut at, mut batch) = (clock::start(), handles.cameras.len(), 0, 0);
    while begun.elapsed() < length {
        batch += 1;
        let row = |at: usize| {
            (handles.cameras[at % cameras], first + u64_of(at / cameras), 1 + u32_of(u64_of(at) % 2_000))
        };
        let message = columns(handles.organization, batch, (at..at + usize_of(rows)).map(row));
        at += usize_of(rows);
        credit.acquire_many(u32_of(rows)).await?.forget();
        send(&words, message).await?;
    }
    drop(words);
    let acknowledged = acknowledging.await??;
    if acknowledged == batch * rows {
        Ok((acknowledged, first + u64_of(at / cameras)))
    } else {
        Err(format!("{acknowledged} of {} debits were acknowledged", batch * rows).into())
    }
}

async fn send(words: &mpsc::Sender<v1::StreamRequest>, batch: v1::DebitBatch) -> Outcome {
    Ok(words.send(word(Word::DebitBatch(batch))).await?)
}

/// Counts what is acknowledged until the stream ends; that some debit was not charged is a failure.
async fn acknowledge(
    mut replies: Streaming<v1::StreamReply>,
    rows: u64,
    credit: Arc<Semaphore>,
) -> Outcome<u64> {
    let mut last = 0;
    while let Some(reply) = replies.message().await?.and_then(|reply| reply.reply) {
        let Reply::Ack(ack) = reply else { return Err(format!("{reply:?}").into()) };
        if let Some(exceptions) = ack.exceptions.first() {
            return Err(format!("not all were charged: {exceptions:?}").into());
        }
        credit.add_permits(usize_of(rows * (ack.last_batch - last)));
        last = ack.last_batch;
    }
    Ok(last * rows)
}

/// Single debits through the client, each of whose answers is awaited: how many, and in which time all but the first lap.
async fn gather(place: &Place, first: u64, length: Duration) -> Outcome<(u64, Duration)> {
    let client = Client::connect(ClientConfig::new(place.url.as_str(), place.key.as_str()))?;
    let stream = client.stream(&place.organization);
    let cameras: Vec<CameraRef<'_>> =
        (0..CAMERAS).map(|camera| stream.camera(&camera_id(camera))).collect::<Result<_, _>>()?;
    let debit = |n: u64| {
        let identity = Identity::Seq { epoch: EPOCH, seq: first + n / CAMERAS };
        let camera = cameras[usize_of(n % CAMERAS)];
        Debit { camera, identity, tokens: 1 + n % 2_000, kind: UsageKind::default(), time: None }
    };
    // The connection is made, and the cameras are opened, with the first lap over them.
    let (mut sent, mut n) = (VecDeque::new(), 0);
    while n < CAMERAS {
        sent.push_back(stream.send(&debit(n)).await?);
        n += 1;
    }
    while !sent.is_empty() {
        admitted(sent.pop_front()).await?;
    }
    let begun = clock::start();
    while begun.elapsed() < length {
        for _ in 0..256 {
            sent.push_back(stream.send(&debit(n)).await?);
            n += 1;
            if sent.len() > CLIENT_IN_FLIGHT {
                admitted(sent.pop_front()).await?;
            }
        }
    }
    while !sent.is_empty() {
        admitted(sent.pop_front()).await?;
    }
    let took = begun.elapsed();
    stream.close().await?;
    Ok((n, took))
}

async fn admitted(sent: Option<Sent>) -> Outcome {
    let Some(sent) = sent else { return Ok(()) };
    let answer = sent.await?;
    if answer.is_admitted() { Ok(()) } else { Err(answer.code().into()) }
}
