//! What is done to gRPC, an entry each.

use std::io::Write as _;
use std::net::TcpStream;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokenweir::proto::v1::metering_client::MeteringClient;
use tokenweir::proto::v1::stream_reply::Reply;
use tokenweir::proto::v1::stream_request::Request as Word;
use tokenweir::proto::v1::{DebitBatch, Open, OpenOrganization, StreamRequest, SummaryRequest};
use tokio::sync::mpsc::{Receiver, channel};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};

use crate::Attack;
use crate::bystander::Bystanders;
use crate::fort::{Fort, rest};
use crate::http2::{
    BEGINNING, CONTINUATION, DATA, END_HEADERS, HEADERS, PING, RESET, SETTINGS, block, frame,
};
use crate::over_http::push;

pub(crate) const ATTACKS: &[Attack] = &[
    Attack { name: "grpc: connections that say nothing, or no more than hello", run: silence },
    Attack { name: "grpc: 20,000 calls begun and reset", run: rapid_reset },
    Attack { name: "grpc: pings and settings whose answers nobody reads", run: unread_answers },
    Attack { name: "grpc: headers that never end", run: endless_headers },
    Attack { name: "grpc: header bombs", run: header_bombs },
    Attack { name: "grpc: messages without a bound", run: huge_messages },
    Attack { name: "grpc: 2,000 wrong keys", run: guesses },
    Attack { name: "grpc: streams over their credit", run: over_credit },
];

const STREAM: &str = "/tokenweir.v1.Metering/Stream";
const SUMMARY: &str = "/tokenweir.v1.Metering/Summary";
const CONNECTIONS: usize = 100;
const WRONG_KEYS: usize = 2_000;

fn silence(fort: &Fort, _: &Bystanders) {
    let silent: Vec<_> =
        (0..CONNECTIONS).flat_map(|_| [begin(fort, &BEGINNING[..10]), begin(fort, BEGINNING)]).collect();
    silent.into_iter().for_each(|stream| drop(rest(stream)));
}

fn rapid_reset(fort: &Fort, _: &Bystanders) {
    let call = block(STREAM, &fort.gateway, &[]);
    let mut stream = begin(fort, BEGINNING);
    for number in 0..20_000 {
        let id = 2 * number + 1;
        let both =
            [frame(HEADERS, END_HEADERS, id, &call), frame(RESET, 0, id, &8_u32.to_be_bytes())].concat();
        // Who does it too often is cut off.
        if stream.write_all(&both).is_err() {
            break;
        }
    }
}

fn unread_answers(fort: &Fort, bystanders: &Bystanders) {
    let pings = frame(PING, 0, 0, &[7; 8]).repeat(10_000);
    let settings = frame(SETTINGS, 0, 0, &[]).repeat(10_000);
    let unread: Vec<_> = (0..CONNECTIONS / 4)
        .flat_map(|_| [&pings, &settings].map(|frames| push(begin(fort, BEGINNING), frames, 100)))
        .collect();
    bystanders.wait_for(100);
    drop(unread);
}

fn endless_headers(fort: &Fort, _: &Bystanders) {
    let call = block(STREAM, &fort.gateway, &[]);
    for _ in 0..10 {
        let mut stream = begin(fort, BEGINNING);
        stream.write_all(&frame(HEADERS, 0, 1, &call)).expect("sent");
        let more = frame(CONTINUATION, 0, 1, &block("/", "", &[("a", &"b".repeat(8_000))]));
        for _ in 0..2_000 {
            if stream.write_all(&more).is_err() {
                break;
            }
        }
    }
}

fn header_bombs(fort: &Fort, _: &Bystanders) {
    let long = "b".repeat(12_000);
    let bomb = block(SUMMARY, &fort.gateway, &[("a", &long)]);
    for _ in 0..10 {
        let mut stream = begin(fort, BEGINNING);
        for number in 0..1_000 {
            if stream.write_all(&frame(HEADERS, END_HEADERS, 2 * number + 1, &bomb)).is_err() {
                break;
            }
        }
    }
}

/// Announces messages of four GiB, and sends as much as is taken.
fn huge_messages(fort: &Fort, bystanders: &Bystanders) {
    let call = block(SUMMARY, &fort.gateway, &[]);
    let part = frame(DATA, 0, 1, &[b' '; 16_000]);
    let open: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let beginning = [BEGINNING, &frame(HEADERS, END_HEADERS, 1, &call)].concat();
            let stream =
                begin(fort, &[&beginning[..], &frame(DATA, 0, 1, &[0, 255, 255, 255, 255])].concat());
            push(stream, &part, 1_000)
        })
        .collect();
    bystanders.wait_for(100);
    drop(open);
}

fn guesses(fort: &Fort, _: &Bystanders) {
    run(async {
        let mut service = MeteringClient::new(channel_to(fort).await);
        let mut told = [0, 0];
        for number in 0..WRONG_KEYS {
            let request = SummaryRequest { organization: "acme".to_owned() };
            let refused = service.summary(signed(request, &format!("weir_{number}_x"))).await;
            match refused.expect_err("no such key").code() {
                Code::Unauthenticated => told[0] += 1,
                Code::ResourceExhausted => told[1] += 1,
                other => panic!("{other:?}"),
            }
        }
        // HTTP and gRPC count together, and a slow machine sees several windows.
        assert!(told[1] > 0, "{told:?}");
    });
}

/// Sends four times what it was granted, without waiting for acknowledgements.
fn over_credit(fort: &Fort, _: &Bystanders) {
    run(async {
        for _ in 0..8 {
            let (words, receiver) = channel(1_000);
            let mut service = MeteringClient::new(channel_to(fort).await);
            let mut replies =
                service.stream(signed(Words(receiver), &fort.gateway)).await.expect("a stream").into_inner();
            let open = OpenOrganization { organization: "acme".to_owned(), cameras: vec!["foe".to_owned()] };
            let say = |request| words.try_send(StreamRequest { request: Some(request) }).is_ok();
            assert!(say(Word::Open(Open { organizations: vec![open] })), "there is room");
            let opened = loop {
                let reply = replies.message().await.expect("a reply").expect("it goes on").reply;
                if let Some(Reply::Opened(opened)) = reply {
                    break opened.organizations[0].clone();
                }
            };
            let rows = 512;
            for number in 0..128 {
                let batch = DebitBatch {
                    batch: number + 1,
                    organization: opened.organization,
                    camera: vec![opened.cameras[0]; rows],
                    epoch: vec![2; rows],
                    seq_delta: vec![1; rows],
                    tokens: vec![1; rows],
                    ..DebitBatch::default()
                };
                // Nobody takes it any more when the stream was ended.
                _ = say(Word::DebitBatch(batch));
            }
            // It is ended, or was fast enough to be granted all of it.
            while let Ok(Some(_)) = replies.message().await {
                if words.is_closed() || words.capacity() == words.max_capacity() {
                    break;
                }
            }
        }
    });
}

struct Words(Receiver<StreamRequest>);

impl futures_core::Stream for Words {
    type Item = StreamRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<StreamRequest>> {
        self.0.poll_recv(cx)
    }
}

async fn channel_to(fort: &Fort) -> Channel {
    let endpoint = Endpoint::from_shared(fort.grpc_url()).expect("a url");
    endpoint.connect().await.expect("it listens")
}

fn signed<T>(message: T, key: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().expect("text"));
    request
}

fn begin(fort: &Fort, beginning: &[u8]) -> TcpStream {
    let mut stream = fort.grpc();
    stream.write_all(beginning).expect("sent");
    stream
}

fn run(attack: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(attack);
}
