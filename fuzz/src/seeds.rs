//! Where libFuzzer begins: what the encoders that ship make, and bodies as the documents show them.

use prost::Message as _;
use serde_json::{Value, json};
use tokenweir::domain::ids::Lsn;
use tokenweir::proto::v1;
use tokenweir::proto::v1::stream_request::Request;
use tokenweir::storage::audit::{Act, End};
use tokenweir::storage::frame::{self, Next};
use tokenweir::storage::segment::SEGMENT_HEADER_BYTES;
use tokenweir::storage::sim_disk::SplitMix;

use crate::audit;
use crate::crash::{FILES, WRITTEN};
use crate::license_keys::in_segments;

/// Seeds of a target, each with its name; none of one that does not exist.
#[must_use]
pub fn of(target: &str) -> Vec<(String, Vec<u8>)> {
    match target {
        "frames" => named("file", FILES.iter().map(|(.., bytes)| bytes.clone())),
        "events" => named(
            "segment",
            FILES.iter().filter_map(|(partition, path, bytes)| {
                let is_segment = path.extension().is_some_and(|end| end == "wal");
                is_segment.then(|| events(*partition, bytes))
            }),
        ),
        "snapshot" => named("state", WRITTEN.1.iter().flat_map(|trace| trace.iter().step_by(9).cloned())),
        "directory" => named("damage", (0..16).map(|file| vec![file, file, 100, 0, 2, 1, 9, 1, 2, 30, 0])),
        "audit" => named("log", logs().into_iter()),
        "http" => named("body", bodies().into_iter()),
        "grpc" => named("message", messages().into_iter()),
        "license_keys" => named("key", keys().into_iter()),
        "rules" => named(
            "history",
            (0..8).map(|seed| history(seed, &MOVES)).chain((8..12).map(|seed| history(seed, &RESERVES))),
        ),
        _ => Vec::new(),
    }
}

fn named(name: &str, seeds: impl Iterator<Item = Vec<u8>>) -> Vec<(String, Vec<u8>)> {
    seeds.enumerate().map(|(number, seed)| (format!("{name}-{number}"), seed)).collect()
}

/// The frames of a segment as the target `events` takes them, upon the state before the first.
fn events(partition: u16, segment: &[u8]) -> Vec<u8> {
    let mut seed = Vec::new();
    let mut offset = SEGMENT_HEADER_BYTES;
    while let Next::Frame(found) = frame::next(segment, offset) {
        if seed.is_empty() {
            let before = u8::try_from(found.meta.lsn.0 - 1).expect("few frames");
            seed.extend([u8::try_from(partition).expect("two"), before]);
        }
        seed.push(found.meta.kind);
        seed.extend(u16::try_from(found.body.len()).expect("short").to_le_bytes());
        seed.extend(found.body);
        offset = found.next_offset;
    }
    seed
}

/// Acts with their outcomes, refusals without an act, and what a crash interrupted.
fn logs() -> Vec<Vec<u8>> {
    let (act, done) = (audit::act(), audit::done);
    let signed = Act {
        issuer: Some("https://id.example".to_owned()),
        target: Some("cam-1".to_owned()),
        ..act.clone()
    };
    let refused = End { begun: None, outcome: "forbidden".to_owned(), unrecorded: 7 };
    let (begun, refused) = ((act.clone(), None), (act.clone(), Some(refused)));
    let ended = vec![
        begun.clone(),
        (signed.clone(), None),
        (signed, Some(done(Lsn(4)))),
        (act.clone(), Some(done(Lsn(3)))),
    ];
    let logs = [
        ended,
        vec![begun.clone(), refused.clone(), begun.clone()],
        vec![refused; 5],
        vec![(act, Some(done(Lsn(9)))), begun],
    ];
    logs.iter().map(|log| audit::seed(log)).collect()
}

fn keys() -> Vec<Vec<u8>> {
    let claims =
        json!({"iss": "sales", "jti": "K-2", "iat": 1_767_225_600, "licenses": [{"count": 3, "tokens": 7}]});
    let line = json!({"kty": "OKP", "crv": "Ed25519", "kid": "sales", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    let claims = claims.to_string();
    let whole = in_segments([br#"{"alg":"none"}"#, claims.as_bytes(), b""]);
    vec![
        with(0, whole.as_bytes()),
        with(1, &[]),
        with(1, &[9, 0, 1, 90, 0, 2]),
        with(2, claims.as_bytes()),
        with(3, line.to_string().as_bytes()),
    ]
}

fn bodies() -> Vec<Vec<u8>> {
    let by_seq = json!({"camera": "cam", "epoch": 1, "seq": 7, "tokens": 120, "kind": "video_search"});
    let by_id =
        json!({"camera": "cam", "event_id": "e\u{e9}\n", "tokens": 5, "time": "2025-06-15T15:06:40.5+02:00"});
    let odd = json!([{"camera": "cam", "epoch": -1, "seq": 1.5, "tokens": null, "time": 1, "other": [[{}]]}, 3, "x"]);
    let debits = json!([by_seq, by_id]);
    let lines = format!("{by_seq}\n\n {by_id}\r\n");
    let packed = rmp_serde::to_vec_named(&debits).expect("any value can be packed");
    let text = |choice: u8, value: &Value| with(choice, value.to_string().as_bytes());
    let objects = [
        json!({"id": "acme", "name": "Acme", "retention_ms": 86_400_000}),
        json!({"network": "north", "cloud_ai": true, "pro_license": false}),
        json!({"kind": "video_summary", "from": "2025-01-01T00:00:00Z", "until": 1_800_000_000_000_u64}),
        json!({"key": "KEY-1", "licenses": [1_000, 5], "dry_run": true}),
        json!({"id": "t-1", "source": "acme", "target": "other"}),
        json!({"label": "a gateway", "role": "gateway", "organizations": ["acme"]}),
        json!({"id": "r-1", "tokens": 500, "ttl_ms": 60_000}),
        json!({"from": "2025-01-01T00:00:00Z", "prices": [{"kind": "other", "unit": "second", "millitokens": 1_500}]}),
        json!({"thresholds": [{"id": "low", "measure": "tokens_left", "at": 5, "rearm": null},
            {"id": "r", "measure": "refusals", "at": 5, "window_ms": 60_000}]}),
        json!({"url": "https://hooks.example/a?b=c", "topics": ["alert.fired"]}),
    ];
    // A choice that leaves the place of the object when divided by their number.
    let objects = objects.iter().zip(10..).map(|(object, choice)| text(choice, object));
    let debits = [text(0, &debits), text(0, &by_seq), text(0, &odd), text(3, &debits), text(3, &odd)];
    let others =
        [with(1, lines.as_bytes()), with(2, &packed), with(0, br#"[{"camera":"cam","tokens":1e999}]"#)];
    let event = json!({"specversion": "1.0", "type": "t", "source": "//nvr/1", "id": "caf\u{e9} 50%", "subject": "cam",
        "time": "2025-06-15T15:06:40Z", "organization": "acme", "data": {"images": 5, "kind": "other", "zone": [1.5]}});
    let encoded = json!({"specversion": "1.0", "type": "t", "source": "s", "id": "x".repeat(200), "subject": "cam",
        "time": "2025-06-15T15:06:40Z", "data_base64": "eyJ0b2tlbnMiOjd9"});
    let events = [text(4, &event), text(4, &json!([event, encoded, {}, 7])), text(5, &event)];
    debits.into_iter().chain(others).chain(objects).chain(events).collect()
}

fn messages() -> Vec<Vec<u8>> {
    let columns = v1::DebitBatch {
        organization: 0,
        batch: 1,
        camera: vec![1, 1, 1],
        epoch: vec![3],
        seq_delta: vec![7, 1, -2],
        tokens: vec![5, 6, 7],
        ..v1::DebitBatch::default()
    };
    let mixed = v1::DebitBatch {
        kind: vec![0, 1, 9],
        time_ms: vec![0, 1_750_000_000_000, 0],
        event_ids: b"one".to_vec(),
        event_id_length: vec![0, 3, 0],
        epoch: vec![1, 2, 3],
        ..columns.clone()
    };
    let measured = v1::DebitBatch {
        tokens: vec![0, 6, 0],
        unit: vec![2, 0, 9],
        count: vec![3, 0, 3],
        ..columns.clone()
    };
    let open = v1::OpenOrganization { organization: "acme".to_owned(), cameras: vec!["cam".to_owned()] };
    let requests = [
        Request::Open(v1::Open { organizations: vec![open] }),
        Request::DebitBatch(columns),
        Request::DebitBatch(mixed),
        Request::DebitBatch(measured),
    ];
    let requests = requests.map(|request| v1::StreamRequest { request: Some(request) }.encode_to_vec());
    let mut stream = vec![6];
    for request in &requests {
        stream.push(0);
        stream.extend(u32::try_from(request.len()).expect("short").to_be_bytes());
        stream.extend(request);
    }
    std::iter::once(with(0, &stream))
        .chain(requests.iter().map(|request| with(1, request)))
        .chain(bare_messages())
        .collect()
}

/// One message of each unary call.
fn bare_messages() -> Vec<Vec<u8>> {
    let identity = Some(v1::debit::Identity::EventId(b"two".to_vec()));
    let debit = v1::Debit {
        camera: "cam".to_owned(),
        tokens: 4,
        kind: 2,
        identity,
        time_ms: Some(1_750_000_000_000),
        measured: None,
    };
    let organization = "acme".to_owned();
    let one = v1::DebitRequest {
        organization: organization.clone(),
        debit: Some(debit.clone()),
        durability: 1,
        reservation: String::new(),
    };
    let batch = v1::DebitBatchRequest {
        organization: organization.clone(),
        debits: vec![debit; 2],
        durability: 0,
        reservation: "r".to_owned(),
    };
    let transfer = v1::TransferRequest {
        id: "t".to_owned(),
        source: "a".to_owned(),
        target: "b".to_owned(),
        wait: true,
    };
    let reservation = "r".to_owned();
    let reserve = v1::ReserveRequest {
        organization: organization.clone(),
        id: reservation.clone(),
        tokens: 500,
        ttl_ms: 60_000,
    };
    let release = v1::ReleaseReservationRequest { organization: organization.clone(), id: reservation };
    let single = [
        one.encode_to_vec(),
        batch.encode_to_vec(),
        v1::SummaryRequest { organization }.encode_to_vec(),
        transfer.encode_to_vec(),
        reserve.encode_to_vec(),
        release.encode_to_vec(),
    ];
    single.iter().zip(2..).map(|(message, choice)| with(choice, message)).collect()
}

/// Kinds of steps: debits and licenses most of all, then a transfer with its messages.
const MOVES: [u8; 14] = [5, 0, 0, 1, 0, 3, 0, 6, 7, 0, 8, 9, 7, 7];
/// The same with reservations, which the transfer waits for.
const RESERVES: [u8; 14] = [5, 15, 16, 0, 15, 16, 6, 7, 15, 16, 17, 10, 9, 7];

/// Steps as the target `rules` takes them, most of them of these kinds.
fn history(seed: u64, kinds: &[u8]) -> Vec<u8> {
    let mut random = SplitMix(seed);
    let mut steps: Vec<_> = (0..20).flat_map(|_| random.draw().to_le_bytes()).collect();
    for (place, kind) in steps.iter_mut().step_by(11).zip(kinds) {
        *place = *kind;
    }
    steps
}

fn with(choice: u8, rest: &[u8]) -> Vec<u8> {
    [&[choice], rest].concat()
}
