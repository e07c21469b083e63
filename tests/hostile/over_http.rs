//! What is done to HTTP, an entry each.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::Attack;
use crate::bystander::Bystanders;
use crate::fort::{DEBITS, Fort, rest};

pub(crate) const ATTACKS: &[Attack] = &[
    Attack { name: "http: heads that never end", run: endless_heads },
    Attack { name: "http: bodies that never end", run: endless_bodies },
    Attack { name: "http: connections that say nothing", run: silence },
    Attack { name: "http: answers that nobody reads", run: unread_answers },
    Attack { name: "http: bodies without a bound", run: huge_bodies },
    Attack { name: "http: a million brackets", run: nested_bodies },
    Attack { name: "http: text that is not utf-8", run: bad_text },
    Attack { name: "http: header bombs", run: header_bombs },
    Attack { name: "http: 2,000 wrong keys", run: guesses },
    Attack { name: "http: a flood of the largest batches", run: flood },
];

const CONNECTIONS: usize = 200;
const LARGE_BYTES: usize = 4 << 20;
const WRONG_KEYS: usize = 2_000;

fn endless_heads(fort: &Fort, _: &Bystanders) {
    let begun = open(fort, "POST /v1/organizations HTTP/1.1\r\nHost: x\r\nX-Slow: ");
    for answer in begun.into_iter().map(rest) {
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
}

fn endless_bodies(fort: &Fort, _: &Bystanders) {
    let begun = open(fort, &format!("{}Content-Length: 1000000\r\n\r\n[", fort.head("POST", DEBITS)));
    for answer in begun.into_iter().map(rest) {
        assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("request_timeout"), "{answer}");
    }
}

fn silence(fort: &Fort, _: &Bystanders) {
    for answer in open(fort, "").into_iter().map(rest) {
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
}

/// Asks for as much as the connection takes, and reads nothing.
fn unread_answers(fort: &Fort, bystanders: &Bystanders) {
    let request = format!("{}\r\n", fort.head("GET", "/metrics")).repeat(100);
    let connections = open(fort, "").into_iter().take(CONNECTIONS / 4);
    let unread: Vec<_> = connections.map(|stream| push(stream, request.as_bytes(), 20)).collect();
    bystanders.wait_for(100);
    drop(unread);
}

fn huge_bodies(fort: &Fort, _: &Bystanders) {
    let announced = fort.head("POST", DEBITS) + "Content-Length: 1099511627776\r\n\r\n";
    for answer in open(fort, &announced).into_iter().map(rest) {
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    }
    let chunked = fort.head("POST", DEBITS) + "Transfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("{:x}\r\n{}\r\n", 64 << 10, " ".repeat(64 << 10));
    for mut stream in open(fort, &chunked).into_iter().take(10) {
        // The server closes before the end of what it does not want.
        while stream.write_all(chunk.as_bytes()).is_ok() {}
    }
}

fn nested_bodies(fort: &Fort, _: &Bystanders) {
    let (arrays, objects) = ("[".repeat(LARGE_BYTES), r#"{"a":"#.repeat(LARGE_BYTES / 5));
    for body in [arrays.as_bytes(), objects.as_bytes()] {
        refuse(fort, body, "application/json", "400");
        refuse(fort, body, "application/x-ndjson", "400");
    }
    // An array of one array of one array, and maps likewise.
    for byte in [0x91, 0x81] {
        refuse(fort, &vec![byte; LARGE_BYTES], "application/msgpack", "400");
    }
}

fn bad_text(fort: &Fort, _: &Bystanders) {
    let mut body = br#"[{"camera":"?","epoch":1,"seq":1,"tokens":1}]"#.to_vec();
    for bad in [0xff, 0xc0, 0xed] {
        body[12] = bad;
        refuse(fort, &body, "application/json", "400");
    }
    for raw in
        [&b"GET /v1/organizations/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"\xff\xff\xff\xff\r\n\r\n"]
    {
        let mut stream = fort.http();
        stream.write_all(raw).expect("sent");
        let mut status = [0; 10];
        stream.read_exact(&mut status).expect("an answer");
        assert!(status.starts_with(b"HTTP/1.1 4"), "{status:?}");
    }
    let path = "/v1/organizations/%ff%fe/summary";
    let answer =
        exchange(fort.http(), format!("{}Connection: close\r\n\r\n", fort.head("GET", path)).as_bytes());
    assert!(answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.1 404"), "{answer}");
}

fn header_bombs(fort: &Fort, _: &Bystanders) {
    let many = "a: b\r\n".repeat(100_000);
    let long = format!("a: {}\r\n", "b".repeat(1 << 20));
    for bomb in [many, long] {
        for _ in 0..20 {
            let answer =
                exchange(fort.http(), format!("{}{bomb}\r\n", fort.head("GET", "/readyz")).as_bytes());
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        }
    }
}

/// Of the wrong keys a hundred are told so, the others to wait; the bystanders come from the same address.
fn guesses(fort: &Fort, _: &Bystanders) {
    let mut told = [0, 0];
    for number in 0..WRONG_KEYS {
        let request = format!(
            "GET /v1/keys HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer weir_{number}_{number}\r\nConnection: close\r\n\r\n"
        );
        let answer = exchange(fort.http(), request.as_bytes());
        let is_told_to_wait = answer.starts_with("HTTP/1.1 429") && answer.contains("retry-after:");
        assert!(is_told_to_wait || answer.starts_with("HTTP/1.1 401"), "{answer}");
        told[usize::from(is_told_to_wait)] += 1;
    }
    // A slow machine sees several windows.
    assert!(told[0] >= 100 && told[1] > 0, "{told:?}");
}

/// Batches of the most debits at once, from as many connections as are busy at a time.
fn flood(fort: &Fort, _: &Bystanders) {
    let row = |seq: u64| serde_json::json!({ "camera": "foe", "epoch": 1, "seq": seq, "tokens": 1 });
    std::thread::scope(|scope| {
        for number in 0..8 {
            let batch =
                serde_json::Value::from_iter((0..10_000).map(|seq| row(number * 10_000 + seq))).to_string();
            scope.spawn(move || {
                for _ in 0..2 {
                    let status = send(fort, batch.as_bytes(), "application/json");
                    assert!(["200", "429"].contains(&&*status), "{status}");
                }
            });
        }
    });
}

/// As many connections, each of which says this.
fn open(fort: &Fort, beginning: &str) -> Vec<TcpStream> {
    let say = |_| {
        let mut stream = fort.http();
        stream.write_all(beginning.as_bytes()).expect("sent");
        stream
    };
    (0..CONNECTIONS).map(say).collect()
}

/// Writes this again and again as long as the other side takes it.
pub(crate) fn push(mut stream: TcpStream, bytes: &[u8], times: usize) -> TcpStream {
    stream.set_nonblocking(true).expect("a socket");
    for _ in 0..times {
        if !stream.write(bytes).is_ok_and(|written| written == bytes.len()) {
            break;
        }
    }
    stream
}

fn refuse(fort: &Fort, body: &[u8], media: &str, status: &str) {
    assert_eq!(send(fort, body, media), status, "{media}");
}

/// The status of the answer to this body.
fn send(fort: &Fort, body: &[u8], media: &str) -> String {
    let head = fort.head("POST", DEBITS).replace("application/json", media);
    let head = format!("{head}Connection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    let answer = exchange(fort.http(), &[head.as_bytes(), body].concat());
    answer.get(9..12).unwrap_or_default().to_owned()
}

/// Writes as much as is taken, and reads to the end.
fn exchange(mut stream: TcpStream, bytes: &[u8]) -> String {
    _ = stream.write_all(bytes);
    rest(stream)
}
