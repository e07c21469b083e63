//! Single calls while the disk stands still: how long they wait, and how much of them is held.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokenweir::client::{Client, Config as ClientConfig, Error};
use tokenweir::config::Config;
use tokenweir::edge::budget::Budget;
use tokenweir::edge::grpc::Listener;
use tokenweir::meter::{
    CameraId, CameraSpec, Config as MeterConfig, Meter, Name, NewApiKey, NewOrganization, OrgId, Principal,
    Role, Tokens,
};
use tokenweir::proto::v1::debit::Identity;
use tokenweir::proto::v1::{Debit, DebitBatchRequest, DebitRequest, Outcome, Seq};
use tokio::runtime::Runtime;
use tonic::codegen::Bytes;

use crate::gate::GatedDisk;

const HOST: &Principal = &Principal::Host;

/// A server of organization `north` (camera `a`, 10,000 tokens) over a disk that a test can stop.
struct Stalled {
    runtime: Runtime,
    disk: GatedDisk,
    meter: Meter,
    listener: Listener,
}

impl Stalled {
    fn start(change: impl FnOnce(&mut Config)) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let disk = GatedDisk::default();
        let config = MeterConfig { partitions: 1, ..MeterConfig::new("d") };
        let meter = Meter::open_on(Arc::new(disk.clone()), config).expect("a new directory");
        let mut config = Config::new("unused");
        change(&mut config);
        let address = "127.0.0.1:0".parse().expect("an address");
        let budget = Arc::new(Budget::new(&config));
        let listener =
            Listener::start(&config, address, None, (budget, Arc::default())).expect("a free port");
        runtime.block_on(async {
            let (id, name) = (OrgId::new("north").expect("valid"), Name::new("north").expect("valid"));
            let new = NewOrganization::new(id.clone(), name.clone());
            meter.create_organization(HOST, new).await.expect("it is new");
            let north = meter.organization(HOST, &id).expect("it exists");
            let id = CameraId::new("a").expect("valid");
            let camera = CameraSpec { id, network: name, cloud_ai: true, pro_license: false };
            north.register_camera(camera).await.expect("within bounds");
            north.grant(vec![Tokens(10_000)]).await.expect("within bounds");
            listener.serve(meter.clone()).await;
        });
        Self { runtime, disk, meter, listener }
    }

    /// Runs a future; what does not end in a while waits for the disk.
    fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let bounded = async { tokio::time::timeout(Duration::from_secs(30), future).await };
        self.runtime.block_on(bounded).expect("it does not wait for the disk")
    }

    /// A new key of a gateway.
    fn key(&self) -> String {
        let (label, north) = (Name::new("gateway").expect("valid"), OrgId::new("north").expect("valid"));
        let new = NewApiKey { label, role: Role::Gateway, organizations: vec![north] };
        self.runtime.block_on(self.meter.create_api_key(HOST, new)).expect("it is made").1
    }

    fn client(&self, key: &str) -> Client {
        let _entered = self.runtime.enter();
        Client::connect(ClientConfig::new(format!("http://{}", self.listener.address()), key))
            .expect("a client")
    }

    fn available(&self) -> u64 {
        let north = self.meter.organization(HOST, &OrgId::new("north").expect("valid")).expect("it exists");
        self.runtime.block_on(north.summary()).expect("it is there").available.0
    }

    fn end(self) {
        self.runtime.block_on(self.listener.stop()).expect("it served to the end");
        self.runtime.block_on(self.meter.close());
    }
}

fn debit(seq: u64) -> Debit {
    let identity = Some(Identity::Seq(Seq { epoch: 1, seq }));
    Debit { camera: "a".to_owned(), identity, tokens: 1, ..Debit::default() }
}

fn request(seq: u64) -> DebitRequest {
    DebitRequest {
        organization: "north".to_owned(),
        debit: Some(debit(seq)),
        durability: 0,
        reservation: String::new(),
    }
}

/// So many debits from a number on.
fn batch(first: u64, debits: u64) -> DebitBatchRequest {
    let debits = (first..first + debits).map(debit).collect();
    DebitBatchRequest { organization: "north".to_owned(), debits, durability: 0, reservation: String::new() }
}

/// One debit by a client that leaves the deadline to the server; `grpc-status` and `weir-code` of the answer.
async fn call_with_deadline(address: std::net::SocketAddr, key: &str, deadline: &str) -> (String, String) {
    let socket = tokio::net::TcpStream::connect(address).await.expect("it listens");
    let (requests, connection) = h2::client::handshake(socket).await.expect("it speaks http/2");
    tokio::spawn(connection);
    let head = tonic::codegen::http::Request::post(format!("http://{address}/tokenweir.v1.Metering/Debit"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", format!("Bearer {key}"))
        .header("grpc-timeout", deadline);
    let mut requests = requests.ready().await.expect("it is open");
    let (answer, mut body) =
        requests.send_request(head.body(()).expect("a head"), false).expect("it is sent");
    let message = prost::Message::encode_to_vec(&request(1));
    let length = u32::try_from(message.len()).expect("it is short").to_be_bytes();
    let framed = [&[0][..], &length, &message].concat();
    body.send_data(Bytes::from(framed), true).expect("it is sent");
    let headers = answer.await.expect("an answer").headers().clone();
    let text = |name| headers.get(name).map_or("", |value| value.to_str().expect("text")).to_owned();
    (text("grpc-status"), text("weir-code"))
}

#[test]
fn r13_a_deadline_is_told_in_time_and_what_it_left_open_is_charged_once() {
    let server = Stalled::start(|_| {});
    let key = server.key();
    server.disk.shut();
    let call = call_with_deadline(server.listener.address(), &key, "100m");
    assert_eq!(server.run(call), ("4".to_owned(), "deadline_exceeded".to_owned()));
    server.disk.open_again();
    let again = server.run(server.client(&key).debit(request(1))).expect("an answer");
    assert_eq!(again.result.expect("a result").outcome(), Outcome::DuplicateCharged);
    assert_eq!(server.available(), 9_999);
    server.end();
}

#[test]
fn more_than_a_key_may_have_on_its_way_is_busy_and_others_are_served() {
    // A batch of 1,000 takes some 16 KiB, a key may have 24 KiB.
    let server = Stalled::start(|config| {
        (config.body_bytes_max, config.grpc_message_bytes_max) = (1 << 10, 24 << 10);
        config.bodies_bytes_max = 96 << 10;
    });
    let (one, other) = (server.key(), server.key());
    let client = server.client(&one);
    server.disk.shut();
    let first = server.runtime.spawn({
        let client = client.clone();
        async move { client.debit_batch(batch(1, 1_000)).await }
    });
    server.disk.wait_until_held();
    let refused = server.run(client.debit_batch(batch(2_001, 1_000))).expect_err("it is too much");
    assert!(matches!(&refused, Error::Unavailable { code, .. } if code == "busy"), "{refused}");
    assert!(refused.is_retryable() && refused.to_string().contains("24576 bytes"), "{refused}");
    let small = server.runtime.spawn(async move { client.debit(request(1_001)).await });
    let client = server.client(&other);
    let of_other = server.runtime.spawn(async move { client.debit_batch(batch(1_002, 900)).await });
    server.disk.open_again();
    for answers in [first, of_other] {
        let answers = server.run(answers).expect("no panic").expect("it is answered");
        assert!(answers.results.iter().all(|result| result.outcome() == Outcome::Charged));
    }
    drop(server.run(small).expect("no panic").expect("it is answered"));
    drop(server.run(server.client(&one).debit_batch(batch(2_001, 1_000))).expect("there is room again"));
    server.end();
}
