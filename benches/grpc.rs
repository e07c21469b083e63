//! The gRPC stream, with server and clients in this process: columns of 512, one debit a message, and the client
//! that gathers single debits by itself. One hot organization, durable, loopback.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokenweir::client::{CameraRef, Client, Config as ClientConfig, Debit, Identity, UsageKind};
use tokenweir::config::Config;
use tokenweir::meter::{
    self, CameraId, CameraSpec, KeyId, LicenseKey, Meter, Name, NewApiKey, NewOrganization,
};
use tokenweir::meter::{OrgId, Principal, Role, Tokens};
use tokenweir::proto::v1;
use tokenweir::proto::v1::metering_client::MeteringClient;
use tokenweir::proto::v1::stream_reply::Reply;
use tokenweir::proto::v1::stream_request::Request as Word;
use tokenweir::server::Server;
use tokenweir::telemetry::clock;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Receiver, channel};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const CAMERAS: u32 = 10_000;

#[tokio::main]
async fn main() -> Outcome<()> {
    let is_smoke = std::env::var_os("WEIR_BENCH_SMOKE").is_some();
    let scale = if is_smoke { 1 } else { 100 };
    let directory = tempfile::tempdir()?;
    let key = prepare(directory.path()).await?;
    let mut config = Config::new(directory.path());
    config.listen = "127.0.0.1:0".parse()?;
    let server = Server::bind(&config)?;
    server.open().await?;
    let address = server.grpc_address().ok_or("grpc is on")?;
    let url = format!("http://{address}");
    let loads = [(1, 512, 100_000), (4, 512, 200_000), (16, 512, 200_000), (16, 1, 20_000)];
    for (epoch, (streams, rows, debits)) in (1..).zip(loads) {
        let begun = clock::start();
        let each = debits * scale / streams;
        let tasks: Vec<_> = (0..streams)
            .map(|stream| {
                let lane =
                    Lane { first: CAMERAS / 16 * stream, cameras: CAMERAS / 16, epoch, rows, debits: each };
                tokio::spawn(columns(url.clone(), key.clone(), lane))
            })
            .collect();
        for task in tasks {
            task.await??;
        }
        tell(&format!("{streams} streams, {rows} a message"), each * streams, begun.elapsed());
    }
    singles(&url, &key, 50_000 * u64::from(scale)).await?;
    server.stop().await?;
    Ok(())
}

/// What one stream sends: its own cameras in turn, so that every debit is new.
struct Lane {
    first: u32,
    cameras: u32,
    epoch: u32,
    rows: u32,
    debits: u32,
}

/// Columns over a stream of its own, as much in flight as the credit allows.
async fn columns(url: String, key: String, lane: Lane) -> Outcome<()> {
    let (words, requests) = channel(64);
    let mut request = tonic::Request::new(Words(requests));
    request.metadata_mut().insert("authorization", format!("Bearer {key}").parse()?);
    let mut service = MeteringClient::new(tonic::transport::Endpoint::from_shared(url)?.connect().await?);
    let names = (lane.first..lane.first + lane.cameras).map(|camera| format!("c{camera}")).collect();
    let open = v1::OpenOrganization { organization: "hot".to_owned(), cameras: names };
    words.send(word(Word::Open(v1::Open { organizations: vec![open] }))).await?;
    let mut replies = service.stream(request).await?.into_inner();
    let credit = Arc::new(Semaphore::new(0));
    let mut handles = Vec::new();
    while handles.is_empty() {
        match replies.message().await?.and_then(|reply| reply.reply) {
            Some(Reply::Credit(granted)) => credit.add_permits(usize::try_from(granted.debits)?),
            Some(Reply::Opened(opened)) => handles.clone_from(&opened.organizations[0].cameras),
            other => return Err(format!("{other:?}").into()),
        }
    }
    let (batches, rows) = (u64::from(lane.debits / lane.rows), usize::try_from(lane.rows)?);
    let free = Arc::clone(&credit);
    let sender = tokio::spawn(async move {
        let mut at = 0_usize;
        for batch in 1..=batches {
            let message = columns_of(&handles, &mut at, batch, &lane);
            free.acquire_many(lane.rows).await?.forget();
            words.send(word(Word::DebitBatch(message))).await?;
        }
        Ok::<_, Box<dyn Error + Send + Sync>>(())
    });
    let mut acked = 0;
    while let Some(reply) = replies.message().await?.and_then(|reply| reply.reply) {
        let Reply::Ack(ack) = reply else { return Err(format!("{reply:?}").into()) };
        if !ack.exceptions.is_empty() {
            return Err(format!("not all were charged: {:?}", ack.exceptions[0]).into());
        }
        credit.add_permits(rows * usize::try_from(ack.last_batch - acked)?);
        acked = ack.last_batch;
    }
    sender.await??;
    if acked == batches { Ok(()) } else { Err(format!("{acked} of {batches} were acknowledged").into()) }
}

fn columns_of(handles: &[u32], at: &mut usize, batch: u64, lane: &Lane) -> v1::DebitBatch {
    let rows = usize::try_from(lane.rows).unwrap_or(1);
    let (mut camera, mut seq_delta, mut before) = (Vec::with_capacity(rows), Vec::with_capacity(rows), 0_i64);
    for _ in 0..rows {
        camera.push(handles[*at % handles.len()]);
        let seq = i64::try_from(*at / handles.len()).unwrap_or(i64::MAX);
        seq_delta.push(seq - before);
        before = seq;
        *at += 1;
    }
    let (epoch, tokens) = (vec![lane.epoch], vec![400; rows]);
    v1::DebitBatch { organization: 0, batch, camera, epoch, seq_delta, tokens, ..Default::default() }
}

/// Single debits through the client, which gathers them.
async fn singles(url: &str, key: &str, debits: u64) -> Outcome<()> {
    let stream = Client::connect(ClientConfig::new(url, key))?.stream("hot");
    let cameras: Vec<CameraRef<'_>> =
        (0..CAMERAS).map(|camera| stream.camera(&format!("c{camera}"))).collect::<Result<_, _>>()?;
    let begun = clock::start();
    let mut sent = std::collections::VecDeque::new();
    for debit in 0..debits {
        let camera = cameras[usize::try_from(debit % u64::from(CAMERAS))?];
        let identity = Identity::Seq { epoch: 99, seq: debit / u64::from(CAMERAS) };
        let debit = Debit { camera, identity, tokens: 400, kind: UsageKind::default(), time: None };
        sent.push_back(stream.send(&debit).await?);
        if sent.len() > 50_000 {
            admitted(sent.pop_front()).await?;
        }
    }
    while !sent.is_empty() {
        admitted(sent.pop_front()).await?;
    }
    tell("client, single debits, linger 1 ms", u32::try_from(debits)?, begun.elapsed());
    stream.close().await?;
    Ok(())
}

async fn admitted(sent: Option<tokenweir::client::Sent>) -> Outcome<()> {
    let Some(sent) = sent else { return Ok(()) };
    let answer = sent.await?;
    if answer.is_admitted() { Ok(()) } else { Err(answer.code().into()) }
}

async fn prepare(directory: &std::path::Path) -> Outcome<String> {
    let meter = Meter::open(meter::Config::new(directory))?;
    let (host, hot) = (Principal::Host, OrgId::new("hot")?);
    meter.create_organization(&host, NewOrganization::new(hot.clone(), Name::new("Hot")?)).await?;
    let organization = meter.organization(&host, &hot)?;
    organization
        .add_licenses(LicenseKey { id: KeyId::new("K")?, grants: vec![Tokens(1_000_000_000_000)] })
        .await?;
    for camera in 0..CAMERAS {
        let (id, network) = (CameraId::new(&format!("c{camera}"))?, Name::new("n")?);
        let spec = CameraSpec { id, network, cloud_ai: true, pro_license: false };
        organization.register_camera(spec).await?;
    }
    let label = Name::new("gateway")?;
    let new = NewApiKey { label, role: Role::Gateway, organizations: vec![hot] };
    let (_, key) = meter.create_api_key(&host, new).await?;
    meter.close().await;
    Ok(key)
}

fn tell(what: &str, debits: u32, took: Duration) {
    let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
    println!("{what}: {debits} debits in {} ms, {} a second", us / 1_000, u64::from(debits) * 1_000_000 / us);
}

fn word(word: Word) -> v1::StreamRequest {
    v1::StreamRequest { request: Some(word) }
}

/// The requests of a stream, from a channel.
struct Words(Receiver<v1::StreamRequest>);

impl futures_core::Stream for Words {
    type Item = v1::StreamRequest;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<v1::StreamRequest>> {
        self.0.poll_recv(cx)
    }
}
