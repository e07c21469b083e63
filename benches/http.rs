//! Bodies of 500 debits over HTTP: JSON, NDJSON and MessagePack, one after the other on one connection over loopback, to a
//! server in this process. One hot organization, durable.
//!
//! What is timed is from the first byte of the request to the last of the answer: the sync of the disk is in it. That every debit
//! was charged is checked after each. `WEIR_BENCH_SMOKE=1` makes it short.

#[path = "support/config.rs"]
mod config;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde::Serialize;
use tokenweir::config::Config;
use tokenweir::meter::{
    self, CameraId, CameraSpec, KeyId, LicenseKey, Meter, Name, NewApiKey, NewOrganization, OrgId, Principal,
    Role, Tokens,
};
use tokenweir::server::Server;
use tokenweir::telemetry::clock;

/// Debits of a body, each of a camera of its own.
const BODY: u64 = 500;

/// Writes the rows of a body.
type Encode = fn(&[Row]) -> Vec<u8>;

#[derive(Serialize)]
struct Row {
    camera: String,
    epoch: u32,
    seq: u64,
    tokens: u64,
}

fn bodies(criterion: &mut Criterion) {
    let directory = tempfile::tempdir_in(".").expect("a directory");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let key = runtime.block_on(prepare(directory.path()));
    let mut config = Config::new(directory.path());
    config.listen = "127.0.0.1:0".parse().expect("an address");
    let server = Server::bind(&config).expect("a free port");
    runtime.block_on(server.open()).expect("the directory is sound");
    let mut wire = Wire::connect(server.address(), &key);
    let mut group = criterion.benchmark_group("http_body_of_500");
    group.throughput(Throughput::Elements(BODY));
    let formats: [(&str, &str, Encode); 3] = [
        ("json", "application/json", json),
        ("ndjson", "application/x-ndjson", lines),
        ("message_pack", "application/msgpack", message_pack),
    ];
    for (epoch, (name, media_type, encode)) in (1..).zip(formats) {
        let mut seq = 0;
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|bodies| {
                let mut took = Duration::ZERO;
                for _ in 0..bodies {
                    let request = wire.request(media_type, &encode(&rows(epoch, seq)));
                    seq += 1;
                    let begun = clock::start();
                    wire.exchange(&request);
                    took += begun.elapsed();
                    wire.check_charged();
                }
                took
            });
        });
    }
    group.finish();
    drop(wire);
    runtime.block_on(server.stop()).expect("it stops");
}

fn rows(epoch: u32, seq: u64) -> Vec<Row> {
    let row = |camera| Row { camera: format!("cam-{camera:06}"), epoch, seq, tokens: 1 + camera * 4 };
    (0..BODY).map(row).collect()
}

fn json(rows: &[Row]) -> Vec<u8> {
    serde_json::to_vec(rows).expect("rows are JSON")
}

fn lines(rows: &[Row]) -> Vec<u8> {
    let line = |row| serde_json::to_vec(row).expect("a row is JSON");
    rows.iter().map(line).collect::<Vec<_>>().join(&b'\n')
}

fn message_pack(rows: &[Row]) -> Vec<u8> {
    rmp_serde::to_vec_named(rows).expect("rows are MessagePack")
}

/// One connection; it is kept alive.
struct Wire {
    stream: BufReader<TcpStream>,
    head: String,
    line: String,
    body: Vec<u8>,
}

impl Wire {
    fn connect(address: SocketAddr, key: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_nodelay(true).expect("it is TCP");
        let head = format!(
            "POST /v1/organizations/hot/debits HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\n"
        );
        let stream = BufReader::with_capacity(64 << 10, stream);
        Self { stream, head, line: String::new(), body: Vec::new() }
    }

    fn request(&self, media_type: &str, body: &[u8]) -> Vec<u8> {
        let (head, length) = (&self.head, body.len());
        let head = format!("{head}content-type: {media_type}\r\ncontent-length: {length}\r\n\r\n");
        [head.as_bytes(), body].concat()
    }

    /// Sends a request and reads its answer.
    fn exchange(&mut self, request: &[u8]) {
        self.stream.get_mut().write_all(request).expect("the server reads");
        let status = self.read_line().to_owned();
        let mut length = 0;
        while !self.read_line().is_empty() {
            if let Some(value) = self.line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a number");
            }
        }
        self.body.resize(length, 0);
        self.stream.read_exact(&mut self.body).expect("the whole answer");
        assert!(status.starts_with("HTTP/1.1 200 "), "{status}: {}", String::from_utf8_lossy(&self.body));
    }

    /// Checks that the last answer says of every debit that it was charged.
    fn check_charged(&self) {
        let body = String::from_utf8_lossy(&self.body);
        let charged = u64::try_from(body.matches(r#""outcome":"charged""#).count());
        assert_eq!(charged, Ok(BODY), "{body}");
    }

    fn read_line(&mut self) -> &str {
        self.line.clear();
        self.stream.read_line(&mut self.line).expect("the server answers");
        self.line.trim_end()
    }
}

/// One organization with a camera for each row of a body; a key that may debit it.
async fn prepare(directory: &Path) -> String {
    let meter = Meter::open(meter::Config::new(directory)).expect("an empty directory opens");
    let (host, hot) = (Principal::Host, OrgId::new("hot").expect("valid"));
    let name = || Name::new("Hot").expect("valid");
    meter.create_organization(&host, NewOrganization::new(hot.clone(), name())).await.expect("created");
    let organization = meter.organization(&host, &hot).expect("it exists");
    let grants = vec![Tokens(9_000_000_000_000_000)];
    let licenses = LicenseKey { id: KeyId::new("key").expect("valid"), grants };
    organization.add_licenses(licenses).await.expect("added");
    for camera in 0..BODY {
        let id = CameraId::new(&format!("cam-{camera:06}")).expect("valid");
        let spec = CameraSpec { id, network: name(), cloud_ai: true, pro_license: false };
        organization.register_camera(spec).await.expect("registered");
    }
    let new = NewApiKey { label: name(), role: Role::Gateway, organizations: vec![hot] };
    let (_, key) = meter.create_api_key(&host, new).await.expect("created");
    meter.close().await;
    key
}

criterion_group! { name = benches; config = config::config(); targets = bodies }
criterion_main!(benches);
